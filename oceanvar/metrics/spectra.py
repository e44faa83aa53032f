"""Which scales an analysis resolves: the space-time spectral score of the 2020a sea-level data challenge."""

from collections.abc import Hashable, Sequence

import numpy as np
import xarray as xr
from scipy.signal import get_window

from oceanvar.errors import GridMismatchError, ScoreError
from oceanvar.labels.alignment import on_grid
from oceanvar.labels.coordinates import MapDims, even_step, map_dims, numbers
from oceanvar.metrics.errors import quotient

RESOLVED = 0.5  # score from which a scale counts as resolved: error with half the energy of the truth
_MIN_POINTS = 5  # fewest points with two positive frequencies, so that there is a contour to follow


def error_spectra(
    analysis: xr.DataArray, truth: xr.DataArray, axes: MapDims, average: Sequence[Hashable]
) -> xr.Dataset:
    """Power spectra of the error and of the truth over time and longitude, lazy for dask arrays.

    Each row is detrended by its mean over (time, longitude) and tapered by a periodic Hann window in
    both; only positive frequencies are kept.

    Parameters
    ----------
    analysis, truth : xarray.DataArray
        Fields on the same grid.
    axes : MapDims
        Which dimensions are time and longitude.
    average : sequence of hashable
        Dimensions over which the spectra are averaged; the remaining ones stay.

    Returns
    -------
    xarray.Dataset
        `error` and `truth` over ``(period, wavelength)``, unnormalised, and `n_missing`, the number of
        cells that are NaN in either field.

    Raises
    ------
    GridMismatchError
        If the grids differ.
    ScoreError
        If time or longitude is too short, uneven or without a coordinate, or time is not in days.
    """
    truth = truth.drop_attrs(deep=False).astype(np.float64)
    aligned = on_grid(analysis, truth, "analysis and truth").astype(np.float64)
    units = _length_units(truth, axes.longitude)
    _require_days(truth, axes.time)
    period = _positive_wavelengths(truth, axes.time, "days")
    wavelength = _positive_wavelengths(truth, axes.longitude, units)
    missing = truth.isnull() | aligned.isnull()
    spectra = xr.Dataset(
        {
            "error": _mean_power(aligned - truth, axes, average),
            "truth": _mean_power(truth, axes, average),
            "n_missing": missing.sum(),
        }
    )
    return spectra.assign_coords(
        period=("period", period, {"units": "days", "long_name": "period"}),
        wavelength=("wavelength", wavelength, {"units": units, "long_name": "wavelength along longitude"}),
    )


