"""Archives: many files in, one store or one folder of files out, each patch solved once.

An analysis is written beside its final place and renamed when it is complete: what has the final name is
whole.
"""

import os
import shutil
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import xarray as xr
import zarr
from tqdm import tqdm

from oceanvar.catalogue import BLOCK_BYTES, Paths, Preprocess, find_files, is_zarr, open_archive
from oceanvar.errors import ConfigError, StoreError
from oceanvar.mapping import assimilate
from oceanvar.state_space import StateSpace
from oceanvar.varnet import VarNet, load

PERIODS = {"day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}
"""Stretches of time that one NetCDF file holds, and how the file is named."""

_N_WORKERS = 3
"""Threads of a job: one solves (more never do at once), the others read ahead and write."""


def assimilate_archive(
    paths: Paths,
    model: VarNet | str | Path,
    output: str | Path,
    *,
    overwrite: bool = False,
    period: str = "month",
    preprocess: Preprocess | None = None,
    progress: bool = False,
    **options: Any,
) -> Path:
    """Map an archive of gappy observations to an archive of complete fields.

    The archive is read, solved and written block of time by block of time. Each patch is solved once, and
    nothing is solved twice; memory holds about ten blocks at most, however long the archive is. The
    analysis is built in the folder ``<output>.part`` and renamed when it is complete.

    Parameters
    ----------
    paths : path-like or sequence of path-like
        Observations: NetCDF files, patterns, a folder or a Zarr store, see `open_archive`.
    model : VarNet or path-like
        Model, its file, or the name of a packaged one.
    output : path-like
        A Zarr store if it ends in ``.zarr``; else a folder that gets one compressed NetCDF file per
        period, ``analysis_2010-03.nc``. These are exported from a Zarr store in ``<output>.part`` when all is
        solved, so the disk must hold the analysis twice for a while.
    overwrite : bool
        Replace an existing output, when the new one is complete; and a ``<output>.part`` that a killed run
        left behind.
    period : {"month", "day", "year"}
        What one NetCDF file holds.
    preprocess : callable, optional
        Applied to the lazy dataset of each file, to rename or select, say.
    progress : bool
        Show a bar where standard error is a terminal, else write a line there for each block.
    **options
        Of `oceanvar.mapping.assimilate`: patch, overlap, background, periodic, taper, batch_size, device,
        precision, mask, chunks. By default an output chunk is whole maps of the times of a patch, fewer
        where they exceed 64 MiB.

    Returns
    -------
    Path
        `output`.

    Raises
    ------
    StoreError
        If files of the archive cannot be used (all are listed), or the output exists or cannot be written.
    ConfigError, PatchError, MissingVariableError, GridMismatchError, UnitsMismatchError
        As `oceanvar.mapping.assimilate`.
    """
    model = model if isinstance(model, VarNet) else load(model)
    output, files = Path(output), find_files(paths)
    as_zarr = output.suffix == ".zarr"
    time_dim = model.state_space.dims[0]
    _check_output(output, files, overwrite, period)
    with open_archive(files, model.state_space.variables, preprocess, time_dim) as obs:
        if not as_zarr:
            _labels(obs, time_dim, period)
        chunks = {
            **output_chunks(obs, model.state_space, options.get("patch")),
            **(options.pop("chunks", None) or {}),
        }
        analysis = assimilate(obs, model, chunks=chunks, **options)
        with _written_aside(output, overwrite) as part:
            store = part if as_zarr else part / "scratch.zarr"
            _write_zarr(analysis, store, progress)
            if not as_zarr:
                _export_netcdf(store, part, time_dim, period)
                shutil.rmtree(store)
    return output


def _check_output(output: Path, files: list[Path], overwrite: bool, period: str) -> None:
    if period not in PERIODS:
        raise ConfigError(f"period must be one of {sorted(PERIODS)}, got {period!r}")
    if output.suffix in (".nc", ".nc4"):
        raise StoreError(
            f"the output {str(output)!r} would be a folder of NetCDF files, one per {period}: give the name "
            "of a folder, or of a .zarr store"
        )
    place = output.resolve()
    if any(place == file.resolve() or place in file.resolve().parents for file in files):
        raise StoreError(f"the output {str(output)!r} holds the observations: choose another name")
    if not os.path.lexists(output):
        return
    if not overwrite:
        raise StoreError(f"the output {str(output)!r} exists: choose another name, or overwrite it")
    if not _is_output(output):
        raise StoreError(f"{str(output)!r} is not an analysis that may be overwritten: remove it yourself")


def _is_output(path: Path) -> bool:
    """Say whether a folder holds nothing but an analysis, so that replacing it loses nothing else."""
    if not path.is_dir() or path.is_symlink():
        return False
    return is_zarr(path) or all(file.match("analysis_*.nc") for file in path.iterdir())


def output_chunks(obs: xr.Dataset, space: StateSpace, patch: Mapping[str, int] | None) -> dict[str, int]:
    """Whole maps, so that blocks follow each other in time and few are in memory."""
    sizes = {dim: obs.sizes[dim] for dim in space.dims}
    time_dim, *others = space.dims
    map_bytes = 4 * int(np.prod([sizes[dim] for dim in others], dtype=np.int64))
    n_times = min((patch or {}).get(time_dim, space.patch[time_dim]), max(1, BLOCK_BYTES // map_bytes))
    return {**sizes, time_dim: n_times}


@contextmanager
def _written_aside(output: Path, overwrite: bool) -> Iterator[Path]:
    """Give a folder to write to, which takes the place of `output` at the end and goes on an error."""
    output = output.absolute()
    part = output.with_name(output.name + ".part")
    if part.exists() and not overwrite:
        raise StoreError(
            f"{str(part)!r} exists: a run to the same output was killed or is still at work. "
            "If it was killed, remove the folder or overwrite"
        )
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
    except OSError as error:
        raise StoreError(f"cannot write to the folder {str(output.parent)!r}: {error}") from error
    try:
        yield part
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    _replace(output, part)


def _replace(output: Path, part: Path) -> None:
    if not output.exists():
        part.rename(output)
        return
    with tempfile.TemporaryDirectory(prefix=f"{output.name}.old-", dir=output.parent) as old:
        output.rename(Path(old) / output.name)
        part.rename(output)


def _write_zarr(analysis: xr.Dataset, store: Path, progress: bool) -> None:
    """Write metadata and coordinates first, then one block of time after the other."""
    fill = {str(name): {"_FillValue": analysis[name].dtype.type(np.nan)} for name in analysis.data_vars}
    with warnings.catch_warnings():
        # Consolidated metadata is not yet in the text of Zarr 3; xarray warns on opening when there is none.
        warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
        _storable(analysis).to_zarr(store, mode="w", compute=False, zarr_format=3, encoding=fill)
    group = zarr.open_group(store, mode="r+")
    arrays = [analysis[name].data for name in fill]
    with _reported(progress, sum(array.npartitions for array in arrays)) as written:
        targets: Any = [_Target(group[name], written) for name in fill]
        with ThreadPoolExecutor(_N_WORKERS) as pool:
            da.store(arrays, targets, lock=False, scheduler="threads", pool=pool)


@dataclass(frozen=True)
class _Target:
    """An array of the store; blocks are its chunks, so no two threads write the same file."""

    array: Any
    written: Callable[[], None]

    def __setitem__(self, index: Any, block: np.ndarray) -> None:
        self.array[index] = block
        self.written()


@contextmanager
def _reported(progress: bool, n_blocks: int) -> Iterator[Callable[[], None]]:
    lock, began, done = threading.Lock(), time.perf_counter(), 0
    shown = progress and sys.stderr.isatty()
    with tqdm(total=n_blocks, unit="block", desc="assimilate", disable=not shown) as bar:

        def written() -> None:
            nonlocal done
            with lock:
                done += 1
                bar.update()
                if progress and not shown:
                    seconds = time.perf_counter() - began
                    print(
                        f"block {done} of {n_blocks} written after {seconds:.0f} s",
                        file=sys.stderr,
                        flush=True,
                    )

        yield written


def _storable(analysis: xr.Dataset) -> xr.Dataset:
    """Keep the encoding of times and no other: packing and chunks belong to the observations' files."""
    analysis = analysis.copy()
    for name, variable in analysis.variables.items():
        times = {key: variable.encoding[key] for key in ("units", "calendar") if key in variable.encoding}
        variable.encoding = {**times, "_FillValue": None} if name in analysis.coords else {}
        if name in analysis.coords:
            variable.load()
    return analysis


def _labels(ds: xr.Dataset, dim: str, period: str) -> np.ndarray:
    index = ds.indexes[dim]
    if index.dtype.kind not in "MO":
        raise ConfigError(
            f"{dim!r} holds no dates but {index.dtype}, so there are no files per {period}: "
            "let the output end in .zarr"
        )
    return np.asarray(index.strftime(PERIODS[period]), dtype=str)


def _export_netcdf(store: Path, folder: Path, dim: str, period: str) -> None:
    # In this thread and with nothing else at work: NetCDF files are opened here.
    with dask.config.set(scheduler="synchronous"), xr.open_zarr(store, chunks={}) as analysis:
        labels, firsts = np.unique(_labels(analysis, dim, period), return_index=True)
        bounds = [*firsts.tolist(), analysis.sizes[dim]]
        for label, first, end in zip(labels, bounds, bounds[1:], strict=False):
            piece = _storable(analysis.isel({dim: slice(first, end)}))
            encoding = {
                str(name): {"zlib": True, "complevel": 1, "_FillValue": piece[name].dtype.type(np.nan)}
                for name in piece.data_vars
            }
            piece.to_netcdf(folder / f"analysis_{label}.nc", engine="netcdf4", encoding=encoding)
