import dataclasses
import functools
import itertools
import operator
import warnings
from collections.abc import Iterable
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr

from oceanvar.errors import ConfigError, GridMismatchError, MissingVariableError, UnitsMismatchError
from oceanvar.metrics import intervals
from oceanvar.metrics.errors import ErrorSums
from oceanvar.metrics.intervals import bootstrap_difference, bootstrap_interval, bootstrap_ratio
from oceanvar.metrics.scores import score
from oceanvar.metrics.spectra import map_dims, psd_score, resolved_scales

STATISTICS = (
    "n", "mse", "rmse", "bias", "correlation", "normalised_error", "variance_normalised_error", "rms_score",
)  # fmt: skip


def line(*values: float, dim: str = "time", **attrs: str) -> xr.DataArray:
    return xr.DataArray(np.array(values, dtype=float), dims=dim, name="ssh", attrs=attrs)


def field(seed: int = 0, sizes: tuple[int, int, int] = (30, 6, 40), std: float = 1.0) -> xr.DataArray:
    values = std * np.random.default_rng(seed).standard_normal(sizes)
    coords = {
        "time": np.datetime64("2012-10-22", "ns") + np.arange(sizes[0]) * np.timedelta64(1, "D"),
        "latitude": 33 + 0.25 * np.arange(sizes[1]),
        "longitude": -65 + 0.25 * np.arange(sizes[2]),
    }
    return xr.DataArray(values, coords=coords, dims=list(coords), name="ssh", attrs={"units": "m"})


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


class CountingScheduler:
    def __init__(self) -> None:
        self.n_calls = 0

    def __call__(self, graph: Any, keys: Any, **options: Any) -> Any:
        self.n_calls += 1
        return dask.get(graph, keys, **options)


# --- what counts -----------------------------------------------------------------------------------------


def test_cells_that_are_nan_in_truth_or_analysis_do_not_count() -> None:
    # Cells 1 and 4 drop out; errors (0, 2, 0), truth (1, 2, 3), analysis (1, 4, 3).
    sums = ErrorSums.from_arrays(line(1, np.nan, 4, 3, 7), line(1, 5, 2, 3, np.nan))
    assert int(sums.n) == 3
    np.testing.assert_allclose(sums.rmse, np.sqrt(4 / 3))
    np.testing.assert_allclose(sums.bias, 2 / 3)
    np.testing.assert_allclose(sums.normalised_error, 4 / 14)
    np.testing.assert_allclose(sums.truth_variance, 2 / 3)  # 14/3 - 2^2
    np.testing.assert_allclose(sums.variance_normalised_error, 2.0)
    # covariance 18/3 - 2 * 8/3 = 2/3, variance of the analysis 26/3 - 64/9 = 14/9
    np.testing.assert_allclose(sums.correlation, (2 / 3) / np.sqrt(14 / 9 * 2 / 3))
    np.testing.assert_allclose(sums.rms_score, 1 - np.sqrt(2 / 7))


def test_values_of_cells_that_do_not_count_cannot_leak() -> None:
    truth, analysis = field(1), field(2)
    mask = field(3) > 0.5
    hidden = ErrorSums.from_arrays(analysis.where(mask, 1e6), truth, where=mask)
    for name in STATISTICS:
        xr.testing.assert_identical(
            getattr(hidden, name), getattr(ErrorSums.from_arrays(analysis.where(mask), truth), name)
        )
    with_infinity = truth.where(mask, np.inf)
    np.testing.assert_array_equal(
        ErrorSums.from_arrays(analysis, with_infinity, where=mask).rmse, hidden.rmse
    )


def test_a_mask_may_lack_dimensions_and_must_be_boolean() -> None:
    truth = field()
    sea = xr.DataArray(np.arange(6) < 2, dims="latitude")
    assert int(ErrorSums.from_arrays(truth, truth, where=sea).n) == 30 * 2 * 40
    with pytest.raises(ConfigError, match="float64 and must be boolean"):
        ErrorSums.from_arrays(truth, truth, where=sea.astype(float))
    with pytest.raises(GridMismatchError, match="'depth'"):
        ErrorSums.from_arrays(truth, truth, where=sea.rename(latitude="depth"))


