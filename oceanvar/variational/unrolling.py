"""How training differentiates through the iterations."""

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from oceanvar.registry import registered
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.observations import Observations
from oceanvar.variational.solvers.base import AbstractSolver


@registered
@final
@dataclass
class Unroll:
    """Differentiate through the iterations as they were computed.

    Parameters
    ----------
    checkpoint_every : int, optional
        Keep only every m-th iterate and recompute the others in the backward pass: less memory for
        about one more forward pass. Default: keep all.
    last : int, optional
        Differentiate through the last m iterations only (truncated back-propagation). Default: all.
    """

    checkpoint_every: int | None = None
    last: int | None = None

    def run(
        self, solver: AbstractSolver, cost: VariationalCost, obs: Observations, state: Tensor, n_steps: int
    ) -> Tensor:
        """Iterate `n_steps` times from `state`; the result carries the graph asked for."""
        if n_steps == 0:
            return state
        carry = solver.init(cost, obs, state)
        n_free = max(0, n_steps - self.last) if self.last else 0
        with torch.no_grad():
            for _ in range(n_free):
                state, carry = solver.step(cost, obs, state, carry)

        def stretch(state: Tensor, carry: Any, n: int) -> tuple[Tensor, Any]:
            for _ in range(n):
                state, carry = solver.step(cost, obs, state, carry)
            return state, carry

        size = self.checkpoint_every or max(n_steps, 1)
        for done in range(n_free, n_steps, size):
            n = min(size, n_steps - done)
            if self.checkpoint_every:
                state, carry = checkpoint(stretch, state, carry, n, use_reentrant=False)
            else:
                state, carry = stretch(state, carry, n)
        return state
