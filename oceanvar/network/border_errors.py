"""Measure how the error of a model's stitched fields depends on patches and their overlap."""

import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

import numpy as np

from oceanvar.errors import GridMismatchError
from oceanvar.network.varnet import VarNet
from oceanvar.options import NAN
from oceanvar.patching.borders import Border
from oceanvar.patching.tapers import triangle
from oceanvar.state.windows import Window, WindowSource

FEWEST_SHIFTS = 12
"""Patches at least in which a point is solved, from one end to the other, where a patch has so many places."""

N_POINTS = 20_000
"""Points, about, whose errors are compared; there are at least `FEWEST` windows of them."""

FEWEST, MOST = 4, 256


def measure_borders(
    model: VarNet, source: WindowSource, seed: int = 0, most_solves: float = math.inf
) -> dict[str, Border]:
    """Solve the same points at every place in a patch, and see what stitching makes of their errors.

    The error of a stitched field follows from the covariances of the errors at different places in patches, for
    every overlap at once: of two patches that cover a point, both may be wrong alike.

    Parameters
    ----------
    model : VarNet
        Trained model.
    source : WindowSource
        Windows of data that the model has not learned from.
    seed : int
        Of the windows.
    most_solves : float
        Patches to solve at most, about. Default: as many as are needed.

    Returns
    -------
    dict
        Of the dimensions that do not close on themselves and along which the data have nearly twice the points
        of a patch, if there are solves enough for them; of none for models with along-track instruments.
    """
    space, found = model.state_space, {}
    if space.tracked:
        return {}  # windows along tracks cannot be cut from larger ones
    for dim, n in space.patch.items():
        step = _step(n)
        if dim in space.periodic or n < 2 or source.truth.sizes[dim] < 2 * n - step:
            continue
        longer = replace(space, patch={**space.patch, dim: 2 * n - step})
        windows = replace(source, space=longer)
        n_wanted = N_POINTS * n // (step * math.prod(space.patch.values()))
        n_windows = min(MOST, max(FEWEST, n_wanted), most_solves * step / (n * len(space.dims)))
        if n_windows < FEWEST:
            continue
        drawn = (windows.draw(np.random.default_rng([seed, i])) for i in range(int(n_windows)))
        with suppress(GridMismatchError):  # a sampler of what was seen in a box knows no larger one
            found[dim] = _border(model, drawn, dim, step)
    return found


def _step(n: int) -> int:
    """Points from one shift to the next: a divisor of the patch."""
    return max(q for q in range(1, max(1, n // FEWEST_SHIFTS) + 1) if n % q == 0)


def _border(model: VarNet, windows: Iterable[Window], dim: str, step: int) -> Border:
    space = model.state_space
    n, axis = space.patch[dim], 1 + space.dims.index(dim)
    may_grow = dim not in model.fixed_dims and dim != space.dims[0]
    covariance = np.zeros((step, n // step, n // step))
    large = 0.0
    for window in windows:
        inputs, truth = np.moveaxis(window.inputs, axis, 1), np.moveaxis(window.truth, axis, 1)
        shifts = [inputs[:, first : first + n] for first in range(n - step, -1, -step)]
        errors = _errors(model, shifts, [truth[:, n - step : n]] * len(shifts), axis, step)
        covariance += np.einsum("ivrp,jvrp->rij", errors, errors)
        if may_grow:
            large += np.square(_errors(model, [inputs], [truth[:, n - step : n]], axis, step)).sum() / step
    own = _stitched(covariance, n - space.overlap.get(dim, 0))
    by_overlap = [_stitched(covariance, n - overlap) for overlap in range(n)]
    ratio = math.sqrt(large / own) if may_grow else None
    return Border(tuple(_rounded(math.sqrt(each / own)) for each in by_overlap), ratio and _rounded(ratio))


def _errors(
    model: VarNet, inputs: list[np.ndarray], truths: list[np.ndarray], axis: int, step: int
) -> np.ndarray:
    """Normalised errors ``(shift, V, step, points)`` where all shifts have them; 0 where the truth is unknown.

    Those points end `step` later in the patch with every shift; a single longer patch has them in its middle.
    """
    batch = np.stack([np.moveaxis(each, 1, axis) for each in inputs])
    analyses = np.moveaxis(model.solve(batch, on_divergence=NAN), axis + 1, 2)
    n = analyses.shape[2]
    places = range(0, n, step) if len(inputs) > 1 else [(n - step) // 2]
    _, std = model.state_space.scales(np.float64)
    differences = [
        (analysis[:, at : at + step] - truth) / std
        for analysis, at, truth in zip(analyses, places, truths, strict=True)
    ]
    return np.nan_to_num(np.stack(differences)).reshape(len(inputs), len(std), step, -1)


def _stitched(covariance: np.ndarray, stride: int) -> float:
    """Mean square error where patches begin every `stride` points, or a little less often, weighted by a triangle.

    `covariance` is that of the errors at the places ``residue + step * i`` and ``residue + step * j`` of a patch.
    """
    step, n_shifts = covariance.shape[:2]
    apart = -(-stride // step)
    taper = triangle(step * n_shifts).astype(np.float64)
    found = []
    for residue in range(step):
        weights = taper[residue::step]
        for first in range(apart):
            w = weights[first::apart] / weights[first::apart].sum()
            found.append(w @ covariance[residue, first::apart, first::apart] @ w)
    return float(np.mean(found))


def _rounded(ratio: float) -> float:
    return float(f"{ratio:.4g}")
