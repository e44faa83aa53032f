"""Linear maps of periodic fields that are simple for their waves, with exact adjoints.

Fields are ``(..., n, m)`` in a box that is periodic in both directions; factors are those of the waves of
``torch.fft.rfft2``, ``(..., n, m // 2 + 1)``.
"""

import math
from collections.abc import Sequence
from typing import Self, final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractMap, Pullback
from oceanvar.registry import registered


@registered
@final
class Filtered(AbstractMap):
    """Linear map of periodic fields that multiplies each wave by a real, even factor.

    With the factors of `gaussian_spread` or `spread_of` it is the square root of a covariance that is the same
    everywhere: of white noise it makes fields of that covariance. All factors are 1 until they are given (`of`).

    Parameters
    ----------
    shape : sequence of int
        Of the factors: axes before the last two are those of the fields, or 1.
    """

    factors: Tensor

    def __init__(self, shape: Sequence[int]):
        super().__init__()
        self.register_buffer("factors", torch.ones(*shape))

    @classmethod
    def of(cls, factors: Tensor) -> Self:
        """Filter with these factors."""
        made = cls(list(factors.shape))
        made.factors = factors
        return made

    def forward(self, x: Tensor) -> Tensor:
        """Filtered fields."""
        return torch.fft.irfft2(self.factors.to(x.dtype) * torch.fft.rfft2(x), s=x.shape[-2:])

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: the map is symmetric."""
        return self(x), self

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Filter the tangent."""
        del x
        return self(tangent)


@registered
@final
class OnGrid(AbstractMap):
    """The waves that two grids of one periodic box share, on the other grid.

    Parameters
    ----------
    shape_from, shape_to : (int, int)
        Points of the grids along both axes; the shortest wave of the coarser one is left out.

    Raises
    ------
    ConfigError
        If an axis has fewer than three points.
    """

    def __init__(self, shape_from: Sequence[int], shape_to: Sequence[int]):
        super().__init__()
        if min(*shape_from, *shape_to) < 3:
            raise ConfigError(
                f"a wave needs at least 3 points along each axis; got {shape_from} and {shape_to}"
            )
        self.shape_from, self.shape_to = tuple(shape_from), tuple(shape_to)
        # The values of a wave are the same on both grids, not the sum of their squares.
        self._growth = math.sqrt(math.prod(shape_to)) / math.sqrt(math.prod(shape_from))

    def forward(self, x: Tensor) -> Tensor:
        """Fields ``(..., *shape_to)`` of the same waves."""
        return self._moved(x, self.shape_to) * self._growth

    def _moved(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The shared waves on a grid, without a change of their sum of squares."""
        rows, columns = ((min(n) - 1) // 2 for n in zip(self.shape_from, self.shape_to, strict=True))
        waves = torch.fft.rfft2(x, norm="ortho")
        moved = waves.new_zeros(*x.shape[:-2], shape[0], shape[1] // 2 + 1)
        moved[..., : rows + 1, : columns + 1] = waves[..., : rows + 1, : columns + 1]
        moved[..., -rows:, : columns + 1] = waves[..., -rows:, : columns + 1]
        return torch.fft.irfft2(moved, s=shape, norm="ortho")

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: the way back, for the waves are an orthogonal basis."""
        return self(x), lambda r: self._moved(r, self.shape_from) * self._growth

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Move the tangent."""
        del x
        return self(tangent)


def gaussian_spread(shape: Sequence[int], lengths: Sequence[float], std: float, correlation: float) -> Tensor:
    """Factors with which white noise gets the covariance std^2 exp(-d^2 / (2 L^2)) of points a distance d apart.

    Parameters
    ----------
    shape : (int, int)
        Points along both axes.
    lengths : (float, float)
        Size of the periodic box along both axes, km.
    std : float
        Standard deviation, at least 0.
    correlation : float
        Length L, km; well below the size of the box.

    Returns
    -------
    Tensor
        ``(n, m // 2 + 1)``, float64, for a `Filtered`.

    Raises
    ------
    ConfigError
        If a number is out of range.
    """
    if std < 0 or min(*lengths, correlation) <= 0:
        raise ConfigError(
            f"a spread needs positive lengths and a standard deviation that is not negative; got {tuple(lengths)}, "
            f"{correlation} and {std}"
        )
    north, east = (
        2 * math.pi * torch.fft.fftfreq(n, length / n, dtype=torch.float64)
        for n, length in zip(shape, lengths, strict=True)
    )
    factors = torch.exp(-(correlation**2) * (north[:, None] ** 2 + east**2) / 4)
    factors = std * factors / factors.square().mean().sqrt()
    return factors[:, : shape[1] // 2 + 1]


def spread_of(errors: Tensor) -> Tensor:
    """Factors of a `Filtered` that gives white noise the mean power of errors at each wavelength.

    Parameters
    ----------
    errors : Tensor
        ``(N, n, m)``; both sides of the box count as equally long.

    Returns
    -------
    Tensor
        ``(n, m // 2 + 1)``.
    """
    n, m = errors.shape[-2:]
    power = torch.fft.rfft2(errors, norm="ortho").abs().square().mean(0)
    cycles = torch.fft.fftfreq(n, 1 / n)[:, None].hypot(torch.fft.rfftfreq(m, 1 / m)[None])
    ring = cycles.round().long()
    totals = power.new_zeros(int(ring.max()) + 1).index_add(0, ring.flatten(), power.flatten())
    return (totals / ring.flatten().bincount().clamp(min=1))[ring].sqrt()
