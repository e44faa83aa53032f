"""Dense layers: maps that see a state as one vector."""

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from oceanvar.maps.base import AbstractComposition, AbstractMap, Pullback, Pushforward
from oceanvar.registry import registered


@registered
@final
class Dense(AbstractMap):
    """Affine map W x + b of vectors.

    Parameters
    ----------
    n_in, n_out : int
        Lengths of the vectors ``(B, n_in)`` and ``(B, n_out)``.
    """

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in))
        self.bias = nn.Parameter(torch.zeros(n_out))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, n_in)`` to ``(B, n_out)``."""
        return x @ self.weight.T + self.bias

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: the transposed matrix."""
        return self(x), lambda r: r @ self.weight

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Multiply the tangent by the matrix; the map is affine."""
        del x
        return tangent @ self.weight.T


@registered
@final
class Flattened(AbstractComposition):
    """Let a map see a state as one vector: ``(B, V, T, *S)`` becomes ``(B, V T S)`` and comes back.

    Parameters
    ----------
    inner : AbstractMap
        Map from vectors to vectors of the same length. The shape of a state is thereby fixed.
    """

    def __init__(self, inner: AbstractMap):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Value for ``(B, V, T, *S)``."""
        return self.inner(x.flatten(1)).view_as(x)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back, both flattened."""
        value, pullback = self.inner.linearize(x.flatten(1))
        return value.view_as(x), lambda r: pullback(r.flatten(1)).view_as(r)

    def pushforward(self, x: Tensor) -> Pushforward:
        """Push the flattened tangent forward."""
        push = self.inner.pushforward(x.flatten(1))
        return lambda v: push(v.flatten(1)).view_as(v)


@registered
@final
class Shaped(AbstractComposition):
    """Give the vectors that a map makes the shape of a state: ``(B, ...)`` becomes ``(B, *shape)``.

    Parameters
    ----------
    inner : AbstractMap
        Map from vectors to vectors, ``(B, n)``: phi of an auto-encoder is a generator so.
    shape : sequence of int
        Shape ``(V, T, *S)`` of one state.
    """

    def __init__(self, inner: AbstractMap, shape: Sequence[int]):
        super().__init__()
        self.inner = inner
        self.shape = list(shape)

    def forward(self, x: Tensor) -> Tensor:
        """State made of the vectors ``(B, ...)``, flattened."""
        return self.inner(x.flatten(1)).view(-1, *self.shape)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back, shaped."""
        value, pullback = self.inner.linearize(x.flatten(1))
        return value.view(-1, *self.shape), lambda r: pullback(r.flatten(1)).view_as(x)

    def pushforward(self, x: Tensor) -> Pushforward:
        """Push the flattened tangent forward."""
        push = self.inner.pushforward(x.flatten(1))
        return lambda v: push(v.flatten(1)).view(-1, *self.shape)
