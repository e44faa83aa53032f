"""Super-observations, withheld blocks, and parameters by likelihood."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from scipy.stats import multivariate_normal

from oceanvar.baselines import (
    Covariance,
    OrbitErrors,
    average_pixels,
    average_samples,
    error_factor,
    fit_covariance,
    fit_lengths,
    optimal_interpolation,
    withhold_blocks,
    withhold_clouds,
)
from oceanvar.baselines.likelihood import Neighbourhoods, fit_points
from oceanvar.baselines.pass_errors import PassErrors
from oceanvar.errors import ConfigError, GridMismatchError
from tests.labelled_fields import sea_level

# ---- super-observations


def test_means_of_pixels_say_what_the_pixels_say():
    """Where the signal does not vary within a box, the mean with its error is all there is to know."""
    obs = sea_level(n_time=3, n_lat=5, n_lon=6)
    lengths, sizes = {"time": 2.0, "latitude": 1e7, "longitude": 1e7}, {"latitude": 2, "longitude": 3}
    # Weights inside a box are equal, so its pixels have equal noise here.
    noise = xr.DataArray(np.repeat([0.02, 0.05], 3), dims="longitude", coords={"longitude": obs.longitude})
    means = average_pixels(obs, sizes, noise)
    assert means["ssh"].sizes == {"time": 3, "latitude": 3, "longitude": 2}
    options = {"std": 0.1, "mean": 0.3, "targets": obs.isel(latitude=[0, 3], longitude=[1])}
    raw = optimal_interpolation(obs, lengths, noise, **options)
    result = optimal_interpolation(means["ssh"], lengths, means["noise_std"], **options)
    for name in ("ssh", "ssh_error"):
        np.testing.assert_allclose(result[name], raw[name], rtol=0, atol=1e-8)


def test_means_of_pixels_by_hand():
    obs = xr.DataArray([[1.0, 3.0, np.nan], [5.0, np.nan, np.nan]], dims=("y", "x"), attrs={"units": "K"})
    obs = obs.assign_coords(x=[0.0, 1.0, 2.0])
    means = average_pixels(obs, {"y": 2, "x": 2}, 0.6)
    np.testing.assert_allclose(means["mean"], [[3.0, np.nan]])
    np.testing.assert_allclose(means["noise_std"], [[0.6 / np.sqrt(3), np.nan]])
    np.testing.assert_allclose(means["x"], [0.5, 2.0])
    assert means["mean"].attrs == means["noise_std"].attrs == {"units": "K"}
    lazy = average_pixels(obs.chunk(x=1), {"y": 2, "x": 2}, 0.6)
    assert isinstance(lazy["mean"].data, da.Array)
    xr.testing.assert_allclose(lazy.compute(), means)
    with pytest.raises(ConfigError, match="'z': 2"):
        average_pixels(obs, {"z": 2}, 0.6)


def passes_of_four(seconds, longitude=(179.9, -179.9, 179.8, 0.0)):
    time = np.datetime64("2020-01-01", "ns") + (np.array(seconds) * 1e9).astype("timedelta64[ns]")
    where = {"time": time, "longitude": np.array(longitude), "latitude": [1.0, 2.0, 4.0, 9.0]}
    coords = {name: ("sample", value) for name, value in where.items()}
    values = [1.0, 2.0, np.nan, 7.0]
    return xr.DataArray(values, coords | {"track": ("sample", [3, 3, 3, 8])}, "sample", "ssh")


def test_means_of_samples_by_hand():
    samples = passes_of_four([0.0, 1.0, 1.5, 1.9])
    means = average_samples(samples, 2.0, 0.6)
    np.testing.assert_allclose(means["ssh"], [1.5, 7.0])
    np.testing.assert_allclose(means["noise_std"], [0.6 / np.sqrt(2), 0.6])
    np.testing.assert_allclose(means["latitude"], [1.5, 9.0])
    np.testing.assert_allclose(means["longitude"] % 360, [180.0, 0.0], atol=1e-9)
    np.testing.assert_array_equal(means["track"], [3, 8])
    np.testing.assert_array_equal(
        (means["time"] - samples["time"][0]) / np.timedelta64(1, "ms"), [500.0, 1900.0]
    )
    apart = average_samples(samples, 1.0, 0.6)
    xr.testing.assert_allclose(apart["ssh"], samples.dropna("sample"))
    with pytest.raises(ConfigError, match="positive duration"):
        average_samples(samples, 0.0, 0.6)


# ---- withheld blocks


def test_whole_passes_are_withheld():
    labels = xr.DataArray(np.repeat([4, 7, 1, 9], [2, 5, 1, 3]), dims="sample")
    withheld = withhold_blocks(labels, 0.5, seed=1)
    drawn = set(labels.values[withheld])
    assert len(drawn) == 2
    np.testing.assert_array_equal(withheld, np.isin(labels, list(drawn)))
    assert not withhold_blocks(labels, 0.5, seed=2).equals(withheld)
    with pytest.raises(ConfigError, match="at least one"):
        withhold_blocks(labels, 0.05)


def test_whole_clouds_are_withheld():
    rng = np.random.default_rng(0)
    obs = xr.DataArray(rng.random((20, 12, 12)), dims=("time", "y", "x"))
    smooth = obs.rolling(y=5, x=5, center=True, min_periods=1).mean()
    obs = obs.where(smooth > 0.48).where(np.arange(12) > 1)  # two columns of land
    withheld = withhold_clouds(obs, 0.2, seed=3)
    seen = obs.notnull()
    assert not (withheld & ~seen).any()
    assert 0.2 <= withheld.sum() / seen.sum() < 0.5
    for day in range(20):
        if withheld[day].any():
            same = [(withheld[day] == (seen[day] & ~seen[other])).all() for other in range(20)]
            assert sum(map(bool, same)) >= 1
    with pytest.raises(ConfigError, match="hide"):
        withhold_clouds(xr.ones_like(obs), 0.1)


def test_clouds_of_days_in_a_row_are_laid_over_days_in_a_row_the_clearest_first():
    rng = np.random.default_rng(0)
    cover = np.repeat([0.5, 0.1, 0.6, 0.7, 0.3], 5)[:23]
    obs = xr.DataArray(rng.random((23, 40)), dims=("time", "x"))
    obs = obs.where(rng.random(obs.shape) > cover[:, np.newaxis])
    seen = obs.notnull()
    withheld = withhold_clouds(obs, 0.2, seed=4, n_days=5, clearest=True)
    days = np.flatnonzero(withheld.any("x"))
    np.testing.assert_array_equal(days, [*range(5, 10), *range(20, 23)])
    others = [
        next(other for other in range(23) if (withheld[day] == (seen[day] & ~seen[other])).all())
        for day in days
    ]
    assert {int(step) % 23 for step in np.diff(others)[[0, 1, 2, 3, 5, 6]]} == {1}


def test_error_factor():
    rng = np.random.default_rng(1)
    error_std, residuals = rng.uniform(0.5, 2, 400), rng.standard_normal(400)
    np.testing.assert_allclose(
        error_factor(residuals, error_std, 0.0), np.sqrt(((residuals / error_std) ** 2).mean()), rtol=1e-5
    )
    error_std = rng.uniform(0.5, 2, 100_000)
    residuals = np.sqrt((2.5 * error_std) ** 2 + 0.7**2) * rng.standard_normal(100_000)
    assert error_factor(residuals, error_std, 0.7) == pytest.approx(2.5, rel=0.01)
    with pytest.raises(ConfigError, match="positive"):
        error_factor(residuals[:3], np.zeros(3), 0.7)


def passes_with_errors(noise=0.02, bias=0.6, n_passes=40):
    """Samples every 0.2 along passes 3 apart, of a signal of length 10, with a bias of every pass."""
    rng = np.random.default_rng(5)
    x = np.repeat(3.0 * np.arange(n_passes), 12) + np.tile(0.02 * np.arange(12), n_passes)
    track = np.repeat(np.arange(n_passes), 12)
    prior = np.exp(-0.5 * ((x[:, None] - x) / 10) ** 2) + 1e-9 * np.eye(x.size)
    signal = np.linalg.cholesky(prior) @ rng.standard_normal(x.size)
    values = signal + bias * rng.standard_normal(n_passes)[track] + noise * rng.standard_normal(x.size)
    coords = {"x": ("sample", x), "track": ("sample", track), "time": ("sample", x / 100)}
    return xr.DataArray(values, coords, "sample")


def test_withheld_passes_choose_the_length_of_the_signal_and_single_points_that_of_the_errors():
    obs = passes_with_errors()
    candidates = [{"x": length} for length in (1.5, 10.0)]
    options = {"std": 1.0, "mean": 0.0, "n_nearest": 60}
    by_points, _ = fit_lengths(obs, candidates, 0.02, **options)
    withheld = withhold_blocks(obs["track"], 0.3)
    noise = np.hypot(0.6, 0.02)
    by_passes, table = fit_lengths(obs, candidates, noise, withheld=withheld, **options)
    assert (by_points, by_passes) == ({"x": 1.5}, {"x": 10.0})
    assert table["error_factor"].dims == ("candidate",)
    kept = obs.where(~withheld)
    analysis = optimal_interpolation(
        kept.rename("ssh"), by_passes, noise, std=1.0, mean=0.0, n_nearest=60, targets=obs
    )
    residuals = (analysis["ssh"] - obs).values[withheld]
    assert float(table["rmse"][1]) == pytest.approx(np.sqrt((residuals**2).mean()), rel=1e-10)
    expected = error_factor(residuals, analysis["ssh_error"].values[withheld], noise)
    assert float(table["error_factor"][1]) == pytest.approx(expected, rel=1e-6)
    with pytest.raises(GridMismatchError, match="withheld"):
        fit_lengths(obs, candidates, 0.02, withheld=withheld[:5])


# ---- likelihood


def drawn_signal(covariance, n=120, seed=2):
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 10, (n, 2))
    local = covariance.offsets(points, np.zeros(2))[None]
    prior = covariance.between(local, local)[0] + 1e-10 * np.eye(n)
    return points, np.linalg.cholesky(prior) @ rng.standard_normal(n)


def test_the_likelihood_is_that_of_scipy():
    covariance = Covariance(1.3, {"x": 1.0, "y": 2.0}, kernel="matern32")
    points, values = drawn_signal(covariance, 50)
    unit = covariance.offsets(points, np.zeros(2))
    noise = np.linspace(0.1, 0.4, 50)
    passes = np.arange(50) // 10
    shared = PassErrors.of_orbits(passes, points[:, 0], 0.3)
    around = Neighbourhoods(points[:3], points, values, noise, covariance, 50, shared)
    total = covariance.between(unit[None], unit[None])[0] + np.diag((2 * noise) ** 2)
    total += (passes[:, None] == passes) * (0.5 * 0.3) ** 2
    expected = multivariate_normal(np.zeros(50), total).logpdf(values) / 50
    np.testing.assert_allclose(around.log_likelihood(covariance, 2.0, 0.5), expected, rtol=1e-9)


def test_observations_out_of_reach_do_not_count():
    covariance = Covariance(1.0, {"x": 1.0})
    points = np.array([[0.0], [0.5], [100.0]])
    values = np.array([1.0, 0.3, 5.0])
    around = Neighbourhoods(np.array([[0.0], [0.4]]), points, values, 0.5, covariance)
    total = np.exp(-0.5 * (points[:2] - points[:2].T) ** 2) + 0.25 * np.eye(2)
    expected = multivariate_normal(np.zeros(2), total).logpdf(values[:2]) / 2
    np.testing.assert_allclose(around.log_likelihood(covariance), expected, rtol=1e-12)
    with pytest.raises(ConfigError, match="centres"):
        Neighbourhoods(points[:0], points, values, 0.5, covariance)


def test_the_likeliest_parameters_are_those_of_the_data():
    true = Covariance(0.8, {"x": 0.4, "y": 0.8}, kernel="matern32")
    points, values = drawn_signal(true, 1500)
    values = values + 0.2 * np.random.default_rng(8).standard_normal(1500)
    start = Covariance(2.0, {"x": 1.0, "y": 1.0}, kernel="matern32")
    found = fit_points(points, values, 0.05, start, n_nearest=60, n_neighbourhoods=60)
    assert found.covariance.std == pytest.approx(0.8, rel=0.15)
    assert found.covariance.lengths == pytest.approx({"x": 0.4, "y": 0.8}, rel=0.2)
    assert 0.05 * found.noise_factor == pytest.approx(0.2, rel=0.15)
    assert found.pass_factor == 1.0


def test_lengths_on_the_sphere_stay_equal_where_they_start_equal():
    rng = np.random.default_rng(0)
    points = np.stack([rng.uniform(30, 34, 60), rng.uniform(0, 4, 60)], -1)
    for length, equal in ((100.0, True), (150.0, False)):
        start = Covariance(1.0, {"latitude": 100.0, "longitude": length})
        lengths = fit_points(
            points, rng.standard_normal(60), 0.5, start, n_neighbourhoods=5
        ).covariance.lengths
        assert (lengths["latitude"] == lengths["longitude"]) is equal


def test_fitted_options_are_those_of_optimal_interpolation():
    obs = passes_with_errors().rename("ssh")
    best, log_likelihood = fit_covariance(
        obs,
        [{"x": 20.0, "time": 10.0}],
        0.05,
        std=2.0,
        mean=0.0,
        n_nearest=120,
        orbit_errors=OrbitErrors(0.2),
    )
    assert best["orbit_errors"].bias_std == pytest.approx(0.6, rel=0.3)
    assert best["noise_std"] == pytest.approx(0.02, rel=0.1)
    assert isinstance(best["lengths"], list)
    assert 5 < best["lengths"][0]["x"] < 30
    assert best["shares"] == [1.0]
    assert log_likelihood > 1
    result = optimal_interpolation(obs, **best)
    assert result["ssh_error"].mean() < best["std"]
    with pytest.raises(ConfigError, match="select along"):
        fit_covariance(obs.expand_dims(window=2), {"x": 20.0}, 0.05)
