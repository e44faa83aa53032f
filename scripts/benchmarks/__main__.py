"""Benchmarks of oceanvar: ratios of two things measured side by side, and how costs grow.

    python -m scripts.benchmarks patch --before ../oceanvar-before
    python -m scripts.benchmarks training --before ../oceanvar-before
    python -m scripts.benchmarks draws
    python -m scripts.benchmarks bilevel
    python -m scripts.benchmarks archive
    python -m scripts.benchmarks index
    python -m scripts.benchmarks workers
    python -m scripts.benchmarks graph
    python -m scripts.benchmarks curves --out cost.png

Optimal interpolation beside pyinterp has a script of its own, `scripts/benchmarks/interpolation.py`.
"""

import click

from scripts.benchmarks.archive import archive
from scripts.benchmarks.bilevel import bilevel
from scripts.benchmarks.curves import curves
from scripts.benchmarks.draws import draws
from scripts.benchmarks.graph import graph
from scripts.benchmarks.index import index
from scripts.benchmarks.patch import patch
from scripts.benchmarks.training import training
from scripts.benchmarks.workers import workers


@click.group(help=__doc__)
def main() -> None:
    pass


for command in (patch, training, draws, bilevel, archive, index, graph, curves, workers):
    main.add_command(command)


if __name__ == "__main__":
    main()
