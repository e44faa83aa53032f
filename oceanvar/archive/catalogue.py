"""The files of an archive: each is checked before any work, and all that is wrong is told at once."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import xarray as xr

from oceanvar.archive.checks import Problems, differences, listed, most_common, without_overlaps
from oceanvar.archive.notes import ArchiveNotes, FileNotes
from oceanvar.archive.preprocessing import Expected, Preprocess
from oceanvar.archive.progress import looked_at
from oceanvar.archive.reading import UNREADABLE, Reading
from oceanvar.archive.sources import AbstractSource, FileState, Paths, find_files
from oceanvar.errors import OceanVarError, StoreError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The good files of an archive, sorted in time, and what is wrong with the others.

    Parameters
    ----------
    notes : mapping of AbstractSource to FileNotes
        What is known of each good file.
    states : mapping of AbstractSource to FileState
        Size and time of change of each file when it was looked at.
    skipped : mapping of str to str
        Full names of the files that are left out, and why.
    reading : Reading
        How to read them: each is mended where one of them has to be.
    told : tuple of str
        What is mended, in words.
    """

    notes: Mapping[AbstractSource, FileNotes]
    states: Mapping[AbstractSource, FileState]
    skipped: Mapping[str, str]
    reading: Reading
    told: tuple[str, ...]


def open_archive(
    paths: Paths,
    variables: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    dim: str = "time",
) -> xr.Dataset:
    """Open the files of an archive as one lazy dataset, sorted in time, after a check of every file.

    Files are opened one after the other in this thread; computing the result in dask's threads is safe.

    Parameters
    ----------
    paths : path-like or sequence of path-like
        NetCDF files, patterns like ``obs/*.nc``, a folder of ``*.nc`` files, a Zarr store, or URLs of these.
    variables : sequence of str, optional
        Variables that every file must have; others are left out. Default: all, which must then be the
        same in all files. A variable without `dim` is taken from the first file.
    preprocess : callable, optional
        Applied to the lazy dataset of each file before the check, to rename or select, say.
    dim : str
        Dimension along which files follow each other; it needs a coordinate.

    Returns
    -------
    Dataset
        Global attributes are those on which all files agree. Close it after use.

    Raises
    ------
    StoreError
        If nothing matches; or naming every file that cannot be read, lacks a variable, lies on another
        grid, has other units, or repeats or overlaps the times of another.
    """
    reading = Reading(variables, dim, preprocess)
    parts = []
    for file, notes in check_files(find_files(paths), reading).notes.items():
        ds = reading.open(file, in_blocks=True)
        kept = ds.drop_vars(set(ds.data_vars) - set(notes.variables))
        kept.set_close(ds.close)
        parts.append(kept)
    return combined(parts, dim)


def check_files(
    files: Sequence[AbstractSource],
    reading: Reading,
    index: Path | None = None,
    skip_bad: bool = False,
    expected: Expected | None = None,
    progress: bool = False,
) -> Catalogue:
    """Look at every file, one after the other in this thread, and tell all that is wrong at once.

    What most files share, grid, units, dimensions and kind of time, is what every file must have.
    Of files that overlap in time the one that begins first is good.

    Parameters
    ----------
    files : sequence of AbstractSource
        From `find_files`.
    reading : Reading
        How to read them.
    index : Path, optional
        File to keep notes in, as soon as they are made: a file that has not changed since is not opened again.
    skip_bad : bool
        Leave out what is wrong instead.
    expected : Expected, optional
        What a model expects of each file, after what `reading` does to it.
    progress : bool
        Show how far it is.

    Raises
    ------
    StoreError
        Naming all problems; or if no file is good, or the index cannot be written.
    """
    notes, states, problems = _noted(files, reading, index, expected, progress)
    if expected is not None and any(each.told is not None for each in notes.values()):
        reading = replace(reading, preprocess=expected)
        problems += [(file, each.refused) for file, each in notes.items() if each.refused]
        notes = {file: each for file, each in notes.items() if not each.refused}
    model = most_common(notes, reading)
    good = {}
    for file, each in notes.items():
        wrong = list(differences(file, each, model, notes[model], reading)) if model is not None else []
        problems += [(file, reason) for reason in wrong]
        if not wrong:
            good[file] = each
    ordered = dict(sorted(good.items(), key=lambda item: item[1].times(reading.dim)[0]))
    good, overlapping = without_overlaps(ordered, reading.dim)
    problems += overlapping
    if problems and not (skip_bad and good):
        raise StoreError(
            f"{len(problems)} problem(s) in the {len(files)} file(s) of the archive:\n{listed(problems)}\n"
            "Repair or remove these files, adapt them with preprocess= (rename, select, convert), or leave "
            "them out with skip_bad (--skip-bad)."
        )
    skipped: dict[str, list[str]] = {}
    for file, reason in problems:
        skipped.setdefault(file.key, []).append(reason)
    left_out = {key: "; ".join(reasons) for key, reasons in skipped.items()}
    for key, reason in left_out.items():
        logger.warning("%s is left out: %s", key, reason)
    return Catalogue(good, states, left_out, reading, _told(good))


