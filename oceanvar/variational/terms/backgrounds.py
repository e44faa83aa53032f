"""Distance to what is known before any observation: a first guess, a climatology."""

from typing import final

from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractMap, Pullback, Pushforward
from oceanvar.maps.checks import require
from oceanvar.maps.compositions import Identity
from oceanvar.registry import registered
from oceanvar.variational.blocks import TermBlocks
from oceanvar.variational.observations import Observations
from oceanvar.variational.penalties import AbstractPenalty
from oceanvar.variational.shapes import by_time
from oceanvar.variational.terms.base import AbstractTerm


@registered
@final
class BackgroundTerm(AbstractTerm):
    """Distance to a first guess: r = B^{-1/2} (x - x^b).

    The first guess comes with the observations (`Observations.background`).

    Parameters
    ----------
    whitening : AbstractMap, optional
        Linear map B^{-1/2}. Default: the identity, for uncorrelated errors of variance 1 / `weight`.
    weight : float
        Weight of the term.
    penalty : AbstractPenalty, optional
        rho. Default: squared.
    """

    def __init__(
        self,
        whitening: AbstractMap | None = None,
        weight: float = 1.0,
        penalty: AbstractPenalty | None = None,
    ):
        super().__init__(weight, penalty)
        self.whitening = whitening or Identity()
        require(self.whitening, "the whitening of BackgroundTerm", AbstractMap)

    def residual(self, state: Tensor, obs: Observations) -> Tensor:
        """B^{-1/2} (x - x^b)."""
        return self.whitening(state - given_background(obs))

    def linearize(self, state: Tensor, obs: Observations) -> tuple[Tensor, Pullback]:
        """Residual and B^{-T/2}."""
        return self.whitening.linearize(state - given_background(obs))

    def pushforward(self, state: Tensor, obs: Observations) -> Pushforward:
        """B^{-1/2} v."""
        return self.whitening.pushforward(state - given_background(obs))

    def blocks(self, state: Tensor, curvatures: Tensor) -> TermBlocks:
        """Weights of single points, for errors without correlation."""
        if not isinstance(self.whitening, Identity):
            return super().blocks(state, curvatures)
        return TermBlocks(points=by_time(curvatures).double())


def given_background(obs: Observations) -> Tensor:
    """Background of a window; an `Assimilator` always gives one, its first guess if no other."""
    if obs.background is None:
        raise ConfigError("the cost has a background term but no background was given: pass background=")
    return obs.background
