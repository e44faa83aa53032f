"""Fields drawn from a Gaussian covariance, given observations: prior less the analysis of what was observed of it."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from oceanvar.variational.draws import Draws, white_noise
from oceanvar.variational.starts.adaptive import N_SCALES, Covariance
from oceanvar.variational.starts.waves import coloured, interpolated

REACH = 2.5
"""Lengths beyond which a bump is left out: 0.002 of its height."""

_N_LEVELS = 64  # More than there are steps of bumps, each twice that before.


def deviations(covariance: Covariance, draws: Draws, n_steps: int) -> Tensor:
    """Errors of an interpolation, drawn from the law that it has if its covariance is true: ``(n, B, *axes)``.

    A field of the prior covariance, less its interpolation from noisy observations at the same places, has the
    covariance of the error (Matheron's rule; Journel and Huijbregts, 1978, Mining Geostatistics, chapter 7).

    Parameters
    ----------
    covariance : Covariance
        Of a batch of windows, and the weights of their observations.
    draws : Draws
        Which samples. The windows of the covariance are those of its origins, the variables of each one after the
        other.
    n_steps : int
        Iterations of the interpolation.
    """
    n_variables = len(covariance.weights) // len(draws.origins)
    windows = [divmod(number, n_variables) for number in range(len(covariance.weights))]
    members = [
        torch.stack(
            [
                _deviation(
                    covariance, number, (draws.seed, member, variable), draws, draws.origins[window], n_steps
                )
                for number, (window, variable) in enumerate(windows)
            ]
        )
        for member in range(draws.n)
    ]
    return torch.stack(members)


def _deviation(
    covariance: Covariance, window: int, key: Sequence[int], draws: Draws, origin: np.ndarray, n_steps: int
) -> Tensor:
    weights = covariance.weights[window]
    prior = torch.zeros_like(weights)
    scales = zip(covariance.variances[window], covariance.lengths[window], strict=True)
    for scale, (variance, lengths) in enumerate(scales):
        axes = zip(origin.tolist(), weights.shape, draws.periods, lengths.tolist(), strict=True)
        roots, places = zip(*(bumps(*axis) for axis in axes), strict=True)
        heights = white_noise((*key, scale), [each[None] for each in places])[0]
        field = coloured([root.to(weights) for root in roots], heights.to(weights))
        prior = prior + variance.sqrt() * field
    white = replace(draws, origins=origin[None]).white((*key, N_SCALES), weights[None, None])[0, 0]
    observed = weights > 0
    error = white / torch.where(observed, weights, 1.0).sqrt()
    seen = prior + error
    # As of what was observed indeed, the mean is taken from the observations.
    mean = (weights * seen).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
    departures = torch.where(observed, seen - mean, 0.0)
    return prior - mean - interpolated(covariance.roots(window), weights, departures, n_steps)


def bumps(first: int, n: int, period: int, length: float) -> tuple[Tensor, np.ndarray]:
    """Square root of exp(-d^2 / (2 L^2)) along an axis, from white noise that belongs to places of the whole grid.

    A field is a sum of bumps exp(-d^2 / L^2) whose heights are noise, a fourth to a half of a length apart. Bumps at
    such steps and at twice these are blended, so that the field changes smoothly with the length: windows
    that overlap, and have inferred somewhat different lengths, draw nearly the same.

    Parameters
    ----------
    first, n : int
        First point of the window on the grid, and its points.
    period : int
        Points after which the axis comes back to its beginning; 0 if it never does.
    length : float
        L, points.

    Returns
    -------
    (Tensor, ndarray)
        Matrix ``(n, heights)`` in double precision, whose rows have length 1, and the places of the heights.
    """
    level = max(0.0, math.log2(length))
    finer, share = int(level), (level - int(level)) * math.pi / 2
    parts = [_bumps(first, n, period, length, 2.0 ** (finer + coarser - 1)) for coarser in (0, 1)]
    matrix = torch.cat((math.cos(share) * parts[0][0], math.sin(share) * parts[1][0]), dim=1)
    places = [_N_LEVELS * places + finer + coarser for coarser, (_, places) in enumerate(parts)]
    return matrix, np.concatenate(places)


def _bumps(first: int, n: int, period: int, length: float, step: float) -> tuple[Tensor, np.ndarray]:
    if period:
        step = period / max(1, round(period / step))
    low, high = first - REACH * length, first + n - 1 + REACH * length
    numbers = np.arange(math.ceil(low / step), math.floor(high / step) + 1)
    away = first + np.arange(n)[:, None] - step * numbers
    heights = np.exp(-np.square(away / length))
    places, column = np.unique(numbers % round(period / step) if period else numbers, return_inverse=True)
    matrix = torch.zeros(n, len(places), dtype=torch.float64)
    matrix.index_add_(1, torch.from_numpy(column), torch.from_numpy(heights))
    return matrix / matrix.norm(dim=1, keepdim=True), places
