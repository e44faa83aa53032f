"""Samplers of a number of cells, scattered or on a lattice, and of parts of what has been seen elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from oceanvar.errors import ConfigError, GridMismatchError
from oceanvar.observing.samplers import AbstractSampler


@final
@dataclass(frozen=True)
class RandomCells(AbstractSampler):
    """A number of cells at random places of a window, of all its variables and times together.

    Parameters
    ----------
    fewest, most : int
        Between which the number lies, each as likely as the others; drawn afresh for every window. A window of
        fewer cells is seen everywhere.

    Raises
    ------
    ConfigError
        If the numbers are not in order, or one is negative.
    """

    fewest: int
    most: int

    def __post_init__(self) -> None:
        if not 0 <= self.fewest <= self.most:
            raise ConfigError(f"RandomCells needs 0 <= fewest <= most; got {self}")

    def mask(
        self, sizes: Mapping[str, int], coords: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """Observed cells of one window."""
        del coords
        shape = tuple(sizes.values())
        cells = np.zeros(int(np.prod(shape)), dtype=bool)
        cells[rng.permutation(cells.size)[: rng.integers(self.fewest, self.most + 1)]] = True
        return cells.reshape(shape)


@final
@dataclass(frozen=True)
class Lattice(AbstractSampler):
    """A regular lattice of cells over the last two dimensions; all others share it.

    Parameters
    ----------
    n_cells : int
        Exactly so many.
    staggered : bool
        Triangles, nearly equilateral, instead of squares.
    shift : float
        The lattice is moved by at most this share of the distance of its rows, each time anew; from 0 to 0.5.

    Raises
    ------
    ConfigError
        If a number is out of range, or, in `mask`, so many cells do not lie on a lattice of the window.
    """

    n_cells: int
    staggered: bool = True
    shift: float = 0.0

    def __post_init__(self) -> None:
        if self.n_cells < 1 or not 0 <= self.shift <= 0.5:
            raise ConfigError(f"Lattice needs n_cells >= 1 and a shift from 0 to 0.5; got {self}")

    def mask(
        self, sizes: Mapping[str, int], coords: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """Observed cells of one window."""
        del coords
        *_, n_y, n_x = sizes.values()
        moved = rng.uniform(-self.shift, self.shift, 2)
        mask = np.zeros((n_y, n_x), dtype=bool)
        flatness = np.sqrt(3) / 2 if self.staggered else 1.0
        n_rows = max(1, round(np.sqrt(self.n_cells * n_y / n_x / flatness)))
        ends = np.round(np.linspace(0, self.n_cells, n_rows + 1)).astype(int)
        for row, n in enumerate(np.diff(ends)):
            offset = (0.25 if row % 2 else -0.25) if self.staggered else 0.0
            at = (np.arange(n) + 0.5 + offset + moved[1]) * n_x / n
            height = np.clip((row + 0.5 + moved[0]) * n_y / n_rows, 0, n_y - 1)
            mask[int(height), np.clip(at, 0, n_x - 1).astype(int)] = True
        if mask.sum() != self.n_cells:
            raise ConfigError(
                f"{self.n_cells} cells do not lie apart on a lattice of {n_y} x {n_x}: take fewer"
            )
        return np.broadcast_to(mask, tuple(sizes.values())).copy()


@final
@dataclass(frozen=True, eq=False)
class AnyPart(AbstractSampler):
    """What one of several instruments saw in a part of a larger box and a longer time, each time another part.

    A year of satellite passes, computed once, serves so for windows whose own places and dates do not matter.

    Parameters
    ----------
    masks : sequence of ndarray of bool
        Seen cells of each instrument over the dimensions of a window but the variables, which share them.

    Raises
    ------
    ConfigError
        If there is none.
    GridMismatchError
        In `mask`, if a window is larger than what was seen, or has other dimensions.
    """

    masks: Sequence[np.ndarray]

    def __post_init__(self) -> None:
        if not self.masks:
            raise ConfigError("AnyPart needs at least one mask")

    def mask(
        self, sizes: Mapping[str, int], coords: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """Observed cells of one window."""
        del coords
        seen = self.masks[int(rng.integers(len(self.masks)))]
        shape = tuple(sizes.values())
        if seen.ndim != len(shape) - 1 or any(n < m for n, m in zip(seen.shape, shape[1:], strict=True)):
            raise GridMismatchError(
                f"what was seen has the shape {seen.shape}: no part of it is {dict(sizes)}"
            )
        corner = [rng.integers(n - m + 1) for n, m in zip(seen.shape, shape[1:], strict=True)]
        part = tuple(slice(start, start + m) for start, m in zip(corner, shape[1:], strict=True))
        return np.broadcast_to(seen[part], shape).copy()
