"""An archive read by rows (times): what is where is found out once, then each file is opened when it is due."""

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from oceanvar.archive.catalogue import check_files
from oceanvar.archive.indexes import AbstractIndex, Rows
from oceanvar.archive.notes import FileNotes
from oceanvar.archive.preprocessing import Expected, Preprocess
from oceanvar.archive.reading import NETCDF, UNREADABLE, Reading
from oceanvar.archive.sources import AbstractSource
from oceanvar.errors import StoreError
from oceanvar.labels.axes import Axis
from oceanvar.labels.ordering import Order, ordered, taken
from oceanvar.labels.values import strangers, within_valid_range
from oceanvar.options import Options
from oceanvar.state.spaces import StateSpace


@dataclass(frozen=True, eq=False)
class ArchiveIndex(AbstractIndex):
    """Where the times of an archive are.

    Parameters
    ----------
    files : tuple of AbstractSource
        Files sorted in time.
    bounds : tuple of int
        First row of each file in the whole record, and the number of all rows.
    layout : Dataset
        Labels, attributes, types and sizes of the whole record. Its values mean nothing, are never
        computed, and travel to other processes as next to nothing.
    reading : Reading
        How the files are read.
    states : mapping of str to str
        Size and time of change of each file by its full name, when it was checked.
    skipped : mapping of str to str
        Full names of the files that are left out, and why.
    rows : ndarray, optional
        For each row of the layout that of the files, -1 where no file has it. Default: the same.
    told : tuple of str
        What was mended, in words.
    limits : mapping of str to (float, float)
        Lowest and highest value that a variable can have, where that is known.
    """

    files: tuple[AbstractSource, ...]
    bounds: tuple[int, ...]
    layout: xr.Dataset
    reading: Reading
    states: Mapping[str, str]
    skipped: Mapping[str, str]
    rows: np.ndarray | None = None
    told: tuple[str, ...] = ()
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def dim(self) -> str:
        """Dimension along which files follow each other."""
        return self.reading.dim

    def files_of(self, rows: set[int]) -> list[str]:
        """Name the files all of whose rows are among `rows`."""
        if self.rows is not None:
            rows = {int(self.rows[row]) for row in rows}
        stretches = zip(self.files, itertools.pairwise(self.bounds), strict=True)
        return [file.key for file, (first, stop) in stretches if rows.issuperset(range(first, stop))]

    def spans(self) -> dict[str, list[int]]:
        """See `AbstractIndex.spans`; rows that no file has may lie among those of a file."""
        firsts, stops = np.array(self.bounds[:-1]), np.array(self.bounds[1:])
        if self.rows is not None:
            given = np.flatnonzero(self.rows >= 0)
            # The rows of the files that the layout has increase: where does it have them?
            places = np.searchsorted(self.rows[given], [firsts, stops - 1])
            firsts, stops = given[places[0]], given[places[1]] + 1
        pairs = zip(self.files, firsts.tolist(), stops.tolist(), strict=True)
        return {file.key: [0, first, stop] for file, first, stop in pairs}

    @property
    def preprocess(self) -> Any:
        """What is done to each file, as plain values."""
        return self.reading.settings()["preprocess"]

    def reader(self) -> "SlabReader":
        """Read rows of the files."""
        return SlabReader(self)

    def without_gaps(self, axis: Axis | None, gaps: str) -> "ArchiveIndex":
        """See `AbstractIndex.without_gaps`."""
        order = ordered(self.layout[self.dim], axis, gaps, "the observations")
        if order is None or not order.n_missing:
            return self
        return replace(self.placed(order), told=(*self.told, *order.told))

    def placed(self, order: Order) -> "ArchiveIndex":
        """The same with the rows of an order, which counts in its present ones."""
        rows = np.arange(self.layout.sizes[self.dim]) if self.rows is None else self.rows
        found = np.where(order.index < 0, -1, rows[np.maximum(order.index, 0)])
        return replace(self, rows=found, layout=taken(self.layout, self.dim, order))


