"""What many workers would bring: a model of a run from the plan that it would have, and measured times of its parts."""

from collections.abc import Iterator

import click
import numpy as np

from oceanvar.archive.stretches import divided
from oceanvar.patching.batches import PatchJob
from oceanvar.patching.grids import PatchGrid
from oceanvar.patching.streaming import TimeStream
from oceanvar.patching.tapers import taper_factors
from scripts.benchmarks.archive import FULL, OVERLAP, PATCH

DAYS_OF_A_UNIT = 15


@click.command()
@click.option(
    "--patch-seconds", default=0.160, show_default=True, help="To solve a patch, measured by `archive`."
)
@click.option(
    "--file-seconds", default=0.0063, show_default=True, help="To index a daily file, measured by `index`."
)
@click.option("--days", "lengths", default=(480, 3_650, 36_500), multiple=True, show_default=True)
@click.option("--workers", "numbers", default=(2, 10, 100), multiple=True, show_default=True)
def workers(
    patch_seconds: float, file_seconds: float, lengths: tuple[int, ...], numbers: tuple[int, ...]
) -> None:
    """Speed of W workers over one, each with a core and a way to the disk of its own.

    One process indexes the files; every worker solves the patches that its stretch of units needs, those on both
    sides of a boundary twice.
    """
    for row in modelled(patch_seconds, file_seconds, lengths, numbers):
        click.echo(row)


def modelled(
    patch_seconds: float, file_seconds: float, lengths: tuple[int, ...], numbers: tuple[int, ...]
) -> Iterator[str]:
    """A line for each length and number of workers."""
    for n_days in lengths:
        stream = plan(n_days)
        n_units = -(-n_days // DAYS_OF_A_UNIT)
        index, alone = n_days * file_seconds, stream.n_patches() * patch_seconds
        for n in numbers:
            patches = [
                stream.n_patches(first * DAYS_OF_A_UNIT, min(stop * DAYS_OF_A_UNIT, n_days))
                for first, stop in divided([(0, n_units)], n)
            ]
            solving = max(patches) * patch_seconds
            again = sum(patches) / stream.n_patches() - 1
            faster, waiting = (index + alone) / (index + solving), index / (index + solving)
            yield (
                f"{n_days} days, {n} workers: {faster:.1f} times as fast as one; {again:.0%} of the patches twice, "
                f"the index {waiting:.0%} of the time"
            )


def plan(n_days: int) -> TimeStream:
    """Patches of a record on the grid of the other measurements."""
    grid = PatchGrid({"time": n_days, "lat": FULL.n_lat, "lon": FULL.n_lon}, PATCH, OVERLAP)
    job = PatchJob(grid, lambda patches: patches, taper_factors("triangle", grid), 1, 6, np.dtype("float32"))
    return TimeStream(job)
