"""The table of scores."""

import dask
import numpy as np
import pytest
import xarray as xr

from oceanvar.errors import ConfigError, MissingVariableError, ScoreError, UnitsMismatchError
from oceanvar.metrics import score, score_uncertainty
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


STATED = ["crps", "error_over_stated", "coverage_50", "coverage_90", "coverage_95", "n_points_stated"]


def stating(seed: int = 0, sizes: tuple[int, int, int] = (12, 4, 20)) -> tuple[xr.Dataset, xr.Dataset]:
    """An analysis with its error bar, and a truth that it is right about."""
    analysis, std = field(seed, sizes), np.exp(0.3 * field(seed + 10, sizes)).assign_attrs(units="m")
    truth = (analysis + std * field(seed + 20, sizes)).assign_attrs(units="m")
    return xr.Dataset({"ssh": analysis, "ssh_std": std}), truth.to_dataset(name="ssh")


def test_a_stated_error_is_scored_beside_the_analysis() -> None:
    analysis, truth = stating()
    analysis["ssh_std"][:2] = np.nan
    scores = score(analysis, truth)
    assert list(scores.variable.values) == ["ssh"]
    expected = score_uncertainty(analysis.ssh, truth.ssh, analysis.ssh_std)
    for name in STATED:
        np.testing.assert_allclose(scores[name], [expected[name]])
        assert scores[name].attrs == expected[name].attrs
    assert scores.crps.attrs["units"] == "m"
    assert (scores.n_points_stated.item(), scores.n_points.item()) == (800, 960)
    assert scores.n_points_stated.dtype == scores.n_points.dtype
    xr.testing.assert_identical(scores.drop_vars(STATED), score(analysis[["ssh"]], truth))
    # the health beside it is a diagnostic; both are variables like any other where the truth has them too
    xr.testing.assert_identical(score(analysis.assign(health=analysis.ssh), truth), scores)
    both = [each.assign(health=each.ssh) for each in (analysis, truth)]
    assert list(score(*both).variable.values) == ["ssh", "health", "all"]
    plain = score(analysis, truth.assign(ssh_std=analysis.ssh_std + 1))
    assert list(plain.variable.values) == ["ssh", "ssh_std", "all"]
    assert not set(STATED) & set(plain)
    with pytest.raises(MissingVariableError, match="'health' is not in the truth"):
        score(analysis[["ssh"]].assign(health=analysis.ssh), truth)


def test_stated_errors_of_several_variables_kept_dimensions_and_crop() -> None:
    one, true = stating(0)
    other, also = stating(1)
    analysis = one.assign(sla=3 * other.ssh, sla_std=3 * other.ssh_std)
    truth = true.assign(sla=3 * also.ssh)
    scores = score(analysis, truth, crop={"time": 2}, dims=["latitude", "longitude"])
    assert list(scores.variable.values) == ["ssh", "sla", "all"]
    assert scores.crps.dims == ("variable", "time")
    inner = [each.isel(time=5) for each in (analysis, truth)]
    for name, at in (("ssh", 0), ("sla", 1)):
        alone = score_uncertainty(inner[0][name], inner[1][name], inner[0][f"{name}_std"])
        for key in STATED:
            np.testing.assert_allclose(scores[key].isel(variable=at, time=3), alone[key])
    pooled = scores.isel(variable=2)
    np.testing.assert_allclose(pooled.crps, scores.crps[:2].mean("variable"))
    squares = [((analysis[name] - truth[name]) ** 2).isel(time=5).sum() for name in ("ssh", "sla")]
    stated = [(analysis[f"{name}_std"] ** 2).isel(time=5).sum() for name in ("ssh", "sla")]
    np.testing.assert_allclose(pooled.error_over_stated[3], np.sqrt(sum(squares) / sum(stated)))
    partly = score(analysis.drop_vars("sla_std"), truth)
    np.testing.assert_array_equal(np.isnan(partly.crps), [False, True, True])


def test_an_ensemble_is_scored_as_its_mean_and_as_an_ensemble() -> None:
    analysis, truth = stating()
    noise = np.random.default_rng(0).standard_normal((20, *truth.ssh.shape))
    members = analysis.ssh + analysis.ssh_std * xr.DataArray(noise, dims=["member", *truth.ssh.dims])
    members[3, 0, 0, 0] = np.nan
    scores = score(members.to_dataset(name="ssh"), truth)
    expected = score_uncertainty(members, truth.ssh)
    assert "coverage_95" not in scores
    for name in (one for one in STATED if one in expected):
        np.testing.assert_allclose(scores[name], [expected[name]])
    of_mean = score(members.mean("member", skipna=False), truth.ssh)
    xr.testing.assert_identical(scores.drop_vars(STATED, errors="ignore"), of_mean)
    # where the truth has members, they are fields like any other
    assert not set(STATED) & set(score(members, xr.concat([truth.ssh] * 20, "member")))
    with pytest.raises(ConfigError, match="stated twice"):
        score(analysis.assign(ssh=members), truth)


def test_stated_errors_that_cannot_be_scored() -> None:
    analysis, truth = stating()
    with pytest.raises(ScoreError, match="'ssh' has 0 cells with a stated error"):
        score(analysis.assign(ssh_std=analysis.ssh_std * np.nan), truth)
    with pytest.raises(ScoreError, match="960 standard deviations are no positive numbers"):
        score(analysis.assign(ssh_std=0 * analysis.ssh_std), truth)
    with pytest.raises(UnitsMismatchError, match="'ssh_std' is in 'cm'"):
        score(analysis.assign(ssh_std=analysis.ssh_std.assign_attrs(units="cm")), truth)


def test_stated_errors_of_dask_arrays_are_scored_in_the_same_pass() -> None:
    analysis, truth = stating()
    scheduler = CountingScheduler()
    with dask.config.set(scheduler=scheduler):
        lazy = score(analysis.chunk(time=5), truth.chunk(longitude=7))
    assert scheduler.n_calls == 1
    xr.testing.assert_allclose(lazy, score(analysis, truth), rtol=1e-10)
