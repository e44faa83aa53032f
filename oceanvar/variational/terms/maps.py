"""Penalties of any map of the state: differences, filters, wavelets."""

from collections.abc import Sequence
from typing import final

from torch import Tensor

from oceanvar.maps.base import AbstractMap, Pullback, Pushforward
from oceanvar.maps.checks import require
from oceanvar.registry import registered
from oceanvar.variational.observations import Observations
from oceanvar.variational.operators.base import AbstractOperator, Operator, bound
from oceanvar.variational.penalties import AbstractPenalty
from oceanvar.variational.terms.base import AbstractTerm


@registered
@final
class MapTerm(AbstractTerm):
    """Penalty of what a map makes of the state: r = A(x).

    ``MapTerm(Identity())`` is Tikhonov's; with `oceanvar.maps.Gradient` it is H1, and with
    ``Grouped(SmoothedL1(eps))`` besides the isotropic total variation (Rudin, Osher and Fatemi, 1992); with a
    convolution and a `PerChannel` penalty it is a Fields-of-Experts prior (Roth and Black, 2009).

    Parameters
    ----------
    operator : AbstractMap or AbstractOperator
        A, from ``(B, V, T, *S)`` to ``(B, C, ...)``.
    weight : float
        Weight of the term.
    penalty : AbstractPenalty, optional
        rho. Default: squared.
    variances : sequence of float, optional
        Variance of each channel of A(x). Default: 1.
    """

    def __init__(
        self,
        operator: Operator,
        weight: float = 1.0,
        penalty: AbstractPenalty | None = None,
        variances: Sequence[float] | None = None,
    ):
        super().__init__(weight, penalty, variances)
        require(operator, "the operator of MapTerm", AbstractMap, AbstractOperator)
        self.operator = operator

    def residual(self, state: Tensor, obs: Observations) -> Tensor:
        """A(x)."""
        return self._at(obs)(state)

    def linearize(self, state: Tensor, obs: Observations) -> tuple[Tensor, Pullback]:
        """A(x) and A'^T."""
        return self._at(obs).linearize(state)

    def pushforward(self, state: Tensor, obs: Observations) -> Pushforward:
        """A' v."""
        return self._at(obs).pushforward(state)

    def _at(self, obs: Observations) -> AbstractMap:
        return bound(self.operator, obs, "state")
