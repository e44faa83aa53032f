"""Covariances of gappy fields by lag: what the observations of a window say of its scales."""

import itertools

import torch
from torch import Tensor

EDGES = (0, 1, 2, 3, 4, 6, 9, 13, 18)
"""Lags, in steps, at which the bins of a statistic begin; the last one ends before the last edge."""

FEW_PAIRS = 20.0
"""Pairs of observations for which a covariance counts half."""


def lag_products(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of products of observed values, and numbers of pairs, by absolute lags up to the last bin.

    Parameters
    ----------
    values : Tensor
        ``(B, *axes)``, 0 where nothing was observed.
    mask : Tensor
        1 where observed.

    Returns
    -------
    products, pairs : Tensor
        ``(B, *lags)``: entry (i, j, ...) is of all pairs of points i steps apart along the first axis, j along the
        second one, and so on, in any direction.
    """
    axes = tuple(range(1, values.ndim))
    n_lags = [min(n, EDGES[-1]) for n in values.shape[1:]]
    # Beyond the window and the longest lag there is nothing that a product could wrap around to.
    padded = [_quick(n + lags) for n, lags in zip(values.shape[1:], n_lags, strict=True)]
    spectrum = torch.fft.rfftn(torch.cat((values, mask)), s=padded, dim=axes)
    found = torch.fft.irfftn(spectrum.real.square() + spectrum.imag.square(), s=padded, dim=axes)
    for axis, n in zip(axes, n_lags, strict=True):
        ahead, back = (
            found.narrow(axis, 0, n),
            found.narrow(axis, found.shape[axis] - n + 1, n - 1).flip(axis),
        )
        found = torch.cat((ahead.narrow(axis, 0, 1), ahead.narrow(axis, 1, n - 1) + back), dim=axis)
    products, pairs = found.chunk(2)
    return products, pairs.round()


def _quick(n: int) -> int:
    """Smallest size from n on that a Fourier transform takes quickly: a product of 2, 3 and 5."""
    left = n
    for factor in (2, 3, 5):
        while left % factor == 0:
            left //= factor
    return n if left == 1 else _quick(n + 1)


def lag_statistics(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean square of the observed values, and numbers that describe how they are correlated.

    Parameters
    ----------
    values, mask : Tensor
        As for `lag_products`; the values without their mean.

    Returns
    -------
    variance : Tensor
        ``(B,)``.
    statistics : Tensor
        ``(B, 2 * n_statistics(axes))``: for each bin of lags the correlation, drawn to 0 where there are few pairs, and
        the logarithm of their number. They do not change with the amplitude.
    """
    products, pairs = lag_products(values, mask)
    variance = values.square().flatten(1).sum(1) / mask.flatten(1).sum(1).clamp(min=1)
    for axis in range(1, values.ndim):
        products, pairs = (_binned(each, axis) for each in (products, pairs))
    scale = variance.clamp(min=torch.finfo(values.dtype).tiny)
    correlation = products.flatten(1) / scale[:, None] / (pairs.flatten(1) + FEW_PAIRS)
    return variance, torch.cat((correlation, torch.log1p(pairs.flatten(1)) / 10), dim=1)


def n_statistics(n_axes: int) -> int:
    """Bins of lags."""
    return (len(EDGES) - 1) ** n_axes


def _binned(x: Tensor, axis: int) -> Tensor:
    """Sums over the bins of an axis; 0 for lags that a window does not have."""
    n = x.shape[axis]
    bounds = itertools.pairwise(EDGES)
    sums = [x.narrow(axis, min(first, n), min(last, n) - min(first, n)).sum(axis) for first, last in bounds]
    return torch.stack(sums, dim=axis)
