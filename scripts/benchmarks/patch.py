"""What a patch costs, beside another state of the code."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np

from scripts.benchmarks import machine
from scripts.benchmarks.patch_worker import CASES

HERE = Path(__file__).parents[2]
USUAL = [case for case in CASES if not case.startswith("small")]


@contextmanager
def worker(checkout: Path, memory: str) -> Iterator[Callable[[str], float]]:
    """Processor seconds of one solve of a case, in a process with the oceanvar of one checkout."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).with_name("patch_worker.py")), memory]
    with subprocess.Popen(
        command, cwd=checkout, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:

        def seconds(case: str) -> float:
            process.stdin.write(f"{case}\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            if not answer:
                raise click.ClickException(f"the worker ended with code {process.wait()}")
            return float(answer)

        yield seconds


@click.command()
@click.option(
    "--before",
    required=True,
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    help="Another checkout.",
)
@click.option(
    "--case", "cases", multiple=True, type=click.Choice(list(CASES)), default=USUAL, show_default=True
)
@click.option(
    "--memory",
    type=click.Choice(["kept", "returned"]),
    default="kept",
    show_default=True,
    help="Whether freed memory is kept, as by commands, or returned, as in a process of one's own.",
)
@click.option("--pairs", default=15, show_default=True, type=click.IntRange(min=1))
def patch(before: Path, cases: tuple[str, ...], memory: str, pairs: int) -> None:
    """Processor time of a solve in the checkout BEFORE over that in this one, in alternating pairs."""
    click.echo(f"{machine.described()}; freed memory {memory}; medians of {pairs} pairs, and quartiles")
    with worker(before, memory) as there, worker(HERE, memory) as here:
        for case in cases:
            there(case), here(case)  # the first solve makes the model
            ratios = [there(case) / here(case) for _ in range(pairs)]
            low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
            click.echo(f"{case}: {middle:.2f} times faster ({low:.2f} to {high:.2f})")
