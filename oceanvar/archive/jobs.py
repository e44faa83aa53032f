"""Archives: many files in, one store or one folder of files out, in memory that does not grow with them.

An analysis is written beside its final place and renamed when it is complete: what has the final name is
whole. A run that was broken off can be resumed.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oceanvar.archive.catalogue import Paths, Preprocess, find_files, is_zarr
from oceanvar.archive.cluster import TOKEN, ClusterTeam
from oceanvar.archive.manifest import LOCK, MANIFEST, Manifest, locked
from oceanvar.archive.planning import plan_run
from oceanvar.archive.runs import AbstractTeam, Alone, ArchiveRun
from oceanvar.archive.slabs import index_archive
from oceanvar.archive.writers import PERIODS, AbstractWriter
from oceanvar.errors import ConfigError, OceanVarError, StoreError
from oceanvar.varnet import VarNet, load

if TYPE_CHECKING:
    from distributed import Client


def assimilate_archive(
    paths: Paths,
    model: VarNet | str | Path,
    output: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    period: str = "month",
    preprocess: Preprocess | None = None,
    progress: bool = False,
    stop: Callable[[], bool] = lambda: False,
    client: "Client | None" = None,
    resources: Mapping[str, float] | None = None,
    **options: Any,
) -> Path:
    """Map an archive of gappy observations to an archive of complete fields.

    One thread reads, this one solves, a third one writes. Each patch is solved once, in the order of time,
    and memory holds a few patches' stretch of times, however long the archive is. The analysis is built in the
    folder ``<output>.part`` and renamed when it is complete. Of a run that is interrupted or fails the folder
    is kept, unless nothing in it is finished.

    Parameters
    ----------
    paths : path-like or sequence of path-like
        Observations: NetCDF files, patterns, a folder or a Zarr store, see `open_archive`.
    model : VarNet or path-like
        Model, its file, or the name of a packaged one.
    output : path-like
        A Zarr store if it ends in ``.zarr``; else a folder that gets one compressed NetCDF file per
        period, ``analysis_2010-03.nc``. A period is in memory as a whole, up to three times.
    resume : bool
        Continue a run that was broken off, if there is one, to the result of an uninterrupted run, bit by bit.
        Model, options, input files and device must be the same. An output that such a run has
        completed is left as it is.
    overwrite : bool
        Replace an existing output, when the new one is complete; and a ``<output>.part`` that a run which was
        broken off left behind (with `resume`: only where it cannot be continued).
    period : {"month", "day", "year"}
        What one NetCDF file holds.
    preprocess : callable, optional
        Applied to the lazy dataset of each file, to rename or select, say.
    progress : bool
        Show a bar where standard error is a terminal, else write a line there for each unit.
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
        precision, mask, chunks. By default an output chunk is whole maps of the times of a patch, fewer
        where they exceed 64 MiB. A unit of work is one chunk in time, or one NetCDF file.

    Returns
    -------
    Path
        `output`. It holds ``manifest.jsonl``, whose last line sums the run up, see `read_summary`.

    Raises
    ------
    StoreError
        If files of the archive cannot be used (all are listed), the output exists or cannot be written,
        another job writes it, or the run to resume is another one (what differs is named).
    ModelMismatchError
        If the run to resume had another model.
    StoppedError
        If `stop` said so.
    ConfigError
        If the cluster has no worker, none with the resources, or workers that lack the device.
    PatchError, MissingVariableError, GridMismatchError, UnitsMismatchError
        As `oceanvar.mapping.assimilate`.
    """
    model = model if isinstance(model, VarNet) else load(model)
    given, files = Path(output), find_files(paths)
    output = given.absolute()
    _check_name(output, files, period)
    if not resume:
        _check_free(output, overwrite)
    part = output.with_name(output.name + ".part")
    _check_part(part, resume or overwrite)
    index = index_archive(files, model.state_space.variables, preprocess, model.state_space.dims[0])
    team = Alone() if client is None else ClusterTeam(client, options.get("device", "auto"), resources or {})
    run, description = plan_run(
        index, model, part, period if output.suffix != ".zarr" else None, stop, options
    )
    description["device"] = team.device or description["device"]
    if resume and os.path.lexists(output):
        if _is_completed(output, description, overwrite):
            return given
        _check_free(output, overwrite)
    with locked(part):
        _check_free(output, overwrite)  # again: another job may have ended meanwhile
        _work(run, _begun(run.writer, description, resume, overwrite), progress, team)
        _replace(output, part)
        (output / LOCK).unlink()
    return given


def read_summary(output: str | Path) -> dict[str, Any]:
    """Read what `assimilate_archive` notes about a complete run.

    Parameters
    ----------
    output : path-like
        Its output.

    Returns
    -------
    dict
        n_files, n_units, n_patches, n_patches_again (solved once more: at boundaries between workers, or
        because of a resume), n_resumes, n_cells, n_missing (cells that are NaN) and seconds (reading, solving,
        writing: at the same time; of all workers together).

    Raises
    ------
    StoreError
        If there is no such record.
    """
    manifest = Manifest.read(Path(output) / MANIFEST)
    if manifest is None or manifest.summary is None:
        raise StoreError(f"{str(output)!r} holds no record of a complete run ({MANIFEST})")
    return manifest.summary


def _check_name(output: Path, files: list[Path], period: str) -> None:
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


def _check_free(output: Path, overwrite: bool) -> None:
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
    known = (MANIFEST, LOCK)
    return is_zarr(path) or all(each.match("analysis_*.nc") or each.name in known for each in path.iterdir())


def _check_part(part: Path, allowed: bool) -> None:
    if part.exists() and not allowed:
        raise StoreError(
            f"{str(part)!r} exists: a run to the same output was broken off or is still at work. "
            "If it was broken off, resume it, or overwrite to start anew"
        )


def _is_completed(output: Path, description: Mapping[str, Any], overwrite: bool) -> bool:
    """Say whether the output is what the run would give."""
    try:
        manifest = Manifest.read(output / MANIFEST)
        if manifest is None or manifest.summary is None:
            return False
        manifest.check_same(description, f"the output {str(output)!r}")
    except OceanVarError:
        if overwrite:
            return False
        raise
    return True


def _begun(writer: AbstractWriter, description: Mapping[str, Any], resume: bool, overwrite: bool) -> Manifest:
    """Continue the run in the writer's folder if that is asked for and possible, else begin anew."""
    folder = writer.folder
    manifest = None
    try:
        manifest = Manifest.read(folder / MANIFEST) if resume else None
        if manifest is not None:
            manifest.check_same(description, repr(str(folder)))
        elif not overwrite and {each.name for each in folder.iterdir()} - {LOCK, MANIFEST}:
            raise StoreError(f"{str(folder)!r} holds no run that can be resumed: remove it, or overwrite")
    except OceanVarError:
        if not overwrite:
            raise
        manifest = None
    if manifest is not None and manifest.is_prepared:
        writer.template.attrs["history"] = manifest.history
        writer.clean()
        return manifest
    _empty(folder)
    manifest = Manifest.create(folder / MANIFEST, description, writer.template.attrs["history"])
    writer.prepare()
    manifest.append(prepared=True)
    return manifest


def _empty(folder: Path) -> None:
    for each in folder.iterdir():
        if each.is_dir():
            shutil.rmtree(each)
        elif each.name != LOCK:
            each.unlink()


def _work(run: ArchiveRun, manifest: Manifest, progress: bool, team: AbstractTeam) -> None:
    (run.writer.folder / TOKEN).unlink(missing_ok=True)  # workers of a run that was killed stop now
    try:
        run.work(manifest, progress, team)
    except BaseException:
        if not manifest.units:
            shutil.rmtree(run.writer.folder, ignore_errors=True)
        raise


def _replace(output: Path, part: Path) -> None:
    if not output.exists():
        part.rename(output)
        return
    with tempfile.TemporaryDirectory(prefix=f"{output.name}.old-", dir=output.parent) as old:
        output.rename(Path(old) / output.name)
        part.rename(output)
