"""Labelled fields that several tests share."""

import numpy as np
import xarray as xr


def line(*values: float, dim: str = "time", **attrs: str) -> xr.DataArray:
    return xr.DataArray(np.array(values, dtype=float), dims=dim, name="ssh", attrs=attrs)


def field(seed: int = 0, sizes: tuple[int, int, int] = (30, 6, 40), std: float = 1.0) -> xr.DataArray:
    values = std * np.random.default_rng(seed).standard_normal(sizes)
    coords = {
        "time": np.datetime64("2012-10-22", "ns") + np.arange(sizes[0]) * np.timedelta64(1, "D"),
        "latitude": 33 + 0.25 * np.arange(sizes[1]),
        "longitude": -65 + 0.25 * np.arange(sizes[2]),
    }
    return xr.DataArray(values, coords=coords, dims=list(coords), name="ssh", attrs={"units": "m"})
