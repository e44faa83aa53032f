"""Map every patch of an array through a function, eagerly or as a dask graph that solves each patch once.

Patches are grouped by the output chunk that owns their start. One task per group reads the box around its
patches and returns their weighted sum over that box; one task per output chunk adds the sums that reach it
and divides by the sum of the weights. A box may run past the end of a periodic axis.
"""

import itertools
from collections.abc import Mapping
from typing import Any, TypeVar

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from oceanvar.errors import PatchError
from oceanvar.patching.batches import PatchJob, Progress, check_shape, normalise, weighted_sum
from oceanvar.patching.grids import PatchGrid, common_boxes
from oceanvar.patching.groups import Blocks, Chunk, Division, Group, even_chunk

Array = TypeVar("Array", np.ndarray, da.Array)


def map_patches(
    array: Array, job: PatchJob, *, chunks: Mapping[str, Any] | None = None, progress: Progress | None = None
) -> Array:
    """Map every patch of `array` through the function of `job` and stitch the results to a field.

    A numpy array gives a numpy array at once, a dask array a lazy one: then the function is not called before
    the result is computed, and each patch that the computed part needs is solved once.

    Parameters
    ----------
    array
        Shape (*batch, C, *grid.shape).
    job
        What is done to each patch. The graph holds its function once and pickles it, so it should be a
        small handle.
    chunks
        Output chunks of a lazy result by dimension, as `dask.array.core.normalize_chunks` takes them. For
        dimensions not named: even chunks (a Zarr store takes no others) as long as the longest of `array`,
        several of those where they are shorter than the patch.
    progress
        Called after each batch of an eager call with the number of patches in it, like ``tqdm.update``.

    Returns
    -------
    ndarray or dask.array.Array
        Shape (*batch, n_out, *grid.shape).

    Raises
    ------
    PatchError
        If the shape of `array`, of the chunks or of a returned batch does not fit. An error of the function
        is raised again with a note that names its patches.
    """
    check_shape(array.shape, job.grid)
    if isinstance(array, da.Array):
        if progress is not None:
            raise PatchError(
                "progress follows eager calls: use dask.diagnostics.ProgressBar for a dask array"
            )
        return _lazy(array, job, chunks or {})
    if chunks is not None:
        raise PatchError(
            f"chunks={dict(chunks)} is for dask arrays, but the input is in memory: chunk it first"
        )
    field = weighted_sum(array, list(job.grid), (0,) * len(job.grid.shape), job, progress)
    normalise(field, job.sums)
    return field


def _lazy(array: da.Array, job: PatchJob, spec: Mapping[str, Any]) -> da.Array:
    n_batch = array.ndim - len(job.grid.shape) - 1
    array = array.rechunk({n_batch: -1})  # the function needs all variables at once
    batch_chunks, block_sizes = array.chunks[:n_batch], array.chunks[n_batch + 1 :]
    chunk_sizes = _chunk_sizes(block_sizes, job.grid, spec)
    division = Division(job.grid, block_sizes, chunk_sizes)
    token = tokenize(array, job, chunk_sizes)
    name, solve_name, job_key = f"map-patches-{token}", f"solve-patches-{token}", f"patch-job-{token}"
    graph: dict[Any, Any] = {job_key: job}
    for member in itertools.product(*(range(len(sizes)) for sizes in batch_chunks)):
        for place, (group, sources) in division.groups.items():
            blocks = [(array.name, *member, 0, *source) for source in sources]
            graph[(solve_name, *member, *place)] = (_solve_group, job_key, group, blocks)
        for place, (chunk, sources) in division.chunks.items():
            parts = [(solve_name, *member, *source) for source in sources]
            graph[(name, *member, 0, *place)] = (_add_parts, job_key, chunk, parts)
    layered = HighLevelGraph.from_collections(name, graph, dependencies=[array])  # type: ignore[list-item]
    return da.Array(layered, name, (*batch_chunks, (job.n_out,), *chunk_sizes), dtype=job.dtype)


def _chunk_sizes(block_sizes: Blocks, grid: PatchGrid, spec: Mapping[str, Any]) -> Blocks:
    unknown = [dim for dim in spec if dim not in grid.dims]
    if unknown:
        raise PatchError(f"chunks names the dimensions {unknown}, but the grid has {list(grid.dims)}")
    wanted = tuple(
        spec[dim] if dim in spec else even_chunk(sizes, grid.patch[dim])
        for dim, sizes in zip(grid.dims, block_sizes, strict=True)
    )
    try:
        return da.core.normalize_chunks(wanted, grid.shape, dtype=np.float32)
    except ValueError as error:
        raise PatchError(f"chunks={dict(spec)} do not fit the sizes {grid.sizes}: {error}") from error


def _solve_group(job: PatchJob, group: Group, blocks: list[np.ndarray]) -> np.ndarray:
    box = _read_box(blocks, group, job.grid.shape)
    return weighted_sum(box, group.patch_origins, group.origin, job)


def _read_box(blocks: list[np.ndarray], group: Group, sizes: tuple[int, ...]) -> np.ndarray:
    """Put the box of a group together: a view where one block holds it."""
    n_axes = len(sizes)
    pieces = [
        (block, inside, where)
        for block, corner in zip(blocks, group.corners, strict=True)
        for inside, where in common_boxes(group.origin, group.shape, corner, block.shape[-n_axes:], sizes)
    ]
    if len(pieces) == 1:
        block, _, where = pieces[0]
        return block[where]
    box = np.empty((*blocks[0].shape[:-n_axes], *group.shape), blocks[0].dtype)
    for block, inside, where in pieces:
        box[inside] = block[where]
    return box


def _add_parts(job: PatchJob, chunk: Chunk, parts: list[np.ndarray]) -> np.ndarray:
    n_axes = len(chunk.shape)
    total = np.zeros((*parts[0].shape[:-n_axes], *chunk.shape), job.dtype)
    for part, origin in zip(parts, chunk.origins, strict=True):
        boxes = common_boxes(origin, part.shape[-n_axes:], chunk.corner, chunk.shape, job.grid.shape)
        for inside, where in boxes:
            total[where] += part[inside]
    windows = (slice(first, first + n) for first, n in zip(chunk.corner, chunk.shape, strict=True))
    normalise(total, tuple(sums[window] for sums, window in zip(job.sums, windows, strict=True)))
    return total
