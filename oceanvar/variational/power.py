"""The largest eigenvalue of a matrix that is only known by its products."""

from collections.abc import Callable

import torch
from torch import Tensor

from oceanvar.variational.shapes import dot, ratio

_MARGIN = 1.05
"""From below the power method comes near: what divides by an eigenvalue takes it a little larger."""


def largest_eigenvalue(product: Callable[[Tensor], Tensor], like: Tensor, n_steps: int = 30) -> Tensor:
    """Upper estimate of the size of the largest eigenvalue of each window, ``(B, 1, ...)``; 0 of a zero matrix.

    Parameters
    ----------
    product : callable
        Symmetric matrix times a tensor.
    like : Tensor
        What it is multiplied with looks like this, ``(B, ...)``. Every window begins with the same direction.
    n_steps : int
        Products.
    """
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(like.shape[1:], generator=generator, dtype=torch.float64).to(like).expand_as(like)
    value = torch.zeros_like(dot(direction, direction))
    for _ in range(n_steps):
        direction = ratio(torch.ones_like(value), dot(direction, direction).sqrt()) * direction
        following = product(direction)
        value, direction = dot(direction, following), following
    return _MARGIN * value.abs()
