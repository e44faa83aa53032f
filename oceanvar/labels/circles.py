"""Longitudes on their circle: where it is cut, where it begins, and how points count on beyond the seam."""

import numpy as np

from oceanvar.errors import GridMismatchError
from oceanvar.labels.coordinates import CIRCLE

MAX_JUMP = 1.5
"""Greatest ratio of neighbouring steps of a grid that is stretched; where it is more, points are missing."""

ONE_PLACE = 0.01
"""Share of a step below which two points are one, in two precisions."""


def is_cut(given: np.ndarray) -> bool:
    """Whether monotonic longitudes are a circle cut elsewhere, or leave out more in their midst than outside."""
    steps = np.abs(np.diff(given))
    if not len(steps):
        return False
    usual, left_out = float(np.median(steps)), CIRCLE - float(np.ptp(given))
    if left_out <= ONE_PLACE * usual:
        return True
    if usual / MAX_JUMP <= left_out <= MAX_JUMP * usual:
        return _beginning(given, usual) not in (0, len(given) - 1)
    return steps.max() > max(MAX_JUMP * usual, left_out)


def begins_rightly(given: np.ndarray, step: float) -> bool:
    """Whether even longitudes are a region, or a circle from where `_beginning` has it."""
    west, left_out = float(min(given[0], given[-1])), CIRCLE - step * (len(given) - 1)
    is_first = (west + CIRCLE / 2 + ONE_PLACE * step) % CIRCLE < step
    return left_out > MAX_JUMP * step or (is_first and left_out >= step / MAX_JUMP)


def _beginning(given: np.ndarray, step: float) -> int:
    """Where a circle begins: at the first longitude from 180 degrees west on, wherever a file cuts it.

    Patches are counted from there, so that the map does not depend on the cut.
    """
    return int(np.argmin(np.mod(given + CIRCLE / 2 + ONE_PLACE * step, CIRCLE)))


def unrolled(given: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Longitudes that count on beyond the seam, from behind the widest gap of the circle."""
    turned = np.mod(given - given.min(), CIRCLE)
    index = np.argsort(turned, kind="stable")
    circle = np.append(turned[index], turned[index][0] + CIRCLE)
    gaps = np.diff(circle)
    check_distinct(np.where(gaps < ONE_PLACE * np.median(gaps), 0.0, gaps), given[index], name)
    widest, usual, n = int(np.argmax(gaps)), float(np.median(gaps)), len(index)
    # A region begins behind what it leaves out, even where it was given in two parts that follow each other.
    is_region = gaps[widest] > MAX_JUMP * usual
    first = widest + 1 if is_region else int(np.argmax(index == _beginning(given, usual)))
    index = np.roll(index, -first)
    values = given[index[0]] + np.mod(turned[index] - turned[index[0]], CIRCLE)
    if np.array_equal(index, np.arange(n)):
        return index, values, []  # Counting on behind the seam moves no data, and is taken back.
    if not is_region and np.array_equal(np.roll(index, index[0]), np.arange(n)):
        # Labels of one kind, so that files that were cut elsewhere are on one grid.
        values = values - CIRCLE * round((values[0] + CIRCLE / 2) / CIRCLE)
        return index, values, [f"goes all around, and was rolled to begin at {values[0]:g}"]
    return index, values, ["was not in order, and was sorted"]


def check_distinct(steps: np.ndarray, values: np.ndarray, name: str) -> None:
    """Refuse values of which some lie no further from the next than rounding; `name` is theirs, for the message."""
    twice = steps <= 1e-9 * max(1.0, float(np.abs(values).max()))
    if twice.any():
        raise GridMismatchError(
            f"{name} has {int(twice.sum())} point(s) twice, {values[np.argmax(twice)]:g} the first (in days since "
            "the first one, if it is a time; 0 and 360 degrees are one place): use drop_duplicates, or choose"
        )
