"""White noise that belongs to places: windows that overlap draw the same where they do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_BITS = 52  # of a fraction: its ends, 0 and 1, are no probabilities then


@final
@dataclass(frozen=True, eq=False)
class Draws:
    """Samples to draw of the errors of a batch of windows that are cut out of one grid.

    Parameters
    ----------
    n : int
        How many.
    seed : int
        Of the noise: a sample is the same with the same seed, wherever windows are cut.
    periods : tuple of int
        Points after which each axis of a window comes back to its beginning; 0 for one that never does.
    origins : ndarray
        First point of each window on the grid ``(B, axes)``.
    """

    n: int
    seed: int
    periods: tuple[int, ...]
    origins: np.ndarray

    def white(self, key: Sequence[int], like: Tensor) -> Tensor:
        """White noise at the points of fields ``(B, channels, *axes)``.

        Parameters
        ----------
        key : sequence of int
            What the noise is for: another sample or another term, another noise.
        like : Tensor
            Has the shape, type and device. Where it has other axes than a window, the noise belongs to the first point
            of the window.
        """
        n_windows, *sizes = like.shape
        ranges = [np.broadcast_to(np.arange(n), (n_windows, n)) for n in sizes]
        if len(sizes) == 1 + len(self.periods):
            axes = zip(ranges[1:], self.origins.T, self.periods, strict=True)
            places = [ranges[0], *(_around(n + first[:, None], period) for n, first, period in axes)]
            return white_noise((self.seed, *key), places).to(like)
        origins = [first[:, None] for first in self.origins.T]
        return white_noise((self.seed, *key), [*origins, *ranges]).view(like.shape).to(like)


def _around(places: np.ndarray, period: int) -> np.ndarray:
    return places % period if period else places


def white_noise(key: Sequence[int], places: Sequence[np.ndarray]) -> Tensor:
    """Independent normal numbers, one for each combination of places, that depend on nothing but key and places.

    A counter is mixed as by Steele, Lea and Flood (2014, "Fast splittable pseudorandom number generators", OOPSLA,
    figure 17).

    Parameters
    ----------
    key : sequence of int
        Of this noise among others.
    places : sequence of ndarray
        Whole numbers along each axis, ``(B, n)``.

    Returns
    -------
    Tensor
        ``(B, n_1, n_2, ...)``, double precision.
    """
    mixed = np.zeros(len(places[0]), np.uint64)
    for number in key:
        mixed = _mixed(mixed + _GOLDEN * np.array([number]).astype(np.uint64))
    for each in places:
        steps = _GOLDEN * each.astype(np.uint64).reshape(len(each), *[1] * (mixed.ndim - 1), -1)
        mixed = _mixed(mixed[..., None] + steps)
    probability = ((mixed >> np.uint64(64 - _BITS)) + 0.5) / 2.0**_BITS
    return torch.special.ndtri(torch.from_numpy(probability))


def _mixed(x: np.ndarray) -> np.ndarray:
    for shift, factor in zip((30, 27), _FACTORS, strict=True):
        x = (x ^ (x >> np.uint64(shift))) * factor
    return x ^ (x >> np.uint64(31))
