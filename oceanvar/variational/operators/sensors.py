"""What lies between a quantity and the number that a sensor reports: choice, gain and bias."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from oceanvar.maps.base import AbstractMap, Pullback
from oceanvar.maps.units import per_channel
from oceanvar.registry import registered


@registered
@final
class Select(AbstractMap):
    """Some of the variables, for an instrument that does not see the others.

    Parameters
    ----------
    channels : sequence of int
        Positions on the variable axis, each once.
    """

    def __init__(self, channels: Sequence[int]):
        super().__init__()
        self.channels = list(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Variables chosen from ``(B, V, ...)``."""
        return x[:, self.channels]

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: 0 for the variables left out."""
        index = torch.tensor(self.channels, device=x.device)
        return self(x), lambda r: torch.zeros_like(x).index_add(1, index, r)

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Choose from the tangent."""
        del x
        return tangent[:, self.channels]


@registered
@final
class Calibration(AbstractMap):
    """Gain and bias of each channel, y = a x + b, learned with the rest from a = 1 and b = 0.

    Parameters
    ----------
    n_channels : int
        Channels (axis 1) of the values.
    """

    def __init__(self, n_channels: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(n_channels))
        self.bias = nn.Parameter(torch.zeros(n_channels))

    def forward(self, x: Tensor) -> Tensor:
        """a x + b."""
        return x * per_channel(self.gain, x) + per_channel(self.bias, x)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: times the gain."""
        return self(x), lambda r: r * per_channel(self.gain, r)

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Tangent times the gain."""
        del x
        return tangent * per_channel(self.gain, tangent)
