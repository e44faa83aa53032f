"""The files of an archive as one lazy dataset, after a check of every file."""

import glob
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from oceanvar.alignment import check_same_grid
from oceanvar.errors import GridMismatchError, StoreError

Paths = str | Path | Sequence[str | Path]
Preprocess = Callable[[xr.Dataset], xr.Dataset]

BLOCK_BYTES = 64 * 2**20
"""Most of one variable that is read or written at once, whatever the size of the files."""

NETCDF = threading.RLock()
"""Held while a file is opened, read or written: the NetCDF library may crash in two threads at once."""

_N_NAMED = 20
"""Files named with the same problem."""


def find_files(paths: Paths) -> list[Path]:
    """Files that paths or patterns name, sorted within each pattern, each file once.

    Parameters
    ----------
    paths : path-like or sequence of path-like
        A pattern like ``obs/*.nc``, a file, a folder of ``*.nc`` files, a Zarr store, or several of these.

    Raises
    ------
    StoreError
        If one of them names nothing.
    """
    files: list[Path] = []
    for each in [paths] if isinstance(paths, str | Path) else paths:
        path = Path(each)
        if path.is_dir() and not is_zarr(path):
            found = sorted(path.glob("*.nc"))
        else:
            found = (
                [path]
                if path.exists()
                else [Path(name) for name in sorted(glob.glob(str(each), recursive=True))]
            )
        if not found:
            raise StoreError(f"no file matches {str(each)!r} (seen from {os.getcwd()}): check the spelling")
        files += found
    if not files:
        raise StoreError("the list of files is empty: give at least one file or pattern")
    return list(dict.fromkeys(files))


