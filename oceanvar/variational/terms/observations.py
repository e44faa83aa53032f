"""Misfit to observations."""

from collections.abc import Sequence
from typing import final

from torch import Tensor

from oceanvar.maps.base import AbstractMap, Pullback, Pushforward
from oceanvar.maps.checks import require, shaped_like
from oceanvar.maps.compositions import Identity
from oceanvar.registry import registered
from oceanvar.variational.blocks import TermBlocks
from oceanvar.variational.observations import Observations, Reads
from oceanvar.variational.operators.base import AbstractOperator, Operator, bound
from oceanvar.variational.penalties import AbstractPenalty
from oceanvar.variational.shapes import by_time
from oceanvar.variational.terms.base import AbstractTerm


@registered
@final
class ObservationTerm(AbstractTerm):
    """Misfit to observations: r = H(x) - y, with the mask (or mask / error variance) as weights.

    The first term of equation 2 of Fablet, Drumetz and Rousseau (2020).

    Parameters
    ----------
    operator : AbstractMap or AbstractOperator, optional
        Observation operator H. Default: the state itself is observed.
    name : str
        Which observations: a key of `Observations.values`.
    weight : float
        lambda_1.
    penalty : AbstractPenalty, optional
        rho. Default: squared.
    variances : sequence of float, optional
        Error variance of each channel of the observations, in normalised units. Default: 1.
    whitening : AbstractOperator, optional
        C^{-1/2} of the correlation C of the errors: then r = C^{-1/2} w^{1/2} (H(x) - y). Default: errors are
        independent.
    """

    def __init__(
        self,
        operator: Operator | None = None,
        name: str = "state",
        weight: float = 1.0,
        penalty: AbstractPenalty | None = None,
        variances: Sequence[float] | None = None,
        whitening: AbstractOperator | None = None,
    ):
        super().__init__(weight, penalty, variances)
        self.operator = operator or Identity()
        require(self.operator, f"the operator of the observations {name!r}", AbstractMap, AbstractOperator)
        self.name = name
        self.whitening = whitening

    @property
    def reads(self) -> Reads:
        """Its instrument."""
        return Reads((self.name,))

    def residual(self, state: Tensor, obs: Observations) -> Tensor:
        """H(x) - y."""
        departure = self._departure(bound(self.operator, obs, self.name)(state), obs)
        if self.whitening is None:
            return departure
        return self.whitening.bind(obs, self.name)(departure * self._root_weights(obs))

    def linearize(self, state: Tensor, obs: Observations) -> tuple[Tensor, Pullback]:
        """H(x) - y and H'^T."""
        value, pullback = bound(self.operator, obs, self.name).linearize(state)
        departure = self._departure(value, obs)
        if self.whitening is None:
            return departure, pullback
        root = self._root_weights(obs)
        white, unwhiten = self.whitening.bind(obs, self.name).linearize(departure * root)
        return white, lambda u: pullback(unwhiten(u) * root)

    def pushforward(self, state: Tensor, obs: Observations) -> Pushforward:
        """H' v."""
        push = bound(self.operator, obs, self.name).pushforward(state)
        if self.whitening is None:
            return push
        root, whiten = self._root_weights(obs), self.whitening.bind(obs, self.name)
        return lambda v: whiten(push(v) * root)

    def residual_weights(self, obs: Observations) -> Tensor | None:
        """Mask, or mask over error variance; None where the whitening has taken them up."""
        return obs.weights[self.name] if self.whitening is None else None

    def blocks(self, state: Tensor, curvatures: Tensor) -> TermBlocks:
        """Weights of single points, for observations of the state itself with independent errors."""
        if not isinstance(self.operator, Identity) or self.whitening is not None:
            return super().blocks(state, curvatures)
        return TermBlocks(points=by_time(curvatures).double())

    def _departure(self, value: Tensor, obs: Observations) -> Tensor:
        seen = obs.values[self.name]
        what = f"what {type(self.operator).__name__} makes of a state"
        departure = shaped_like(value, seen, what, f"the observations {self.name!r}") - seen
        # What was not observed has no part in the norm of a group.
        return departure * (obs.weights[self.name] > 0) if self.penalty.is_grouped else departure

    def _root_weights(self, obs: Observations) -> Tensor:
        return obs.weights[self.name].sqrt()
