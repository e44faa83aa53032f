"""A second, slow way to cut and stitch patches, that shares no line with the package's: points modulo a ring."""

from collections.abc import Callable, Mapping
from functools import reduce

import numpy as np

from oceanvar.patching.grids import Origin, PatchGrid
from oceanvar.patching.tapers import Factors


def points(grid: PatchGrid, origin: Origin) -> tuple:
    """Index of the points of a patch; leading axes are carried along."""
    axes = zip(origin, grid.patch_shape, grid.shape, strict=True)
    return (..., *np.ix_(*((start + np.arange(n)) % size for start, n, size in axes)))


def stitched(grid: PatchGrid, patches: Mapping[Origin, np.ndarray], factors: Factors) -> np.ndarray:
    """Weighted mean of the patches at each cell, in double precision."""
    weights = reduce(np.multiply.outer, (factor.astype(float) for factor in factors))
    carried = next(iter(patches.values())).shape[: -len(grid.shape)]
    total, weight_sum = np.zeros((*carried, *grid.shape)), np.zeros(grid.shape)
    for origin, patch in patches.items():
        total[points(grid, origin)] += weights * patch
        weight_sum[points(grid, origin)] += weights
    return total / weight_sum


def mapped(array: np.ndarray, grid: PatchGrid, function: Callable, factors: Factors) -> np.ndarray:
    """What `map_patches` gives: one patch at a time, one batch member at a time."""
    n_batch = array.ndim - len(grid.shape) - 1
    fields = []
    for member in np.ndindex(array.shape[:n_batch]):
        patches = {origin: function(array[member][points(grid, origin)][None])[0] for origin in grid}
        fields.append(stitched(grid, patches, factors))
    return np.reshape(fields, (*array.shape[:n_batch], *fields[0].shape))
