"""A matrix with gaps, of times and cells side by side."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

N_COLUMNS = 4096
"""Cells in the work at once: a block of a year fits into the cache."""


@dataclass(frozen=True)
class Gappy:
    """Anomalies at n times and m cells.

    Parameters
    ----------
    values : array (n, m)
        In standard deviations, float32. What stands in the gaps is a first guess.
    seen : bool array (n, m)
        Where they were observed.
    neighbours : int array (p, 2)
        Cells beside each other.
    parts : tuple of slice
        Cells that have a mean in common which is still to be fitted.
    """

    values: np.ndarray
    seen: np.ndarray
    neighbours: np.ndarray
    parts: tuple[slice, ...] = ()

    def of_cells(self, cells: np.ndarray) -> "Gappy":
        """Copy of some cells, by their numbers in order."""
        number = np.full(self.values.shape[1], -1)
        number[cells] = np.arange(len(cells))
        pairs = number[self.neighbours]
        parts = tuple(slice(*np.searchsorted(cells, (part.start, part.stop))) for part in self.parts)
        return Gappy(self.values[:, cells], self.seen[:, cells], pairs[(pairs >= 0).all(1)], parts)

    def without(self, withheld: np.ndarray, guess: np.ndarray | None = None) -> "Gappy":
        """Copy without some observations, with a first guess (n, m) or 0 in the gaps."""
        left = self.seen & ~withheld
        values = np.where(left, self.values, np.float32(0) if guess is None else guess)
        return Gappy(values, left, self.neighbours, self.parts)


def blocks(matrix: np.ndarray) -> Iterator[slice]:
    """Columns of a matrix, as many at once as fit into the cache."""
    for first in range(0, matrix.shape[1], N_COLUMNS):
        yield slice(first, first + N_COLUMNS)
