"""One solve: from a first guess to an analysis, with the verdict on it."""

from torch import Tensor

from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.observations import Observations
from oceanvar.variational.solvers.base import AbstractSolver, advanced
from oceanvar.variational.verdicts import Analysis, bounded


def solved(
    cost: VariationalCost, solver: AbstractSolver, n_steps: int, guess: Tensor, obs: Observations
) -> Analysis:
    """Analysis after `n_steps` iterations from a first guess; the background is that of the observations."""
    carry = solver.init(cost, obs, guess)
    state, carry = advanced(solver, cost, obs, guess, carry, n_steps)
    return Analysis(state, bounded(state, guess, solver.verdict(cost, obs, state, carry)))
