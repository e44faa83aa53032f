"""Checks that labelled arrays share a grid, with numbers in the message when they do not."""

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError, GridMismatchError, MissingVariableError
from oceanvar.labels.coordinates import CIRCLE, LONGITUDE, half_turned, metric_name

Labelled = xr.Dataset | xr.DataArray
L = TypeVar("L", xr.Dataset, xr.DataArray)

ONE_CELL = 0.01
"""Share of a cell by which coordinates of one grid may differ."""

MOST_COPIED = 0.1
"""Share of a cell beyond which coordinates that differ are hardly meant to be the same."""


def check_same_grid(first: Labelled, second: Labelled, dims: Iterable[Hashable], what: str) -> None:
    """Demand equal sizes and coordinates along `dims`.

    Coordinates must be equal number by number, whatever their types. xarray would join differing ones to
    what they have in common, silently to nothing when one is float32 and the other float64.

    Parameters
    ----------
    first, second : Dataset or DataArray
        Arrays to compare.
    dims : iterable of hashable
        Dimensions that must agree.
    what : str
        Names of the two for the message, as in "observations and background".

    Raises
    ------
    GridMismatchError
        Naming the dimension, the sizes or the largest difference, and the cure.
    """
    for dim in dims:
        for each in (first, second):
            if dim not in each.sizes:
                raise GridMismatchError(
                    f"{what} do not share dimension {dim!r}: one has only {tuple(each.sizes)}"
                )
        if first.sizes[dim] != second.sizes[dim]:
            raise GridMismatchError(
                f"{what} differ in size along {dim!r}: {first.sizes[dim]} and {second.sizes[dim]}; "
                "select or interpolate one to the other's grid"
            )
        if dim in first.coords and dim in second.coords:
            _check_equal(first[dim], second[dim], dim, what)


def joined(first: Labelled, second: L, dims: Iterable[Hashable], what: str) -> L:
    """Give the second of two grids that are one the coordinates of the first.

    Coordinates of one grid may differ by a hundredth of a cell (what is float32 in one file is float64 in another)
    and longitudes by whole turns.

    Raises
    ------
    GridMismatchError
        As of `check_same_grid`, where they differ by more.
    """
    dims = list(dims)
    close = {dim: first[dim] for dim in dims if _is_close(first, second, dim)}
    second = second.assign_coords(close)
    check_same_grid(first, second, dims, what)
    return second


def reordered(first: Labelled, second: L, dims: Iterable[Hashable], what: str) -> L:
    """The same as `joined`, where the second grid may also run the other way or begin elsewhere on the circle."""
    dims = list(dims)
    for dim in dims:
        if not _is_close(first, second, dim):
            index = _places_of(first, second, dim)
            second = second if index is None else second.isel({dim: index})
    return joined(first, second, dims, what)


def _places_of(first: Labelled, second: Labelled, dim: Hashable) -> np.ndarray | None:
    """Where each point of the first grid stands in the second; None where they are not the same points."""
    if dim not in first.coords or dim not in second.coords or first.sizes[dim] != second.sizes[dim]:
        return None
    one, other = first[dim].values, second[dim].values
    if one.dtype.kind not in "iuf" or other.dtype.kind not in "iuf":
        return None
    if LONGITUDE in (metric_name(first[dim]), metric_name(second[dim])):
        one, other = (
            (each - one[0] + ONE_CELL) % CIRCLE for each in (one.astype(float), other.astype(float))
        )
    index = np.empty(len(one), int)
    index[np.argsort(one, kind="stable")] = np.argsort(other, kind="stable")
    return index


def _is_close(first: Labelled, second: Labelled, dim: Hashable) -> bool:
    if dim not in first.coords or dim not in second.coords or first.sizes[dim] != second.sizes[dim]:
        return False
    return are_one(first[dim], second[dim])


