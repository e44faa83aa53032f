"""Observations kept apart: an order of choice that knows what neighbours have already told."""

from typing import final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractMap
from oceanvar.registry import registered

_NEGLIGIBLE = 1e-6


@registered
@final
class GreedyReduction(AbstractMap):
    r"""Scores by which the best points are those that together reduce the error variance most.

    The best points of a smooth map lie side by side and tell the same. Here points are taken one after the other:
    an observation of point i takes the share :math:`\rho_{ij}^2 v_i / (v_i + 1)` from the error variance
    :math:`v_j` of every point, and the next one is where the sum over all points falls most: greedy A-optimal
    design (Krause, Singh and Guestrin, 2008, J. Mach. Learn. Res. 9, 235-284, for the principle), with the
    correlation :math:`\rho_{ij} = \exp(-d_{ij}^2 / 2 L^2)` of the errors left as it was. The derivative passes as that
    of the identity.

    Points that cannot be observed are not left out here: give them a very low value. The order is that of one
    patch, so the patch should be the whole map.

    Parameters
    ----------
    length : float
        L, in grid points.
    n_taken : int
        Points that are taken so; the largest budget of the sampling. The rest follow by what they would still
        reduce.
    """

    def __init__(self, length: float, n_taken: int):
        super().__init__()
        if length <= 0 or n_taken < 1:
            raise ConfigError(f"length and n_taken must be positive, got {length} and {n_taken}")
        self.length = length
        self.n_taken = n_taken

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(B, 1, T, y, x)`` from the logarithm of the error variance over that of an observation."""
        with torch.autocast(x.device.type, enabled=False):
            scores = self._scores(x.detach().float().flatten(0, 2)).view_as(x).to(x.dtype)
        return scores + (x - x.detach())

    def _scores(self, log_variance: Tensor) -> Tensor:
        """Between 1 and 2 for points that are taken, the first highest, below 1 for the others."""
        rows = torch.arange(len(log_variance), device=log_variance.device)
        variance, taken = log_variance.exp(), torch.zeros_like(log_variance, dtype=torch.bool)
        scores = torch.zeros_like(variance)
        along_y, along_x = (self._squared_correlation(n, variance) for n in variance.shape[1:])
        for step in range(min(self.n_taken, taken[0].numel())):
            best = self._gain(variance, along_y, along_x).masked_fill(taken, -1).flatten(1).argmax(1)
            at = (rows, best // variance.shape[2], best % variance.shape[2])
            taken[at], scores[at] = True, 2 - step / self.n_taken
            share = (variance[at] / (variance[at] + 1))[:, None, None]
            variance = variance * (1 - share * along_y[at[1]][:, :, None] * along_x[at[2]][:, None, :])
        left = self._gain(variance, along_y, along_x)
        return torch.where(taken, scores, left / (1 + left))

    def _gain(self, variance: Tensor, along_y: Tensor, along_x: Tensor) -> Tensor:
        return along_y @ variance @ along_x * variance / (variance + 1)

    def _squared_correlation(self, n: int, like: Tensor) -> Tensor:
        at = torch.arange(n, dtype=like.dtype, device=like.device)
        squared = torch.exp(-((at[:, None] - at) ** 2) / self.length**2)
        # Products of smaller ones are subnormal numbers, an order of magnitude slower.
        return torch.where(squared > _NEGLIGIBLE, squared, 0.0)
