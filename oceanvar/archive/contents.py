"""What files held when they were written, so that it can be told later whether they still do."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Contents = dict[str, Any]
"""Size in bytes and digest of each file by its name below a folder; None for a chunk without values, never stored."""


def contents_of(folder: Path, files: Iterable[Path]) -> Contents:
    """Look at files of a folder."""
    return {file.relative_to(folder).as_posix(): _content(file) for file in files}


def faults(folder: Path, contents: Mapping[str, Any], deep: bool) -> dict[str, str]:
    """Files that are not as they were written, and what is wrong with them.

    Parameters
    ----------
    folder : Path
        Where they lie.
    contents : mapping
        What they held.
    deep : bool
        Read them; else only their sizes are looked at.
    """
    found = {}
    for name, content in contents.items():
        path = folder / name
        if content is None:
            if path.exists():
                found[name] = "was never written, and is there"
        elif not path.is_file():
            found[name] = "is missing"
        elif path.stat().st_size != content[0]:
            found[name] = f"has {path.stat().st_size} bytes and had {content[0]}"
        elif deep and _content(path) != list(content):
            found[name] = "has been altered"
    return found


def _content(path: Path) -> list[Any] | None:
    if not path.exists():
        return None
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    return [path.stat().st_size, digest]
