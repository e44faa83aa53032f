"""From arrays with NaN to tensors with weights, and back."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from oceanvar.state_space import StateSpace
from oceanvar.training.losses import Sample
from oceanvar.variational.observations import Observations
from oceanvar.window_source import WindowSource


def to_observations(
    values: np.ndarray,
    space: StateSpace,
    background: np.ndarray | None = None,
    dtype: torch.dtype = torch.float32,
) -> Observations:
    """Turn gappy arrays in physical units into normalised observations of the state.

    Parameters
    ----------
    values : ndarray
        ``(B, V, T, *S)``, NaN where nothing was observed.
    space : StateSpace
        Owner of the normalisation.
    background : ndarray, optional
        First guess of the same shape; NaN (land, say) becomes the climatological mean.
    dtype : torch.dtype
        Of the tensors.
    """
    first_guess = None if background is None else to_tensor(background, space, dtype).nan_to_num(nan=0.0)
    return Observations.from_nan(to_tensor(values, space, dtype), background=first_guess)


def to_tensor(values: np.ndarray, space: StateSpace, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normalise an array ``(B, V, T, *S)`` in physical units; NaN stays NaN."""
    mean, std = space.scales(np.float64 if dtype == torch.float64 else np.float32)
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
            pairs = [self.source.draw(np.random.default_rng([self.seed, epoch, i])) for i in numbers]
            truth, values = (np.stack(each) for each in zip(*pairs, strict=True))
            yield to_sample(truth, values, self.space)


def to_sample(truth: np.ndarray, values: np.ndarray, space: StateSpace) -> Sample:
    """Turn true and observed windows ``(B, V, T, *S)`` in physical units into a training sample."""
    target = to_tensor(truth, space)
    known = torch.isfinite(target)
    return Sample(torch.where(known, target, 0.0), known.to(target.dtype), to_observations(values, space))
