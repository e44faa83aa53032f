"""Choices under a budget, and how they become differentiable in training."""

import abc
from typing import Any, final

import torch
from torch import Tensor, nn

from oceanvar.errors import ConfigError
from oceanvar.registry import registered

_N_HALVINGS = 60
"""Halvings of the bracket of the shift: more than double precision resolves."""


class _BudgetProjection(torch.autograd.Function):
    """Euclidean projection of each row on {0 <= h <= 1, sum h <= budget}, with its exact derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, budget: Tensor) -> Tensor:
        """Clip x - tau to [0, 1]; the shift tau >= 0 is found by bisection."""
        low = torch.zeros_like(x[:, :1])
        high = x.amax(1, keepdim=True).clamp(min=0)
        for _ in range(_N_HALVINGS):
            middle = (low + high) / 2
            is_over = (x - middle).clamp(0, 1).sum(1, keepdim=True) > budget
            low, high = torch.where(is_over, middle, low), torch.where(is_over, high, middle)
        is_bound = x.clamp(0, 1).sum(1, keepdim=True) > budget
        shifted = x - torch.where(is_bound, high, 0.0)
        ctx.save_for_backward((shifted > 0) & (shifted < 1), is_bound)
        return shifted.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Between the bounds the identity, less its mean there where the budget binds."""
        (gradient,) = gradients
        inside, is_bound = ctx.saved_tensors
        passed = gradient * inside
        n_inside = inside.sum(1, keepdim=True).clamp(min=1)
        mean = passed.sum(1, keepdim=True) / n_inside
        return passed - torch.where(is_bound, mean, 0.0) * inside, None


def project_on_budget(x: Tensor, budget: Tensor) -> Tensor:
    """Nearest point of {0 <= h <= 1, sum h <= budget} to each row, differentiable almost everywhere.

    Parameters
    ----------
    x : Tensor
        ``(R, n)``.
    budget : Tensor
        ``(R, 1)``, not negative.
    """
    return _BudgetProjection.apply(x, budget)


def top_k(scores: Tensor, budget: Tensor) -> Tensor:
    """Hard choice: 1 at the floor(budget) largest scores of each row ``(R, n)``, 0 elsewhere.

    A score of minus infinity is never chosen.
    """
    rank = scores.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return ((rank < budget.floor()) & (scores > -torch.inf)).to(scores.dtype)


class AbstractRelaxation(nn.Module, abc.ABC):
    """How a hard choice becomes differentiable in training."""

    @abc.abstractmethod
    def forward(self, scores: Tensor, budget: Tensor) -> Tensor:
        """Mask ``(R, n)`` in [0, 1] from scores ``(R, n)``, minus infinity where nothing can be observed."""

    @property
    def is_soft(self) -> bool:
        """Whether masks between 0 and 1 reach the solver in training."""
        return False


@registered
@final
class SoftBudget(AbstractRelaxation):
    """Sigmoid of the scores, projected on the budget: a soft mask."""

    @property
    def is_soft(self) -> bool:
        """True."""
        return True

    def forward(self, scores: Tensor, budget: Tensor) -> Tensor:
        """Mask with a sum of at most the budget."""
        return project_on_budget(torch.sigmoid(scores), budget)


@registered
@final
class PenalisedBudget(AbstractRelaxation):
    """Sigmoid of the scores, unconstrained: the loss has to penalise what exceeds the budget.

    Set `LossWeights.budget` with it.
    """

    @property
    def is_soft(self) -> bool:
        """True."""
        return True

    def forward(self, scores: Tensor, budget: Tensor) -> Tensor:
        """Mask of any sum."""
        del budget
        return torch.sigmoid(scores)


@registered
@final
class StraightThrough(AbstractRelaxation):
    """The hard choice forward, the derivative of the soft one backward (Bengio et al., 2013, arXiv 1308.3432)."""

    def forward(self, scores: Tensor, budget: Tensor) -> Tensor:
        """Mask of zeros and ones."""
        soft = project_on_budget(torch.sigmoid(scores), budget)
        return top_k(scores, budget) + (soft - soft.detach())


@registered
@final
class GumbelTopK(AbstractRelaxation):
    """A random choice forward, by scores with Gumbel noise, and straight through backward.

    Samples k points without replacement, likelier where scores are high (Kool et al., 2019, arXiv 1903.06059); the
    noise lets training try points that a hard choice never would. Draws come from torch's generator.

    Parameters
    ----------
    temperature : float
        Size of the noise; towards 0 the choice is the hard one.
    """

    def __init__(self, temperature: float = 1.0):
        super().__init__()
        if temperature <= 0:
            raise ConfigError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def forward(self, scores: Tensor, budget: Tensor) -> Tensor:
        """Mask of zeros and ones."""
        uniform = torch.rand_like(scores).clamp(1e-9, 1 - 1e-7)
        noisy = scores - self.temperature * torch.log(-torch.log(uniform))
        soft = project_on_budget(torch.sigmoid(noisy), budget)
        return top_k(noisy, budget) + (soft - soft.detach())
