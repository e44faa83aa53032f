"""Which files paths name, and what is in them: NetCDF with or without groups, Zarr, text with columns."""

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pandas as pd
import xarray as xr

from oceanvar.errors import ConfigError, MissingVariableError, OceanVarError, StoreError
from oceanvar.labels.coordinates import NAMES, TIME
from oceanvar.labels.samples import positions, value_names
from oceanvar.labels.times import decoded

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

TEXT = (".csv", ".txt", ".dat", ".tsv", ".asc")
_FILES = (*TEXT, ".nc", ".nc4", ".netcdf", ".h5", ".zarr")
_SEPARATORS = (",", ";", "\t")

TEXT_FILLS = (-999, -9999, -99999)
"""What stands in text, which has no way to declare it, for a number that is missing."""

_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")

MOST_TOLD = 5
"""Files that are named in one message."""


def files_of(paths: Paths) -> list[Path]:
    """Files that paths, patterns and folders (searched in depth) name, in the order given, those of each sorted.

    Raises
    ------
    StoreError
        If one of them names no file.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    found: dict[Path, None] = {}
    empty = [] if given else ["an empty list of paths"]
    for each in given:
        files = _matching(os.fspath(each))
        found |= dict.fromkeys(files)
        empty += [] if files else [f"{os.fspath(each)}{_inside(Path(each))}"]
    if empty:
        raise StoreError(
            f"no files are found at {_listed(empty)}: give files, patterns or folders of {_FILES}"
        )
    return list(found)


def read_all(
    files: Sequence[Path],
    variable: str | None,
    preferred: Sequence[str],
    columns: Sequence[str] | None,
    time_units: str | None,
    parts_of: Callable[[xr.Dataset, str, Path], Iterable[xr.Dataset]],
    beside: Sequence[str] = (),
) -> tuple[list[xr.Dataset], str]:
    """Parts of all files, one after the other, and the name of their variable.

    Parameters
    ----------
    files : sequence of Path
        From `files_of`, at least one.
    variable, preferred, columns, time_units
        As of `opened`.
    parts_of : callable
        Takes the wanted parts of an open file, of a variable, and the file.
    beside : sequence of str
        As of `opened`.

    Raises
    ------
    StoreError
        If files cannot be used, all named in one message, or hold different variables.
    """
    parts: list[xr.Dataset] = []
    names: set[str] = set()
    faults: dict[str, list[Path]] = {}
    for path in files:
        try:
            with opened(path, variable, preferred, columns, time_units, beside) as (ds, name):
                parts += parts_of(ds, name, path)
            names.add(name)
        except (OSError, OceanVarError) as problem:
            faults.setdefault(str(problem).replace(str(path), "the file"), []).append(path)
    if faults:
        n_bad = sum(map(len, faults.values()))
        told = [f"{_named(paths)}: {fault}" for fault, paths in faults.items()]
        raise StoreError(f"{n_bad} of {len(files)} files cannot be used: {_listed(told)}")
    if len(names) > 1:
        raise StoreError(f"the files hold different variables, {sorted(names)}: choose one of them")
    (name,) = names
    return parts, name


@contextmanager
def opened(
    path: Path,
    variable: str | None,
    preferred: Sequence[str],
    columns: Sequence[str] | None,
    time_units: str | None,
    beside: Sequence[str] = (),
) -> Iterator[tuple[xr.Dataset, str]]:
    """A file, of which values are read when they are looked at, and the name of the variable in it.

    Parameters
    ----------
    path : path
        The file.
    variable : str, optional
        Its variable, ``group/name`` where several groups have it. Default: the first of `preferred` that is there, or
        the only one of real numbers.
    preferred : sequence of str
        Usual names, the best first.
    columns : sequence of str, optional
        Names of the columns of text without a header.
    time_units : str, optional
        Of times that are numbers, as `oceanvar.labels.times.decoded` takes them.
    beside : sequence of str
        Further variables of other groups, ``group/name``: they come by that name, along dimensions of their own, with
        their times.

    Raises
    ------
    MissingVariableError
        If the file has no such variable, or several.
    StoreError
        If it cannot be read.
    """
    try:
        groups = _groups(path, variable, columns, any("/" in each for each in beside))
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot be read: {error}") from error
    try:
        group, name = _found(groups, variable, preferred)
        ds = _with_others(_with_parents(groups, group), groups, beside)
        yield _with_time_units(ds, time_units) if time_units else ds, name
    finally:
        for each in groups.values():
            each.close()


def _groups(
    path: Path, variable: str | None, columns: Sequence[str] | None, all_of_them: bool
) -> dict[str, xr.Dataset]:
    if path.suffix.lower() in TEXT:
        return {"/": _text(path, columns)}
    ds = xr.open_dataset(path, decode_timedelta=False)
    if not all_of_them and (variable in ds or (variable is None and ds.data_vars)):
        return {"/": ds}
    ds.close()
    return dict(xr.open_groups(path, decode_timedelta=False))


def _text(path: Path, columns: Sequence[str] | None) -> xr.Dataset:
    with open(path) as lines:
        first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    separator = next((each for each in _SEPARATORS if each in first), r"\s+")
    named = {"header": None, "names": list(columns), "usecols": range(len(columns))} if columns else {}
    frame = pd.read_csv(
        path, sep=separator, comment="#", skipinitialspace=True, na_values=list(TEXT_FILLS), **named
    )
    if frame.empty:
        raise StoreError("it has no rows")
    for name in frame.columns:
        cell = frame[name].iloc[0]
        if isinstance(cell, str) and _DECIMAL_COMMA.fullmatch(cell.strip()):
            raise StoreError(
                f"column {name!r} has decimal commas ({cell!r}): write points, {cell.replace(',', '.')!r}"
            )
    return xr.Dataset({name: ("sample", frame[name].to_numpy()) for name in frame.columns})


def _found(groups: dict[str, xr.Dataset], variable: str | None, preferred: Sequence[str]) -> tuple[str, str]:
    """Group and name of a variable."""
    *above, name = (variable or "").strip("/").split("/")
    if above:
        groups = {group: ds for group, ds in groups.items() if group.strip("/") == "/".join(above)}
    wanted = [name] if variable else preferred
    found = [(group, each) for each in wanted for group, ds in groups.items() if each in ds.data_vars]
    if found and not variable:
        found = [each for each in found if each[1] == found[0][1]]
    if not found and not variable:
        found = [(group, each) for group, ds in groups.items() for each in value_names(ds)]
    if len(found) > 1:
        # The measurements of 20 Hz lie in a group of their own, after those of 1 Hz.
        found = [each for each in found if each[0].startswith("/data_01")] or found
    if len(found) == 1:
        return found[0]
    problem = (
        f"no variable {variable!r}"
        if variable and not found
        else "no variable that is the only one to choose"
    )
    raise MissingVariableError(f"{problem}; there are {_there(groups)}")


def _there(groups: dict[str, xr.Dataset]) -> list[str]:
    return sorted(f"{group}/{each}".strip("/") for group, ds in groups.items() for each in ds.data_vars)


def _with_parents(groups: dict[str, xr.Dataset], group: str) -> xr.Dataset:
    """Variables of a group and of those above, where positions and times are; the nearest count."""
    ds = groups[group]
    for above in PurePosixPath(group).parents:
        parent = groups.get(str(above), xr.Dataset())
        missing = {name: parent[name].variable for name in parent.variables if name not in ds.variables}
        ds = ds.assign(missing).assign_attrs({**parent.attrs, **ds.attrs})
    return ds


def _with_others(ds: xr.Dataset, groups: dict[str, xr.Dataset], names: Sequence[str]) -> xr.Dataset:
    """Variables of other groups too, along dimensions of their own: those of two rates bear one name."""
    for name in names:
        *above, short = name.strip("/").split("/")
        group = "/" + "/".join(above)
        if name in ds.variables or "/" not in name:
            continue
        if short not in groups.get(group, xr.Dataset()).data_vars:
            raise MissingVariableError(f"no variable {name!r}; there are {_there(groups)}")
        other = _with_parents(groups, group)
        found = {name: other.variables[short]}
        try:
            time = positions(other, short, (TIME,))[1][TIME]
            found[f"{group}/{time}"] = other.variables[time]
        except MissingVariableError:
            # Who needs a time will say that there is none.
            pass
        own = xr.Dataset({called: each.to_base_variable() for called, each in found.items()})
        own = own.rename({dim: f"{dim} of {group}" for dim in own.dims})
        ds = ds.assign(own.variables)
    return ds


def _with_time_units(ds: xr.Dataset, units: str) -> xr.Dataset:
    times = [name for name in ds.variables if str(name).lower() in NAMES[TIME]]
    numbers = [name for name in times if ds[name].dtype.kind in "iuf"]
    if len(numbers) < len(times):
        raise ConfigError("the times are dates or text already, no numbers: leave time_units out")
    return ds.assign({name: decoded(ds.variables[name].to_base_variable(), units) for name in numbers})


def _matching(path: str) -> list[Path]:
    if glob.has_magic(path) and not os.path.exists(path):
        return sorted(
            Path(each) for each in glob.glob(path, recursive=True) if Path(each).suffix.lower() in _FILES
        )
    whole = Path(path)
    if whole.is_dir() and whole.suffix != ".zarr":
        inside = (each for each in whole.rglob("*") if each.suffix.lower() in _FILES)
        return sorted(each for each in inside if not any(above.suffix == ".zarr" for above in each.parents))
    return [whole] if whole.exists() else []


def _inside(path: Path) -> str:
    """What a folder holds instead of files that can be read, in words."""
    if not path.is_dir():
        return ""
    others = sorted(each.name for each in path.iterdir())
    more = f" and {len(others) - MOST_TOLD} more" if len(others) > MOST_TOLD else ""
    return f" (it holds {', '.join(others[:MOST_TOLD])}{more})" if others else ""


def _named(paths: Sequence[Path]) -> str:
    """Files with one fault."""
    return str(paths[0]) if len(paths) == 1 else f"{len(paths)} files, {paths[0]} to {paths[-1].name}"


def _listed(problems: Sequence[str]) -> str:
    more = f"; and {len(problems) - MOST_TOLD} more" if len(problems) > MOST_TOLD else ""
    return "; ".join(problems[:MOST_TOLD]) + more