def are_one(first: xr.DataArray, second: xr.DataArray) -> bool:
    """Whether two coordinates of numbers are one: the same places but for a hundredth of a cell, or whole turns.

    They may be two-dimensional, those of a curvilinear grid; NaN, of land, stands in both.
    """
    one, other = first.values, second.values
    if one.shape != other.shape or one.dtype.kind not in "iuf" or other.dtype.kind not in "iuf":
        return False
    are_nan = np.isnan(one) & np.isnan(other)
    apart = _apart(one, other, _are_longitudes(first, second))
    return bool((are_nan | (apart <= ONE_CELL * _cell(one))).all())


def _are_longitudes(first: xr.DataArray, second: xr.DataArray) -> bool:
    return LONGITUDE in (metric_name(first), metric_name(second))


def _apart(one: np.ndarray, other: np.ndarray, are_longitudes: bool) -> np.ndarray:
    apart = one.astype(np.float64) - other
    return np.abs(half_turned(apart) if are_longitudes else apart)


def _cell(values: np.ndarray) -> float:
    """Smallest step of a coordinate, usual one of a two-dimensional one along the dimension where it changes most."""
    steps = [
        np.abs(np.diff(values.astype(np.float64), axis=axis))
        for axis in range(values.ndim)
        if values.shape[axis] > 1
    ]
    if values.ndim == 1:
        return float(steps[0].min()) if steps else 1.0
    usual = [float(np.median(each[np.isfinite(each)])) for each in steps if np.isfinite(each).any()]
    return max(usual, default=1.0)


def check_broadcasts(field: xr.DataArray, grid: xr.DataArray, what: str) -> None:
    """Demand that `field` lies on the grid, of which it may lack dimensions.

    Raises
    ------
    GridMismatchError
        If `field` has a dimension that the grid lacks, or sizes or coordinates differ.
    """
    extra = [dim for dim in field.dims if dim not in grid.dims]
    if extra:
        raise GridMismatchError(
            f"{what} do not go together: the first has the dimensions {extra} and the second has only "
            f"{list(grid.dims)}; select along them first"
        )
    check_same_grid(field, grid, field.dims, what)


def check_mask(mask: xr.DataArray, layout: xr.Dataset, dims: Sequence[Hashable]) -> None:
    """Demand that a mask is boolean and lies on the grid of an analysis, of which it may lack dimensions.

    A mask of numbers is refused because NaN, with which many files mark the land, counts as True.

    Parameters
    ----------
    mask : DataArray
        Where the analysis is kept.
    layout : Dataset
        Observations, for their sizes and coordinates.
    dims : sequence of hashable
        Dimensions of the analysis.

    Raises
    ------
    ConfigError
        If the mask is not boolean.
    GridMismatchError
        If sizes or coordinates differ, or the mask has a dimension that the analysis lacks.
    """
    if mask.dtype != bool:
        raise ConfigError(
            f"the mask must be boolean, True where the analysis is kept, but it is {mask.dtype}: "
            "give mask > 0 or mask.notnull()"
        )
    unknown = [dim for dim in mask.dims if dim not in dims]
    if unknown:
        raise GridMismatchError(f"the mask has the dimensions {unknown}, the analysis only {list(dims)}")
    check_same_grid(layout, mask, mask.dims, "observations and mask")


def on_grid(field: xr.DataArray, grid: xr.DataArray, what: str) -> xr.DataArray:
    """Values of `field` with the order of dimensions, the coordinates, attributes and name of `grid`.

    Raises
    ------
    GridMismatchError
        If dimensions, sizes or coordinates differ.
    """
    if set(field.dims) != set(grid.dims):
        raise GridMismatchError(
            f"{what} have the dimensions {list(field.dims)} and {list(grid.dims)}: "
            "select or broadcast them to the same ones"
        )
    check_same_grid(field, grid, grid.dims, what)
    return grid.copy(data=field.transpose(*grid.dims).data)


