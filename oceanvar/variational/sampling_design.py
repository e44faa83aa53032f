"""Where to observe: masks chosen by a network under a budget, and gradients through them.

The sampling operator of 4DVarNet with trainable observation operators, |H(z) * (x - y)|^2 subject to |H(z)|_1 <= eps
for all z. Here H(z) is the weight of the observations, so the training loss differentiates through it.
"""

import abc
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor, nn

from oceanvar.maps.base import AbstractMap
from oceanvar.registry import registered
from oceanvar.variational.observations import Observations

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
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def forward(self, scores: Tensor, budget: Tensor) -> Tensor:
        """Mask of zeros and ones."""
        uniform = torch.rand_like(scores).clamp(1e-9, 1 - 1e-7)
        noisy = scores - self.temperature * torch.log(-torch.log(uniform))
        soft = project_on_budget(torch.sigmoid(noisy), budget)
        return top_k(noisy, budget) + (soft - soft.detach())


@registered
@final
class SamplingDesign(nn.Module):
    """Chooses at each time where to observe, from covariates: yesterday's analysis, say.

    Parameters
    ----------
    network : AbstractMap
        Map from ``(B, 2 C, T, *S)``, the covariates (0 in gaps) and their masks, to scores ``(B, 1, T, *S)``.
    covariates : sequence of str
        What the choice is made from.
    share : float
        Budget: the share of the points of each map that may be observed.
    relaxation : AbstractRelaxation, optional
        In training; otherwise the choice is hard. Default: straight through.
    name : str
        Observations that are sampled: of the state, given everywhere in training.
    """

    def __init__(
        self,
        network: AbstractMap,
        covariates: Sequence[str],
        share: float,
        relaxation: AbstractRelaxation | None = None,
        name: str = "state",
    ):
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"share is the part of the points that may be observed, in (0, 1], got {share}")
        self.network = network
        self.covariates = list(covariates)
        self.share = share
        self.relaxation = relaxation or StraightThrough()
        self.name = name

    def scores(self, obs: Observations) -> Tensor:
        """Worth of an observation at every point, ``(B, 1, T, *S)``: the higher the better."""
        masks = [obs.weights[name] for name in self.covariates]
        values = [obs.covariates[name] * mask for name, mask in zip(self.covariates, masks, strict=True)]
        return self.network(torch.cat([*values, *masks], dim=1))

    def forward(self, obs: Observations) -> Observations:
        """Observations with weights that are 0 where nothing is observed."""
        return self.sampled(obs, self.mask(obs))

    def mask(self, obs: Observations) -> Tensor:
        """H(z), ``(B, 1, T, *S)``, 0 where there is nothing to observe."""
        weights = obs.weights[self.name]
        can_be = (weights > 0).any(1, keepdim=True)
        scores = self.scores(obs)
        rows = scores.masked_fill(~can_be, -torch.inf).reshape(scores.shape[0] * scores.shape[2], -1)
        budget = rows.new_full((len(rows), 1), self.share * rows.shape[1])
        mask = self.relaxation(rows, budget) if self.training else top_k(rows, budget)
        return mask.view_as(scores)

    def sampled(self, obs: Observations, mask: Tensor) -> Observations:
        """Observations with weights times a mask."""
        return replace(obs, weights={**obs.weights, self.name: obs.weights[self.name] * mask})

    def excess(self, mask: Tensor) -> Tensor:
        """Mean square of the part of the budget by which a mask exceeds it at each time; a scalar."""
        used = mask.flatten(3).mean(3) / self.share
        return (used - 1).clamp(min=0).square().mean()
