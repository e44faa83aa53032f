"""What a step of training costs, beside another state of the code."""

from pathlib import Path

import click
import numpy as np

from scripts.benchmarks import machine
from scripts.benchmarks.patch import BEFORE, HERE, PAIRS, worker
from scripts.benchmarks.training_worker import CASES


@click.command()
@BEFORE
@click.option(
    "--case",
    "cases",
    multiple=True,
    type=click.Choice(list(CASES)),
    default=[case for case in CASES if not case.startswith("small")],
    show_default=True,
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Arithmetic of the convolutions in this checkout; in the other one it is float32.",
)
@PAIRS
def training(before: Path, cases: tuple[str, ...], precision: str, pairs: int) -> None:
    """Processor time and peak memory of a step in the checkout BEFORE and in this one, in alternating pairs.

    A step is loss, gradient and optimiser; freed memory is kept, as by `oceanvar train`.
    """
    click.echo(f"{machine.described()}; medians of {pairs} pairs, and quartiles")
    for case in cases:
        # Processes of its own for each case: a peak is that of a process.
        with (
            worker(before, "kept", "training_worker.py", "float32") as there,
            worker(HERE, "kept", "training_worker.py", precision) as here,
        ):
            there(case), here(case)  # the first step makes the model
            found = np.array([(there(case), here(case)) for _ in range(pairs)])
        low, middle, high = np.quantile(found[:, 0, 0] / found[:, 1, 0], [0.25, 0.5, 0.75])
        peak_there, peak_here = found[-1, :, 1]
        click.echo(
            f"{case}: {middle:.2f} times faster ({low:.2f} to {high:.2f}), peak memory {peak_here / peak_there:.2f} of "
            f"that before ({peak_here:.0f} MiB)"
        )
