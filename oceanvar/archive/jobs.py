"""Archives: many files in, one store or one folder of files out, in memory that does not grow with them.

An analysis grows in the folder of its run, ``<output>.run``, and is renamed when it is complete: what has the final
name is whole. That folder keeps the record of the run and the index of the files. A run that was broken off can be
resumed.
"""

import inspect
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oceanvar.archive.appending import extend
from oceanvar.archive.cluster import TOKEN, ClusterTeam
from oceanvar.archive.contents import faults
from oceanvar.archive.icechunks import folder_of, is_icechunk
from oceanvar.archive.manifest import INDEX, LOCK, MANIFEST, Manifest, locked
from oceanvar.archive.outputs import (
    APPEND,
    check_free,
    completed,
    damaged,
    record_of,
    record_of_append,
    replace_output,
    run_folder,
)
from oceanvar.archive.planning import plan_run
from oceanvar.archive.preprocessing import Preprocess
from oceanvar.archive.runs import AbstractTeam, Alone, ArchiveRun
from oceanvar.archive.side_by_side import index_sources
from oceanvar.archive.sources import AbstractSource, Paths, find_sources, is_url
from oceanvar.archive.storage import Packing, Storage
from oceanvar.archive.transactions import commit
from oceanvar.archive.writers import AbstractWriter
from oceanvar.errors import ConfigError, MendedWarning, OceanVarError, StoreError
from oceanvar.network.varnet import VarNet, loaded
from oceanvar.options import Options

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)


