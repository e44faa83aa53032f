"""Terms of the variational cost: observations, prior, dynamics, background."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from oceanvar.maps.base import AbstractMap, Pullback
from oceanvar.maps.compositions import Identity
from oceanvar.registry import registered
from oceanvar.variational.abstract_terms import AbstractTerm
from oceanvar.variational.observations import Observations
from oceanvar.variational.operators.base import AbstractOperator, Operator, bound
from oceanvar.variational.penalties import AbstractPenalty


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
        self.name = name
        self.whitening = whitening

    def residual(self, state: Tensor, obs: Observations) -> Tensor:
        """H(x) - y."""
        departure = bound(self.operator, obs, self.name)(state) - obs.values[self.name]
        if self.whitening is None:
            return departure
        return self.whitening.bind(obs, self.name)(departure * self._root_weights(obs))

    def linearize(self, state: Tensor, obs: Observations) -> tuple[Tensor, Pullback]:
        """H(x) - y and H'^T."""
        value, pullback = bound(self.operator, obs, self.name).linearize(state)
        departure = value - obs.values[self.name]
        if self.whitening is None:
            return departure, pullback
        root = self._root_weights(obs)
        white, unwhiten = self.whitening.bind(obs, self.name).linearize(departure * root)
        return white, lambda u: pullback(unwhiten(u) * root)

    def jvp(self, state: Tensor, obs: Observations, tangent: Tensor) -> Tensor:
        """H' v."""
        pushed = bound(self.operator, obs, self.name).jvp(state, tangent)
        if self.whitening is None:
            return pushed
        return self.whitening.bind(obs, self.name)(pushed * self._root_weights(obs))

    def residual_weights(self, obs: Observations) -> Tensor | None:
        """Mask, or mask over error variance; None where the whitening has taken them up."""
        return obs.weights[self.name] if self.whitening is None else None

    def _root_weights(self, obs: Observations) -> Tensor:
        return obs.weights[self.name].sqrt()


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

    def residual(self, state: Tensor, obs: Observations) -> Tensor:
        """B^{-1/2} (x - x^b)."""
        return self.whitening(state - given_background(obs))

    def linearize(self, state: Tensor, obs: Observations) -> tuple[Tensor, Pullback]:
        """Residual and B^{-T/2}."""
        return self.whitening.linearize(state - given_background(obs))

    def jvp(self, state: Tensor, obs: Observations, tangent: Tensor) -> Tensor:
        """B^{-1/2} v."""
        return self.whitening.jvp(state - given_background(obs), tangent)


def given_background(obs: Observations) -> Tensor:
    """Background of a window; an `Assimilator` always gives one, its first guess if no other."""
    if obs.background is None:
        raise ValueError("the cost has a background term but no background was given: pass background=")
    return obs.background
