"""Seas that are drawn once and kept on disk, as numbers without units; what an interpolation makes of them."""

import dataclasses
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from oceanvar.oceans import Flows, Seas
from oceanvar.training.losses import Sample
from oceanvar.variational import AdaptiveInterpolation, Observations
from oceanvar.variational.starts.refined import N_FIELDS, seen_of

TRAINING_SEED, VALIDATION_SEED, TEST_SEED = 1, 2, 3


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large the training is.

    `shape` is that of a window, `n_flows` are simulations of training and of each other purpose, `n_seas` those of
    training, validation and test, `n_covariance` the steps of the covariance's training with batches of
    `batch_covariance`, `widths` the channels of the network that refines.
    """

    shape: tuple[int, int, int]
    n_flows: tuple[int, int]
    flow: dict[str, float]
    n_seas: tuple[int, int, int]
    n_covariance: int
    batch_covariance: int
    widths: tuple[int, ...]
    batch: int


SCALES = {
    "full": Scale((25, 64, 64), (48, 8), {}, (12_000, 256, 20), 800, 8, (48, 64, 96, 96), 16),
    "tiny": Scale(
        (10, 16, 16), (1, 1), {"n_days": 14, "n_spinup": 0, "resolution": 0.5}, (8, 4, 2), 3, 2, (8, 8), 2
    ),
}


class Drawn(NamedTuple):
    """Truth and observations ``(n, T, Y, X)`` in standard deviations of the observations, half precision.

    And ``(n,)`` the error variance that is stated, in the same units, NaN for none.
    """

    truth: np.ndarray
    observed: np.ndarray
    stated: np.ndarray

    def batch(self, index: np.ndarray, rng: np.random.Generator | None = None) -> Sample:
        """Windows as a training sample; with a generator every second one is replaced by its mirror image.

        South and north exchanged and the sign turned, a flow obeys the same equations.
        """
        truth, observed = (
            torch.from_numpy(np.stack([each[i] for i in index]).astype(np.float32)[:, None])
            for each in (self.truth, self.observed)
        )
        for window in range(len(index) if rng is not None else 0):
            if rng is not None and rng.random() < 0.5:
                truth[window], observed[window] = -truth[window].flip(2), -observed[window].flip(2)
        stated = torch.from_numpy(self.stated[index].astype(np.float32)).view(-1, 1, 1, 1, 1)
        weights = torch.where(stated.isfinite(), 1 / stated, 1.0)
        seen = observed.isfinite()
        obs = Observations({"state": observed.nan_to_num(0)}, {"state": torch.where(seen, weights, 0.0)})
        return Sample(truth.nan_to_num(0), truth.isfinite().float(), obs)


def seas(scale: Scale, seed: int) -> Seas:
    """Seas of one purpose: their flows are of no other."""
    n_flows = scale.n_flows[0 if seed == TRAINING_SEED else 1]
    return Seas(scale.shape, Flows(n_flows, seed=seed, **scale.flow))  # type: ignore[arg-type]


def drawn(folder: Path, scale: Scale, seed: int) -> Drawn:
    """Seas of one purpose, from files that an earlier run has written, as far as it came."""
    n_seas = scale.n_seas[seed - 1]
    shape = (n_seas, *scale.shape)
    truth, observed = (_file(folder / f"{name}.npy", shape) for name in ("truth", "observed"))
    stated = _file(folder / "stated.npy", (n_seas,), np.float32)
    first = _n_done(folder)
    source = seas(scale, seed) if first < n_seas else None
    for number in tqdm(range(first, n_seas), desc=folder.name, disable=source is None):
        sea = source.draw(np.random.default_rng([seed, number]))  # type: ignore[union-attr]
        mean, std = float(sea["ssh_observed"].mean()), float(sea["ssh_observed"].std())
        truth[number], observed[number] = ((sea[name] - mean) / std for name in ("ssh", "ssh_observed"))
        stated[number] = sea.attrs["stated_variance"] / std**2
        _note(folder, number + 1, n_seas)
    return Drawn(truth, observed, stated)


class Interpolations(NamedTuple):
    """What a network sees ``(n, 5, T, Y, X)``, and truth less interpolation ``(n, T, Y, X)``, NaN on land."""

    seen: np.ndarray
    missed: np.ndarray


def interpolations(folder: Path, data: Drawn, start: AdaptiveInterpolation) -> Interpolations:
    """Interpolation of every sea, from files that an earlier run has written, as far as it came."""
    n_seas, *shape = data.truth.shape
    seen = _file(folder / "seen.npy", (n_seas, N_FIELDS, *shape))
    missed = _file(folder / "missed.npy", (n_seas, *shape))
    for number in tqdm(range(_n_done(folder), n_seas), desc=folder.name):
        sample = data.batch(np.array([number]))
        with torch.no_grad():
            found = start.interpolate(sample.obs)
            seen[number] = seen_of(found)[0].numpy()
        left = (sample.truth[0, 0] - found.mean) / found.variance.sqrt() - found.departures[0]
        missed[number] = torch.where(sample.known[0, 0] > 0, left, torch.nan).numpy()
        _note(folder, number + 1, n_seas)
    return Interpolations(seen, missed)


def relative_error(analysis: Tensor, sample: Sample) -> Tensor:
    """Mean square error of each window over the variance of its observations."""
    squares = ((analysis - sample.truth).square() * sample.known).flatten(1).sum(1)
    return squares / sample.known.flatten(1).sum(1).clamp(min=1)


def batches(n_all: int, size: int) -> list[np.ndarray]:
    """Numbers of all windows, in batches."""
    return np.array_split(np.arange(n_all), math.ceil(n_all / size))


def _file(path: Path, shape: tuple[int, ...], dtype: type = np.float16) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = "r+" if path.exists() else "w+"
    return np.lib.format.open_memmap(path, mode, dtype=dtype, shape=shape)


def _n_done(folder: Path) -> int:
    done = folder / "done.txt"
    return int(done.read_text()) if done.exists() else 0


def _note(folder: Path, number: int, n_all: int) -> None:
    if number % 100 == 0 or number == n_all:
        (folder / "done.txt").write_text(str(number))
