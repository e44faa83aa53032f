"""Benchmarks of oceanvar; every number is a ratio of two things measured side by side.

    python -m scripts.benchmarks patch --before ../oceanvar-before

patch: processor time of one solve in another checkout over that in this one.
"""

import click

from scripts.benchmarks.patch import patch


@click.group(help=__doc__)
def main() -> None:
    pass


main.add_command(patch)

if __name__ == "__main__":
    main()
