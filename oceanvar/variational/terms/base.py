"""What a term of the variational cost is: most often a weighted penalty of a residual.

Such a term is ``lambda sum_p w_p rho(r(x)_p) / N`` per window, where N is the number of points of the
state: a constant, so that a window with few observations is not pulled harder by them. Terms that are no sum over
residuals are in `oceanvar.variational.terms.scalars`.
"""

import abc
import copy
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Protocol, Self, final

import torch
from torch import Tensor, nn

from oceanvar.errors import ConfigError
from oceanvar.maps.base import Pullback, Pushforward
from oceanvar.maps.checks import require
from oceanvar.variational.blocks import TermBlocks
from oceanvar.variational.observations import Observations, Reader
from oceanvar.variational.penalties import AbstractPenalty, Squared
from oceanvar.variational.shapes import per_window


class TermPoint(Protocol):
    """A term at one point, as solvers and diagnostics ask for it."""

    @property
    def value(self) -> Tensor:
        """Cost of each window, ``(B,)``."""

    @property
    def gradient(self) -> Tensor:
        """Gradient of the cost of each window, shaped like the state."""

    def product(self, tangent: Tensor) -> Tensor:
        """Product of the second derivatives, or of what stands for them, with a tangent shaped like the state."""

    def steepest_product(self, tangent: Tensor) -> Tensor:
        """The same with the largest curvature that penalties have anywhere: steps by it are never too long."""

    def blocks(self) -> TermBlocks:
        """Part of the term in a block tridiagonal Gauss-Newton matrix, see `AbstractTerm.blocks`."""


class AbstractCostTerm(Reader, nn.Module, abc.ABC):
    """One term of the cost, whatever it is made of.

    Parameters
    ----------
    weight : float
        lambda > 0; learned with the rest of the model.
    """

    is_residual = False
    """Whether the term is a penalty of residuals, as Gauss-Newton needs it."""
    factor = 1.0
    """What `reweighted` has multiplied the weight by."""
    trust = 1.0
    """Factor on the weight where the error of an analysis is told: less than 1 for what is known less well than solves
    take it to be, a background that has seen the observations, say. Found on withheld windows."""
    set_later = ("factor", "trust")

    def __init__(self, weight: float = 1.0):
        super().__init__()
        if weight <= 0:
            raise ConfigError(f"the weight of a term must be positive, got {weight}")
        self.log_weight = nn.Parameter(torch.tensor(float(weight)).log())

    @abc.abstractmethod
    def cost(self, state: Tensor, obs: Observations) -> Tensor:
        """Cost of each window, ``(B,)``."""

    @abc.abstractmethod
    def at(self, state: Tensor, obs: Observations) -> TermPoint:
        """Cost, gradient and curvature at a state."""

    @property
    def weight(self) -> Tensor:
        """lambda, always positive."""
        return self.log_weight.exp() * self.factor

    exact_curvature = True
    """Whether derivatives of the gradient are its second derivatives, which differentiated minima need."""

    @final
    def reweighted(self, factor: float) -> Self:
        """View of this term with its weight multiplied by `factor`; shares all parameters."""
        view = copy.copy(self)
        view.factor = self.factor * float(factor)
        if not 0 < view.factor < torch.inf:
            raise ConfigError(f"a weight can be multiplied by a positive number, not by {factor}")
        return view


