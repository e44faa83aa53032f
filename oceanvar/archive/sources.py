"""Where observations are: files, folders, URLs, Zarr stores, references, repositories; how each is found and opened."""

import glob
import hashlib
import os
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from oceanvar.archive.icechunks import MAIN, PREFIX, folder_of, is_icechunk, opened
from oceanvar.archive.references import (
    check_decoding,
    is_references,
    on_this_machine,
    reference_store,
    targets,
)
from oceanvar.errors import StoreError

Paths = str | Path | Sequence[str | Path]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True)
class FileState:
    """What tells that a file has changed.

    Parameters
    ----------
    size : int
        Bytes; of a store those of all its files.
    changed : str
        Time of the last change, or what a server gives instead.
    """

    size: int
    changed: str

    def __str__(self) -> str:
        return f"{self.size} bytes of {self.changed}"


class AbstractSource(ABC):
    """A file or a Zarr store of observations."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name for messages, as it was given."""

    @property
    @abstractmethod
    def key(self) -> str:
        """Full name, the same wherever the program was started."""

    @property
    @abstractmethod
    def is_store(self) -> bool:
        """Whether this is a Zarr store."""

    @abstractmethod
    def state(self) -> FileState:
        """Look up size and time of change.

        Raises
        ------
        OSError
            If there is nothing any more.
        """

    @abstractmethod
    def lies_in(self, place: Path) -> bool:
        """Say whether this is `place`, resolved, or lies in it."""

    @abstractmethod
    def open(self, in_blocks: bool) -> xr.Dataset:
        """Open it lazily; a store, with `in_blocks`, as dask arrays of its own chunks."""


@dataclass(frozen=True)
class LocalSource(AbstractSource):
    """A file or store on this machine.

    Parameters
    ----------
    path : Path
        Where.
    group : str
        Group of the file or store to read; empty for its root.
    """

    path: Path
    group: str = ""

    @property
    def name(self) -> str:
        """The path as given."""
        return str(self.path)

    @property
    def key(self) -> str:
        """The path, resolved, and the group."""
        return _key(str(self.path.resolve()), self.group)

    @property
    def is_store(self) -> bool:
        """Whether this is a Zarr store, or references that are read like one."""
        return is_zarr(self.path) or is_references(self.path)

    def state(self) -> FileState:
        """Look up size and time of the last change, of a store those of all its files."""
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return _state_of([*files, *(targets(self.path) if is_references(self.path) else ())])

    def lies_in(self, place: Path) -> bool:
        """Say whether this is `place` or lies in it."""
        own = self.path.resolve()
        return place == own or place in own.parents

    def open(self, in_blocks: bool) -> xr.Dataset:
        """Open it lazily."""
        if is_references(self.path):
            return _open_virtual(reference_store(self.path), targets(self.path), self.group, in_blocks)
        if self.is_store:
            return _open_store(self.path, self.group, in_blocks)
        return _open_netcdf(self.path, self.group)


@dataclass(frozen=True)
class RemoteSource(AbstractSource):
    """A file or store behind a URL, reached through fsspec.

    A Zarr store is read where it is. A NetCDF file is copied to a temporary file, by the thread that opens it,
    until it is closed: then every format and version of NetCDF is read by one library, and gives the same numbers
    as the local file.

    Parameters
    ----------
    url : str
        ``s3://bucket/obs.nc``, say.
    group : str
        Group of the file or store to read; empty for its root.
    """

    url: str
    group: str = ""

    @property
    def name(self) -> str:
        """The URL."""
        return self.url

    @property
    def key(self) -> str:
        """The URL, and the group."""
        return _key(self.url, self.group)

    @property
    def is_store(self) -> bool:
        """Whether this is a Zarr store."""
        fs, path = url_to_fs(self.url)
        # Servers of the web have no folders that could be looked at: there the name tells.
        return path.rstrip("/").endswith(".zarr") or bool(fs.isdir(path))

    def state(self) -> FileState:
        """Look up sizes, and a digest of all that the server says about the files."""
        fs, path = url_to_fs(self.url)
        paths = fs.find(path) if self.is_store else [path]
        if not paths:
            raise StoreError(f"nothing is there: {self.url}")
        said = "".join(str(fs.ukey(each)) for each in paths)
        size = sum(int(fs.size(each) or 0) for each in paths)
        return FileState(size, f"version {hashlib.sha256(said.encode()).hexdigest()[:16]}")

    def lies_in(self, place: Path) -> bool:
        """Say no: this is on another machine."""
        return False

    def open(self, in_blocks: bool) -> xr.Dataset:
        """Open a store in place, or a copy of a file."""
        if self.is_store:
            return _open_store(self.url, self.group, in_blocks)
        fs, path = url_to_fs(self.url)
        folder = tempfile.TemporaryDirectory(prefix="oceanvar-")
        try:
            copy = Path(folder.name) / "copy.nc"
            fs.get_file(path, str(copy))
            ds = _open_netcdf(copy, self.group)
        except BaseException:
            folder.cleanup()
            raise
        close = ds.close

        def close_and_remove() -> None:
            close()
            folder.cleanup()

        ds = ds.copy()
        ds.encoding["source"] = self.url
        ds.set_close(close_and_remove)
        return ds


