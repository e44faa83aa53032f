"""Empirical orthogonal functions as a prior."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractMap, Pullback
from oceanvar.registry import registered


@registered
@final
class EOFPrior(AbstractMap):
    """Projection on the leading empirical orthogonal functions: Phi(x) = m + W W^T (x - m).

    Parameters
    ----------
    shape : sequence of int
        Shape ``(V, T, *S)`` of one state; the functions belong to this window and domain.
    n_components : int
        Functions kept.

    Notes
    -----
    Until `fit_` has seen fields, every state is projected to zero.
    """

    mean: Tensor
    functions: Tensor

    def __init__(self, shape: Sequence[int], n_components: int):
        super().__init__()
        n_points = int(torch.Size(shape).numel())
        if not 0 < n_components <= n_points:
            raise ConfigError(
                f"n_components must lie between 1 and {n_points}, the points of a state, got {n_components}"
            )
        self.register_buffer("mean", torch.zeros(n_points))
        self.register_buffer("functions", torch.zeros(n_points, n_components))

    @torch.no_grad()
    def fit_(self, states: Tensor) -> "EOFPrior":
        """Set the mean and the functions from fields of shape ``(N, V, T, *S)``; returns itself."""
        n_components = self.functions.shape[1]
        if len(states) <= n_components:
            raise ConfigError(
                f"{n_components} functions need more than {n_components} states, got {len(states)}"
            )
        flat = states.flatten(1).to(torch.float64)
        mean = flat.mean(0)
        _, _, rows = torch.linalg.svd(flat - mean, full_matrices=False)
        self.mean.copy_(mean)
        self.functions.copy_(rows[:n_components].T)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Project ``(B, V, T, *S)``."""
        anomaly = x.flatten(1) - self.mean
        return (self.mean + (anomaly @ self.functions) @ self.functions.T).view_as(x)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: the projection W W^T is symmetric."""
        return self(x), self._project

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Project the tangent."""
        del x
        return self._project(tangent)

    def _project(self, x: Tensor) -> Tensor:
        return ((x.flatten(1) @ self.functions) @ self.functions.T).view_as(x)