@pytest.mark.parametrize("chunks", [None, {"time": 7}])
def test_no_cell_left_is_an_error_and_a_kept_piece_without_cells_is_nan(
    chunks: dict[str, int] | None,
) -> None:
    truth = field().chunk(chunks) if chunks else field()
    with pytest.raises(GridMismatchError, match="0 cells are left"):
        ErrorSums.from_arrays(truth * np.nan, truth).rmse.compute()
    first_day_missing = truth.where(truth.time > truth.time[0])
    kept = ErrorSums.from_arrays(first_day_missing, truth, dims=["latitude", "longitude"])
    np.testing.assert_array_equal(kept.rmse, [np.nan] + 29 * [0.0])
    np.testing.assert_array_equal(kept.n, [0] + 29 * [240])


def test_statistics_without_meaning_are_nan_not_noise() -> None:
    constant = ErrorSums.from_arrays(line(0.3, 0.1, 0.2), line(0.1, 0.1, 0.1))
    assert np.isnan(constant.correlation)
    assert np.isnan(constant.variance_normalised_error)
    assert np.isnan(ErrorSums.from_arrays(line(1, 2), line(0, 0)).normalised_error)


def test_float32_fields_are_summed_in_float64() -> None:
    # 4097^2 = 2^24 + 2^13 + 1, and float32 holds no odd integer above 2^24
    truth = xr.DataArray(np.full(4, 4097.0, dtype=np.float32), dims="x")
    sums = ErrorSums.from_arrays(truth, truth)
    for total in (sums.squared_truth, sums.squared_analysis, sums.product):
        assert float(total) == 4 * 4097**2


# --- sums of pieces --------------------------------------------------------------------------------------


def test_the_sum_of_the_pieces_is_the_whole() -> None:
    truth, analysis = field(1).where(field(3) > -1) + 5, field(2) + 5
    whole = ErrorSums.from_arrays(analysis, truth)
    bounds = [0, 1, 8, 21, 30]
    pieces = [
        ErrorSums.from_arrays(analysis[start:stop], truth[start:stop])
        for start, stop in itertools.pairwise(bounds)
    ]
    for order in (pieces, pieces[::-1]):
        total = functools.reduce(operator.add, order)
        for name in STATISTICS:
            np.testing.assert_allclose(getattr(total, name), getattr(whole, name), rtol=1e-12, atol=1e-14)
    kept = ErrorSums.from_arrays(analysis, truth, dims="time")
    assert kept.rmse.dims == ("latitude", "longitude")
    np.testing.assert_allclose(kept.sum(["latitude", "longitude"]).rmse, whole.rmse, rtol=1e-12)


def test_sums_that_keep_different_cells_cannot_be_added() -> None:
    truth = field()
    kept = ErrorSums.from_arrays(truth, truth, dims=["latitude", "longitude"])
    shifted = truth.assign_coords(time=truth.time + np.timedelta64(1, "D"))
    others = (
        ErrorSums.from_arrays(truth, truth),
        ErrorSums.from_arrays(shifted, shifted, dims=["latitude", "longitude"]),
    )
    for other in others:
        with pytest.raises(GridMismatchError, match="cannot be added"):
            kept + other


