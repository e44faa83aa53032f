"""A cost at one point: what solvers and diagnostics ask of it there, each evaluated once."""

from collections.abc import Sequence
from functools import cached_property
from typing import final

from torch import Tensor

from oceanvar.maps.compositions import total
from oceanvar.variational.blocks import TridiagonalBlocks, assembled
from oceanvar.variational.terms.base import TermPoint


@final
class Linearization:
    """A variational cost at one point.

    Parameters
    ----------
    state : Tensor
        The point, ``(B, V, T, *S)``.
    terms : sequence of TermPoint
        Its terms at the point, in their order.
    """

    def __init__(self, state: Tensor, terms: Sequence[TermPoint]):
        self.state = state
        self.terms = terms

    @cached_property
    def value(self) -> Tensor:
        """Cost of each window, ``(B,)``."""
        return total(term.value for term in self.terms)

    @cached_property
    def gradient(self) -> Tensor:
        """Gradient of the cost of each window, shaped like the state."""
        return total(term.gradient for term in self.terms)

    def product(self, tangent: Tensor) -> Tensor:
        """Product of the Gauss-Newton matrix, or of second derivatives of scalar terms, with a tangent."""
        return total(term.product(tangent) for term in self.terms)

    def steepest_product(self, tangent: Tensor) -> Tensor:
        """The same with the largest curvatures that penalties have anywhere."""
        return total(term.steepest_product(tangent) for term in self.terms)

    def blocks(self) -> TridiagonalBlocks:
        """Gauss-Newton matrix as blocks in time.

        Raises
        ------
        ConfigError
            If a term does not say that its part is block tridiagonal.
        """
        return assembled([term.blocks() for term in self.terms], self.state)
