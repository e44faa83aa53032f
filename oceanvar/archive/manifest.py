"""The record of a run: what it computes from what, and which units are finished.

A file of JSON lines. The first one describes the run; each further one is written, and forced to the disk,
after the data it speaks of. A line that a kill cut short does not count, nor does one that was altered later: what it
spoke of is done again.
"""

import errno
import json
import logging
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from oceanvar.errors import ModelMismatchError, StoreError
from oceanvar.files.lines import is_whole, sealed

logger = logging.getLogger(__name__)
FORMAT = "oceanvar-run-2"
MANIFEST, LOCK, INDEX = "manifest.jsonl", "run.lock", "index.jsonl"
_N_NAMED = 8
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@dataclass
class Manifest:
    """What a run is and how far it has come.

    Parameters
    ----------
    path : Path
        Its file.
    run : mapping
        What the result depends on, by name: plain JSON values, or mappings of these.
    history : str
        The line about this run in the history of its output.
    records : list of dict
        Lines after the first one.
    size : int
        Bytes of its whole lines.
    """

    path: Path
    run: Mapping[str, Any]
    history: str
    records: list[dict[str, Any]] = field(default_factory=list)
    size: int = 0

    @classmethod
    def create(
        cls, path: Path, run: Mapping[str, Any], history: str, records: Iterable[Mapping[str, Any]] = ()
    ) -> "Manifest":
        """Begin a manifest on the disk, with lines that are known already."""
        manifest = cls(path, _plain(run), history, [_plain(record) for record in records])
        header = {"format": FORMAT, "run": manifest.run, "history": history}
        manifest.size = _write(path, 0, header, *manifest.records)
        return manifest

    @classmethod
    def read(cls, path: Path) -> "Manifest | None":
        """Read a manifest; None where there is none or a kill cut its first line.

        Raises
        ------
        StoreError
            If the file is no manifest, or its first line was altered.
        """
        if not path.is_file():
            return None
        *lines, _ = path.read_bytes().split(b"\n")
        if not lines:
            return None
        header, *records = [_read(line) for line in lines]
        if header is None or header.get("format") != FORMAT:
            raise StoreError(f"{str(path)!r} is damaged, or of another version: overwrite the output")
        known = [record for record in records if record is not None]
        if len(known) < len(records):
            logger.warning("%d lines of %s are damaged and do not count", len(records) - len(known), path)
        return cls(path, header["run"], header["history"], known, sum(len(line) + 1 for line in lines))

    def append(self, **record: Any) -> None:
        """Add a line and force it to the disk."""
        self.size = _write(self.path, self.size, record)
        self.records.append(_plain(record))

    @property
    def units(self) -> list[dict[str, Any]]:
        """Lines of finished units, without those whose data were lost afterwards."""
        found: dict[int, dict[str, Any]] = {}
        for record in self.records:
            for unit in record.get("lost", ()):
                found.pop(unit, None)
            if "unit" in record:
                found[record["unit"]] = record
        return list(found.values())

    @property
    def is_prepared(self) -> bool:
        """Whether all is there that units need."""
        return any("prepared" in record for record in self.records)

    @property
    def summary(self) -> dict[str, Any] | None:
        """Last line of a complete run; None where units were lost afterwards."""
        for record in reversed(self.records):
            if "summary" in record or "lost" in record:
                return record.get("summary")
        return None

    @property
    def n_kept(self) -> int:
        """Number of units that another run has left; see `oceanvar.archive.appending`."""
        return next((record["n_kept"] for record in self.records if "n_kept" in record), 0)

    @property
    def prepared(self) -> dict[str, Any]:
        """Files that are there before the first unit, see `oceanvar.archive.contents`."""
        return next((record.get("files", {}) for record in self.records if "prepared" in record), {})

    def check_same(self, run: Mapping[str, Any], what: str) -> None:
        """Demand that `run` is this run.

        Raises
        ------
        ModelMismatchError, StoreError
            Naming what differs, with both values.
        """
        before, now = _flat(self.run), _flat(_plain(run))
        keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        if not keys:
            return
        lines = [f"  {key}: {before.get(key, 'none')} then, {now.get(key, 'none')} now" for key in keys]
        more = [f"  and {len(keys) - _N_NAMED} more"] if len(keys) > _N_NAMED else []
        error = ModelMismatchError if "model" in keys else StoreError
        raise error(
            f"{what} was begun by another run; these differ:\n"
            + "\n".join([*lines[:_N_NAMED], *more])
            + "\nRun it as before to go on, overwrite to start anew, or choose another output."
        )


def digest(run: Mapping[str, Any]) -> str:
    """Fingerprint of what a run depends on."""
    return sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; the lock of a process that died is free.

    Raises
    ------
    StoreError
        If another process holds it, the folder cannot be written to, or its file system knows no locks.
    """
    # A soft lock would outlive a killed process: better none at all.
    lock = FileLock(folder / LOCK, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise StoreError(_held(folder)) from None
    except (OSError, NotImplementedError) as error:
        raise StoreError(_not_locked(folder, error)) from error
    try:
        (folder / LOCK).write_text(f"process {os.getpid()} on {platform.node()}")
        yield
    finally:
        lock.release()


def _not_locked(folder: Path, error: OSError | NotImplementedError) -> str:
    """Why a folder cannot be held, and what can be done."""
    if isinstance(error, NotImplementedError) or error.errno in _NO_LOCKS:
        return (
            f"the file system of {str(folder.parent)!r} cannot lock files ({error}), so that two jobs might write one "
            "output: have it mounted with locks (Lustre: -o flock; NFS: with its lock service), or choose an output on "
            "another one, and copy it when it is complete"
        )
    return f"cannot write to the folder {str(folder.parent)!r}: {error}"


def _held(folder: Path) -> str:
    try:
        holder = (folder / LOCK).read_text() or "unknown"
    except FileNotFoundError:
        return f"another job has just finished with {str(folder)!r}: look at its output"
    return (
        f"{str(folder)!r} is being written by another job ({holder}): wait for it, or choose another output"
    )


def _read(line: bytes) -> dict[str, Any] | None:
    """What a line says, or nothing where it was altered."""
    text = line.decode(errors="replace")
    return json.loads(text) if is_whole(text) else None


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(json.loads(json.dumps(values)))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        inner = _flat(value, f"{prefix}{key} ") if isinstance(value, Mapping) else {prefix + key: value}
        flat.update(inner)
    return flat


def _write(path: Path, offset: int, *records: Mapping[str, Any]) -> int:
    """Write lines at `offset`, where the whole lines end, and say where they end."""
    with path.open("r+b" if path.exists() else "wb") as stream:
        stream.truncate(offset)
        stream.seek(offset)
        stream.write("".join(f"{sealed(record)}\n" for record in records).encode())
        stream.flush()
        os.fsync(stream.fileno())
        return stream.tell()
