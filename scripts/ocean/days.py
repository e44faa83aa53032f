"""What is known yesterday and what is true today, for `scripts.ocean.sampling`: one window ends on each day."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

import oceanvar
from scripts.keeping import kept
from scripts.ocean.cases import (
    ALTIMETERS,
    BOX,
    FIRST_TEST_SEED,
    MARGIN,
    Scale,
    mirrored,
    month,
    observed,
    ocean,
)

EVERY_DAYS, EVERY_CELLS = 4, 2
"""Days of a year that are learned from, and cells of the map that can be observed."""

NEXT = 5
"""Days from today in which a cell waits for a nadir."""

KNOWN = ("previous", "age")
"""What a choice is made from: yesterday's analysis, m, and the days since a nadir last saw a cell."""


def year(out: Path, scale: Scale, seed: int, model: oceanvar.VarNet, is_mirrored: bool) -> xr.Dataset:
    """Days of a year or of its mirror image, along ``trajectory``."""

    def make() -> xr.Dataset:
        truth = ocean(out, scale, seed, scale.n_days, "2001-01-01")
        truth = mirrored(truth) if is_mirrored else truth
        return days(truth, range(scale.patch[0], scale.n_days - NEXT, EVERY_DAYS), scale, model)

    return kept(out / "sampling" / "days" / f"{seed}{'_mirrored' * is_mirrored}.nc", make)


def days_of_month(out: Path, scale: Scale, number: int, model: oceanvar.VarNet) -> xr.Dataset:
    """Days of a test month, without its margins, before which a whole window lies."""

    def make() -> xr.Dataset:
        truth = month(out, scale, FIRST_TEST_SEED + number, number)
        first, last = max(scale.patch[0], MARGIN), truth.sizes["time"] - MARGIN
        return days(truth, range(first, last), scale, model)

    return kept(out / "sampling" / "days" / f"{FIRST_TEST_SEED + number}.nc", make)


def days(truth: xr.Dataset, chosen: Sequence[int], scale: Scale, model: oceanvar.VarNet) -> xr.Dataset:
    """Today's sea level, yesterday's analysis from four nadirs, and when a nadir sees each cell.

    Returns
    -------
    Dataset
        Over trajectory, time (one step), latitude and longitude, every second cell: ``ssh``, ``previous`` (m),
        ``departure`` = ssh - previous, ``age`` and ``wait`` (days since and until a nadir sees the cell).
    """
    n_window = scale.patch[0]
    obs = observed(truth, ALTIMETERS["4 nadirs"])
    windows = xr.concat(
        [obs.isel(time=slice(day - n_window, day)).drop_vars("time") for day in chosen], "trajectory"
    )
    box = {dim: truth.sizes[dim] for dim in BOX}
    analyses = windows.transpose("trajectory", "time", *BOX).varnet.assimilate(
        model, patch=box, overlap=dict.fromkeys(BOX, 0), batch_size=4, precision="bfloat16"
    )
    seen = obs["ssh"].notnull().coarsen(dict.fromkeys(BOX, EVERY_CELLS)).max().transpose("time", *BOX).values
    found = xr.Dataset(
        {
            "ssh": truth["ssh"][list(chosen), ::EVERY_CELLS, ::EVERY_CELLS]
            .drop_vars("time")
            .rename(time="trajectory"),
            "previous": analyses["ssh"].isel(time=-1)[:, ::EVERY_CELLS, ::EVERY_CELLS],
        }
    )
    dims = ("trajectory", *BOX)
    found["departure"] = (found["ssh"] - found["previous"]).assign_attrs(units="m")
    found["age"] = (dims, np.stack([_first(seen[day - n_window : day][::-1]) for day in chosen]))
    # The fraction says which of the cells of a day come first: any of them.
    wait = np.stack([_first(seen[day : day + NEXT]) for day in chosen])
    found["wait"] = (dims, wait + np.random.default_rng(int(truth.attrs["seed"])).random(wait.shape))
    return found.astype(np.float32).expand_dims("time", 1)


def _first(seen: np.ndarray) -> np.ndarray:
    """Steps to the first True along the first axis, its length where there is none."""
    return np.where(seen.any(axis=0), seen.argmax(axis=0), len(seen))
