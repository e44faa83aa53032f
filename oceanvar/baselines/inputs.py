"""Observations as they come, made what optimal interpolation takes: values that are some, samples that have a place."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.labels.alignment import check_broadcasts
from oceanvar.labels.coordinates import LATITUDE, LONGITUDE, NAMES, angles, coordinate_meant, meaning_of
from oceanvar.labels.passes import passes_of
from oceanvar.labels.samples import PLACE, Tracks, located, over_samples, value_names
from oceanvar.labels.values import usable

VARIANCE = "variance"
"""Name of the variable that is the error variance of each observation."""

_NOISE = "noise_std of the samples"


class Inputs(NamedTuple):
    """Observations by name, without their errors, the errors, and the lengths by the names of the coordinates."""

    fields: xr.Dataset
    noise_std: float | xr.DataArray
    scales: list[Mapping[str, Any]]


def checked_inputs(
    obs: Tracks,
    scales: list[Mapping[str, Any]],
    noise_std: float | xr.DataArray | None,
    to_targets: bool,
) -> Inputs:
    """Look at all values, and at the places of samples.

    Parameters
    ----------
    obs : Dataset, DataArray or sequence of these
        As of `oceanvar.baselines.optimal.optimal_interpolation`.
    scales : list of mappings
        Lengths by the coordinates of `obs`.
    noise_std : float or DataArray, optional
        Default: the root of the variable ``variance``.
    to_targets : bool
        Whether the analysis is wanted elsewhere: then samples are left out that have no place, or are there twice.

    Raises
    ------
    ConfigError
        If the values are packed, durations or no numbers, or there is no `noise_std`.

    Warns
    -----
    MendedWarning
        Where values are none or samples are left out, with their number.
    """
    if isinstance(obs, xr.DataArray):
        obs = obs.to_dataset(name=obs.name or "analysis")
    if isinstance(obs, xr.Dataset) and not (to_targets and _is_track(obs)):
        fields = obs
    else:
        scales = _by_meaning(scales, obs)
        fields, noise_std = _samples(obs, scales, noise_std)
    values = fields.drop_vars(VARIANCE, errors="ignore")
    names = value_names(values) or [str(name) for name in values.data_vars]
    values = values.drop_vars([name for name in values.data_vars if name not in names])
    values = values.assign({name: usable(values[name], "the observations") for name in names})
    if noise_std is None:
        values, noise_std = _with_own_errors(values, fields)
    return Inputs(values, noise_std, scales)


def on_grid_of(obs: xr.DataArray, field: float | xr.DataArray, what: str) -> xr.DataArray:
    """Field that lies on the grid of `obs`, of which it may lack dimensions.

    Raises
    ------
    GridMismatchError
        When it lies on another.
    """
    field = xr.DataArray(field)
    check_broadcasts(field, obs, f"{what} and {obs.name!r}")
    return field


def _is_track(fields: xr.Dataset) -> bool:
    """Whether all lie along one dimension, with a latitude and a longitude each."""
    places = angles(fields)
    dims = {places[name].dims for name in (LATITUDE, LONGITUDE) if name in places}
    if len(places) < 2 or len(dims) != 1:
        return False
    (along,) = dims
    return len(along) == 1 and all(each.dims == along for each in fields.data_vars.values())


def _by_meaning(scales: list[Mapping[str, Any]], obs: Tracks) -> list[Mapping[str, Any]]:
    """Lengths by the names that samples have, whatever those of the coordinates were."""
    named = {name: meaning for meaning, names in NAMES.items() for name in names}
    if isinstance(obs, xr.Dataset):
        named |= {name: meaning_of(coordinate_meant(obs, name)) for name in scales[0]}
    return [{named.get(name, name): length for name, length in each.items()} for each in scales]


def _samples(
    obs: Tracks, scales: Sequence[Mapping[str, Any]], noise_std: float | xr.DataArray | None
) -> tuple[xr.Dataset, float | xr.DataArray | None]:
    """Samples with a place, each once, and their errors."""
    of_each = isinstance(noise_std, xr.DataArray) and noise_std.ndim > 0
    if of_each and not isinstance(obs, xr.Dataset):
        raise ConfigError(
            "noise_std of a list of tracks is a number: give each of them a variable 'variance' instead"
        )
    if of_each and isinstance(obs, xr.Dataset):
        first = obs[value_names(obs)[0]]
        obs = obs.assign({_NOISE: on_grid_of(first, noise_std, "noise_std")})  # type: ignore[arg-type]
    needed = [name for name in PLACE if name in scales[0]]
    samples = over_samples(obs, needed=needed)
    if not isinstance(obs, xr.Dataset) and "track" in samples.variables:
        # Each of a list numbers its own passes.
        samples = samples.assign_coords(track=("sample", passes_of(samples)))
    names = [name for name in value_names(samples) if name not in (VARIANCE, _NOISE)]
    samples = located(samples, names, needed)
    if not of_each:
        return samples, noise_std
    return samples.drop_vars(_NOISE), samples[_NOISE]


def _with_own_errors(values: xr.Dataset, fields: xr.Dataset) -> tuple[xr.Dataset, xr.DataArray]:
    """Values that have an error variance, and the standard deviations."""
    if VARIANCE not in fields:
        raise ConfigError(
            f"optimal interpolation needs the errors of the observations: give noise_std, or a variable {VARIANCE!r}"
        )
    variance = fields[VARIANCE]
    known = (variance > 0) & (variance < np.inf)
    # A value without a known error is not used; where there is no value any error will do.
    return values.where(known), variance.where(known, 1.0) ** 0.5
