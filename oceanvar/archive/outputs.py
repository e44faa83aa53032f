"""What lies under the final name of an output: whether it is whole, ours, and may be replaced."""

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import xarray as xr

from oceanvar.archive.contents import faults
from oceanvar.archive.icechunks import folder_of, unreadable
from oceanvar.archive.manifest import MANIFEST, Manifest
from oceanvar.archive.reading import NETCDF
from oceanvar.archive.writers import AbstractWriter
from oceanvar.errors import OceanVarError, StoreError

MARK = "oceanvar_record"
"""Attribute of an analysis that says where the record of its run is kept, relative to where it lies."""

APPEND = "append"
"""Folder in that of a run in which an analysis is extended, beside the one that readers see."""


def run_folder(output: str | Path) -> Path:
    """Name the folder that keeps the record of the run to an output, and the output until it is complete."""
    output = Path(output)
    return output.with_name(output.name + ".run")


def completed(output: Path) -> Manifest | None:
    """Read the record of the run that made an output, if there is one and it is over."""
    folder = run_folder(output)
    manifest = record_of_append(output)
    if manifest is None or manifest.summary is None or (folder / APPEND / output.name).exists():
        manifest = Manifest.read(folder / MANIFEST)
    # Else a kill came after an extended output had got its place, and before its record had.
    is_over = manifest is not None and manifest.summary is not None and manifest.is_prepared
    return manifest if is_over and output.exists() and not (folder / output.name).exists() else None


def record_of_append(output: Path) -> Manifest | None:
    """Read the record of an append that is at work or was broken off; one that is damaged is none: it is begun anew."""
    with suppress(StoreError):
        manifest = Manifest.read(run_folder(output) / APPEND / MANIFEST)
        return manifest if manifest is not None and manifest.is_prepared else None
    return None


def record_of(output: Path) -> tuple[Manifest, dict[str, Any]]:
    """Record of the run that made an output, and its summary.

    Raises
    ------
    StoreError
        If there is no record of a complete run.
    """
    manifest = completed(output)
    summary = None if manifest is None else manifest.summary
    if manifest is None or summary is None:
        raise StoreError(f"{str(output)!r} holds no record of a complete run ({MANIFEST})")
    return manifest, summary


def in_flight(output: str | Path) -> list[str]:
    """Name the units that an append is at work on, or was when it was broken off: none of them is in the output yet.

    Parameters
    ----------
    output : path-like
        Output of `assimilate_archive`.

    Returns
    -------
    list of str
        Names of units, in the order of time; empty where no append is at work.
    """
    output = folder_of(output)
    manifest = record_of_append(output)
    if manifest is None or not (run_folder(output) / APPEND / output.name).exists():
        return []
    return list(next((record["begun"] for record in manifest.records if "begun" in record), []))


def verify(output: str | Path) -> dict[str, str]:
    """Read every file of an analysis, and compare it with what was written.

    Of an Icechunk repository what readers see is read to its end: every chunk has a checksum, and what cannot be read
    is named by its variable.

    Parameters
    ----------
    output : path-like
        Output of `assimilate_archive`; the record of its run lies beside it.

    Returns
    -------
    dict
        Files that are missing, cut or altered, by their names below `output`, and what is wrong with each; empty where
        all are as they were written. ``assimilate_archive(..., resume=True, verify=True)`` computes the units that
        they belong to anew.

    Raises
    ------
    StoreError
        If there is no record of a complete run.
    """
    output = folder_of(output)
    manifest, summary = record_of(output)
    if manifest.run["output"] == "icechunk":
        return unreadable(output)
    found = faults(output, manifest.prepared, deep=True)
    for unit in manifest.units:
        found |= faults(output, unit.get("files", {}), deep=True)
    n_lost = summary["n_units"] - len(manifest.units)
    if n_lost:
        found[MANIFEST] = f"lacks {n_lost} of {summary['n_units']} units"
    return found


def damaged(writer: AbstractWriter, manifest: Manifest, deep: bool) -> dict[int, str]:
    """Units that a record calls finished and that are not as they were written, and why; of a complete run all units.

    Parameters
    ----------
    writer : AbstractWriter
        What has written them.
    manifest : Manifest
        The record.
    deep : bool
        Read the files; else only their sizes are looked at.
    """
    n_units, found = writer.n_units, {}
    if manifest.summary is not None:
        missing = set(range(n_units)) - {unit["unit"] for unit in manifest.units}
        found = dict.fromkeys(missing, "the record lacks it")
    before = faults(writer.folder, manifest.prepared, deep)
    for unit in manifest.units:
        number, contents = unit["unit"], unit.get("files", {})
        if number not in range(n_units):
            found[number] = "the run has no such unit"
            continue
        wrong = before or faults(writer.folder, contents, deep)
        if contents and set(contents) != {
            file.relative_to(writer.folder).as_posix() for file in writer.files(number)
        }:
            wrong = {"the record": "names files of another unit"}
        if wrong:
            found[number] = " ".join(next(iter(wrong.items())))
    return found


def check_free(output: Path, overwrite: bool) -> None:
    """Demand that nothing has the name of an output, or an analysis that may be replaced.

    Raises
    ------
    StoreError
        If something has, and is not to be replaced or was not made by a run.
    """
    if not os.path.lexists(output):
        return
    if not overwrite:
        raise StoreError(f"the output {str(output)!r} exists: choose another name, or overwrite it")
    if not _is_ours(output):
        raise StoreError(f"{str(output)!r} is not an analysis that may be overwritten: remove it yourself")


def _is_ours(path: Path) -> bool:
    """Say whether a run of ours has made a folder: by its record, or the mark in what it holds."""
    if not path.is_dir() or path.is_symlink():
        return False
    with suppress(OceanVarError):  # a record that cannot be read says nothing
        if completed(path) is not None:
            return True
    names = sorted(path.iterdir())
    if not names or not all(each.match("analysis_*.nc") for each in names):
        with suppress(OSError, ValueError, KeyError, TypeError):
            return MARK in json.loads((path / "zarr.json").read_text())["attributes"]
        return False
    for each in names:
        with suppress(OSError, ValueError), NETCDF, xr.open_dataset(each, engine="netcdf4") as ds:
            return MARK in ds.attrs
    return False


def replace_output(output: Path, data: Path) -> None:
    """Give complete data the final name; what had it is removed last, and gets it back after a failure."""
    if not output.exists():
        data.rename(output)
        return
    old = output.with_name(f"{output.name}.old-{uuid4().hex}")
    output.rename(old)
    try:
        data.rename(output)
    except BaseException:
        old.rename(output)
        raise
    shutil.rmtree(old)
