"""Error of an analysis by EOFs: what the observed cells of each time say of the modes, and what these leave."""

from dataclasses import dataclass

import numpy as np

from oceanvar.baselines.eof_days import N_CELLS, days_of, of_free
from oceanvar.baselines.eofs import Modes
from oceanvar.baselines.gappy import Gappy

MOST_PAIRS = 20_000
"""Neighbours that tell how much of the misfit is white, drawn at random."""


@dataclass(frozen=True)
class ErrorModel:
    """Error variances of an analysis at time t and cell i.

    Optimal interpolation with the covariance of the modes (Beckers et al. 2006,
    https://doi.org/10.5194/os-2-183-2006) gives the variance of what observations leave of the modes'
    amplitudes. To this are added what the modes themselves miss because each cell was seen at n_i of n times, the
    noise times (n / n_i) sum_k v_tk^2, and the variance of what lies beyond the modes.

    Parameters
    ----------
    roots : array (n, k, k)
        The variance by optimal interpolation is the squared norm of ``roots[t] @ maps[:, i]``.
    noise : float
        Variance of the observations that the modes do not span, signal or not.
    beyond : float
        Variance of the signal in it, at a gap: what does not change from cell to cell.
    beyond_seen : float
        The same of what the modes leave at observations, to which they are fitted.
    leverage : array (n,)
        Sum of the squared temporal modes.
    rareness : array (m,)
        n / n_i.
    """

    roots: np.ndarray
    noise: float
    beyond: float
    beyond_seen: float
    leverage: np.ndarray
    rareness: np.ndarray

    def at(self, modes: Modes, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Variance of the error of what the modes span, at single points."""
        own = np.empty(len(rows))
        for row in np.unique(rows):
            here = rows == row
            own[here] = ((self.roots[row] @ modes.maps[:, columns[here]]) ** 2).sum(0)
        return own + self.noise * self.leverage[rows] * self.rareness[columns]


def error_model(matrix: Gappy, modes: Modes, factor: float) -> ErrorModel:
    """Estimate it from modes and what they leave of the observations that they are of; `factor` as of `Days.times`."""
    days = days_of(matrix, modes)
    white = _white_variance(matrix, modes)
    beyond = 0.0 if white is None else max(modes.misfit - white, 0.0)
    return ErrorModel(
        days.roots(factor),
        days.noise,
        beyond * of_free(matrix.seen, modes.number),
        beyond,
        (modes.times.astype(np.float64) ** 2).sum(1),
        len(matrix.seen) / np.maximum(matrix.seen.sum(0), 1),
    )


def _white_variance(matrix: Gappy, modes: Modes) -> float | None:
    """Half the mean square difference of the misfit of neighbours, None without any: what changes from cell to cell."""
    values, seen, pairs = matrix.values, matrix.seen, matrix.neighbours
    drawn = np.random.default_rng(0).permutation(len(pairs))[:MOST_PAIRS]
    total, n_pairs = 0.0, 0
    for first in range(0, len(drawn), N_CELLS):
        left, right = pairs[drawn[first : first + N_CELLS]].T
        both = seen[:, left] & seen[:, right]
        change = (
            values[:, right] - values[:, left] - modes.times @ (modes.maps[:, right] - modes.maps[:, left])
        )
        total += float((change[both].astype(np.float64) ** 2).sum())
        n_pairs += int(np.count_nonzero(both))
    return total / (2 * n_pairs) if n_pairs else None
