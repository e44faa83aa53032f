"""Sensors that see averages of the state."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from oceanvar.errors import ConfigError, PatchError
from oceanvar.maps.base import AbstractMap, Pullback
from oceanvar.maps.layers import AveragePool
from oceanvar.registry import registered


@registered
@final
class BlockAverage(AbstractMap):
    """A coarse sensor: the mean of the state over blocks of points.

    Parameters
    ----------
    factors : sequence of int
        Block size along time and along each space axis: ``(2, 4, 4)`` averages two days and 4 x 4 cells.
    """

    def __init__(self, factors: Sequence[int]):
        super().__init__()
        self.average = AveragePool(factors)

    def forward(self, x: Tensor) -> Tensor:
        """Average ``(B, V, T, *S)`` over its blocks."""
        self._check(x)
        return self.average(x)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: spread evenly over the block."""
        self._check(x)
        return self.average.linearize(x)

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Average the tangent."""
        return self.average.jvp(x, tangent)

    def _check(self, x: Tensor) -> None:
        sizes, factors = list(x.shape[2:]), self.average.factors
        if len(sizes) != len(factors) or any(n % f for n, f in zip(sizes, factors, strict=False)):
            raise PatchError(
                f"blocks of {factors} do not tile a state with axes {sizes}: "
                "use one factor per axis and a patch whose sizes are multiples of them"
            )


@registered
@final
class BeamAverage(AbstractMap):
    """A sensor with a Gaussian footprint round every point of the state.

    Near an open border the part of the footprint inside counts alone, so that a constant stays what it is.
    The widths are learned with the rest: an unknown blur is found by training.

    Parameters
    ----------
    widths : sequence of float
        Standard deviation of the footprint along time and along each space axis, in points; 0: none.
    periodic : sequence of bool, optional
        Axes that wrap. Default: none.
    """

    def __init__(self, widths: Sequence[float], periodic: Sequence[bool] = ()):
        super().__init__()
        if min(widths) < 0 or max(widths) == 0:
            raise ConfigError(f"widths of a beam must be at least 0 and one of them positive, got {widths}")
        self.axes = [axis for axis, width in enumerate(widths) if width > 0]
        self.wraps = tuple(periodic) or (False,) * len(widths)
        self.log_widths = nn.Parameter(torch.tensor([float(widths[axis]) for axis in self.axes]).log())

    def forward(self, x: Tensor) -> Tensor:
        """Average ``(B, V, T, *S)`` over the footprints; the shape stays."""
        return self._along_axes(x, transposed=False)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: every footprint gives back what it took."""
        return self(x), lambda r: self._along_axes(r, transposed=True)

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Average the tangent; the map is linear."""
        del x
        return self(tangent)

    def _along_axes(self, x: Tensor, transposed: bool) -> Tensor:
        for axis, log_width in zip(self.axes, self.log_widths, strict=True):
            matrix = self._footprints(x.shape[axis + 2], log_width.exp(), self.wraps[axis]).to(x.dtype)
            matrix = matrix if transposed else matrix.T
            x = (x.movedim(axis + 2, -1) @ matrix).movedim(-1, axis + 2)
        return x

    @staticmethod
    def _footprints(n: int, width: Tensor, wraps: bool) -> Tensor:
        """Weights (n, n) of the points in the footprint of each point; rows add up to 1."""
        points = torch.arange(n, device=width.device, dtype=width.dtype)
        distance = (points[:, None] - points).abs()
        distance = torch.minimum(distance, n - distance) if wraps else distance
        weights = torch.exp(-0.5 * (distance / width) ** 2)
        return weights / weights.sum(1, keepdim=True)
