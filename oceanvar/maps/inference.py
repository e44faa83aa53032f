"""Forms of maps for inference on a CPU: the same values and adjoints, in the layout and memory that are quickest.

The channels of a point lie side by side in memory (channels last), weights are laid out once, and what a
convolution has just made is overwritten instead of copied. Training and model files know the layers themselves.
"""

import functools
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from oceanvar.maps.base import AbstractComposition, AbstractMap, Pullback, Pushforward
from oceanvar.maps.compositions import Chain, Sum
from oceanvar.maps.layers import Conv, ReLU, SiLU, Upsample, folded, wrapped
from oceanvar.maps.layouts import inside


@functools.singledispatch
def inference_form(module: nn.Module) -> Any:
    """Form of a module for inference in single precision on a CPU.

    Parameters
    ----------
    module : Module
        An assimilator or a part of one. It is used up: parts of it become parts of the form.
    """
    for name, part in module.named_children():
        setattr(module, name, inference_form(part))
    return module


@final
class LaidOutConv(AbstractMap):
    """A convolution along two axes, channels last.

    Parameters
    ----------
    conv : Conv
        The convolution.
    """

    def __init__(self, conv: Conv):
        super().__init__()
        self.wrap_widths, self.zero_widths, self.dilation = conv.wrap_widths, conv.zero_widths, conv.dilation
        self.weight = nn.Parameter(conv.weight.detach().contiguous(memory_format=torch.channels_last))
        self.bias = conv.bias

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `x` of shape ``(B, n_in, *axes)``."""
        return self._convolve(x, self.bias, self.weight)

    def of_first_channels(self, x: Tensor) -> Tensor:
        """Convolve a field that has the first channels only, see `Conv.of_first_channels`."""
        return self._convolve(x, self.bias, self.weight[:, : x.shape[1]])

    def _convolve(self, x: Tensor, bias: Tensor | None, weight: Tensor) -> Tensor:
        x = wrapped(inside(x), self.wrap_widths)
        return functional.conv2d(x, weight, bias, padding=self.zero_widths, dilation=self.dilation)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: the transposed convolution."""
        return self(x), self._transpose

    def _transpose(self, cotangent: Tensor) -> Tensor:
        x = functional.conv_transpose2d(
            inside(cotangent), self.weight, padding=self.zero_widths, dilation=self.dilation
        )
        return folded(x, self.wrap_widths)

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Convolve the tangent; the map is affine."""
        del x
        return self._convolve(tangent, None, self.weight)


@final
class Overwriting(AbstractComposition):
    """A pointwise map whose argument is nobody else's: the value takes its memory.

    Parameters
    ----------
    inner : ReLU or SiLU
        The map.
    """

    def __init__(self, inner: ReLU | SiLU):
        super().__init__()
        self.inner = inner
        self.function = functional.silu if isinstance(inner, SiLU) else functional.relu

    def forward(self, x: Tensor) -> Tensor:
        """Value, in the memory of `x`."""
        return self.function(x, inplace=True)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back of the map."""
        return self.inner.linearize(x)

    def pushforward(self, x: Tensor) -> Pushforward:
        """Tangent of the map, whose Jacobian is diagonal; `x` may be overwritten afterwards."""
        return self.inner.linearize(x)[1]


@final
class SumInPlace(AbstractComposition):
    """A sum of maps of which the last one makes a new value: the others are added to it.

    Parameters
    ----------
    inner : Sum
        The sum.
    """

    def __init__(self, inner: Sum):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Add the values."""
        *others, value = (each(x) for each in self.inner.maps)
        for other in others:
            is_alike = (other.shape, other.dtype) == (value.shape, value.dtype)
            value = value.add_(other) if is_alike else value + other
        return value

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back of the sum."""
        return self.inner.linearize(x)

    def pushforward(self, x: Tensor) -> Pushforward:
        """Sum of the tangents."""
        return self.inner.pushforward(x)


@inference_form.register
def _(conv: Conv) -> AbstractMap:
    return LaidOutConv(conv) if conv.weight.ndim == 4 else conv


@inference_form.register
def _(upsample: Upsample) -> AbstractMap:
    if upsample.weight.ndim == 4:
        upsample.weight.data = upsample.weight.data.contiguous(memory_format=torch.channels_last)
    return upsample


@inference_form.register
def _(chain: Chain) -> AbstractMap:
    maps = [inference_form(each) for each in chain.maps]
    is_own = [False, *(_makes_new(each) for each in maps)]
    return Chain(
        *(
            Overwriting(each) if own and isinstance(each, ReLU | SiLU) else each
            for each, own in zip(maps, is_own[:-1], strict=True)
        )
    )


@inference_form.register
def _(sum_: Sum) -> AbstractMap:
    maps = [inference_form(each) for each in sum_.maps]
    return SumInPlace(Sum(*maps)) if _makes_new(maps[-1]) else Sum(*maps)


def _makes_new(map_: AbstractMap) -> bool:
    """Whether the value of a map is memory of its own: not the argument's, and not kept by anything."""
    if isinstance(map_, Chain):
        return _makes_new(map_.maps[-1])
    return isinstance(map_, Conv | LaidOutConv | Upsample | SumInPlace)
