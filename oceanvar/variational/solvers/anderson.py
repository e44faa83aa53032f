"""Fixed points of other solvers' iterations, and how they are accelerated."""

from typing import Any, final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.maps.checks import require
from oceanvar.registry import registered
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.observations import Observations
from oceanvar.variational.solvers.base import AbstractSolver
from oceanvar.variational.verdicts import judged

Pair = tuple[Tensor, Tensor]
"""Result f(x) of an iteration, and its residual f(x) - x."""


@registered
@final
class Anderson(AbstractSolver):
    """Another solver's iteration, accelerated to its fixed point (Anderson, 1965; Walker and Ni, 2011).

    The next state mixes the last few results so that their residuals add up to least. For solvers that carry nothing
    from step to step (`GradientDescent`, `FixedPoint`, `ProximalGradient` without momentum or dual), by window.

    Parameters
    ----------
    solver : AbstractSolver
        Iteration f, of which x = f(x) is wanted.
    memory : int
        Results that are mixed.
    regularisation : float
        Added to the matrix of residuals, relative to its trace.
    """

    def __init__(self, solver: AbstractSolver, memory: int = 5, regularisation: float = 1e-8):
        super().__init__()
        require(solver, "the solver of Anderson", AbstractSolver)
        if solver.iteration is None:
            raise ConfigError(
                f"a step of {type(solver).__name__} depends on the steps before it: Anderson mixes results of "
                "GradientDescent, FixedPoint or ProximalGradient(..., accelerated=False)"
            )
        if memory < 1 or regularisation <= 0:
            raise ConfigError(
                f"memory must be at least 1 and regularisation positive, got {memory} and {regularisation}"
            )
        self.solver = solver
        self.memory = memory
        self.regularisation = regularisation

    @property
    def iteration(self) -> AbstractSolver | None:
        """That of the solver."""
        return self.solver.iteration

    def init(self, cost: VariationalCost, obs: Observations, state: Tensor) -> tuple[Any, tuple[Pair, ...]]:
        """Carry of the inner solver, and nothing to mix."""
        return self.solver.init(cost, obs, state), ()

    def step(
        self, cost: VariationalCost, obs: Observations, state: Tensor, carry: tuple[Any, tuple[Pair, ...]]
    ) -> tuple[Tensor, tuple[Any, tuple[Pair, ...]]]:
        """One step of the inner solver, mixed with those before."""
        inner, pairs = carry
        following, _ = self.solver.step(cost, obs, state, inner)
        pairs = (*pairs, (following, following - state))[-self.memory :]
        return mixed(pairs, self.regularisation), (inner, pairs)

    def verdict(
        self, cost: VariationalCost, obs: Observations, state: Tensor, carry: tuple[Any, tuple[Pair, ...]]
    ) -> Tensor:
        """Windows have converged whose last residual is the rounding of the state."""
        if not carry[1]:
            return super().verdict(cost, obs, state, carry)
        (*_, (following, residual)), eps = carry[1], torch.finfo(state.dtype).eps
        size, whole = residual.flatten(1).norm(dim=1), following.flatten(1).norm(dim=1)
        return judged(state, cost(state, obs), size <= 10 * eps * whole)


def mixed(pairs: tuple[Pair, ...], regularisation: float) -> Tensor:
    """Results mixed with the weights, adding up to 1, that make the residual of the mixture least; by window.

    Parameters
    ----------
    pairs : tuple of (Tensor, Tensor)
        Results and residuals, each ``(B, ...)``.
    regularisation : float
        Added to the normal equations, relative to their trace.
    """
    residuals = torch.stack([residual.flatten(1) for _, residual in pairs], dim=1).double()
    matrix = residuals @ residuals.mT
    trace = matrix.diagonal(dim1=1, dim2=2).sum(1).clamp(min=torch.finfo(matrix.dtype).tiny)
    eye = torch.eye(len(pairs), dtype=matrix.dtype, device=matrix.device)
    weights = torch.linalg.solve(
        matrix / trace.view(-1, 1, 1) + regularisation * eye, torch.ones_like(matrix[:, :, :1])
    )
    weights = weights / weights.sum(1, keepdim=True)
    results = torch.stack([result for result, _ in pairs], dim=1)
    return (results * weights.to(results.dtype).view(*weights.shape[:2], *[1] * (results.ndim - 2))).sum(1)