def psd_score(analysis: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """Score 1 - PSD(analysis - truth) / PSD(truth) for each period and wavelength.

    Definition of the 2020a SSH mapping challenge: spectra over (time, longitude) with a Hann window,
    averaged over latitude (and any further dimension), positive frequencies. 1 is perfect, 0 no better
    than no map. Dask arrays are computed.

    Parameters
    ----------
    analysis, truth : xarray.DataArray
        Fields on the same grid with dimensions that can be recognised as time, latitude and longitude.
        A time coordinate of plain numbers is taken as days.

    Returns
    -------
    xarray.DataArray
        Score over ``(period, wavelength)``, in days and in units of the longitude; NaN where the truth
        has no power.

    Raises
    ------
    GridMismatchError
        If the grids differ.
    ScoreError
        If they have no such dimensions or are uneven, or if a cell is NaN.

    Notes
    -----
    The kept quadrant (both frequencies positive) holds the waves that move west. Another window gives other
    scales, so numbers of suites that taper differently do not compare.
    """
    axes = map_dims(truth)
    if axes is None:
        raise ScoreError(
            f"a spectral score needs time, latitude and longitude, and the dimensions are {list(truth.dims)}"
            ": rename them or set their standard_name"
        )
    average = [dim for dim in truth.dims if dim not in (axes.time, axes.longitude)]
    return score_of_spectra(error_spectra(analysis, truth, axes, average).compute())


def score_of_spectra(spectra: xr.Dataset) -> xr.DataArray:
    """Spectral score from computed `error_spectra`.

    Parameters
    ----------
    spectra : Dataset
        ``truth``, ``error`` and ``n_missing`` of `error_spectra`, in memory.

    Returns
    -------
    DataArray
        1 - error / truth over the scales of the spectra.

    Raises
    ------
    ScoreError
        If a cell was NaN.
    """
    n_missing = int(spectra["n_missing"])
    if n_missing:
        raise ScoreError(
            f"{n_missing} cells are NaN in the analysis or the truth, and a spectrum needs them all: select "
            "a box without land, for instance with .sel(longitude=slice(..., ...))"
        )
    score = 1.0 - quotient(spectra["error"], spectra["truth"])
    return score.rename("psd_score").assign_attrs(
        long_name="1 - PSD(analysis - truth) / PSD(truth)", units="1"
    )


def resolved_scales(score: xr.DataArray) -> xr.Dataset:
    """Smallest wavelength and period on the contour where the spectral score is 0.5.

    All pieces of the contour count (the challenge's own code reads the first piece only).

    Parameters
    ----------
    score : xarray.DataArray
        From `psd_score`, over ``(period, wavelength)``; further dimensions stay.

    Returns
    -------
    xarray.Dataset
        `lambda_x` in units of the wavelength and `lambda_t` in days. If the score is nowhere below 0.5 they
        are the smallest of the grid; if there is no contour, NaN, and the attribute `comment` says so.
    """
    periods, wavelengths = score["period"], score["wavelength"]
    lambda_x, lambda_t = xr.apply_ufunc(
        _smallest_resolved,
        score,
        input_core_dims=[["period", "wavelength"]],
        output_core_dims=[[], []],
        vectorize=True,
        kwargs={"periods": periods.to_numpy(), "wavelengths": wavelengths.to_numpy()},
    )
    lambda_x.attrs = {"units": wavelengths.attrs["units"], "long_name": "smallest resolved wavelength"}
    lambda_t.attrs = {"units": periods.attrs["units"], "long_name": "smallest resolved period"}
    for scale in (lambda_x, lambda_t):
        if scale.isnull().any():
            scale.attrs["comment"] = (
                f"NaN at {int(scale.isnull().sum())} of {scale.size}: the score has no contour at {RESOLVED} "
                f"(it is at most {float(score.max()):.3g}), so no scale is resolved"
            )
    return xr.Dataset({"lambda_x": lambda_x, "lambda_t": lambda_t})


def _smallest_resolved(
    score: np.ndarray, periods: np.ndarray, wavelengths: np.ndarray
) -> tuple[float, float]:
    import contourpy

    if np.isnan(score).all():
        return np.nan, np.nan
    known = np.ma.masked_invalid(score)
    if known.min() >= RESOLVED:
        return wavelengths.min(), periods.min()
    lines = contourpy.contour_generator(wavelengths, periods, known).lines(RESOLVED)
    points = np.concatenate([*lines, np.full((1, 2), np.inf)])  # never empty
    smallest = points.min(axis=0)
    x, t = np.where(np.isfinite(smallest), smallest, np.nan)
    return x, t


def _mean_power(field: xr.DataArray, axes: MapDims, average: Sequence[Hashable]) -> xr.DataArray:
    n_time, n_longitude = field.sizes[axes.time], field.sizes[axes.longitude]
    taper = np.outer(get_window("hann", n_time), get_window("hann", n_longitude))
    power = xr.apply_ufunc(
        _power,
        field.reset_coords(drop=True),
        input_core_dims=[[axes.time, axes.longitude]],
        output_core_dims=[["period", "wavelength"]],
        kwargs={"taper": taper},
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={
            "allow_rechunk": True,
            "output_sizes": {"period": (n_time - 1) // 2, "wavelength": (n_longitude - 1) // 2},
        },
    )
    return power.mean(list(average), skipna=False)


def _power(values: np.ndarray, taper: np.ndarray) -> np.ndarray:
    """Squared amplitude at positive frequencies, ``(..., T, X)`` to ``(..., (T - 1) // 2, (X - 1) // 2)``."""
    n_time, n_longitude = taper.shape
    centred = values - values.mean(axis=(-2, -1), keepdims=True)
    spectrum = np.fft.rfft2(centred * taper)
    return np.abs(spectrum[..., 1 : (n_time + 1) // 2, 1 : (n_longitude + 1) // 2]) ** 2


def _positive_wavelengths(field: xr.DataArray, dim: Hashable, units: str) -> np.ndarray:
    size = field.sizes[dim]
    if dim not in field.coords:
        raise ScoreError(
            f"dimension {dim!r} has no coordinate, so its spacing is unknown: assign_coords adds one"
        )
    if size < _MIN_POINTS:
        raise ScoreError(f"dimension {dim!r} has {size} points and a spectrum needs at least {_MIN_POINTS}")
    try:
        step = even_step(numbers(field[dim]).values, dim, units)
    except GridMismatchError as error:
        raise ScoreError(f"there is no spectrum: {error}") from error
    if step < 0:
        raise ScoreError(
            f"dimension {dim!r} has steps of {step:.6g} {units}, and a spectrum needs positive ones: sort it"
        )
    return 1.0 / np.fft.fftfreq(size, step)[1 : (size + 1) // 2]


def _require_days(field: xr.DataArray, dim: Hashable) -> None:
    units = str(field[dim].attrs.get("units", "days"))
    if field[dim].dtype.kind in "iuf" and not units.startswith("day"):
        raise ScoreError(
            f"dimension {dim!r} counts {units!r} as plain numbers, and days are needed: "
            "decode it with xarray.decode_cf"
        )


def _length_units(field: xr.DataArray, dim: Hashable) -> str:
    units = str(field[dim].attrs.get("units", "degrees"))
    return "degrees" if units.startswith("degree") else units
