"""What the state itself must obey: a projection, a model of its dynamics."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from oceanvar.maps.base import AbstractMap, Pullback
from oceanvar.registry import registered
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
        self.prior = prior

    def residual(self, state: Tensor, obs: Observations) -> Tensor:
        """x - Phi(x)."""
        del obs
        return state - self.prior(state)

    def linearize(self, state: Tensor, obs: Observations) -> tuple[Tensor, Pullback]:
        """x - Phi(x) and I - Phi'^T."""
        del obs
        value, pullback = self.prior.linearize(state)
        return state - value, lambda u: u - pullback(u)

    def jvp(self, state: Tensor, obs: Observations, tangent: Tensor) -> Tensor:
        """v - Phi' v."""
        del obs
        return tangent - self.prior.jvp(state, tangent)


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
        self.step = step

    def residual(self, state: Tensor, obs: Observations) -> Tensor:
        """x_t - M(x_{t-1}), one time shorter than the state."""
        del obs
        return state[:, :, 1:] - self.step(state[:, :, :-1])

    def linearize(self, state: Tensor, obs: Observations) -> tuple[Tensor, Pullback]:
        """Residual and its pull-back onto both times."""
        del obs
        forecast, step_pullback = self.step.linearize(state[:, :, :-1])

        def pullback(cotangent: Tensor) -> Tensor:
            edge = torch.zeros_like(state[:, :, :1])
            onto_next = torch.cat((edge, cotangent), dim=2)
            return onto_next - torch.cat((step_pullback(cotangent), edge), dim=2)

        return state[:, :, 1:] - forecast, pullback

    def jvp(self, state: Tensor, obs: Observations, tangent: Tensor) -> Tensor:
        """v_t - M' v_{t-1}."""
        del obs
        return tangent[:, :, 1:] - self.step.jvp(state[:, :, :-1], tangent[:, :, :-1])
