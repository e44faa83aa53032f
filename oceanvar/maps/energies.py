"""Maps from a state to one number: energies of regularisers that are no sum of squares."""

from collections.abc import Sequence
from typing import cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractMap
from oceanvar.maps.layers import Conv
from oceanvar.registry import registered


@registered
@final
class TotalOf(AbstractMap):
    """Sum of what a map makes over all channels and points: ``(B, V, T, *S)`` to ``(B,)``.

    With a convolutional network it is the critic of an adversarial regulariser (Lunz, Oktem and Schonlieb, 2018), which
    `oceanvar.fit_energy` trains.

    Parameters
    ----------
    inner : AbstractMap
        The map.
    """

    def __init__(self, inner: AbstractMap):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """One number for each window."""
        return self.inner(x).flatten(1).sum(1)


@registered
@final
class InputConvex(AbstractMap):
    """Energy that is convex in the state: an input-convex network (Amos, Xu and Kolter, 2017, ICML).

    z_1 = s(A_0 x), z_(l+1) = s(W_l z_l + A_l x), ``E = sum(w z_L) + strength |x|^2 / 2``, with convolutions A,
    mixtures of features W and w that are never negative (softplus of their parameters), and s the softplus, convex
    and growing. A cost with linear operators and this regulariser has one minimum.

    Parameters
    ----------
    n_channels : int
        V of the state ``(B, V, T, *S)``.
    n_features : int
        Channels of every z.
    kernel : sequence of int
        Odd kernel of the convolutions A, one size per axis of ``(T, *S)``.
    n_layers : int
        L.
    strength : float
        Of the squared part: then E is strongly convex.
    """

    def __init__(
        self,
        n_channels: int,
        n_features: int,
        kernel: Sequence[int],
        n_layers: int = 2,
        strength: float = 0.01,
    ):
        super().__init__()
        if n_layers < 1 or strength < 0:
            raise ConfigError(
                f"n_layers must be at least 1 and strength not negative, got {n_layers} and {strength}"
            )
        convolutions = [Conv(n_channels, n_features, kernel, bias=True) for _ in range(n_layers)]
        self.convolutions = cast("list[Conv]", nn.ModuleList(convolutions))
        # softplus(-3) is 0.05: what the features of a layer add up to begins at about their mean.
        self.mixtures = nn.Parameter(torch.full((n_layers - 1, n_features, n_features), -3.0))
        self.summed = nn.Parameter(torch.full((n_features,), -3.0))
        self.strength = strength

    def forward(self, x: Tensor) -> Tensor:
        """E of each window, ``(B,)``."""
        first, *others = self.convolutions
        z = functional.softplus(first(x))
        for mixture, convolution in zip(functional.softplus(self.mixtures), others, strict=True):
            z = functional.softplus(torch.einsum("of,bf...->bo...", mixture, z) + convolution(x))
        weighted = torch.einsum("f,bf...->b...", functional.softplus(self.summed), z)
        return weighted.flatten(1).sum(1) + self.strength / 2 * x.flatten(1).square().sum(1)