def test_dask_arrays_are_summed_lazily_and_give_the_same() -> None:
    truth, analysis = field(1), field(2)
    scheduler = CountingScheduler()
    with dask.config.set(scheduler=scheduler):
        lazy = ErrorSums.from_arrays(analysis.chunk(time=16), truth.chunk(longitude=21), truth.chunk() > 0)
        statistics = {name: getattr(lazy, name) for name in STATISTICS}
        assert scheduler.n_calls == 0
        (computed,) = dask.compute(lazy)
        assert scheduler.n_calls == 1
    eager = ErrorSums.from_arrays(analysis, truth, truth > 0)
    for name, value in statistics.items():
        assert dask.is_dask_collection(value)
        np.testing.assert_allclose(value, getattr(eager, name), rtol=1e-12)
    for part in dataclasses.fields(ErrorSums):
        np.testing.assert_allclose(getattr(computed, part.name), getattr(eager, part.name), rtol=1e-12)


# --- grids -----------------------------------------------------------------------------------------------


def test_a_grid_mismatch_names_the_dimension_and_the_difference() -> None:
    truth = field()
    shifted = truth.assign_coords(time=truth.time + np.timedelta64(36, "h"))
    renumbered = truth.assign_coords(time=np.arange(30))
    cases = [
        (truth.assign_coords(latitude=truth.latitude + 0.125), r"'latitude'.*float64.*by up to 0\.125"),
        (truth.isel(longitude=slice(3, None)), r"'longitude' has size 37 in the analysis and 40"),
        (shifted, r"'time'.*by up to 1 days 12:00:00"),
        (renumbered, r"'time'.*int64.*differ at 30 of 30 points"),
        (truth.isel(time=0), r"dimensions \['latitude', 'longitude'\]"),
    ]
    for analysis, message in cases:
        with pytest.raises(GridMismatchError, match=message):
            score(analysis, truth)


def test_float32_latitudes_against_float64_are_a_mismatch_not_an_empty_join() -> None:
    truth = field().assign_coords(latitude=33 + 0.1 * np.arange(6))
    analysis = truth.assign_coords(latitude=truth.latitude.astype(np.float32))
    difference = np.abs(analysis.latitude.to_numpy().astype(float) - truth.latitude.to_numpy()).max()
    with pytest.raises(
        GridMismatchError, match=rf"float32.*float64.*{difference:.3g}.*assign_coords\(latitude="
    ):
        score(analysis, truth)


def test_order_of_dimensions_and_resolution_of_dates_do_not_matter() -> None:
    truth, analysis = field(1), field(2)
    other = analysis.transpose("longitude", "time", "latitude")
    other = other.assign_coords(time=truth.time.astype("datetime64[s]"))
    xr.testing.assert_identical(score(other, truth), score(analysis, truth))


# --- spectra ---------------------------------------------------------------------------------------------


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
    with pytest.raises(GridMismatchError, match="hours since"):
        psd_score(truth.assign_coords(hours), truth.assign_coords(hours))


def test_spectra_refuse_what_they_cannot_use() -> None:
    truth = field()
    gap = truth.isel(time=np.delete(np.arange(30), 4))
    cases = [
        (truth.where(truth.latitude > 33), "1200 cells are NaN.*box without land"),
        (gap, "'time' has steps from 1 to 2 days"),
        (truth.isel(longitude=slice(None, None, -1)), "'longitude' has steps from -0.25 to -0.25 degrees"),
        (truth.assign_coords(longitude=np.zeros(40)), "'longitude' has steps from 0 to 0 degrees"),
        (truth.isel(longitude=slice(4)), "'longitude' has 4 points.*at least 5"),
        (truth.drop_vars("longitude"), "'longitude' has no coordinate"),
        (truth.rename(longitude="site"), "needs time, latitude and longitude"),
    ]
    for bad, message in cases:
        with pytest.raises(GridMismatchError, match=message):
            psd_score(bad, bad)
    with pytest.raises(GridMismatchError, match="1 cells are NaN"):
        psd_score(truth.where(truth != truth.max()), truth)


