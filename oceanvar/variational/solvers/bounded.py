"""Limited-memory BFGS between bounds, each window on its own."""

from typing import final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.registry import registered
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.observations import Observations
from oceanvar.variational.shapes import broadcast, dot
from oceanvar.variational.solvers.base import AbstractSolver
from oceanvar.variational.solvers.lbfgs import LBFGS, Memory, inverse_hessian_product, pair_of
from oceanvar.variational.verdicts import judged

_ARMIJO = 1e-4


@registered
@final
class BoundedLBFGS(AbstractSolver):
    """L-BFGS between bounds: sea ice from 0 to 1, temperature above the freezing point.

    Projected quasi-Newton steps (Schmidt, Kim and Sra, 2012, Optimization for Machine Learning, section 11.3): points
    at a bound that the gradient pushes against stay there, the others take a step of L-BFGS which is cut to the bounds,
    halved until the cost falls. It ends where L-BFGS-B (Byrd et al., 1995) does, and `ProximalGradient` with a `Box`.

    Parameters
    ----------
    low, high : float
        Bounds, in normalised units. Default: none.
    history : int
        Pairs of changes remembered.
    tolerance : float
        Relative decrease of the cost in one iteration at which a window has converged.
    n_trials : int
        Most evaluations of the cost in one line search.
    """

    adds_prior = True

    def __init__(
        self,
        low: float = -torch.inf,
        high: float = torch.inf,
        history: int = 10,
        tolerance: float = 1e-9,
        n_trials: int = 20,
    ):
        super().__init__()
        if not low < high:
            raise ConfigError(f"low must lie below high, got {low} and {high}")
        self.low, self.high = low, high
        self.history, self.tolerance, self.n_trials = history, tolerance, n_trials

    def init(self, cost: VariationalCost, obs: Observations, state: Tensor) -> Memory:
        """Empty memory at the nearest state between the bounds, see `LBFGS`."""
        return LBFGS(self.history, self.tolerance, self.n_trials).init(cost, obs, self._cut(state))

    def step(
        self, cost: VariationalCost, obs: Observations, state: Tensor, carry: Memory
    ) -> tuple[Tensor, Memory]:
        """One projected step of the windows that still move."""
        value, gradient, pairs, scale, active = carry
        state = self._cut(state)
        if not active.any():
            return state, carry
        held = ((state <= self.low) & (gradient > 0)) | ((state >= self.high) & (gradient < 0))
        downhill = torch.where(held, 0.0, gradient)
        direction = -torch.where(held, 0.0, inverse_hessian_product(downhill, pairs, scale))
        # What the memory says of points that are held can turn the rest uphill.
        direction = torch.where(dot(gradient, direction) < 0, direction, -scale * downhill)
        change, next_value, next_gradient = self._search(cost, obs, state, direction, value, gradient, active)
        moved = change.flatten(1).any(1)
        pair, scale = pair_of(change, next_gradient - gradient, scale)
        remembered = torch.stack([inverse.flatten() > 0 for *_, inverse in (*pairs, pair)]).any(0)
        keep = broadcast(moved, state).to(state.dtype)
        pairs = tuple((s, y, inverse * keep) for s, y, inverse in (*pairs, pair)[-self.history :])
        falls = next_value < (1 - self.tolerance) * value
        active = active & torch.where(moved, falls, remembered)
        return state + change, (next_value, next_gradient, pairs, scale, active)

    def verdict(self, cost: VariationalCost, obs: Observations, state: Tensor, carry: Memory) -> Tensor:
        """Windows that stand still have converged."""
        del cost, obs
        value, *_, active = carry
        return judged(state, value, ~active)

    def _cut(self, state: Tensor) -> Tensor:
        return state.clamp(self.low, self.high)

    def _search(
        self,
        cost: VariationalCost,
        obs: Observations,
        state: Tensor,
        direction: Tensor,
        value: Tensor,
        gradient: Tensor,
        active: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Change, cost and gradient of each window; no change where it is not active or no step helped."""
        found = (torch.zeros_like(state), value, gradient)
        pending, length = active, 1.0
        for _ in range(self.n_trials):
            if not pending.any():
                break
            change = self._cut(state + length * direction) - state
            trial = (change, *cost.cost_and_gradient(state + change, obs))
            falls = trial[1] <= value + _ARMIJO * dot(gradient, change).flatten()
            taken = pending & falls
            change, next_value, next_gradient = (
                torch.where(taken if a.ndim == 1 else broadcast(taken, a), a, b)
                for a, b in zip(trial, found, strict=True)
            )
            found = (change, next_value, next_gradient)
            pending, length = pending & ~falls, length / 2
        return found
