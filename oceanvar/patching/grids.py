"""Where patches lie on a grid: integers only, no data."""

import itertools
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import EllipsisType

import numpy as np

from oceanvar.errors import PatchError

Origin = tuple[int, ...]
# An index of trailing axes: an Ellipsis, then one slice per axis.
Box = tuple[slice | EllipsisType, ...]


class Counts(Mapping[str, int]):
    """A hashable, ordered mapping from dimensions to numbers of points.

    Unlike `dict`, two of them are equal only when their dimensions come in the same order.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = dict(counts)

    def __getitem__(self, dim: str) -> int:
        return self._counts[dim]

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and tuple(self.items()) == tuple(other.items())

    def __hash__(self) -> int:
        return hash(tuple(self.items()))

    def __repr__(self) -> str:
        return repr(self._counts)


@dataclass(frozen=True)
class PatchGrid:
    """The patches that together cover every cell of a grid.

    Neighbouring patches share at least `overlap` points. On an ordinary axis the last patch is shifted
    back to end on the border. On a periodic axis the starts are spread evenly round the ring, and a patch
    may run past the end of the axis and go on at its beginning. Iteration yields the origin of each patch,
    a tuple of start indices in the order of `dims`.

    Parameters
    ----------
    sizes
        Number of points of each dimension; its order is the order of the grid's axes.
    patch
        Number of points of a patch along each dimension.
    overlap
        Number of points shared by neighbouring patches; 0 where not given.
    periodic
        Dimensions that close on themselves.

    Raises
    ------
    PatchError
        If a dimension is unknown or lacks a patch size, a number is not a positive integer (overlap: not
        negative), a patch exceeds its dimension, or an overlap reaches the patch size.
    """

    sizes: Mapping[str, int]
    patch: Mapping[str, int]
    overlap: Mapping[str, int] = field(default_factory=dict)
    periodic: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.periodic, str):
            raise PatchError(f"periodic is the text {self.periodic!r}: use periodic=({self.periodic!r},)")
        if not self.sizes:
            raise PatchError("a patch grid needs at least one dimension, and sizes names none: fill sizes")
        for name in ("patch", "overlap", "periodic"):
            _check_known(name, getattr(self, name), self.sizes)
        sizes = {dim: _integer("size", dim, n, 1) for dim, n in self.sizes.items()}
        patch = {dim: _patch_size(dim, n, self.patch) for dim, n in sizes.items()}
        overlap = {dim: _overlap_size(dim, n, self.overlap) for dim, n in patch.items()}
        object.__setattr__(self, "sizes", Counts(sizes))
        object.__setattr__(self, "patch", Counts(patch))
        object.__setattr__(self, "overlap", Counts(overlap))
        object.__setattr__(self, "periodic", tuple(dim for dim in sizes if dim in self.periodic))

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the axes, in order."""
        return tuple(self.sizes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of points of the grid."""
        return tuple(self.sizes.values())

    @property
    def patch_shape(self) -> tuple[int, ...]:
        """Numbers of points of a patch."""
        return tuple(self.patch.values())

    @cached_property
    def starts(self) -> dict[str, tuple[int, ...]]:
        """First indices of the patches along each dimension, increasing."""
        return {
            dim: _starts(n, self.patch[dim], self.overlap[dim], dim in self.periodic)
            for dim, n in self.sizes.items()
        }

    @property
    def n_patches(self) -> int:
        """Number of patches."""
        return math.prod(len(starts) for starts in self.starts.values())

    def __len__(self) -> int:
        return self.n_patches

    def __iter__(self) -> Iterator[Origin]:
        return itertools.product(*self.starts.values())

    def __dask_tokenize__(self) -> tuple[object, ...]:
        return (
            "oceanvar.PatchGrid",
            tuple(self.sizes.items()),
            self.patch_shape,
            tuple(self.overlap.values()),
            self.periodic,
        )

    def gather(self, array: np.ndarray, origin: Origin) -> np.ndarray:
        """Cut the patch at `origin` out of the trailing axes of an array.

        Parameters
        ----------
        array
            Shape (..., *grid.shape); leading axes are carried along.
        origin
            Start indices, one of those the grid yields.

        Returns
        -------
        ndarray
            Shape (..., *grid.patch_shape); a view, or a copy where the patch wraps.
        """
        boxes = wrapped_boxes(origin, self.patch_shape, self.shape)
        if len(boxes) == 1:
            return array[boxes[0][1]]
        patch = np.empty((*array.shape[: -len(self.shape)], *self.patch_shape), array.dtype)
        for inside, where in boxes:
            patch[inside] = array[where]
        return patch


def crossings(start: int, n: int, first: int, n_other: int, size: int) -> list[tuple[slice, slice]]:
    """Find where two ranges of a ring meet.

    Parameters
    ----------
    start, n
        The range [start, start + n), which may run past the end of the ring, several times too.
    first, n_other
        The range [first, first + n_other), which lies inside [0, size).
    size
        Number of points of the ring.

    Returns
    -------
    list of (slice, slice)
        The common points, counted within the first and within the second range, one pair per lap.
    """
    pairs = []
    for lap in range(0, start + n, size):
        low = max(start, first + lap)
        high = min(start + n, first + n_other + lap)
        if low < high:
            pairs.append((slice(low - start, high - start), slice(low - first - lap, high - first - lap)))
    return pairs


def common_boxes(
    origin: Origin, shape: Sequence[int], corner: Origin, extent: Sequence[int], sizes: Sequence[int]
) -> list[tuple[Box, Box]]:
    """Find the boxes that a wrapping box (origin, shape) shares with a box (corner, extent) inside `sizes`.

    Returns
    -------
    list of (index, index)
        The common points within the first and within the second box, each an Ellipsis and one slice per axis.
    """
    axes = [crossings(*numbers) for numbers in zip(origin, shape, corner, extent, sizes, strict=True)]
    return [
        ((..., *(a for a, _ in pairs)), (..., *(b for _, b in pairs))) for pairs in itertools.product(*axes)
    ]


def wrapped_boxes(origin: Origin, shape: Sequence[int], sizes: Sequence[int]) -> list[tuple[Box, Box]]:
    """Split a wrapping box (origin, shape) into boxes inside `sizes`, as pairs like `common_boxes`."""
    ends = tuple(map(operator.add, origin, shape))
    if not any(map(operator.gt, ends, sizes)):  # nearly all: this is done for every patch
        return [((...,), (..., *map(slice, origin, ends)))]
    return common_boxes(origin, shape, (0,) * len(sizes), sizes, sizes)


def _starts(size: int, patch: int, overlap: int, periodic: bool) -> tuple[int, ...]:
    stride = patch - overlap
    if periodic:
        n_starts = math.ceil(size / stride)
        return tuple(i * size // n_starts for i in range(n_starts))
    starts = tuple(range(0, size - patch + 1, stride))
    return starts if starts[-1] == size - patch else (*starts, size - patch)


def _check_known(name: str, dims: Mapping[str, int] | tuple[str, ...], sizes: Mapping[str, int]) -> None:
    unknown = [dim for dim in dims if dim not in sizes]
    if unknown:
        raise PatchError(
            f"{name} names the dimensions {unknown}, but the grid has {list(sizes)}: rename or drop them"
        )


def _integer(what: str, dim: str, value: int, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise PatchError(f"{what} of dimension {dim!r} is {value!r}: give a whole number of points") from None
    if number < least:
        raise PatchError(f"{what} of dimension {dim!r} is {number}: give at least {least}")
    return number


def _patch_size(dim: str, size: int, patch: Mapping[str, int]) -> int:
    if dim not in patch:
        raise PatchError(
            f"patch has no entry for dimension {dim!r} of size {size}: add patch={{{dim!r}: {size}}}"
        )
    number = _integer("patch size", dim, patch[dim], 1)
    if number > size:
        raise PatchError(
            f"patch size {number} exceeds dimension {dim!r} of size {size}: use patch={{{dim!r}: {size}}}"
        )
    return number


def _overlap_size(dim: str, patch: int, overlap: Mapping[str, int]) -> int:
    number = _integer("overlap", dim, overlap.get(dim, 0), 0)
    if number >= patch:
        raise PatchError(
            f"overlap {number} along dimension {dim!r} is not smaller than the patch size {patch}: "
            f"use overlap={{{dim!r}: {patch // 2}}}"
        )
    return number
