"""The command that scores methods in a twin experiment."""

import json
from typing import Any

import click

from oceanvar.cli.parameters import examples


@click.command(
    epilog=examples(
        "oceanvar osse lorenz63",
        "oceanvar osse lorenz96 -m mine.varnet -m other.varnet --n-windows 50 --json",
        "oceanvar osse lorenz63 -m my_package.filters:enkf --only",
        "oceanvar osse lorenz63 -m mine.varnet --import my_package.layers",
    )
)
@click.argument("system", type=click.Choice(["lorenz63", "lorenz96"]))
@click.option(
    "-m",
    "--method",
    "given",
    multiple=True,
    metavar="METHOD",
    help="Model file, or MODULE:FUNCTION from observations to analysis (Datasets). May be repeated.",
)
@click.option(
    "--import",
    "modules",
    multiple=True,
    metavar="MODULE",
    help="Import this first: it registers classes that model files name. May be repeated.",
)
@click.option("--only", is_flag=True, help="Leave the packaged methods out.")
@click.option("--references", is_flag=True, help="Also ensemble filters and smoothers.")
@click.option(
    "--n-windows", type=click.IntRange(2), default=200, show_default=True, help="Fresh windows of 200 steps."
)
@click.option("--seed", default=10, show_default=True, help="Of truth, masks and noise.")
@click.option("--all-steps", is_flag=True, help="Observe the first and last ten steps of lorenz63 too.")
@click.option("--fixed-mask", is_flag=True, help="One mask for all windows, as in the papers' test sets.")
@click.option("--slow", is_flag=True, help="Also the methods that take seconds a window.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def osse(
    system: str, given: tuple[str, ...], modules: tuple[str, ...], only: bool, as_json: bool, **options: Any
) -> None:
    """Score interpolation, 4D-Var, learned solvers and METHODs side by side in the twin experiment of SYSTEM.

    R is the mean square error over the mean square of the truth: smaller is better, 1 is as good as saying 0. Its
    interval is a 95 % bootstrap over windows. The rmse is in the units of the system, the noise of the
    observations has the variance 2. P is the score of the prior on the truth, 2J/n the cost of 4D-Var per
    observation, about 1 at its minimum.
    """
    from oceanvar.cli.methods import imported, methods_of
    from oceanvar.cli.report import score_lines, score_rows
    from oceanvar.papers.comparison import compare

    for module in modules:
        imported(module)
    scores = compare(
        system,
        methods_of(given),
        keep_packaged=not only,
        report=lambda name: click.echo(f"... {name}", err=True),
        **options,
    )
    if as_json:
        click.echo(json.dumps({**scores.attrs, "scores": score_rows(scores)}, indent=2, allow_nan=False))
    else:
        click.echo("\n".join(score_lines(scores)))
