"""Random windows as samples for training."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch

from oceanvar.network.bridge import to_observations, to_tensor
from oceanvar.state.samples import TrackPatches
from oceanvar.state.spaces import STATE, StateSpace
from oceanvar.state.windows import WindowSource
from oceanvar.training.losses import Sample


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
            tracks = self.source.tracks(windows)
            if self.source.division.rule is None:
                yield to_sample(truth, values, self.space, tracks)
            else:
                yield to_withheld_sample(truth, values, self.space, tracks)


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


def to_withheld_sample(
    withheld: np.ndarray,
    values: np.ndarray,
    space: StateSpace,
    tracks: Mapping[str, TrackPatches] | None = None,
) -> Sample:
    """Turn withheld observations ``(B, V, T, *S)`` and the inputs for them into a training sample.

    They count as they do when they are assimilated: over their error variance, where the state space states one.
    """
    goal = to_observations(
        np.concatenate((withheld, values[:, space.n_variables :]), axis=1), space, tracks=tracks
    )
    return Sample(goal.values[STATE], goal.weights[STATE], to_observations(values, space, tracks=tracks))
