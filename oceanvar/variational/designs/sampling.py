"""Where to observe: masks chosen by a network under a budget, and gradients through them.

The sampling operator of 4DVarNet with trainable observation operators, |H(z) * (x - y)|^2 subject to |H(z)|_1 <= eps
for all z. Here H(z) is the weight of the observations, so the training loss differentiates through it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import final

import torch
from torch import Tensor, nn

from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractMap
from oceanvar.registry import registered
from oceanvar.variational.designs.budgets import AbstractRelaxation, StraightThrough, top_k
from oceanvar.variational.observations import Observations, Reader, Reads


@registered
@final
class SamplingDesign(Reader, nn.Module):
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
            raise ConfigError(f"share is the part of the points that may be observed, in (0, 1], got {share}")
        self.network = network
        self.covariates = list(covariates)
        self.share = share
        self.relaxation = relaxation or StraightThrough()
        self.name = name

    @property
    def reads(self) -> Reads:
        """What is sampled, and what the choice is made from."""
        return Reads((self.name,), tuple(self.covariates))

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