def assimilate_archive(
    paths: Paths | Mapping[str, Paths],
    model: VarNet | str | Path,
    output: str | Path,
    *,
    resume: bool = False,
    append: bool = False,
    verify: bool = False,
    overwrite: bool = False,
    skip_bad: bool = False,
    period: str = "month",
    chunks: Mapping[str, Any] | None = None,
    shards: Mapping[str, int] | None = None,
    compression: int | None = None,
    packing: Mapping[str, Packing] | None = None,
    preprocess: Preprocess | None = None,
    group: str = "",
    progress: bool = False,
    stop: Callable[[], bool] = lambda: False,
    client: "Client | None" = None,
    resources: Mapping[str, float] | None = None,
    **options: Any,
) -> str | Path:
    """Map an archive of gappy observations to an archive of complete fields.

    One thread reads, this one solves, a third one writes. Each patch is solved once, in the order of time,
    and memory holds a few patches' stretch of times, however long the archive is. The analysis is built in the
    folder ``<output>.run`` and moved out of it when it is complete. The record of the run stays there, and the index
    of the files, which spares a later run to open those that have not changed.

    Parameters
    ----------
    paths : path-like, sequence or mapping of these
        Observations: NetCDF files, patterns, a folder, a Zarr store or URLs of these, see `open_archive`. Several
        sources of one grid by name, ``{"altika": "a/*.nc", "jason": "j/*.nc"}``: where more than one has a value
        their mean is used, weighted by the error variances that the model reads.
    model : VarNet or path-like
        Model, its file, or the name of a packaged one.
    output : path-like
        A Zarr store if it ends in ``.zarr``; an Icechunk repository on this machine if it begins with
        ``icechunk://``, to which every unit is committed; else a folder that gets one compressed NetCDF file per
        period, ``analysis_2010-03.nc``. A period is in memory as a whole, up to three times.
    resume : bool
        Continue a run that was broken off, if there is one, to the result of an uninterrupted run, bit by bit.
        Model, options, input files and device must be the same. Of what is finished the files are looked at: those
        that are missing or have another size are computed anew, in an output that such a run has completed too.
    append : bool
        Make an output that later files extend, or extend one: times that new, late or replaced files can reach are
        solved again, all others keep their bits, and the result is that of a run over all files, bit by bit. A
        variable ``status`` says which times no later one can change. Goes on after an interruption too.
    verify : bool
        With `resume` or `append`: read these files, and compute those anew that have been altered.
    overwrite : bool
        Replace an existing output, when the new one is complete; and what a run which was
        broken off left behind (with `resume`: only where it cannot be continued; with `append`: extended).
    skip_bad : bool
        Go on without files that cannot be used; the record of the run and its summary name them.
    period : {"month", "day", "year"}
        What one NetCDF file holds.
    chunks : mapping, optional
        Points of a chunk of a Zarr store. By default whole maps of the times of a patch, fewer where they
        exceed 64 MiB.
    shards : mapping of str to int, optional
        Points of a shard of a Zarr store, whole chunks. A shard is in memory as a whole.
    compression : int, optional
        Level from 0 to 9, see `Storage`.
    packing : mapping of str to Packing, optional
        Variables to store as integers of 16 bits; a value that they cannot say ends the run.
    preprocess : callable, optional
        Applied to the lazy dataset of each file, to rename or select, say.
    group : str
        Group to read of each file or store, coordinates included; empty for the root.
    progress : bool
        Show a bar where standard error is a terminal, else write lines there: one for each unit, and for files that
        are looked at every ten seconds.
    stop : callable
        Asked after each unit; when it says True the run stops, to be resumed later.
    client : distributed.Client, optional
        Cluster whose workers do the work, one stretch of time each. They see the input files and the output
        under the same names. The result is the same, bit by bit, with any number of workers, and a run may be
        resumed with another number or without a cluster. Default: this process.
    resources : mapping of str to float, optional
        What a worker of the cluster must offer, ``{"GPU": 1}``, say.
    **options
        Of `oceanvar.mapping.assimilate`: patch, overlap, background, periodic, taper, batch_size, device,
        precision, mask, diagnostics, n_samples, seed, along_track, on_divergence. A unit of work is one chunk or
        shard in time, or one NetCDF file.

    Returns
    -------
    path-like
        `output`. The last line of ``<output>.run/manifest.jsonl`` sums the run up, see `read_summary`.

    Raises
    ------
    StoreError
        If files of the archive cannot be used (all are listed), the output exists or cannot be written,
        another job writes it, or the run to resume, or to append to, is another one (what differs is named).
    ModelMismatchError
        If the run to resume had another model.
    StoppedError
        If `stop` said so.
    ConfigError
        For an unknown option (the nearest known one is named) or one that does not fit; if the cluster has no
        worker, none with the resources, or workers that lack the device.
    PatchError, MissingVariableError, GridMismatchError, UnitsMismatchError
        As `oceanvar.mapping.assimilate`.
    """
    choices, model = Options.of(options, others=_OWN_OPTIONS), loaded(model)
    given, is_repository, sources = output, is_icechunk(output), find_sources(paths, group)
    output = _place(output, verify, client)
    storage = Storage(
        None if is_repository or output.suffix == ".zarr" else period,
        chunks or {},
        shards or {},
        compression,
        packing or {},
        append,
    )
    _check_name(output, [file for files in sources.values() for file in files], period)
    folder = run_folder(output)
    if not is_repository:
        _check_begun(output, resume, append, overwrite)
    team = Alone(choices.device) if client is None else ClusterTeam(client, choices.device, resources or {})
    space = model.state_space
    index = index_sources(sources, space, choices, preprocess, folder / INDEX, skip_bad, progress)
    for told in index.told:
        warnings.warn(told, MendedWarning, stacklevel=2)
    run, description = plan_run(index, model, folder / output.name, storage, stop, choices)
    description["device"] = team.device
    description["threads"] = (_threads_of(output) if resume or append else None) or team.n_threads
    run.use_threads(description["threads"])
    if is_repository:
        described = {**description, "output": "icechunk"}
        commit(output, run, described, resume=resume, overwrite=overwrite, progress=progress, team=team)
        return given
    if append:
        extend(output, run, description, verify=verify, overwrite=overwrite, progress=progress, team=team)
        return given
    if resume and os.path.lexists(output):
        if _is_completed(output, description, overwrite):
            manifest = completed(output)
            if manifest is None or not damaged(run.writer.at(output), manifest, verify):
                return given
            with locked(folder):
                output.rename(run.writer.folder)
        else:
            check_free(output, overwrite)
    with locked(folder):
        check_free(output, overwrite)  # again: another job may have ended meanwhile
        shutil.rmtree(folder / APPEND, ignore_errors=True)
        _work(run, _begun(run.writer, description, resume, verify, overwrite), progress, team)
        replace_output(output, run.writer.folder)
        (folder / LOCK).unlink()
    return given


_OWN_OPTIONS = tuple(inspect.signature(assimilate_archive).parameters)[:-1]


def read_summary(output: str | Path) -> dict[str, Any]:
    """Read what `assimilate_archive` notes about a complete run.

    Parameters
    ----------
    output : path-like
        Its output.

    Returns
    -------
    dict
        n_files, skipped (files left out, and why), n_units, n_units_kept (those that an append has left as they were),
        n_patches, n_patches_again (solved once more: at boundaries between workers, because of a resume, or to append
        to what they had reached before), n_resumes, n_cells, n_missing (cells that are NaN),
        n_unhealthy (cells whose health is above 1.15; None without diagnostics), n_times, n_times_unobserved (times
        without any observation), files_unobserved (files without any) and seconds (reading, solving, writing: at
        the same time; of all workers together).

    Raises
    ------
    StoreError
        If there is no such record.
    """
    return record_of(folder_of(output))[1]


