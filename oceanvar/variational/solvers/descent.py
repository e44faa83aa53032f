"""Solvers without learned parts."""

from typing import final

import torch
from torch import Tensor

from oceanvar.registry import registered
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.observations import Observations, Reads
from oceanvar.variational.power import largest_eigenvalue
from oceanvar.variational.shapes import dot, ratio
from oceanvar.variational.solvers.base import AbstractSolver
from oceanvar.variational.verdicts import judged

Memory = tuple[Tensor, Tensor, Tensor]
"""Residual, direction, and the squared norm of the first residual of each window."""


@registered
@final
class GradientDescent(AbstractSolver):
    """Fixed-step gradient descent: x <- x - alpha grad U(x).

    The FSGD of Fablet, Drumetz and Rousseau (2020), section 2; with a cost of observations alone it is Landweber's
    iteration (1951, Amer. J. Math. 73, 615-624), to be stopped before it fits the noise: see
    `oceanvar.variational.Discrepancy`.

    Parameters
    ----------
    step_size : float, optional
        alpha. The cost is divided by the number of state points, so useful steps are of that order. Default: 1 over
        the largest curvature of the cost at the first guess, for each window, by the power method.
    """

    minimises = True

    def __init__(self, step_size: float | None = None):
        super().__init__()
        self.step_size = step_size

    @property
    def iteration(self) -> AbstractSolver:
        """Itself."""
        return self

    def init(self, cost: VariationalCost, obs: Observations, state: Tensor) -> Tensor:
        """Step size of each window, ``(B, 1, ...)``."""
        return steepest_step(cost, obs, state, self.step_size)

    def step(
        self, cost: VariationalCost, obs: Observations, state: Tensor, carry: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One step downhill."""
        return state - carry * cost.gradient(state, obs), carry


def steepest_step(cost: VariationalCost, obs: Observations, state: Tensor, step_size: float | None) -> Tensor:
    """Step size of each window ``(B, 1, ...)``: the given one, or 1 over the largest curvature of the cost.

    A window in which nothing pulls takes no step.
    """
    ones = torch.ones_like(state[:, 0].flatten(1)[:, 0]).view(-1, *[1] * (state.ndim - 1))
    if step_size is not None:
        return step_size * ones
    # Chosen, not learned: no training goes through the power method.
    with torch.no_grad():
        return ratio(ones, largest_eigenvalue(cost.at(state, obs).steepest_product, state))


@registered
@final
class FixedPoint(AbstractSolver):
    """Keep what was observed and project the rest: x <- y on Omega, Phi(x) elsewhere.

    The fixed-point solver of Fablet, Drumetz and Rousseau (2020), section 4.1; one iteration of it is
    their FP(1). For observations of the state itself, through the prior of the cost.

    Parameters
    ----------
    name : str
        Which observations to keep.
    """

    def __init__(self, name: str = "state"):
        super().__init__()
        self.name = name

    @property
    def reads(self) -> Reads:
        """Observations of the state."""
        return Reads((self.name,))

    @property
    def iteration(self) -> AbstractSolver:
        """Itself."""
        return self

    def init(self, cost: VariationalCost, obs: Observations, state: Tensor) -> None:
        """Nothing is remembered."""

    def step(
        self, cost: VariationalCost, obs: Observations, state: Tensor, carry: None
    ) -> tuple[Tensor, None]:
        """Project, then put the observations back."""
        observed = obs.weights[self.name] > 0
        return torch.where(observed, obs.values[self.name], cost.prior(state)), carry


@registered
@final
class ConjugateGradients(AbstractSolver):
    """Conjugate gradients (Hestenes and Stiefel, 1952) for quadratic costs, one step length per window.

    The matrix is the Gauss-Newton product, which is the exact Hessian when the penalties are squared
    and the operators and the prior are linear (affine). A window that has converged stands still. The
    conjugate gradients in `oceanvar.variational.solvers.newton` solve one linear system and leave the state.
    """

    minimises = True

    def init(self, cost: VariationalCost, obs: Observations, state: Tensor) -> Memory:
        """Residual of the normal equations, first direction, and the size of that residual."""
        residual = -cost.gradient(state, obs)
        return residual, residual, dot(residual, residual)

    def step(
        self, cost: VariationalCost, obs: Observations, state: Tensor, carry: Memory
    ) -> tuple[Tensor, Memory]:
        """Exact line search along the direction, then the next conjugate direction."""
        residual, direction, first_size = carry
        curved = cost.at(state, obs).product(direction)
        size = dot(residual, residual)
        length = ratio(size, dot(direction, curved))
        next_residual = residual - length * curved
        next_direction = next_residual + ratio(dot(next_residual, next_residual), size) * direction
        return state + length * direction, (next_residual, next_direction, first_size)

    def verdict(self, cost: VariationalCost, obs: Observations, state: Tensor, carry: Memory) -> Tensor:
        """Windows have converged whose residual is smaller than the rounding of the first one."""
        residual, _, first_size = carry
        smallest = torch.finfo(state.dtype).eps ** 2 * first_size
        return judged(state, cost(state, obs), (dot(residual, residual) <= smallest).flatten())
