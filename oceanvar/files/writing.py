"""Writing so that neither a kill nor a power cut leaves half a file under its name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

PART = ".part"
"""How the name of a file ends while it is written."""


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a name to write to; what is there at the end is forced to the disk and gets its own name.

    After an error it is removed, and what `path` held before stays.

    Parameters
    ----------
    path : Path
        The file to write.

    Yields
    ------
    Path
        Beside it. The name is new each time: on a cluster a worker that was given up may still be writing.
    """
    aside = path.with_name(f"{path.name}.{uuid4().hex}{PART}")
    try:
        yield aside
        to_disk(aside)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    to_disk(path.parent)


def to_disk(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    stream = os.open(path, os.O_RDONLY)
    try:
        os.fsync(stream)
    finally:
        os.close(stream)