def index_archive(
    files: Sequence[AbstractSource],
    reading: Reading,
    notes: Path | None = None,
    skip_bad: bool = False,
    expected: Expected | None = None,
    progress: bool = False,
) -> ArchiveIndex:
    """Check every file of an archive and note its times, one file after the other.

    Parameters
    ----------
    files : sequence of AbstractSource
        NetCDF files or Zarr stores, from `find_files`.
    reading : Reading
        How to read them; it names the variables.
    notes : Path, optional
        File in which the notes of this pass are kept: a file that has not changed since is not opened again.
    skip_bad : bool
        Leave out the files that cannot be used.
    expected : Expected, optional
        What a model expects of each file.
    progress : bool
        Show how far it is.

    Raises
    ------
    StoreError
        Naming every file that cannot be used, see `open_archive`.
    """
    found = check_files(files, reading, notes, skip_bad, expected, progress)
    noted = list(found.notes.values())
    bounds = (0, *itertools.accumulate(each.n_times(reading.dim) for each in noted))
    with found.reading.open(next(iter(found.notes))) as head:
        layout = _layout(head, noted, reading.variables or (), reading.dim)
    states = {file.key: str(found.states[file]) for file in found.notes}
    return ArchiveIndex(
        tuple(found.notes), bounds, layout, found.reading, states, found.skipped, told=found.told
    )


def index_expected(
    files: Sequence[AbstractSource],
    space: StateSpace,
    options: Options,
    preprocess: Preprocess | None,
    notes: Path | None = None,
    skip_bad: bool = False,
    progress: bool = False,
) -> ArchiveIndex:
    """Index an archive as a model expects it, each file mended where one of them has to be; gaps stay.

    Parameters
    ----------
    files, notes, skip_bad, progress
        See `index_archive`.
    space : StateSpace
        What the model expects.
    options : Options
        Of the mapping: names of variables.
    preprocess : callable, optional
        Applied to the lazy dataset of each file.

    Raises
    ------
    StoreError
        Naming every file that cannot be used.
    """
    expected = Expected(space, options.variables, preprocess)
    reading = Reading(space.file_variables, space.dims[0], preprocess)
    index = index_archive(files, reading, notes, skip_bad, expected, progress)
    return replace(index, limits=space.plausible_inputs())


def _layout(head: xr.Dataset, noted: Sequence[FileNotes], variables: Sequence[str], dim: str) -> xr.Dataset:
    """Coordinates, attributes and types of the whole archive; values are 0."""
    n = sum(each.n_times(dim) for each in noted)
    fixed = {name: coord.variable.load() for name, coord in head.coords.items() if dim not in coord.dims}
    along = {
        name: _joined([each.coords[name] for each in noted], dim)
        for name in noted[0].coords
        if all(name in each.coords for each in noted)
    }
    layout = xr.Dataset(coords={**fixed, **along}, attrs=_common(each.attrs for each in noted))
    for name in variables:
        dims = head[name].dims
        # Integers have no NaN for what is missing.
        dtype = np.result_type(np.float32, *{each.variables[name].dtype for each in noted})
        nothing = da.zeros([{**head.sizes, dim: n}[each] for each in dims], dtype=dtype, chunks=-1)
        attrs = _common(each.variables[name].attrs for each in noted)
        # Their units are one, in any spelling.
        units = {key: value for key, value in noted[0].variables[name].attrs.items() if key == "units"}
        layout[name] = (dims, nothing, attrs | units)
    return layout


def _joined(parts: Sequence[xr.Variable], dim: str) -> xr.Variable:
    whole = type(parts[0]).concat(parts, dim, combine_attrs="drop_conflicts")
    whole.encoding = dict(parts[0].encoding)
    return whole


def _common(attributes: Iterable[Mapping[Any, Any]]) -> dict[Any, Any]:
    """Attributes on which all agree that have them; differing ones (valid_min, comments) go."""
    kept: dict[Any, Any] = {}
    differing = set()
    for each in attributes:
        for name, value in each.items():
            first = kept.setdefault(name, value)
            if not (np.array_equal(first, value) or repr(first) == repr(value)):  # NaN is not equal to NaN
                differing.add(name)
    return {name: value for name, value in kept.items() if name not in differing}


def rows_without_values(obs: xr.Dataset, dim: str) -> list[int]:
    """Number the rows in which no variable has a finite value."""
    observed = np.zeros(obs.sizes[dim], bool)
    for each in obs.variables.values():
        if dim in each.dims:
            axes = tuple(axis for axis, name in enumerate(each.dims) if name != dim)
            observed |= np.isfinite(each.values).any(axis=axes)
    return [int(row) for row in np.flatnonzero(~observed)]


def _n_known(ds: xr.Dataset, dim: str) -> np.ndarray:
    """Values of each row that are no NaN."""
    n_known = np.zeros(ds.sizes[dim], int)
    for each in ds.variables.values():
        if dim in each.dims:
            n_known += each.notnull().sum([name for name in each.dims if name != dim]).values
    return n_known


