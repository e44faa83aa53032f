"""Table 2 of the 4DVarNet paper: train the models with `train`, `learned` and `table2`, score all methods with `osse`.

`calibrate` sets error bars right, `cycle` scores window after window, `recipes` compares ways to train, and
`floor` says what iterations could still gain.

python -m scripts.lorenz osse lorenz63 --n-windows 4000
"""

import click

from scripts.lorenz import calibrate, cycle, ensembles, floor, learned, osse, recipes, table2, train


@click.group()
def main() -> None:
    """Train models of Lorenz-63 and Lorenz-96, and score them beside other methods."""


main.add_command(train.main, "train")
main.add_command(calibrate.main, "calibrate")
main.add_command(learned.main, "learned")
main.add_command(table2.main, "table2")
main.add_command(osse.main, "osse")
main.add_command(cycle.main, "cycle")
main.add_command(ensembles.main, "ensembles")
main.add_command(recipes.main, "recipes")
main.add_command(floor.main, "floor")

if __name__ == "__main__":
    main()
