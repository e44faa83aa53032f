"""Differences between neighbouring points."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractMap, Pullback
from oceanvar.registry import registered


@registered
@final
class Gradient(AbstractMap):
    """Forward differences along some axes, one after the other: ``(B, V, T, *S)`` to ``(B, D V, T, *S)``.

    Channel d V + v is the difference of variable v along the d-th axis, x_(i+1) - x_i, and 0 at the last point unless
    the axis is periodic. `oceanvar.variational.SphericalGradient` knows metres and land.

    Parameters
    ----------
    axes : sequence of int
        Axes along which differences are taken, counted from time: 0 is time, 1 and 2 the axes of space.
    periodic : sequence of bool, optional
        Whether each of them wraps. Default: none does.
    """

    def __init__(self, axes: Sequence[int], periodic: Sequence[bool] = ()):
        super().__init__()
        if not axes or min(axes) < 0 or len(set(axes)) != len(axes):
            raise ConfigError(f"axes of a Gradient must be different numbers from 0 on, got {list(axes)}")
        if len(periodic) not in (0, len(axes)):
            raise ConfigError(f"periodic has {len(periodic)} entries for the {len(axes)} axes of a Gradient")
        self.axes = list(axes)
        self.periodic = list(periodic) or [False] * len(axes)

    def forward(self, x: Tensor) -> Tensor:
        """Differences along every axis, side by side."""
        return torch.cat(
            [_forward(x, 2 + a, p) for a, p in zip(self.axes, self.periodic, strict=True)], dim=1
        )

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: minus the divergence."""

        def pullback(cotangent: Tensor) -> Tensor:
            parts = zip(cotangent.chunk(len(self.axes), dim=1), self.axes, self.periodic, strict=True)
            return torch.stack([_transposed(r, 2 + axis, wraps) for r, axis, wraps in parts]).sum(0)

        return self(x), pullback

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Differences of the tangent; the map is linear."""
        del x
        return self(tangent)


def _forward(x: Tensor, axis: int, wraps: bool) -> Tensor:
    """Next point minus this one."""
    if wraps:
        return x.roll(-1, axis) - x
    return torch.cat((x.diff(dim=axis), torch.zeros_like(x.narrow(axis, 0, 1))), dim=axis)


def _transposed(r: Tensor, axis: int, wraps: bool) -> Tensor:
    """Previous point minus this one, the last of which no difference reached."""
    if wraps:
        return r.roll(1, axis) - r
    inner = r.narrow(axis, 0, r.shape[axis] - 1)
    edge = torch.zeros_like(r.narrow(axis, 0, 1))
    return torch.cat((edge, inner), dim=axis) - torch.cat((inner, edge), dim=axis)


@final
class Scaled(AbstractMap):
    """A linear map whose values are multiplied by given factors: ``Scaled(f, a)(x) = a f(x)``.

    No model file names it: the factors belong to the windows that are being solved.

    Parameters
    ----------
    inner : AbstractMap
        f, linear.
    factors : Tensor
        a, ``(B, D, T, *S)``; each channel serves as many channels of f(x), one after the other.
    """

    def __init__(self, inner: AbstractMap, factors: Tensor):
        super().__init__()
        self.inner = inner
        self.factors = factors

    def forward(self, x: Tensor) -> Tensor:
        """a f(x)."""
        return self._times(self.inner(x))

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and f'^T a."""
        value, pullback = self.inner.linearize(x)
        return self._times(value), lambda r: pullback(self._times(r))

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """a f' v."""
        return self._times(self.inner.jvp(x, tangent))

    def _times(self, values: Tensor) -> Tensor:
        each = values.shape[1] // self.factors.shape[1]
        return values * self.factors.to(values.dtype).repeat_interleave(each, dim=1)
