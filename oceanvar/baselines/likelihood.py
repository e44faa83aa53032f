"""Parameters of a covariance by the likelihood of local neighbourhoods.

Source: Rasmussen and Williams (2006), "Gaussian Processes for Machine Learning", eq. 2.30 for one neighbourhood; the
product over neighbourhoods that are treated as independent is the composite likelihood of Vecchia (1988), "Estimation
and model identification for continuous spatial processes", J. R. Statist. Soc. B 50, 297-312, without conditioning.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dposv
from scipy.optimize import minimize

from oceanvar.baselines.covariance import Covariance
from oceanvar.baselines.pass_errors import PassErrors
from oceanvar.baselines.points import checked_noise, lower_covariance, nearest, search_tree
from oceanvar.errors import ConfigError
from oceanvar.labels.coordinates import LATITUDE, LONGITUDE

RANGE = 30.0
"""Parameters are looked for within this factor of where they start."""


class Fitted(NamedTuple):
    """Parameters of largest likelihood, and the log-likelihood of an observation with them."""

    covariance: Covariance
    noise_factor: float
    pass_factor: float
    log_likelihood: float


class Neighbourhoods:
    """Observations around centres, whose likelihoods are added.

    Parameters
    ----------
    centres : array (n, d)
        Middle of each neighbourhood.
    points, values, noise_std, pass_errors, n_nearest
        As of `oceanvar.baselines.points.interpolate_points`, values about their mean.
    covariance : Covariance
        In whose lengths the nearest are chosen, once and for all.

    Raises
    ------
    ConfigError
        As of `interpolate_points`, or when there are no observations or centres.
    """

    def __init__(
        self,
        centres: np.ndarray,
        points: np.ndarray,
        values: np.ndarray,
        noise_std: float | np.ndarray,
        covariance: Covariance,
        n_nearest: int = 150,
        pass_errors: PassErrors | None = None,
    ) -> None:
        self.noise = checked_noise(centres, points, values, noise_std, n_nearest)
        if len(values) == 0 or len(centres) == 0:
            raise ConfigError(
                f"a likelihood needs observations (given {len(values)}) and centres (given {len(centres)})"
            )
        near = nearest(search_tree(points, covariance), centres, covariance, min(n_nearest, len(values)))
        self.used = near < len(values)
        self.near = np.where(self.used, near, 0)
        self.apart = points[self.near], centres[:, np.newaxis]
        self.anomaly = np.where(self.used, values[self.near], 0.0)
        self.pass_errors = pass_errors

    def log_likelihood(
        self, covariance: Covariance, noise_factor: float = 1.0, pass_factor: float = 1.0
    ) -> float:
        """Log of the density, a mean over observations; -inf where rounding makes a matrix indefinite.

        The factors multiply the noise and the errors of passes.
        """
        local = covariance.offsets(*self.apart)
        errors = self.pass_errors and self.pass_errors.scaled(pass_factor)
        matrix = lower_covariance(local, self.near, self.used, covariance, noise_factor * self.noise, errors)
        total = 0.0
        for one, anomaly in zip(matrix, self.anomaly, strict=True):
            factor, solved, info = dposv(one.T, anomaly, lower=0)
            if info:
                return -np.inf
            total -= 2 * np.log(np.diag(factor)).sum() + anomaly @ solved
        return 0.5 * (total / self.used.sum() - np.log(2 * np.pi))


def fit_points(
    points: np.ndarray,
    values: np.ndarray,
    noise_std: float | np.ndarray,
    start: Covariance,
    *,
    n_nearest: int = 150,
    n_neighbourhoods: int = 40,
    pass_errors: PassErrors | None = None,
    seed: int = 0,
) -> Fitted:
    """Standard deviations, lengths, noise and errors of passes of largest likelihood.

    Parameters
    ----------
    points, values, noise_std, n_nearest, pass_errors
        As of `oceanvar.baselines.points.interpolate_points`, values about their mean.
    start : Covariance
        Where the search starts; its kernels stay. Lengths along latitude and longitude that start equal stay so.
    n_neighbourhoods : int
        Number of observations, drawn at random, whose neighbourhoods count.
    seed : int
        Of the draw.

    Raises
    ------
    ConfigError
        As of `interpolate_points`.
    """
    drawn = np.random.default_rng(seed).permutation(len(values))[:n_neighbourhoods]
    around = Neighbourhoods(points[drawn], points, values, noise_std, start, n_nearest, pass_errors)
    names = [*start.lengths]
    tied = start.lengths.get(LATITUDE) == start.lengths.get(LONGITUDE) is not None and all(
        part.lengths[LATITUDE] == part.lengths[LONGITUDE] for part in start.parts
    )
    free = [name for name in names if not (tied and name == LONGITUDE)]

    def unpacked(logs: np.ndarray) -> tuple[Covariance, float, float]:
        noise_factor, pass_factor, *rest = np.exp(logs)
        rows = np.reshape(rest, (len(start.parts), 1 + len(free)))
        parts = [_moved(part, row, free, tied) for part, row in zip(start.parts, rows, strict=True)]
        return sum(parts[1:], start=parts[0]), noise_factor, pass_factor

    n_logs = 2 + len(start.parts) * (1 + len(free))
    bounds = np.tile([-np.log(RANGE), np.log(RANGE)], (n_logs, 1))
    if pass_errors is None:
        bounds[1] = 0.0
    best = minimize(
        _negative(lambda logs: around.log_likelihood(*unpacked(logs))),
        np.zeros(n_logs),
        method="L-BFGS-B",
        bounds=bounds,
    )
    return Fitted(*unpacked(best.x), -best.fun)


def _moved(part: Covariance, factors: np.ndarray, free: list[str], tied: bool) -> Covariance:
    """Part whose standard deviation and free lengths are multiplied."""
    by_name = dict(zip(free, factors[1:], strict=True))
    if tied:
        by_name[LONGITUDE] = by_name[LATITUDE]
    lengths = {name: float(length * by_name[name]) for name, length in part.lengths.items()}
    return replace(part, std=float(part.std * factors[0]), lengths=lengths)


def _negative(function: Callable[[np.ndarray], float]) -> Callable[[np.ndarray], float]:
    """Function to minimise; an impossible point is a very bad one, so that differences remain numbers."""
    return lambda x: min(-function(x), 1e6)
