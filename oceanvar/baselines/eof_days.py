"""Optimal interpolation of each time by itself, with the covariance of the spatial modes (Beckers et al. 2006).

https://doi.org/10.5194/os-2-183-2006: amplitudes of unit variance, loadings L = maps / sqrt(n), noise variance mu^2,
and L_p the loadings of the cells that were observed.
"""

from dataclasses import dataclass

import numpy as np

from oceanvar.baselines.eofs import Modes
from oceanvar.baselines.gappy import Gappy

N_CELLS = 2048
"""Cells in the work at once."""

SMALLEST = 1e-12
"""Of the variance of the observations: noise counts as at least so much."""


@dataclass(frozen=True)
class Days:
    """What the observed cells of each time say of the amplitudes.

    Parameters
    ----------
    known : array (n, k)
        Eigenvalues of L_p^T L_p.
    axes : array (n, k, k)
        Its eigenvectors, columns.
    projected : array (n, k)
        L_p^T times the observed anomalies.
    noise : float
        mu^2.
    """

    known: np.ndarray
    axes: np.ndarray
    projected: np.ndarray
    noise: float

    def times(self, factor: float = 1.0) -> np.ndarray:
        """Temporal modes (n, k) by optimal interpolation: (L_p^T L_p + mu^2)^-1 L_p^T x, over the root of n.

        Parameters
        ----------
        factor : float
            By which the noise is more: what the modes leave is no white noise, and neighbours have it in common.
        """
        along = np.einsum("nij,ni->nj", self.axes, self.projected) / (self.known + factor * self.noise)
        found = np.einsum("nij,nj->ni", self.axes, along)
        return (found / np.sqrt(len(found))).astype(np.float32)

    def roots(self, factor: float = 1.0) -> np.ndarray:
        """Roots R (n, k, k) of the covariance of errors: the variance at a cell is the squared norm of R maps."""
        noise = factor * self.noise
        left = np.sqrt(noise / (self.known + noise) / len(self.known))
        return (left[:, :, np.newaxis] * self.axes.transpose(0, 2, 1)).astype(np.float32)


def days_of(matrix: Gappy, modes: Modes) -> Days:
    """Look at the observed cells of each time.

    Noise is what the modes leave of the observations, but for the share that they are fitted to.
    """
    (n, m), k = matrix.seen.shape, modes.number
    rows, columns = np.triu_indices(k)
    products, projected = np.zeros((n, len(rows))), np.zeros((n, k))
    for first in range(0, m, N_CELLS):
        cells = slice(first, first + N_CELLS)
        seen, loadings = matrix.seen[:, cells], modes.maps[:, cells] / np.float32(np.sqrt(n))
        products += seen.astype(np.float32) @ (loadings[rows] * loadings[columns]).T
        projected += np.where(seen, matrix.values[:, cells] - modes.level[cells], np.float32(0)) @ loadings.T
    gram = np.zeros((n, k, k))
    gram[:, rows, columns] = gram[:, columns, rows] = products
    known, axes = np.linalg.eigh(gram)
    noise = max(modes.misfit * of_free(matrix.seen, k), SMALLEST)
    return Days(np.maximum(known, 0.0), axes, projected, noise)


def of_free(seen: np.ndarray, n_modes: int) -> float:
    """Number of observations over those that are left when so many modes are fitted, at most 10."""
    n_seen = int(np.count_nonzero(seen))
    return n_seen / max(n_seen - n_modes * (sum(seen.shape) - n_modes), 0.1 * n_seen)
