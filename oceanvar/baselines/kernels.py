"""Correlation functions of distance, by name.

Source: Rasmussen and Williams (2006), "Gaussian Processes for Machine Learning", MIT Press: eq. 4.9 (Gaussian, there
"squared exponential") and 4.17 (Matern with smoothness 1/2, 3/2, 5/2), with the distance r in lengths.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

NEGLIGIBLE = 4e-6
"""Correlation of an observation that is not worth using."""


class Kernel(NamedTuple):
    """Correlation at squared distances in lengths, and the distance where it has fallen to `NEGLIGIBLE`.

    The array of squared distances is overwritten: most of the time of an analysis goes by here, in memory.
    """

    correlation: Callable[[np.ndarray], np.ndarray]
    reach: float


def _gaussian(squared: np.ndarray) -> np.ndarray:
    squared *= -0.5
    return np.exp(squared, out=squared)


def _matern12(squared: np.ndarray) -> np.ndarray:
    r = np.sqrt(squared, out=squared)
    return np.exp(np.negative(r, out=r), out=r)


def _matern32(squared: np.ndarray) -> np.ndarray:
    squared *= 3.0
    r = np.sqrt(squared, out=squared)
    decay = np.exp(-r)
    r += 1.0
    return np.multiply(r, decay, out=r)


def _matern52(squared: np.ndarray) -> np.ndarray:
    r = np.sqrt(5.0 * squared)
    decay = np.exp(-r)
    squared *= 5.0 / 3.0
    squared += r
    squared += 1.0
    return np.multiply(squared, decay, out=squared)


KERNELS = {
    "gaussian": Kernel(_gaussian, 5.0),
    "matern12": Kernel(_matern12, 12.5),
    "matern32": Kernel(_matern32, 8.9),
    "matern52": Kernel(_matern52, 7.7),
}
"""The fields of these are differentiable without end, not at all, once and twice."""
