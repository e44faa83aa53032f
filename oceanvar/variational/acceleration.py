"""What accelerated proximal gradients share, wherever they are made (Beck and Teboulle, 2009, SIAM J. Imaging Sci.)."""

from typing import TypeVar

from torch import Tensor

Momentum = TypeVar("Momentum", float, Tensor)


def ahead_of(following: Tensor, before: Tensor, momentum: Momentum) -> tuple[Tensor, Momentum]:
    """Point from which the next step goes, and its momentum, after a step from `before` to `following`."""
    next_momentum = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
    return following + (momentum - 1) / next_momentum * (following - before), next_momentum


def shrunk(x: Tensor, by: Tensor | float) -> Tensor:
    """Soft thresholding: x moved towards 0 by a number, and 0 where it is smaller."""
    return x.sign() * (x.abs() - by).clamp(min=0)
