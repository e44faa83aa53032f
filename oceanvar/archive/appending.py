"""Outputs that grow: new files extend them, late ones mend them, and the result is that of a run over all files.

The extended analysis grows in the folder ``<output>.run/append``. Units that stay are further names (hard links) of the
same files, the others are solved. When it is complete it takes the place of the output, and its record that of
the record: readers see the old analysis or the new one.
"""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from oceanvar.archive.contents import faults
from oceanvar.archive.growth import Base, Growth, check_grown, grown
from oceanvar.archive.icechunks import folder_of
from oceanvar.archive.indexes import AbstractIndex
from oceanvar.archive.kept_sums import SUMS
from oceanvar.archive.manifest import LOCK, MANIFEST, Manifest, digest, locked
from oceanvar.archive.outputs import APPEND, check_free, completed, record_of, record_of_append, run_folder
from oceanvar.archive.planning import plan_run
from oceanvar.archive.runs import AbstractTeam, ArchiveRun
from oceanvar.archive.storage import Storage
from oceanvar.errors import OceanVarError, StoreError
from oceanvar.files.writing import to_disk
from oceanvar.network.varnet import VarNet
from oceanvar.options import Options

logger = logging.getLogger(__name__)

_OLD = "replaced"
"""Name in that folder of the output that is replaced, until it is removed."""

_NOT_PLANNED = {
    "taper",
    "background",
    "mask",
    "diagnostics",
    "n_samples",
    "seed",
    "fields",
    "device",
    "threads",
    "output",
}
"""What a plan of an append takes from the record, for it is not asked."""


def plan_growth(
    index: AbstractIndex, model: VarNet, options: Options, output: str | Path
) -> tuple[ArchiveRun, Growth]:
    """Say what an append would solve, were it begun now.

    Parameters
    ----------
    index : AbstractIndex
        Observations.
    model : VarNet
        Model.
    options : Options
        How to map them, as far as that has to do with patches.
    output : path-like
        The output.

    Returns
    -------
    (ArchiveRun, Growth)
        The run over all files, and what of it is there.

    Raises
    ------
    StoreError, ModelMismatchError
        If there is no such output, or it cannot be extended so.
    """
    output = folder_of(output).absolute()
    run_before = record_of(output)[0].run
    folder = run_folder(output) / output.name
    run, found = plan_run(index, model, folder, Storage.of(run_before), lambda: False, options)
    known = {name: value for name, value in found.items() if name not in _NOT_PLANNED}
    description = {**run_before, **known}
    return run, grown(bases_of(output, description, index.dim, False), run, description, False)


def settle(output: Path) -> None:
    """Give a complete analysis, and its record, the place of the output that it extends; where a kill came, the rest.

    Parameters
    ----------
    output : Path
        The output; the folder of its run is locked.
    """
    folder = run_folder(output)
    inner = folder / APPEND
    manifest = record_of_append(output)
    if manifest is None or manifest.summary is None:
        return
    if (inner / output.name).exists():
        if output.exists():
            shutil.rmtree(inner / _OLD, ignore_errors=True)
            output.rename(inner / _OLD)
        (inner / output.name).rename(output)
        to_disk(output.parent)
    if (inner / SUMS).exists():
        (inner / SUMS).replace(folder / SUMS)
    (inner / MANIFEST).replace(folder / MANIFEST)
    to_disk(folder)
    shutil.rmtree(inner)


def extend(
    output: Path,
    run: ArchiveRun,
    description: Mapping[str, Any],
    *,
    verify: bool,
    overwrite: bool,
    progress: bool,
    team: AbstractTeam,
) -> None:
    """Make an output what a run gives, out of what of it is there already.

    Parameters
    ----------
    output : Path
        The output; it need not exist.
    run : ArchiveRun
        What is to be there.
    description : mapping
        Its description.
    verify : bool
        Read what is there, and solve anew what has been altered.
    overwrite : bool
        Replace what cannot be extended.
    progress : bool
        Show a bar or lines.
    team : AbstractTeam
        Who does the work.

    Raises
    ------
    StoreError, ModelMismatchError, StoppedError
        As `oceanvar.archive.jobs.assimilate_archive`.
    """
    folder = run_folder(output)
    with locked(folder), told_where(folder):
        for left in folder.glob(f"{APPEND}.*"):
            shutil.rmtree(left)
        settle(output)
        _check_place(output, overwrite)
        bases = bases_of(output, description, run.index.dim, overwrite)
        begun = begin(output, run, description, bases, verify)
        if begun is not None:
            begun[0].work(begun[1], progress, team)
            settle(output)
        (folder / LOCK).unlink()


