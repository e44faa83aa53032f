"""What both interpolations ask of a labelled array: statistics, and coordinates as numbers."""

import numpy as np
import xarray as xr

from oceanvar.baselines.covariance import LATITUDE, LONGITUDE
from oceanvar.errors import ConfigError, GridMismatchError, MissingVariableError


def observed_mean(obs: xr.DataArray) -> xr.DataArray:
    """Mean of the observed values over all dimensions, as an array without dimensions (lazy if `obs` is).

    Raises
    ------
    ConfigError
        When nothing is observed: at once for an eager array, when computed for a lazy one.
    """
    return xr.apply_ufunc(
        _ratio,
        obs.sum(dtype=np.float64),
        obs.count(),
        kwargs={"name": obs.name},
        dask="parallelized",
        output_dtypes=[np.float64],
    )


def _ratio(total: np.ndarray, count: np.ndarray, name: object) -> np.ndarray:
    if np.any(count == 0):
        raise ConfigError(
            f"variable {name!r} has no observation to take a mean from: give the value yourself"
        )
    return np.asarray(total / count)


def require_same_grid(obs: xr.DataArray, other: xr.DataArray, role: str) -> None:
    """Refuse a field `other` that does not broadcast onto the very grid of `obs`.

    Raises
    ------
    GridMismatchError
        When `other` has a dimension that `obs` lacks, or different coordinates along a shared one.
    """
    extra = [str(dim) for dim in other.dims if dim not in obs.dims]
    if extra:
        raise GridMismatchError(
            f"{role} has the dimensions {extra} that {obs.name!r} lacks: select along them first"
        )
    try:
        xr.align(obs, other, join="exact")
    except ValueError as error:
        raise GridMismatchError(
            f"{role} and {obs.name!r} lie on different grids, regrid one of them: {error}"
        ) from error


def numeric_coordinate(coordinate: xr.DataArray, origin: xr.DataArray) -> xr.DataArray:
    """Coordinate as float64: days since the scalar `origin` for times of any calendar, else its own units."""
    if np.issubdtype(coordinate.dtype, np.number):
        return coordinate.astype(np.float64)
    since = coordinate - origin.drop_vars(list(origin.coords))
    return since / np.timedelta64(1, "D")


def coordinate_of(field: xr.DataArray | xr.Dataset, name: str) -> xr.DataArray:
    """Coordinate `name` of a field, its point numbers where a dimension has none.

    Raises
    ------
    MissingVariableError
        When the field has neither a coordinate nor a dimension of that name.
    """
    if name not in field.coords and name not in field.dims:
        known = sorted({str(key) for key in (*field.sizes, *field.coords)})
        raise MissingVariableError(f"no coordinate or dimension {name!r}, only {known}")
    return field[name].reset_coords(drop=True)


def metric_name(coordinate: xr.DataArray) -> str:
    """Name of a coordinate in a covariance: "latitude" or "longitude" by its name or units, or its own."""
    name, units = str(coordinate.name), str(coordinate.attrs.get("units", "")).lower()
    for metric, marks in (
        (LATITUDE, ("degrees_north", "degree_north")),
        (LONGITUDE, ("degrees_east", "degree_east")),
    ):
        if name.lower() in (metric, metric[:3]) or units in marks:
            return metric
    return name
