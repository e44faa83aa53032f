"""Which method to trust on data of one's own: withhold observations, map the others, compare."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy import ndimage

from oceanvar.baselines.filling import dineof
from oceanvar.baselines.optimal import optimal_interpolation
from oceanvar.baselines.tuning import fit_covariance
from oceanvar.baselines.withholding import withhold_blocks, withhold_clouds
from oceanvar.errors import ConfigError, MendedWarning, MissingVariableError
from oceanvar.labels.coordinates import (
    TIME,
    meaning_of,
    spacing,
)
from oceanvar.labels.values import usable
from oceanvar.mapping import assimilate
from oceanvar.metrics.intervals import bootstrap_ratio
from oceanvar.network.varnet import VarNet, loaded

OPTIMAL = "optimal interpolation"
"""Name of the classical row, whose covariance is the likeliest of the observations that were left."""

DINEOF = "DINEOF"
"""Name of the row of empirical orthogonal functions, for images."""

SMOOTHING_STEPS = 2.0
"""Filter in time of DINEOF, in steps of the data; its cross-validation chooses between this and none."""

CLOUDY = 0.15
"""Share of the cells ever seen that is seen at a time, from which observations are images under clouds, not passes."""

START_STEPS = 5.0
"""Lengths from which the likeliest ones are looked for, in steps of the grid."""

START_NOISE = 0.2
"""The same of the errors, in standard deviations of the observations."""

_CALLER = 4
"""Frames from a warning up to the user's call of the accessor."""


def trust(
    obs: xr.Dataset,
    models: VarNet | str | Path | Mapping[str, VarNet | str | Path],
    *,
    fraction: float = 0.2,
    seed: int = 0,
    **options: Any,
) -> xr.Dataset:
    """Compare models with optimal interpolation and DINEOF where observations were withheld from all of them.

    Whole passes are withheld (what was seen at one time in one piece), or of images what clouds of other days hide:
    next to a single withheld value others would be left. Errors of the withheld observations are in all rows alike.
    DINEOF fills images only: along passes each time has too little for it.

    Parameters
    ----------
    obs : Dataset
        Observations on a grid, NaN where there are none; computed if lazy.
    models : VarNet, path-like, or mapping of str to these
        Models by the name of their row: packaged ones, files, a model that was tuned on this sea. All of one variable.
    fraction : float
        Share of the passes, or of the values of images, to withhold, between 0 and 1.
    seed : int
        Of what is withheld.
    **options
        Of `oceanvar.assimilate`, for all models: ``device``, ``mask``, ``patch``...

    Returns
    -------
    Dataset
        Over ``model``, optimal interpolation and of images DINEOF among them, the best one first: ``rmse`` at the
        withheld observations, in their units; ``rmse_over_best``, with its 95 % ``rmse_over_best_interval`` over
        ``bound``, paired over passes or days: where 1 lies inside, the two cannot be told apart. The attribute
        ``advice`` says which to use.

    Raises
    ------
    ConfigError
        If there are too few passes to withhold any, a model has several variables or the name of another row.
    MissingVariableError, UnitsMismatchError, GridMismatchError
        As of `oceanvar.assimilate`.

    Warns
    -----
    MendedWarning
        If images are too few, or too cloudy, for DINEOF, whose row is left out then.
    """
    named = dict(models) if isinstance(models, Mapping) else {_name_of(models): models}
    if taken := {OPTIMAL, DINEOF} & set(named):
        raise ConfigError(f"{sorted(taken)} are rows of their own: give the models other names")
    known = {name: loaded(model) for name, model in named.items()}
    field = _observed(obs, known, options.get("variables") or {})
    time = next((str(dim) for dim in field.dims if meaning_of(field[dim]) == TIME), str(field.dims[0]))
    is_cloudy = _is_of_images(field.notnull(), time)
    withheld, blocks = (_under_clouds if is_cloudy else _passes)(field, fraction, seed, time)
    kept = obs.assign({str(field.name): field.where(~withheld)})
    analyses = {
        name: assimilate(kept, model, **options)[str(field.name)].compute() for name, model in known.items()
    }
    left = kept[str(field.name)]
    analyses[OPTIMAL] = _interpolated(left, withheld)
    if is_cloudy:
        analyses |= _filled(left, time)
    return _compared(analyses, field, withheld, blocks)


def _name_of(model: VarNet | str | Path) -> str:
    return "model" if isinstance(model, VarNet) else Path(model).name.removesuffix(".varnet")


def _observed(obs: xr.Dataset, models: Mapping[str, VarNet], names: Mapping[str, str]) -> xr.DataArray:
    """Observed variable of all models, in memory, without what is no value."""
    variables = {names.get(each, each) for model in models.values() for each in model.state_space.variables}
    if len(variables) != 1:
        raise ConfigError(f"models of one variable can be compared, and these have {sorted(variables)}")
    name = variables.pop()
    if name not in obs:
        raise MissingVariableError(
            f"the observations have no variable {name!r}, only {sorted(map(str, obs.data_vars))}"
        )
    return usable(obs[name].compute(), "the observations")


