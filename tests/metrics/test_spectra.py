"""Spectral scores and resolved scales."""

import warnings
from collections.abc import Iterable

import numpy as np
import pytest
import xarray as xr

from oceanvar.errors import ScoreError
from oceanvar.metrics import psd_score, resolved_scales
from tests.labelled_fields import field


def waves(
    wavelengths: Iterable[float], n_time: int = 60, n_longitude: int = 160, dx: float = 0.25
) -> xr.DataArray:
    """Westward waves of unit amplitude and random phase at every period of the grid from 3 to 30 days."""
    rng = np.random.default_rng(1)
    x, t = dx * np.arange(n_longitude), np.arange(n_time, dtype=float)
    values = np.zeros((n_time, 4, n_longitude))
    for wavelength in wavelengths:
        for period in 60 / np.arange(2, 21):
            phase = rng.uniform(0, 2 * np.pi, (1, 4, 1))
            values += np.cos(2 * np.pi * (x / wavelength + t[:, None, None] / period) + phase)
    return xr.DataArray(
        values, coords={"time": t, "lat": np.arange(4.0), "lon": x}, dims=["time", "lat", "lon"]
    )


@pytest.mark.parametrize("sizes", [(30, 6, 41), (31, 5, 40)])
def test_psd_score_equals_xrft(sizes: tuple[int, int, int]) -> None:
    import xrft

    truth = field(1, sizes).assign_coords(time=np.arange(sizes[0], dtype=float))
    truth = truth.cumsum("longitude") + 3.0
    analysis = truth + field(2, sizes, std=0.8).to_numpy()

    def power(values: xr.DataArray) -> xr.DataArray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            spectrum = xrft.power_spectrum(
                values, dim=["time", "longitude"], detrend="constant", window="hann"
            ).mean("latitude")
        return spectrum.where((spectrum.freq_time > 0) & (spectrum.freq_longitude > 0), drop=True)

    expected = 1 - power(analysis - truth) / power(truth)
    found = psd_score(analysis, truth)
    assert found.dims == ("period", "wavelength")
    np.testing.assert_allclose(found, expected.transpose("freq_time", "freq_longitude"), atol=1e-10)
    np.testing.assert_allclose(found.period, 1 / expected.freq_time)
    np.testing.assert_allclose(found.wavelength, 1 / expected.freq_longitude)


def test_a_known_error_level_gives_a_known_score() -> None:
    truth = field(1)
    np.testing.assert_allclose(psd_score(0.7 * truth, truth), 1 - 0.3**2, rtol=1e-12)
    # 1 - 0.8^2 = 0.36 < 0.5 at every scale: no contour; 1 - 0.7^2 = 0.51: everything is resolved
    nothing = resolved_scales(psd_score(0.2 * truth, truth))
    assert np.isnan(nothing.lambda_x)
    assert np.isnan(nothing.lambda_t)
    assert "no contour at 0.5 (it is at most 0.36)" in nothing.lambda_x.attrs["comment"]
    everything = psd_score(0.3 * truth, truth)
    scales = resolved_scales(everything)
    assert float(scales.lambda_x) == everything.wavelength.min() == 40 * 0.25 / 19
    assert float(scales.lambda_t) == everything.period.min() == 30 / 14
    assert "comment" not in scales.lambda_x.attrs


def test_waves_lost_below_a_wavelength_are_not_resolved() -> None:
    # 40 degrees of longitude: harmonics 1 to 40; those above 20 (shorter than 2 degrees) are lost.
    harmonics = np.arange(1, 41)
    truth = waves(40 / harmonics)
    truth += 1e-3 * np.random.default_rng(0).standard_normal(
        truth.shape
    )  # lost too: no score of rounding errors
    scales = resolved_scales(psd_score(waves(40 / harmonics[:20]), truth))
    # the window mixes neighbouring harmonics: the contour lies between harmonics 19 and 22
    assert 40 / 22 < scales.lambda_x < 40 / 19
    assert scales.lambda_x.attrs["units"] == "degrees"
    assert scales.lambda_t.attrs["units"] == "days"


def test_only_westward_waves_are_scored() -> None:
    west = waves([4.0, 5.0, 8.0])
    east = west.isel(lon=slice(None, None, -1)).assign_coords(lon=west.lon)
    noise = 1e-3 * xr.zeros_like(west).copy(data=np.random.default_rng(0).standard_normal(west.shape))
    kept_west = psd_score(west + noise, west + east).sel(wavelength=5.0, period=6.0, method="nearest")
    kept_east = psd_score(east + noise, west + east).sel(wavelength=5.0, period=6.0, method="nearest")
    assert kept_west > 0.99
    assert kept_east < 0.01


def test_time_is_in_days_whatever_its_type() -> None:
    truth = field(1)
    dates = xr.date_range("2001-02-01", periods=30, freq="D", calendar="noleap", use_cftime=True)
    times = [
        truth.time.astype("datetime64[us]"),
        np.arange(30) * np.timedelta64(24, "h"),
        np.arange(30, dtype=np.float32),
        dates,
    ]
    expected = psd_score(0.5 * truth + field(2), truth)
    for time in times:
        there = {"time": ("time", np.asarray(time))}
        found = psd_score((0.5 * truth + field(2)).assign_coords(there), truth.assign_coords(there))
        xr.testing.assert_allclose(found, expected)
    hours = {"time": ("time", np.arange(30) * 24, {"units": "hours since 2000-01-01"})}
    with pytest.raises(ScoreError, match="hours since"):
        psd_score(truth.assign_coords(hours), truth.assign_coords(hours))


def test_spectra_refuse_what_they_cannot_use() -> None:
    truth = field()
    gap = truth.isel(time=np.delete(np.arange(30), 4))
    cases = [
        (truth.where(truth.latitude > 33), "1200 cells are NaN.*box without land"),
        (gap, "'time' has steps from 1 to 2 days"),
        (truth.isel(longitude=slice(None, None, -1)), "'longitude' has steps of -0.25 degrees"),
        (truth.assign_coords(longitude=np.zeros(40)), "'longitude' has steps from 0 to 0 degrees"),
        (truth.isel(longitude=slice(4)), "'longitude' has 4 points.*at least 5"),
        (truth.drop_vars("longitude"), "'longitude' has no coordinate"),
        (truth.rename(longitude="site"), "needs time, latitude and longitude"),
    ]
    for bad, message in cases:
        with pytest.raises(ScoreError, match=message):
            psd_score(bad, bad)
    with pytest.raises(ScoreError, match="1 cells are NaN"):
        psd_score(truth.where(truth != truth.max()), truth)