def _told(good: Mapping[AbstractSource, FileNotes]) -> tuple[str, ...]:
    """What is mended in files; where it is in some of them only, in how many."""
    of_files: dict[str, list[str]] = {}
    for file, notes in good.items():
        for line in notes.told or ():
            of_files.setdefault(line, []).append(file.name)
    return tuple(
        line
        if len(names) == len(good)
        else f"in {len(names)} of {len(good)} files, {names[0]} the first, {line}"
        for line, names in of_files.items()
    )


def _noted(
    files: Sequence[AbstractSource],
    reading: Reading,
    index: Path | None,
    expected: Expected | None,
    progress: bool,
) -> tuple[dict[AbstractSource, FileNotes], dict[AbstractSource, FileState], Problems]:
    """Make notes of every file that can be read, or find those of an earlier pass; keep them for the next."""
    whole = reading if expected is None else replace(reading, preprocess=expected)
    notes: dict[AbstractSource, FileNotes] = {}
    states: dict[AbstractSource, FileState] = {}
    problems: Problems = []
    with _kept(index, whole) as kept:
        for file in looked_at(files, progress):
            try:
                states[file] = state = file.state()
                found = None if kept is None else kept.get(file.key, state)
                made = _note(file, reading, expected) if found is None else found
            except UNREADABLE as error:
                problems.append((file, f"cannot be read: {error}"))
                continue
            notes[file] = kept.put(file.key, state, made) if kept is not None and found is None else made
        if kept is not None:
            kept.drop_others()
    return notes, states, problems


@contextmanager
def _kept(index: Path | None, reading: Reading) -> Iterator[ArchiveNotes | None]:
    """Notes of an earlier pass, if they are kept."""
    if index is None:
        yield None
        return
    try:
        with ArchiveNotes(index, reading.settings()) as kept:
            yield kept
    except OSError as error:
        raise StoreError(f"cannot write to the folder {str(index.parent)!r}: {error}") from error


def _note(file: AbstractSource, reading: Reading, expected: Expected | None) -> FileNotes:
    """Notes of a file as a model expects it, or of what it is where it cannot be mended."""
    if expected is None:
        with reading.open(file) as ds:
            return FileNotes.of(ds, reading.variables, reading.dim)
    # In blocks, so that nothing is computed.
    with reading.open(file, in_blocks=True) as ds:
        try:
            found = expected.mended(ds)
        except OceanVarError as error:
            return replace(FileNotes.of(ds, reading.variables, reading.dim), refused=str(error))
        # Values out of the valid range are left out where rows are read, and are nothing to take back.
        told = found.told if found.backs else None
        return replace(FileNotes.of(found.ds, reading.variables, reading.dim), told=told)


def combined(parts: list[xr.Dataset], dim: str) -> xr.Dataset:
    """Put checked parts of an archive one after the other along `dim`."""
    # Differing attributes of a variable (valid_min, comments) go; what matters was checked.
    whole = xr.combine_nested(
        parts,
        concat_dim=dim,
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="drop_conflicts",
    )

    def close() -> None:
        for part in parts:
            part.close()

    whole.set_close(close)
    return whole
