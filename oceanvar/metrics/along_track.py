"""Scores of the 2021a sea-level data challenge: an analysis beside the track of an altimeter that it has not seen.

Source: ocean-data-challenges/2021a_SSH_mapping_OSE, `src/mod_stat.py` and `src/mod_spectral.py`, as coded.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.signal import welch

from oceanvar.errors import ConfigError, MissingVariableError, ScoreError
from oceanvar.labels.alignment import on_grid
from oceanvar.labels.coordinates import is_time, numbers
from oceanvar.labels.passes import numbered
from oceanvar.labels.units import Conversion, conversion
from oceanvar.labels.values import usable
from oceanvar.metrics.intervals import bootstrap_sums
from oceanvar.metrics.laws import GaussianLaw
from oceanvar.metrics.probabilistic import scored_units
from oceanvar.metrics.spectra import RESOLVED

GROUND_SPEED = 6.77
"""Of the point below an altimeter, km/s, as in the challenge."""

STRIDE = 0.25
"""Part of a segment after which the next one begins, as in the challenge."""

_MIN_POINTS = 8  # fewest points of a segment

SECONDS_A_DAY = 86_400.0


class _Samples(NamedTuple):
    """Numbers (n,) of what is scored, in the order of the passes and of time."""

    estimate: np.ndarray
    observed: np.ndarray
    seconds: np.ndarray
    days: np.ndarray
    passes: np.ndarray
    std: np.ndarray


def score_along_track(
    estimate: xr.DataArray | ArrayLike,
    observed: xr.DataArray,
    *,
    std: xr.DataArray | ArrayLike | None = None,
    noise_std: ArrayLike = 0.0,
    passes: str = "track",
    min_points: int = 10,
    segment_km: float = 1000.0,
    spacing_km: float | None = None,
    max_gap_seconds: float = 4.0,
    level: float = 0.95,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> xr.Dataset:
    """Score an analysis, sampled along tracks, beside what an altimeter measured there.

    Parameters
    ----------
    estimate : DataArray or array (n,)
        The analysis at the samples: `ds.varnet.score_tracks` takes a gridded analysis. Converted to the units of
        `observed` where both have some.
    observed : DataArray
        What was measured, over one dimension, with a time: dates, or numbers in days. Samples where either is
        NaN are left out, and values that are none (`oceanvar.labels.values.usable`).
    std : DataArray or array (n,), optional
        Standard deviation of the error of `estimate`, in its units or its own. `ds.varnet.score_tracks` samples that
        in ``<variable>_std``. Samples where it is NaN have no part in the scores of it.
    noise_std : float or array (n,)
        Standard deviation of the independent errors of `observed`, in its units: its square is added to the
        variance that is stated. With the default, what was measured counts as the truth.
    passes : str
        Name of the coordinate that numbers the passes. With it, no segment runs from one pass into another; nor from
        one satellite to another where there is a coordinate ``satellite``. Else gaps alone divide the samples.
    min_points : int
        Days with fewer points are left out.
    segment_km : float
        Length of the segments whose spectra are averaged. The next one begins after a quarter of one.
    spacing_km : float, optional
        Distance of neighbouring samples; default: 6.77 km/s times the median time between them.
    max_gap_seconds : float
        A longer time between neighbouring samples ends a stretch of segments. Within a stretch samples are
        taken as evenly spaced, be single ones missing or not.
    level : float
        Probability of the bootstrap intervals.
    n_resamples, seed : int
        Of these, as in `oceanvar.metrics.intervals`. Days are drawn for `mu` and `sigma`. Segments
        overlap, so that whole stretches are drawn for `lambda_x`.

    Returns
    -------
    Dataset
        ``mu`` and ``sigma``, mean and standard deviation over days of the ``day_score``
        1 - rms(estimate - observed) / rms(observed); the mean of what was observed is not removed, so an offset
        inflates them. ``lambda_x``, the wavelength in km where the ``psd_score`` 1 - PSD(estimate - observed) /
        PSD(observed) falls below 0.5. Where it does so several times the largest wavelength counts: beyond it every
        scale is resolved (the challenge's own code takes the score as monotone). It is infinite where not even
        segments are resolved, the smallest wavelength where everything is, and NaN without segments. Each has its
        ``_interval`` over ``bound``, NaN of fewer than two days or stretches. Also ``psd_error`` and
        ``psd_observed`` (one-sided, Hann, mean removed) over ``wavelength``, ``n_points``, ``n_days``,
        ``n_segments`` and ``n_stretches``. With `std` also ``crps``, ``error_over_stated``, ``coverage_50``,
        ``coverage_90``, ``coverage_95`` with their intervals, for which days are drawn, and ``n_points_stated``, as
        of `oceanvar.metrics.score_uncertainty`.

    Raises
    ------
    ScoreError
        When no day has enough points, the spacing cannot be known, or a standard deviation is not positive.
    GridMismatchError
        When the two are not on the same samples.
    MissingVariableError
        When `observed` has no time.
    ConfigError
        When it is no DataArray of one dimension, a number is not positive, or `noise_std` is given without `std`.
    UnitsMismatchError
        When the units of the two measure different things.

    Notes
    -----
    The first crossing of a noisy score lies at larger wavelengths than that of the expected one. Of white noise on
    an AR(1) truth, with independent segments: 8 % larger of 30 segments, 2 % of 100, 1 % of 300, and intervals at
    level 0.95 that cover the closed form in 75, 91 and 93 of 100 repetitions.
    """
    if not isinstance(observed, xr.DataArray):
        raise ConfigError(
            f"observed is a DataArray of samples with a time, and not {type(observed).__name__}: choose a variable, "
            "tracks['name']"
        )
    if observed.ndim != 1 or not all(one > 0 for one in (min_points, segment_km, max_gap_seconds)):
        raise ConfigError(
            f"need samples along one dimension (given {list(observed.dims)}), and positive min_points, segment_km "
            f"and max_gap_seconds (given {min_points}, {segment_km}, {max_gap_seconds})"
        )
    samples = _samples(estimate, observed, passes, _stated(observed, estimate, std, noise_std))
    bootstrap = level, n_resamples, seed
    by_day = _day_scores(samples, min_points, bootstrap)
    spectra = _spectral_scores(samples, segment_km, spacing_km, max_gap_seconds, bootstrap)
    table = xr.merge([by_day, spectra]).assign(n_points=len(samples.observed))
    units = observed.attrs.get("units")
    if std is not None:
        table = table.merge(_stated_scores(samples, units, bootstrap))
    for name in ("psd_error", "psd_observed"):
        table[name].attrs["units"] = f"({units})^2 km" if units else "km"
    return table


def first_crossing(score: np.ndarray, wavelengths: np.ndarray) -> np.ndarray:
    """Wavelength (...,) where scores (..., n) first fall below 0.5, from the largest of `wavelengths` (n,) on.

    Linear in the wavelength between two of them, as in the challenge; infinite where the first is below, the last
    wavelength where none is.
    """
    below = score < RESOLVED
    after = below.argmax(axis=-1)
    before = np.maximum(after - 1, 0)
    high, low = (np.take_along_axis(score, one[..., np.newaxis], -1)[..., 0] for one in (before, after))
    fraction = np.divide(high - RESOLVED, high - low, out=np.zeros_like(high), where=high != low)
    crossing = wavelengths[before] + fraction * (wavelengths[after] - wavelengths[before])
    crossing = np.where(after == 0, np.inf, crossing)
    return np.where(below.any(axis=-1), crossing, wavelengths[-1])


def _samples(
    estimate: xr.DataArray | ArrayLike, observed: xr.DataArray, passes: str, std: np.ndarray
) -> _Samples:
    bare = usable(observed, "the samples").astype(np.float64)
    way = _to_units_of(observed, estimate, "the estimate")
    found = _at_samples(estimate, observed, "estimate") * way.factor + way.offset
    times = [one for one in observed.coords.values() if is_time(one) and one.dims == observed.dims]
    if not times:
        raise MissingVariableError(f"samples need a time, and have only {sorted(map(str, observed.coords))}")
    known = np.isfinite(found) & np.isfinite(bare.values) & times[0].notnull().values
    time, found, values, std = times[0][known], found[known], bare.values[known], std[known]
    start = time.dt.floor("D") if time.dtype.kind in "mMO" else np.floor(time)
    seconds = numbers(time).values * SECONDS_A_DAY if known.any() else np.zeros(0)
    names = [name for name in dict.fromkeys((passes, "satellite")) if name in observed.coords]
    columns = [np.broadcast_to(observed[name].values, observed.shape)[known] for name in names]
    track = numbered(columns) if columns else np.zeros(len(found), int)
    day = np.unique(start, return_inverse=True)[1]
    order = np.lexsort((seconds, track))
    return _Samples(found[order], values[order], seconds[order], day[order], track[order], std[order])


def _stated(
    observed: xr.DataArray,
    estimate: xr.DataArray | ArrayLike,
    std: xr.DataArray | ArrayLike | None,
    noise_std: ArrayLike,
) -> np.ndarray:
    """Standard deviation of observed - estimate that is stated at each sample; NaN where there is none."""
    noise = np.asarray(noise_std, dtype=np.float64)
    if noise.shape not in ((), observed.shape) or (noise < 0).any() or np.isinf(noise).any():
        raise ConfigError(
            f"noise_std is a standard deviation, one or one for each of {observed.size} samples, and not {noise_std!r}"
        )
    if std is None:
        if noise.any():
            raise ConfigError("noise_std is added to the error that is stated, and none is: give std too")
        return np.full(observed.shape, np.nan)
    units = [one for one in (std, estimate) if isinstance(one, xr.DataArray) and "units" in one.attrs]
    way = _to_units_of(observed, units[0] if units else std, "its standard deviation")
    # The offset of temperatures does not belong to a difference of them.
    found = _at_samples(std, observed, "std") * way.factor
    if (found < 0).any():
        raise ScoreError(f"std is a standard deviation, and is {np.nanmin(found):.4g} at one of the samples")
    return np.hypot(found, noise)


def _at_samples(field: xr.DataArray | ArrayLike, observed: xr.DataArray, name: str) -> np.ndarray:
    """One number for each sample."""
    if isinstance(field, xr.DataArray):
        alone, where = field.reset_coords(drop=True), observed.reset_coords(drop=True)
        field = on_grid(alone, where, f"{name} and observed")
    found = np.asarray(field, dtype=np.float64)
    if found.shape != observed.shape:
        raise ScoreError(
            f"{name} of shape {found.shape} does not go with {observed.shape} samples: give one for each"
        )
    return found


def _to_units_of(observed: xr.DataArray, field: xr.DataArray | ArrayLike, what: str) -> Conversion:
    given = field.attrs.get("units") if isinstance(field, xr.DataArray) else None
    wanted = observed.attrs.get("units")
    if not (isinstance(given, str) and isinstance(wanted, str)):
        return Conversion(1.0, 0.0)
    return conversion(given, wanted, what)


def _stated_scores(samples: _Samples, units: str | None, bootstrap: tuple[float, int, int]) -> xr.Dataset:
    departure, std = (
        xr.DataArray(one, dims="sample") for one in (samples.observed - samples.estimate, samples.std)
    )
    cells = GaussianLaw(departure, std).cells()
    if not cells["n"].any():
        raise ScoreError(f"0 of {len(samples.observed)} samples have a stated error: check the NaN of std")
    sums = {name: ("unit", np.bincount(samples.days, each.values)) for name, each in cells.items()}
    return scored_units(xr.Dataset(sums), units, bootstrap)


def _day_scores(samples: _Samples, min_points: int, bootstrap: tuple[float, int, int]) -> xr.Dataset:
    _, day, counts = np.unique(samples.days, return_inverse=True, return_counts=True)
    error = np.bincount(day, (samples.estimate - samples.observed) ** 2)
    power = np.bincount(day, samples.observed**2)
    counted = (counts >= min_points) & (power > 0)
    if not counted.any():
        raise ScoreError(
            f"no day has {min_points} points where both estimate and observation are known: the most are "
            f"{counts.max(initial=0)}"
        )
    score = 1 - np.sqrt(error[counted] / power[counted])

    def spread(sums: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(sums[:, 1] - sums[:, 0] ** 2, 0))

    moments = np.stack([score, score**2], axis=-1)
    return xr.Dataset(
        {
            "mu": ((), score.mean(), {"long_name": "mean over days of the rmse score", "units": "1"}),
            "mu_interval": ("bound", list(bootstrap_sums(moments, lambda sums: sums[:, 0], *bootstrap))),
            "sigma": ((), score.std(), {"long_name": "its standard deviation over days", "units": "1"}),
            "sigma_interval": ("bound", list(bootstrap_sums(moments, spread, *bootstrap))),
            "day_score": ("day", score, {"long_name": "1 - rms(estimate - observed) / rms(observed)"}),
            "n_days": len(score),
        },
        {"bound": ["low", "high"]},
    )


def _spectral_scores(
    samples: _Samples,
    segment_km: float,
    spacing_km: float | None,
    max_gap_seconds: float,
    bootstrap: tuple[float, int, int],
) -> xr.Dataset:
    near = (np.diff(samples.seconds) <= max_gap_seconds) & (np.diff(samples.passes) == 0)
    if spacing_km is None:
        steps = np.diff(samples.seconds)[near]
        spacing_km = GROUND_SPEED * float(np.median(steps)) if steps.size else segment_km
    if not spacing_km > 0:
        raise ScoreError(f"samples are {spacing_km} km apart: drop repeated ones, or give spacing_km")
    n = max(int(segment_km / spacing_km), _MIN_POINTS)
    wavelength = n * spacing_km / np.arange(1, n // 2 + 1)
    starts = _starts(near, n)
    # A row for each stretch: the sums of its spectra, of the error and of what was observed.
    fields = samples.estimate - samples.observed, samples.observed
    sums = np.array([[_spectra(one, each, n, spacing_km).sum(axis=0) for one in fields] for each in starts])
    sums = sums.reshape(len(starts), 2 * len(wavelength))

    def crossing(total: np.ndarray) -> np.ndarray:
        error, power = np.split(total, 2, axis=-1)
        return first_crossing(1 - error / power, wavelength)

    n_segments = sum(map(len, starts))
    mean = sums.sum(axis=0) / n_segments if n_segments else np.full(2 * len(wavelength), np.nan)
    error, power = np.split(mean, 2)
    lambda_x = float(crossing(mean)) if n_segments else np.nan
    attrs = {"long_name": "effective resolution along the track", "units": "km"}
    if not np.isfinite(lambda_x):
        attrs["comment"] = f"{n_segments} segments of {n * spacing_km:.0f} km: " + (
            "no scale is resolved" if n_segments else "no stretch without a gap is so long"
        )
    return xr.Dataset(
        {
            "lambda_x": ((), lambda_x, attrs),
            "lambda_x_interval": ("bound", list(bootstrap_sums(sums, crossing, *bootstrap))),
            "psd_error": ("wavelength", error),
            "psd_observed": ("wavelength", power),
            "psd_score": ("wavelength", 1 - error / power),
            "n_segments": n_segments,
            "n_stretches": len(starts),
        },
        {"bound": ["low", "high"], "wavelength": ("wavelength", wavelength, {"units": "km"})},
    )


def _starts(near: np.ndarray, n: int) -> list[np.ndarray]:
    """Where the segments of n samples begin, for each stretch of samples that are `near` (m - 1,) the next one."""
    edges = np.flatnonzero(np.concatenate(([True], ~near, [True])))
    stretches = [(first, stop) for first, stop in pairwise(edges) if stop - first >= n]
    return [np.arange(first, stop - n + 1, int(STRIDE * n)) for first, stop in stretches]


def _spectra(values: np.ndarray, starts: np.ndarray, n: int, spacing_km: float) -> np.ndarray:
    """Spectra (m, n // 2) of the segments of n values that begin at `starts` (m,), without frequency 0."""
    segments = values[starts[:, np.newaxis] + np.arange(n)]
    _, power = welch(segments, fs=1 / spacing_km, nperseg=n, noverlap=0, axis=-1)
    return power[:, 1:]
