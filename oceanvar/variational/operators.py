"""Observation operators H: from the state to what an instrument sees.

Any map can serve as one. `oceanvar.maps.compositions.Identity` observes the state itself, and
`oceanvar.maps.compositions.Chain` composes operators.
"""

from collections.abc import Sequence
from typing import final

from torch import Tensor

from oceanvar.errors import PatchError
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
