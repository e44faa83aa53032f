"""What an index of archives is: where their times are, and who reads them."""

import functools
import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import xarray as xr

from oceanvar.archive.reading import BLOCK_BYTES
from oceanvar.archive.sources import AbstractSource
from oceanvar.labels.axes import Axis
from oceanvar.labels.masks import sea_observed


class AbstractIndex(ABC):
    """Where the times of one archive, or of several, are.

    Attributes
    ----------
    layout : Dataset
        Labels, attributes, types and sizes of the whole record. Its values mean nothing, are never
        computed, and travel to other processes as next to nothing.
    files : tuple of AbstractSource
        Files, sorted in time within each archive.
    states : mapping of str to str
        Size and time of change of each file by its full name, when it was checked.
    skipped : mapping of str to str
        Full names of the files that are left out, and why.
    told : tuple of str
        What was mended, in words.
    """

    layout: xr.Dataset
    files: tuple[AbstractSource, ...]
    states: Mapping[str, str]
    skipped: Mapping[str, str]
    told: tuple[str, ...]

    @property
    @abstractmethod
    def dim(self) -> str:
        """Dimension along which files follow each other."""

    @property
    @abstractmethod
    def preprocess(self) -> Any:
        """What is done to each file, as plain values."""

    @abstractmethod
    def files_of(self, rows: set[int]) -> list[str]:
        """Name the files all of whose rows are among `rows`."""

    @abstractmethod
    def spans(self) -> dict[str, list[int]]:
        """Number of the archive of each file, by its full name, its first row, and the end of its rows."""

    @abstractmethod
    def reader(self) -> "Reader":
        """Give what reads rows."""

    @abstractmethod
    def without_gaps(self, axis: Axis | None, gaps: str) -> "AbstractIndex":
        """The same record with the times that are missing in a regular series, as times without values.

        Parameters
        ----------
        axis : Axis, optional
            Step of the series, where it is known.
        gaps : {"fill", "refuse"}
            Whether to fill or to refuse them.

        Raises
        ------
        GridMismatchError
            If steps are uneven, or gaps are refused.
        """

    def observed(self, dims: Sequence[str]) -> xr.DataArray:
        """Boolean mask over `dims`, True where any variable was ever observed: all files are read once.

        Raises
        ------
        StoreError
            If a file cannot be read.
        """
        reader, n_rows, step = (
            self.reader(),
            self.layout.sizes[self.dim],
            rows_at_once(self.layout, self.dim),
        )
        try:
            parts = (reader.read(i, min(i + step, n_rows)).obs for i in range(0, n_rows, step))
            found = [sea_observed(part, list(map(str, part.data_vars)), dims) for part in parts]
        finally:
            reader.close()
        seen = functools.reduce(operator.or_, found)
        return seen.assign_coords({dim: self.layout[dim] for dim in seen.dims if dim in self.layout.coords})


class Rows(NamedTuple):
    """Rows of an archive in memory, without coordinates, and how many values of each were no observations."""

    obs: xr.Dataset
    n_not_used: np.ndarray


class Reader(Protocol):
    """Reads rows of archives; used by one thread at a time."""

    def read(self, first: int, stop: int) -> Rows:
        """Read rows [first, stop) into memory."""

    def close(self) -> None:
        """Close what is open."""


def rows_at_once(layout: xr.Dataset, dim: str) -> int:
    """Rows of all variables that fit into one block."""
    row = sum(
        each.nbytes // max(1, each.sizes[dim]) for each in layout.data_vars.values() if dim in each.dims
    )
    return max(1, BLOCK_BYTES // max(1, row))
