"""From arrays with NaN to tensors with weights, and back."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.labels.values import plausible, told_if_elsewhere
from oceanvar.state.instruments import Instrument
from oceanvar.state.samples import TrackPatches
from oceanvar.state.spaces import StateSpace
from oceanvar.variational.observations import Observations
from oceanvar.variational.shapes import as_numbers


def to_observations(
    values: np.ndarray,
    space: StateSpace,
    background: np.ndarray | None = None,
    dtype: torch.dtype = torch.float32,
    tracks: Mapping[str, TrackPatches] | None = None,
) -> Observations:
    """Turn gappy arrays in physical units into normalised observations.

    Parameters
    ----------
    values : ndarray
        ``(B, C, T, *S)``, the inputs of `space`, NaN where nothing was observed.
    space : StateSpace
        Owner of the normalisation, and list of instruments and covariates.
    background : ndarray, optional
        First guess ``(B, V, T, *S)``; NaN (land, say) becomes the climatological mean.
    dtype : torch.dtype
        Of the tensors.
    tracks : mapping of str to TrackPatches, optional
        Samples of each along-track instrument.

    Raises
    ------
    ConfigError
        If an error variance is not positive where something was observed.
    """
    fields = dict(zip(space.inputs, np.moveaxis(values, 1, 0), strict=True))
    seen, weights = {}, {}
    for name, instrument in space.observing.items():
        if instrument.along_track:
            samples = (tracks or {})[name]
            given, variance = samples.values, samples.variances
        else:
            given = np.stack([fields[each] for each in instrument.variables], axis=1)
            held = instrument.variance if isinstance(instrument.variance, str) else None
            variance = None if held is None else fields[held][:, np.newaxis]
        seen[name], weights[name] = _weighted(given, variance, name, space, dtype)
    covariates = to_covariates(fields, space.covariates, space, dtype)
    weights |= covariates.weights
    first_guess = None if background is None else to_tensor(background, space, dtype).nan_to_num(nan=0.0)
    positions = {name: torch.from_numpy(each.positions).to(dtype) for name, each in (tracks or {}).items()}
    return Observations(seen, weights, covariates.covariates, first_guess, positions)


def to_covariates(
    fields: Mapping[str, np.ndarray], names: Sequence[str], space: StateSpace, dtype: torch.dtype
) -> Observations:
    """Normalised covariates, 0 in gaps, with their masks, of arrays ``(B, T, *S)`` in physical units."""
    covariates, weights = {}, {}
    for name in names:
        normalised = to_tensor(fields[name][:, np.newaxis], space, dtype, [name])
        weights[name] = torch.isfinite(normalised).to(dtype)
        covariates[name] = normalised.nan_to_num(nan=0.0)
    return Observations({}, weights, covariates)


def _weighted(
    values: np.ndarray, variance: np.ndarray | None, name: str, space: StateSpace, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Normalised values, 0 where nothing was observed, and mask / error variance of them."""
    instrument = space.observing[name]
    if instrument.bias:
        values = values - _bias(instrument, name, values)
    # Of the type of the values, or each comparison would turn these into another one.
    limits = np.array([space.plausible(scale) for scale in instrument.scales], values.dtype)
    low, high = limits.T.reshape(2, -1, *[1] * (values.ndim - 2))
    values = plausible(values, low, high, f"{instrument.variables} in a batch of patches")
    for i, scale in enumerate(instrument.scales):
        if scale in space.ranges:
            what = f"{instrument.variables[i]!r} in a batch of patches"
            told_if_elsewhere(values[:, i], *space.ranges[scale], what)
    normalised = to_tensor(values, space, dtype, instrument.scales)
    # numpy's test takes a tenth of the time of torch's.
    observed = torch.from_numpy(np.isfinite(normalised.numpy()))
    seen, weights = normalised.nan_to_num(0.0, 0.0, 0.0), as_numbers(observed, dtype)
    if variance is None and isinstance(instrument.variance, int | float):
        variance = np.array(instrument.variance)
    if variance is not None:
        _, std = space.scales(np.float64, instrument.scales, values.ndim - 2)
        with np.errstate(divide="ignore"):  # no variance where nothing was observed
            ratio = np.asarray(std**2 / variance)
        relative = torch.from_numpy(ratio).to(dtype).expand_as(weights)
        if (relative < 0)[observed].any() or relative[observed].isinf().any():
            raise ConfigError(
                f"the error variance {instrument.variance!r} of {name!r} is not positive everywhere"
            )
        observed = observed & torch.isfinite(relative)
        seen, weights = torch.where(observed, seen, 0.0), torch.where(observed, relative, 0.0)
    return seen, weights


def _bias(instrument: Instrument, name: str, values: np.ndarray) -> np.ndarray:
    """Bias of each variable, shaped to be taken off ``(B, V, ...)``."""
    if instrument.bias is True:
        raise ConfigError(
            f"the model does not know the bias of {name!r} yet: fit it, or give numbers, bias=(0.0,)"
        )
    return np.array(instrument.bias, values.dtype).reshape(-1, *[1] * (values.ndim - 2))


def to_tensor(
    values: np.ndarray, space: StateSpace, dtype: torch.dtype = torch.float32, names: Sequence[str] = ()
) -> Tensor:
    """Normalise an array ``(B, V, ...)`` of the state's variables, or of `names`; NaN stays NaN."""
    mean, std = space.scales(np.float64 if dtype == torch.float64 else np.float32, names, values.ndim - 2)
    return torch.from_numpy(np.asarray((values - mean) / std)).to(dtype)


def on_device(obs: Observations, device: str) -> Observations:
    """Move observations to a device; to a GPU from pinned memory, so that the copies run beside each other."""
    if device.split(":")[0] != "cuda":
        return obs.to(device)
    return obs.pin_memory().to(device, non_blocking=True)


def to_array(state: Tensor, space: StateSpace) -> np.ndarray:
    """Turn a normalised state ``(B, V, T, *S)`` back into an array in physical units."""
    values = state.detach().cpu().numpy()
    mean, std = space.scales(values.dtype)
    return values * std + mean
