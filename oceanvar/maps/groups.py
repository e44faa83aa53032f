"""Maps that turn with the field: Phi(R x) = R Phi(x)."""

import itertools
from collections.abc import Sequence
from typing import cast, final

import torch
from torch import Tensor, nn

from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractComposition, AbstractMap, Pullback, Pushforward
from oceanvar.maps.compositions import total
from oceanvar.maps.layers import SiLU
from oceanvar.maps.turns import GROUPS, Turn
from oceanvar.registry import registered


@registered
@final
class GroupAverage(AbstractComposition):
    """Any map, made equivariant: the mean over a group of R^{-1} f(R x) (Celledoni et al., 2021, Inverse Problems 37).

    Costs as many evaluations as the group has members. R moves points of the last two axes, turns vectors, and changes
    the sign of what a mirror image changes: the sea level of quasi-geostrophic flow on a beta plane, mirrored in y.

    Parameters
    ----------
    inner : AbstractMap
        f, from ``(B, V, T, y, x)`` to the same shape.
    group : str
        "mirror_x", "mirror_y", "mirrors", "rotations" (by quarter turns, of square fields) or "all".
    vectors : sequence of (int, int)
        Pairs of channels that are the eastward (x) and northward (y) part of a vector.
    pseudoscalars : sequence of int
        Channels that change their sign in a mirror image.
    """

    def __init__(
        self,
        inner: AbstractMap,
        group: str = "all",
        vectors: Sequence[tuple[int, int]] = (),
        pseudoscalars: Sequence[int] = (),
    ):
        super().__init__()
        if group not in GROUPS:
            raise ConfigError(f"group must be one of {sorted(GROUPS)}, got {group!r}")
        self.inner = inner
        self.group = group
        self.vectors = [(east, north) for east, north in vectors]
        self.pseudoscalars = list(pseudoscalars)

    def forward(self, x: Tensor) -> Tensor:
        """Mean over the group."""
        return total(self._turned(self.inner(self._turned(x, r)), r.inverse) for r in self._members) / self._n

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: turns are orthogonal, their transposes are their inverses."""
        parts = [(r, *self.inner.linearize(self._turned(x, r))) for r in self._members]
        value = total(self._turned(each, r.inverse) for r, each, _ in parts) / self._n

        def pullback(cotangent: Tensor) -> Tensor:
            return (
                total(self._turned(pull(self._turned(cotangent, r)), r.inverse) for r, _, pull in parts)
                / self._n
            )

        return value, pullback

    def pushforward(self, x: Tensor) -> Pushforward:
        """Mean of the turned tangents."""
        parts = [(r, self.inner.pushforward(self._turned(x, r))) for r in self._members]
        return lambda v: (
            total(self._turned(push(self._turned(v, r)), r.inverse) for r, push in parts) / self._n
        )

    @property
    def _members(self) -> tuple[Turn, ...]:
        return GROUPS[self.group]

    @property
    def _n(self) -> int:
        return len(self._members)

    def _turned(self, x: Tensor, turn: Turn) -> Tensor:
        return turned(x, turn, self.vectors, self.pseudoscalars)


def turned(
    x: Tensor, turn: Turn, vectors: Sequence[tuple[int, int]] = (), pseudoscalars: Sequence[int] = ()
) -> Tensor:
    """Fields ``(B, V, T, y, x)`` turned, with their vectors and signs, see `GroupAverage`."""
    if turn.quarters % 2 and x.shape[-1] != x.shape[-2]:
        raise ConfigError(f"quarter turns need square fields, got {tuple(x.shape[-2:])} points: use mirrors")
    if turn.is_mirrored:
        x = x.flip(-1)
    channels = list(x.rot90(turn.quarters, (-2, -1)).unbind(1))
    for east, north in vectors:
        u, v = channels[east], channels[north]
        (uu, uv), (vu, vv) = turn.of_vector()
        channels[east], channels[north] = uu * u + uv * v, vu * u + vv * v
    for each in pseudoscalars if turn.is_mirrored else ():
        channels[each] = -channels[each]
    return torch.stack(channels, dim=1)


@registered
@final
class RotationConv(AbstractMap):
    """Convolution over the group of quarter turns (Cohen and Welling, 2016, ICML): weights shared by all directions.

    Its features come in four directions, ``(B, 4 n, T, y, x)`` with the direction first: turning the input turns them
    and moves them on by one direction. The first layer of a network takes the state itself.

    Parameters
    ----------
    n_in, n_out : int
        Channels of the state, or features in each direction, and features made in each direction.
    kernel : sequence of int
        Odd sizes along time, y and x, the last two equal.
    of_state : bool
        Whether the input is the state, whose channels have no direction.
    """

    def __init__(self, n_in: int, n_out: int, kernel: Sequence[int], of_state: bool = False):
        super().__init__()
        if len(kernel) != 3 or kernel[1] != kernel[2] or any(size % 2 == 0 for size in kernel):
            raise ConfigError(
                "the kernel of RotationConv has odd sizes along time, y and x, the last two equal; got "
                f"{list(kernel)}"
            )
        self.of_state = of_state
        self.padding = [size // 2 for size in kernel]
        self.weight = nn.Parameter(torch.empty(n_out, 1 if of_state else 4, n_in, *kernel))
        self.bias = nn.Parameter(torch.zeros(n_out))
        nn.init.kaiming_uniform_(self.weight.flatten(1, 2), a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Features in four directions."""
        # Kernels of direction r: those of direction 0 turned r times, the directions that they read moved on by r.
        kernels = [self.weight.rot90(r, (-2, -1)).roll(r, dims=1).flatten(1, 2) for r in range(4)]
        return nn.functional.conv3d(x, torch.cat(kernels), self.bias.repeat(4), padding=self.padding)


@registered
@final
class MeanDirection(AbstractMap):
    """Mean over the four directions of features: ``(B, 4 n, ...)`` to ``(B, n, ...)``, which turns as a scalar."""

    def forward(self, x: Tensor) -> Tensor:
        """Mean over the directions."""
        return x.unflatten(1, (4, -1)).mean(1)


def rotation_network(
    n_channels: int, n_features: int, kernel: Sequence[int], n_layers: int = 3
) -> list[AbstractMap]:
    """Layers of a convolutional network that turns with the field by quarter turns, for `oceanvar.maps.Chain`.

    Parameters
    ----------
    n_channels : int
        V of the state, all scalars.
    n_features : int
        Features in each direction.
    kernel : sequence of int
        See `RotationConv`.
    n_layers : int
        Convolutions, at least 2.
    """
    widths = [n_features] * (n_layers - 1) + [n_channels]
    layers: list[AbstractMap] = [RotationConv(n_channels, n_features, kernel, of_state=True)]
    for n_in, n_out in itertools.pairwise(widths):
        layers += [SiLU(), RotationConv(n_in, n_out, kernel)]
    return cast("list[AbstractMap]", [*layers, MeanDirection()])