def test_axes_are_found_by_attributes_or_names() -> None:
    by_attribute = xr.DataArray(
        np.zeros((2, 2, 2)),
        dims=["a", "b", "c"],
        coords={
            "a": ("a", [0, 1], {"standard_name": "longitude"}),
            "b": ("b", [0, 1], {"axis": "T"}),
            "c": ("c", [0, 1], {"units": "degrees_north"}),
        },
    )
    assert map_dims(by_attribute) == ("b", "c", "a")
    bare = xr.DataArray(np.zeros((2, 2, 2)), dims=["time", "y", "x"])
    assert map_dims(bare) == ("time", "y", "x")
    curvilinear = bare.assign_coords(
        nav_lat=(("y", "x"), np.zeros((2, 2))), nav_lon=(("y", "x"), np.zeros((2, 2)))
    )
    assert map_dims(curvilinear) == ("time", "y", "x")
    assert map_dims(xr.DataArray(np.zeros((2, 2)), dims=["time", "site"])) is None


# --- the table -------------------------------------------------------------------------------------------


def test_an_analysis_equal_to_the_truth_is_perfect() -> None:
    truth = field()
    scores = score(truth, truth).sel(variable="ssh")
    for name, value in {"rmse": 0, "bias": 0, "correlation": 1, "r_score": 0, "mu": 1, "sigma": 0}.items():
        np.testing.assert_allclose(scores[name], value, atol=1e-12)
    assert scores.n_points == truth.size
    assert scores.lambda_x == 40 * 0.25 / 19
    assert scores.lambda_t == 30 / 14
    assert scores.rmse.attrs["units"] == "m"
    assert scores.lambda_t.attrs["units"] == "days"
    assert all(set(scores[name].attrs) == {"units", "long_name"} for name in scores)


def test_mu_and_sigma_are_those_of_the_challenge() -> None:
    truth = xr.ones_like(field(sizes=(2, 2, 2)))
    analysis = truth + xr.DataArray([0.1, 0.3], dims="time", coords={"time": truth.time})
    scores = score(analysis, truth).sel(variable="ssh")
    # rms(error) = sqrt((0.01 + 0.09) / 2); the score in time is (0.9, 0.7)
    np.testing.assert_allclose(scores.mu, 1 - np.sqrt(0.05))
    np.testing.assert_allclose(scores.sigma, 0.1)
    raised = score(analysis + 1, truth + 1).sel(variable="ssh")  # an offset of the truth inflates mu
    np.testing.assert_allclose(raised.mu, 1 - np.sqrt(0.05) / 2)


def test_r_and_i_scores_of_each_variable_and_pooled() -> None:
    truth = xr.Dataset({"x": line(1, 2, 3, 4), "z": line(2, 2, 2, 6)})
    analysis = xr.Dataset({"x": line(1, 2, 3, 6), "z": line(2, 1, 2, 6)})
    obs = xr.Dataset({"x": line(1, np.nan, np.nan, np.nan), "z": line(2, 2, 2, 6)})
    scores = score(analysis, truth, obs)
    assert list(scores.variable.values) == ["x", "z", "all"]
    # squared errors 4 and 1; mean squares 30/4, 48/4, 78/8; variances 5/4, 3, 78/8 - (22/8)^2 = 2.1875
    np.testing.assert_allclose(scores.r_score, [4 / 30, 1 / 48, 5 / 78])
    np.testing.assert_allclose(scores.r_score_variance, [1 / 1.25, 0.25 / 3, 0.625 / 2.1875])
    # unobserved: three cells of x with squared error 4, none of z
    np.testing.assert_allclose(scores.i_score, [(4 / 3) / 7.5, np.nan, (4 / 3) / 9.75])
    np.testing.assert_allclose(scores.i_score_variance, [(4 / 3) / 1.25, np.nan, (4 / 3) / 2.1875])
    np.testing.assert_array_equal(scores.n_points, [4, 4, 8])
    np.testing.assert_array_equal(scores.n_points_unobserved, [3, 0, 3])
    with pytest.raises(GridMismatchError, match="no I-score"):
        score(analysis, truth, truth)


