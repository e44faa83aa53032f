"""Confidence intervals of mean scores over independent units (windows, patches, years) by bootstrap."""

import numpy as np
from numpy.typing import ArrayLike

from oceanvar.errors import ConfigError

_MAX_DRAWS = 2**20  # indices held at once


def bootstrap_interval(
    values: ArrayLike, level: float = 0.95, n_resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean.

    Parameters
    ----------
    values : array_like, shape (n,)
        One number for each unit; the units must be independent. Overlapping windows are not.
    level : float
        Probability that the interval should cover.
    n_resamples : int
        Number of resamples.
    seed : int
        Seed of the resampling.

    Returns
    -------
    low, high : float
        In units of the values.

    Raises
    ------
    ConfigError
        If there are fewer than two values, one is not finite, or `level` is not between 0 and 1.

    Notes
    -----
    The interval is somewhat too narrow for few units: for ten normal values it covers about 90 % at
    level 0.95.
    """
    means = _resampled_means(_checked(values)[:, None], n_resamples, seed)
    return _interval(means[:, 0], level)


def bootstrap_difference(
    values: ArrayLike, reference: ArrayLike, level: float = 0.95, n_resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Interval of mean(values) - mean(reference) of two methods on the same units.

    Parameters, returns and errors are those of `bootstrap_interval`, with `reference` of the same shape
    (n,) and in the same order as `values`.
    """
    pairs = _checked_pairs(values, reference)
    return bootstrap_interval(pairs[:, 0] - pairs[:, 1], level, n_resamples, seed)


def bootstrap_ratio(
    values: ArrayLike, reference: ArrayLike, level: float = 0.95, n_resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Interval of mean(values) / mean(reference) of two methods on the same units.

    Parameters, returns and errors are those of `bootstrap_interval`, with `reference` of the same shape
    (n,) and in the same order as `values`; its resampled means must be positive.
    """
    means = _resampled_means(_checked_pairs(values, reference), n_resamples, seed)
    if means[:, 1].min() <= 0:
        raise ConfigError(
            f"a resampled mean of the reference is {means[:, 1].min():.3g}, and a ratio needs positive ones: "
            "use bootstrap_difference"
        )
    return _interval(means[:, 0] / means[:, 1], level)


def _checked(values: ArrayLike) -> np.ndarray:
    units = np.asarray(values, dtype=np.float64)
    if units.ndim != 1 or units.size < 2:
        raise ConfigError(f"a bootstrap needs a list of at least 2 values, not shape {units.shape}")
    n_bad = np.count_nonzero(~np.isfinite(units))
    if n_bad:
        raise ConfigError(f"{n_bad} of {units.size} values are NaN or infinite: leave those units out")
    return units


def _checked_pairs(values: ArrayLike, reference: ArrayLike) -> np.ndarray:
    first, second = _checked(values), _checked(reference)
    if first.size != second.size:
        raise ConfigError(
            f"{first.size} values cannot be paired with {second.size} of the reference: "
            "give both for the same units"
        )
    return np.stack([first, second], axis=1)


def _resampled_means(units: np.ndarray, n_resamples: int, seed: int) -> np.ndarray:
    """Means of resampled rows, ``(n, k)`` to ``(n_resamples, k)``; a row is drawn whole."""
    if n_resamples < 1:
        raise ConfigError(f"n_resamples is {n_resamples} and must be at least 1")
    rng = np.random.default_rng(seed)
    n = len(units)
    block = max(1, _MAX_DRAWS // n)
    means = []
    for start in range(0, n_resamples, block):
        drawn = rng.integers(n, size=(min(block, n_resamples - start), n))
        means.append(units[drawn].mean(axis=1))
    return np.concatenate(means)


def _interval(statistics: np.ndarray, level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ConfigError(f"level is {level} and must lie between 0 and 1, for instance 0.95")
    low, high = np.quantile(statistics, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
