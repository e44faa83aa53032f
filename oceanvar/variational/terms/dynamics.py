"""What the state itself must obey: a projection, a model of its dynamics."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from oceanvar.maps.base import AbstractMap, Pullback, Pushforward
from oceanvar.maps.checks import require, shaped_like
from oceanvar.registry import registered
from oceanvar.variational.blocks import TermBlocks, step_blocks
from oceanvar.variational.observations import Observations
from oceanvar.variational.penalties import AbstractPenalty
from oceanvar.variational.terms.base import AbstractTerm


@registered
@final
class PriorTerm(AbstractTerm):
    """Distance of the state to its own projection: r = x - Phi(x).

    The second term of equation 2 of Fablet, Drumetz and Rousseau (2020).

    Parameters
    ----------
    prior : AbstractMap
        Phi, from ``(B, V, T, *S)`` to the same shape.
    weight : float
        lambda_2.
    penalty : AbstractPenalty, optional
        rho. Default: squared.
    """

    def __init__(self, prior: AbstractMap, weight: float = 1.0, penalty: AbstractPenalty | None = None):
        super().__init__(weight, penalty)
        require(prior, "the prior of PriorTerm", AbstractMap)
        self.prior = prior

    def residual(self, state: Tensor, obs: Observations) -> Tensor:
        """x - Phi(x)."""
        del obs
        return state - self._checked(self.prior(state), state)

    def linearize(self, state: Tensor, obs: Observations) -> tuple[Tensor, Pullback]:
        """x - Phi(x) and I - Phi'^T."""
        del obs
        value, pullback = self.prior.linearize(state)
        return state - self._checked(value, state), lambda u: u - pullback(u)

    def pushforward(self, state: Tensor, obs: Observations) -> Pushforward:
        """v - Phi' v."""
        del obs
        push = self.prior.pushforward(state)
        return lambda v: v - push(v)

    def blocks(self, state: Tensor, curvatures: Tensor) -> TermBlocks:
        """Those of a one-step forecast, where Phi is one."""
        if self.prior.one_step is None:
            return super().blocks(state, curvatures)
        # The first time is its own forecast: its residual is 0 and depends on nothing.
        return step_blocks(self.prior.one_step, state, curvatures[:, :, 1:])

    def _checked(self, value: Tensor, state: Tensor) -> Tensor:
        return shaped_like(value, state, f"what {type(self.prior).__name__} makes of a state", "the state")


@registered
@final
class DynamicsTerm(AbstractTerm):
    """Weak-constraint dynamics: r_t = x_t - M(x_{t-1}) for every time but the first.

    The model-error term of weak-constraint 4D-Var (Tremolet, 2006); `weight` is 1/Q in normalised units.

    Parameters
    ----------
    step : AbstractMap
        Model M of one time step.
    weight : float
        Inverse model-error variance.
    penalty : AbstractPenalty, optional
        rho. Default: squared.
    variances : sequence of float, optional
        Model-error variance Q of each variable, in normalised units. Default: 1.
    """

    def __init__(
        self,
        step: AbstractMap,
        weight: float = 1.0,
        penalty: AbstractPenalty | None = None,
        variances: Sequence[float] | None = None,
    ):
        super().__init__(weight, penalty, variances)
        require(step, "the step of DynamicsTerm", AbstractMap)
        self.step = step

    def residual(self, state: Tensor, obs: Observations) -> Tensor:
        """x_t - M(x_{t-1}), one time shorter than the state."""
        del obs
        return self._errors(state, self.step(state[:, :, :-1]))

    def linearize(self, state: Tensor, obs: Observations) -> tuple[Tensor, Pullback]:
        """Residual and its pull-back onto both times."""
        del obs
        forecast, step_pullback = self.step.linearize(state[:, :, :-1])

        def pullback(cotangent: Tensor) -> Tensor:
            edge = torch.zeros_like(state[:, :, :1])
            onto_next = torch.cat((edge, cotangent), dim=2)
            return onto_next - torch.cat((step_pullback(cotangent), edge), dim=2)

        return self._errors(state, forecast), pullback

    def pushforward(self, state: Tensor, obs: Observations) -> Pushforward:
        """v_t - M' v_{t-1}."""
        del obs
        push = self.step.pushforward(state[:, :, :-1])
        return lambda v: v[:, :, 1:] - push(v[:, :, :-1])

    def blocks(self, state: Tensor, curvatures: Tensor) -> TermBlocks:
        """Weights at both times, tied by the Jacobian of the step."""
        return step_blocks(self.step, state, curvatures)

    def _errors(self, state: Tensor, forecast: Tensor) -> Tensor:
        after = state[:, :, 1:]
        return after - shaped_like(
            forecast, after, f"a forecast of {type(self.step).__name__}", "its argument"
        )