def _check_equal(first: xr.DataArray, second: xr.DataArray, dim: Hashable, what: str) -> None:
    kinds = {first.dtype.kind, second.dtype.kind}
    numeric = kinds <= set("iuf")
    if np.array_equal(first.values, second.values, equal_nan=numeric):
        return
    if moved := _moved(first, second, dim):
        raise GridMismatchError(f"coordinate {dim!r} of {what} has the same points, but the second {moved}")
    # What lies elsewhere would get the places of other values if its coordinate was copied.
    is_near = len(kinds) > 1
    if numeric:
        largest = np.abs(first.values.astype(np.float64) - second.values.astype(np.float64)).max()
        apart = _apart(first.values, second.values, _are_longitudes(first, second)).max()
        difference, is_near = f"by up to {largest:.3g}", bool(apart <= MOST_COPIED * _cell(first.values))
    elif kinds in ({"M"}, {"m"}):
        difference = f"by up to {abs(first.to_index() - second.to_index()).max()}"
    else:
        difference = f"at {np.count_nonzero(first.values != second.values)} of {first.size} points"
    copied = (
        f"if the grids are meant to be the same, copy one: second.assign_coords({dim}=first[{dim!r}]); else "
    )
    raise GridMismatchError(
        f"coordinate {dim!r} of {what} differs {difference} ({first.dtype} against {second.dtype}); "
        f"{copied if is_near else ''}interpolate to one of them"
    )


def _moved(first: xr.DataArray, second: xr.DataArray, dim: Hashable) -> str:
    """How a coordinate has the points of another in another order, and the cure; nothing where it has not."""
    one, other = first.values, second.values
    numeric = {one.dtype.kind, other.dtype.kind} <= set("iuf")
    if one.size < 2 or one.dtype.kind == "O" or not (numeric or one.dtype.kind == other.dtype.kind):
        return ""
    are_longitudes = numeric and _are_longitudes(first, second)

    def is_first(values: np.ndarray) -> bool:
        if not numeric:
            return np.array_equal(one, values)
        return bool((_apart(one, values, are_longitudes) <= ONE_CELL * _cell(one)).all())

    def labels(values: np.ndarray) -> str:
        # The same places may be written in another precision, or on another turn.
        return "" if np.array_equal(one, values) else f".assign_coords({dim}=first[{dim!r}])"

    if is_first(other):
        return ""
    back = other[::-1]
    if is_first(back):
        return f"runs the other way: turn it, second.isel({dim}=slice(None, None, -1)){labels(back)}"
    start = int(np.argmin(_apart(one[:1], other, are_longitudes) if numeric else other != one[0]))
    back = np.roll(other, -start)
    if is_first(back):
        return f"is rolled: roll it back, second.roll({dim}={-start}, roll_coords=True){labels(back)}"
    ranks = np.argsort(np.argsort(one % CIRCLE if are_longitudes else one))
    if is_first(other[np.argsort(other % CIRCLE if are_longitudes else other)][ranks]):
        return f"is in another order: put both in order, first.sortby({dim!r}) and second.sortby({dim!r})"
    return ""


def check_variables(ds: xr.Dataset, names: Iterable[str], dims: Iterable[str], what: str) -> None:
    """Demand that `ds` holds the variables `names`, each over all of `dims`.

    Raises
    ------
    MissingVariableError
        Naming what is missing and what is there.
    """
    for name in names:
        if name not in ds.data_vars:
            raise MissingVariableError(
                f"{what} have no variable {name!r}; there are {sorted(map(str, ds.data_vars))}"
            )
        missing = [dim for dim in dims if dim not in ds[name].dims]
        if missing:
            raise MissingVariableError(
                f"variable {name!r} of {what} lacks dimension {missing[0]!r}: it has {ds[name].dims}; "
                f"rename with ds.rename(...) or add it with ds.expand_dims({missing[0]!r})"
            )