@dataclass(frozen=True)
class IcechunkSource(AbstractSource):
    """What readers of an Icechunk repository on this machine see, virtual chunks included.

    Parameters
    ----------
    path : Path
        Its folder.
    group : str
        Group to read; empty for the root.
    """

    path: Path
    group: str = ""

    @property
    def name(self) -> str:
        """Its URL."""
        return f"{PREFIX}{self.path}"

    @property
    def key(self) -> str:
        """Its URL, resolved, and the group."""
        return _key(f"{PREFIX}{self.path.resolve()}", self.group)

    @property
    def is_store(self) -> bool:
        """Say yes."""
        return True

    def state(self) -> FileState:
        """Look up the last commit, and the files that virtual chunks lie in."""
        session = opened(self.path).readonly_session(MAIN)
        files = _virtual(session)
        known = _state_of(files) if files else FileState(0, "")
        return FileState(known.size, f"{known.changed}snapshot {session.snapshot_id}")

    def lies_in(self, place: Path) -> bool:
        """Say whether this is `place` or lies in it."""
        own = self.path.resolve()
        return place == own or place in own.parents

    def open(self, in_blocks: bool) -> xr.Dataset:
        """Open it lazily."""
        session = opened(self.path).readonly_session(MAIN)
        return _open_virtual(session.store, _virtual(session), self.group, in_blocks)


def _virtual(session: Any) -> list[Path]:
    """Files of this machine that chunks of a session lie in."""
    places = map(on_this_machine, set(session.all_virtual_chunk_locations()))
    return sorted(place for place in places if place is not None)


def _state_of(files: Sequence[Path]) -> FileState:
    stats = [each.stat() for each in files]
    changed = datetime.fromtimestamp(max(each.st_mtime for each in stats), UTC)
    return FileState(sum(each.st_size for each in stats), f"{changed:%Y-%m-%dT%H:%M:%S.%fZ}")


def _key(place: str, group: str) -> str:
    return f"{place}#{group}" if group else place


def find_files(paths: Paths, group: str = "") -> list[AbstractSource]:
    """Files that paths, patterns or URLs name, sorted within each pattern, each file once.

    Parameters
    ----------
    paths : path-like or sequence of path-like
        A pattern like ``obs/*.nc``, a file, a folder with ``*.nc`` files in any depth, a Zarr store, a URL or
        pattern of a URL like ``s3://bucket/obs/*.nc``, or several of these.
    group : str
        Group to read of each; empty for the root.

    Raises
    ------
    StoreError
        If one of them names nothing, or there is no library for the protocol of a URL.
    """
    files: list[LocalSource | RemoteSource | IcechunkSource] = []
    for each in [paths] if isinstance(paths, str | Path) else paths:
        found = _find_remote(str(each)) if is_url(each) else _find_local(str(each))
        if not found:
            raise StoreError(f"no file matches {str(each)!r} (seen from {os.getcwd()}): check the spelling")
        files += found
    if not files:
        raise StoreError("the list of files is empty: give at least one file or pattern")
    return [replace(file, group=group) for file in dict.fromkeys(files)]


