"""Limited-memory BFGS, each window on its own."""

from typing import final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.registry import registered
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.observations import Observations
from oceanvar.variational.shapes import broadcast, dot, ratio
from oceanvar.variational.solvers.base import AbstractSolver
from oceanvar.variational.verdicts import judged

Pair = tuple[Tensor, Tensor, Tensor]
"""Change s of the state, change y of the gradient, and 1 / (s . y), 0 for windows whose pair is of no use."""

Memory = tuple[Tensor, Tensor, tuple[Pair, ...], Tensor, Tensor]
"""Cost, gradient, latest pairs (oldest first), scale of the first inverse Hessian, windows that still move."""

_ARMIJO, _WOLFE = 1e-4, 0.9


@registered
@final
class LBFGS(AbstractSolver):
    """L-BFGS (Nocedal, 1980, Math. Comp. 35, 773-782) with a memory and a line search for each window.

    For costs of any size: only costs and gradients are needed, and one product with the Gauss-Newton matrix
    for the length of the first step. The line search finds a step that meets the weak Wolfe conditions by
    doubling and halving. A window where no step lowers the cost forgets its memory; one where the steepest
    descent fails too, or where the cost falls by less than a share `tolerance` of itself, stands still.

    Parameters
    ----------
    history : int
        Pairs of changes remembered.
    tolerance : float
        Relative decrease of the cost in one iteration at which a window has converged.
    n_trials : int
        Most evaluations of the cost in one line search.
    """

    minimises = True

    def __init__(self, history: int = 10, tolerance: float = 1e-9, n_trials: int = 20):
        super().__init__()
        if history < 1 or n_trials < 1 or tolerance < 0:
            raise ConfigError(
                f"history and n_trials must be at least 1 and tolerance at least 0; got {history}, {n_trials} "
                f"and {tolerance}"
            )
        self.history = history
        self.tolerance = tolerance
        self.n_trials = n_trials

    def init(self, cost: VariationalCost, obs: Observations, state: Tensor) -> Memory:
        """Empty memory; the scale is the exact length of a steepest descent on the quadratic model."""
        point = cost.at(state, obs)
        gradient = point.gradient
        # Where a scalar term curves down, a step as long as if it curved up will do, and where nothing curves one of
        # length 1: the line search judges them.
        size, curvature = dot(gradient, gradient), dot(gradient, point.product(gradient)).abs()
        scale = torch.where(curvature > 0, ratio(size, curvature), ratio(torch.ones_like(size), size.sqrt()))
        return point.value, gradient, (), scale, torch.ones_like(point.value, dtype=torch.bool)

    def step(
        self, cost: VariationalCost, obs: Observations, state: Tensor, carry: Memory
    ) -> tuple[Tensor, Memory]:
        """One quasi-Newton step of the windows that still move."""
        value, gradient, pairs, scale, active = carry
        if not active.any():
            return state, carry
        direction = -inverse_hessian_product(gradient, pairs, scale)
        search = _LineSearch(cost, obs, state, direction, value, gradient)
        length, next_value, next_gradient = search.run(active, self.n_trials)
        moved = length > 0
        change = torch.where(broadcast(moved, state), broadcast(length, state) * direction, 0.0)
        pair, scale = pair_of(change, next_gradient - gradient, scale)
        # Where no step helped, the memory is to blame if there is one.
        remembered = torch.stack([inverse.flatten() > 0 for *_, inverse in (*pairs, pair)]).any(0)
        keep = broadcast(moved, state).to(state.dtype)
        pairs = tuple((s, y, inverse * keep) for s, y, inverse in (*pairs, pair)[-self.history :])
        falls = next_value <= (1 - self.tolerance) * value + _rounding(value)
        active = active & torch.where(moved, falls, remembered)
        return state + change, (next_value, next_gradient, pairs, scale, active)

    def verdict(self, cost: VariationalCost, obs: Observations, state: Tensor, carry: Memory) -> Tensor:
        """Windows that stand still have converged: the cost no longer falls, not even down its gradient."""
        del cost, obs
        value, *_, active = carry
        return judged(state, value, ~active)


def inverse_hessian_product(gradient: Tensor, pairs: tuple[Pair, ...], scale: Tensor) -> Tensor:
    """Two-loop recursion (Nocedal and Wright, 2006, algorithm 7.4); a pair of inverse 0 changes nothing."""
    shares = []
    for s, y, inverse in reversed(pairs):
        shares.append(inverse * dot(s, gradient))
        gradient = gradient - shares[-1] * y
    product = scale * gradient
    for (s, y, inverse), share in zip(pairs, reversed(shares), strict=True):
        product = product + (share - inverse * dot(y, product)) * s
    return product


def pair_of(s: Tensor, y: Tensor, scale: Tensor) -> tuple[Pair, Tensor]:
    """Pair for the memory, and the scale it gives; both unchanged where the curvature is not positive."""
    curvature = dot(s, y)
    smallest = torch.finfo(s.dtype).eps * (dot(s, s) * dot(y, y)).sqrt()
    inverse = torch.where(curvature > smallest, ratio(torch.ones_like(curvature), curvature), 0.0)
    return (s, y, inverse), torch.where(inverse > 0, ratio(curvature, dot(y, y)), scale)


def _rounding(value: Tensor) -> Tensor:
    return 10 * torch.finfo(value.dtype).eps * value.abs()


class _LineSearch:
    """Search along one direction of each window for the weak Wolfe conditions."""

    def __init__(
        self,
        cost: VariationalCost,
        obs: Observations,
        state: Tensor,
        direction: Tensor,
        value: Tensor,
        gradient: Tensor,
    ):
        self.cost, self.obs, self.state, self.direction = cost, obs, state, direction
        self.value, self.gradient = value, gradient
        self.slope = dot(gradient, direction).flatten()

    def run(self, active: Tensor, n_trials: int) -> tuple[Tensor, Tensor, Tensor]:
        """Length, cost and gradient of each window; length 0 where it is not active or no step helped."""
        pending = active & (self.slope < 0)
        best = (torch.zeros_like(self.value), self.value, self.gradient)
        length = torch.ones_like(self.value)
        low, high = torch.zeros_like(length), torch.full_like(length, torch.inf)
        for _ in range(n_trials):
            if not pending.any():
                break
            value, gradient = self.cost.cost_and_gradient(
                self.state + broadcast(length, self.state) * self.direction, self.obs
            )
            too_long, too_short = self._judge(length, value, gradient)
            best = _chosen(pending & ~too_long, (length, value, gradient), best)
            high, low = torch.where(too_long, length, high), torch.where(too_short, length, low)
            pending = pending & (too_long | too_short)
            longer = torch.where(high.isinf(), 2 * length, (low + high) / 2)
            length = torch.where(pending, longer, length)
        return best

    def _judge(self, length: Tensor, value: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        slope = dot(gradient, self.direction).flatten()
        falls = value <= self.value + _ARMIJO * length * self.slope
        # Where differences of the cost are rounding the slope decides (Hager and Zhang, 2005).
        level = (value <= self.value + _rounding(self.value)) & (slope <= (2 * _ARMIJO - 1) * self.slope)
        # Written so that a cost that is not a number counts as a step too long.
        too_long = ~(falls | level)
        return too_long, ~too_long & (slope < _WOLFE * self.slope)


def _chosen(
    mask: Tensor, new: tuple[Tensor, Tensor, Tensor], old: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    length, value, gradient = (
        torch.where(mask if a.ndim == 1 else broadcast(mask, a), a, b) for a, b in zip(new, old, strict=True)
    )
    return length, value, gradient
