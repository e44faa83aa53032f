"""What every solver is."""

import abc
import collections
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from oceanvar.errors import ConfigError
from oceanvar.maps.checks import shaped_like
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.observations import Observations, Reader
from oceanvar.variational.verdicts import judged

Carry = Any
"""What a solver remembers between iterations: a tuple of tensors, or None."""


class AbstractSolver(Reader, nn.Module, abc.ABC):
    """An iteration that lowers a variational cost.

    All memory travels in the carry, none on the module, so that one solver can serve many solves.
    Each window of the batch is treated on its own.
    """

    minimises = False
    """Whether its iterations, if there are enough of them, end where the gradient of the cost is 0."""

    pauses = False
    """Whether a state may stand still for a while before it moves again."""

    adds_prior = False
    """Whether it knows of the state what is in no term of the cost: bounds, a regularisation, a white control."""

    @property
    def iteration(self) -> "AbstractSolver | None":
        """Solver whose step is a function of the state alone, of which this one finds the fixed point, if any."""
        return None

    @abc.abstractmethod
    def init(self, cost: VariationalCost, obs: Observations, state: Tensor) -> Carry:
        """Carry before the first iteration."""

    @abc.abstractmethod
    def step(
        self, cost: VariationalCost, obs: Observations, state: Tensor, carry: Carry
    ) -> tuple[Tensor, Carry]:
        """One iteration: the next state and the next carry."""

    def warm(self, n_steps: int) -> tuple["AbstractSolver", int]:
        """Solver, and number of its steps, from a state that is close to the minimum; by default nothing changes.

        Parameters
        ----------
        n_steps : int
            Steps of this solver from any first guess.
        """
        return self, n_steps

    def verdict(self, cost: VariationalCost, obs: Observations, state: Tensor, carry: Carry) -> Tensor:
        """`Verdict` on each window after the last iteration, ``(B,)``; by default convergence is not known."""
        del carry
        return judged(state, cost(state, obs), converged=False)


def steps(
    solver: AbstractSolver,
    cost: VariationalCost,
    obs: Observations,
    state: Tensor,
    carry: Carry,
    n_steps: int,
) -> Iterator[tuple[Tensor, Carry]]:
    """State and carry as given, and after each of `n_steps` iterations: the only loop over them."""
    yield state, carry
    for _ in range(n_steps):
        state, carry = _checked(solver, solver.step(cost, obs, state, carry), state)
        yield state, carry


def _checked(solver: AbstractSolver, result: object, before: Tensor) -> tuple[Tensor, Carry]:
    name = f"{type(solver).__name__}.step"
    if not isinstance(result, tuple) or len(result) != 2:
        raise ConfigError(
            f"{name} gave a {type(result).__name__}: it must give the next state and the next carry"
        )
    state, carry = result
    return shaped_like(state, before, f"the next state of {name}", "the state before"), carry


def advanced(
    solver: AbstractSolver,
    cost: VariationalCost,
    obs: Observations,
    state: Tensor,
    carry: Carry,
    n_steps: int,
) -> tuple[Tensor, Carry]:
    """State and carry after `n_steps` iterations."""
    return collections.deque(steps(solver, cost, obs, state, carry, n_steps), maxlen=1).pop()
