"""Backgrounds whose errors are correlated over a whole window: B^{-1/2} of separable covariances."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractMap, Pullback
from oceanvar.registry import registered

_SQRT3, _SQRT5 = math.sqrt(3), math.sqrt(5)

CORRELATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exponential": lambda r: np.exp(-r),
    "matern32": lambda r: (1 + _SQRT3 * r) * np.exp(-_SQRT3 * r),
    "matern52": lambda r: (1 + _SQRT5 * r + 5 * r**2 / 3) * np.exp(-_SQRT5 * r),
}
"""Correlation by distance in lengths: Matern's with nu 1/2, 3/2 and 5/2 (Rasmussen and Williams, 2006, section 4.2)."""


@registered
@final
class SeparableWhitening(AbstractMap):
    """B^{-1/2} of errors with variance 1 whose correlation is a product over the axes, for `BackgroundTerm`.

    Each axis has its Cholesky factor L_a, B = (L_1 L_1^T) x (L_2 L_2^T) x ..., and the inverses of all of them whiten a
    window of any size: |B^{-1/2} x|^2 = x^T B^{-1} x.

    Parameters
    ----------
    lengths : sequence of float
        Length of the correlation along time and each axis of space, in points; 0 where there is none.
    kind : {"exponential", "matern32", "matern52"}
        Shape of the correlation.
    """

    def __init__(self, lengths: Sequence[float], kind: str = "exponential"):
        super().__init__()
        if kind not in CORRELATIONS or min(lengths, default=-1.0) < 0:
            raise ConfigError(
                f"kind must be one of {sorted(CORRELATIONS)} and lengths at least 0, got {kind!r} and {list(lengths)}"
            )
        self.lengths = list(lengths)
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """Whiten ``(B, V, T, *S)``."""
        return self._along_axes(x, transposed=False)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: the transposed factors."""
        return self(x), lambda r: self._along_axes(r, transposed=True)

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Whiten the tangent; the map is linear."""
        del x
        return self(tangent)

    def _along_axes(self, x: Tensor, transposed: bool) -> Tensor:
        if x.ndim - 2 != len(self.lengths):
            raise ConfigError(f"{len(self.lengths)} lengths for a state of {x.ndim - 2} axes, time and space")
        for axis, length in enumerate(self.lengths, start=2):
            if length > 0:
                matrix = torch.from_numpy(_inverse_factor(x.shape[axis], length, self.kind)).to(x)
                x = torch.tensordot(x, matrix.mT if not transposed else matrix, dims=([axis], [0])).movedim(
                    -1, axis
                )
        return x


@functools.lru_cache(maxsize=64)
def _inverse_factor(n: int, length: float, kind: str) -> np.ndarray:
    """Inverse of the Cholesky factor of the correlation of `n` points."""
    distances = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) / length
    correlation = CORRELATIONS[kind](distances) + 1e-10 * np.eye(n)
    return np.linalg.inv(np.linalg.cholesky(correlation))
