"""Stretches of units of an archive: which are missing, and how several processes share them."""

import itertools
from collections.abc import Collection, Sequence

Stretch = tuple[int, int]
"""Units [first, stop), which follow each other in time."""


def missing(done: Collection[int], stretch: Stretch) -> list[Stretch]:
    """Stretches of those units of a stretch that are not done, as long as possible, in order.

    Parameters
    ----------
    done : collection of int
        Finished units.
    stretch : (int, int)
        Units to look at.
    """
    gaps: list[Stretch] = []
    for unit in range(*stretch):
        if unit in done:
            continue
        if gaps and gaps[-1][1] == unit:
            gaps[-1] = (gaps[-1][0], unit + 1)
        else:
            gaps.append((unit, unit + 1))
    return gaps


def divided(gaps: Sequence[Stretch], n_workers: int) -> list[Stretch]:
    """Cut stretches so that each worker gets about the same number of units, with as few cuts as possible.

    Parameters
    ----------
    gaps : sequence of (int, int)
        Stretches to cut.
    n_workers : int
        Number of workers, at least one.

    Returns
    -------
    list of (int, int)
        At most ``n_workers + len(gaps)`` stretches, in order.
    """
    pieces: list[Stretch] = []
    share = max(1, -(-sum(stop - first for first, stop in gaps) // n_workers))
    for first, stop in gaps:
        n_units = stop - first
        n_pieces = -(-n_units // share)
        cuts = [first + i * n_units // n_pieces for i in range(n_pieces + 1)]
        pieces += itertools.pairwise(cuts)
    return pieces
