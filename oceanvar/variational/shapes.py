"""Shapes of states and of what goes with them: one value per window or time."""

import torch
from torch import Tensor


def by_time(x: Tensor) -> Tensor:
    """``(B, V, T, *S)`` as ``(B, T, n)``, all variables and points of a time in one axis."""
    return x.movedim(2, 1).flatten(2)


def from_time(x: Tensor, like: Tensor) -> Tensor:
    """Inverse of `by_time` for a state shaped like `like`."""
    return x.reshape(like.movedim(2, 1).shape).movedim(1, 2)


def per_window(x: Tensor) -> Tensor:
    """Sum everything but the batch: ``(B, ...)`` to ``(B,)``."""
    return x.flatten(1).sum(1)


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


def as_numbers(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """1 where a mask is true, else 0. By way of bytes: torch turns truth values into numbers one by one."""
    return mask.view(torch.uint8).to(dtype)
