"""Terms that are no sum over residuals: energies, and misfits of other than Gaussian errors.

Each is ``lambda E(x) / N`` per window, N being the number of points of the state as in all other terms. Gauss-Newton
needs residuals and refuses them; every other solver takes them.
"""

import abc
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractMap, autograd_linearize
from oceanvar.maps.checks import require, shaped_like
from oceanvar.maps.compositions import Identity
from oceanvar.registry import registered
from oceanvar.variational.blocks import TermBlocks
from oceanvar.variational.observations import Observations, Reads
from oceanvar.variational.operators.base import AbstractOperator, Operator, bound
from oceanvar.variational.shapes import per_window
from oceanvar.variational.terms.base import AbstractCostTerm


class AbstractScalarTerm(AbstractCostTerm):
    """A term made of one number per window, which is all that a subclass has to define.

    Parameters
    ----------
    weight : float
        lambda > 0; learned with the rest of the model.
    """

    @abc.abstractmethod
    def energy(self, state: Tensor, obs: Observations) -> Tensor:
        """E(x) of each window, ``(B,)``."""

    @final
    def cost(self, state: Tensor, obs: Observations) -> Tensor:
        """Cost of each window, ``(B,)``."""
        return self.weight / state[0].numel() * _one_per_window(self.energy(state, obs), state, type(self))

    @final
    def at(self, state: Tensor, obs: Observations) -> "ScalarPoint":
        """Cost and gradient at a state, and products with its second derivatives."""
        return ScalarPoint(self, state, obs)


@final
class ScalarPoint:
    """A scalar term at one point.

    Parameters
    ----------
    term : AbstractScalarTerm
        The term.
    state : Tensor
        The point, ``(B, V, T, *S)``.
    obs : Observations
        What the cost is given there.
    """

    def __init__(self, term: AbstractScalarTerm, state: Tensor, obs: Observations):
        self._term, self._state, self._obs = term, state, obs
        self.value, self._pullback = autograd_linearize(lambda x: term.cost(x, obs), state)

    @cached_property
    def gradient(self) -> Tensor:
        """Gradient of the cost of each window, shaped like the state."""
        return self._pullback(torch.ones_like(self.value))

    def product(self, tangent: Tensor) -> Tensor:
        """Product of the second derivatives, which need not be positive, with a tangent."""
        recording = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.enable_grad():
            tracked = recording and self._state.requires_grad
            point = self._state if tracked else self._state.detach().clone().requires_grad_()
            value = self._term.cost(point, self._obs).sum()
            (gradient,) = torch.autograd.grad(value, point, create_graph=True)
            if not gradient.requires_grad:  # an energy that is linear has no second derivatives
                return torch.zeros_like(tangent)
            # They are symmetric: the pull-back of the gradient is the product.
            (product,) = torch.autograd.grad(
                gradient, point, tangent.clone(), create_graph=recording, materialize_grads=True
            )
        return product

    def steepest_product(self, tangent: Tensor) -> Tensor:
        """The same: how steep an energy is elsewhere is not known."""
        return self.product(tangent)

    def blocks(self) -> TermBlocks:
        """Refused: there are no residuals.

        Raises
        ------
        ConfigError
            Always.
        """
        raise ConfigError(no_residuals(self._term))


def no_residuals(term: AbstractCostTerm) -> str:
    """Say what cannot be done with a term that is no penalty of residuals."""
    return (
        f"{type(term).__name__} is no sum over residuals, and Gauss-Newton and the error bars made of its matrix need "
        "them: use LBFGS, GradientDescent or LSTMSolver"
    )


def _one_per_window(energy: Tensor, state: Tensor, kind: type) -> Tensor:
    if energy.shape != state.shape[:1]:
        raise ConfigError(
            f"an energy of {kind.__name__} has the shape {tuple(energy.shape)}: it must be one number for each of "
            f"{len(state)} windows"
        )
    return energy


@registered
@final
class EnergyTerm(AbstractScalarTerm):
    """Energy E(x) of the state alone: an input-convex network, a critic, the negative logarithm of a density.

    Parameters
    ----------
    energy_map : AbstractMap
        E, from ``(B, V, T, *S)`` to ``(B,)``.
    weight : float
        Weight of the term.
    """

    def __init__(self, energy_map: AbstractMap, weight: float = 1.0):
        super().__init__(weight)
        require(energy_map, "the energy of EnergyTerm", AbstractMap)
        self.energy_map = energy_map

    def energy(self, state: Tensor, obs: Observations) -> Tensor:
        """E(x)."""
        del obs
        return self.energy_map(state)


@registered
@final
class DenoisingTerm(AbstractScalarTerm):
    """Regularisation by denoising: E(x) = x^T (x - D(x)) (Romano, Elad and Milanfar, 2017, equation 2).

    The gradient is that of the energy, for any denoiser; it is 2 (x - D(x)), as it is usually given, where D is
    homogeneous and its Jacobian is symmetric (Reehorst and Schniter, 2019).

    Parameters
    ----------
    denoiser : AbstractMap
        D, from ``(B, V, T, *S)`` to the same shape.
    weight : float
        Weight of the term.
    """

    def __init__(self, denoiser: AbstractMap, weight: float = 1.0):
        super().__init__(weight)
        require(denoiser, "the denoiser of DenoisingTerm", AbstractMap)
        self.denoiser = denoiser

    def energy(self, state: Tensor, obs: Observations) -> Tensor:
        """x^T (x - D(x))."""
        del obs
        denoised = shaped_like(self.denoiser(state), state, "what the denoiser makes", "the state")
        return per_window(state * (state - denoised))


@registered
@final
class CountTerm(AbstractScalarTerm):
    """Misfit to observations with Poisson errors: E(x) = sum_p w_p (h_p - y_p + y_p log(y_p / h_p)), h = H(x).

    The Kullback-Leibler divergence of the observations from what the state makes of them, 0 where they agree: for
    counts, concentrations and other positive numbers whose variance grows with their size.

    Parameters
    ----------
    operator : AbstractMap or AbstractOperator, optional
        H, to positive numbers in the units of the observations. Default: the identity.
    name : str
        Which observations.
    weight : float
        Weight of the term.
    floor : float
        h is this at least, so that a state on its way may leave the positive numbers.
    """

    def __init__(
        self,
        operator: Operator | None = None,
        name: str = "state",
        weight: float = 1.0,
        floor: float = 1e-3,
    ):
        super().__init__(weight)
        self.operator = operator or Identity()
        require(self.operator, "the operator of CountTerm", AbstractMap, AbstractOperator)
        if floor <= 0:
            raise ConfigError(f"floor must be positive, got {floor}")
        self.name = name
        self.floor = floor

    @property
    def reads(self) -> Reads:
        """Its instrument."""
        return Reads((self.name,))

    def energy(self, state: Tensor, obs: Observations) -> Tensor:
        """Kullback-Leibler divergence of the observations."""
        seen, weights = obs.values[self.name], obs.weights[self.name]
        if (seen * weights < 0).any():
            raise ConfigError(
                f"observations with Poisson errors are not negative, and the smallest of {self.name!r} is "
                f"{float(seen.min()):.3g}: give their variable a mean of 0 in the StateSpace, or an operator to "
                "positive numbers"
            )
        made = bound(self.operator, obs, self.name)(state)
        positive = made.clamp(min=self.floor)
        # Below the floor the logarithm goes on as a straight line, which draws back what was observed.
        logarithm = positive.log() + (made - positive) / self.floor
        return per_window(weights * (positive - seen + torch.xlogy(seen, seen) - seen * logarithm))