def test_variables_of_different_units_are_not_pooled() -> None:
    truth = xr.Dataset({"ssh": line(1, 2, units="m"), "u": line(1, 3, units="m s-1")})
    scores = score(truth, truth)
    assert list(scores.variable.values) == ["ssh", "u"]
    assert scores.rmse.attrs["units"] == "m, m s-1"
    with pytest.raises(UnitsMismatchError, match="'cm' in the analysis and in 'm'"):
        score(line(1, 2, units="cm"), line(1, 2, units="m"))


def test_kept_dimensions_and_crop() -> None:
    truth = xr.DataArray(np.ones((2, 6)), dims=["window", "time"], coords={"window": [10, 20]}, name="x")
    analysis = truth.copy(data=[[9, 2, 1, 1, 1, 9], [9, 1, 1, 1, 3, 9]])
    scores = score(analysis, truth, crop={"time": 1}, dims="time").sel(variable="x")
    np.testing.assert_allclose(scores.rmse, [0.5, 1.0])  # errors 1 and 2 in 4 points
    np.testing.assert_array_equal(scores.window, [10, 20])
    for name in ("rmse", "n_points"):
        alone = score(analysis.sel(window=20), truth.sel(window=20), crop={"time": 1}).sel(variable="x")
        np.testing.assert_array_equal(scores[name].sel(window=20), alone[name])
    for n_dropped in (-1, 3):
        with pytest.raises(ConfigError, match=f"crop of {n_dropped} .*'time' of size 6.*use 0 to 2"):
            score(analysis, truth, crop={"time": n_dropped})
    for bad in ({"crop": {"lat": 1}}, {"dims": ["time", "lat"]}):
        with pytest.raises(
            MissingVariableError, match=r"no dimension 'lat': choose from \['window', 'time'\]"
        ):
            score(analysis, truth, **bad)


def test_maps_of_several_windows_keep_their_own_scores() -> None:
    truth = xr.concat([field(1), field(2).assign_coords(field(1).coords)], "window")
    analysis = truth + 0.6 * xr.concat([field(3), field(4).assign_coords(field(3).coords)], "window")
    scores = score(analysis, truth, dims=["time", "latitude", "longitude"])
    for window in (0, 1):
        alone = score(analysis.isel(window=window), truth.isel(window=window))
        xr.testing.assert_allclose(scores.isel(window=window), alone)
    assert "mu" not in score(analysis, truth, dims="time")


def test_land_leaves_out_resolved_scales_and_says_so() -> None:
    truth = field(1).where(field(1).latitude > 33).to_dataset()
    truth["full"] = field(3)
    scores = score(truth + 0.1, truth)
    assert "1200 cells are NaN" in scores.attrs["comment"]
    np.testing.assert_array_equal(np.isnan(scores.lambda_x), [True, False, True])
    np.testing.assert_array_equal(np.isnan(scores.mu), False)
    alone = score(truth.ssh + 0.1, truth.ssh)
    assert "lambda_x" not in alone
    assert "ssh" in alone.attrs["comment"]
    uneven = truth.full.isel(time=[0, 1, 2, 3, 5, 6])
    assert "steps from 1 to 2 days" in score(uneven, uneven).attrs["comment"]


def test_nothing_to_score_and_missing_variables_are_errors() -> None:
    truth = field()
    with pytest.raises(GridMismatchError, match="'ssh' has 0 cells"):
        score(truth * np.nan, truth)
    with pytest.raises(MissingVariableError, match=r"'ssh' is not in the truth \(variables: \['adt'\]\)"):
        score(truth, truth.rename("adt").to_dataset())
    with pytest.raises(MissingVariableError, match="'ssh' is not in the observations"):
        score(truth, truth, truth.rename("adt").to_dataset())
    with pytest.raises(MissingVariableError, match="no variables"):
        score(truth.to_dataset().drop_vars("ssh"), truth)


def test_arrays_are_matched_whatever_their_names() -> None:
    truth = field()
    scores = score(truth.rename("map"), truth, truth.rename(None).where(truth > 0))
    assert list(scores.variable.values) == ["ssh"]
    assert list(score(truth.rename(None), truth.rename(None)).variable.values) == ["field"]


