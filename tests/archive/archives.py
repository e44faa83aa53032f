"""Archives to read, and what is read of them."""

from pathlib import Path

import numpy as np
import xarray as xr

from oceanvar.archive import open_archive


def write_files(obs: xr.Dataset, folder: Path, days: int = 10, **options) -> str:
    """Write files whose names do not sort like their times, and give their pattern."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, first in enumerate(range(0, obs.sizes["time"], days)):
        piece = obs.isel(time=slice(first, first + days))
        piece.to_netcdf(folder / f"obs_{99 - i}.nc", engine="netcdf4", **options)
    return str(folder / "*.nc")


def fields(output: Path) -> np.ndarray:
    """Read an analysis."""
    with open_archive(output) as ds:
        return ds["ssh"].values


def write_days(obs: xr.Dataset, folder: Path, first: int, stop: int) -> Path:
    """Write the days [first, stop) into one file, and give the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    obs.isel(time=slice(first, stop)).to_netcdf(folder / f"obs_{first:03}.nc", engine="netcdf4")
    return folder


def whole(output: Path) -> xr.Dataset:
    """Read all of an analysis into memory."""
    with open_archive(output) as ds:
        return ds.load()


def assert_same_bits(output: Path, other: Path) -> None:
    """Demand the same variables with the same bits in two analyses."""
    ours, theirs = whole(output), whole(other)
    assert set(ours.variables) == set(theirs.variables)
    for name in theirs.variables:
        np.testing.assert_array_equal(ours[name].values, theirs[name].values, strict=True, err_msg=str(name))
