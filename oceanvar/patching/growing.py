"""A record that grows: which rows (times) other patches change, and which sums stay.

The last patch is shifted back to end with the record, and starts are joined to groups that share batches. So a few more
rows at the end change the last group, and with it all rows that it reaches.
"""

from dataclasses import replace

import numpy as np

from oceanvar.patching.grids import PatchGrid
from oceanvar.patching.streaming import Sums, TimeStream


def of_length(stream: TimeStream, n_rows: int) -> TimeStream:
    """The same stream over a record of another number of rows, at least those of a patch.

    Parameters
    ----------
    stream
        Patches of a record.
    n_rows
        Rows of the other one.
    """
    grid = stream.job.grid
    sizes = {**grid.sizes, grid.dims[0]: n_rows}
    other = PatchGrid(sizes, grid.patch, grid.overlap, grid.periodic)
    return TimeStream(replace(stream.job, grid=other), stream.batch_shape)


def changed_rows(before: TimeStream, now: TimeStream, touched: np.ndarray) -> np.ndarray:
    """Rows whose stitched values another record may give other bits.

    A group of patches gives the same bits as before if it has the same starts, and so the same batches, and none of the
    rows that it reads is another one. A row is the same if the same groups reach it.

    Parameters
    ----------
    before, now
        Patches of the old record and of the new one.
    touched
        Rows with other inputs than before, boolean, as many as the longer record has.

    Returns
    -------
    ndarray
        Boolean, one for each row of the new record.
    """
    changed = np.zeros(max(before.size, now.size), bool)
    known = set(before.groups)
    for group in known.symmetric_difference(now.groups):
        changed[group[0] : group[-1] + now.length] = True
    for group in known.intersection(now.groups):
        reached = slice(group[0], group[-1] + now.length)
        changed[reached] |= touched[reached].any()
    return changed[: now.size]


def still_valid(sums: Sums, before: TimeStream, now: TimeStream, touched: np.ndarray) -> bool:
    """Whether another record can begin with sums of an old one: of its first groups, as they were.

    Parameters
    ----------
    sums
        What the first groups of the old record add up to.
    before, now, touched
        As of `changed_rows`.
    """
    added, others = now.groups[: sums.n_groups], now.groups[sums.n_groups :]
    reaching = [group for group in added if group[-1] + now.length > sums.first]
    return (
        added == before.groups[: sums.n_groups]
        and not any(touched[group[0] : group[-1] + now.length].any() for group in reaching)
        and all(group[0] >= sums.first for group in others)
    )