def test_dask_arrays_are_scored_in_one_pass_with_the_same_result() -> None:
    sizes = (12, 4, 20)
    truth = xr.Dataset({"ssh": field(1, sizes), "sla": field(2, sizes)})
    analysis = truth + 0.5 * field(3, sizes)
    obs = truth.where(field(4, sizes) > 1)
    scheduler = CountingScheduler()
    with dask.config.set(scheduler=scheduler):
        lazy = score(analysis.chunk(time=7), truth.chunk(longitude=11), obs.chunk(latitude=3))
    assert scheduler.n_calls == 1
    assert not dask.is_dask_collection(lazy)
    xr.testing.assert_allclose(lazy, score(analysis, truth, obs), rtol=1e-10)


# --- intervals -------------------------------------------------------------------------------------------


def test_intervals_cover_the_mean_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    n_trials = 400
    hits = 0
    for trial in range(n_trials):
        low, high = bootstrap_interval(rng.normal(3.0, 2.0, 40), 0.9, n_resamples=400, seed=trial)
        hits += low <= 3.0 <= high
    # 0.9 less the known shortfall for 40 units (about 0.015), 4 standard errors of 0.015
    assert 0.825 < hits / n_trials < 0.945


def test_interval_of_a_known_distribution() -> None:
    # two units 0 and 1: a resampled mean is 0, 0.5 or 1 with probability 1/4, 1/2, 1/4
    assert bootstrap_interval([0.0, 1.0], level=0.4) == (0.5, 0.5)
    assert bootstrap_interval([0.0, 1.0], level=0.8) == (0.0, 1.0)
    assert bootstrap_interval([4.0, 4.0, 4.0]) == (4.0, 4.0)
    # many normal units: mean +- 1.96 std / sqrt(n)
    units = np.random.default_rng(0).standard_normal(2000)
    expected = units.mean() + np.array([-1.96, 1.96]) * units.std() / np.sqrt(2000)
    np.testing.assert_allclose(bootstrap_interval(units, n_resamples=4000), expected, atol=0.003)


def test_paired_intervals_see_through_what_the_units_share() -> None:
    rng = np.random.default_rng(0)
    hard = rng.exponential(1.0, 50) + 0.1  # windows differ much more than methods
    np.testing.assert_allclose(bootstrap_ratio(0.8 * hard, hard), 0.8)
    np.testing.assert_allclose(bootstrap_difference(hard - 0.2, hard), -0.2)
    low, high = bootstrap_interval(hard)
    assert high - low > 0.3
    with pytest.raises(ConfigError, match="bootstrap_difference"):
        bootstrap_ratio(hard, hard - 1.1)


def test_resampling_is_reproducible_and_bounded_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    units = np.random.default_rng(0).standard_normal(50)
    whole = bootstrap_interval(units, n_resamples=1000)
    monkeypatch.setattr(intervals, "_MAX_DRAWS", 350)  # blocks of 7 resamples
    assert bootstrap_interval(units, n_resamples=1000) == whole
    assert bootstrap_interval(units, n_resamples=1000, seed=1) != whole


def test_intervals_refuse_what_they_cannot_use() -> None:
    cases = [
        (lambda: bootstrap_interval([1.0, np.nan, 2.0]), "1 of 3 values are NaN"),
        (lambda: bootstrap_interval([1.0]), r"shape \(1,\)"),
        (lambda: bootstrap_interval([1.0, 2.0], level=95), "level is 95"),
        (lambda: bootstrap_interval([1.0, 2.0], n_resamples=0), "n_resamples is 0"),
        (lambda: bootstrap_ratio([1.0, 2.0], [1.0, 2.0, 3.0]), "2 values cannot be paired with 3"),
    ]
    for call, message in cases:
        with pytest.raises(ConfigError, match=message):
            call()
