"""Fit any field size to a network that halves its axes, and times to the axes of channels and of batches."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from oceanvar.maps.base import AbstractComposition, AbstractMap, Pullback, Pushforward
from oceanvar.maps.layouts import inside, outside
from oceanvar.registry import registered


@registered
@final
class PadToMultiple(AbstractComposition):
    """Pad every axis at its end to a multiple, apply a map, and crop the result back.

    A periodic axis is continued with its own beginning, another with its last value, so that no
    edge appears inside the padded field. Axes that fit already are left alone.

    Parameters
    ----------
    inner : AbstractMap
        Map on fields whose axes are multiples of `multiples` and that keeps their size.
    multiples : sequence of int
        One per convolution axis.
    periodic : sequence of bool, optional
        Axes that wrap. Default: none.
    """

    def __init__(self, inner: AbstractMap, multiples: Sequence[int], periodic: Sequence[bool] = ()):
        super().__init__()
        self.inner = inner
        self.multiples = list(multiples)
        self.periodic = list(periodic) or [False] * len(self.multiples)

    def forward(self, x: Tensor) -> Tensor:
        """Value for ``(B, C, *axes)`` of any size."""
        return self._crop(self.inner(self._pad(x)), x.shape)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: zero-fill the crop, pull back, and fold the padding."""
        padded = self._pad(x)
        value, inner_pullback = self.inner.linearize(padded)
        shape = x.shape
        beyond = [m - n for n, m in zip(shape[2:], padded.shape[2:], strict=True)]
        margins = [width for each in reversed(beyond) for width in (0, each)]

        def pullback(cotangent: Tensor) -> Tensor:
            if any(beyond):
                cotangent = functional.pad(cotangent, margins)
            return self._fold(inner_pullback(cotangent), shape)

        return self._crop(value, shape), pullback

    def pushforward(self, x: Tensor) -> Pushforward:
        """Pad the tangent, push forward, crop."""
        push, shape = self.inner.pushforward(self._pad(x)), x.shape
        return lambda v: self._crop(push(self._pad(v)), shape)

    def _source(self, axis: int, n: int, device: torch.device) -> Tensor | None:
        """Index of the point that each padded point copies; None where no padding is needed."""
        multiple = self.multiples[axis]
        if n % multiple == 0:
            return None
        index = torch.arange(-(-n // multiple) * multiple, device=device)
        return index % n if self.periodic[axis] else index.clamp(max=n - 1)

    def _pad(self, x: Tensor) -> Tensor:
        for axis, n in enumerate(x.shape[2:]):
            source = self._source(axis, n, x.device)
            x = x if source is None else x.index_select(axis + 2, source)
        return x

    def _fold(self, x: Tensor, shape: torch.Size) -> Tensor:
        for axis, n in enumerate(shape[2:]):
            source = self._source(axis, n, x.device)
            if source is not None:
                sizes = [*x.shape[: axis + 2], n, *x.shape[axis + 3 :]]
                x = x.new_zeros(sizes).index_add(axis + 2, source, x)
        return x

    @staticmethod
    def _crop(x: Tensor, shape: torch.Size) -> Tensor:
        for axis, n in enumerate(shape[2:], start=2):
            x = x if x.shape[axis] == n else x.narrow(axis, 0, n)
        return x


@registered
@final
class FoldTime(AbstractComposition):
    """Let a map see time as channels: ``(B, C, T, *S)`` becomes ``(B, C T, *S)`` and comes back.

    Parameters
    ----------
    inner : AbstractMap
        Map from ``(B, C T, *S)`` to ``(B, C' T, *S)``. The window length T is thereby fixed.
    """

    def __init__(self, inner: AbstractMap):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Value for ``(B, C, T, *S)``."""
        return self._unfold(self.inner(self._fold(x)), x.shape[2])

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back, both folded."""
        n_times = x.shape[2]
        value, pullback = self.inner.linearize(self._fold(x))
        return self._unfold(value, n_times), lambda r: self._unfold(pullback(self._fold(r)), n_times)

    def pushforward(self, x: Tensor) -> Pushforward:
        """Push the folded tangent forward."""
        push, n_times = self.inner.pushforward(self._fold(x)), x.shape[2]
        return lambda v: self._unfold(push(self._fold(v)), n_times)

    @staticmethod
    def _fold(x: Tensor) -> Tensor:
        return inside(x.flatten(1, 2))

    @staticmethod
    def _unfold(x: Tensor, n_times: int) -> Tensor:
        return outside(x).unflatten(1, (-1, n_times))


@registered
@final
class FoldSteps(AbstractComposition):
    """Let a map see stretches of times as channels: ``(B, C, T, *S)`` becomes ``(B, C n, T / n, *S)`` and comes back.

    Where the state changes little from one time to the next, the same arithmetic then buys more channels and
    a wider view. T must be a multiple of n (`PadToMultiple`).

    Parameters
    ----------
    inner : AbstractMap
        Map from ``(B, C n, T / n, *S)`` to ``(B, C' n, T / n, *S)``.
    n_times : int
        Times n in a stretch.
    """

    def __init__(self, inner: AbstractMap, n_times: int):
        super().__init__()
        self.inner = inner
        self.n_times = n_times

    def forward(self, x: Tensor) -> Tensor:
        """Value for ``(B, C, T, *S)``."""
        return self._unfold(self.inner(self._fold(x)))

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back, both folded."""
        value, pullback = self.inner.linearize(self._fold(x))
        return self._unfold(value), lambda r: self._unfold(pullback(self._fold(r)))

    def pushforward(self, x: Tensor) -> Pushforward:
        """Push the folded tangent forward."""
        push = self.inner.pushforward(self._fold(x))
        return lambda v: self._unfold(push(self._fold(v)))

    def _fold(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (-1, self.n_times)).movedim(3, 2).flatten(1, 2)

    def _unfold(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (-1, self.n_times)).movedim(2, 3).flatten(2, 3)


@registered
@final
class TimeByTime(AbstractComposition):
    """Let a map of fields see every time on its own: ``(B, C, T, *S)`` becomes ``(B T, C, *S)`` and comes back.

    Parameters
    ----------
    inner : AbstractMap
        Map from ``(N, C, *S)`` to ``(N, C', *S)``.
    """

    def __init__(self, inner: AbstractMap):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Value for ``(B, C, T, *S)``."""
        return self._together(self.inner(self._apart(x)), x.shape[2])

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back, both time by time."""
        n_times = x.shape[2]
        value, pullback = self.inner.linearize(self._apart(x))
        return self._together(value, n_times), lambda r: self._together(pullback(self._apart(r)), n_times)

    def pushforward(self, x: Tensor) -> Pushforward:
        """Push the tangent of every time forward."""
        push, n_times = self.inner.pushforward(self._apart(x)), x.shape[2]
        return lambda v: self._together(push(self._apart(v)), n_times)

    @staticmethod
    def _apart(x: Tensor) -> Tensor:
        return inside(x.movedim(2, 1).flatten(0, 1))

    @staticmethod
    def _together(x: Tensor, n_times: int) -> Tensor:
        return outside(x).unflatten(0, (-1, n_times)).movedim(1, 2)


@registered
@final
class InStretches(AbstractMap):
    """Let a map see stretches of times with those around them, one like the other, whatever the length of a window.

    Beyond the window a field is 0.

    Parameters
    ----------
    inner : AbstractMap
        Map from ``(N, C, n_around + n_times + n_around, *S)`` to ``(N, C', ...)`` of the same times, of which those in
        the middle are taken.
    n_times : int
        Times of a stretch.
    n_around : int
        Times that are seen before and after it.
    """

    def __init__(self, inner: AbstractMap, n_times: int, n_around: int):
        super().__init__()
        self.inner = inner
        self.n_times = n_times
        self.n_around = n_around

    def forward(self, x: Tensor) -> Tensor:
        """Value for ``(B, C, T, *S)``."""
        n_all = x.shape[2]
        n_stretches = -(-n_all // self.n_times)
        after = self.n_around + n_stretches * self.n_times - n_all
        padded = functional.pad(x, (*[0, 0] * (x.ndim - 3), self.n_around, after))
        seen = self.n_times + 2 * self.n_around
        stretches = [padded[:, :, first : first + seen] for first in range(0, n_all, self.n_times)]
        value = self.inner(torch.stack(stretches, dim=1).flatten(0, 1))
        middle = value[:, :, self.n_around : self.n_around + self.n_times].unflatten(0, (-1, n_stretches))
        return middle.movedim(1, 2).flatten(2, 3)[:, :, :n_all]


def fixes_times(modules: Sequence[nn.Module]) -> bool:
    """Whether any of some modules, parts of one another, takes windows of one length only."""
    free = {id(part) for each in modules if isinstance(each, InStretches) for part in each.modules()}
    return any(isinstance(each, FoldTime) and id(each) not in free for each in modules)
