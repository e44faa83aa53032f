"""What a term of the variational cost is: a weighted penalty of a residual.

Each term is ``lambda sum_p w_p rho(r(x)_p) / N`` per window, where N is the number of points of the
state: a constant, so that a window with few observations is not pulled harder by them.
"""

import abc
import copy
from collections.abc import Sequence
from typing import Self, final

import torch
from torch import Tensor, nn

from oceanvar.errors import ConfigError
from oceanvar.maps.base import Pullback
from oceanvar.variational.observations import Observations
from oceanvar.variational.penalties import AbstractPenalty, Squared
from oceanvar.variational.shapes import per_window


class AbstractTerm(nn.Module, abc.ABC):
    """One term of the cost.

    Parameters
    ----------
    weight : float
        lambda > 0; learned with the rest of the model.
    penalty : AbstractPenalty, optional
        rho. Default: squared.
    variances : sequence of float, optional
        Error variance of each channel (axis 1) of the residual, divides its weights. Default: 1.
    """

    precision: Tensor | None

    def __init__(
        self,
        weight: float = 1.0,
        penalty: AbstractPenalty | None = None,
        variances: Sequence[float] | None = None,
    ):
        super().__init__()
        if min([weight, *(variances or ())]) <= 0:
            raise ConfigError(f"weight and variances of a term must be positive, got {weight}, {variances}")
        self.log_weight = nn.Parameter(torch.tensor(float(weight)).log())
        self.penalty = penalty or Squared()
        self.factor = 1.0
        precision = None if variances is None else 1 / torch.tensor(variances, dtype=torch.float64)
        # Known from the constructor's arguments, so no part of a model's weights.
        self.register_buffer("precision", precision, persistent=False)

    @abc.abstractmethod
    def linearize(self, state: Tensor, obs: Observations) -> tuple[Tensor, Pullback]:
        """Residual r(x) and the pull-back u -> J(x)^T u."""

    @abc.abstractmethod
    def residual(self, state: Tensor, obs: Observations) -> Tensor:
        """Residual r(x)."""

    @abc.abstractmethod
    def jvp(self, state: Tensor, obs: Observations, tangent: Tensor) -> Tensor:
        """Product J(x) v of the residual's Jacobian with a tangent shaped like the state."""

    def residual_weights(self, obs: Observations) -> Tensor | None:
        """Weights w of the residuals; None where all are 1."""
        del obs
        return None

    @property
    def weight(self) -> Tensor:
        """lambda, always positive."""
        return self.log_weight.exp() * self.factor

    @final
    def reweighted(self, factor: float) -> Self:
        """View of this term with its weight multiplied by `factor`; shares all parameters."""
        view = copy.copy(self)
        view.factor = self.factor * factor
        return view

    @final
    def cost(self, state: Tensor, obs: Observations) -> Tensor:
        """Cost of each window, ``(B,)``."""
        return self._sum(self.penalty.value(self.residual(state, obs)), state, obs)

    @final
    def cost_and_gradient(self, state: Tensor, obs: Observations) -> tuple[Tensor, Tensor]:
        """Cost ``(B,)`` and its gradient, shaped like the state."""
        residual, pullback = self.linearize(state, obs)
        cost = self._sum(self.penalty.value(residual), state, obs)
        return cost, pullback(self._scale(self.penalty.derivative(residual), state, obs))

    @final
    def gauss_newton(self, state: Tensor, obs: Observations, tangent: Tensor) -> Tensor:
        """Product J^T [w rho''(r) J v] of the Gauss-Newton matrix with a tangent."""
        residual, pullback = self.linearize(state, obs)
        pushed = self.penalty.curvature(residual) * self.jvp(state, obs, tangent)
        return pullback(self._scale(pushed, state, obs))

    @final
    def curvature(self, state: Tensor, obs: Observations) -> Tensor:
        """Weights lambda w rho''(r) / N of the residuals in the Gauss-Newton matrix."""
        return self._scale(self.penalty.curvature(self.residual(state, obs)), state, obs)

    def _scale(self, x: Tensor, state: Tensor, obs: Observations) -> Tensor:
        weights = self.residual_weights(obs)
        factor = self.weight / state[0].numel()
        if self.precision is not None:
            factor = factor * self.precision.to(x.dtype).view(1, -1, *[1] * (x.ndim - 2))
        return x * factor if weights is None else x * weights * factor

    def _sum(self, x: Tensor, state: Tensor, obs: Observations) -> Tensor:
        return per_window(self._scale(x, state, obs))
