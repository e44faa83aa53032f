"""The two-scale convolutional prior with bilinear blocks."""

from collections.abc import Sequence

from oceanvar.maps.base import AbstractMap
from oceanvar.maps.compositions import Chain, Concatenate, Product, Sum
from oceanvar.maps.layers import AveragePool, Conv, ReLU, Upsample
from oceanvar.maps.padding import FoldTime, PadToMultiple


def two_scale_prior(
    n_channels: int,
    n_features: int,
    kernel: Sequence[int],
    factors: Sequence[int],
    periodic: Sequence[bool] = (),
    n_times_folded: int | None = None,
    fine_kernel: Sequence[int] | None = None,
) -> AbstractMap:
    """Two-scale CNN Phi(x) = Up(Phi_1(Dw(x))) + Phi_2(x), with bilinear blocks in both branches.

    Equation 3 of Fablet, Drumetz and Rousseau (2020), arXiv 2006.03653. Dw is an average over
    blocks, Up a transposed convolution, and both Phi are a convolution, a ReLU and a bilinear block.
    ``two_scale_prior(3, 30, [11], [4])`` has the 15,300 parameters of the paper's Lorenz-63 model.

    Parameters
    ----------
    n_channels : int
        Variables V of the state.
    n_features : int
        Features of the bilinear blocks.
    kernel : sequence of int
        Kernel of the first convolution, one size per convolution axis (time first, unless folded).
    factors : sequence of int
        Block sizes of Dw, one per convolution axis.
    periodic : sequence of bool, optional
        Convolution axes that wrap. Default: none.
    n_times_folded : int, optional
        Fold this many time steps into channels and convolve in space only; otherwise time is the
        first convolution axis and the window may have any length.
    fine_kernel : sequence of int, optional
        Kernel of all convolutions of the fine branch but the first. Default: one point. The published prior of images,
        ``two_scale_prior(1, 50, [1, 11, 11], [1, 4, 4], fine_kernel=[1, 3, 3])``, has 155,900 parameters.

    Returns
    -------
    AbstractMap
        Map from ``(B, V, T, *S)`` to the same shape, any size of the axes.
    """
    width = n_channels * (n_times_folded or 1)

    def branch(n_out: int, inner: Sequence[int]) -> list[AbstractMap]:
        first = Conv(width, 2 * n_features, kernel, periodic)
        second = Conv(2 * n_features, n_features, inner, periodic)
        return [first, ReLU(), second, bilinear_block(n_features, n_out, inner, periodic)]

    ones = [1] * len(kernel)
    coarse = Chain(AveragePool(factors), *branch(n_features, ones), Upsample(n_features, width, factors))
    fine = Chain(*branch(width, fine_kernel or ones))
    prior = PadToMultiple(Sum(coarse, fine), factors, periodic)
    return FoldTime(prior) if n_times_folded else prior


def bilinear_block(
    n_in: int, n_out: int, kernel: Sequence[int], periodic: Sequence[bool] = ()
) -> AbstractMap:
    """Block conv_3([conv_0 h, (conv_1 h) (conv_2 h)]) that lets two features multiply.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    kernel : sequence of int
        Of all four convolutions, one size per axis; of one point in the papers.
    periodic : sequence of bool, optional
        Axes that wrap.

    Returns
    -------
    AbstractMap
        Map from ``(B, n_in, *axes)`` to ``(B, n_out, *axes)``.
    """

    def conv(n_in: int, n_out: int) -> Conv:
        return Conv(n_in, n_out, kernel, periodic)

    product = Product(conv(n_in, n_in), conv(n_in, n_in))
    return Chain(Concatenate(conv(n_in, n_in), product), conv(2 * n_in, n_out))
