"""When the solve of a window has done enough: rules that end it before the iterations are used up."""

import abc
from typing import final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.registry import registered
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.observations import Observations
from oceanvar.variational.shapes import per_window
from oceanvar.variational.solvers.base import AbstractSolver, Carry, advanced
from oceanvar.variational.verdicts import Analysis, bounded, judged


class AbstractStop(abc.ABC):
    """A rule that looks at the state before and after an iteration, window by window."""

    @abc.abstractmethod
    def has_ended(self, cost: VariationalCost, obs: Observations, before: Tensor, after: Tensor) -> Tensor:
        """Whether each window has done enough, ``(B,)``."""


@registered
@final
class Discrepancy(AbstractStop):
    """Morozov's discrepancy principle: stop once observations are fitted as closely as their errors allow.

    ``sum_p w_p |H(x)_p - y_p|^2 <= factor^2 n``, over the n observations of all observation terms, whose weights are
    inverse error variances (``variances=`` of the term, or an instrument that states its own). Iterations beyond fit
    the noise.

    Parameters
    ----------
    factor : float
        At least 1: 1.05 leaves room for the chance in the noise.
    """

    def __init__(self, factor: float = 1.05):
        if factor < 1:
            raise ConfigError(f"the factor of Discrepancy must be at least 1, got {factor}")
        self.factor = factor

    def has_ended(self, cost: VariationalCost, obs: Observations, before: Tensor, after: Tensor) -> Tensor:
        """Whether the weighted misfit is as small as chance makes it."""
        del before
        if not cost.observed:
            raise ConfigError("Discrepancy looks at observation terms, and the cost has none: use Standstill")
        misfit = n_observed = torch.zeros(len(after), dtype=after.dtype, device=after.device)
        for term in cost.observed:
            residual, weights = term.residual(after, obs), term.residual_weights(obs)
            n_observed = n_observed + per_window(obs.weights[term.name] > 0)
            weights = torch.ones_like(residual) if weights is None else weights.expand_as(residual)
            if term.precision is not None:
                weights = weights * term.precision.to(weights.dtype).view(1, -1, *[1] * (weights.ndim - 2))
            misfit = misfit + per_window(weights * residual.square())
        return misfit <= self.factor**2 * n_observed


@registered
@final
class Standstill(AbstractStop):
    """Stop once an iteration moves the state by no more than a share of it.

    Parameters
    ----------
    tolerance : float
        Root mean square of the change, over that of the state.
    """

    def __init__(self, tolerance: float = 1e-4):
        if tolerance <= 0:
            raise ConfigError(f"the tolerance of Standstill must be positive, got {tolerance}")
        self.tolerance = tolerance

    def has_ended(self, cost: VariationalCost, obs: Observations, before: Tensor, after: Tensor) -> Tensor:
        """Whether the last change was small."""
        del cost, obs
        change, size = (x.flatten(1).norm(dim=1) for x in (after - before, after))
        return change <= self.tolerance * size


@registered
@final
class SmallGradient(AbstractStop):
    """Stop once the gradient of the cost is no longer than a number: by strong convexity, a bound of the error.

    Parameters
    ----------
    size : float
        Euclidean norm of the gradient of a window, in units of the cost.
    """

    def __init__(self, size: float):
        if size <= 0:
            raise ConfigError(f"the size of SmallGradient must be positive, got {size}")
        self.size = size

    def has_ended(self, cost: VariationalCost, obs: Observations, before: Tensor, after: Tensor) -> Tensor:
        """Whether the gradient is small."""
        del before
        return cost.gradient(after, obs).flatten(1).norm(dim=1) <= self.size


def solve_until(
    stop: AbstractStop,
    solver: AbstractSolver,
    cost: VariationalCost,
    obs: Observations,
    state: Tensor,
    n_steps: int,
) -> Analysis:
    """Iterate at most `n_steps` times the windows that a rule has not ended; the others cost nothing any more.

    The rule is asked before the first iteration too where the solver minimises the cost alone, since a first guess may
    be good enough; others bring bounds or regularisation of their own. Windows that it ended have converged; of the
    rest the solver says what became of them.
    """
    guess, whole, verdict = (
        state,
        state.clone(),
        torch.zeros(len(state), dtype=torch.int64, device=state.device),
    )
    going = torch.arange(len(state), device=state.device)
    carry, before = solver.init(cost, obs, state), torch.full_like(state, torch.inf)
    for n_left in range(n_steps, -1, -1):
        is_asked = solver.minimises or n_left < n_steps
        ended = (
            stop.has_ended(cost, obs, before, state)
            if is_asked
            else torch.zeros_like(going, dtype=torch.bool)
        )
        done, left = ended.nonzero().squeeze(1), (~ended).nonzero().squeeze(1)
        if len(done):
            whole[going[done]] = state[done]
            verdict[going[done]] = judged(state[done], cost(state[done], obs[done]), converged=True)
            carry = _of_windows(carry, left, len(going))
            going, obs, state = going[left], obs[left], state[left]
        if not len(going) or not n_left:
            break
        before = state
        state, carry = advanced(solver, cost, obs, state, carry, 1)
    if len(going):
        whole[going], verdict[going] = state, solver.verdict(cost, obs, state, carry)
    return Analysis(whole, bounded(whole, guess, verdict))


def _of_windows(carry: Carry, windows: Tensor, n: int) -> Carry:
    """What a solver remembers of some of `n` windows: those of every tensor whose first axis they are."""
    if isinstance(carry, tuple):
        return tuple(_of_windows(each, windows, n) for each in carry)
    is_of_windows = isinstance(carry, Tensor) and carry.ndim > 0 and len(carry) == n
    return carry[windows] if is_of_windows else carry
