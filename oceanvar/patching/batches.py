"""Batches of patches: cut out of a box, mapped through a function, added up over the box."""

import itertools
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from oceanvar.errors import PatchError
from oceanvar.patching.grids import Origin, PatchGrid, wrapped_boxes
from oceanvar.patching.tapers import Factors, outer, weight_sums

PatchFunction = Callable[..., np.ndarray]
Progress = Callable[[int], object]
_N_NAMED = 8


@dataclass(frozen=True, eq=False)
class PatchJob:
    """What is done to every patch of a grid.

    Parameters
    ----------
    grid
        Where the patches lie.
    function
        From patches of shape (n, C, *grid.patch_shape) to patches of shape (n, n_out, *grid.patch_shape). The
        array it is given is filled anew for the next batch: it may return it, but not keep it.
    factors
        Taper of each axis, from `taper_factors`.
    n_out
        Number of variables that `function` returns.
    batch_size
        Greatest number n of patches in one call.
    dtype
        Type of the stitched field.
    companions
        Makes from the origins of a batch of patches what `function` takes besides the patches: observations
        that lie on no grid. By default it takes nothing else.
    described
        Says from its origin where a patch lies. Given, `function` takes ``place=``, which says it of the patch of a
        number in the batch.
    located
        Whether `function` takes ``origins=``, the start indices of its patches on the grid.

    Raises
    ------
    PatchError
        If a number is less than 1 or the factors do not fit the patch.
    """

    grid: PatchGrid
    function: PatchFunction
    factors: Factors
    n_out: int
    batch_size: int
    dtype: np.dtype
    companions: Callable[[list[Origin]], Any] | None = None
    described: Callable[[Origin], str] | None = None
    located: bool = False
    sums: Factors = field(init=False)

    def __post_init__(self) -> None:
        if min(self.n_out, self.batch_size) < 1:
            raise PatchError(
                f"n_out is {self.n_out} and batch_size {self.batch_size}: both must be at least 1"
            )
        object.__setattr__(self, "sums", weight_sums(self.grid, self.factors))

    @cached_property
    def weights(self) -> np.ndarray:
        """Weights of a patch, shape ``grid.patch_shape``."""
        return outer(self.factors)


def check_shape(shape: tuple[int, ...], grid: PatchGrid) -> None:
    """Raise PatchError unless a shape is (*batch, C, *grid.shape)."""
    if len(shape) <= len(grid.shape) or shape[-len(grid.shape) :] != grid.shape:
        raise PatchError(
            f"an array of shape {shape} is not (*batch, variable, {', '.join(grid.dims)}) with sizes "
            f"{grid.shape}: transpose it, or make the PatchGrid from its sizes"
        )


def weighted_sum(
    box: np.ndarray, origins: list[Origin], corner: Origin, job: PatchJob, progress: Progress | None = None
) -> np.ndarray:
    """Map the patches at `origins` on the grid out of a box at `corner`, and add them up over the box.

    Parameters
    ----------
    box
        Shape (*batch, C, *box shape); each patch lies in it, or goes round its end.
    origins
        Start indices of the patches on the grid.
    corner
        First cell of the box on the grid.
    job
        What is done to each patch.
    progress
        Called after each batch with the number of patches in it.

    Returns
    -------
    ndarray
        Shape (*batch, n_out, *box shape), not yet divided by the sum of the weights.

    Raises
    ------
    PatchError
        If the function returns a wrong shape. Any error of it gets a note that names its patches.
    """
    n_axes = len(corner)
    total = np.zeros((*box.shape[: -n_axes - 1], job.n_out, *box.shape[-n_axes:]), job.dtype)
    add_patches(total, box, origins, corner, job, progress)
    return total


def add_patches(
    total: np.ndarray,
    box: np.ndarray,
    origins: list[Origin],
    corner: Origin,
    job: PatchJob,
    progress: Progress | None = None,
    spare: np.ndarray | None = None,
) -> None:
    """Add the weighted results of patches to `total`, in place; otherwise as `weighted_sum`.

    Parameters
    ----------
    total
        Shape (*batch, n_out, *box shape).
    box, origins, corner, job, progress
        As of `weighted_sum`.
    spare
        Memory for a batch of patches, from `batch_memory`: worth giving where many calls follow each other.
    """
    sizes, shape = box.shape[-len(corner) :], job.grid.patch_shape
    weighted = np.empty((job.n_out, *shape), job.dtype)
    members = np.ndindex(box.shape[: -len(corner) - 1])
    items = list(itertools.product(members, origins))
    patches = batch_memory(box, len(items), job) if spare is None else spare
    for first in range(0, len(items), job.batch_size):
        batch = items[first : first + job.batch_size]
        places = [
            (member, wrapped_boxes(tuple(map(operator.sub, origin, corner)), shape, sizes))
            for member, origin in batch
        ]
        for patch, (member, boxes) in zip(patches, places, strict=False):
            for inside, where in boxes:
                patch[inside] = box[(*member, *where)]
        results = _call(patches[: len(batch)], [origin for _, origin in batch], job)
        for (member, boxes), result in zip(places, results, strict=True):
            np.multiply(result, job.weights, out=weighted, casting="same_kind")
            for inside, where in boxes:
                total[(*member, *where)] += weighted[inside]
        if progress is not None:
            progress(len(batch))


def normalise(total: np.ndarray, sums: Factors, out: np.ndarray | None = None) -> np.ndarray:
    """Divide a weighted sum (..., *sizes) by the product of the weight sums of its axes.

    In place, unless `out` is given. Returns the array with the result.
    """
    out = total if out is None else out
    for axis, weight_sum in enumerate(reversed(sums)):
        total = np.divide(total, weight_sum.reshape(-1, *(1,) * axis), out=out)
    return out


def batch_memory(box: np.ndarray, n_patches: int, job: PatchJob) -> np.ndarray:
    """Memory for the patches of a batch, so that not every batch asks the system for new pages."""
    n_channels = box.shape[-len(job.grid.dims) - 1]
    return np.empty((min(n_patches, job.batch_size), n_channels, *job.grid.patch_shape), box.dtype)


def _call(patches: np.ndarray, origins: list[Origin], job: PatchJob) -> np.ndarray:
    try:
        others = [] if job.companions is None else [job.companions(origins)]
        described = job.described
        named: dict[str, Any] = {"origins": origins} if job.located else {}
        if described is not None:
            named["place"] = lambda number: described(origins[number])
        results = np.asarray(job.function(patches, *others, **named))
        expected = (len(patches), job.n_out, *job.grid.patch_shape)
        if results.shape != expected:
            raise PatchError(
                f"the function returned shape {results.shape} for patches of shape {patches.shape}: "
                f"it must return {expected}, or n_out must be changed from {job.n_out}"
            )
    except Exception as error:
        starts = list(dict.fromkeys(origins))
        more = f" and {len(starts) - _N_NAMED} more" if len(starts) > _N_NAMED else ""
        error.add_note(f"in the patches that start at {job.grid.dims} = {starts[:_N_NAMED]}{more}")
        raise
    return results
