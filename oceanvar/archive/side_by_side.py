"""Several archives on one grid, satellites say, read as one: where more than one has a value, their mean."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from oceanvar.archive.indexes import AbstractIndex, Rows
from oceanvar.archive.preprocessing import Preprocess
from oceanvar.archive.slabs import ArchiveIndex, index_expected
from oceanvar.archive.sources import AbstractSource
from oceanvar.errors import GridMismatchError
from oceanvar.labels.alignment import joined
from oceanvar.labels.axes import Axis
from oceanvar.labels.ordering import Order, ordered, taken
from oceanvar.options import Options
from oceanvar.state.spaces import StateSpace


@dataclass(frozen=True, eq=False)
class SideBySide(AbstractIndex):
    """Archives whose rows are those of one layout.

    Parameters
    ----------
    parts : tuple of ArchiveIndex
        The archives, each with the rows of the layout.
    layout : Dataset
        Labels of all of them.
    files, states, skipped
        Of all archives, see `AbstractIndex`.
    errors : mapping of str to str
        Variable that holds the error variance of a variable, where there is one: their mean is weighted by it.
    told : tuple of str
        What was mended, in words.
    """

    parts: tuple[ArchiveIndex, ...]
    layout: xr.Dataset
    files: tuple[AbstractSource, ...]
    states: Mapping[str, str]
    skipped: Mapping[str, str]
    errors: Mapping[str, str]
    told: tuple[str, ...]

    @classmethod
    def of(cls, parts: Sequence[ArchiveIndex], space: StateSpace) -> "SideBySide":
        """Put archives beside each other.

        Parameters
        ----------
        parts : sequence of ArchiveIndex
            The archives, as `space` expects them.
        space : StateSpace
            Names the variables with error variances.

        Raises
        ------
        GridMismatchError
            If they lie on different grids, or their times are of different kinds.
        """
        first, dim = parts[0].layout, parts[0].dim
        for other in parts[1:]:
            dims = [each for each in first.dims if each != dim]
            joined(first, other.layout, dims, f"{parts[0].files[0].name!r} and {other.files[0].name!r}")
        times = [each.layout.indexes[dim] for each in parts]
        if len({(type(each), each.dtype.kind) for each in times}) > 1:
            raise GridMismatchError(
                f"the times of the sources are of different kinds: {[t[0] for t in times]}"
            )
        union = functools.reduce(lambda a, b: a.union(b), times)
        orders = [Order(each.get_indexer(union), np.asarray(union), ()) for each in times]
        placed = tuple(part.placed(order) for part, order in zip(parts, orders, strict=True))
        errors = {
            name: each.variance
            for each in space.observing.values()
            if isinstance(each.variance, str)
            for name in each.variables
        }
        told = tuple(dict.fromkeys(line for part in parts for line in part.told))
        return cls(
            placed,
            taken(first, dim, orders[0]),
            tuple(file for part in parts for file in part.files),
            {key: state for part in parts for key, state in part.states.items()},
            {key: reason for part in parts for key, reason in part.skipped.items()},
            errors,
            told,
        )

    @property
    def dim(self) -> str:
        """Dimension along which files follow each other."""
        return self.parts[0].dim

    @property
    def preprocess(self) -> Any:
        """What is done to each file, as plain values."""
        return [part.preprocess for part in self.parts]

    def files_of(self, rows: set[int]) -> list[str]:
        """Name the files all of whose rows are among `rows`."""
        return [key for part in self.parts for key in part.files_of(rows)]

    def spans(self) -> dict[str, list[int]]:
        """See `AbstractIndex.spans`."""
        return {
            key: [number, *rows]
            for number, part in enumerate(self.parts)
            for key, (_, *rows) in part.spans().items()
        }

    def reader(self) -> "MergedReader":
        """Read rows of all archives."""
        return MergedReader(self)

    def without_gaps(self, axis: Axis | None, gaps: str) -> "SideBySide":
        """See `AbstractIndex.without_gaps`."""
        order = ordered(self.layout[self.dim], axis, gaps, "the observations")
        if order is None or not order.n_missing:
            return self
        parts = tuple(part.placed(order) for part in self.parts)
        told = (*self.told, *order.told)
        return replace(self, parts=parts, layout=taken(self.layout, self.dim, order), told=told)


class MergedReader:
    """Reads rows of several archives as one; used by one thread at a time.

    Parameters
    ----------
    index : SideBySide
        Where the rows are.
    """

    def __init__(self, index: SideBySide) -> None:
        self.index = index
        self.readers = [part.reader() for part in index.parts]

    def read(self, first: int, stop: int) -> Rows:
        """Read rows [first, stop) into memory; errors as of `SlabReader`.

        Each reader leaves out what is no observation: it must not hide among others in a mean.
        """
        read = [reader.read(first, stop) for reader in self.readers]
        parts = [each.obs for each in read]
        names = [name for name in parts[0].data_vars if name not in self.index.errors.values()]
        merged = xr.Dataset()
        for name in names:
            variance = self.index.errors.get(str(name))
            values = [part[name].variable for part in parts]
            weights = (
                [1.0] * len(parts) if variance is None else [1 / part[variance].variable for part in parts]
            )
            merged[name], total = _mean(values, weights)
            if variance is not None:
                merged[variance] = 1 / total.where(total > 0)
        return Rows(merged, np.sum([each.n_not_used for each in read], axis=0))

    def close(self) -> None:
        """Close the files that are open."""
        for reader in self.readers:
            reader.close()


def _mean(values: Sequence[xr.Variable], weights: Sequence[Any]) -> tuple[xr.Variable, xr.Variable]:
    """Weighted mean of what is there, and the sum of its weights."""
    shares = [(each * 0 + weight).fillna(0.0) for each, weight in zip(values, weights, strict=True)]
    total = sum(shares[1:], shares[0])
    terms = [each.fillna(0.0) * share for each, share in zip(values, shares, strict=True)]
    mean = sum(terms[1:], terms[0]) / total.where(total > 0)
    return mean.astype(values[0].dtype), total


def index_sources(
    sources: Mapping[str, Sequence[AbstractSource]],
    space: StateSpace,
    options: Options,
    preprocess: Preprocess | None,
    notes: Path | None = None,
    skip_bad: bool = False,
    progress: bool = False,
) -> AbstractIndex:
    """Index one archive, or several side by side, as a model expects them.

    Parameters
    ----------
    sources : mapping
        Files of each archive by its name, from `oceanvar.archive.sources.find_sources`.
    space, options, preprocess, notes, skip_bad, progress
        See `oceanvar.archive.slabs.index_expected`; missing times become of `options` what they say.

    Raises
    ------
    StoreError
        Naming every file that cannot be used.
    GridMismatchError
        If sources lie on different grids, times follow each other unevenly, or gaps are refused.
    """
    parts = []
    for name, files in sources.items():
        kept = notes if notes is None or not name else notes.with_name(f"{notes.name}-{name}")
        parts.append(index_expected(files, space, options, preprocess, kept, skip_bad, progress))
    index: AbstractIndex = parts[0] if len(parts) == 1 else SideBySide.of(parts, space)
    return index.without_gaps(space.axes.get(space.dims[0]), options.gaps)
