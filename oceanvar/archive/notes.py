"""What an archive index keeps of each file, and the file of JSON lines that the index is kept in."""

import functools
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import cftime
import numpy as np
import pandas as pd
import xarray as xr

from oceanvar.archive.sources import FileState
from oceanvar.files.lines import is_whole, sealed
from oceanvar.files.writing import written_aside

FORMAT = "oceanvar-index-3"
_MICROSECONDS = "microseconds since 1970-01-01"


class Noted(NamedTuple):
    """Type and attributes of a variable."""

    dtype: np.dtype
    attrs: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class FileNotes:
    """What is known of a file without opening it again.

    No dataset and no index, which would take kilobytes and milliseconds: there may be tens of thousands of files.

    Parameters
    ----------
    coords : mapping of str to Variable
        Coordinates along the dimension in which files follow each other.
    variables : mapping of str to Noted
        The variables that are wanted.
    attrs : mapping
        Global attributes.
    dims : mapping of str to tuple of str
        Dimensions of all variables of the file.
    grid : str
        Fingerprint of the other dimensions and their coordinates.
    told : tuple of str, optional
        What was mended before these notes were made, in words; None where nothing had to be.
    refused : str
        Why it cannot be mended, if a model expects it otherwise.
    """

    coords: Mapping[str, xr.Variable]
    variables: Mapping[str, Noted]
    attrs: Mapping[str, Any]
    dims: Mapping[str, tuple[str, ...]]
    grid: str
    told: tuple[str, ...] | None = None
    refused: str = ""

    @classmethod
    def of(cls, ds: xr.Dataset, variables: Sequence[str] | None, dim: str) -> "FileNotes":
        """Make notes of an open file."""
        along = {str(name): each.variable for name, each in ds.coords.items() if dim in each.dims}
        coords = {name: each.load().to_base_variable() for name, each in along.items()}
        dims = {str(name): tuple(map(str, each.dims)) for name, each in ds.data_vars.items()}
        names = dims if variables is None else [name for name in variables if name in dims]
        kept = {name: Noted(ds[name].dtype, ds[name].attrs) for name in names}
        return cls(coords, kept, ds.attrs, dims, _grid_digest(ds, list(kept), dim))

    def times(self, dim: str) -> pd.Index:
        """Labels along the dimension in which files follow each other; empty where it has none."""
        return self.coords[dim].to_index() if self.n_times(dim) else pd.Index([])

    def n_times(self, dim: str) -> int:
        """Number of these labels."""
        coord = self.coords.get(dim)
        return 0 if coord is None or coord.dims != (dim,) else coord.size

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` gives the same notes, number by number."""
        return {
            "dims": {name: list(dims) for name, dims in self.dims.items()},
            "grid": self.grid,
            "coords": {name: _plain_coord(coord) for name, coord in self.coords.items()},
            "variables": {
                name: {"dtype": each.dtype.str, "attrs": _plain(each.attrs)}
                for name, each in self.variables.items()
            },
            "attrs": _plain(self.attrs),
            "told": None if self.told is None else list(self.told),
            "refused": self.refused,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "FileNotes":
        """Rebuild notes from plain values."""
        coords = {name: _coord(each) for name, each in record["coords"].items()}
        variables = {
            name: Noted(np.dtype(each["dtype"]), _shared(each["attrs"]))
            for name, each in record["variables"].items()
        }
        dims = {sys.intern(name): tuple(map(sys.intern, dims)) for name, dims in record["dims"].items()}
        told = None if record["told"] is None else tuple(record["told"])
        grid = sys.intern(record["grid"])
        return cls(coords, variables, _shared(record["attrs"]), dims, grid, told, record["refused"])


def _shared(value: Any) -> Any:
    """Rebuild attributes; those of thousands of files are the same ones."""
    return _rebuilt_once(json.dumps(value))


@functools.lru_cache(maxsize=64)
def _rebuilt_once(text: str) -> Any:
    return _rebuilt(json.loads(text))


class ArchiveNotes:
    """Notes of many files, in a file of JSON lines beside an output: each is written when it is made.

    Parameters
    ----------
    path : Path
        The file; it need not exist. One that was made for other settings counts as empty; lines that a kill cut
        short or that were altered do not count.
    settings : mapping
        What the notes depend on beside the files: plain JSON values.

    Raises
    ------
    OSError
        If it cannot be written.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self._header = f"{sealed({'format': FORMAT, **settings})}\n".encode()
        # Where each line begins, not the line itself: there may be tens of thousands of files.
        self._begins: dict[tuple[str, FileState], int] = {}
        self._now: dict[tuple[str, FileState], int] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("a+b")
        self._stream.seek(0)
        if self._stream.readline() != self._header:
            self._stream.truncate(0)
            self._write(self._header)
        self._find_lines()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()

    def get(self, key: str, state: FileState) -> FileNotes | None:
        """Give the notes of a file, unless it has changed since or was never seen."""
        begin = self._begins.get((key, state))
        if begin is None:
            return None
        record = self._read(begin)
        if record is None or _key(record) != (key, state):  # another job has begun the file anew
            return None
        self._now[key, state] = begin
        return FileNotes.from_json(record)

    def put(self, key: str, state: FileState, notes: FileNotes) -> FileNotes:
        """Keep notes, and give them as they will be read; what JSON has no words for is not kept.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        try:
            line = sealed({"path": key, "size": state.size, "changed": state.changed, **notes.to_json()})
        except TypeError:
            return notes
        self._now[key, state] = self._write(f"{line}\n".encode())
        return FileNotes.from_json(json.loads(line))

    def drop_others(self) -> None:
        """Write the file anew, aside at first, without what this pass had no use for, if there is any.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        if self._begins.keys() <= self._now.keys():
            return
        with written_aside(self.path) as aside, aside.open("wb") as file:
            file.write(self._header)
            for begin in self._now.values():
                self._stream.seek(begin)
                file.write(self._stream.readline())

    def _find_lines(self) -> None:
        self._stream.seek(len(self._header))
        line, begin = b"\n", len(self._header)
        for line in iter(self._stream.readline, b""):
            if is_whole(line[:-1].decode(errors="replace")):
                self._begins[_key(json.loads(line))] = begin
            begin += len(line)
        if not line.endswith(b"\n"):  # a kill came while it was written
            self._write(b"\n")

    def _read(self, begin: int) -> dict[str, Any] | None:
        self._stream.seek(begin)
        line = self._stream.readline()[:-1].decode(errors="replace")
        return json.loads(line) if is_whole(line) else None

    def _write(self, line: bytes) -> int:
        """Write at the end, and say where that was."""
        begin = self._stream.seek(0, 2)
        self._stream.write(line)
        self._stream.flush()
        return begin


def _key(record: Mapping[str, Any]) -> tuple[str, FileState]:
    return record["path"], FileState(record["size"], record["changed"])


def _grid_digest(ds: xr.Dataset, variables: Sequence[str], dim: str) -> str:
    """Fingerprint that two files share whose grids are equal number by number, whatever their types."""
    digest = hashlib.sha256()
    for each in sorted({str(each) for name in variables for each in ds[name].dims} - {dim}):
        digest.update(f"{each} {ds.sizes[each]}".encode())
        if each in ds.coords:
            _add(digest, ds[each].values)
    for name in sorted(
        str(name) for name, coord in ds.coords.items() if coord.ndim > 1 and dim not in coord.dims
    ):
        digest.update(name.encode())
        _add(digest, ds[name].values)
    return digest.hexdigest()


def _add(digest: Any, values: np.ndarray) -> None:
    numeric = values.dtype.kind in "iuf"
    digest.update(values.astype(np.float64).tobytes() if numeric else str(values.tolist()).encode())


def _plain_coord(variable: xr.Variable) -> dict[str, Any]:
    """Make plain values of a coordinate, with the units in which its times were stored."""
    encoding = {key: variable.encoding[key] for key in ("units", "calendar") if key in variable.encoding}
    return {
        "dims": list(variable.dims),
        "values": _plain(variable.values),
        "attrs": _plain(variable.attrs),
        "encoding": encoding,
    }


def _coord(record: Mapping[str, Any]) -> xr.Variable:
    attrs, encoding = _shared(record["attrs"]), _shared({"attrs": record["encoding"]})
    return xr.Variable(record["dims"], _rebuilt(record["values"]), attrs, encoding)


def _plain(value: Any) -> Any:
    """Make plain JSON values of attributes and arrays; arrays keep their types."""
    if isinstance(value, Mapping):
        return {"attrs": {str(key): _plain(each) for key, each in value.items()}}
    if not isinstance(value, np.ndarray | np.generic):
        return value
    array = np.asarray(value)
    record = {"dtype": array.dtype.str, "shape": list(array.shape), "scalar": isinstance(value, np.generic)}
    flat = array.ravel()
    if array.dtype.kind == "M":
        return {**record, "flat": np.datetime_as_string(flat).tolist()}
    if array.dtype.kind == "m":
        return {**record, "flat": flat.view(np.int64).tolist()}
    if array.dtype == object and flat.size and isinstance(flat[0], cftime.datetime):
        numbers = cftime.date2num(flat, _MICROSECONDS, calendar=flat[0].calendar)
        return {**record, "calendar": flat[0].calendar, "flat": numbers.tolist()}
    return {**record, "flat": flat.tolist()}


def _rebuilt(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "attrs" in value:
        return {key: _rebuilt(each) for key, each in value["attrs"].items()}
    if "calendar" in value:
        array = np.asarray(cftime.num2date(value["flat"], _MICROSECONDS, value["calendar"], True), object)
    else:
        array = np.array(value["flat"], np.dtype(value["dtype"]))
    array = array.reshape(value["shape"])
    return array[()] if value["scalar"] else array
