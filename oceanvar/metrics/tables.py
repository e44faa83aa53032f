"""Scores of several methods on the same independent units, as means and ratios with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from oceanvar.errors import ConfigError
from oceanvar.metrics.intervals import bootstrap_interval, bootstrap_ratio

Scores = Mapping[str, Mapping[str, float]]
"""Scores of one unit (a month, a window, a satellite pass): method, then score."""

RATIOS = ("rmse", "r_score", "lambda_x", "lambda_t")
"""Scores that are positive and the better the smaller, so that their ratio means something."""


def score_table(
    units: Sequence[Scores], pairs: Mapping[str, tuple[str, str]], keys: Sequence[str] = RATIOS
) -> dict[str, Any]:
    """Mean of every score of every method with a 95 % bootstrap interval, and ratios of pairs of methods.

    Parameters
    ----------
    units : sequence of mapping
        Scores of each unit; the units must be independent. All have the methods and scores of the first one; a
        score that is NaN, infinite or missing leaves its unit out.
    pairs : mapping of str to (str, str)
        Title, then a method and the one that it is divided by.
    keys : sequence of str
        Scores of which ratios are of interest. Default: `RATIOS`.

    Returns
    -------
    dict
        Plain JSON values. ``["scores"][method][score]`` holds ``mean`` (None where no unit has one), ``n_units``
        and, of two units or more, ``interval``; ``["ratios"][title][score]`` holds ``ratio``, ``interval`` and
        ``n_units`` of the two means over the units that have both, where these are at least two.

    Raises
    ------
    ConfigError
        If there is no unit, or a method of a pair has no scores.
    """
    if not units:
        raise ConfigError("a table of scores needs at least one unit")
    unknown = {name for pair in pairs.values() for name in pair} - units[0].keys()
    if unknown:
        raise ConfigError(f"there are no scores of {sorted(unknown)} to divide, only of {sorted(units[0])}")
    scores = {name: {key: _mean(_column(units, name, key)) for key in units[0][name]} for name in units[0]}
    ratios = {title: _ratios(units, pair, keys) for title, pair in pairs.items()}
    return {"scores": scores, "ratios": ratios}


def root_mean_square(squares: ArrayLike) -> tuple[float, float, float]:
    """Root of the mean of squared errors over independent units, with a 95 % bootstrap interval.

    Parameters
    ----------
    squares : array_like, shape (n,)
        One number for each unit: its mean square, or, where units differ in size, its sum over the mean size.

    Returns
    -------
    value, low, high : float
        In units of the errors.

    Raises
    ------
    ConfigError
        As `bootstrap_interval`.
    """
    low, high = bootstrap_interval(squares)
    return float(np.sqrt(np.asarray(squares).mean())), float(np.sqrt(low)), float(np.sqrt(high))


def squares_by_group(errors: ArrayLike, groups: ArrayLike) -> list[np.ndarray]:
    """Squared errors of each group (a satellite pass, a day), in the order of their sorted labels.

    Parameters
    ----------
    errors : array_like, shape (n,)
        Of single samples.
    groups : array_like, shape (n,)
        Label of the group of each sample.

    Returns
    -------
    list of ndarray
        One array for each group, in units of the errors squared.

    Raises
    ------
    ConfigError
        If both are not as long.
    """
    squares, labels = np.asarray(errors) ** 2, np.asarray(groups)
    if squares.shape != labels.shape:
        raise ConfigError(f"errors of shape {squares.shape} need as many groups, not {labels.shape}")
    return [squares[labels == label] for label in np.unique(labels)]


def _column(units: Sequence[Scores], name: str, key: str) -> np.ndarray:
    return np.array([unit[name].get(key, np.nan) for unit in units])


def _mean(values: np.ndarray) -> dict[str, Any]:
    known = values[np.isfinite(values)]
    row = {"mean": float(known.mean()) if known.size else None, "n_units": int(known.size)}
    return row | {"interval": bootstrap_interval(known)} if known.size > 1 else row


def _ratios(units: Sequence[Scores], pair: tuple[str, str], keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    found = {}
    for key in keys:
        both = np.stack([_column(units, name, key) for name in pair])
        both = both[:, np.isfinite(both).all(axis=0)]
        if both.shape[1] > 1:
            ratio, n_units = float(both[0].mean() / both[1].mean()), both.shape[1]
            found[key] = {"ratio": ratio, "interval": bootstrap_ratio(*both), "n_units": n_units}
    return found
