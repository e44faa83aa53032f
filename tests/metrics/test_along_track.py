"""Scores along the tracks of an independent altimeter, on fields whose spectra are known."""

import numpy as np
import pytest
import xarray as xr
from scipy.signal import welch

from oceanvar.errors import (
    ConfigError,
    GridMismatchError,
    MendedWarning,
    MissingVariableError,
    ScoreError,
    UnitsMismatchError,
)
from oceanvar.metrics import score_along_track, score_uncertainty
from oceanvar.metrics.along_track import GROUND_SPEED, first_crossing

STEP = 0.9434
SPACING = GROUND_SPEED * STEP
N = int(1000 / SPACING)


def track(values, seconds, start="2017-01-01", **coords):
    time = np.datetime64(start, "ns") + (np.asarray(seconds) * 1e9).astype("timedelta64[ns]")
    where = {"time": ("sample", time)} | {name: ("sample", one) for name, one in coords.items()}
    return xr.DataArray(values, where, "sample", "ssh", attrs={"units": "m"})


def passes(rows):
    """One pass an hour for each row."""
    seconds = 3600 * np.arange(len(rows))[:, None] + STEP * np.arange(rows.shape[1])
    return track(rows.ravel(), seconds.ravel())


def autoregressive(n_passes, n, phi, seed):
    """Rows of unit innovations and spectrum 2 d / (1 + phi^2 - 2 phi cos(2 pi f d))."""
    rows = np.random.default_rng(seed).standard_normal((n_passes, n))
    rows[:, 0] /= np.sqrt(1 - phi**2)
    for i in range(1, n):
        rows[:, i] += phi * rows[:, i - 1]
    return rows


# ---- mu and sigma


def test_mu_and_sigma_by_hand():
    rng = np.random.default_rng(0)
    seconds = np.concatenate([86_400 * day + 10 * np.arange(n) for day, n in enumerate((10, 25, 9, 40))])
    observed = 0.2 + rng.standard_normal(seconds.size)
    estimate = observed + 0.3 * rng.standard_normal(seconds.size)
    estimate[-3] = np.nan
    table = score_along_track(estimate, track(observed, seconds))
    days = [slice(0, 10), slice(10, 35), slice(44, 84)]
    expected = [
        1
        - np.sqrt(
            np.nanmean((estimate - observed)[day] ** 2)
            / np.mean(observed[day][~np.isnan(estimate[day])] ** 2)
        )
        for day in days
    ]
    np.testing.assert_allclose(table["day_score"], expected, rtol=1e-12)
    np.testing.assert_allclose(table["mu"], np.mean(expected), rtol=1e-12)
    np.testing.assert_allclose(table["sigma"], np.std(expected), rtol=1e-12)
    assert (int(table["n_days"]), int(table["n_points"])) == (3, 83)
    low, high = table["mu_interval"].values
    assert min(expected) - 1e-12 <= low < table["mu"] < high <= max(expected) + 1e-12
    assert 0 <= table["sigma_interval"][0] < table["sigma"] <= table["sigma_interval"][1]
    assert np.isnan(table["lambda_x"])
    assert "0 segments" in table["lambda_x"].attrs["comment"]


def test_days_are_those_of_the_calendar_and_numbers_count_days():
    rng = np.random.default_rng(1)
    observed = rng.standard_normal(40)
    seconds = 86_400 * 0.75 + np.arange(40) * 86_400 / 40
    dated = score_along_track(0.5 * observed, track(observed, seconds))
    assert int(dated["n_days"]) == 2
    np.testing.assert_allclose(dated["mu"], 0.5)
    plain = track(observed, seconds).assign_coords(time=("sample", 100 + seconds / 86_400))
    xr.testing.assert_allclose(score_along_track(0.5 * observed, plain), dated)


# ---- the effective resolution


def test_a_truth_without_its_small_scales_is_resolved_to_where_they_were_cut():
    n = 4 * N
    truth = np.random.default_rng(2).standard_normal((60, n))
    for wavelength in (100.0, 180.0):
        spectrum = np.fft.rfft(truth, axis=1)
        spectrum[:, np.fft.rfftfreq(n, SPACING) > 1 / wavelength] = 0
        table = score_along_track(passes(np.fft.irfft(spectrum, n, axis=1)), passes(truth))
        step = wavelength**2 / (N * SPACING)  # of neighbouring wavelengths of the spectrum
        assert float(table["lambda_x"]) == pytest.approx(wavelength, abs=0.5 * step)
        low, high = table["lambda_x_interval"].values
        assert low <= table["lambda_x"] <= high < low + step
        resolved = table["psd_score"].sel(wavelength=table.wavelength > wavelength + 3 * step)
        assert resolved.min() > 0.99


