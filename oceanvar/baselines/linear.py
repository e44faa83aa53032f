"""Linear interpolation of gappy observations along one dimension, the plainest of all baselines."""

from typing import TypeVar

import numpy as np
import xarray as xr

from oceanvar.baselines.fields import observed_mean
from oceanvar.errors import ConfigError, MissingVariableError
from oceanvar.labels.alignment import check_broadcasts
from oceanvar.labels.coordinates import coordinate_of, numbers
from oceanvar.labels.values import usable

Field = TypeVar("Field", xr.DataArray, xr.Dataset)


def interpolate_linear(obs: Field, dim: str = "time", fill: float | xr.DataArray | None = None) -> Field:
    """Fill the gaps linearly along `dim`, and with the nearest observation outside the first and last one.

    Parameters
    ----------
    obs : DataArray or Dataset
        Observations, NaN where nothing was observed; fill values of another kind count as such, see
        `oceanvar.labels.values.usable`. Variables of a dataset without `dim` pass unchanged.
    dim : str
        Dimension to interpolate along; distances are those of its coordinate, which need not be regular.
    fill : float or DataArray, optional
        Value where a point was never observed; the default is the mean of all observations of the variable.
        A field (a climatology, say) lies on the grid of `obs`, without `dim`.

    Returns
    -------
    DataArray or Dataset
        Complete field of the shape, data type, coordinates and attributes of `obs`. Lazy if `obs` is; a lazy
        variable is joined into one chunk along `dim`, the other chunks stay.

    Raises
    ------
    MissingVariableError
        When `obs` lacks `dim`.
    ConfigError
        When the coordinate of `dim` is not strictly monotonic, or nothing is observed and no `fill` given.
    GridMismatchError
        When `fill` lies on another grid.
    """
    if dim not in obs.dims:
        raise MissingVariableError(
            f"observations have no dimension {dim!r}, only {[str(name) for name in obs.dims]}"
        )
    if isinstance(obs, xr.Dataset):
        return obs.map(lambda one: _fill_gaps(one, dim, fill) if dim in one.dims else one, keep_attrs=True)
    return _fill_gaps(obs, dim, fill)


def _fill_gaps(obs: xr.DataArray, dim: str, fill: float | xr.DataArray | None) -> xr.DataArray:
    obs = usable(obs, "the observations")
    obs = obs if np.issubdtype(obs.dtype, np.floating) else obs.astype(np.float64)
    level = (
        observed_mean(obs) if fill is None else fill if isinstance(fill, xr.DataArray) else xr.DataArray(fill)
    )
    check_broadcasts(level, obs.isel({dim: 0}, drop=True), f"fill and {obs.name!r} without {dim!r}")
    position = numbers(coordinate_of(obs, dim)).values
    steps = np.diff(position)
    if not (np.all(steps > 0) or np.all(steps < 0)):
        raise ConfigError(
            f"coordinate {dim!r} is not strictly monotonic: sort by it and drop duplicates first"
        )
    filled = xr.apply_ufunc(
        _interpolate_rows,
        obs if obs.chunks is None else obs.chunk({dim: -1}),
        level,
        input_core_dims=[[dim], []],
        output_core_dims=[[dim]],
        kwargs={"position": position},
        dask="parallelized",
        output_dtypes=[obs.dtype],
        keep_attrs="override",
    )
    return filled.transpose(*obs.dims)


def _interpolate_rows(values: np.ndarray, fill: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Interpolate `values` (..., n) with gaps at `position` (n,); `fill` broadcasts against (...)."""
    observed = ~np.isnan(values)
    number = np.arange(position.size)
    before = np.maximum.accumulate(np.where(observed, number, -1), axis=-1)
    after = np.minimum.accumulate(np.where(observed, number, position.size)[..., ::-1], axis=-1)[..., ::-1]
    # Outside the observed stretch both neighbours are the one that exists, whose weights then do not matter.
    left = np.clip(np.where(before < 0, after, before), 0, position.size - 1)
    right = np.clip(np.where(after == position.size, before, after), 0, position.size - 1)
    span = position[right] - position[left]
    fraction = np.divide(position - position[left], span, out=np.zeros_like(span), where=span != 0)
    start = np.take_along_axis(values, left, axis=-1)
    stop = np.take_along_axis(values, right, axis=-1)
    line = start + fraction * (stop - start)
    # A row without observations has left = right = some unobserved point: its value never passes.
    return np.where(observed.any(axis=-1, keepdims=True), line, fill[..., np.newaxis]).astype(values.dtype)
