"""Optimal interpolation with a Gaussian covariance, whose square root is a sum of waves along each axis."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from oceanvar.variational.shapes import ratio

N_LENGTHS_APART = 3.0
"""Margin, in lengths, after which waves repeat: points of a window do not feel those of its other side."""

NEGLIGIBLE = 2.6
"""Wavenumber times length beyond which a Gaussian spectrum holds a millionth of its peak."""

Root = Sequence[Tensor]
"""Matrices ``(n, waves)``, one an axis: their product turns white noise to a field."""


def root_of(sizes: Sequence[int], lengths: Tensor) -> list[Tensor]:
    """Square root of the covariance exp(-sum d_i^2 / (2 L_i^2)), differentiable in the lengths ``(axes,)``."""
    return [_waves(n, length) for n, length in zip(sizes, lengths.unbind(), strict=True)]


def _waves(n: int, length: Tensor) -> Tensor:
    """Waves along an axis of n points ``(n, waves)``, each times the square root of its variance."""
    period = n + math.ceil(N_LENGTHS_APART * length.item())
    n_waves = min(period // 2, max(1, math.ceil(NEGLIGIBLE * period / (math.pi * length.item()))))
    wavenumbers = 2 * math.pi / period * torch.arange(n_waves + 1, dtype=length.dtype, device=length.device)
    spectrum = torch.exp(-0.5 * (wavenumbers * length).square())
    spectrum = torch.cat((spectrum[:1] / 2, spectrum[1:]))
    amplitudes = (spectrum / spectrum.sum()).sqrt()
    phases = torch.arange(n, dtype=length.dtype, device=length.device)[:, None] * wavenumbers
    return torch.cat((amplitudes * phases.cos(), amplitudes[1:] * phases[:, 1:].sin()), dim=1)


def coloured(root: Root, noise: Tensor) -> Tensor:
    """Field on the grid from white noise ``(waves of each axis)``."""
    return _along_all(noise, root)


def whitened(root: Root, field: Tensor) -> Tensor:
    """Transpose of `coloured`."""
    return _along_all(field, [matrix.T for matrix in root])


def _along_all(x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Multiply along every axis; the axes go round once, so that each product is one of matrices."""
    for matrix in matrices:
        n = x.shape[0]
        x = (x.reshape(n, -1).T @ matrix.T).view(*x.shape[1:], len(matrix))
    return x


def interpolated(roots: Sequence[Root], weights: Tensor, values: Tensor, n_steps: int) -> Tensor:
    """Analysis of one window: the minimum of z^T z + (y - B z)^T W (y - B z), by conjugate gradients on white noise.

    Residuals are kept orthogonal to all before: rounding would grow to the size of what has not converged.

    Parameters
    ----------
    roots : sequence of Root
        Of the scales whose sum is interpolated, times their standard deviations: B.
    weights, values : Tensor
        Inverse error variances W and observations y on the grid, 0 where there are none.
    n_steps : int
        Iterations.
    """
    residual = direction = _to_noise(roots, weights * values)
    solution, square = torch.zeros_like(residual), residual.square().sum()
    basis = [_unit(residual, square)]
    for _ in range(n_steps):
        image = direction + _to_noise(roots, weights * _to_grid(roots, direction))
        step = ratio(square, (direction * image).sum())
        solution, residual = solution + step * direction, residual - step * image
        for each in basis:
            residual = residual - (each * residual).sum() * each
        before, square = square, residual.square().sum()
        basis.append(_unit(residual, square))
        direction = residual + ratio(square, before) * direction
    return _to_grid(roots, solution)


def _unit(noise: Tensor, square: Tensor) -> Tensor:
    """Noise over its length; 0 where it is 0, with a derivative."""
    return noise / square.clamp(min=torch.finfo(noise.dtype).tiny).sqrt()


def _to_grid(roots: Sequence[Root], noise: Tensor) -> Tensor:
    shapes = [[matrix.shape[1] for matrix in root] for root in roots]
    parts = noise.split([math.prod(shape) for shape in shapes])
    fields = [
        coloured(root, part.view(shape)) for root, part, shape in zip(roots, parts, shapes, strict=True)
    ]
    return torch.stack(fields).sum(0)


def _to_noise(roots: Sequence[Root], field: Tensor) -> Tensor:
    return torch.cat([whitened(root, field).flatten() for root in roots])
