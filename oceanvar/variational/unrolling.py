"""How training differentiates through the iterations."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from oceanvar.registry import registered
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.observations import Observations
from oceanvar.variational.solvers.base import AbstractSolver, advanced


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
            state, carry = advanced(solver, cost, obs, state, carry, n_free)
        if not self.checkpoint_every:
            return advanced(solver, cost, obs, state, carry, n_steps - n_free)[0]
        for done in range(n_free, n_steps, self.checkpoint_every):
            n = min(self.checkpoint_every, n_steps - done)
            state, carry = checkpoint(advanced, solver, cost, obs, state, carry, n, use_reentrant=False)
        return state
