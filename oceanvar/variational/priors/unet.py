"""A residual U-Net made of maps, usable as a prior and as a learned first guess."""

from collections.abc import Sequence

from oceanvar.maps.base import AbstractMap
from oceanvar.maps.compositions import Chain, Identity, Sum
from oceanvar.maps.layers import AveragePool, Conv, SiLU, Upsample
from oceanvar.maps.padding import FoldTime, PadToMultiple


def unet(
    n_in: int,
    n_out: int,
    widths: Sequence[int],
    kernel: Sequence[int],
    periodic: Sequence[bool] = (),
    factors: Sequence[int] | None = None,
    n_times_folded: int | None = None,
) -> AbstractMap:
    """U-Net with residual blocks and additive skip connections (after Ronneberger et al., 2015).

    Parameters
    ----------
    n_in, n_out : int
        Variables of the input and of the output.
    widths : sequence of int
        Channels of each level, finest first.
    kernel : sequence of int
        Odd kernel size along each convolution axis (time first, unless folded).
    periodic : sequence of bool, optional
        Convolution axes that wrap. Default: none.
    factors : sequence of int, optional
        Reduction of each axis from one level to the next. Default: 2 along every axis.
    n_times_folded : int, optional
        Fold this many time steps into channels and convolve in space only.

    Returns
    -------
    AbstractMap
        Map from ``(B, n_in, T, *S)`` to ``(B, n_out, T, *S)``, any size of the axes.
    """
    factors = list(factors or [2] * len(kernel))
    folded = n_times_folded or 1
    net = Chain(
        Conv(n_in * folded, widths[0], kernel, periodic, bias=True),
        _level(list(widths), kernel, periodic, factors),
        SiLU(),
        Conv(widths[0], n_out * folded, kernel, periodic, bias=True),
    )
    padded = PadToMultiple(net, [f ** (len(widths) - 1) for f in factors], periodic)
    return FoldTime(padded) if n_times_folded else padded


def _level(
    widths: list[int], kernel: Sequence[int], periodic: Sequence[bool], factors: Sequence[int]
) -> AbstractMap:
    """Build one resolution level, the coarser ones inside."""
    block = _residual_block(widths[0], kernel, periodic)
    if len(widths) == 1:
        return block
    ones = [1] * len(kernel)
    coarser = Chain(
        AveragePool(factors),
        Conv(widths[0], widths[1], ones, bias=True),
        _level(widths[1:], kernel, periodic, factors),
        Upsample(widths[1], widths[0], factors),
    )
    return Chain(block, Sum(Identity(), coarser), _residual_block(widths[0], kernel, periodic))


def _residual_block(width: int, kernel: Sequence[int], periodic: Sequence[bool]) -> AbstractMap:
    convolutions = Chain(
        SiLU(),
        Conv(width, width, kernel, periodic, bias=True),
        SiLU(),
        Conv(width, width, kernel, periodic, bias=True),
    )
    return Sum(Identity(), convolutions)