def _is_of_images(seen: xr.DataArray, time: str) -> bool:
    return float(seen.sum() / (seen.any(time).sum() * seen.sizes[time])) > CLOUDY


def _under_clouds(
    field: xr.DataArray, fraction: float, seed: int, time: str
) -> tuple[xr.DataArray, xr.DataArray]:
    """What clouds of other times hide, and the number of the independent unit of each value: its time."""
    times = xr.DataArray(np.arange(field.sizes[time]), dims=time)
    return withhold_clouds(field, fraction, seed, time), times.broadcast_like(field)


def _passes(field: xr.DataArray, fraction: float, seed: int, time: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Whole passes, and the number of the independent unit of each value: its pass."""
    seen = field.notnull()
    # Pieces of one time that hang together, be it across a corner.
    structure = np.ones([1 if dim == time else 3 for dim in field.dims])
    whole = np.zeros([3] * field.ndim)
    whole[tuple(slice(1, 2) if dim == time else slice(None) for dim in field.dims)] = structure
    passes = ndimage.label(seen.values, whole)[0]
    withheld = np.zeros(passes.shape, bool)
    withheld[seen.values] = withhold_blocks(xr.DataArray(passes[seen.values]), fraction, seed)
    return seen.copy(data=withheld), field.copy(data=passes)


def _interpolated(kept: xr.DataArray, withheld: xr.DataArray) -> xr.DataArray:
    """Optimal interpolation with the likeliest covariance, where values are withheld; NaN elsewhere."""
    lengths = {str(dim): START_STEPS * spacing(kept, str(dim)) for dim in kept.dims}
    best, _ = fit_covariance(kept, lengths, START_NOISE * float(kept.std()))
    at = withheld.stack(all=kept.dims)
    targets = at[at.values].reset_index("all").rename(all="sample")
    found = optimal_interpolation(kept, targets=targets, **best)[str(kept.name)]
    result = xr.full_like(withheld, np.nan, dtype=float).values
    result[withheld.values] = found.values
    return withheld.copy(data=result)


def _filled(kept: xr.DataArray, time: str) -> dict[str, xr.DataArray]:
    """DINEOF with or without a filter in time, whichever its own cross-validation says; nothing of too few images."""
    steps = SMOOTHING_STEPS * spacing(kept, time)
    try:
        with warnings.catch_warnings():  # times without observations: the filter is for these
            warnings.simplefilter("ignore", MendedWarning)
            fits = [dineof(kept, smoothing=each, dim=time)[str(kept.name)] for each in (None, steps)]
    except ConfigError as error:
        warnings.warn(f"there is no row of DINEOF: {error}", MendedWarning, stacklevel=_CALLER)
        return {}
    best = min(fits, key=lambda each: float(each.attrs.get("cross_validation_rmse", np.inf)))
    # Cells that nothing else was seen of are none of its matrix: the mean, as at times without observations.
    return {DINEOF: best.fillna(float(kept.mean()))}


def _compared(
    analyses: Mapping[str, xr.DataArray], field: xr.DataArray, withheld: xr.DataArray, blocks: xr.DataArray
) -> xr.Dataset:
    at = withheld.values
    units = blocks.transpose(*field.dims).values[at]
    squares = {
        name: (each.transpose(*field.dims).values[at] - field.values[at]) ** 2
        for name, each in analyses.items()
    }
    rmse = {name: float(np.sqrt(each.mean())) for name, each in squares.items()}
    order = sorted(rmse, key=lambda name: rmse[name])
    numbers = np.unique(units, return_inverse=True)[1]
    sums = {name: np.bincount(numbers, each) for name, each in squares.items()}
    best = order[0]
    intervals = [
        [1.0, 1.0] if name == best else np.sqrt(bootstrap_ratio(sums[name], sums[best])) for name in order
    ]
    alike = [name for name, (low, _) in zip(order, intervals, strict=True) if low <= 1 and name != best]
    advice = f"use {best}" + (f"; {' and '.join(alike)} cannot be told apart from it" if alike else "")
    attrs = {key: field.attrs[key] for key in ("units",) if key in field.attrs}
    return xr.Dataset(
        {
            "rmse": (
                "model",
                [rmse[name] for name in order],
                {"long_name": "root mean square error", **attrs},
            ),
            "rmse_over_best": ("model", [rmse[name] / rmse[best] for name in order], {"units": "1"}),
            "rmse_over_best_interval": (("model", "bound"), intervals, {"units": "1"}),
        },
        {"model": order, "bound": ["low", "high"]},
        {"advice": advice, "n_withheld": int(at.sum()), "n_units": len(sums[best])},
    )
