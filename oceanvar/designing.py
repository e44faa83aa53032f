"""Where the next observations should go, by a model that has learned to choose."""

from dataclasses import replace
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.labels.alignment import check_broadcasts
from oceanvar.network.varnet import VarNet, loaded
from oceanvar.patching.batches import PatchJob
from oceanvar.patching.graphs import map_patches
from oceanvar.patching.grids import PatchGrid
from oceanvar.patching.tapers import taper_factors

BATCH_SIZE = 16


def design(
    ds: xr.Dataset, model: VarNet | str | Path, *, budget: int, candidates: xr.DataArray | None = None
) -> xr.DataArray:
    """Choose the points of each map that are most worth observing.

    Parameters
    ----------
    ds : Dataset
        In memory, with the covariates of the model's learned sampling on their grid: yesterday's analysis, say.
    model : VarNet or path-like
        Model whose assimilator has a `SamplingDesign`, its file, or the name of a packaged one.
    budget : int
        Points to observe at each time.
    candidates : DataArray of bool, optional
        Where observing is possible (the sea). A point where a covariate is missing is never chosen.

    Returns
    -------
    DataArray
        Boolean mask "sampling" on the grid of `ds`, True at `budget` points of each time.

    Raises
    ------
    ConfigError
        If the model has no learned sampling, `ds` is lazy, or there are fewer candidates than the budget.
    MissingVariableError, UnitsMismatchError, PatchError
        Where `ds` does not fit the model.
    """
    model = loaded(model)
    names = tuple(model.sampling.covariates)
    space = replace(model.state_space, variables=names, covariates=(), instruments={})
    space.check(ds, "the covariates")
    array = space.stack(ds)
    if isinstance(array.data, da.Array):
        raise ConfigError("a choice needs the whole map, but the covariates are lazy: use .load() first")
    grid = PatchGrid({dim: ds.sizes[dim] for dim in space.dims}, space.patch, space.overlap, space.periodic)
    job = PatchJob(grid, model.worth, taper_factors("triangle", grid), 1, BATCH_SIZE, np.dtype(np.float32))
    worth = xr.Variable(array.dims, map_patches(array.values, job)).isel(variable=0)
    field = xr.DataArray(worth, {name: c for name, c in ds.coords.items() if set(c.dims) <= set(worth.dims)})
    possible = xr.DataArray(np.isfinite(array.values).all(array.get_axis_num("variable")), dims=worth.dims)
    if candidates is not None:
        check_broadcasts(candidates, field, "candidates and covariates")
        possible = (possible & candidates.reset_coords(drop=True).drop_vars(candidates.indexes)).transpose(
            *worth.dims
        )
    chosen = field.copy(data=_best(field.values, possible.values, budget, len(space.dims) - 1))
    chosen.attrs = {"long_name": f"{budget} points to observe at each time", "units": "1"}
    return chosen.rename("sampling")


def _best(worth: np.ndarray, possible: np.ndarray, budget: int, n_space_axes: int) -> np.ndarray:
    """The `budget` possible points of greatest worth over the last axes."""
    shape = worth.shape[: worth.ndim - n_space_axes]
    rows, can_be = worth.reshape(*shape, -1), possible.reshape(*shape, -1)
    fewest = int(can_be.sum(-1).min())
    if not 1 <= budget <= fewest:
        raise ConfigError(
            f"budget is {budget}, and the map with the fewest candidates has {fewest}: use 1 to {fewest} points"
        )
    order = np.argsort(-np.where(can_be, rows, -np.inf), axis=-1, kind="stable")
    chosen = np.zeros(rows.shape, bool)
    np.put_along_axis(chosen, order[..., :budget], True, axis=-1)
    return chosen.reshape(worth.shape)
