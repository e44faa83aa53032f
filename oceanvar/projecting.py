"""What the prior of a model makes of fields, and priors that are fitted to archives larger than memory."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.mapping import assimilate
from oceanvar.network.projections import as_projection, set_functions
from oceanvar.network.varnet import VarNet, loaded


def project(ds: xr.Dataset, model: VarNet | str | Path, **options: Any) -> xr.Dataset:
    """Project fields on what the prior of a model takes for possible: Phi(x), patch by patch.

    The P-score of the papers is its error: ``truth.varnet.project(model).varnet.score(truth)["r_score"]``.

    Parameters
    ----------
    ds : Dataset
        Complete fields, in memory or lazy.
    model : VarNet or path-like
        Model with one prior term, its file, or the name of a packaged one.
    **options
        As for `assimilate`: patch, overlap, batch_size...

    Returns
    -------
    Dataset
        Projections on the grid of `ds`, lazy if `ds` is.

    Raises
    ------
    ConfigError
        If the model has no prior, or several.
    """
    model = loaded(model)
    space = replace(model.state_space, instruments={}, covariates=(), borders={})
    nothing = ds[[*space.variables]].where(False)
    only = VarNet(as_projection(model.assimilator), space)
    return assimilate(nothing, only, background=ds[[*space.variables]], **options)


def fit_eofs(model: VarNet, truth: xr.Dataset, n_power_iterations: int = 2) -> VarNet:
    """Set mean and functions of a model's `EOFPrior` from fields, in place, without loading them at once.

    The fields are cut into windows that follow each other; singular vectors come from the randomised algorithm
    of dask (Halko, Martinsson and Tropp, 2011), which reads the data a few times and holds little of them.

    Parameters
    ----------
    model : VarNet
        Model with one prior, an `oceanvar.variational.EOFPrior`, for patches as large as the fields in space. Its
        normalisation comes from `truth` unless its state space has one.
    truth : Dataset
        Complete fields, in memory or lazy.
    n_power_iterations : int
        More make the last functions more exact.

    Returns
    -------
    VarNet
        The model.

    Raises
    ------
    ConfigError
        If the prior is another one, the patch is smaller than the fields, there are fewer windows than functions, or
        a value is missing.
    """
    space = model.state_space.normalised_by(truth, truth)
    model.normalise(space)
    sizes = {dim: truth.sizes[dim] for dim in space.dims}
    first, *others = space.dims
    if any(space.patch[dim] != sizes[dim] for dim in others):
        raise ConfigError(
            f"functions belong to the whole domain, {sizes}, and the patch is {dict(space.patch)}"
        )
    n_windows = sizes[first] // space.patch[first]
    array = da.asarray(space.stack(truth).transpose("variable", *space.dims).data)
    mean, std = space.scales(np.float64, n_axes=len(space.dims))
    array = ((array - mean) / std)[:, : n_windows * space.patch[first]]
    windows = array.reshape(len(space.variables), n_windows, space.patch[first], *array.shape[2:])
    rows = windows.swapaxes(0, 1).reshape(n_windows, -1)
    rows = rows.rechunk({0: "auto", 1: -1})
    average = rows.mean(axis=0).compute()
    if not np.isfinite(average).all():
        raise ConfigError(
            "fields with missing values have no functions: fill them, or give a part without gaps"
        )
    set_functions(model.assimilator, average, lambda n: _leading(rows - average, n, n_power_iterations))
    return model


def _leading(rows: da.Array, n: int, n_power_iterations: int) -> np.ndarray:
    """Leading `n` right singular vectors, as columns."""
    if len(rows) <= n:
        raise ConfigError(f"{n} functions need more than {n} windows, and the fields hold {len(rows)}")
    _, _, vectors = da.linalg.svd_compressed(rows, n, n_power_iter=n_power_iterations, seed=0)
    return np.asarray(vectors.compute()).T
