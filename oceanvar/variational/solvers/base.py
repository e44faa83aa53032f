"""What every solver is."""

import abc
from typing import Any

from torch import Tensor, nn

from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.observations import Observations

Carry = Any
"""What a solver remembers between iterations: a tuple of tensors, or None."""


class AbstractSolver(nn.Module, abc.ABC):
    """An iteration that lowers a variational cost.

    All memory travels in the carry, none on the module, so that one solver can serve many solves.
    Each window of the batch is treated on its own.
    """

    @abc.abstractmethod
    def init(self, cost: VariationalCost, obs: Observations, state: Tensor) -> Carry:
        """Carry before the first iteration."""

    @abc.abstractmethod
    def step(
        self, cost: VariationalCost, obs: Observations, state: Tensor, carry: Carry
    ) -> tuple[Tensor, Carry]:
        """One iteration: the next state and the next carry."""
