"""Stitching while time passes by: rows (times) are given away as soon as no later patch can touch them.

Memory holds the rows of the patches being solved, however long the record is. Patches are solved in the
order of their start in time, in groups of starts that depend on the batch size alone, so every row is added
up in the same order wherever the work begins and however its result is cut: the same bits.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from oceanvar.errors import PatchError
from oceanvar.patching.batches import PatchJob, add_patches, batch_memory, normalise


class TimeStream:
    """The patches of a grid in the order of the first axis, time.

    Parameters
    ----------
    job
        What is done to each patch. The first dimension of its grid is time.
    batch_shape
        Sizes of the axes before the variable axis, an ensemble, say.

    Attributes
    ----------
    groups
        Starts in time that are solved together: as many as fill a batch, at least one.
    n_joined
        Starts of a full group.
    n_per_start
        Patches that share a start, over space and batch.
    size, length
        Rows of the grid and of a patch.

    Raises
    ------
    PatchError
        If time is periodic: then no row is final before the end.
    """

    def __init__(self, job: PatchJob, batch_shape: tuple[int, ...] = ()) -> None:
        grid = job.grid
        dim, *others = grid.dims
        if dim in grid.periodic:
            raise PatchError(
                f"dimension {dim!r} is periodic, so its fields cannot be given away one after the other: "
                "leave it out of periodic, or map the whole in memory"
            )
        self.job = job
        self.batch_shape = batch_shape
        self.n_per_start = math.prod(batch_shape) * math.prod(len(grid.starts[each]) for each in others)
        self._places = list(itertools.product(*(grid.starts[each] for each in others)))
        self.size, self.length = grid.sizes[dim], grid.patch[dim]
        self.n_joined = max(1, job.batch_size // max(1, self.n_per_start))
        starts = grid.starts[dim]
        self.groups = tuple(starts[i : i + self.n_joined] for i in range(0, len(starts), self.n_joined))

    def groups_of(self, row: int = 0, stop: int | None = None) -> tuple[tuple[int, ...], ...]:
        """Groups with a patch that reaches one of the rows [row, stop); without `stop` up to the last row."""
        stop = self.size if stop is None else stop
        return tuple(each for each in self.groups if each[0] < stop and each[-1] + self.length > row)

    def n_patches(self, row: int = 0, stop: int | None = None) -> int:
        """Count the patches that are solved for the rows [row, stop)."""
        return self.n_per_start * sum(map(len, self.groups_of(row, stop)))

    def n_solved_before(self, ranges: Sequence[tuple[int, int]], finished: Sequence[tuple[int, int]]) -> int:
        """Count the patches that are solved for several ranges of rows, though they were solved before.

        Parameters
        ----------
        ranges
            Ranges [row, stop) that are solved, each for itself.
        finished
            Ranges whose rows are there already.
        """
        seen = {group for each in finished for group in self.groups_of(*each)}
        n_again = 0
        for group in itertools.chain.from_iterable(self.groups_of(*each) for each in ranges):
            n_again += len(group) if group in seen else 0
            seen.add(group)
        return self.n_per_start * n_again

    def reads(self, row: int = 0, stop: int | None = None) -> Iterator[tuple[int, int]]:
        """Ranges of rows that `solve` takes for the rows [row, stop), one per group; each row once."""
        known = None
        for group in self.groups_of(row, stop):
            end = group[-1] + self.length
            yield (group[0] if known is None else known), end
            known = end

    def solve(
        self, slabs: Iterable[np.ndarray], row: int = 0, stop: int | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Solve the patches and give away final rows, in order.

        Parameters
        ----------
        slabs
            Arrays (*batch, C, rows, *space) for the ranges of `reads`.
        row
            First row wanted.
        stop
            End of the rows wanted. Default: all.

        Yields
        ------
        (int, ndarray)
            Index of the first row, and finished rows (*batch, n_out, rows, *space). Every row from `row` to
            `stop` comes once.

        Raises
        ------
        PatchError
            If the function returns a wrong shape.
        """
        groups = self.groups_of(row, stop)
        nexts = (*(group[0] for group in groups[1:]), self.size if stop is None else stop)
        window, total = SlidingRows(self._axis), SlidingRows(self._axis)
        spare = None
        before = groups[0][0]
        for group, next_first, slab in zip(groups, nexts, slabs, strict=True):
            first = group[0]
            window.drop(first - before)
            total.drop(first - before)
            window.append(slab)
            total.append(np.broadcast_to(self.job.dtype.type(0), self._sum_shape(slab)))
            if spare is None:
                spare = batch_memory(slab, self.n_per_start * max(map(len, groups)), self.job)
            self._add(total.held, window.held, group, spare)
            wanted = max(row, first)
            yield wanted, self._finished(total.held, first, wanted, next_first)
            before = first

    def _sum_shape(self, slab: np.ndarray) -> tuple[int, ...]:
        return (*slab.shape[: self._axis - 1], self.job.n_out, *slab.shape[self._axis :])

    def _add(self, total: np.ndarray, window: np.ndarray, group: tuple[int, ...], spare: np.ndarray) -> None:
        corner = (group[0], *(0 for _ in self.job.grid.dims[1:]))
        origins = [(start, *place) for start in group for place in self._places]
        add_patches(total, window, origins, corner, self.job, spare=spare)

    def _finished(self, total: np.ndarray, first: int, wanted: int, stop: int) -> np.ndarray:
        done = rows(total, wanted - first, stop - first, self._axis)
        in_time, *in_space = self.job.sums
        return normalise(done, (in_time[wanted:stop], *in_space), out=np.empty_like(done))

    @property
    def _axis(self) -> int:
        return -len(self.job.grid.dims)


