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


def gappy(sizes: dict[str, int], seed: int = 0, fraction: float = 0.4, name: str = "ssh") -> xr.Dataset:
    """Random observations with NaN gaps on a labelled grid."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(tuple(sizes.values())).astype(np.float32)
    values[rng.random(values.shape) > fraction] = np.nan
    coords = {dim: (dim, np.arange(n) / 4.0) for dim, n in sizes.items() if dim in ("lat", "lon")}
    if "time" in sizes:
        coords["time"] = (
            "time",
            np.datetime64("2020-01-01", "ns") + np.arange(sizes["time"]) * np.timedelta64(1, "D"),
        )
    return xr.Dataset({name: (tuple(sizes), values, {"units": "m", "long_name": "sea level"})}, coords)


def sea_level(n_time=12, n_lat=5, n_lon=6, observed=0.4, seed=0):
    rng = np.random.default_rng(seed)
    values = 0.3 + 0.1 * rng.standard_normal((n_time, n_lat, n_lon))
    values[rng.random(values.shape) > observed] = np.nan
    coords = {
        "time": np.datetime64("2020-01-01", "ns") + np.arange(n_time) * np.timedelta64(24, "h"),
        "latitude": ("latitude", 35 + 0.5 * np.arange(n_lat), {"units": "degrees_north"}),
        "longitude": ("longitude", 5 + 0.5 * np.arange(n_lon), {"units": "degrees_east"}),
    }
    attrs = {"units": "m", "standard_name": "sea_surface_height_above_geoid", "long_name": "sea level"}
    return xr.DataArray(values, coords, ("time", "latitude", "longitude"), "ssh", attrs)
