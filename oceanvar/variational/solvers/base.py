"""What every solver is."""

import abc
from typing import Any

import torch
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


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each window, shaped to multiply a state: ``(B, 1, ...)``."""
    product = (a * b).flatten(1).sum(1)
    return product.view(-1, *[1] * (a.ndim - 1))


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Quotient that is 0 where the denominator is not positive: a converged window takes no step."""
    alive = denominator > 0
    return torch.where(alive, numerator / torch.where(alive, denominator, 1.0), 0.0)


def broadcast(values: Tensor, state: Tensor) -> Tensor:
    """Shape one value per window ``(B,)`` to multiply a state: ``(B, 1, ...)``."""
    return values.view(-1, *[1] * (state.ndim - 1))
