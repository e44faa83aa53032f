"""What an archive index keeps of each file, and the file of JSON lines that the index is kept in."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cftime
import numpy as np
import xarray as xr

from oceanvar.archive.sources import FileState
from oceanvar.files.writing import written_aside

FORMAT = "oceanvar-index-2"
_MICROSECONDS = "microseconds since 1970-01-01"


@dataclass(frozen=True, eq=False)
class FileNotes:
    """What is known of a file without opening it again.

    Parameters
    ----------
    labels : Dataset
        Coordinates along the dimension in which files follow each other, and the global attributes. Of each
        variable that is wanted type and attributes; its values mean nothing.
    dims : mapping of str to tuple of str
        Dimensions of all variables of the file.
    grid : str
        Fingerprint of the other dimensions and their coordinates.
    told : tuple of str, optional
        What was mended before these notes were made, in words; None where nothing had to be.
    refused : str
        Why it cannot be mended, if a model expects it otherwise.
    """

    labels: xr.Dataset
    dims: Mapping[str, tuple[str, ...]]
    grid: str
    told: tuple[str, ...] | None = None
    refused: str = ""

    @classmethod
    def of(cls, ds: xr.Dataset, variables: Sequence[str] | None, dim: str) -> "FileNotes":
        """Make notes of an open file."""
        coords = {name: coord.variable.load() for name, coord in ds.coords.items() if dim in coord.dims}
        dims = {str(name): tuple(map(str, each.dims)) for name, each in ds.data_vars.items()}
        kept = {}
        for name in dims if variables is None else [name for name in variables if name in dims]:
            along = (dim,) if dim in dims[name] else ()
            nothing = np.zeros([ds.sizes[each] for each in along], ds[name].dtype)
            kept[name] = (along, nothing, ds[name].attrs)
        return cls(xr.Dataset(kept, coords, ds.attrs), dims, _grid_digest(ds, list(kept), dim))

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` gives the same notes, number by number."""
        labels = self.labels
        return {
            "dims": {name: list(dims) for name, dims in self.dims.items()},
            "grid": self.grid,
            "coords": {str(name): _plain_coord(coord.variable) for name, coord in labels.coords.items()},
            "variables": {
                str(name): {"dtype": each.dtype.str, "along": list(each.dims), "attrs": _plain(each.attrs)}
                for name, each in labels.data_vars.items()
            },
            "attrs": _plain(labels.attrs),
            "told": None if self.told is None else list(self.told),
            "refused": self.refused,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "FileNotes":
        """Rebuild notes from plain values."""
        coords = {name: _coord(each) for name, each in record["coords"].items()}
        sizes = {dim: n for each in coords.values() for dim, n in each.sizes.items()}
        variables = {
            name: (
                each["along"],
                np.zeros([sizes[dim] for dim in each["along"]], each["dtype"]),
                _rebuilt(each["attrs"]),
            )
            for name, each in record["variables"].items()
        }
        dims = {name: tuple(dims) for name, dims in record["dims"].items()}
        labels = xr.Dataset(variables, coords, _rebuilt(record["attrs"]))
        told = None if record["told"] is None else tuple(record["told"])
        return cls(labels, dims, record["grid"], told, record["refused"])


class ArchiveNotes:
    """Notes of many files, kept in a file of JSON lines beside an output.

    Parameters
    ----------
    path : Path
        The file; it need not exist. One that is damaged or made for other settings counts as empty.
    settings : mapping
        What the notes depend on beside the files: plain JSON values.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self._header = {"format": FORMAT, **settings}
        # Lines of text, an eighth of what they are as dictionaries: there may be tens of thousands of files.
        self._before: dict[tuple[str, FileState], str] = {}
        self._now: dict[tuple[str, FileState], str] = {}
        with suppress(OSError, ValueError, KeyError, TypeError):
            header, *lines = path.read_text().splitlines()
            if json.loads(header) == self._header:
                self._before = {_key(json.loads(line)): line for line in lines}

    def get(self, key: str, state: FileState) -> FileNotes | None:
        """Give the notes of a file, unless it has changed since or was never seen."""
        line = self._before.get((key, state))
        if line is None:
            return None
        self._now[key, state] = line
        return FileNotes.from_json(json.loads(line))

    def put(self, key: str, state: FileState, notes: FileNotes) -> FileNotes:
        """Keep notes, and give them as they will be read; what JSON has no words for is not kept."""
        record = {"path": key, "size": state.size, "changed": state.changed, **notes.to_json()}
        try:
            line = json.dumps(record)
        except TypeError:
            return notes
        self._now[key, state] = line
        return FileNotes.from_json(json.loads(line))

    def save(self) -> None:
        """Write the notes of this pass, aside at first, unless all were there before.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        if self._now == self._before:
            return
        with written_aside(self.path) as aside, aside.open("w") as file:
            file.writelines(f"{line}\n" for line in (json.dumps(self._header), *self._now.values()))


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
    values, attrs = _rebuilt(record["values"]), _rebuilt(record["attrs"])
    return xr.Variable(record["dims"], values, attrs, record["encoding"])


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
