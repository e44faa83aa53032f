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
