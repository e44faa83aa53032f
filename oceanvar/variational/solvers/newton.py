"""Gauss-Newton with damping and line search, each window on its own."""

import abc
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractMap
from oceanvar.registry import registered
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.linearizations import Linearization
from oceanvar.variational.observations import Observations
from oceanvar.variational.shapes import broadcast, dot, per_window, ratio
from oceanvar.variational.solvers.base import AbstractSolver
from oceanvar.variational.terms.scalars import no_residuals
from oceanvar.variational.verdicts import judged

Memory = tuple[Tensor, Tensor]
"""Damping of each window, and whether it still moves."""

_LENGTHS = (1.0, 0.5, 0.25, 0.1, 0.03)
"""Step lengths tried, the longest first."""


class AbstractGaussNewton(AbstractSolver):
    """Damped Gauss-Newton iteration; how its linear systems are solved is left to the subclass.

    An iteration solves (G + mu I) d = -grad U, with G the Gauss-Newton matrix, and moves by the first of a
    few fractions of d that does not raise the cost. Where none does, the window stays and its damping mu
    grows tenfold; else the damping shrinks (Levenberg, 1944; Marquardt, 1963). A window whose cost is
    predicted to fall by less than a share `tolerance` of itself takes that last step and then stands still.

    Parameters
    ----------
    damping : float
        First damping, in the units of a term's weight: it pulls towards the present state as a
        background of that weight would.
    tolerance : float
        Relative decrease of the cost at which a window has converged.
    """

    minimises = True

    def __init__(self, damping: float, tolerance: float):
        super().__init__()
        if damping < 0 or tolerance < 0:
            raise ConfigError(f"damping and tolerance must not be negative; got {damping} and {tolerance}")
        self.damping = damping
        self.tolerance = tolerance

    @abc.abstractmethod
    def direction(self, point: Linearization, damping: Tensor) -> Tensor:
        """Solution d of (G + mu I) d = -gradient, shaped like the state; `damping` is mu, ``(B,)``."""

    @final
    def init(self, cost: VariationalCost, obs: Observations, state: Tensor) -> Memory:
        """First damping; every window moves."""
        for term in cost.terms:
            if not term.is_residual:
                raise ConfigError(no_residuals(term))
        damping = state.new_full((len(state),), self.damping)
        return damping, torch.ones_like(damping, dtype=torch.bool)

    @final
    def step(
        self, cost: VariationalCost, obs: Observations, state: Tensor, carry: Memory
    ) -> tuple[Tensor, Memory]:
        """One damped step of the windows that still move."""
        damping, active = carry
        if not active.any():
            return state, carry
        index = active.nonzero().squeeze(1)
        # Half precision is for networks; a step that must lower the cost cannot live with its rounding.
        with torch.autocast(state.device.type, enabled=False):
            moved, damping_left, still_active = self._move(cost, obs[index], state[index], damping[index])
        carry = (damping.index_copy(0, index, damping_left), active.index_copy(0, index, still_active))
        return state.index_copy(0, index, moved), carry

    @final
    def verdict(self, cost: VariationalCost, obs: Observations, state: Tensor, carry: Memory) -> Tensor:
        """Windows that stand still have converged."""
        return judged(state, cost(state, obs), ~carry[1])

    def _move(
        self, cost: VariationalCost, obs: Observations, state: Tensor, damping: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        point = cost.at(state, obs)
        direction = self.direction(point, damping * (2 / state[0].numel()))
        decrease = -per_window(point.gradient * direction) / 2
        length = _first_length_downhill(cost, obs, point, direction)
        accepted = length > 0
        # A direction that overflowed must not reach the state, not even multiplied by zero.
        step = torch.where(broadcast(accepted, state), broadcast(length, state) * direction, 0.0)
        converged = (decrease >= 0) & (decrease <= self.tolerance * point.value)
        damping = torch.where(accepted, 0.3 * damping, 10 * damping.clamp(min=1e-6))
        return state + step, damping, ~converged


def _first_length_downhill(
    cost: VariationalCost, obs: Observations, point: Linearization, direction: Tensor
) -> Tensor:
    """Longest step of each window that does not raise its cost; 0 where every one does."""
    chosen = torch.zeros_like(point.value)
    for length in _LENGTHS:
        with torch.no_grad():
            lower = cost(point.state + length * direction, obs) <= point.value
        chosen = torch.where((chosen == 0) & lower, length, chosen)
        if (chosen > 0).all():
            break
    return chosen


@registered
@final
class GaussNewton(AbstractGaussNewton):
    """Gauss-Newton for any cost, its systems solved by conjugate gradients.

    Only products with the Gauss-Newton matrix are needed, so terms, operators and priors may be any maps.

    Parameters
    ----------
    n_inner : int
        Most conjugate gradient steps in one iteration.
    damping, tolerance : float
        See `AbstractGaussNewton`.
    inner_tolerance : float
        Size of the residual of the linear system, relative to the first, at which a window stops.
    preconditioner : AbstractMap, optional
        Symmetric positive linear map close to the inverse of the Gauss-Newton matrix, up to a factor.
        Default: none.
    """

    def __init__(
        self,
        n_inner: int = 50,
        damping: float = 1e-3,
        tolerance: float = 1e-6,
        inner_tolerance: float = 1e-3,
        preconditioner: AbstractMap | None = None,
    ):
        super().__init__(damping, tolerance)
        self.n_inner = n_inner
        self.inner_tolerance = inner_tolerance
        self.preconditioner = preconditioner

    def direction(self, point: Linearization, damping: Tensor) -> Tensor:
        """Approximate solution after at most `n_inner` conjugate gradient steps."""
        shift = broadcast(damping, point.state)
        return conjugate_gradients(
            lambda tangent: point.product(tangent) + shift * tangent,
            -point.gradient,
            self.n_inner,
            self.inner_tolerance,
            self.preconditioner or _unchanged,
        )


def _unchanged(x: Tensor) -> Tensor:
    return x


def conjugate_gradients(
    product: Callable[[Tensor], Tensor],
    target: Tensor,
    n_steps: int,
    tolerance: float,
    precondition: Callable[[Tensor], Tensor],
) -> Tensor:
    """Solve A x = b for each window by preconditioned conjugate gradients (Hestenes and Stiefel, 1952).

    The inner loop of one Gauss-Newton step, at one point and up to a tolerance; the solver `ConjugateGradients`
    moves the state itself, one step an iteration, and is made to be watched and unrolled.

    Parameters
    ----------
    product : callable
        Symmetric positive definite A times a tensor.
    target : Tensor
        b, ``(B, ...)``.
    n_steps : int
        Most iterations.
    tolerance : float
        Preconditioned norm of the residual, relative to the first, at which a window stops.
    precondition : callable
        Symmetric positive approximation of the inverse of A, times a tensor.

    Returns
    -------
    Tensor
        x, shaped like the target.
    """
    solution, residual = torch.zeros_like(target), target
    direction = precondition(residual)
    size = dot(residual, direction)
    enough = tolerance**2 * size
    for _ in range(n_steps):
        active = size > enough
        if not active.any():
            break
        curved = product(direction)
        length = torch.where(active, ratio(size, dot(direction, curved)), 0.0)
        solution = solution + length * direction
        residual = residual - length * curved
        preconditioned = precondition(residual)
        next_size = dot(residual, preconditioned)
        direction = preconditioned + ratio(next_size, size) * direction
        size = torch.where(active, next_size, size)
    return solution
