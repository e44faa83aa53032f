"""Stitching while time passes by: rows (times) are given away as soon as no later patch can touch them.

Memory holds the rows of the patches being solved, however long the record is. Patches are solved in the
order of their start in time, in groups of starts that depend on the batch size alone, so every row is added
up in the same order wherever the work begins and however its result is cut: the same bits.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from oceanvar.errors import PatchError
from oceanvar.patching.batches import PatchJob, add_patches, batch_memory, normalise


@dataclass(frozen=True, eq=False)
class Sums:
    """What the first groups of a stream add up to in the rows that later ones reach too.

    Parameters
    ----------
    n_groups
        Number of these groups.
    first
        First of the rows.
    total
        Shape (*batch, n_out, rows, *space), not yet divided by the sums of weights.
    """

    n_groups: int
    first: int
    total: np.ndarray


class TimeStream:
    """The patches of a grid in the order of the first axis, time.

    Parameters
    ----------
    job
        What is done to each patch. The first dimension of its grid is time.
    batch_shape
        Sizes of the axes before the variable axis, an ensemble, say.
    begun
        What the first groups add up to, if that is known: for rows from its first one on they are not solved.

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

    def __init__(self, job: PatchJob, batch_shape: tuple[int, ...] = (), begun: Sums | None = None) -> None:
        grid = job.grid
        dim, *others = grid.dims
        if dim in grid.periodic:
            raise PatchError(
                f"dimension {dim!r} is periodic, so its fields cannot be given away one after the other: "
                "leave it out of periodic, or map the whole in memory"
            )
        self.job = job
        self.batch_shape = batch_shape
        self.begun = begun
        self.n_per_start = math.prod(batch_shape) * math.prod(len(grid.starts[each]) for each in others)
        self._places = list(itertools.product(*(grid.starts[each] for each in others)))
        self.size, self.length = grid.sizes[dim], grid.patch[dim]
        self.n_joined = max(1, job.batch_size // max(1, self.n_per_start))
        starts = grid.starts[dim]
        self.groups = tuple(starts[i : i + self.n_joined] for i in range(0, len(starts), self.n_joined))

    @property
    def n_lasting(self) -> int:
        """Groups, the first ones, that every longer record has too: the last one may have a shifted patch, or room."""
        dim, last = self.job.grid.dims[0], self.groups[-1]
        is_shifted = last[-1] % (self.length - self.job.grid.overlap[dim]) > 0
        return len(self.groups) - (is_shifted or len(last) < self.n_joined)

    @property
    def n_final(self) -> int:
        """Rows, the first ones, that no longer record changes, whatever its later rows hold."""
        # A record longer by one row has a patch that ends with it; a longer one has none that starts before that.
        changing = [group[0] for group in self.groups[self.n_lasting :]]
        return min([self.size + 1 - self.length, *changing])

    def groups_of(self, row: int = 0, stop: int | None = None) -> tuple[tuple[int, ...], ...]:
        """Groups with a patch that reaches one of the rows [row, stop); without `stop` up to the last row.

        Without those that `begun` has, if it has all these rows.
        """
        stop = self.size if stop is None else stop
        begun = self._begun_for(row)
        groups = self.groups if begun is None else self.groups[begun.n_groups :]
        return tuple(each for each in groups if each[0] < stop and each[-1] + self.length > row)

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
        """Ranges of rows that `solve` takes for the rows [row, stop), one per group; each row once.

        All rows [row, stop) are among them, one range of these where no group is left.
        """
        groups, stop = self.groups_of(row, stop), self.size if stop is None else stop
        ends = [group[-1] + self.length for group in groups] or [stop]
        yield from itertools.pairwise([min([row, *(group[0] for group in groups)]), *ends])

    def solve(
        self,
        slabs: Iterable[np.ndarray],
        row: int = 0,
        stop: int | None = None,
        keep: Callable[[Sums], object] | None = None,
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
        keep
            Takes what the groups that every longer record has add up to in the rows that may still change, if that
            comes by.

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
        groups, begun, slabs = self.groups_of(row, stop), self._begun_for(row), iter(slabs)
        nexts = (*(group[0] for group in groups), self.size if stop is None else stop)
        window = SlidingRows(self._axis, min(row, nexts[0]))
        total = SlidingRows(self._axis, nexts[0] if begun is None else begun.first)
        if begun is not None:
            total.append(begun.total)
            if keep is not None and begun.n_groups == self.n_lasting:
                keep(self._kept(total))
            yield row, self._finished(total, row, max(row, nexts[0]))
        if not groups:
            next(slabs)
        spare = None
        for group, next_first, slab in zip(groups, nexts[1:], slabs, strict=True):
            window.drop_before(group[0])
            total.drop_before(group[0])
            window.append(slab)
            total.append(self._zeros(slab, window.stop - total.stop))
            # What is known beforehand may end before the first group that is wanted.
            window.drop_before(group[0])
            total.drop_before(group[0])
            if spare is None:
                spare = batch_memory(slab, self.n_per_start * max(map(len, groups)), self.job)
            self._add(total.held, window.held, group, spare)
            if keep is not None and group in self.groups[: self.n_lasting][-1:] and row <= self.n_final:
                keep(self._kept(total))
            wanted = max(row, group[0])
            yield wanted, self._finished(total, wanted, next_first)

    def _begun_for(self, row: int) -> Sums | None:
        """What is known beforehand, where it has all rows from this one on."""
        return self.begun if self.begun is not None and row >= self.begun.first else None

    def _kept(self, total: "SlidingRows") -> Sums:
        """What the lasting groups have added up to in the rows that may still change."""
        held = rows(total.held, self.n_final - total.first, None, self._axis)
        return Sums(self.n_lasting, self.n_final, held.copy())

    def _zeros(self, slab: np.ndarray, n_rows: int) -> np.ndarray:
        """Rows of sums to which nothing was added."""
        space = slab.shape[len(slab.shape) + self._axis + 1 :]
        shape = (*slab.shape[: self._axis - 1], self.job.n_out, n_rows, *space)
        return np.broadcast_to(self.job.dtype.type(0), shape)

    def _add(self, total: np.ndarray, window: np.ndarray, group: tuple[int, ...], spare: np.ndarray) -> None:
        corner = (group[0], *(0 for _ in self.job.grid.dims[1:]))
        origins = [(start, *place) for start in group for place in self._places]
        add_patches(total, window, origins, corner, self.job, spare=spare)

    def _finished(self, total: "SlidingRows", wanted: int, stop: int) -> np.ndarray:
        done = rows(total.held, wanted - total.first, stop - total.first, self._axis)
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
    first
        Number of the first row that will come.

    Attributes
    ----------
    first, stop
        Numbers of the rows that are held: [first, stop).
    """

    def __init__(self, axis: int, first: int) -> None:
        self._axis = axis
        self._memory: np.ndarray | None = None
        self._offset = 0
        self.first = self.stop = first

    @property
    def held(self) -> np.ndarray:
        """View of the rows that are held; valid until the next row comes."""
        assert self._memory is not None
        return rows(self._memory, self._offset, self._offset + self.stop - self.first, self._axis)

    def drop_before(self, row: int) -> None:
        """Let the rows before this one go that are held."""
        n_dropped = max(0, min(row, self.stop) - self.first)
        self.first += n_dropped
        self._offset += n_dropped

    def append(self, new: np.ndarray) -> None:
        """Put rows at the end."""
        n_held, n_new = self.stop - self.first, new.shape[self._axis]
        if self._memory is None or self._offset + n_held + n_new > self._memory.shape[self._axis]:
            self._memory = self._with_room(new)
        first = self._offset + n_held
        rows(self._memory, first, first + n_new, self._axis)[...] = new
        self.stop += n_new

    def _with_room(self, new: np.ndarray) -> np.ndarray:
        """Move the rows that are held to the beginning, of new memory only where the old is too small."""
        n_held = self.stop - self.first
        shape, n_needed = list(new.shape), n_held + new.shape[self._axis]
        memory = self._memory
        if memory is None or memory.shape[self._axis] < n_needed:
            shape[self._axis] = 2 * n_needed
            memory = np.empty(shape, new.dtype)
        if n_held:
            rows(memory, 0, n_held, self._axis)[...] = self.held
        self._offset = 0
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
