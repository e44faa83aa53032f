"""What the record of a run says about a unit, time by time, and about the whole."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Record = dict[str, Any]

_BY_TIME = ("n_missing", "n_unhealthy", "n_not_used")
"""Counts that a record has for each time of a unit."""


@dataclass(frozen=True, eq=False)
class Part:
    """What of a unit is written anew.

    Parameters
    ----------
    rows : (int, int)
        These times, counted in the whole record; the others of the unit stay as they were.
    before : Path
        The analysis that holds the others.
    record : mapping
        What its record says about the unit.
    """

    rows: tuple[int, int]
    before: Path
    record: Mapping[str, Any]

    def joined(self, new: Record) -> Record:
        """What is to be said about the whole unit, from what is said about the new times."""
        first, n_times = new["first"], new["n_times"]
        begin, end = (row - first for row in self.rows)
        found = dict(new)
        for name in _BY_TIME:
            own, old = new[name], self.record[name]
            is_known = own is not None and old is not None
            found[name] = [*old[:begin], *own, *old[end:n_times]] if is_known else None
        others = {*range(first, self.rows[0]), *range(self.rows[1], first + n_times)}
        found["unobserved"] = sorted({*others.intersection(self.record["unobserved"]), *new["unobserved"]})
        return found


def by_time(condition: np.ndarray, axis: int) -> list[int]:
    """Count for each time how many values meet a condition.

    Parameters
    ----------
    condition : ndarray
        Booleans.
    axis : int
        That of time, counted from the end: negative.
    """
    others = tuple(each for each in range(condition.ndim) if each != condition.ndim + axis)
    return [int(n) for n in condition.sum(axis=others)]


def counts(units: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums over all units, and the times without observations."""
    return {
        "n_missing": _total(unit["n_missing"] for unit in units),
        "n_unhealthy": _total(unit["n_unhealthy"] for unit in units),
        "n_not_used": _total(unit["n_not_used"] for unit in units),
        "n_times_unobserved": len(unobserved(units)),
        "seconds": {
            work: round(sum(unit["seconds"].get(work, 0.0) for unit in units), 3)
            for work in ("reading", "solving", "writing")
        },
    }


def unobserved(units: Iterable[Mapping[str, Any]]) -> set[int]:
    """Times without any observation, counted in the whole record."""
    return {row for unit in units for row in unit["unobserved"]}


def _total(found: Iterable[Sequence[int] | None]) -> int | None:
    """Sum, or None where nothing was counted."""
    known = [each for each in found if each is not None]
    return sum(map(sum, known)) if known else None
