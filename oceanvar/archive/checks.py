"""What is wrong with the files of an archive, compared with most of them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import xarray as xr

from oceanvar.archive.notes import FileNotes
from oceanvar.archive.reading import UNREADABLE, Reading
from oceanvar.archive.sources import AbstractSource
from oceanvar.errors import GridMismatchError
from oceanvar.labels.alignment import are_one, joined
from oceanvar.labels.units import one_spelling

_N_NAMED = 3
"""Files named with the same problem."""

Problems = list[tuple[AbstractSource, str]]


def most_common(notes: Mapping[AbstractSource, FileNotes], reading: Reading) -> AbstractSource | None:
    """Give the first file of the kind that most files are."""
    kinds = {file: _kind(each, reading) for file, each in notes.items()}
    complete = [kind for file, kind in kinds.items() if not list(_lacks(notes[file], notes[file], reading))]
    if not complete:
        return next(iter(notes), None)
    ((most, _),) = Counter(complete).most_common(1)
    return next(file for file, kind in kinds.items() if kind == most)


def _kind(notes: FileNotes, reading: Reading) -> tuple[Any, ...]:
    wanted = sorted(notes.dims) if reading.variables is None else reading.variables
    units = [notes.variables[name].attrs.get("units") for name in wanted if name in notes.variables]
    dims = [notes.dims.get(name) for name in wanted]
    index = notes.times(reading.dim)
    return (
        str(wanted),
        str(dims),
        str(units),
        notes.grid,
        type(index),
        index.dtype.kind,
    )


def _lacks(notes: FileNotes, model: FileNotes, reading: Reading) -> Iterator[str]:
    names = set(model.dims if reading.variables is None else reading.variables)
    present = set(notes.dims)
    if (names != present) if reading.variables is None else (names - present):
        hint = "" if present else "; those of a group are read with group= (--group)"
        yield f"has the variables {sorted(present)}, not {sorted(names)}{hint}"
    if not notes.n_times(reading.dim):
        yield (
            f"has no coordinate {reading.dim!r}, or no values of it: take the time from the name of the file, an "
            "attribute or a variable without dimensions (--time-from '_(\\d{8})_', --time-from time_coverage_start, "
            "preprocess=TimeFrom(...)), rename what holds it (--rename), or read the group that has it (--group)"
        )


def differences(
    file: AbstractSource, notes: FileNotes, model_file: AbstractSource, model: FileNotes, reading: Reading
) -> Iterator[str]:
    """What is wrong with a file, compared with one like most."""
    yield from _lacks(notes, model, reading)
    yield from _time_problems(notes, model, model_file.name, reading.dim)
    for name in sorted(set(model.variables) & set(notes.dims)):
        own, others = (each.variables[name].attrs.get("units") for each in (notes, model))
        if own != others and one_spelling(str(own)) != one_spelling(str(others)):
            yield f"{name!r} is in {own!r}, but in {others!r} in {model_file.name!r}"
        if model.dims[name] != notes.dims[name]:
            yield (
                f"{name!r} has the dimensions {notes.dims[name]}, but {model.dims[name]} in "
                f"{model_file.name!r}"
            )
    if notes.grid != model.grid:
        yield from _grid_problems(file, model_file, set(notes.variables) & set(model.variables), reading)


def _time_problems(notes: FileNotes, model: FileNotes, name: str, dim: str) -> Iterator[str]:
    index, expected = notes.times(dim), model.times(dim)
    if not len(index) or not len(expected):
        return
    if (type(index), index.dtype.kind) != (type(expected), expected.dtype.kind):
        yield f"its {dim!r} is of another type or calendar than in {name!r}: {index[0]!r}"
    if index.hasnans or not index.is_unique or not index.is_monotonic_increasing:
        yield f"the values of {dim!r} do not increase strictly: {len(index) - index.nunique()} are repeated"


def _grid_problems(
    file: AbstractSource, model_file: AbstractSource, variables: set[Any], reading: Reading
) -> Iterator[str]:
    """Say how the grids of two files differ; their fingerprints do."""
    try:
        with reading.open(model_file) as model, reading.open(file) as ds:
            dims = {str(each) for name in variables for each in model[name].dims} - {reading.dim}
            joined(model, ds, sorted(dims), f"{model_file.name!r} and this file")
            _check_same_coordinates(model, ds, reading.dim)
    except GridMismatchError as error:
        yield str(error)
    except UNREADABLE as error:
        yield f"cannot be read: {error}"


def _check_same_coordinates(model: xr.Dataset, ds: xr.Dataset, dim: str) -> None:
    """Demand the same two-dimensional coordinates (of a curvilinear grid), of any precision."""
    for name, coord in model.coords.items():
        if coord.ndim < 2 or dim in coord.dims:
            continue
        if name not in ds.coords:
            raise GridMismatchError(f"it has no coordinate {name!r}, which most files have")
        if not are_one(coord, ds[name]):
            raise GridMismatchError(f"the coordinate {name!r} differs from that of most files")


def without_overlaps(
    ordered: Mapping[AbstractSource, FileNotes], dim: str
) -> tuple[dict[AbstractSource, FileNotes], Problems]:
    """Keep what begins after all that is kept has ended."""
    good: dict[AbstractSource, FileNotes] = {}
    problems: Problems = []
    last: tuple[AbstractSource, Any] | None = None
    for file, notes in ordered.items():
        index = notes.times(dim)
        if last is not None and index[0] <= last[1]:
            before, end = last
            problems.append(
                (
                    file,
                    f"its values of {dim!r} begin at {index[0]}, but {before.name} goes on to {end} (several sources "
                    "of one grid, satellites say, are given by name, or with --source each)",
                )
            )
            continue
        good[file] = notes
        last = (file, index[-1])
    return good, problems


def listed(problems: Problems) -> str:
    """One line per problem; files that share it, but for their own names in it, share its line, the first by name."""
    alike: dict[str, list[tuple[AbstractSource, str]]] = {}
    for file, reason in problems:
        alike.setdefault(_without_names(reason, file), []).append((file, reason))
    lines = []
    for each in alike.values():
        names = [file.name for file, _ in each]
        more = f" and {len(names) - _N_NAMED} more files" if len(names) > _N_NAMED else ""
        lines.append(f"  {', '.join(names[:_N_NAMED])}{more}: {each[0][1]}")
    return "\n".join(lines)


def _without_names(reason: str, file: AbstractSource) -> str:
    """A reason without the names of its file, long ones first."""
    for name in (file.key, file.name, file.name.rpartition("/")[2]):
        reason = reason.replace(name, "...")
    return reason
