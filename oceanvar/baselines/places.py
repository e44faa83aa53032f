"""Points of labelled grids as rows of numbers."""

import numpy as np
import xarray as xr

from oceanvar.labels.coordinates import numbers

Places = dict[str, xr.DataArray]
"""Numerical coordinates, without coordinates of their own, by their name in a covariance."""


def plain(coordinate: xr.DataArray, origin: xr.DataArray) -> xr.DataArray:
    """Coordinate in numbers, in days since `origin` for times, without coordinates of its own."""
    number = numbers(coordinate, origin)
    return number.drop_vars(list(number.coords))


def like_goals(stretch: Places, goals: Places) -> Places:
    """A field over the grid for each coordinate, in the order of `goals`: 1 where `stretch` has none."""
    whole = xr.broadcast(*goals.values())[0] * 0.0 + 1.0
    return {name: (stretch.get(name, 1.0) * whole).transpose(*whole.dims) for name in goals}


def columns(places: Places) -> np.ndarray:
    """Points (n, d) of a grid, one column for each coordinate, one row for each point."""
    return np.stack(
        [one.transpose(*dims_of(places)).values.ravel() for one in xr.broadcast(*places.values())], axis=-1
    )


def dims_of(places: Places) -> list[str]:
    """Dimensions of the grid, in the order of its rows."""
    return list(sizes_of(places))


def sizes_of(places: Places) -> dict[str, int]:
    """Size of every dimension of the grid."""
    return {str(dim): size for one in places.values() for dim, size in one.sizes.items()}
