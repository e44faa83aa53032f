"""Square roots of covariances in open windows of any size, for white controls of a first state and of later errors."""

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractComposition, AbstractMap, Pullback, Pushforward
from oceanvar.registry import registered

_REACH = 3.0
"""Lengths beyond which a Gaussian kernel is 0."""


@registered
@final
class GaussianFilter(AbstractMap):
    """White noise to noise of variance 1 with the correlation exp(-d^2 / (2 L^2)), along the last axes.

    Near the border of the window the variance falls, to a half at its sides.

    Parameters
    ----------
    lengths : sequence of float
        L along each of the last axes, points.

    Raises
    ------
    ConfigError
        If a length is not positive.
    """

    def __init__(self, lengths: Sequence[float]):
        super().__init__()
        if not lengths or min(lengths) <= 0:
            raise ConfigError(f"correlations need a positive length along each axis; got {list(lengths)}")
        self.lengths = tuple(lengths)

    def forward(self, x: Tensor) -> Tensor:
        """Filtered fields."""
        for axis, length in zip(range(-len(self.lengths), 0), self.lengths, strict=True):
            x = torch.movedim(torch.movedim(x, axis, -1) @ _kernel(x.shape[axis], length).to(x), -1, axis)
        return x

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: the map is symmetric."""
        return self(x), self

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Filter the tangent."""
        del x
        return self(tangent)


def _kernel(n: int, length: float) -> Tensor:
    """Symmetric matrix ``(n, n)`` of the filter along an axis."""
    points = torch.arange(n, dtype=torch.float64)
    away = (points[:, None] - points).abs()
    kernel = torch.where(away <= _REACH * length, torch.exp(-((away / length) ** 2)), 0.0)
    reach = torch.arange(-math.floor(_REACH * length), math.floor(_REACH * length) + 1, dtype=torch.float64)
    return kernel / torch.exp(-2 * (reach / length) ** 2).sum().sqrt()


@registered
@final
class ByDistance(AbstractMap):
    """Multiply every point by a factor for its distance from the border of the window, along the last two axes.

    Parameters
    ----------
    factors : sequence of float
        Of the points at the border, of those one further in, and so on; the last one serves all that are deeper.

    Raises
    ------
    ConfigError
        If there is none.
    """

    def __init__(self, factors: Sequence[float]):
        super().__init__()
        if not factors:
            raise ConfigError("factors by distance from the border need at least one")
        self.factors = tuple(map(float, factors))

    def forward(self, x: Tensor) -> Tensor:
        """Scaled fields ``(..., n, m)``."""
        return x * self._field(x)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back, both the same factors."""
        return self(x), self

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Scale the tangent."""
        del x
        return self(tangent)

    def _field(self, x: Tensor) -> Tensor:
        down, along = (
            torch.minimum(torch.arange(n, device=x.device), torch.arange(n - 1, -1, -1, device=x.device))
            for n in x.shape[-2:]
        )
        distance = torch.minimum(down[:, None], along).clamp(max=len(self.factors) - 1)
        return torch.tensor(self.factors, dtype=x.dtype, device=x.device)[distance]


@registered
@final
class FirstAndLater(AbstractComposition):
    """One map for the first time of ``(B, V, T, *S)`` and another for all later ones.

    Parameters
    ----------
    first, later : AbstractMap
        Both keep the shape of a field.
    """

    def __init__(self, first: AbstractMap, later: AbstractMap):
        super().__init__()
        self.first = first
        self.later = later

    def forward(self, x: Tensor) -> Tensor:
        """Value of both, one after the other in time."""
        return torch.cat((self.first(x[:, :, :1]), self.later(x[:, :, 1:])), dim=2)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back of both."""
        first, pull_first = self.first.linearize(x[:, :, :1])
        later, pull_later = self.later.linearize(x[:, :, 1:])

        def pullback(cotangent: Tensor) -> Tensor:
            return torch.cat((pull_first(cotangent[:, :, :1]), pull_later(cotangent[:, :, 1:])), dim=2)

        return torch.cat((first, later), dim=2), pullback

    def pushforward(self, x: Tensor) -> Pushforward:
        """Push both tangents."""
        push_first, push_later = self.first.pushforward(x[:, :, :1]), self.later.pushforward(x[:, :, 1:])
        return lambda v: torch.cat((push_first(v[:, :, :1]), push_later(v[:, :, 1:])), dim=2)