class AbstractTerm(AbstractCostTerm):
    """One term of the cost that is a penalty of residuals.

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
    is_residual = True

    def __init__(
        self,
        weight: float = 1.0,
        penalty: AbstractPenalty | None = None,
        variances: Sequence[float] | None = None,
    ):
        if min([weight, *(variances or ())]) <= 0:
            raise ConfigError(f"weight and variances of a term must be positive, got {weight}, {variances}")
        super().__init__(weight)
        self.penalty = penalty or Squared()
        require(self.penalty, "the penalty of a term", AbstractPenalty)
        if self.penalty.is_grouped and len(set(variances or ())) > 1:
            raise ConfigError(
                f"{type(self.penalty).__name__} takes the norm of residuals whose error variances differ, {variances}: "
                "divide the residuals by their standard deviations first"
            )
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
    def pushforward(self, state: Tensor, obs: Observations) -> Pushforward:
        """Map v -> J(x) v of the residual's Jacobian, for tangents shaped like the state."""

    def residual_weights(self, obs: Observations) -> Tensor | None:
        """Weights w of the residuals; None where all are 1."""
        del obs
        return None

    def blocks(self, state: Tensor, curvatures: Tensor) -> TermBlocks:
        """Part of the term in a Gauss-Newton matrix that is block tridiagonal in time.

        Parameters
        ----------
        state : Tensor
            Point ``(B, V, T, *S)``.
        curvatures : Tensor
            Weights of the residuals there, see `TermLinearization.curvatures`.

        Raises
        ------
        ConfigError
            If the term ties more than two neighbouring times, or does not know; a term does not by default.
        """
        del state, curvatures
        raise ConfigError(
            f"block elimination cannot take {type(self).__name__} as it stands: it knows observations of the "
            "state itself, models of one time step, backgrounds without correlation in time and "
            "FirstStateTerm; use GaussNewton"
        )

    @final
    def cost(self, state: Tensor, obs: Observations) -> Tensor:
        """Cost of each window, ``(B,)``."""
        return per_window(self.scaled(self.penalty.value(self.residual(state, obs)), state, obs))

    @final
    def at(self, state: Tensor, obs: Observations) -> "TermLinearization":
        """Cost, gradient and curvature at a state, from one evaluation of the residual."""
        return TermLinearization(self, state, obs)

    @final
    def scaled(self, x: Tensor, state: Tensor, obs: Observations) -> Tensor:
        """What is shaped like the residual times lambda w / N."""
        weights = self.residual_weights(obs)
        factor = self.weight / state[0].numel()
        if self.precision is not None:
            factor = factor * self.precision.to(x.dtype).view(1, -1, *[1] * (x.ndim - 2))
        return x * factor if weights is None else x * weights * factor


@final
class TermLinearization:
    """One term of the cost at one point; nothing is evaluated there twice.

    Parameters
    ----------
    term : AbstractTerm
        The term.
    state : Tensor
        The point, ``(B, V, T, *S)``.
    obs : Observations
        What the cost is given there.
    """

    def __init__(self, term: AbstractTerm, state: Tensor, obs: Observations):
        self._term, self._state, self._obs = term, state, obs
        self._residual, self._pullback = term.linearize(state, obs)

    @cached_property
    def value(self) -> Tensor:
        """Cost of each window, ``(B,)``."""
        return per_window(self._scaled(self._term.penalty.value(self._residual)))

    @cached_property
    def gradient(self) -> Tensor:
        """Gradient of the cost of each window, shaped like the state."""
        return self._pullback(self._scaled(self._term.penalty.derivative(self._residual)))

    @cached_property
    def curvatures(self) -> Tensor:
        """Weights lambda w rho''(r) / N of the residuals in the Gauss-Newton matrix, shaped like the residual."""
        return self._scaled(self._term.penalty.curvature(self._residual))

    def product(self, tangent: Tensor) -> Tensor:
        """Product J^T [lambda w rho''(r) J v] / N of the Gauss-Newton matrix with a tangent."""
        pushed = self._term.penalty.curvature(self._residual) * self._pushforward(tangent)
        return self._pullback(self._scaled(pushed))

    def steepest_product(self, tangent: Tensor) -> Tensor:
        """The same with the curvature of the penalty at 0, where it is largest."""
        steepest = self._term.penalty.curvature(torch.zeros_like(self._residual))
        return self._pullback(self._scaled(steepest * self._pushforward(tangent)))

    def disturbed(self, noise: Callable[[Tensor], Tensor]) -> Tensor:
        """J^T sqrt(lambda w rho''(r) / N) e, shaped like the state; its covariance is the Gauss-Newton matrix.

        Parameters
        ----------
        noise : callable
            Makes white noise e for residuals.
        """
        return self._pullback(self.curvatures.clamp(min=0).sqrt() * noise(self._residual))

    def blocks(self) -> TermBlocks:
        """Part of the term in a block tridiagonal Gauss-Newton matrix, see `AbstractTerm.blocks`."""
        return self._term.blocks(self._state, self.curvatures)

    @cached_property
    def _pushforward(self) -> Pushforward:
        return self._term.pushforward(self._state, self._obs)

    def _scaled(self, x: Tensor) -> Tensor:
        return self._term.scaled(x, self._state, self._obs)
