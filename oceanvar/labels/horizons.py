"""Fields continued beyond what was observed."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError


def extended(ds: xr.Dataset, horizon: Mapping[str, int], patch: Mapping[str, int]) -> xr.Dataset:
    """Continue observations by steps at which nothing was observed.

    Parameters
    ----------
    ds : Dataset
        Observations, in memory or lazy, with regular steps along the dimensions of `horizon`.
    horizon : mapping of str to int
        Steps to add at the end of dimensions: ``{"time": 7}``.
    patch : mapping of str to int
        Points of a patch, in which something has to be observed.

    Returns
    -------
    Dataset
        With NaN, or what stands for missing values of that kind, at the new steps.

    Raises
    ------
    ConfigError
        If a dimension is not there, has no regular coordinate, or the number of steps is not positive.
    """
    for dim, n in horizon.items():
        if dim not in ds.dims:
            raise ConfigError(
                f"the horizon is along {dim!r}, and the observations have {list(map(str, ds.dims))}"
            )
        if not isinstance(n, int) or isinstance(n, bool) or n < 1:
            raise ConfigError(f"the horizon along {dim!r} must be a whole number of at least 1, got {n!r}")
        if n >= patch.get(dim, n + 1):
            raise ConfigError(
                f"a horizon of {n} along {dim!r} leaves nothing observed in a patch of {patch[dim]}"
            )
        if dim not in ds.coords:
            ds = ds.pad({dim: (0, n)})
            continue
        values = ds[dim].values
        steps = np.diff(values)
        # Missing times are gaps; the step is the smallest one.
        step = steps.min() if len(steps) else None
        if step is None or not step > step - step or not _are_multiples(steps, step):
            raise ConfigError(
                f"{dim!r} has no regular step by which a horizon could continue it: sort it, or reindex it to one"
            )
        ahead = values[-1] + step * np.arange(1, n + 1)
        ds = ds.reindex({dim: np.concatenate((values, ahead.astype(values.dtype)))})
    return ds


def _are_multiples(steps: np.ndarray, step: np.generic) -> bool:
    numbers = steps / step
    return bool(np.allclose(numbers, np.round(numbers), atol=1e-3))
