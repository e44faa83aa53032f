"""Cells that `scripts.ocean.sampling` observes without having learned where."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from oceanvar.observing.samplers import AbstractSampler


@dataclass(frozen=True)
class RandomCells(AbstractSampler):
    """Cells of a map at random, between `fewest` and `most` of them."""

    fewest: int
    most: int

    def mask(
        self, sizes: Mapping[str, int], coords: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """Observed cells of one window of one time."""
        del coords
        shape = tuple(sizes.values())
        cells = np.zeros(int(np.prod(shape)), dtype=bool)
        cells[rng.permutation(cells.size)[: rng.integers(self.fewest, self.most + 1)]] = True
        return cells.reshape(shape)


@dataclass(frozen=True)
class Lattice(AbstractSampler):
    """A regular lattice of `n_cells`, moved by at most `shift` of the distance of its rows, each time anew.

    Parameters
    ----------
    n_cells : int
        Exactly so many.
    staggered : bool
        Triangles, nearly equilateral, instead of squares.
    shift : float
        From 0 to 0.5.
    """

    n_cells: int
    staggered: bool = True
    shift: float = 0.0

    def mask(
        self, sizes: Mapping[str, int], coords: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """Observed cells of one window of one time."""
        del coords
        *_, n_y, n_x = sizes.values()
        moved = rng.uniform(-self.shift, self.shift, 2)
        mask = np.zeros((n_y, n_x), dtype=bool)
        flatness = np.sqrt(3) / 2 if self.staggered else 1.0
        n_rows = round(np.sqrt(self.n_cells * n_y / n_x / flatness))
        ends = np.round(np.linspace(0, self.n_cells, n_rows + 1)).astype(int)
        for row, n in enumerate(np.diff(ends)):
            offset = (0.25 if row % 2 else -0.25) if self.staggered else 0.0
            at = (np.arange(n) + 0.5 + offset + moved[1]) * n_x / n
            mask[int((row + 0.5 + moved[0]) * n_y / n_rows), np.clip(at, 0, n_x - 1).astype(int)] = True
        return np.broadcast_to(mask, tuple(sizes.values()))
