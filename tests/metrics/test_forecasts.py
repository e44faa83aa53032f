"""Scores of forecasts by lead: closed forms of a wave, a random walk and of what is missing."""

import inspect

import numpy as np
import pytest
import xarray as xr

import oceanvar  # noqa: F401
from oceanvar.errors import (
    ConfigError,
    GridMismatchError,
    MissingVariableError,
    ScoreError,
    UnitsMismatchError,
)
from oceanvar.metrics import score_forecast

N, SITES = 60, 12
DAY = np.timedelta64(1, "D")
TIME = np.datetime64("2020-01-01", "ns") + np.arange(N) * DAY


def wave(speed: float, times: np.ndarray) -> np.ndarray:
    """A wave of one period along the sites."""
    sites = 2 * np.pi * np.arange(SITES) / SITES
    return 2**0.5 * np.cos(sites - speed * times[..., None])


def waves(forecast_speed: float, true_speed: float, leads=(0, 1, 2, 5), extra: float = 0.0):
    """Forecasts that start from the truth and let it run at their own speed."""
    start, ahead = np.arange(N)[:, None], np.array(leads)[None, :]
    phase = true_speed * start + forecast_speed * ahead + 0.0 * start
    sites = 2 * np.pi * np.arange(SITES) / SITES
    values = 2**0.5 * np.cos(sites - phase[..., None]) + extra
    coords = {"time": TIME, "lead": ahead[0] * DAY, "site": np.arange(SITES)}
    later = xr.DataArray(
        wave(true_speed, np.arange(N)) + extra, {"time": TIME, "site": np.arange(SITES)}, name="x"
    )
    return xr.DataArray(values, coords, ("time", "lead", "site"), name="x"), later.assign_attrs(units="m")


def test_a_wave_at_the_wrong_speed_is_out_of_phase_by_the_lead():
    """Waves of variance 1 with a phase difference p have rmse 2 |sin p/2| and anomaly correlation cos p."""
    forecast, truth = waves(0.7, 0.5)
    found = score_forecast(forecast.assign_attrs(units="m"), truth, climate=xr.zeros_like(truth[0])).sel(
        variable="x"
    )
    lead = np.array([0, 1, 2, 5])
    np.testing.assert_allclose(found["rmse"], 2 * np.sin(0.1 * lead), atol=1e-12)
    np.testing.assert_allclose(found["anomaly_correlation"], np.cos(0.2 * lead), rtol=1e-12)
    np.testing.assert_allclose(found["rmse_persistence"], 2 * np.sin(0.25 * lead), atol=1e-12)
    np.testing.assert_allclose(found["anomaly_correlation_persistence"], np.cos(0.5 * lead), atol=1e-12)
    np.testing.assert_array_equal(found["n_points"], (N - lead) * SITES)
    assert found["rmse"].attrs["units"] == "m"
    assert found["anomaly_correlation"].attrs["units"] == "1"


def test_anomalies_count_from_the_climate_and_not_from_zero():
    forecast, truth = waves(0.7, np.pi / 6, extra=100.0)
    found = score_forecast(forecast, truth)  # a whole number of periods: its mean is 100 everywhere
    np.testing.assert_allclose(
        found["anomaly_correlation"][0], np.cos((0.7 - np.pi / 6) * np.array([0, 1, 2, 5]))
    )
    absolute = score_forecast(forecast, truth, climate=xr.zeros_like(truth[0]))
    assert float(absolute["anomaly_correlation"].min()) > 0.999
    np.testing.assert_allclose(absolute["rmse"], found["rmse"])


def test_only_cells_that_all_have_count():
    forecast, truth = waves(0.7, 0.5)
    seen = truth.where(np.random.default_rng(0).random(truth.shape) < 0.3)
    forecast = forecast.copy()
    forecast[3] = np.nan
    forecast[5, 0] = np.nan  # nothing persists
    found = score_forecast(forecast, seen).sel(variable="x")
    for i, lead in enumerate((0, 1, 2, 5)):
        starts = [t for t in range(N - lead) if t not in (3, 5)]
        assert int(found["n_points"][i]) == int(seen.isel(time=[t + lead for t in starts]).notnull().sum())
    np.testing.assert_allclose(found["rmse"][1:], 2 * np.sin(0.1 * np.array([1, 2, 5])), rtol=0.2)


def test_several_variables_negative_leads_numbers_and_chunks():
    dt = 0.05
    forecast, truth = waves(0.5, 0.5, leads=(-3, 0, 4))
    forecast, truth = forecast.assign_coords(time=dt * np.arange(N), lead=dt * np.array([-3, 0, 4])), truth
    truth = truth.assign_coords(time=np.cumsum([0, *[dt] * (N - 1)]))
    both = xr.Dataset({"x": forecast, "y": 2 * forecast, "health": forecast.isel(lead=0)})
    known = xr.Dataset({"x": truth, "y": 3 * truth}).drop_attrs()
    found = score_forecast(both.drop_attrs(), known)
    assert list(found["variable"]) == ["x", "y"]
    np.testing.assert_allclose(found["rmse"].sel(variable="x"), 0, atol=1e-6)
    np.testing.assert_allclose(found["rmse"].sel(variable="y"), 1, atol=0.1)
    np.testing.assert_array_equal(found["n_points"][0], SITES * np.array([N - 3, N, N - 4]))
    lazy = score_forecast(both.drop_attrs().chunk(time=7), known.chunk(site=5))
    xr.testing.assert_allclose(lazy.compute(), found)


def test_what_cannot_be_scored_is_refused():
    forecast, truth = waves(0.7, 0.5)
    with pytest.raises(ScoreError, match="no field of lead 0"):
        score_forecast(forecast.isel(lead=slice(1, None)), truth)
    with pytest.raises(ScoreError, match="0 cells to score"):
        score_forecast(forecast, truth.assign_coords(time=TIME + 400 * DAY))
    with pytest.raises(MissingVariableError, match="no variable of the forecast has the dimension 'lead'"):
        score_forecast(truth, truth)
    with pytest.raises(MissingVariableError, match="'x' is not in the data that come later"):
        score_forecast(forecast.to_dataset(), truth.to_dataset(name="y"))
    with pytest.raises(MissingVariableError, match="what comes later has no dimension 'time'"):
        score_forecast(forecast, truth.isel(time=0))
    with pytest.raises(ConfigError, match="'lead' of the forecast has no coordinate"):
        score_forecast(forecast.drop_vars("lead"), truth)
    with pytest.raises(ConfigError, match="cannot be added"):
        score_forecast(forecast.assign_coords(lead=[0.0, 1.0, 2.0, 3.0]), truth)
    with pytest.raises(UnitsMismatchError):
        score_forecast(forecast.assign_attrs(units="cm"), truth)
    with pytest.raises(GridMismatchError, match="'site'"):
        score_forecast(forecast, truth.assign_coords(site=np.arange(SITES) + 0.3))


def test_the_accessors_have_it():
    forecast, truth = waves(0.7, 0.5)
    expected = score_forecast(forecast, truth)
    xr.testing.assert_identical(forecast.varnet.score_forecast(truth), expected)
    xr.testing.assert_identical(forecast.to_dataset().varnet.score_forecast(truth.to_dataset()), expected)
    assert list(inspect.signature(forecast.varnet.score_forecast).parameters) == [
        "later",
        "climate",
        "time",
        "lead",
    ]
