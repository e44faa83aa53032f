"""The table of scores."""

import dask
import numpy as np
import pytest
import xarray as xr

from oceanvar.errors import ConfigError, MissingVariableError, ScoreError, UnitsMismatchError
from oceanvar.metrics import score
from tests.counters import CountingScheduler
from tests.labelled_fields import field, line


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
    with pytest.raises(ScoreError, match="no I-score"):
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
    with pytest.raises(ScoreError, match="'ssh' has 0 cells"):
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
