"""What a run over an archive will do: checked, and described, before any work."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from numbers import Integral
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize

from oceanvar.archive.fingerprints import growing_description
from oceanvar.archive.indexes import AbstractIndex
from oceanvar.archive.manifest import MANIFEST
from oceanvar.archive.outputs import MARK
from oceanvar.archive.reading import BLOCK_BYTES
from oceanvar.archive.runs import ArchiveRun, time_stream
from oceanvar.archive.storage import Storage
from oceanvar.archive.writers import AbstractWriter, NetcdfWriter, ZarrWriter
from oceanvar.errors import ConfigError, GridMismatchError, ModelMismatchError, PatchError
from oceanvar.mapping import Setup, set_up
from oceanvar.network.varnet import VarNet
from oceanvar.options import Options
from oceanvar.state.spaces import StateSpace

STATUS = "status"
"""Variable of an output that grows: whether later times can change the values of a time."""

_STATUS_ATTRS = {
    "long_name": "whether observations of later times can change the analysis",
    "flag_values": np.array([0, 1], np.int8),
    "flag_meanings": "final provisional",
}


def plan_run(
    index: AbstractIndex,
    model: VarNet,
    folder: Path,
    storage: Storage,
    stop: Callable[[], bool],
    options: Options,
) -> tuple[ArchiveRun, dict[str, Any]]:
    """Check everything that can be checked, and note what the result depends on.

    Parameters
    ----------
    index : AbstractIndex
        Observations.
    model : VarNet
        Model.
    folder : Path
        Where the analysis goes.
    storage : Storage
        How to store it.
    stop : callable
        Asked after each unit whether to stop.
    options : Options
        How to map them.

    Returns
    -------
    (ArchiveRun, dict)
        The run, and its description: two runs with equal ones give the same result, bit by bit.

    Raises
    ------
    ConfigError, PatchError, MissingVariableError, GridMismatchError, UnitsMismatchError
        As `oceanvar.mapping.assimilate`; PatchError also if time is periodic.
    """
    setup = set_up_on(index, model, lasting(options, model.state_space) if storage.grows else options)
    if storage.grows and options.batch_size == "auto":
        setup = _with_short_groups(setup)
    writer, target = _writer(index, setup, folder, storage)
    run = ArchiveRun(index, setup, writer, stop, grows=storage.grows)
    description = {**_description(run), **target, **storage.description()}
    return run, description | (growing_description(run) if storage.grows else {})


def lasting(options: Options, space: StateSpace) -> Options:
    """Options that choose patch and overlap in time, so that these do not depend on how long the record is."""
    dim = space.dims[0]
    if dim in options.patch or dim in options.overlap:
        return options
    known = space.borders.get(dim)
    overlap = space.overlap.get(dim, 0) if known is None else known.least_overlap
    return replace(
        options,
        patch={**options.patch, dim: space.patch[dim]},
        overlap={**options.overlap, dim: overlap},
    )


def _with_short_groups(setup: Setup) -> Setup:
    """Patches that begin at one time share batches, and no others: those that later ones join could still change."""
    n_most = time_stream(setup).n_per_start
    return replace(setup, job=replace(setup.job, batch_size=min(setup.job.batch_size, n_most)))


def set_up_on(index: AbstractIndex, model: VarNet, options: Options) -> Setup:
    """Set a mapping up on an archive, whose index gives variables their expected names; errors as of `plan_run`."""
    space = model.state_space
    if space.dims[0] in space.axes and space.axes[space.dims[0]].step < 0:
        raise ModelMismatchError(
            f"the model learned on times that run backwards along {space.dims[0]!r}, and an archive runs forwards: "
            "assimilate in memory, or train on data after sortby"
        )
    if index.told:
        _check_labelled(options, space)
    chosen = replace(options, variables={})
    if isinstance(options.mask, str) and options.mask == "observed":
        chosen = replace(chosen, mask=index.observed(model.state_space.dims[1:]))
    setup = set_up(index.layout, model, chosen)
    dim = space.dims[0]
    if setup.given.ds.sizes[dim] != index.layout.sizes[dim]:
        raise PatchError(
            f"the archive has {index.layout.sizes[dim]} times, and the model solves {space.patch[dim]} at once: "
            "oceanvar.archive.open_archive(files).varnet.assimilate(model) maps so few, with empty times around them"
        )
    return replace(setup, options=options)


def _check_labelled(options: Options, space: StateSpace) -> None:
    """Beside files that had to be mended, a mask without coordinates could lie as they do or as they are mended."""
    for what, beside in (("mask", options.mask), ("background", options.background)):
        if isinstance(beside, xr.DataArray | xr.Dataset):
            bare = [dim for dim in beside.dims if dim in space.dims and dim not in beside.coords]
            if bare:
                raise GridMismatchError(
                    f"the {what} has no coordinate {bare[0]!r}, and the files had to be mended to what the model "
                    "expects: give it its coordinates, with assign_coords"
                )


def _writer(
    index: AbstractIndex, setup: Setup, folder: Path, storage: Storage
) -> tuple[AbstractWriter, dict[str, Any]]:
    """Make the writer, and say what it makes."""
    unknown = set(storage.packing) - set(setup.space.variables)
    if unknown:
        raise ConfigError(f"packing names {sorted(unknown)}, but the variables are {setup.space.variables}")
    template = _template(setup.given.ds, setup)
    template.attrs[MARK] = f"{folder.parent.name}/{MANIFEST}"
    if storage.grows:
        template = _with_status(template, setup, index.dim)
    sizes = _chunk_sizes(storage, output_chunks(index.layout, setup.space), setup)
    if storage.period is not None:
        by_period = NetcdfWriter(folder, template, index.dim, storage.period, storage)
        return by_period, {"output": f"NetCDF by {storage.period}"}
    store = ZarrWriter(folder, template, index.dim, sizes, storage)
    return store, {"output": "zarr", "chunks": sizes, "shards": store.shards}


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
    # Longitudes that cross their seam keep their numbers.
    return setup.finished(setup.labelled(xr.Variable(dims, nothing), setup.given.ds))


def _with_status(template: xr.Dataset, setup: Setup, dim: str) -> xr.Dataset:
    """Say of each time whether later ones can change it."""
    if STATUS in template.variables:
        raise ConfigError(
            f"an output that grows has a variable {STATUS!r}, and so have the data: rename theirs"
        )
    status = (np.arange(template.sizes[dim]) >= time_stream(setup).n_final).astype(np.int8)
    return template.assign({STATUS: (dim, status, _STATUS_ATTRS)})


def _chunk_sizes(storage: Storage, default: Mapping[str, int], setup: Setup) -> dict[str, int]:
    """Make one chunk size per dimension, of a store whose chunks are all alike."""
    sizes, chunks = setup.job.grid.sizes, storage.chunks
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
    dim = setup.space.dims[0]
    if storage.grows and dim in chunks:
        if not isinstance(chunks[dim], Integral) or chunks[dim] < 1:
            raise PatchError(
                f"chunks along {dim!r} are {chunks[dim]!r}: an output that grows needs a number of them"
            )
        found[dim] = int(chunks[dim])
    return found


def _description(run: ArchiveRun) -> dict[str, Any]:
    return {
        "oceanvar": version("oceanvar"),
        "model": run.setup.model.digest,
        "variables": list(run.setup.space.variables),
        "grid": dict(run.index.layout.sizes),
        **{name.replace("_", " "): described(run.setup) for name, described in DESCRIBED.items()},
        "preprocess": run.index.preprocess,
        "files": dict(run.index.states),
        "skipped": dict(run.index.skipped),
    }


def _taper(setup: Setup) -> str:
    if isinstance(setup.options.taper, str):
        return setup.options.taper
    return hashlib.sha256(b"".join(factor.tobytes() for factor in setup.job.factors)).hexdigest()


def _token(value: Any) -> str | None:
    return None if value is None else tokenize(value)


DESCRIBED: dict[str, Callable[[Setup], Any]] = {
    "patch": lambda setup: dict(setup.job.grid.patch),
    "overlap": lambda setup: dict(setup.job.grid.overlap),
    "background": lambda setup: _token(setup.options.background),
    "periodic": lambda setup: list(setup.job.grid.periodic),
    "taper": _taper,
    "batch_size": lambda setup: setup.job.batch_size,
    "device": lambda setup: setup.options.device,
    "precision": lambda setup: setup.options.precision,
    "mask": lambda setup: _token(setup.mask),
    "n_samples": lambda setup: setup.options.n_samples,
    "seed": lambda setup: setup.options.seed,
    "diagnostics": lambda setup: setup.options.diagnostics,
    "along_track": lambda setup: _token(setup.job.companions),
    "variables": lambda setup: dict(setup.options.variables),
    "gaps": lambda setup: setup.options.gaps,
    "on_divergence": lambda setup: setup.options.on_divergence,
}
"""How the record of a run describes each option: two runs that differ in any of them may differ in their bits."""
