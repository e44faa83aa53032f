"""What a patch costs, and a map of a year, beside another state of the code."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np

from scripts.benchmarks import machine
from scripts.benchmarks.patch_worker import CASES, YEARS

HERE = Path(__file__).parents[2]
USUAL = [case for case in (*CASES, *YEARS) if not case.startswith("small")]


@contextmanager
def worker(
    checkout: Path, memory: str, script: str = "patch_worker.py", *arguments: str
) -> Iterator[Callable[[str], tuple[float, float]]]:
    """Processor seconds of a case and what else the script says, in a process with the oceanvar of one checkout."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).with_name(script)), memory, *arguments]
    with subprocess.Popen(
        command, cwd=checkout, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:

        def timed(case: str) -> tuple[float, float]:
            process.stdin.write(f"{case}\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            if not answer:
                raise click.ClickException(f"the worker ended with code {process.wait()}")
            seconds, error = map(float, answer.split())
            return seconds, error

        yield timed


BEFORE = click.option(
    "--before",
    required=True,
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    help="Another checkout.",
)
PAIRS = click.option("--pairs", default=15, show_default=True, type=click.IntRange(min=1))


@click.command()
@BEFORE
@click.option(
    "--case", "cases", multiple=True, type=click.Choice([*CASES, *YEARS]), default=USUAL, show_default=True
)
@click.option(
    "--memory",
    type=click.Choice(["kept", "returned"]),
    default="kept",
    show_default=True,
    help="Whether freed memory is kept, as by commands, or returned, as in a process of one's own.",
)
@PAIRS
def patch(before: Path, cases: tuple[str, ...], memory: str, pairs: int) -> None:
    """Processor time of a case in the checkout BEFORE over that in this one, in alternating pairs.

    The year is that of a simulated ocean in a box of 10 x 10 degrees, mapped by the packaged model with all options at
    their defaults; its error is compared too.
    """
    click.echo(f"{machine.described()}; freed memory {memory}; medians of {pairs} pairs, and quartiles")
    with worker(before, memory) as there, worker(HERE, memory) as here:
        for case in cases:
            there(case), here(case)  # the first solve makes the model
            found = np.array([(there(case), here(case)) for _ in range(pairs)])
            ratios, errors = np.moveaxis(found[:, 0] / found[:, 1], 1, 0)
            low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
            error = f", error {1 / np.median(errors):.4f} of that before" if case in YEARS else ""
            click.echo(f"{case}: {middle:.2f} times faster ({low:.2f} to {high:.2f}){error}")
