"""Runs to an Icechunk repository: a commit for each unit, on a branch that readers see when all of them are there.

The folder ``<repository>.run`` keeps the record of the analysis on `main` as it does of other outputs, and in
``append`` that of the run at work. A unit is in the record after it was committed.
"""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oceanvar.archive.appending import told_where
from oceanvar.archive.commits import IcechunkWriter
from oceanvar.archive.growth import Base, Growth, check_grown, grown
from oceanvar.archive.icechunks import (
    MAIN,
    WORK,
    attributes,
    begin_work,
    committed,
    is_empty,
    opened,
    publish,
    told_as_ours,
)
from oceanvar.archive.kept_sums import SUMS
from oceanvar.archive.manifest import LOCK, MANIFEST, Manifest, digest, locked
from oceanvar.archive.outputs import APPEND, MARK, completed, record_of_append, run_folder
from oceanvar.archive.runs import AbstractTeam, ArchiveRun
from oceanvar.archive.writers import ZarrWriter
from oceanvar.errors import OceanVarError, StoreError

if TYPE_CHECKING:
    from icechunk import Repository


def commit(
    output: Path,
    run: ArchiveRun,
    description: Mapping[str, Any],
    *,
    resume: bool,
    overwrite: bool,
    progress: bool,
    team: AbstractTeam,
) -> None:
    """Make the analysis in a repository what a run gives; where it grows, out of what of it is there already.

    Parameters
    ----------
    output : Path
        Folder of the repository; it need not exist.
    run : ArchiveRun
        What is to be there.
    description : mapping
        Its description.
    resume : bool
        Go on with a run that was broken off.
    overwrite : bool
        Commit another analysis after the one that is there, which stays in the history.
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
    with locked(folder), told_where(folder), told_as_ours(output):
        repository = opened(output, create=True)
        _settle(output, repository)
        done = _allowed(output, repository, run, description, resume, overwrite)
        growth = _growth(output, done, run, description)
        is_there = done is not None and digest(done.run) == digest(description)
        if not (is_there and (growth is None or len(growth.kept) == run.n_units)):
            run, manifest = _begun(output, repository, run, description, growth, overwrite)
            run.work(manifest, progress, team)
            _settle(output, repository)
        (folder / LOCK).unlink()


def _settle(output: Path, repository: "Repository") -> None:
    """Let readers see a complete analysis, and give its record its place; where a kill came, the rest."""
    manifest, folder = record_of_append(output), run_folder(output)
    if manifest is None or manifest.summary is None:
        return
    if WORK in repository.list_branches():
        manifest.append(snapshot=repository.lookup_branch(WORK))
    publish(repository)
    for name in (SUMS, MANIFEST):
        if (folder / APPEND / name).exists():
            (folder / APPEND / name).replace(folder / name)
    shutil.rmtree(folder / APPEND)


def _allowed(
    output: Path,
    repository: "Repository",
    run: ArchiveRun,
    description: Mapping[str, Any],
    resume: bool,
    overwrite: bool,
) -> Manifest | None:
    """The record of the analysis that is there, if this run goes on from it; an error where it must not go on."""
    done, begun, what = completed(output), record_of_append(output), repr(str(output))
    if done is None and not is_empty(repository):
        if not overwrite:
            raise StoreError(f"{what} has no record of a complete run: choose another name, or overwrite it")
        if MARK not in attributes(repository):
            raise StoreError(f"{what} holds no analysis that may be overwritten: choose another name")
    try:
        if not (resume or run.grows):
            _check_new(done, begun, what)
        if done is not None:
            _check_unmoved(repository, done, what)
        if run.grows and done is not None:
            check_grown(Base(output, done, True), description, run.index.dim)
        for record in [] if run.grows else [each for each in (done or begun,) if each is not None]:
            record.check_same(description, what)
    except OceanVarError:
        if not overwrite:
            raise
        return None
    return done


def _check_new(done: Manifest | None, begun: Manifest | None, what: str) -> None:
    """Demand that there is nothing yet."""
    if begun is not None:
        raise StoreError(f"a run to {what} was broken off: resume it, or overwrite to start anew")
    if done is not None:
        raise StoreError(
            f"{what} holds an analysis: choose another name, overwrite it, or make it with append"
        )


def _check_unmoved(repository: "Repository", done: Manifest, what: str) -> None:
    """Demand that nobody else has committed: what stays of an analysis is told by its record."""
    known = [record["snapshot"] for record in done.records if "snapshot" in record]
    if repository.lookup_branch(MAIN) not in known:
        raise StoreError(
            f"the branch {MAIN!r} of {what} is not where the record has it: somebody else has committed to it, or "
            "reset it; overwrite it to map all anew"
        )


def _growth(
    output: Path, done: Manifest | None, run: ArchiveRun, description: Mapping[str, Any]
) -> Growth | None:
    """What of the analysis that is there stays, if it grows."""
    if done is None or not run.grows:
        return None
    return grown([Base(output, done, True)], run, description, False)


def _begun(
    output: Path,
    repository: "Repository",
    run: ArchiveRun,
    description: Mapping[str, Any],
    growth: Growth | None,
    overwrite: bool,
) -> tuple[ArchiveRun, Manifest]:
    """Go on with the same run if it was broken off, else begin one: the run with its place, and its record."""
    folder = run_folder(output)
    inner = folder / APPEND
    assert isinstance(run.writer, ZarrWriter), "a repository takes the chunks of a store"
    writer = IcechunkWriter(run.writer, inner / output.name, repository)
    kept = {} if growth is None else growth.kept
    run = replace(run, writer=writer)
    if growth is not None:
        run = replace(run, parts=growth.parts, begun=growth.begun)
    begun = record_of_append(output)
    is_same = begun is not None and not overwrite and digest(begun.run) == digest(description)
    if begun is not None and is_same and _units(begun) <= committed(repository) | set(kept):
        return run, begun
    shutil.rmtree(inner, ignore_errors=True)
    begin_work(repository)
    prepared = writer.prepare() if growth is None else writer.extend()
    inner.mkdir()
    if growth is not None and growth.begun is not None:
        shutil.copyfile(folder / SUMS, inner / SUMS)
    records: list[dict[str, Any]] = [
        {"prepared": True, "files": prepared},
        {"n_kept": len(kept), "begun": []},
    ]
    records += [dict(each.record) for each in kept.values()]
    history = writer.template.attrs["history"]
    return run, Manifest.create(inner / MANIFEST, description, history, records)


def _units(manifest: Manifest) -> set[int]:
    return {unit["unit"] for unit in manifest.units}
