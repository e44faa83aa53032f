"""Empirical orthogonal functions of a matrix with gaps, by iterations that fill them: DINEOF on arrays."""

import logging
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh, qr

from oceanvar.baselines.gappy import Gappy, blocks
from oceanvar.baselines.time_filter import TimeFilter

logger = logging.getLogger(__name__)

N_MORE = 5
"""Columns of the subspace beyond the modes that are wanted, which make them converge."""

N_POWERS = 3
"""Products with the matrix and its transpose that turn random columns into roughly its modes."""

RELAXATION = 1.8
"""Step of the filling in those of DINEOF: half the iterations; the same limit for anything between 0 and 2."""

LOOSE = 10.0
"""Tolerances to which the filling converges first, before noise is taken off the modes."""


@dataclass(frozen=True)
class Modes:
    """EOFs and what came of their iteration.

    Parameters
    ----------
    times : array (n, k)
        Temporal modes.
    maps : array (k, m)
        Spatial modes times their singular values.
    level : array (m,)
        Mean that was fitted beside them; ``times @ maps + level`` is the analysis.
    misfit : float
        Mean square of analysis minus observation.
    n_iterations : int
        How many it took.
    converged : bool
        Whether the last one changed less than the tolerance.
    """

    times: np.ndarray
    maps: np.ndarray
    level: np.ndarray
    misfit: float
    n_iterations: int
    converged: bool

    @property
    def number(self) -> int:
        """How many there are."""
        return len(self.maps)

    def analysis(self) -> np.ndarray:
        """Analysis at all times and cells, (n, m)."""
        return self.times @ self.maps + self.level

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Analysis at single points."""
        return np.einsum("pk,kp->p", self.times[rows], self.maps[:, columns]) + self.level[columns]


@dataclass(frozen=True)
class Iteration:
    """How EOFs are iterated.

    Parameters
    ----------
    tolerance : float
        Root mean square change of the analysis from one iteration to the next, in the units of the matrix.
    max_iterations : int
        After so many it ends anyway.
    shrink : bool
        Whether noise is taken off the singular values, see `shrinkage`.
    time_filter : TimeFilter, optional
        Of the temporal covariance.
    """

    tolerance: float
    max_iterations: int
    shrink: bool = True
    time_filter: TimeFilter | None = None

    @property
    def interpolates(self) -> bool:
        """Whether times are interpolated optimally in the end.

        The filling leaves those with few observations too near to the mean; with a filter they have neighbours.
        """
        return self.shrink and self.time_filter is None

    def fit(self, matrix: Gappy, n_modes: int, start: np.ndarray | None = None) -> Modes:
        """Fill the gaps by the leading modes, take the modes of what is filled, and so on until nothing changes.

        DINEOF (Beckers and Rixen 2003, https://doi.org/10.1175/1520-0426(2003)020<1839:ECADFF>2.0.CO;2): its limit
        is that of taking a whole singular value decomposition each time. Here a subspace follows the modes from
        one filling to the next (orthogonal iteration with a Rayleigh-Ritz step), which costs two products with the
        matrix. The mean is fitted too: that of the observations is not that of the field.

        Parameters
        ----------
        matrix : Gappy
            Its gaps are filled where they are.
        n_modes : int
            Modes at most; fewer are left where noise hides the others.
        start : array (n, l), optional
            Temporal modes to begin with.
        """
        shape = matrix.values.shape
        basis = self._first_basis(matrix.values, min(n_modes + N_MORE, *shape), start)
        level, shift, misfit = np.zeros(shape[1], np.float32), np.inf, np.inf
        strengths, last, change, n_iterations = self._strengths(matrix.seen), None, np.inf, 0
        while n_iterations < self.max_iterations:
            n_iterations += 1
            times, maps, squares = self._rotated(matrix.values, level, basis)
            weights = np.ones(n_modes)
            if strengths[0]:
                weights = shrinkage(squares[:n_modes], strengths[0] * misfit, shape)
            # Where noise hides all, one of amplitude 0 stays: the analysis is the mean.
            kept = np.flatnonzero(weights) if weights.any() else np.array([0])
            leading = self._unfiltered(matrix.values, level, times[:, kept], maps[kept])
            modes = times[:, kept], weights[kept, np.newaxis].astype(np.float32) * leading
            misfit, offsets, product = _refilled(matrix, *modes, level, maps)
            change = np.inf if last is None else float(np.hypot(_distance(modes, last), shift))
            last = modes
            if change < self.tolerance * (LOOSE if len(strengths) > 1 else 1.0):
                if len(strengths) == 1:
                    break
                strengths = strengths[1:]
            shift = _shifted(level, offsets, matrix)
            basis = qr(self._filtered(product - maps @ level), mode="economic")[0]
        logger.info("%d modes of %d, %d iterations, change %.2g", len(kept), n_modes, n_iterations, change)
        return Modes(*modes, level, misfit, n_iterations, change < self.tolerance and len(strengths) == 1)

    def _strengths(self, seen: np.ndarray) -> list[float]:
        """How much of the misfit counts as noise, one stage of the iteration after the other.

        None at first, while gaps are empty and the misfit is large. In the end more than all of it: with gaps the
        modes are as uncertain as with more noise in complete data, by something between 1 and the inverse of what
        was seen; their geometric mean does well with scattered gaps and with clouds.
        """
        if not self.shrink:
            return [0.0]
        kept = 1.0 if self.time_filter is None else self.time_filter.noise_kept
        return [0.0, kept, kept / np.sqrt(seen.mean())]

    def _first_basis(self, values: np.ndarray, size: int, start: np.ndarray | None) -> np.ndarray:
        """Of the leading modes, roughly; 0 at times that are only gaps, which nothing but a filter fills."""
        basis = np.random.default_rng(0).standard_normal((len(values), size))
        if start is not None:
            basis[:, : start.shape[1]] = start[:, :size]
        for _ in range(N_POWERS):
            basis = qr(basis, mode="economic")[0].astype(np.float32)
            basis = self._filtered(values @ (values.T @ basis))
        return qr(basis, mode="economic")[0]

    def _rotated(
        self, values: np.ndarray, level: np.ndarray, basis: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Modes within a subspace, of the matrix or its filtered one, and their squared singular values."""
        onto = basis if self.time_filter is None else self.time_filter.transposed(basis)
        maps = _product(onto, values, level)
        squares, rotation = eigh(_gram(maps))
        squares, rotation = np.maximum(squares[::-1], 0.0), rotation[:, ::-1]
        return (basis @ rotation).astype(np.float32), rotation.T.astype(np.float32) @ maps, squares

    def _unfiltered(
        self, values: np.ndarray, level: np.ndarray, times: np.ndarray, maps: np.ndarray
    ) -> np.ndarray:
        """Spatial modes of the matrix itself, as large as those of the filtered one."""
        if self.time_filter is None:
            return maps
        found = _product(times, values, level)
        old, new = (np.linalg.norm(each, axis=1, keepdims=True) for each in (maps, found))
        return found * (old / np.maximum(new, np.finfo(np.float32).tiny))

    def _filtered(self, block: np.ndarray) -> np.ndarray:
        return block if self.time_filter is None else self.time_filter(block)


def shrinkage(squares: np.ndarray, variance: float, shape: tuple[int, ...]) -> np.ndarray:
    """Factors of singular values that leave the smallest mean square error under white noise; 0 below its threshold.

    Gavish and Donoho (2017, https://doi.org/10.1109/TIT.2017.2653801), the shrinker for the Frobenius norm. Without
    it modes that a few observations support grow until they fit their noise.

    Parameters
    ----------
    squares : array (k,)
        Squared singular values of the matrix with noise.
    variance : float
        Of the noise of each entry.
    shape : tuple of int
        Of the matrix.
    """
    if variance <= 0:
        return np.ones(len(squares))
    ratio = min(shape) / max(shape)
    known = squares / (variance * max(shape))
    inside = np.maximum((known - ratio - 1) ** 2 - 4 * ratio, 0.0)
    return np.where(known > (1 + np.sqrt(ratio)) ** 2, np.sqrt(inside) / np.maximum(known, 1.0), 0.0)


def _product(times: np.ndarray, values: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Columns of an array (n, k) times the matrix without its level, (k, m)."""
    product = times.T.astype(np.float32) @ values
    product -= np.multiply.outer(times.sum(0).astype(np.float32), level)
    return product


def _refilled(
    matrix: Gappy, times: np.ndarray, maps: np.ndarray, level: np.ndarray, onto: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Fill gaps by modes; give the mean square misfit, its sum in each column, and the product with rows of `onto`."""
    values, seen = matrix.values, matrix.seen
    squares, offsets, product = 0.0, np.zeros(len(level)), np.zeros((len(values), len(onto)))
    for block in blocks(values):
        missing = times @ maps[:, block] + level[block] - values[:, block]
        total, offset = np.vdot(missing, missing), missing.sum(0)
        np.copyto(missing, 0.0, where=seen[:, block])
        squares += float(total) - float(np.vdot(missing, missing))
        offsets[block] = offset - missing.sum(0)
        missing *= RELAXATION
        values[:, block] += missing
        product += values[:, block] @ onto[:, block].T
    return max(squares, 0.0) / np.count_nonzero(seen), offsets, product


def _shifted(level: np.ndarray, offsets: np.ndarray, matrix: Gappy) -> float:
    """Take the mean misfit off the level of each part; give the root mean square of that."""
    squares = 0.0
    for part in matrix.parts:
        shift = offsets[part].sum() / max(int(np.count_nonzero(matrix.seen[:, part])), 1)
        level[part] -= np.float32(shift)
        squares += shift**2 * len(level[part])
    return float(np.sqrt(squares / len(level)))


def _gram(rows: np.ndarray) -> np.ndarray:
    """Products of rows with each other, in double precision."""
    gram = np.zeros((len(rows), len(rows)))
    for block in blocks(rows):
        part = rows[:, block].astype(np.float64)
        gram += part @ part.T
    return gram


def _distance(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> float:
    """Root mean square difference of two products, from the small sides of their factors."""
    (times, maps), (old_times, old_maps) = one, other
    left = np.concatenate([times, -old_times], axis=1).astype(np.float64)
    square = float(np.vdot(left.T @ left, _gram(np.concatenate([maps, old_maps]))))
    return float(np.sqrt(max(square, 0.0) / (len(times) * maps.shape[1])))