def test_white_noise_gives_the_closed_form():
    """AR(1) has half its energy in the error where its spectrum is twice that of the noise."""
    phi, noise = 0.9, 1.2
    truth = autoregressive(150, 3 * N, phi, 3)
    error = noise * np.random.default_rng(4).standard_normal(truth.shape)
    table = score_along_track(passes(truth + error), passes(truth))
    cosine = (1 + phi**2 - 1 / (2 * noise**2)) / (2 * phi)
    exact = 2 * np.pi * SPACING / np.arccos(cosine)
    assert float(table["lambda_x"]) == pytest.approx(exact, rel=0.05)
    low, high = table["lambda_x_interval"].values
    assert low < exact < high
    np.testing.assert_allclose(table["psd_error"].mean(), 2 * noise**2 * SPACING, rtol=0.02)
    frequency = 1 / table["wavelength"]
    spectrum = 2 * SPACING / (1 + phi**2 - 2 * phi * np.cos(2 * np.pi * frequency * SPACING))
    ratio = (table["psd_observed"] / spectrum)[
        1:-1
    ]  # the last has one side, the first what detrending leaves
    assert abs(float(ratio.mean()) - 1) < 0.03
    assert table["psd_error"].attrs["units"] == "(m)^2 km"


def test_segments_are_those_of_the_challenge():
    """Welch's spectrum of all segments one after the other, as its code has it."""
    lengths = [N - 1, N, N + N // 4 + 5, 2 * N]
    rng = np.random.default_rng(5)
    seconds = np.concatenate([1000 * STEP * i * 10 + STEP * np.arange(n) for i, n in enumerate(lengths)])
    observed, error = rng.standard_normal((2, seconds.size))
    table = score_along_track(observed + error, track(observed, seconds))
    first = np.cumsum([0, *lengths])
    starts = [first[i] + k * (N // 4) for i, n in enumerate(lengths) for k in range((n - N) // (N // 4) + 1)]
    assert int(table["n_segments"]) == len(starts) == 1 + 2 + 5
    assert int(table["n_stretches"]) == 3
    joined = np.concatenate([error[start : start + N] for start in starts])
    frequency, power = welch(joined, fs=1 / SPACING, nperseg=N, noverlap=0)
    np.testing.assert_allclose(table["psd_error"], power[1:], rtol=1e-6)
    np.testing.assert_allclose(table["wavelength"], 1 / frequency[1:], rtol=1e-6)


def test_no_segment_runs_from_one_pass_into_another():
    values = np.random.default_rng(6).standard_normal(2 * N)
    seconds = STEP * np.arange(2 * N)
    number = np.repeat([7, 3], N)
    table = score_along_track(values, track(values, seconds, track=number))
    assert int(table["n_segments"]) == 2
    shuffled = np.random.default_rng(7).permutation(2 * N)
    one = track(values, seconds, track=number)[shuffled]
    other = score_along_track(0.9 * one, one)
    xr.testing.assert_allclose(other, score_along_track(0.9 * values, track(values, seconds, track=number)))


def test_all_or_nothing_is_resolved():
    values = np.random.default_rng(8).standard_normal((3, N))
    perfect = score_along_track(passes(values), passes(values))
    assert float(perfect["lambda_x"]) == pytest.approx(2 * SPACING, rel=0.01)
    useless = score_along_track(passes(-values), passes(values))
    assert np.isinf(useless["lambda_x"])
    assert np.isinf(useless["lambda_x_interval"]).all()
    assert "no scale is resolved" in useless["lambda_x"].attrs["comment"]


def test_the_first_crossing_from_large_scales_counts():
    wavelengths = np.array([1000.0, 500.0, 300.0, 200.0, 100.0])
    scores = np.array([[0.9, 0.7, 0.3, 0.8, 0.1], [0.9, 0.8, 0.7, 0.6, 0.55], [0.4, 0.9, 0.9, 0.9, 0.9]])
    np.testing.assert_allclose(first_crossing(scores, wavelengths), [400.0, 100.0, np.inf])


def test_the_interval_covers_as_often_as_it_says():
    phi, noise = 0.8, 1.0
    exact = 2 * np.pi * SPACING / np.arccos((1 + phi**2 - 1 / (2 * noise**2)) / (2 * phi))
    covered = 0
    for seed in range(40):
        truth = autoregressive(100, N, phi, seed)
        error = noise * np.random.default_rng(1000 + seed).standard_normal(truth.shape)
        table = score_along_track(passes(truth + error), passes(truth), n_resamples=300)
        covered += float(table["lambda_x_interval"][0]) <= exact <= float(table["lambda_x_interval"][1])
    assert covered / 40 >= 0.85


def score(estimate, observed):
    return score_along_track(estimate, observed, n_resamples=20, segment_km=300)


def test_units_are_those_of_what_was_measured():
    rng = np.random.default_rng(0)
    observed = track(rng.standard_normal(400), np.arange(400))
    estimate = observed + 0.1 * rng.standard_normal(400)
    expected = score(estimate.values, observed)
    xr.testing.assert_allclose(score((100 * estimate).assign_attrs(units="cm"), observed), expected)
    xr.testing.assert_allclose(score(estimate.drop_attrs(), observed), expected)
    with pytest.raises(UnitsMismatchError, match="the estimate is in 'K'"):
        score(estimate.assign_attrs(units="K"), observed)


def test_satellites_are_divided_without_tracks():
    rng = np.random.default_rng(0)
    one, other = (track(rng.standard_normal(400), np.arange(400) + shift) for shift in (0, 0.3))
    apart = xr.concat([one.assign_coords(track=("sample", np.full(400, n))) for n in (0, 1)], "sample")
    both = xr.concat([one, other], "sample").assign_coords(satellite=("sample", np.repeat(["a", "b"], 400)))
    found = score(0.9 * both, both)
    assert int(found["n_stretches"]) == 2
    np.testing.assert_allclose(found["wavelength"], score(0.9 * apart, apart)["wavelength"])


def test_fills_and_missing_times_are_not_scored():
    rng = np.random.default_rng(0)
    observed = track(rng.standard_normal(400), np.arange(400))
    missing = observed.where((np.arange(400) != 0) & (np.arange(400) != 9))
    odd = observed.copy()
    odd[9], odd["time"].values[0] = 9.969209968386869e36, np.datetime64("NaT")
    with pytest.warns(MendedWarning, match="1 of 400 values of 'ssh' of the samples"):
        found = score(observed.values, odd)
    xr.testing.assert_identical(found, score(observed.values, missing))


# ---- stated errors


def stated(n=400, seed=0):
    """Samples over four days: what is measured, an estimate, and the standard deviation that it states."""
    rng = np.random.default_rng(seed)
    std = np.exp(0.3 * rng.standard_normal(n))
    truth = rng.standard_normal(n)
    observed = track(truth, np.sort(rng.uniform(0, 4 * 86_400, n)), track=rng.integers(0, 3, n))
    return observed, observed.copy(data=truth + std * rng.standard_normal(n)), observed.copy(data=std)


def test_stated_errors_are_scored_with_days_drawn_for_the_interval():
    observed, estimate, std = stated()
    found = score_along_track(estimate, observed, std=std, n_resamples=500)
    days = observed.time.dt.floor("D").values
    # As many samples in every block, so that days are blocks: the longest day, with NaN behind the others.
    of_day = [np.flatnonzero(days == day) for day in np.unique(days)]
    size = max(map(len, of_day))
    blocks = [
        xr.DataArray(
            np.concatenate(
                [np.pad(one.values[at], (0, size - len(at)), constant_values=np.nan) for at in of_day]
            ),
            dims="i",
        )
        for one in (estimate, observed, std)
    ]
    expected = score_uncertainty(*blocks, blocks={"i": size}, n_resamples=500)
    assert int(found["n_points_stated"]) == int(found["n_points"]) == 400
    for name in expected.data_vars:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12)
    assert found["crps"].attrs["units"] == "m"
    plain = score_along_track(estimate, observed, n_resamples=500)
    xr.testing.assert_identical(found.drop_vars(list(expected)), plain)


def test_errors_of_the_measurement_add_to_those_that_are_stated():
    observed, estimate, std = stated(20_000)
    noise = np.linspace(0.5, 2, 20_000)
    noisy = observed + noise * np.random.default_rng(1).standard_normal(20_000)
    found = score_along_track(estimate, noisy, std=std, noise_std=noise, n_resamples=20)
    for name, value in {
        "error_over_stated": 1,
        "coverage_50": 0.5,
        "coverage_90": 0.9,
        "coverage_95": 0.95,
    }.items():
        assert float(found[name]) == pytest.approx(value, abs=0.015)
    total = np.hypot(std, noise)
    np.testing.assert_allclose(found["crps"], score_uncertainty(estimate, noisy, total)["crps"])
    assert float(score_along_track(estimate, noisy, std=std, n_resamples=20)["coverage_90"]) < 0.75


def test_stated_errors_have_the_units_of_the_estimate_or_their_own():
    observed, estimate, std = stated()
    expected = score_along_track(estimate, observed, std=std, noise_std=0.3, n_resamples=20)
    for spread in (
        100 * std.values,
        (100 * std).assign_attrs(units="cm"),
        (1000 * std).assign_attrs(units="mm"),
    ):
        found = score_along_track(
            (100 * estimate).assign_attrs(units="cm"), observed, std=spread, noise_std=0.3, n_resamples=20
        )
        xr.testing.assert_allclose(found, expected)
    warm = observed.assign_attrs(units="kelvin")
    cold = (estimate - 273.15).assign_attrs(units="degree_Celsius")
    found = score_along_track(cold, warm, std=std.drop_attrs(), noise_std=0.3, n_resamples=20)
    for name in ("crps", "error_over_stated", "coverage_90"):
        np.testing.assert_allclose(found[name], expected[name])


def test_samples_without_a_stated_error_have_no_part_in_its_scores():
    observed, estimate, std = stated()
    std[:150], observed[300:310] = np.nan, np.nan
    found = score_along_track(estimate, observed, std=std, n_resamples=20)
    assert (int(found["n_points"]), int(found["n_points_stated"])) == (390, 240)
    kept = np.r_[150:300, 310:400]
    alone = score_along_track(estimate[kept], observed[kept], std=std[kept], n_resamples=20)
    for name in ("crps", "crps_interval", "error_over_stated", "coverage_90", "coverage_90_interval"):
        np.testing.assert_allclose(found[name], alone[name])


def test_mistakes_of_stated_errors():
    observed, estimate, std = stated()
    with pytest.raises(ConfigError, match="give std too"):
        score_along_track(estimate, observed, noise_std=0.1)
    for noise in (-0.1, np.inf, np.ones(3)):
        with pytest.raises(ConfigError, match="one for each of 400 samples"):
            score_along_track(estimate, observed, std=std, noise_std=noise)
    with pytest.raises(ScoreError, match="std of shape .399,. does not go"):
        score_along_track(estimate, observed, std=std.values[1:])
    with pytest.raises(GridMismatchError, match="std and observed"):
        score_along_track(estimate, observed, std=std[1:])
    with pytest.raises(ScoreError, match="is -1 at one"):
        score_along_track(estimate, observed, std=std.where(std.track > 0, -1.0), noise_std=3.0)
    with pytest.raises(ScoreError, match="no positive numbers, 0 for one"):
        score_along_track(estimate, observed, std=0 * std)
    with pytest.raises(ScoreError, match="0 of 400 samples have a stated error"):
        score_along_track(estimate, observed, std=np.nan * std)
    with pytest.raises(UnitsMismatchError, match="its standard deviation is in 'K'"):
        score_along_track(estimate, observed, std=std.assign_attrs(units="K"))


def test_mistakes():
    values = np.arange(20.0)
    good = track(values, 10 * np.arange(20))
    for wrong in (good.to_dataset(), values, [good]):
        with pytest.raises(ConfigError, match="observed is a DataArray"):
            score_along_track(values, wrong)
    with pytest.raises(ConfigError, match="one dimension"):
        score_along_track(values, good.expand_dims(window=1))
    with pytest.raises(ScoreError, match="give one for each"):
        score_along_track(values[1:], good)
    with pytest.raises(GridMismatchError, match="sample"):
        score_along_track(good[1:], good)
    with pytest.raises(MissingVariableError, match="time"):
        score_along_track(values, good.drop_vars("time"))
    with pytest.raises(ScoreError, match="the most are 20"):
        score_along_track(values, good, min_points=21)
    with pytest.raises(ScoreError, match="0.0 km apart"):
        score_along_track(values, track(values, np.zeros(20)))
    with pytest.raises(ConfigError, match="level"):
        score_along_track(values, good, level=2.0)
