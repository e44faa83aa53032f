"""Ensemble filters and smoothers of systems with a known model: references for the twin experiments.

All take a batch of independent windows at once and return the mean and the standard deviation of the ensemble at every
step. Observations are of the state's own components, with independent errors; H is a mask.

Sources: Burgers, van Leeuwen and Evensen (1998, Mon. Weather Rev. 126, 1719-1724) for the stochastic filter; Hunt,
Kostelich and Szunyogh (2007, Physica D 230, 112-126) for the transform filter and its localisation; Bocquet and Sakov
(2014, Q. J. R. Meteorol. Soc. 140, 1521-1535) for the iterative smoother. Rotations: Sakov and Oke (2008, Mon. Weather
Rev. 136, 1042-1053).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from oceanvar.errors import ConfigError

Step = Callable[[np.ndarray], np.ndarray]
"""Moves states ``(..., n)`` one time step on."""

_LARGEST = 1e100
"""Beyond it squares are no numbers."""


class Ensemble(NamedTuple):
    """Mean and standard deviation of an ensemble.

    Parameters
    ----------
    mean, std : array (B, T, n)
        Over the members, at every step.
    """

    mean: np.ndarray
    std: np.ndarray


def enkf(
    obs: np.ndarray, step: Step, first: np.ndarray, noise_std: float, *, inflation: float = 1.0, seed: int = 0
) -> Ensemble:
    """Filter with perturbed observations.

    Parameters
    ----------
    obs : array (B, T, n)
        Observed components of the state at each step, NaN where nothing was observed.
    step : callable
        Model of one step, on arrays ``(B, N, n)``.
    first : array (B, N, n)
        Members at the first step, before any observation.
    noise_std : float
        Standard deviation of the observation errors.
    inflation : float
        Factor on the deviations from the mean after each analysis.
    seed : int
        Of the perturbations.

    Returns
    -------
    Ensemble
        Analyses where something was observed, forecasts elsewhere.

    Raises
    ------
    ConfigError
        If sizes do not fit together, or a number is out of range.
    """
    rng = np.random.default_rng(seed)

    def analysed(run: "_Run", members: np.ndarray, latest: int) -> np.ndarray:
        # Without a mean, and of the errors' variance for each member all the same.
        n_members = members.shape[1]
        scale = noise_std * np.sqrt(n_members / (n_members - 1))
        noise = scale * _deviations(rng.standard_normal(members.shape))
        weights, seen = run.weights[:, latest, None], run.values[:, latest, None]
        deviations = _deviations(members)
        wanted = (seen + noise - members) * weights @ deviations.swapaxes(-1, -2)
        return (
            members
            + np.linalg.solve(_hessian(deviations, weights), wanted.swapaxes(-1, -2)).swapaxes(-1, -2)
            @ deviations
        )

    return _Run(obs, step, noise_std, inflation).over(first, analysed)


def letkf(
    obs: np.ndarray,
    step: Step,
    first: np.ndarray,
    noise_std: float,
    *,
    tapers: np.ndarray | None = None,
    inflation: float = 1.0,
    rotated: bool = True,
    seed: int = 0,
) -> Ensemble:
    """Ensemble transform Kalman filter, each component of the state analysed from what was observed near it.

    Parameters
    ----------
    obs : array (B, T, n)
        As of `enkf`.
    step : callable
        As there.
    first : array (B, N, n)
        As there.
    noise_std : float
        As there.
    tapers : array (n, n), optional
        Factors on the inverse error variances: those of the observations of component j (column) for the analysis of
        component i (row), `gaspari_cohn` of their distances. Default: no localisation, the ETKF.
    inflation : float
        Factor on the deviations from the mean after each analysis.
    rotated : bool
        Turn the ensemble at random about its mean after each analysis.
    seed : int
        Of these rotations.

    Returns
    -------
    Ensemble
        Analyses where something was observed, forecasts elsewhere.

    Raises
    ------
    ConfigError
        If sizes do not fit together, or a number is out of range.
    """

    def analysed(run: "_Run", members: np.ndarray, latest: int) -> np.ndarray:
        mean, deviations = members.mean(1, keepdims=True), _deviations(members)
        departures = run.values[:, latest, None] - mean
        if tapers is None:
            weights = run.weights[:, latest, None]
            shift, turn = _transform(deviations, weights, departures)
            return mean + (shift + turn) @ deviations
        # One ensemble of all components for each component that is analysed: (B, n, N, n).
        weights = run.weights[:, latest, None, None] * tapers[:, None]
        shift, turn = _transform(deviations[:, None], weights, departures[:, None])
        local = deviations.transpose(0, 2, 1)[..., None]
        return mean + ((shift + turn) @ local)[..., 0].transpose(0, 2, 1)

    _check_tapers(tapers, obs)
    return _Run(obs, step, noise_std, inflation, rotated, seed).over(first, analysed)


def ienks(
    obs: np.ndarray,
    step: Step,
    first: np.ndarray,
    noise_std: float,
    *,
    lag: int = 1,
    n_iterations: int = 10,
    tolerance: float = 1e-5,
    inflation: float = 1.0,
    rotated: bool = True,
    seed: int = 0,
) -> Ensemble:
    """Iterative ensemble Kalman smoother, each observation assimilated once (Bocquet and Sakov's SDA with transforms).

    The state `lag` observation times before the latest one is sought among the combinations of its ensemble by
    Gauss-Newton iterations, with the model in between, and the window then slides by one observation time. Steps of the
    weights that are longer than 1, which is far outside of the ensemble, are shortened to 1.

    Parameters
    ----------
    obs : array (B, T, n)
        As of `enkf`.
    step : callable
        As there.
    first : array (B, N, n)
        As there.
    noise_std : float
        As there.
    lag : int
        Observation times that a window spans, at least 1; times at which any window of the batch was observed count.
    n_iterations : int
        At most, for each window.
    tolerance : float
        Mean square of a step of the weights below which no iteration follows.
    inflation : float
        Factor on the deviations from the mean after each analysis.
    rotated : bool
        Turn the ensemble at random about its mean after each analysis.
    seed : int
        Of these rotations.

    Returns
    -------
    Ensemble
        Smoothed: at each step as it was when the window left it.

    Raises
    ------
    ConfigError
        If sizes do not fit together, or a number is out of range.
    """
    if lag < 1 or n_iterations < 1:
        raise ConfigError(
            f"a smoother needs lag and n_iterations of at least 1, got {lag} and {n_iterations}"
        )

    def analysed(run: "_Run", members: np.ndarray, latest: int) -> np.ndarray:
        mean, deviations = members.mean(1, keepdims=True), _deviations(members)
        n_members = members.shape[1]
        shift = np.zeros((len(members), 1, n_members))
        turn = inverse = np.broadcast_to(np.eye(n_members), (len(members), n_members, n_members))
        weights, seen = run.weights[:, latest, None], run.values[:, latest, None]
        for _ in range(n_iterations):
            forecast = run.moved(mean + (shift + turn) @ deviations, run.begin, latest)
            # As they were without the transform that the ensemble was drawn together by.
            sensed = inverse @ _deviations(forecast)
            departures = seen - forecast.mean(1, keepdims=True)
            values, vectors = _eigen(_hessian(sensed, weights))
            gradient = departures * weights @ sensed.swapaxes(-1, -2) - (n_members - 1) * shift
            change = gradient @ _power(values, vectors, -1.0)
            # A first guess far from the truth sends the linear model far away, where the system has never been.
            change /= np.maximum(1.0, np.linalg.norm(change, axis=-1, keepdims=True))
            turn = _power(values, vectors, -0.5) * np.sqrt(n_members - 1)
            inverse = _power(values, vectors, 0.5) / np.sqrt(n_members - 1)
            shift = shift + change
            if np.square(change).mean(-1).max() < tolerance:
                break
        return mean + (shift + turn) @ deviations

    return _Run(obs, step, noise_std, inflation, rotated, seed, lag).over(first, analysed)


def gaspari_cohn(distances: np.ndarray, radius: float) -> np.ndarray:
    """Taper of compact support that is exp(-1/2) at a distance of about `radius`.

    Parameters
    ----------
    distances : array
        In any unit, at least 0.
    radius : float
        In the same unit; the taper ends at 2 sqrt(10/3) of it.

    Returns
    -------
    array
        Equation 4.10 of Gaspari and Cohn (1999, Q. J. R. Meteorol. Soc. 125, 723-757), with their
        c = sqrt(10/3) radius.
    """
    z = np.abs(distances) / (np.sqrt(10 / 3) * radius)
    near = 1 - z**2 * (5 / 3 - z * (5 / 8 + z * (1 / 2 - z / 4)))
    with np.errstate(divide="ignore"):
        far = 4 - 5 * z + z**2 * (5 / 3 + z * (5 / 8 - z * (1 / 2 - z / 12))) - 2 / (3 * z)
    return np.where(z <= 1, near, np.where(z < 2, far, 0.0))


Analysis = Callable[["_Run", np.ndarray, int], np.ndarray]


@dataclass
class _Run:
    """One pass over the windows: forecasts from observation to observation, and an analysis at each.

    The ensemble stands at `begin`, `lag` observation times before the one that comes next.
    """

    obs: np.ndarray
    step: Step
    noise_std: float
    inflation: float
    rotated: bool = False
    seed: int = 0
    lag: int = 0
    begin: int = 0
    kept: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("noise_std", "inflation"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ConfigError(f"{name} must be above 0, got {value}")
        if self.obs.ndim != 3:
            raise ConfigError(
                f"observations have the shape (windows, times, components), not {self.obs.shape}"
            )
        seen = np.isfinite(self.obs)
        self.weights = seen / self.noise_std**2
        self.values = np.where(seen, self.obs, 0.0)

    def over(self, first: np.ndarray, analysed: Analysis) -> Ensemble:
        """Mean and standard deviation at all steps, from the members at the first."""
        n_windows, n_times, n = self.obs.shape
        if first.ndim != 3 or first.shape[0] != n_windows or first.shape[2] != n or first.shape[1] < 2:
            raise ConfigError(
                f"the first ensemble has the shape {first.shape}: observations of {n_windows} windows and {n} "
                f"components need ({n_windows}, members, {n}), with at least 2 members"
            )
        rng = np.random.default_rng(self.seed)
        times = np.flatnonzero(self.weights.any((0, 2))).tolist()
        starts = [0, *times]
        members = self._slid(first, starts[max(0, 1 - self.lag)] if times else 0)
        for number, latest in enumerate(times):
            members = self._spread(analysed(self, members, latest), latest, rng)
            members = self._slid(members, starts[min(max(0, number + 2 - self.lag), len(times))])
        # What stands at the last step has been analysed and is kept too.
        self._slid(members, n_times)
        return Ensemble(*(np.stack(each, 1) for each in zip(*self.kept, strict=True)))

    def moved(self, members: np.ndarray, begin: int, end: int) -> np.ndarray:
        """Forecast from one step to another."""
        for _ in range(begin, end):
            members = self.step(members)
        n_lost = int((~(np.abs(members) < _LARGEST).all((1, 2))).sum())
        if n_lost:
            raise ConfigError(
                f"{n_lost} of {len(members)} ensembles have left all numbers behind by step {end}: take more members, "
                "another inflation, or a shorter lag"
            )
        return members

    def _slid(self, members: np.ndarray, end: int) -> np.ndarray:
        """Forecast to `end`, and keep what was passed: no later analysis reaches it."""
        for now in range(self.begin, end):
            self.kept.append((members.mean(1), members.std(1, ddof=1)))
            members = self.moved(members, now, min(now + 1, self.obs.shape[1] - 1))
        self.begin = end
        return members

    def _spread(self, members: np.ndarray, latest: int, rng: np.random.Generator) -> np.ndarray:
        """Inflate the deviations from the mean where something was observed, and turn them."""
        factor = np.where(self.weights[:, latest].any(-1), self.inflation, 1.0)[:, None, None]
        mean, deviations = members.mean(1, keepdims=True), factor * _deviations(members)
        return mean + (_rotation(members.shape[1], rng) @ deviations if self.rotated else deviations)


def _check_tapers(tapers: np.ndarray | None, obs: np.ndarray) -> None:
    n = obs.shape[-1]
    if tapers is not None and (tapers.shape != (n, n) or not (tapers >= 0).all()):
        raise ConfigError(
            f"tapers of {n} components are ({n}, {n}) and not negative; got the shape {tapers.shape}"
        )


def _deviations(members: np.ndarray) -> np.ndarray:
    return members - members.mean(-2, keepdims=True)


def _hessian(deviations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of the cost in the weights of the members: (N - 1) I + Y R^-1 Y^T."""
    n_members = deviations.shape[-2]
    return (n_members - 1) * np.eye(n_members) + deviations * weights @ deviations.swapaxes(-1, -2)


def _transform(
    deviations: np.ndarray, weights: np.ndarray, departures: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the members in the mean ``(..., 1, N)``, and symmetric root ``(..., N, N)`` (Hunt et al., 21-24)."""
    values, vectors = _eigen(_hessian(deviations, weights))
    shift = departures * weights @ deviations.swapaxes(-1, -2) @ _power(values, vectors, -1.0)
    return shift, _power(values, vectors, -0.5) * np.sqrt(deviations.shape[-2] - 1)


def _eigen(hessian: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and eigenvectors of (N - 1) I + a positive matrix: none is smaller than N - 1, but for rounding."""
    values, vectors = np.linalg.eigh(hessian)
    return np.maximum(values, hessian.shape[-1] - 1), vectors


def _power(values: np.ndarray, vectors: np.ndarray, exponent: float) -> np.ndarray:
    """Power of a symmetric matrix from its eigenvalues and eigenvectors."""
    return (vectors * values[..., None, :] ** exponent) @ vectors.swapaxes(-1, -2)


def _rotation(n: int, rng: np.random.Generator) -> np.ndarray:
    """Random orthogonal matrix that leaves the mean of the members where it is."""
    basis, _ = np.linalg.qr(np.column_stack([np.ones(n), rng.standard_normal((n, n - 1))]))
    turned, upper = np.linalg.qr(rng.standard_normal((n - 1, n - 1)))
    turned *= np.sign(np.diag(upper))  # otherwise not all rotations would be as likely
    inner = np.eye(n)
    inner[1:, 1:] = turned
    return basis @ inner @ basis.T