def find_sources(paths: Paths | Mapping[str, Paths], group: str = "") -> dict[str, list[AbstractSource]]:
    """Files of one source or of several, by its name; errors as of `find_files`."""
    if isinstance(paths, Mapping):
        return {name: find_files(each, group) for name, each in paths.items()}
    return {"": find_files(paths, group)}


def is_url(path: str | Path) -> bool:
    """Say whether this is a URL and not a path."""
    return isinstance(path, str) and _URL.match(path) is not None


def is_zarr(path: Path) -> bool:
    """Say whether a folder is a Zarr store."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup"))


def _find_local(given: str) -> Sequence[LocalSource]:
    path = Path(given)
    if path.is_dir() and not (is_zarr(path) or is_references(path)):
        found = [LocalSource(each) for each in sorted(path.rglob("*.nc"))]
        if not found:
            raise StoreError(
                f"the folder {given!r} has no file *.nc, in no depth; it holds {_contents(path)}"
            )
        return found
    if path.exists():
        return [LocalSource(path)]
    return [LocalSource(Path(name)) for name in sorted(glob.glob(given, recursive=True))]


def _contents(folder: Path) -> str:
    names = sorted(each.name for each in folder.iterdir())
    return f"{len(names)} other entries: {', '.join(names[:5])}..." if names else "nothing"


def _find_remote(given: str) -> Sequence[LocalSource | RemoteSource | IcechunkSource]:
    if is_icechunk(given):
        return [IcechunkSource(folder_of(given))]
    try:
        fs, path = url_to_fs(given)
        if isinstance(fs, LocalFileSystem):
            return _find_local(path)
        if glob.has_magic(path):
            return [RemoteSource(fs.unstrip_protocol(each)) for each in sorted(fs.glob(path))]
        source = RemoteSource(given)
        if not source.is_store:
            return [source] if fs.exists(path) else []
        if any(fs.exists(f"{path.rstrip('/')}/{name}") for name in ("zarr.json", ".zgroup")):
            return [source]
        return [
            RemoteSource(fs.unstrip_protocol(each)) for each in sorted(fs.glob(f"{path.rstrip('/')}/**/*.nc"))
        ]
    except ImportError as error:
        raise StoreError(f"{given!r} needs a library that is not installed: {error}") from error
    except Exception as error:  # the library of every protocol has errors of its own
        raise StoreError(f"{given!r} cannot be looked at: {error}") from error


def _open_store(place: Any, group: str, in_blocks: bool, **more: Any) -> xr.Dataset:
    chunks: Any = {} if in_blocks else None
    options: Any = {"group": group or None, "cache": False, "chunks": chunks, "decode_timedelta": False}
    return xr.open_dataset(place, engine="zarr", **options, **more)


def _open_virtual(store: Any, files: Sequence[Path], group: str, in_blocks: bool) -> xr.Dataset:
    """Open a store whose chunks lie in other files, if it decodes them as these say."""
    ds = _open_store(store, group, in_blocks, consolidated=False)
    try:
        check_decoding(ds, files)
    except BaseException:
        ds.close()
        raise
    return ds


def _open_netcdf(path: Path, group: str) -> xr.Dataset:
    # A variable in seconds (a wave period) stays a number: as a duration its fill value would become one too.
    options: Any = {"group": group or None, "cache": False, "decode_timedelta": False}
    ds: Any = xr.open_dataset(path, engine="netcdf4", **options)
    try:
        _check_whole(path, ds)
    except BaseException:
        ds.close()
        raise
    return ds


def _check_whole(path: Path, ds: xr.Dataset) -> None:
    """Refuse a cut classic NetCDF file: the library fills what is missing with zeros, silently."""
    with path.open("rb") as stream:
        is_classic = stream.read(3) == b"CDF"
    needed = sum(v.size * np.dtype(v.encoding.get("dtype", "S1")).itemsize for v in ds.variables.values())
    if is_classic and path.stat().st_size < needed:
        raise StoreError(f"truncated: {path.stat().st_size} bytes, its variables alone need {needed}")
