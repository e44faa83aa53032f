"""Errors that are correlated over a whole window: B^{-1/2} and B^{1/2} of separable covariances."""

import abc
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


class _Separable(AbstractMap):
    """One matrix along each axis that has a length, or the transposed ones."""

    def __init__(self, lengths: Sequence[float], kind: str):
        super().__init__()
        if kind not in CORRELATIONS or min(lengths, default=-1.0) < 0:
            raise ConfigError(
                f"kind must be one of {sorted(CORRELATIONS)} and lengths at least 0, got {kind!r} and {list(lengths)}"
            )
        self.lengths = list(lengths)
        self.kind = kind

    @abc.abstractmethod
    def matrix(self, n: int, length: float) -> np.ndarray:
        """Along an axis of `n` points."""

    def forward(self, x: Tensor) -> Tensor:
        """Multiply ``(B, V, T, *S)`` along every axis."""
        return self._along_axes(x, transposed=False)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: the transposed matrices."""
        return self(x), lambda r: self._along_axes(r, transposed=True)

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """The tangent multiplied; the map is linear."""
        del x
        return self(tangent)

    def _along_axes(self, x: Tensor, transposed: bool) -> Tensor:
        if x.ndim - 2 != len(self.lengths):
            raise ConfigError(f"{len(self.lengths)} lengths for a state of {x.ndim - 2} axes, time and space")
        for axis, length in enumerate(self.lengths, start=2):
            if length > 0:
                matrix = torch.from_numpy(self.matrix(x.shape[axis], length)).to(x)
                x = torch.tensordot(x, matrix if transposed else matrix.mT, dims=([axis], [0])).movedim(
                    -1, axis
                )
        return x


@registered
@final
class SeparableWhitening(_Separable):
    """B^{-1/2} of errors with variance 1 whose correlation is a product over the axes, for `BackgroundTerm`.

    Each axis has its Cholesky factor L_a, B = (L_1 L_1^T) x (L_2 L_2^T) x ..., and the inverses of all of them whiten a
    window of any size: ``|B^{-1/2} x|^2 = x^T B^{-1} x``. Minimising over the whitened field itself takes far fewer
    iterations: `SeparableSpread`.

    Parameters
    ----------
    lengths : sequence of float
        Length of the correlation along time and each axis of space, in points; 0 where there is none.
    kind : {"exponential", "matern32", "matern52"}
        Shape of the correlation.
    """

    def __init__(self, lengths: Sequence[float], kind: str = "exponential"):
        super().__init__(lengths, kind)

    def matrix(self, n: int, length: float) -> np.ndarray:
        """Inverse of the Cholesky factor."""
        return np.linalg.inv(_factor(n, length, self.kind))


@registered
@final
class SeparableSpread(_Separable):
    """B^{1/2} of the same errors: white noise becomes a field with that correlation.

    ``ControlSpace(ConjugateGradients(), Latent(SeparableSpread(lengths), shape))`` is optimal interpolation of a window
    of that shape about the mean, conditioned by its observations alone.

    Parameters
    ----------
    lengths : sequence of float
        Length of the correlation along time and each axis of space, in points; 0 where there is none.
    kind : {"exponential", "matern32", "matern52"}
        Shape of the correlation.
    """

    def __init__(self, lengths: Sequence[float], kind: str = "exponential"):
        super().__init__(lengths, kind)

    def matrix(self, n: int, length: float) -> np.ndarray:
        """Cholesky factor."""
        return _factor(n, length, self.kind)


@functools.lru_cache(maxsize=64)
def _factor(n: int, length: float, kind: str) -> np.ndarray:
    """Cholesky factor of the correlation of `n` points."""
    distances = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) / length
    return np.linalg.cholesky(CORRELATIONS[kind](distances) + 1e-10 * np.eye(n))
