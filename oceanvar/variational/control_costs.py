"""A cost of states as one of the control that makes them."""

from typing import cast, final

from torch import Tensor

from oceanvar.maps.base import AbstractMap, Pullback, Pushforward
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.observations import Observations
from oceanvar.variational.terms.base import AbstractTerm
from oceanvar.variational.terms.scalars import AbstractScalarTerm


def of_control(cost: VariationalCost, trajectory: AbstractMap) -> VariationalCost:
    """Cost U(x(v)) + |v|^2 / N of a white control v, N being the points of the control in all terms.

    Parameters
    ----------
    cost : VariationalCost
        U; its weights, those of observations among them, are inverse error variances.
    trajectory : AbstractMap
        x, from controls to states.
    """
    terms = [
        _EnergyOfTrajectory(term, trajectory)
        if isinstance(term, AbstractScalarTerm)
        else _OfTrajectory(cast("AbstractTerm", term), trajectory)
        for term in cost.terms
    ]
    return VariationalCost(*terms, _White())


@final
class _OfTrajectory(AbstractTerm):
    """View of a term of states as one of the control that makes them; shares its parameters."""

    def __init__(self, term: AbstractTerm, trajectory: AbstractMap):
        super().__init__(penalty=term.penalty)
        self.log_weight, self.factor, self.precision = term.log_weight, term.factor, term.precision
        self.term = term
        self.trajectory = trajectory

    def residual(self, state: Tensor, obs: Observations) -> Tensor:
        """r(x(v))."""
        return self.term.residual(self.trajectory(state), obs)

    def linearize(self, state: Tensor, obs: Observations) -> tuple[Tensor, Pullback]:
        """Residual and x'^T r'^T."""
        states, onto_control = self.trajectory.linearize(state)
        residual, onto_states = self.term.linearize(states, obs)
        return residual, lambda u: onto_control(onto_states(u))

    def pushforward(self, state: Tensor, obs: Observations) -> Pushforward:
        """r' x' w."""
        onto_states = self.trajectory.pushforward(state)
        onto_residual = self.term.pushforward(self.trajectory(state), obs)
        return lambda w: onto_residual(onto_states(w))

    def residual_weights(self, obs: Observations) -> Tensor | None:
        """Those of the term."""
        return self.term.residual_weights(obs)


@final
class _EnergyOfTrajectory(AbstractScalarTerm):
    """View of a scalar term of states as one of the control that makes them; shares its parameters."""

    def __init__(self, term: AbstractScalarTerm, trajectory: AbstractMap):
        super().__init__()
        self.log_weight, self.factor = term.log_weight, term.factor
        self.term = term
        self.trajectory = trajectory

    def energy(self, state: Tensor, obs: Observations) -> Tensor:
        """E(x(v))."""
        return self.term.energy(self.trajectory(state), obs)


@final
class _White(AbstractTerm):
    """The control itself: its errors are independent and of variance 1."""

    def residual(self, state: Tensor, obs: Observations) -> Tensor:
        """v."""
        del obs
        return state

    def linearize(self, state: Tensor, obs: Observations) -> tuple[Tensor, Pullback]:
        """v, and the identity."""
        del obs
        return state, lambda u: u

    def pushforward(self, state: Tensor, obs: Observations) -> Pushforward:
        """w itself."""
        del state, obs
        return lambda w: w
