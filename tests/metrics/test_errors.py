"""Sums of errors: what counts, sums of pieces, grids."""

import dataclasses
import functools
import itertools
import operator

import dask
import numpy as np
import pytest
import xarray as xr

from oceanvar.errors import ConfigError, GridMismatchError, ScoreError
from oceanvar.metrics import score
from oceanvar.metrics.errors import ErrorSums
from tests.counters import CountingScheduler
from tests.labelled_fields import field, line

STATISTICS = (
    "n", "mse", "rmse", "bias", "correlation", "normalised_error", "variance_normalised_error", "rms_score",
)  # fmt: skip


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
    with pytest.raises(ScoreError, match="0 cells are left"):
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
        (truth.assign_coords(latitude=truth.latitude + 0.125), r"'latitude'.*by up to 0\.125.*float64"),
        (
            truth.isel(longitude=slice(3, None)),
            r"analysis and truth differ in size along 'longitude': 37 and 40",
        ),
        (shifted, r"'time'.*by up to 1 days 12:00:00"),
        (renumbered, r"'time'.*differs at 30 of 30 points.*int64"),
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
        GridMismatchError, match=rf"{difference:.3g} \(float32 against float64\).*assign_coords\(latitude="
    ):
        score(analysis, truth)


def test_order_of_dimensions_and_resolution_of_dates_do_not_matter() -> None:
    truth, analysis = field(1), field(2)
    other = analysis.transpose("longitude", "time", "latitude")
    other = other.assign_coords(time=truth.time.astype("datetime64[s]"))
    xr.testing.assert_identical(score(other, truth), score(analysis, truth))
