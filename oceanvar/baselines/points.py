"""Optimal interpolation of scattered observations in space and time.

Source: Bretherton, Davis and Fandry (1976), "A technique for objective analysis and design of oceanographic
experiments applied to MODE-73", Deep-Sea Research 23, 559-582 (the Gauss-Markov estimate and its error).
"""

import numpy as np
from scipy.linalg import pinvh
from scipy.linalg.lapack import dposv
from scipy.spatial import cKDTree

from oceanvar.baselines.covariance import Covariance
from oceanvar.baselines.pass_errors import PassErrors
from oceanvar.errors import ConfigError
from oceanvar.labels.coordinates import LATITUDE, LONGITUDE

BLOCK_BYTES = 2_000_000
"""Size of the stack of covariance matrices that are solved at once: it fits into a core's cache."""

_STRIP = 30
"""Rows of a symmetric matrix that are filled at once, up to their diagonal."""

_ROUNDING = 1e-12
"""Part of the largest eigenvalue below which one is rounding of the distances, where a matrix is indefinite."""

_NUDGE = np.sqrt([2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0, 19.0]) * 1e-6
"""Shift in lengths of the search centre: equidistant observations on a grid rank alike in any subset."""


def interpolate_points(
    targets: np.ndarray,
    points: np.ndarray,
    values: np.ndarray,
    noise_std: float | np.ndarray,
    covariance: Covariance,
    n_nearest: int = 150,
    mean: float = 0.0,
    pass_errors: PassErrors | None = None,
    stretch: np.ndarray | None = None,
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
    covariance : Covariance
        Prior covariance of the signal about `mean`.
    n_nearest : int
        Number of observations used for each target, nearest in lengths and within ``covariance.reach``: the cost
        of a target grows with its cube. All are used where there are fewer.
    mean : float
        Prior mean of the signal.
    pass_errors : PassErrors, optional
        Errors that the m observations have in common along satellite passes.
    stretch : array (n, d), optional
        By how much the lengths are longer around each target, along each coordinate: the signal is taken to be
        homogeneous in its neighbourhood. The nearest observations remain those in the lengths of `covariance`.

    Returns
    -------
    analysis : array (n,)
        Best linear estimate; `mean` where no observation is near.
    error_std : array (n,)
        Its standard deviation of error; the root of ``covariance.variance`` where none is near.

    Raises
    ------
    ConfigError
        When values, positions or noise are not finite, the noise or `n_nearest` is not positive.
    """
    noise = checked_noise(targets, points, values, noise_std, n_nearest)
    analysis = np.full(len(targets), mean, dtype=np.float64)
    variance = np.full(len(targets), covariance.variance)
    if len(values) == 0:
        return analysis, np.sqrt(variance)
    n_nearest = min(n_nearest, len(values))
    tree = search_tree(points, covariance)
    n_block = max(1, BLOCK_BYTES // (8 * n_nearest**2))
    for start in range(0, len(targets), n_block):
        block = slice(start, start + n_block)
        longest = 1.0 if stretch is None else float(stretch[block].max())
        near = nearest(tree, targets[block], covariance, n_nearest, covariance.reach * longest)
        used = near < len(values)
        near = np.where(used, near, 0)
        local = covariance.offsets(points[near], targets[block, np.newaxis])
        if stretch is not None:
            local /= stretch[block, np.newaxis]
            used &= (local**2).sum(axis=-1) <= covariance.reach**2
        to_target = np.where(used, covariance.with_centre(local), 0.0)
        matrix = lower_covariance(local, near, used, covariance, noise, pass_errors)
        weights = _solve(matrix, to_target)
        analysis[block] += np.einsum("nk,nk->n", weights, np.where(used, values[near] - mean, 0.0))
        variance[block] -= np.einsum("nk,nk->n", weights, to_target)
    return analysis, np.sqrt(np.clip(variance, 0.0, covariance.variance))


def checked_noise(
    targets: np.ndarray, points: np.ndarray, values: np.ndarray, noise_std: float | np.ndarray, n_nearest: int
) -> np.ndarray:
    """Noise (m,) of every observation.

    Raises
    ------
    ConfigError
        As `interpolate_points`.
    """
    noise = np.broadcast_to(np.asarray(noise_std, dtype=np.float64), values.shape)
    if not (np.isfinite(values).all() and np.isfinite(points).all() and np.isfinite(targets).all()):
        raise ConfigError("values, points and targets must all be finite: drop the missing ones first")
    n_wrong = int((~((noise > 0) & (noise < np.inf))).sum())
    if n_wrong:
        raise ConfigError(
            f"noise_std must be positive and finite at every observation, and at {n_wrong} of {noise.size} it is not"
        )
    if n_nearest < 1:
        raise ConfigError(f"n_nearest is {n_nearest}, and must be at least 1")
    return noise


def search_tree(points: np.ndarray, covariance: Covariance) -> cKDTree:
    """Tree of the points (m, d) in the lengths of the covariance."""
    embedded, periods = covariance.embed(points)
    return cKDTree(embedded, boxsize=periods if periods.any() else None)


def nearest(
    tree: cKDTree, centres: np.ndarray, covariance: Covariance, n_nearest: int, reach: float | None = None
) -> np.ndarray:
    """Number of the nearest points (n, k) of each centre (n, d), ``tree.n`` where fewer are within reach."""
    embedded, _ = covariance.embed(centres)
    _, near = tree.query(
        embedded + _NUDGE[: embedded.shape[1]],
        np.arange(1, n_nearest + 1),
        distance_upper_bound=covariance.reach if reach is None else reach,
    )
    # A column that is empty for every centre would only make the matrices larger.
    return near[:, : max(1, int((near < tree.n).sum(axis=1).max(initial=0)))]


def lower_covariance(
    local: np.ndarray,
    near: np.ndarray,
    used: np.ndarray,
    covariance: Covariance,
    noise: np.ndarray,
    pass_errors: PassErrors | None,
) -> np.ndarray:
    """Covariance (n, k, k) of signal and errors of the observations with the numbers `near` (n, k).

    Those not `used` have a row of the identity. Only the lower triangle is whole.
    """
    n, k = near.shape
    matrix = np.zeros((n, k, k))
    for start in range(0, k, _STRIP):
        rows, columns = slice(start, start + _STRIP), slice(start + _STRIP)
        matrix[:, rows, columns] = covariance.between(local[:, rows], local[:, columns])
    diagonal = np.arange(k)
    matrix[:, diagonal, diagonal] = covariance.variance + noise[near] ** 2
    if pass_errors is not None:
        matrix += pass_errors.among(near)
    if not used.all():
        matrix *= used[:, :, np.newaxis] & used[:, np.newaxis, :]
        matrix[:, diagonal, diagonal] += ~used
    return matrix


def _solve(matrix: np.ndarray, to_target: np.ndarray) -> np.ndarray:
    """Weights (n, k) of neighbours, by the lower triangles of their covariances (n, k, k)."""
    weights = np.empty_like(to_target)
    for number, one in enumerate(matrix):
        # The transpose has the order of LAPACK, so that nothing is copied, and the triangle above.
        _, weights[number], info = dposv(one.T, to_target[number], lower=0)
        if info:  # Observations so close, and so exact, that rounding makes the matrix indefinite.
            weights[number] = pinvh(one, rtol=_ROUNDING) @ to_target[number]
    return weights


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
    kernel: str = "gaussian",
) -> tuple[np.ndarray, np.ndarray]:
    """Analyse observations along satellite tracks at other points, on a grid or on other tracks.

    Parameters
    ----------
    longitude, latitude, time_days, values : array (m,)
        Observations: degrees, degrees, days since any date, and the units of the variable.
    target_longitude, target_latitude, target_time : array
        Where the analysis is wanted, in the same units; they broadcast against each other.
    length_km, length_days : float
        Lengths of `Covariance` in space and time.
    noise_std, std : float
        Standard deviations of the observation errors (one, or one for each observation) and of the signal.
    mean : float
        As in `interpolate_points`.
    n_nearest : int
        As there.
    kernel : str
        Of `Covariance`.

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
        Covariance(std, lengths, kernel=kernel),
        n_nearest,
        mean,
    )
    return analysis.reshape(where[0].shape), error_std.reshape(where[0].shape)
