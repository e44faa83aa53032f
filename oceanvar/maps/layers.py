"""Layers of convolutional networks as maps with hand-written adjoints.

All of them take tensors ``(B, C, *axes)`` with one, two or three convolution axes. Which physical
axes those are (time, latitude, site...) is the business of the caller.
"""

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractMap, Pullback
from oceanvar.registry import registered

_CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_CONV_TRANSPOSE = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}
_POOL = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


@registered
@final
class Conv(AbstractMap):
    """Convolution that keeps the size of every axis.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    kernel : sequence of int
        Odd kernel size along each convolution axis.
    periodic : sequence of bool, optional
        Axes that wrap; the others are padded with zeros. Default: none wraps.
    bias : bool
        Add a constant per output channel.
    """

    def __init__(
        self, n_in: int, n_out: int, kernel: Sequence[int], periodic: Sequence[bool] = (), bias: bool = False
    ):
        super().__init__()
        if any(size % 2 == 0 for size in kernel):
            raise ConfigError(f"kernel sizes must be odd, got {tuple(kernel)}")
        wraps = tuple(periodic) or (False,) * len(kernel)
        self.wrap_widths = [k // 2 if wrap else 0 for k, wrap in zip(kernel, wraps, strict=True)]
        self.zero_widths = [0 if wrap else k // 2 for k, wrap in zip(kernel, wraps, strict=True)]
        self.weight = nn.Parameter(torch.empty(n_out, n_in, *kernel))
        self.bias = nn.Parameter(torch.zeros(n_out)) if bias else None
        # Where a kernel has one point it changes nothing, but that torch leaves the work to oneDNN: on one thread it
        # would take a product of matrices instead, which is up to three times slower.
        self.dilation = 2 if math.prod(kernel) == 1 else 1
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `x` of shape ``(B, n_in, *axes)``."""
        return self._convolve(x, self.bias, self.weight)

    def _convolve(self, x: Tensor, bias: Tensor | None, weight: Tensor) -> Tensor:
        x = wrapped(x, self.wrap_widths)
        return _CONV[x.ndim - 2](x, weight, bias, padding=self.zero_widths, dilation=self.dilation)

    def of_first_channels(self, x: Tensor) -> Tensor:
        """Convolve a field that has the first channels only: the others are 0, and cost nothing."""
        return self._convolve(x, self.bias, self.weight[:, : x.shape[1]])

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: the transposed convolution."""
        return self(x), self._transpose

    def _transpose(self, cotangent: Tensor) -> Tensor:
        convolve = _CONV_TRANSPOSE[cotangent.ndim - 2]
        x = convolve(cotangent, self.weight, padding=self.zero_widths, dilation=self.dilation)
        return folded(x, self.wrap_widths)

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Convolve the tangent; the map is affine."""
        return self._convolve(tangent, None, self.weight)


def wrapped(x: Tensor, widths: Sequence[int]) -> Tensor:
    """Extend each periodic axis of ``(B, C, *axes)`` by its width on both sides."""
    for axis, width in enumerate(widths, start=2):
        x = wrap_margin(x, axis, width)
    return x


def folded(x: Tensor, widths: Sequence[int]) -> Tensor:
    """Transpose of `wrapped`."""
    for axis, width in enumerate(widths, start=2):
        x = fold_margin(x, axis, width)
    return x


def wrap_margin(x: Tensor, axis: int, width: int) -> Tensor:
    """Extend a periodic axis by `width` points on both sides."""
    if width == 0:
        return x
    n = x.shape[axis]
    if width <= n:
        return torch.cat((x.narrow(axis, n - width, width), x, x.narrow(axis, 0, width)), dim=axis)
    index = torch.arange(-width, n + width, device=x.device) % n
    return x.index_select(axis, index)


def fold_margin(x: Tensor, axis: int, width: int) -> Tensor:
    """Transpose of `wrap_margin`: add the margins to the points they were copied from."""
    if width == 0:
        return x
    n = x.shape[axis] - 2 * width
    index = torch.arange(-width, n + width, device=x.device) % n
    shape = [*x.shape[:axis], n, *x.shape[axis + 1 :]]
    return x.new_zeros(shape).index_add(axis, index, x)


@registered
@final
class AveragePool(AbstractMap):
    """Mean over blocks; every axis must be a multiple of its factor.

    Parameters
    ----------
    factors : sequence of int
        Points of a block along each axis.
    """

    def __init__(self, factors: Sequence[int]):
        super().__init__()
        self.factors = list(factors)

    def forward(self, x: Tensor) -> Tensor:
        """Average ``(B, C, *axes)`` over blocks of `factors` points."""
        return _POOL[x.ndim - 2](x, self.factors)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: spread each block value evenly over its points."""
        return self(x), self._spread

    def _spread(self, cotangent: Tensor) -> Tensor:
        shares = cotangent / math.prod(self.factors)
        sizes = [n * factor for n, factor in zip(shares.shape[2:], self.factors, strict=True)]
        return functional.interpolate(shares, sizes, mode="nearest-exact")

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Average the tangent; the map is linear."""
        return self(tangent)


@registered
@final
class Upsample(AbstractMap):
    """Transposed convolution with a kernel as large as its stride: the counterpart of `AveragePool`.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    factors : sequence of int
        By how much each axis grows.
    """

    def __init__(self, n_in: int, n_out: int, factors: Sequence[int]):
        super().__init__()
        self.factors = list(factors)
        self.weight = nn.Parameter(torch.empty(n_in, n_out, *factors))
        # A transposed convolution with stride = kernel mixes n_in values into each output point.
        nn.init.uniform_(self.weight, -1 / math.sqrt(n_in), 1 / math.sqrt(n_in))

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge ``(B, n_in, *axes)`` by `factors`."""
        return _CONV_TRANSPOSE[x.ndim - 2](x, self.weight, stride=self.factors)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: the strided convolution."""
        return self(x), lambda r: _CONV[r.ndim - 2](r, self.weight, stride=self.factors)

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Upsample the tangent; the map is linear."""
        return self(tangent)


@registered
@final
class ReLU(AbstractMap):
    """max(x, 0)."""

    def forward(self, x: Tensor) -> Tensor:
        """Value."""
        return functional.relu(x)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: pass where `x` is positive."""
        value = functional.relu(x)
        # By the value, which is kept anyway: no mask is made.
        return value, lambda r: torch.ops.aten.threshold_backward(r, value.detach(), 0)

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Pass the tangent where `x` is positive."""
        return tangent * (x > 0).to(x.dtype)


@registered
@final
class SiLU(AbstractMap):
    """x * sigmoid(x), a smooth ReLU (Hendrycks and Gimpel, 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        """Value."""
        return functional.silu(x)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back with the closed-form derivative."""
        slope = self._slope(x)
        return functional.silu(x), lambda r: r * slope

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Tangent times the derivative."""
        return tangent * self._slope(x)

    @staticmethod
    def _slope(x: Tensor) -> Tensor:
        gate = torch.sigmoid(x)
        return gate * (1 + x * (1 - gate))
