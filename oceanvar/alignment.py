"""Checks that labelled arrays share a grid, with numbers in the message when they do not."""

from collections.abc import Iterable

import numpy as np
import xarray as xr

from oceanvar.errors import GridMismatchError, MissingVariableError

Labelled = xr.Dataset | xr.DataArray


def check_same_grid(first: Labelled, second: Labelled, dims: Iterable[str], what: str) -> None:
    """Demand equal sizes and coordinates along `dims`.

    xarray would join differing coordinates to what they have in common, silently to nothing when one
    is float32 and the other float64.

    Parameters
    ----------
    first, second : Dataset or DataArray
        Arrays to compare.
    dims : iterable of str
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


def _check_equal(first: xr.DataArray, second: xr.DataArray, dim: str, what: str) -> None:
    a, b = first.values, second.values
    if a.dtype == b.dtype and np.array_equal(a, b):
        return
    if not (np.issubdtype(a.dtype, np.number) and np.issubdtype(b.dtype, np.number)):
        if np.array_equal(a, b):
            return
        n = int((a != b).sum())
        raise GridMismatchError(f"{what} differ in {n} of {len(a)} values along {dim!r}: align them first")
    if not np.array_equal(a, b):
        largest = np.abs(a.astype(np.float64) - b.astype(np.float64)).max()
        raise GridMismatchError(
            f"coordinate {dim!r} of {what} differs by up to {largest:.3g} ({a.dtype} against {b.dtype}); "
            f"if they mean the same grid, copy one: second.assign_coords({dim}=first.{dim})"
        )


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
