"""Which task solves which patches, reads which blocks and reaches which chunks: integers only, no data.

A group is the patches whose start one output chunk owns, and is named by the position of that chunk.
Everything is worked out per axis first, so that no pair of groups and chunks is ever compared.
"""

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from oceanvar.patching.grids import Origin, PatchGrid, crossings

Place = tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """The patches solved by one task.

    Parameters
    ----------
    starts
        Start indices of the patches along each axis; the patches are all their combinations.
    origin, shape
        The box around the patches; it may run past the end of a periodic axis.
    corners
        First cells of the input blocks that fill the box.
    """

    starts: tuple[tuple[int, ...], ...]
    origin: Origin
    shape: tuple[int, ...]
    corners: tuple[Origin, ...]

    @property
    def patch_origins(self) -> list[Origin]:
        """Origins of the patches on the grid."""
        return list(itertools.product(*self.starts))


@dataclass(frozen=True)
class Chunk:
    """An output chunk (its first cell and its shape), and the origins of the boxes that reach it."""

    corner: Origin
    shape: tuple[int, ...]
    origins: tuple[Origin, ...]


@dataclass(frozen=True)
class _Axis:
    """One axis: bounds of input blocks and output chunks, and four tables by position of the output chunk."""

    block_bounds: list[int]
    chunk_bounds: list[int]
    starts: dict[int, tuple[int, ...]]
    extents: dict[int, tuple[int, int]]
    blocks: dict[int, list[int]]
    groups: dict[int, list[int]]


Blocks = tuple[tuple[int, ...], ...]


class Division:
    """The groups and the output chunks of a lazy map.

    Parameters
    ----------
    grid
        Where the patches lie.
    block_sizes, chunk_sizes
        Sizes of the input blocks and of the output chunks along each axis.

    Attributes
    ----------
    groups
        From the place of a group to the group and the places of the input blocks it reads.
    chunks
        From the place of an output chunk to the chunk and the places of the groups that reach it.
    """

    def __init__(self, grid: PatchGrid, block_sizes: Blocks, chunk_sizes: Blocks) -> None:
        self._axes = [
            _divide(dim, grid, blocks, chunks)
            for dim, blocks, chunks in zip(grid.dims, block_sizes, chunk_sizes, strict=True)
        ]
        self.groups = {
            place: self._group(place) for place in itertools.product(*(axis.starts for axis in self._axes))
        }
        self.chunks = {
            place: self._chunk(place) for place in itertools.product(*(axis.groups for axis in self._axes))
        }

    def _group(self, place: Place) -> tuple[Group, list[Place]]:
        pairs = list(zip(self._axes, place, strict=True))
        blocks = list(itertools.product(*(axis.blocks[i] for axis, i in pairs)))
        corners = itertools.product(*([axis.block_bounds[b] for b in axis.blocks[i]] for axis, i in pairs))
        group = Group(
            starts=tuple(axis.starts[i] for axis, i in pairs),
            origin=self._box_origin(place),
            shape=tuple(axis.extents[i][1] for axis, i in pairs),
            corners=tuple(corners),
        )
        return group, blocks

    def _chunk(self, place: Place) -> tuple[Chunk, list[Place]]:
        pairs = list(zip(self._axes, place, strict=True))
        groups = list(itertools.product(*(axis.groups[i] for axis, i in pairs)))
        chunk = Chunk(
            corner=tuple(axis.chunk_bounds[i] for axis, i in pairs),
            shape=tuple(axis.chunk_bounds[i + 1] - axis.chunk_bounds[i] for axis, i in pairs),
            origins=tuple(map(self._box_origin, groups)),
        )
        return chunk, groups

    def _box_origin(self, place: Place) -> Origin:
        return tuple(axis.extents[i][0] for axis, i in zip(self._axes, place, strict=True))


def even_chunk(sizes: Iterable[int], least: int) -> int:
    """Size of even chunks: the longest of `sizes`, or as many of it as hold at least `least` points."""
    longest = max(sizes)
    return longest * -(-least // longest)


def _divide(dim: str, grid: PatchGrid, block_sizes: tuple[int, ...], chunk_sizes: tuple[int, ...]) -> _Axis:
    block_bounds, chunk_bounds = ([0, *itertools.accumulate(sizes)] for sizes in (block_sizes, chunk_sizes))
    owned = itertools.groupby(grid.starts[dim], lambda start: bisect_right(chunk_bounds, start) - 1)
    starts = {owner: tuple(group) for owner, group in owned}
    extents = {owner: (group[0], group[-1] + grid.patch[dim] - group[0]) for owner, group in starts.items()}
    blocks = {owner: _touched(*extent, block_bounds) for owner, extent in extents.items()}
    groups: dict[int, list[int]] = {position: [] for position in range(len(chunk_sizes))}
    for owner, extent in extents.items():
        for position in _touched(*extent, chunk_bounds):
            groups[position].append(owner)
    return _Axis(block_bounds, chunk_bounds, starts, extents, blocks, groups)


def _touched(start: int, n: int, bounds: list[int]) -> list[int]:
    """Find the intervals between `bounds` that the range [start, start + n) of a ring meets."""
    positions: set[int] = set()
    for _, where in crossings(start, n, 0, bounds[-1], bounds[-1]):
        positions.update(range(bisect_right(bounds, where.start) - 1, bisect_left(bounds, where.stop)))
    return sorted(positions)