class SlidingRows:
    """Rows of which new ones come at the end and old ones go at the beginning, most of the time without a copy.

    Parameters
    ----------
    axis
        Axis of the rows, counted from the end: negative.
    """

    def __init__(self, axis: int) -> None:
        self._axis = axis
        self._memory: np.ndarray | None = None
        self._first = self._stop = 0

    @property
    def held(self) -> np.ndarray:
        """View of the rows that are held; valid until the next row comes."""
        assert self._memory is not None
        return rows(self._memory, self._first, self._stop, self._axis)

    def drop(self, n: int) -> None:
        """Let the first `n` rows go."""
        self._first += n

    def append(self, new: np.ndarray) -> None:
        """Put rows at the end."""
        n_new = new.shape[self._axis]
        if self._memory is None or self._stop + n_new > self._memory.shape[self._axis]:
            self._memory = self._with_room(new)
        self._stop += n_new
        rows(self._memory, self._stop - n_new, self._stop, self._axis)[...] = new

    def _with_room(self, new: np.ndarray) -> np.ndarray:
        """Move the rows that are held to the beginning, of new memory only where the old is too small."""
        n_held = self._stop - self._first
        shape, n_needed = list(new.shape), n_held + new.shape[self._axis]
        memory = self._memory
        if memory is None or memory.shape[self._axis] < n_needed:
            shape[self._axis] = 2 * n_needed
            memory = np.empty(shape, new.dtype)
        if n_held:
            rows(memory, 0, n_held, self._axis)[...] = self.held
        self._first, self._stop = 0, n_held
        return memory


def rows(array: np.ndarray, first: int, stop: int | None, axis: int) -> np.ndarray:
    """View of the entries [first, stop) along a negative axis."""
    return array[(..., slice(first, stop), *(slice(None),) * (-axis - 1))]


def regroup(
    pieces: Iterable[tuple[int, np.ndarray]], bounds: Sequence[int], axis: int, unit: int = 0
) -> Iterator[tuple[int, np.ndarray]]:
    """Put pieces that follow each other together to units.

    Parameters
    ----------
    pieces
        Pairs (first row, array), as of `TimeStream.solve`, the first one at ``bounds[unit]``.
    bounds
        First row of every unit, and the end of the last.
    axis
        Axis of the rows, counted from the end: negative.
    unit
        Number of the first unit.

    Yields
    ------
    (int, ndarray)
        Number of the unit and its rows.
    """
    parts: list[np.ndarray] = []
    for first, piece in pieces:
        stop = first + piece.shape[axis]
        while first < stop:
            end = min(stop, bounds[unit + 1])
            parts.append(
                rows(piece, piece.shape[axis] - (stop - first), piece.shape[axis] - (stop - end), axis)
            )
            first = end
            if end == bounds[unit + 1]:
                yield unit, np.concatenate(parts, axis=axis)
                parts, unit = [], unit + 1
