"""Icechunk repositories: analyses whose every state is a commit, and observations that a commit names.

Icechunk keeps the states of a Zarr store as snapshots: what readers of the branch `main` see changes at once or not
at all.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr

from oceanvar.errors import StoreError

if TYPE_CHECKING:
    from icechunk import Repository

PREFIX = "icechunk://"
MAIN, WORK = "main", "oceanvar-run"
"""The branch that readers see, and the one that a run commits to until its analysis is complete."""


def is_icechunk(place: str | Path) -> bool:
    """Say whether this names an Icechunk repository."""
    return isinstance(place, str) and place.startswith(PREFIX)


def folder_of(place: str | Path) -> Path:
    """Folder of an output or input on this machine, of a repository without ``icechunk://``.

    Raises
    ------
    StoreError
        If a repository lies elsewhere.
    """
    path = str(place).removeprefix(PREFIX) if is_icechunk(place) else str(place)
    if is_icechunk(place) and (not path or "://" in path):
        raise StoreError(
            f"{str(place)!r} names no folder of this machine: give icechunk:///folder/of/a/repository"
        )
    return Path(path)


@contextmanager
def told_as_ours(path: Path) -> Iterator[None]:
    """Turn the errors of icechunk into ours.

    Raises
    ------
    StoreError
        If it is not installed, or anything fails.
    """
    try:
        import icechunk
    except ImportError as error:
        raise StoreError(
            f'{PREFIX}{path} needs the library icechunk: pip install "oceanvar[icechunk]"'
        ) from error
    try:
        yield
    except icechunk.IcechunkError as error:
        raise StoreError(f"the Icechunk repository {str(path)!r}: {error}") from error


def opened(path: Path, create: bool = False) -> "Repository":
    """Open the repository in a folder.

    Parameters
    ----------
    path : Path
        The folder.
    create : bool
        Make one where there is nothing.

    Raises
    ------
    StoreError
        If there is none, or something else.
    """
    with told_as_ours(path):
        import icechunk

        is_there = path.is_dir() and any(path.iterdir())
        if not is_there and not create:
            raise StoreError(f"there is no Icechunk repository {str(path)!r}: check the spelling")
        # It warns on standard output, where our results go, of commits at the same time, which our lock excludes.
        icechunk.set_logs_filter("error")
        try:
            storage = icechunk.local_filesystem_storage(str(path))
            if icechunk.Repository.exists(storage):
                config = icechunk.Repository.fetch_config(storage)
                containers = (config and config.virtual_chunk_containers) or {}
                allowed = icechunk.containers_credentials(dict.fromkeys(containers))
                return icechunk.Repository.open(storage, authorize_virtual_chunk_access=allowed)
            if is_there:
                raise StoreError(
                    f"{str(path)!r} is no Icechunk repository, and not empty: choose another name"
                )
            return icechunk.Repository.create(storage)
        finally:
            icechunk.set_logs_filter(None)


def attributes(repository: "Repository") -> dict[str, Any]:
    """Attributes of what readers see; none where nothing was committed."""
    try:
        return dict(zarr.open_group(repository.readonly_session(MAIN).store, mode="r").attrs)
    except FileNotFoundError:
        return {}


def is_empty(repository: "Repository") -> bool:
    """Whether nothing was ever committed to what readers see."""
    return len(list(repository.ancestry(branch=MAIN))) == 1


def begin_work(repository: "Repository") -> None:
    """Begin, or begin anew, the branch of a run with what readers see."""
    tip = repository.lookup_branch(MAIN)
    if WORK in repository.list_branches():
        repository.reset_branch(WORK, tip)
    else:
        repository.create_branch(WORK, tip)


def committed(repository: "Repository") -> set[int]:
    """Units that the run at work has committed."""
    if WORK not in repository.list_branches():
        return set()
    tip = repository.lookup_branch(MAIN)
    found: set[int] = set()
    for snapshot in repository.ancestry(branch=WORK):
        if snapshot.id == tip:
            break
        found.update({snapshot.metadata["unit"]} if "unit" in snapshot.metadata else ())
    return found


def publish(repository: "Repository") -> None:
    """Let readers see what the run has committed, all at once; nothing where that is done."""
    if WORK in repository.list_branches():
        repository.reset_branch(MAIN, repository.lookup_branch(WORK))
        repository.delete_branch(WORK)


def unreadable(path: Path) -> dict[str, str]:
    """Variables of what readers see that cannot be read to their end, and why: every chunk has a checksum."""
    found = {}
    with told_as_ours(path):
        group = zarr.open_group(opened(path).readonly_session(MAIN).store, mode="r")
        for name, array in group.arrays():
            step = (array.shards or array.chunks or (1,))[0]
            try:
                for first in range(0, array.shape[0] if array.ndim else 0, step):
                    array[first : first + step]
            except Exception as error:  # of icechunk, and of every codec
                found[name] = f"cannot be read: {error}"
    return found
