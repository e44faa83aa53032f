"""From arrays with NaN to tensors with weights, and back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from oceanvar.along_track import TrackPatches
from oceanvar.errors import ConfigError
from oceanvar.state_space import StateSpace
from oceanvar.training.losses import Sample
from oceanvar.variational.observations import Observations
from oceanvar.window_source import WindowSource


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
    normalised = to_tensor(values, space, dtype, instrument.scales)
    observed = torch.isfinite(normalised)
    weights = observed.to(dtype)
    if variance is None and isinstance(instrument.variance, int | float):
        variance = np.array(instrument.variance)
    if variance is not None:
        _, std = space.scales(np.float64, instrument.scales, values.ndim - 2)
        relative = torch.from_numpy(np.asarray(std**2 / variance)).to(dtype).expand_as(weights)
        if (relative < 0)[observed].any() or relative[observed].isinf().any():
            raise ConfigError(
                f"the error variance {instrument.variance!r} of {name!r} is not positive everywhere"
            )
        observed = observed & torch.isfinite(relative)
        weights = torch.where(observed, relative, 0.0)
    return torch.where(observed, normalised, 0.0), weights


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


class TrainingWindows:
    """Random windows as training samples, the same ones for the same seed, epoch and process.

    Parameters
    ----------
    source : WindowSource
        Where windows are drawn.
    space : StateSpace
        Owner of the normalisation.
    n_samples : int
        Windows per epoch, over all processes.
    batch_size : int
        Windows per batch of one process.
    seed : int
        Of the draws.
    fixed : bool
        Draw the same windows in every epoch, once, and keep them: for validation.
    """

    def __init__(
        self,
        source: WindowSource,
        space: StateSpace,
        n_samples: int,
        batch_size: int,
        seed: int,
        fixed: bool = False,
    ):
        self.source = source
        self.space = space
        self.n_samples = n_samples
        self.batch_size = batch_size
        self.seed = seed
        self.fixed = fixed
        self._kept: dict[tuple[int, int], list[Sample]] = {}

    def n_batches(self, n_ranks: int) -> int:
        """Batches of each process in an epoch; the last windows that fill no batch are left out."""
        return max(1, self.n_samples // (self.batch_size * n_ranks))

    def batches(self, epoch: int, rank: int, n_ranks: int) -> Iterable[Sample]:
        """Batches of one epoch for process `rank` of `n_ranks`."""
        if not self.fixed:
            return self._drawn(epoch, rank, n_ranks)
        if (rank, n_ranks) not in self._kept:
            self._kept[rank, n_ranks] = list(self._drawn(0, rank, n_ranks))
        return self._kept[rank, n_ranks]

    def _drawn(self, epoch: int, rank: int, n_ranks: int) -> Iterator[Sample]:
        for batch in range(self.n_batches(n_ranks)):
            first = (batch * n_ranks + rank) * self.batch_size
            numbers = range(first, min(first + self.batch_size, max(self.n_samples, first + 1)))
            windows = [self.source.draw(np.random.default_rng([self.seed, epoch, i])) for i in numbers]
            truth = np.stack([window.truth for window in windows])
            values = np.stack([window.inputs for window in windows])
            yield to_sample(truth, values, self.space, self.source.tracks(windows))


def to_sample(
    truth: np.ndarray,
    values: np.ndarray,
    space: StateSpace,
    tracks: Mapping[str, TrackPatches] | None = None,
) -> Sample:
    """Turn true windows ``(B, V, T, *S)`` and the inputs of `space` for them into a training sample."""
    target = to_tensor(truth, space)
    known = torch.isfinite(target)
    obs = to_observations(values, space, tracks=tracks)
    return Sample(torch.where(known, target, 0.0), known.to(target.dtype), obs)