def _place(output: str | Path, verify: bool, client: "Client | None") -> Path:
    """Where an output lies on this machine; an error where it lies elsewhere, or cannot be made as is asked for."""
    if is_icechunk(output):
        if verify:
            raise ConfigError(
                "verify (--verify) compares files, and a repository has commits: `oceanvar verify` reads all of it"
            )
        if client is not None:
            raise ConfigError(
                "a run to an Icechunk repository has one process: no client (--workers, --scheduler)"
            )
    elif is_url(output):
        raise StoreError(f"the output {str(output)!r} must lie on this machine: copy it when it is complete")
    return folder_of(output).absolute()


def _check_name(output: Path, files: list[AbstractSource], period: str) -> None:
    if output.suffix in (".nc", ".nc4"):
        raise StoreError(
            f"the output {str(output)!r} would be a folder of NetCDF files, one per {period}: give the name "
            "of a folder, or of a .zarr store"
        )
    place = output.resolve()
    if any(file.lies_in(place) for file in files):
        raise StoreError(f"the output {str(output)!r} holds the observations: choose another name")


def _check_begun(output: Path, resume: bool, append: bool, overwrite: bool) -> None:
    folder = run_folder(output)
    if not (resume or append):
        check_free(output, overwrite)
    if (folder / APPEND).is_dir() and not (append or overwrite):
        raise StoreError(
            f"{str(folder)!r} holds a run with append that was broken off or is still at work: go on with append=True "
            "(--append), or overwrite to start anew"
        )
    is_allowed = resume or append or overwrite
    if is_allowed or not folder.is_dir() or {each.name for each in folder.iterdir()} <= {INDEX}:
        return
    manifest = Manifest.read(folder / MANIFEST)
    is_over = manifest is not None and manifest.summary is not None
    if (folder / LOCK).exists() or not is_over:
        raise StoreError(
            f"{str(folder)!r} exists: a run to the same output was broken off or is still at work. "
            "If it was broken off, resume it, or overwrite to start anew"
        )


def _threads_of(output: Path) -> int | None:
    """Threads of the run that was begun there, to which it keeps: with others the last digits would differ."""
    with suppress(OceanVarError):  # what is wrong with a record is told when the run goes on
        manifest = record_of_append(output) or Manifest.read(run_folder(output) / MANIFEST)
        return None if manifest is None else manifest.run.get("threads")
    return None


def _is_completed(output: Path, description: Mapping[str, Any], overwrite: bool) -> bool:
    """Say whether the output is what the run would give."""
    try:
        manifest = completed(output)
        if manifest is None:
            return False
        if manifest.run.get("append"):
            raise StoreError(f"the output {str(output)!r} was made with append=True (--append): go on so")
        manifest.check_same(description, f"the output {str(output)!r}")
    except OceanVarError:
        if overwrite:
            return False
        raise
    return True


def _begun(
    writer: AbstractWriter, description: Mapping[str, Any], resume: bool, verify: bool, overwrite: bool
) -> Manifest:
    """Continue the run in the writer's folder if that is asked for and possible, else begin anew."""
    folder = writer.folder.parent
    manifest = None
    try:
        manifest = Manifest.read(folder / MANIFEST) if resume and writer.folder.is_dir() else None
        if manifest is not None:
            manifest.check_same(description, repr(str(folder)))
    except OceanVarError:
        if not overwrite:
            raise
        manifest = None
    if manifest is not None and manifest.is_prepared and not faults(writer.folder, manifest.prepared, verify):
        writer.template.attrs["history"] = manifest.history
        writer.clean()
        lost = damaged(writer, manifest, verify)
        if lost:
            logger.warning("%d finished units are computed anew: %s", len(lost), next(iter(lost.values())))
            manifest.append(lost=sorted(lost))
            # What is left of a shard would be read before it is written again.
            for file in (each for unit in lost if unit < writer.n_units for each in writer.files(unit)):
                file.unlink(missing_ok=True)
        logger.info("%s is resumed: %d units are finished", folder, len(manifest.units))
        return manifest
    _remove(writer.folder)
    manifest = Manifest.create(folder / MANIFEST, description, writer.template.attrs["history"])
    manifest.append(prepared=True, files=writer.prepare())
    return manifest


def _remove(data: Path) -> None:
    """Remove what a run has written; its record first, so that what is left of it is never taken for whole."""
    (data.parent / MANIFEST).unlink(missing_ok=True)
    if data.exists():
        shutil.rmtree(data)


def _work(run: ArchiveRun, manifest: Manifest, progress: bool, team: AbstractTeam) -> None:
    (run.writer.folder.parent / TOKEN).unlink(missing_ok=True)  # workers of a run that was killed stop now
    try:
        run.work(manifest, progress, team)
    except BaseException:
        if not manifest.units:
            _remove(run.writer.folder)
            (manifest.path.parent / LOCK).unlink()
        raise
