"""What a run over an archive will do: checked, and described, before any work."""

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize

from oceanvar.archive.catalogue import BLOCK_BYTES
from oceanvar.archive.runs import ArchiveRun, check_mask
from oceanvar.archive.slabs import ArchiveIndex
from oceanvar.archive.writers import AbstractWriter, NetcdfWriter, ZarrWriter
from oceanvar.errors import PatchError
from oceanvar.handles import resolve_device
from oceanvar.mapping import Setup, set_up
from oceanvar.state_space import StateSpace
from oceanvar.varnet import VarNet


def plan_run(
    index: ArchiveIndex,
    model: VarNet,
    folder: Path,
    period: str | None,
    stop: Callable[[], bool],
    options: Mapping[str, Any],
) -> tuple[ArchiveRun, dict[str, Any]]:
    """Check everything that can be checked, and note what the result depends on.

    Parameters
    ----------
    index : ArchiveIndex
        Observations.
    model : VarNet
        Model.
    folder : Path
        Where the analysis goes.
    period : str, optional
        What one NetCDF file holds; None for a Zarr store.
    stop : callable
        Asked after each unit whether to stop.
    options : mapping
        Of `oceanvar.mapping.assimilate`.

    Returns
    -------
    (ArchiveRun, dict)
        The run, and its description: two runs with equal ones give the same result, bit by bit.

    Raises
    ------
    ConfigError, PatchError, MissingVariableError, GridMismatchError, UnitsMismatchError
        As `oceanvar.mapping.assimilate`; PatchError also if time is periodic.
    """
    options = dict(options)
    chunks, mask = options.pop("chunks", None), options.pop("mask", None)
    setup = set_up(index.layout, model, **options)
    if mask is not None:
        check_mask(mask, setup, index.layout)
    template = _template(index.layout, setup)
    sizes = _chunk_sizes(chunks or {}, output_chunks(index.layout, setup.space), setup)
    writer: AbstractWriter
    if period is None:
        writer = ZarrWriter(folder, template, index.dim, sizes)
    else:
        writer = NetcdfWriter(folder, template, index.dim, period)
    run = ArchiveRun(index, setup, writer, options.get("background"), mask, stop)
    target = {"output": "zarr", "chunks": sizes} if period is None else {"output": f"NetCDF by {period}"}
    return run, {**_description(run, options), **target}


def output_chunks(obs: xr.Dataset, space: StateSpace) -> dict[str, int]:
    """Whole maps, so that blocks follow each other in time and few are in memory."""
    sizes = {dim: obs.sizes[dim] for dim in space.dims}
    time_dim, *others = space.dims
    map_bytes = 4 * int(np.prod([sizes[dim] for dim in others], dtype=np.int64))
    n_times = min(space.patch[time_dim], max(1, BLOCK_BYTES // map_bytes))
    return {**sizes, time_dim: n_times}


def _template(layout: xr.Dataset, setup: Setup) -> xr.Dataset:
    """Make the analysis without values: lazy zeros that are never computed."""
    dims = (*setup.space.extra_dims(layout), "variable", *setup.space.dims)
    sizes = {**layout.sizes, "variable": setup.job.n_out}
    nothing = da.zeros([sizes[dim] for dim in dims], dtype=setup.job.dtype, chunks=-1)
    return setup.labelled(xr.Variable(dims, nothing), layout)


def _chunk_sizes(chunks: Mapping[str, Any], default: Mapping[str, int], setup: Setup) -> dict[str, int]:
    """Make one chunk size per dimension, of a store whose chunks are all alike."""
    sizes = setup.job.grid.sizes
    unknown = [dim for dim in chunks if dim not in sizes]
    if unknown:
        raise PatchError(f"chunks names the dimensions {unknown}, but the grid has {list(sizes)}")
    found = {}
    for dim, size in sizes.items():
        try:
            (blocks,) = da.core.normalize_chunks((chunks.get(dim, default[dim]),), (size,), dtype=np.float32)
        except ValueError as error:
            raise PatchError(f"chunks={dict(chunks)} do not fit the sizes {dict(sizes)}: {error}") from error
        if len(set(blocks[:-1])) > 1 or blocks[-1] > blocks[0]:
            raise PatchError(f"chunks along {dim!r} are {blocks}: a Zarr store needs equal ones")
        found[dim] = int(blocks[0])
    return found


def _description(run: ArchiveRun, options: Mapping[str, Any]) -> dict[str, Any]:
    job, mask, preprocess = run.setup.job, run.mask, run.index.preprocess
    factors = b"".join(factor.tobytes() for factor in job.factors)
    background, taper = options.get("background"), options.get("taper", "triangle")
    return {
        "oceanvar": version("oceanvar"),
        "model": run.setup.model.digest,
        "variables": list(run.setup.space.variables),
        "grid": dict(run.index.layout.sizes),
        "patch": dict(job.grid.patch),
        "overlap": dict(job.grid.overlap),
        "periodic": list(job.grid.periodic),
        "taper": taper if isinstance(taper, str) else hashlib.sha256(factors).hexdigest(),
        "precision": options.get("precision", "float32"),
        "batch size": job.batch_size,
        "device": resolve_device(options.get("device", "auto")).split(":")[0],
        "background": None if background is None else tokenize(background),
        "mask": None if mask is None else tokenize(mask),
        "preprocess": None if preprocess is None else tokenize(preprocess),
        "files": {str(file.resolve()): _state(file) for file in run.index.files},
    }


def _state(file: Path) -> str:
    """Size and time of the last change, of a store those of all its files."""
    stats = [each.stat() for each in ([file] if file.is_file() else file.rglob("*"))]
    changed = datetime.fromtimestamp(max(each.st_mtime for each in stats), UTC)
    return f"{sum(each.st_size for each in stats)} bytes of {changed:%Y-%m-%dT%H:%M:%S.%fZ}"