def is_zarr(path: Path) -> bool:
    """Say whether a folder is a Zarr store."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup"))


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
        NetCDF files, patterns like ``obs/*.nc``, a folder of ``*.nc`` files, or a Zarr store.
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

    def opened(ds: xr.Dataset) -> xr.Dataset:
        kept = ds.drop_vars(set() if variables is None else set(ds.data_vars) - set(variables))
        kept.set_close(ds.close)
        return kept

    return combined(list(checked(find_files(paths), variables, preprocess, dim, opened).values()), dim)


def checked(
    files: Sequence[Path],
    variables: Sequence[str] | None,
    preprocess: Preprocess | None,
    dim: str,
    keep: Callable[[xr.Dataset], xr.Dataset],
) -> dict[Path, xr.Dataset]:
    """Check every file, one after the other, and give what `keep` makes of each, sorted in time.

    Raises
    ------
    StoreError
        Naming all problems, see `open_archive`.
    """
    found: dict[Path, xr.Dataset] = {}
    problems: list[tuple[Path, str]] = []
    first = None
    for file in files:
        try:
            ds = open_file(file, dim, preprocess)
            first = ds if first is None else first
            wrong = list(_problems(ds, first, variables, dim))
            if not wrong:
                found[file] = keep(ds)
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            wrong = [f"cannot be read: {error}"]
        if wrong and not found:
            first = None
        problems += [(file, reason) for reason in wrong]
    ordered = dict(sorted(found.items(), key=lambda item: item[1].indexes[dim][0]))
    problems += _overlaps(ordered, dim)
    if problems:
        raise StoreError(
            f"{len(problems)} problem(s) in the {len(files)} file(s) of the archive:\n{_listed(problems)}\n"
            "Repair or remove these files, or adapt them with preprocess= (rename, select, convert)."
        )
    return ordered


def open_file(file: Path, dim: str, preprocess: Preprocess | None, in_blocks: bool = True) -> xr.Dataset:
    """Open one file or store lazily; with `in_blocks` as dask arrays of blocks of bounded size."""
    if is_zarr(file):
        ds = raw = xr.open_dataset(file, engine="zarr", cache=False, chunks={} if in_blocks else None)
    else:
        ds = raw = xr.open_dataset(file, engine="netcdf4", cache=False)
        _check_whole(file, ds)
        if in_blocks:
            token = f"{file.resolve()}-{file.stat().st_mtime_ns}"
            ds = ds.chunk({dim: _block(ds, dim)} if dim in ds.sizes else {}, token=token)
    ds = ds if preprocess is None else preprocess(ds)
    if ds is not raw:
        ds.set_close(raw.close)
    return ds


def _check_whole(file: Path, ds: xr.Dataset) -> None:
    """Refuse a cut classic NetCDF file: the library fills what is missing with zeros, silently."""
    with file.open("rb") as stream:
        is_classic = stream.read(3) == b"CDF"
    needed = sum(v.size * np.dtype(v.encoding.get("dtype", "S1")).itemsize for v in ds.variables.values())
    if is_classic and file.stat().st_size < needed:
        raise StoreError(f"truncated: {file.stat().st_size} bytes, its variables alone need {needed}")


def _block(ds: xr.Dataset, dim: str) -> int:
    """Times to read at once: a multiple of the file's own chunks, of bounded size."""
    along = [each for each in ds.data_vars.values() if dim in each.dims]
    stored = [(each.encoding.get("chunksizes"), each.dims.index(dim)) for each in along]
    unit = max((sizes[axis] for sizes, axis in stored if sizes), default=1)
    largest = max((each.nbytes // max(1, ds.sizes[dim]) for each in along), default=1)
    return max(1, BLOCK_BYTES // max(1, unit * largest)) * unit


def _problems(ds: xr.Dataset, first: xr.Dataset, variables: Sequence[str] | None, dim: str) -> Iterator[str]:
    """What is wrong with a file, compared with the first good one."""
    names = {str(name) for name in (first.data_vars if variables is None else variables)}
    present = {str(name) for name in ds.data_vars}
    if (names != present) if variables is None else (names - present):
        yield f"has the variables {sorted(present)}, not {sorted(names)}"
    yield from _time_problems(ds, first, dim)
    for name in sorted(names & present):
        units = first[name].attrs.get("units"), ds[name].attrs.get("units")
        if units[0] != units[1]:
            yield f"{name!r} is in {units[1]!r}, but in {units[0]!r} in the first file"
        if first[name].dims != ds[name].dims:
            yield f"{name!r} has the dimensions {ds[name].dims}, but {first[name].dims} in the first file"
    dims = {str(each) for name in names & present for each in first[name].dims} - {dim}
    try:
        check_same_grid(first, ds, sorted(dims), "the first file and this one")
        _check_same_coordinates(first, ds, dim)
    except GridMismatchError as error:
        yield str(error)


def _time_problems(ds: xr.Dataset, first: xr.Dataset, dim: str) -> Iterator[str]:
    if dim not in ds.indexes or ds.sizes[dim] == 0:
        yield f"has no coordinate {dim!r}, or no values of it"
        return
    index, expected = ds.indexes[dim], first.indexes[dim]
    if (type(index), index.dtype.kind) != (type(expected), expected.dtype.kind):
        yield f"its {dim!r} is of another type or calendar than in the first file: {index[0]!r}"
    if index.hasnans or not index.is_unique or not index.is_monotonic_increasing:
        yield f"the values of {dim!r} do not increase strictly: {len(index) - index.nunique()} are repeated"


def _check_same_coordinates(first: xr.Dataset, ds: xr.Dataset, dim: str) -> None:
    """Demand equal two-dimensional coordinates (of a curvilinear grid)."""
    for name, coord in first.coords.items():
        if coord.ndim < 2 or dim in coord.dims:
            continue
        if name not in ds.coords or not np.array_equal(coord.values, ds[name].values, equal_nan=True):
            raise GridMismatchError(f"the coordinate {name!r} differs from that of the first file")


def _overlaps(ordered: Mapping[Path, xr.Dataset], dim: str) -> list[tuple[Path, str]]:
    items = [(file, ds.indexes[dim]) for file, ds in ordered.items()]
    return [
        (file, f"its values of {dim!r} begin at {later[0]}, but {before} goes on to {earlier[-1]}")
        for (before, earlier), (file, later) in itertools.pairwise(items)
        if later[0] <= earlier[-1]
    ]


def _listed(problems: list[tuple[Path, str]]) -> str:
    """One line per problem; where many files share one, the first of them and a number."""
    by_reason: dict[str, list[Path]] = {}
    for file, reason in problems:
        by_reason.setdefault(reason, []).append(file)
    lines = []
    for reason, files in by_reason.items():
        lines += [f"  {file}: {reason}" for file in files[:_N_NAMED]]
        if len(files) > _N_NAMED:
            lines.append(f"  and {len(files) - _N_NAMED} more files: the same")
    return "\n".join(lines)


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
