"""What can happen to a file on a disk."""

from collections.abc import Callable
from pathlib import Path

import numpy as np


def _deleted(path: Path, rng: np.random.Generator) -> None:
    path.unlink()


def _emptied(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(b"")


def _cut(path: Path, rng: np.random.Generator) -> None:
    content = path.read_bytes()
    _anew(path, content[: rng.integers(len(content))] if content else content)


def _flipped(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    _anew(path, bytes(content))


def _anew(path: Path, content: bytes) -> None:
    """Write into the file itself: whatever is another name of it is harmed too."""
    with path.open("r+b") as stream:
        stream.truncate(0)
        stream.write(content)


HARMS: dict[str, Callable[[Path, np.random.Generator], None]] = {
    "deleted": _deleted,
    "emptied": _emptied,
    "cut": _cut,
    "a bit flipped": _flipped,
}


def harmed(folder: Path, rng: np.random.Generator) -> tuple[str, Path] | None:
    """Harm one of the files below a folder, and say how and which; None where there is none."""
    files = sorted(each for each in folder.rglob("*") if each.is_file() and each.suffix != ".lock")
    if not files:
        return None
    what, path = str(rng.choice(list(HARMS))), files[rng.integers(len(files))]
    HARMS[what](path, rng)
    return what, path