@contextmanager
def told_where(folder: Path) -> Iterator[None]:
    """Say where it was that the system refused something: a full disk, no permission."""
    try:
        yield
    except OceanVarError:
        raise
    except OSError as error:
        raise StoreError(
            f"cannot write in {str(folder)!r} or beside it: {error}; what there was is kept, run it again to go on"
        ) from error


def _check_place(output: Path, overwrite: bool) -> None:
    """Demand that there is no other run, broken off, and nothing that no run has made."""
    data = run_folder(output) / output.name
    if output.is_symlink():
        raise StoreError(
            f"{str(output)!r} is a link, whose place a longer output would take: give what it leads to"
        )
    if data.exists() and not overwrite:
        raise StoreError(
            f"{str(data.parent)!r} holds a run without append that was broken off: resume it so, or overwrite it"
        )
    if data.exists():
        (data.parent / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(data)
    if overwrite:
        check_free(output, overwrite)


def bases_of(output: Path, description: Mapping[str, Any], dim: str, overwrite: bool) -> list[Base]:
    """What there is of an output that a run can extend: first what an append has begun, then the output.

    Parameters
    ----------
    output : Path
        The output.
    description : mapping
        That of the run.
    dim : str
        Dimension of time.
    overwrite : bool
        Leave out what cannot be extended.

    Raises
    ------
    StoreError
        If the output has no record, or cannot be extended by this run.
    ModelMismatchError
        If it has another model.
    """
    inner = run_folder(output) / APPEND
    done, begun = completed(output), record_of_append(output)
    if done is None and output.exists() and not overwrite:
        raise StoreError(
            f"{str(output)!r} has no record of a complete run, and cannot be extended: overwrite it"
        )
    bases = [] if done is None else [Base(output, done, True)]
    if begun is not None:
        bases.insert(0, Base(inner / output.name, begun, False))
    found = []
    for base in bases:
        try:
            check_grown(base, description, dim)
            found.append(base)
        except OceanVarError:
            # What was begun of other files than there are now can be left, if it was to extend an output.
            if not overwrite and (base.is_whole or done is None):
                raise
    return found


def begin(
    output: Path, run: ArchiveRun, description: Mapping[str, Any], bases: Sequence[Base], verify: bool
) -> tuple[ArchiveRun, Manifest] | None:
    """Put all that stays of what there is beside the output, with its record.

    Parameters
    ----------
    output : Path
        The output.
    run : ArchiveRun
        What is to be there.
    description : mapping
        Its description.
    bases : sequence of Base
        What there is, from `bases_of`.
    verify : bool
        Read the files of what there is; else only their sizes are looked at.

    Returns
    -------
    (ArchiveRun, Manifest) or None
        The run with its place and what is left to do, and its record; None where the output is what it would give.
    """
    growth, inner = grown(bases, run, description, verify), run_folder(output) / APPEND
    if len(bases) == 1 and len(growth.kept) == run.n_units and _is_made_so(bases[0], description, verify):
        shutil.rmtree(inner, ignore_errors=True)
        return None
    aside = inner.with_name(f"{APPEND}.{uuid4().hex}")
    aside.mkdir()
    writer = run.writer.at(aside / output.name)
    prepared = {"prepared": True, "files": writer.prepare()}
    for kept in growth.kept.values():
        for name in (name for name, content in kept.record["files"].items() if content is not None):
            _linked(kept.folder / name, writer.folder / name)
    if growth.begun is not None:
        _linked(run_folder(output) / SUMS, aside / SUMS)
    units = [writer.name(unit) for unit in range(run.n_units) if unit not in growth.kept]
    begun = {"n_kept": len(growth.kept), "begun": units if any(base.is_whole for base in bases) else []}
    records = [prepared, begun, *(kept.record for kept in growth.kept.values())]
    manifest = Manifest.create(aside / MANIFEST, description, writer.template.attrs["history"], records)
    shutil.rmtree(inner, ignore_errors=True)
    aside.rename(inner)
    manifest.path = inner / MANIFEST
    logger.info("%s: %d of %d units stay as they are", output, len(growth.kept), run.n_units)
    writer = run.writer.at(inner / output.name)
    return replace(run, writer=writer, parts=growth.parts, begun=growth.begun), manifest


def _is_made_so(base: Base, description: Mapping[str, Any], verify: bool) -> bool:
    """Whether a complete output has this description, and its metadata are as they were written."""
    is_same = digest(base.manifest.run) == digest(description)
    return base.is_whole and is_same and not faults(base.folder, base.manifest.prepared, verify)


def _linked(old: Path, new: Path) -> None:
    """Give a file another name, or a copy where the file system has no hard links."""
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)
