"""How fields lie in memory: channel by channel outside of networks, the channels of a point side by side inside."""

from typing import Any

import torch
from torch import Tensor


def inside(x: Tensor) -> Tensor:
    """A field ``(B, C, *axes)`` as convolutions are quickest: on a CPU and along two axes, channels last.

    Both ways are differentiable any number of times, and gradients lie on either side as fields do there.
    """
    return _Laid.apply(x, True) if _gains(x) else x


def outside(x: Tensor) -> Tensor:
    """The same field as the rest of the world has it: arithmetic with two layouts at once is slow."""
    return _Laid.apply(x, False) if _gains(x) else x


def _gains(x: Tensor) -> bool:
    return x.ndim == 4 and x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)


def _channels_last(x: Tensor) -> Tensor:
    if x.is_contiguous(memory_format=torch.channels_last):
        # Not itself: what a Function returns as it came gets strides that torch no longer takes for this layout.
        return x.detach()
    laid_out = torch.empty_like(x, memory_format=torch.channels_last)
    # One matrix after the other: torch transposes these by blocks, and four axes value by value.
    for each, source in zip(laid_out, x, strict=True):
        each.flatten(1).T.copy_(source.flatten(1).T)
    return laid_out


class _Laid(torch.autograd.Function):
    """A field in the layout of one side, of which the gradient has that of the other."""

    @staticmethod
    def forward(x: Tensor, inwards: bool) -> Tensor:
        return _channels_last(x) if inwards else x.contiguous()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, bool], output: Tensor) -> None:
        del output
        ctx.inwards = inputs[1]

    @staticmethod
    def backward(ctx: Any, onto: Tensor) -> tuple[Tensor, None]:
        return _Laid.apply(onto, not ctx.inwards), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return _Laid.apply(tangent, ctx.inwards)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, None], x: Tensor, _: bool) -> tuple[Tensor, int | None]:
        del info
        return x, in_dims[0]  # as it lies: the axes of a batch of batches are not those of a convolution
