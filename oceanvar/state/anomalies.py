"""Data of a model that has a climatology: departures from it on the way in, the whole on the way out."""

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr

from oceanvar.state.spaces import StateSpace


def departures(
    ds: xr.Dataset, space: StateSpace
) -> tuple[xr.Dataset, Callable[[xr.Dataset], xr.Dataset] | None]:
    """Take the climatology off what instruments observe on the grid, lazy where the data are.

    Returns
    -------
    (Dataset, callable)
        The departures, and what gives an analysis of them its climatology again; None where there is none.

    Raises
    ------
    GridMismatchError
        If the data lie elsewhere.
    """
    climatology = space.climatology
    if climatology is None:
        return ds, None
    on_grid = [each for each in space.observing.values() if not each.along_track]
    pairs = [
        (name, scale) for each in on_grid for name, scale in zip(each.variables, each.scales, strict=True)
    ]
    known = [(name, scale) for name, scale in pairs if name in ds and scale in climatology.coefficients]
    off = {name: _kept(ds[name] - climatology.at(scale, ds[name]), ds[name]) for name, scale in known}

    def back(analysis: xr.Dataset) -> xr.Dataset:
        present = [name for name in climatology.coefficients if name in analysis]
        added = {name: climatology.at(name, analysis[name]) for name in present}
        whole = {
            each: analysis[each] + mean
            for name, mean in added.items()
            for each in (name, f"{name}_sample")
            if each in analysis
        }
        return analysis.assign({name: _kept(each, analysis[name]) for name, each in whole.items()})

    return ds.assign(off), back


def with_climatology(
    fields: Mapping[str, np.ndarray], places: xr.Dataset, space: StateSpace
) -> dict[str, np.ndarray]:
    """Give arrays ``(..., *dims)`` of an analysis at the times and places of a dataset their climatology again."""
    if space.climatology is None:
        return dict(fields)
    present = [name for name in space.climatology.coefficients if name in fields]
    added = {name: space.climatology.at(name, places).values.astype(fields[name].dtype) for name in present}
    whole = {
        each: fields[each] + mean
        for name, mean in added.items()
        for each in (name, f"{name}_sample")
        if each in fields
    }
    return {**fields, **whole}


def _kept(field: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
    """Field with the order, type and attributes of another."""
    return field.transpose(*like.dims).astype(np.result_type(like.dtype, np.float32)).assign_attrs(like.attrs)
