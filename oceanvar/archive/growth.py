"""What becomes of an analysis when there are more files, or others: what of it stays, and what is solved again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oceanvar.archive.contents import faults
from oceanvar.archive.kept_sums import load_sums
from oceanvar.archive.manifest import Manifest
from oceanvar.archive.outputs import run_folder
from oceanvar.archive.records import Part, Record
from oceanvar.archive.runs import ArchiveRun, time_stream
from oceanvar.errors import StoreError
from oceanvar.patching.growing import changed_rows, of_length, still_valid
from oceanvar.patching.streaming import Sums, TimeStream

_OWN_CHECK = ("begins", "files", "skipped", "rows", "values")
"""What of the description of a run is compared in another way than that it must be equal; so is the number of times."""

_N_NAMED = 5


@dataclass(frozen=True, eq=False)
class Base:
    """An analysis, or what is finished of one, and its record.

    Parameters
    ----------
    folder : Path
        Where its data lie.
    manifest : Manifest
        Its record.
    is_whole : bool
        Whether it is a complete output, of whose units single times may be taken.
    """

    folder: Path
    manifest: Manifest
    is_whole: bool


@dataclass(frozen=True, eq=False)
class Kept:
    """A unit that stays as it is: where its files lie, and what is said about it."""

    folder: Path
    record: Record


@dataclass(frozen=True, eq=False)
class Growth:
    """What a run makes of what is there.

    Parameters
    ----------
    kept : mapping of int to Kept
        Units that stay.
    parts : mapping of int to Part
        Units of which some times stay. All others are solved as a whole.
    begun : Sums, optional
        What the first patches add up to at the end, if that was kept and stays.
    """

    kept: Mapping[int, Kept]
    parts: Mapping[int, Part]
    begun: Sums | None


def check_grown(base: Base, description: Mapping[str, Any], dim: str) -> None:
    """Demand that a run extends what is there: that it has other files at most.

    Raises
    ------
    ModelMismatchError, StoreError
        If anything else differs, the first time is another one, or files are gone whose times no other file has.
    """
    run, what = base.manifest.run, repr(str(base.folder))
    if not run.get("append"):
        raise StoreError(
            f"{what} was not begun with append=True (--append), so that it does not say which of its times are final: "
            "begin it anew with append and overwrite, or choose another output"
        )
    fixed = Manifest(base.manifest.path, _fixed(run, dim), "")
    fixed.check_same(_fixed(description, dim), what)
    if run["begins"] != description["begins"]:
        raise StoreError(
            f"{what} begins at {run['begins']}, and the files at {description['begins']}: every patch would move; give "
            "files that begin there, or map all anew with overwrite"
        )
    then, now = run["rows"], description["rows"]
    gone = [key for key, rows in then.items() if key not in now and not _covered(rows, now.values())]
    if gone:
        more = f" and {len(gone) - _N_NAMED} more" if len(gone) > _N_NAMED else ""
        why = "; ".join(filter(None, (description["skipped"].get(key) for key in gone[:_N_NAMED])))
        raise StoreError(
            f"{len(gone)} file(s) of {what} are gone, and no other has their times: {', '.join(gone[:_N_NAMED])}{more}"
            f"{f' ({why})' if why else ''}: bring them back, or map all anew with overwrite"
        )


def grown(bases: Sequence[Base], run: ArchiveRun, description: Mapping[str, Any], deep: bool) -> Growth:
    """Compare the patches and inputs of a run with those of what is there.

    Parameters
    ----------
    bases : sequence of Base
        What is there; `check_grown` was content with it.
    run : ArchiveRun
        What is to be there.
    description : mapping
        Its description.
    deep : bool
        Read the files of units that could stay; else only their sizes are looked at.
    """
    kept: dict[int, Kept] = {}
    parts: dict[int, Part] = {}
    begun = None
    for base in bases:
        comparison = _Comparison.of(base.manifest.run, run, description)
        is_changed = comparison.changed
        begun = _sums_of(base, comparison) if base.is_whole else begun
        for record in base.manifest.units:
            unit = record["unit"]
            if unit in kept or not _is_sound(base, record, run, deep):
                continue
            first, stop = run.writer.bounds[unit : unit + 2]
            # Times behind the end of what is there are changed too.
            changed = first + np.flatnonzero(is_changed[first:stop])
            is_part = base.is_whole and 0 < len(changed) < stop - first
            has_these = record["n_times"] == stop - first and record["times"] == run.writer.times(unit)
            if not len(changed) and has_these:
                kept[unit] = Kept(base.folder, _without_sums(record, begun if base.is_whole else None))
            # What is altered in the files of a part would be copied, or end the run.
            elif is_part and not faults(base.folder, record["files"], deep=True):
                parts[unit] = Part((int(changed[0]), int(changed[-1]) + 1), base.folder, record)
    return Growth(kept, {unit: part for unit, part in parts.items() if unit not in kept}, begun)


def _fixed(run: Mapping[str, Any], dim: str) -> dict[str, Any]:
    """What must not change."""
    grid = {each: n for each, n in run["grid"].items() if each != dim}
    return {key: value for key, value in run.items() if key not in _OWN_CHECK} | {"grid": grid}


def _covered(rows: Sequence[int], others: Any) -> bool:
    """Whether files of the same source have all of these rows."""
    source, first, stop = rows
    missing = set(range(first, stop))
    for number, begin, end in others:
        if number == source:
            missing.difference_update(range(begin, end))
    return not missing


@dataclass(frozen=True, eq=False)
class _Comparison:
    """The patches of a record then and now, and the times whose inputs are others."""

    before: TimeStream
    now: TimeStream
    touched: np.ndarray

    @classmethod
    def of(cls, then: Mapping[str, Any], run: ArchiveRun, description: Mapping[str, Any]) -> "_Comparison":
        now = time_stream(run.setup)
        before = of_length(now, then["grid"][run.index.dim])
        return cls(before, now, _touched(then, description, max(before.size, now.size)))

    @property
    def changed(self) -> np.ndarray:
        """Times whose values or status may not be those of then."""
        changed = changed_rows(self.before, self.now, self.touched)
        low, high = sorted((self.before.n_final, self.now.n_final))
        changed[low : min(high, self.before.size)] = True
        return changed


def _sums_of(base: Base, comparison: _Comparison) -> Sums | None:
    """What was kept with a complete output, if the new record can begin with it."""
    record = next((unit["sums"] for unit in base.manifest.units if "sums" in unit), None)
    sums = None if record is None else load_sums(run_folder(base.folder), record)
    is_valid = sums is not None and still_valid(sums, comparison.before, comparison.now, comparison.touched)
    return sums if is_valid else None


def _without_sums(record: Record, begun: Sums | None) -> Record:
    """What is said about a unit that stays: nothing of seconds, and of sums where they stay too."""
    return {key: value for key, value in record.items() if key != "sums" or begun is not None} | {
        "seconds": {}
    }


def _touched(then: Mapping[str, Any], now: Mapping[str, Any], n: int) -> np.ndarray:
    """Times whose inputs are others."""
    touched = np.zeros(n, bool)
    for key in {**then["files"], **now["files"]}:
        old, new = ((each["files"].get(key), each["rows"].get(key)) for each in (then, now))
        if old != new:
            for _, rows in (old, new):
                touched[slice(*rows[1:]) if rows else slice(0)] = True
    for name, new in now["values"].items():
        old = then["values"][name]
        differ = [i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b]
        touched[differ] = True
    return touched


def _is_sound(base: Base, record: Record, run: ArchiveRun, deep: bool) -> bool:
    """Whether a unit of what is there is one of the run, and as it was written."""
    unit = record["unit"]
    if unit >= run.n_units or record["first"] != run.writer.bounds[unit]:
        return False
    return not faults(base.folder, record["files"], deep)