class SlabReader:
    """Reads rows of an archive; used by one thread at a time.

    Parameters
    ----------
    index : ArchiveIndex
        Where the rows are.
    """

    def __init__(self, index: ArchiveIndex) -> None:
        self.index = index
        self._number = -1
        self._opened: xr.Dataset | None = None

    def read(self, first: int, stop: int) -> Rows:
        """Read rows [first, stop) into memory; what is no observation is NaN and counted.

        Raises
        ------
        StoreError
            If a file cannot be read or has changed since it was checked; it is named.
        UnitsMismatchError
            If so many values are far from all that the model knows that their units must be wrong.
        """
        if self.index.rows is None:
            return self._read(first, stop)
        rows = self.index.rows[first:stop]
        given = rows[rows >= 0]
        part = self._read(int(given[0]), int(given[-1]) + 1) if len(given) else None
        n_not_used = np.zeros(len(rows), int)
        if part is not None:
            n_not_used[rows >= 0] = part.n_not_used
        return Rows(self._spread(None if part is None else part.obs, rows >= 0), n_not_used)

    def _spread(self, part: xr.Dataset | None, is_given: np.ndarray) -> xr.Dataset:
        """Rows of files among rows without values."""
        layout, dim = self.index.layout, self.index.dim
        found = {}
        for name, like in layout.data_vars.items():
            if dim not in like.dims:
                found[name] = like.variable.compute() if part is None else part[name].variable
                continue
            sizes = {**like.sizes, dim: len(is_given)}
            values = np.full(list(sizes.values()), np.nan, like.dtype)
            if part is not None:
                values[(slice(None),) * like.get_axis_num(dim) + (is_given,)] = (
                    part[name].transpose(*sizes).values
                )
            found[name] = xr.Variable(like.dims, values)
        return xr.Dataset(found)

    def _read(self, first: int, stop: int) -> Rows:
        index = self.index
        parts: list[Rows] = []
        while first < stop:
            number = bisect_right(index.bounds, first) - 1
            end = min(stop, index.bounds[number + 1])
            parts.append(self._part(number, first - index.bounds[number], end - index.bounds[number]))
            first = end
        if len(parts) == 1:
            return parts[0]
        options: Any = {"coords": "minimal", "compat": "override", "join": "override"}
        obs = xr.concat([each.obs for each in parts], index.dim, data_vars="minimal", **options)
        return Rows(obs, np.concatenate([each.n_not_used for each in parts]))

    def close(self) -> None:
        """Close the file that is open."""
        if self._opened is not None:
            with NETCDF:
                self._opened.close()
        self._opened, self._number = None, -1

    def _part(self, number: int, first: int, stop: int) -> Rows:
        index = self.index
        file = index.files[number]
        try:
            with NETCDF:
                ds = self._open(number)
                n_rows = index.bounds[number + 1] - index.bounds[number]
                if ds.sizes[index.dim] != n_rows:
                    raise StoreError(f"it has {ds.sizes[index.dim]} times now and had {n_rows} when checked")
                part = ds.isel({index.dim: slice(first, stop)}).load(scheduler="synchronous")
        except UNREADABLE as error:
            raise StoreError(f"{file.name!r} cannot be read any more: {error}") from error
        used = self._used(part, file.name)
        n_not_used = _n_known(part, index.dim) - _n_known(used, index.dim)
        return Rows(used.astype({str(name): index.layout[name].dtype for name in used.data_vars}), n_not_used)

    def _used(self, part: xr.Dataset, name: str) -> xr.Dataset:
        """Values with NaN for what is no observation."""
        part = within_valid_range(part, map(str, part.data_vars))
        found = {}
        for variable, limits in self.index.limits.items():
            if variable in part:
                field = part[variable].variable
                strange, _ = strangers(field.values, *limits, f"{variable!r} of {name!r}")
                found[variable] = field.where(~strange)
        return part.assign(found)

    def _open(self, number: int) -> xr.Dataset:
        if self._opened is None or number != self._number:
            self.close()
            index = self.index
            file = index.files[number]
            now, then = str(file.state()), index.states[file.key]
            if now != then:
                raise StoreError(f"it has changed since it was checked ({then} then, {now} now): begin anew")
            whole = index.reading.open(file)
            kept = whole[list(index.layout.data_vars)].reset_coords(drop=True)
            kept = kept.drop_vars(kept.indexes)
            kept.set_close(whole.close)
            self._opened, self._number = kept, number
        return self._opened
