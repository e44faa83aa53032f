"""Optimal interpolation of scattered observations in space and time, with a Gaussian covariance.

Source: Bretherton, Davis and Fandry (1976), "A technique for objective analysis and design of oceanographic
experiments applied to MODE-73", Deep-Sea Research 23, 559-582 (the Gauss-Markov estimate and its error).
"""

import numpy as np
from scipy.spatial import cKDTree

from oceanvar.baselines.covariance import GaussianCovariance
from oceanvar.errors import ConfigError
from oceanvar.labels.coordinates import LATITUDE, LONGITUDE

REACH = 5.0
"""Observations farther than this many lengths, where the correlation is 4e-6, are not used."""

BLOCK_BYTES = 32_000_000
"""Size of the stack of covariance matrices that are solved at once."""

_NUDGE = np.sqrt([2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0, 19.0]) * 1e-6
"""Shift in lengths of the search centre: equidistant observations on a grid rank alike in any subset."""


def interpolate_points(
    targets: np.ndarray,
    points: np.ndarray,
    values: np.ndarray,
    noise_std: float | np.ndarray,
    covariance: GaussianCovariance,
    n_nearest: int = 150,
    mean: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Analyse scattered observations at scattered targets, each from its nearest observations.

    Parameters
    ----------
    targets : array (n, d)
        Where the analysis is wanted; the columns follow ``covariance.lengths``.
    points : array (m, d)
        Where the observations are.
    values : array (m,)
        Observed values, all finite.
    noise_std : float or array (m,)
        Standard deviation of the independent errors of the observations, positive, in the units of `values`.
    covariance : GaussianCovariance
        Prior covariance of the signal about `mean`.
    n_nearest : int
        Number of observations used for each target, nearest in lengths and within 5 lengths: the cost of a
        target grows with its cube. All are used where there are fewer.
    mean : float
        Prior mean of the signal.

    Returns
    -------
    analysis : array (n,)
        Best linear estimate; `mean` where no observation is near.
    error_std : array (n,)
        Its standard deviation of error; ``covariance.std`` where no observation is near.

    Raises
    ------
    ConfigError
        When values, positions or noise are not finite, the noise or `n_nearest` is not positive.
    """
    noise = np.broadcast_to(np.asarray(noise_std, dtype=np.float64), values.shape)
    if not (np.isfinite(values).all() and np.isfinite(points).all() and np.isfinite(targets).all()):
        raise ConfigError("values, points and targets must all be finite: drop the missing ones first")
    if not (np.all(noise > 0) and np.isfinite(noise).all()) or n_nearest < 1:
        raise ConfigError(
            f"noise_std ({noise_std}) must be positive and finite, n_nearest ({n_nearest}) at least 1"
        )
    analysis = np.full(len(targets), mean, dtype=np.float64)
    error_std = np.full(len(targets), covariance.std, dtype=np.float64)
    if len(values) == 0:
        return analysis, error_std
    n_nearest = min(n_nearest, len(values))
    embedded, periods = covariance.embed(points)
    tree = cKDTree(embedded, boxsize=periods if periods.any() else None)
    n_block = max(1, BLOCK_BYTES // (8 * n_nearest**2))
    for start in range(0, len(targets), n_block):
        block = slice(start, start + n_block)
        near = _nearest(tree, covariance.embed(targets[block])[0], n_nearest)
        used = near < len(values)
        near = np.where(used, near, 0)
        local = covariance.offsets(points[near], targets[block, np.newaxis])
        anomaly = np.where(used, values[near] - mean, 0.0)
        increment, variance = _solve(local, used, anomaly, (noise[near] / covariance.std) ** 2, covariance)
        analysis[block] += increment
        error_std[block] *= np.sqrt(variance)
    return analysis, error_std


def _nearest(tree: cKDTree, centres: np.ndarray, n_nearest: int) -> np.ndarray:
    """Number of the nearest points (n, k) of each centre, ``tree.n`` where fewer than k are within reach."""
    _, near = tree.query(
        centres + _NUDGE[: centres.shape[1]], np.arange(1, n_nearest + 1), distance_upper_bound=REACH
    )
    # A column that is empty for every centre would only make the matrices larger.
    return near[:, : max(1, int((near < tree.n).sum(axis=1).max(initial=0)))]


def _solve(
    local: np.ndarray,
    used: np.ndarray,
    anomaly: np.ndarray,
    noise_ratio: np.ndarray,
    covariance: GaussianCovariance,
) -> tuple[np.ndarray, np.ndarray]:
    """Increment (n,) and error variance over prior variance (n,) from neighbours at `local` (n, k, d).

    `noise_ratio` (n, k) is the noise variance over the prior variance. Neighbours that are not used keep an
    identity row, and so have no weight.
    """
    square = np.einsum("nkd,nkd->nk", local, local)
    to_target = np.where(used, covariance.correlation(square), 0.0)
    between = square[:, :, np.newaxis] + square[:, np.newaxis, :] - 2 * local @ local.swapaxes(1, 2)
    matrix = covariance.correlation(np.maximum(between, 0.0))
    matrix *= used[:, :, np.newaxis] & used[:, np.newaxis, :]
    diagonal = np.arange(used.shape[1])
    matrix[:, diagonal, diagonal] = 1.0 + np.where(used, noise_ratio, 0.0)
    weights = np.linalg.solve(matrix, to_target[..., np.newaxis])[..., 0]
    variance = 1.0 - np.einsum("nk,nk->n", weights, to_target)
    return np.einsum("nk,nk->n", weights, anomaly), np.clip(variance, 0.0, 1.0)


def interpolate_tracks(
    longitude: np.ndarray,
    latitude: np.ndarray,
    time_days: np.ndarray,
    values: np.ndarray,
    target_longitude: np.ndarray,
    target_latitude: np.ndarray,
    target_time: np.ndarray,
    *,
    length_km: float,
    length_days: float,
    noise_std: float | np.ndarray,
    std: float,
    mean: float = 0.0,
    n_nearest: int = 150,
) -> tuple[np.ndarray, np.ndarray]:
    """Analyse observations along satellite tracks at other points, on a grid or on other tracks.

    Parameters
    ----------
    longitude, latitude, time_days, values : array (m,)
        Observations: degrees, degrees, days since any date, and the units of the variable.
    target_longitude, target_latitude, target_time : array
        Where the analysis is wanted, in the same units; they broadcast against each other.
    length_km, length_days : float
        Lengths of `GaussianCovariance` in space and time.
    noise_std, std : float
        Standard deviations of the observation errors (one, or one for each observation) and of the signal.
    mean, n_nearest
        As in `interpolate_points`.

    Returns
    -------
    analysis, error_std : array
        Of the shape that the targets broadcast to.
    """
    lengths = {"time": length_days, LATITUDE: length_km, LONGITUDE: length_km}
    where = np.broadcast_arrays(target_time, target_latitude, target_longitude)
    analysis, error_std = interpolate_points(
        np.stack([one.ravel() for one in where], axis=-1),
        np.stack([time_days, latitude, longitude], axis=-1),
        values,
        noise_std,
        GaussianCovariance(std, lengths),
        n_nearest,
        mean,
    )
    return analysis.reshape(where[0].shape), error_std.reshape(where[0].shape)
