"""Scores of stated errors: closed forms, definitions, and what proper scores must do."""

import dask
import numpy as np
import pytest
import xarray as xr
from scipy.integrate import quad
from scipy.special import ndtr, ndtri

from oceanvar.errors import (
    ConfigError,
    GridMismatchError,
    MissingVariableError,
    ScoreError,
    UnitsMismatchError,
)
from oceanvar.metrics import crps, log_score, pit_histogram, score_uncertainty, spread_skill
from tests.counters import CountingScheduler

LEVELS = (50, 90, 95)


def cells(values, dim="cell", **attrs):
    return xr.DataArray(np.asarray(values, float), dims=dim, name="ssh", attrs=attrs)


def quantiles(n, mean=0.0, std=1.0):
    """Truths that fall into equal parts of a normal law as often as each other, exactly."""
    return cells(mean + std * ndtri((np.arange(n) + 0.5) / n))


def expected(score, std):
    """Expectation over truths from N(0, 1) of a score of the analysis 0 with a stated std, by Gauss-Hermite."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    truth = cells(nodes)
    return float(np.average(score(0 * truth, truth, 0 * truth + std), weights=weights))


def draws(n, n_members, seed=0, scale=1.0):
    """Means and spreads that differ from cell to cell, a truth and members that are all draws."""
    rng = np.random.default_rng(seed)
    mean, std = cells(10 * rng.standard_normal(n)), cells(rng.lognormal(0, 0.5, n))
    noise = xr.DataArray(rng.standard_normal((n, n_members)), dims=["cell", "member"])
    return mean, std, mean + std * cells(rng.standard_normal(n)), mean + scale * std * noise


# ---- the continuous ranked probability score


@pytest.mark.parametrize(("mean", "std", "truth"), [(0.0, 1.0, 0.0), (1.0, 0.3, 0.5), (-2.0, 4.0, 7.0)])
def test_the_score_of_a_normal_law_is_the_integral_that_defines_it(mean, std, truth):
    below = quad(lambda x: ndtr((x - mean) / std) ** 2, mean - 40 * std, truth, limit=200)[0]
    above = quad(lambda x: ndtr((mean - x) / std) ** 2, truth, mean + 40 * std, limit=200)[0]
    found = crps(cells([mean]), cells([truth]), cells([std]))
    np.testing.assert_allclose(found, below + above, rtol=1e-7)


def test_a_law_that_is_right_scores_its_spread_over_the_root_of_pi():
    assert expected(crps, 1.0) == pytest.approx(1 / np.sqrt(np.pi), rel=1e-6)
    assert expected(log_score, 1.0) == pytest.approx((np.log(2 * np.pi) + 1) / 2, rel=1e-12)


def test_a_law_without_spread_scores_its_absolute_error():
    truth = cells([-3.0, 0.5, 2.0])
    np.testing.assert_allclose(crps(0 * truth, truth, 0 * truth + 1e-9), abs(truth), atol=1e-8)
    same = xr.concat([0 * truth] * 5, "member")
    np.testing.assert_allclose(crps(same, truth), abs(truth))


@pytest.mark.parametrize("score", [crps, log_score])
def test_no_other_spread_or_mean_scores_better_than_the_true_one(score):
    found = [expected(score, std) for std in (0.5, 0.8, 0.95, 1.0, 1.05, 1.25, 2.0)]
    assert np.argmin(found) == 3
    assert (np.diff(found[:4]) < 0).all()
    assert (np.diff(found[3:]) > 0).all()
    truth = quantiles(2000)
    means = [float(score(cells(np.full(2000, mean)), truth, 0 * truth + 1).mean()) for mean in (-0.1, 0, 0.1)]
    assert np.argmin(means) == 1


def test_the_score_of_an_ensemble_is_the_double_sum_that_defines_it():
    members = np.array([[0.3, -1.0, 2.0, 2.0], [5.0, 5.0, 4.0, 1.0]])
    truth = np.array([0.4, 9.0])
    pairs = np.abs(members[:, :, None] - members[:, None, :]).sum((1, 2))
    expect = np.abs(members - truth[:, None]).mean(1) - pairs / (2 * 4 * 3)
    found = crps(xr.DataArray(members.T, dims=["member", "cell"]), cells(truth))
    assert found.dims == ("cell",)
    np.testing.assert_allclose(found, expect)


def test_many_members_score_like_the_law_that_they_are_drawn_from():
    mean, std, truth, members = draws(40, 4000)
    np.testing.assert_allclose(crps(members, truth) / std, crps(mean, truth, std) / std, atol=0.05)


@pytest.mark.parametrize("n_members", [2, 3, 10])
def test_few_members_score_the_same_in_the_mean(n_members):
    """Which is what makes the score fair: the one with m^2 in place of m (m - 1) is larger by std / (m sqrt(pi))."""
    mean, std, truth, members = draws(20_000, n_members)
    excess = crps(members, truth) / std - crps(mean, truth, std) / std
    error = float(excess.std()) / np.sqrt(20_000)
    assert abs(float(excess.mean())) < 4 * error < 0.2 / (n_members * np.sqrt(np.pi))


# ---- error over stated, coverage


def test_error_over_stated_is_the_ratio_of_roots_of_means():
    truth, std = cells([1.0, -3.0, 5.0]), cells([1.0, 2.0, np.nan])
    found = score_uncertainty(0 * truth, truth, std)
    np.testing.assert_allclose(found["error_over_stated"], np.sqrt((1 + 9) / (1 + 4)))
    assert int(found["n_points_stated"]) == 2
    assert found["n_points_stated"].dtype.kind == "i"


@pytest.mark.parametrize("n_members", [2, 5, 50])
def test_the_mean_of_members_errs_as_much_as_these_state(n_members):
    """An ensemble whose truth is one more member is right, however small; one with twice the spread is not."""
    _, _, truth, members = draws(20_000, n_members)
    assert float(score_uncertainty(members, truth)["error_over_stated"]) == pytest.approx(1, abs=0.03)
    _, _, truth, wide = draws(20_000, n_members, scale=2.0)
    ratio = np.sqrt((1 + 4 / n_members) / (4 + 4 / n_members))
    assert float(score_uncertainty(wide, truth)["error_over_stated"]) == pytest.approx(ratio, abs=0.03)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_intervals_of_a_normal_law_cover_what_they_should(factor):
    truth = quantiles(10_000, mean=3.0, std=0.2)
    found = score_uncertainty(0 * truth + 3.0, truth, 0 * truth + 0.2 * factor)
    for level in LEVELS:
        covered = 2 * ndtr(factor * ndtri((100 + level) / 200)) - 1
        np.testing.assert_allclose(found[f"coverage_{level}"], covered, atol=2e-4)


@pytest.mark.parametrize(("n_members", "levels"), [(2, ()), (3, (50,)), (19, (50, 90)), (39, LEVELS)])
def test_an_ensemble_states_the_intervals_that_it_has_members_for(n_members, levels):
    """Of m members that divide the law into equal parts, the truth lies between the i-th from both ends as they say."""
    truth = quantiles(4000)
    places = ndtri(np.arange(1, n_members + 1) / (n_members + 1))
    members = xr.DataArray(np.tile(places, (4000, 1)), dims=["cell", "member"])
    found = score_uncertainty(members, truth)
    assert [level for level in LEVELS if f"coverage_{level}" in found] == list(levels)
    for level in levels:
        np.testing.assert_allclose(found[f"coverage_{level}"], level / 100, atol=1e-12)


def test_intervals_of_members_cover_a_truth_that_is_one_of_them():
    _, _, truth, members = draws(20_000, 25)
    found = score_uncertainty(members, truth)
    for level in (50, 90):
        assert float(found[f"coverage_{level}"]) == pytest.approx(level / 100, abs=0.01)


# ---- histograms


def test_the_histogram_is_flat_exactly_if_the_law_is_right():
    truth = quantiles(1000, mean=3.0, std=0.2)
    mean = 0 * truth + 3.0
    right = pit_histogram(mean, truth, 0 * truth + 0.2)
    np.testing.assert_array_equal(right["n_points"], 100)
    np.testing.assert_allclose(right["density"], 1)
    np.testing.assert_allclose(right["bin"], np.arange(0.05, 1, 0.1))
    valley = pit_histogram(mean, truth, 0 * truth + 0.1)["density"]
    assert valley[0] == valley[-1] > 2.5 > 0.7 > valley[5]
    hill = pit_histogram(mean, truth, 0 * truth + 0.4, n_bins=4)["density"]
    assert hill[1] == hill[2] > 1.4
    assert (np.diff(pit_histogram(mean - 0.2, truth, 0 * truth + 0.2)["density"]) > 0).all()


def test_a_truth_far_away_falls_into_the_last_bin():
    truth = cells([-1e3, 1e3, 1e3])
    np.testing.assert_array_equal(
        pit_histogram(0 * truth, truth, 0 * truth + 1, n_bins=3)["n_points"], [1, 0, 2]
    )


def test_the_truth_among_members_has_any_rank():
    members = xr.DataArray([[1.0, 2.0, 3.0]] * 4, dims=["cell", "member"])
    found = pit_histogram(members, cells([0.5, 2.5, 3.5, 3.5]))
    np.testing.assert_array_equal(found["n_points"], [1, 0, 1, 2])
    _, _, truth, members = draws(20_000, 4)
    counts = pit_histogram(members, truth)["n_points"].values
    assert len(counts) == 5
    assert ((counts - 4000) ** 2 / 4000).sum() < 18.5  # of chi-squared with 4 degrees, once in a thousand


def test_a_truth_that_equals_members_is_ranked_at_random_between_them():
    truth = cells(np.zeros(9000))
    members = xr.DataArray(np.tile([-1.0, 0.0, 0.0, 1.0], (9000, 1)), dims=["cell", "member"])
    found = pit_histogram(members, truth)["n_points"].values
    np.testing.assert_array_equal(found[[0, 4]], 0)
    assert abs(found[1:4] - 3000).max() < 4 * np.sqrt(9000 * 2 / 9)
    np.testing.assert_array_equal(pit_histogram(members, truth)["n_points"], found)
    assert (pit_histogram(members, truth, seed=1)["n_points"] != found).any()
    # of the five ranks three are as likely, of which the interval holds those in the middle of its 2.5
    np.testing.assert_allclose(score_uncertainty(members, truth)["coverage_50"], 2.5 / 3)


# ---- spread and skill


def test_bins_of_stated_error_have_the_error_of_their_cells():
    std = cells(np.repeat([0.1, 0.2, 0.4], 100), units="m")
    truth = (std * np.tile([-2.0, 2.0], 150)).assign_attrs(units="m")
    found = spread_skill(0 * truth, truth, std)
    np.testing.assert_allclose(found["stated"], [0.1, 0.2, 0.4])  # no more bins than different errors
    np.testing.assert_allclose(found["rmse"], [0.2, 0.4, 0.8])
    np.testing.assert_array_equal(found["n_points"], 100)
    assert found["rmse"].attrs["units"] == found["stated"].attrs["units"] == "m"
    mean, std, truth, _ = draws(5000, 2)
    found = spread_skill(mean, truth, std, n_bins=5)
    np.testing.assert_array_equal(found["n_points"], 1000)
    np.testing.assert_allclose(found["rmse"] / found["stated"], 1, atol=0.1)


# ---- what all have alike


def test_units_and_offsets_change_scores_as_they_should():
    mean, std, truth, members = draws(300, 20)
    scaled = [100 * one + 273.15 for one in (mean, truth, members)]
    np.testing.assert_allclose(crps(scaled[0], scaled[1], 100 * std), 100 * crps(mean, truth, std), rtol=1e-9)
    np.testing.assert_allclose(crps(scaled[2], scaled[1]), 100 * crps(members, truth), rtol=1e-9)
    shift = log_score(scaled[0], scaled[1], 100 * std) - log_score(mean, truth, std)
    np.testing.assert_allclose(shift, np.log(100))
    for first, second in (
        (score_uncertainty(mean, truth, std), score_uncertainty(scaled[0], scaled[1], 100 * std)),
        (score_uncertainty(members, truth), score_uncertainty(scaled[2], scaled[1])),
    ):
        np.testing.assert_allclose(second["crps"], 100 * first["crps"])
        rest = [name for name in first if name.startswith(("coverage_50", "error", "n_"))]
        xr.testing.assert_allclose(first[rest], second[rest])
    for first, second in (
        (pit_histogram(mean, truth, std), pit_histogram(scaled[0], scaled[1], 100 * std)),
        (pit_histogram(members, truth), pit_histogram(scaled[2], scaled[1])),
    ):
        xr.testing.assert_identical(first["n_points"], second["n_points"])


def test_units_are_those_of_the_truth():
    truth = cells([1.0, 2.0], units="m")
    std = 0 * truth + 1
    assert crps(0 * truth, truth, std).attrs == {
        "units": "m",
        "long_name": "continuous ranked probability score",
    }
    assert log_score(0 * truth, truth, std).attrs["units"] == "1"
    found = score_uncertainty(0 * truth, truth, std)
    assert found["crps"].attrs["units"] == found["crps_interval"].attrs["units"] == "m"
    assert found["error_over_stated"].attrs["units"] == "1"
    assert "units" not in score_uncertainty(0 * truth, truth.drop_attrs(), std)["crps"].attrs


def test_what_is_missing_does_not_count():
    mean, std, truth, members = draws(30, 20)
    kept = np.arange(30) > 2
    mean[0], truth[1], std[2] = np.nan, np.nan, np.nan
    members[0, 5] = members[2, 0] = np.nan
    for score in (crps, log_score):
        found = score(mean, truth, std)
        np.testing.assert_array_equal(found.notnull(), kept)
        np.testing.assert_allclose(found[kept], score(mean[kept], truth[kept], std[kept]))
    np.testing.assert_array_equal(crps(members, truth).notnull(), kept)
    for function in (score_uncertainty, pit_histogram, spread_skill):
        for given in ((mean, truth, std), (members, truth)):
            alone = [one[kept] for one in given]
            xr.testing.assert_allclose(function(*given), function(*alone))


def test_lazy_fields_have_the_same_scores_and_wait():
    mean, std, truth, members = draws(60, 6)
    for given in ((mean, truth, std), (members, truth)):
        lazy = [one.chunk(cell=25) for one in given]
        lazy[0] = lazy[0].chunk(member=4) if "member" in lazy[0].dims else lazy[0]
        scheduler = CountingScheduler()
        with dask.config.set(scheduler=scheduler):
            found = crps(*lazy)
            assert scheduler.n_calls == 0
            np.testing.assert_allclose(found.compute(), crps(*given))
        for function in (score_uncertainty, pit_histogram, spread_skill):
            xr.testing.assert_allclose(function(*lazy), function(*given))


def test_coordinates_stay_with_scores_of_cells():
    truth = cells([1.0, 2.0]).assign_coords(cell=[7, 9], depth=("cell", [0.0, 5.0]))
    found = crps(0 * truth, truth, 0 * truth + 1)
    assert set(found.coords) == {"cell", "depth"}
    assert found.name == "crps"


# ---- intervals


def series(n, n_sites, memory, seed):
    """Errors that last: AR(1) in time of variance 1, with a truth of which all is error."""
    rng = np.random.default_rng(seed)
    error = rng.standard_normal((n, n_sites))
    for i in range(1, n):
        error[i] = memory * error[i - 1] + np.sqrt(1 - memory**2) * error[i]
    return xr.DataArray(error, dims=["time", "site"], name="ssh")


def test_intervals_cover_as_often_as_they_say_if_blocks_are_long_enough():
    covered = {1: 0, 25: 0}
    for seed in range(24):
        truth = series(500, 3, 0.8, seed)
        for length in covered:
            found = score_uncertainty(
                0 * truth, truth, 0 * truth + 1, blocks={"time": length}, n_resamples=200
            )
            low, high = found["error_over_stated_interval"].values
            assert low <= found["error_over_stated"] <= high
            covered[length] += low <= 1 <= high
    assert covered[25] >= 19 > 12 >= covered[1]


def test_blocks_are_drawn_whole_and_divide_several_dimensions():
    """Of 5 x 3 cells in blocks of 3 x 2 those of two have an error, 6 of 15 and 2 of 15."""
    truth = xr.DataArray(np.full((5, 3), 1e-9), dims=["time", "site"])
    truth[:3, :2], truth[3:, 2] = 2.0, 1.0
    found = score_uncertainty(0 * truth, truth, 0 * truth + 1, blocks={"time": 3, "site": 2})
    drawn = np.random.default_rng(0).multinomial(4, [1 / 4] * 4, size=10_000)
    ratios = np.sqrt(drawn @ [24, 0, 0, 2] / (drawn @ [6, 3, 4, 2]))
    limits = np.quantile(ratios, [0.025, 0.975], method="closest_observation")
    np.testing.assert_allclose(found["error_over_stated_interval"], limits, atol=1e-8)
    alike = xr.ones_like(truth)
    found = score_uncertainty(0 * alike, alike, alike, blocks={"time": 3, "site": 2})
    np.testing.assert_allclose(found["crps_interval"], float(found["crps"]))


def test_blocks_without_a_value_are_none():
    truth = series(40, 2, 0.5, 0)
    std = xr.ones_like(truth)
    longer = [one.pad(time=(20, 0)) for one in (0 * truth, truth, std)]
    for function in (score_uncertainty, pit_histogram, spread_skill):
        found = function(*longer, blocks={"time": 5})
        xr.testing.assert_identical(found, function(0 * truth, truth, std, blocks={"time": 5}))


def test_intervals_of_bins_are_of_the_blocks_that_have_a_part_in_them():
    truth = series(40, 2, 0.0, 0)
    std = (0 * truth + 1).where(truth.time < 20, 2.0)
    found = spread_skill(0 * truth, truth, std, n_bins=2, blocks={"time": 5})
    low, high = found["rmse_interval"].values.T
    assert (low < found["rmse"]).all()
    assert (high > found["rmse"]).all()
    counted = pit_histogram(0 * truth, truth, std, n_bins=2, blocks={"time": 5})
    low, high = counted["density_interval"].values.T
    assert (low <= counted["density"]).all()
    assert (high >= counted["density"]).all()
    for function, one in ((spread_skill, found), (pit_histogram, counted)):
        whole = function(0 * truth, truth, std, n_bins=2)
        rest = [name for name in whole if not name.endswith("interval")]
        xr.testing.assert_allclose(whole[rest], one[rest])
    large = spread_skill(0 * truth, 100 * truth, 100 * std, n_bins=2, blocks={"time": 5})
    np.testing.assert_allclose(large["rmse_interval"], 100 * found["rmse_interval"])
    np.testing.assert_allclose(low + high[::-1], 2)  # what one of two bins has, the other has not


def test_without_blocks_there_are_no_intervals():
    truth = series(4, 2, 0.0, 0)
    std = 0 * truth + 1
    for found in (f(0 * truth, truth, std) for f in (score_uncertainty, pit_histogram, spread_skill)):
        assert all(found[name].isnull().all() for name in found if name.endswith("interval"))
        assert any(name.endswith("interval") for name in found)


# ---- mistakes


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.inf])
def test_a_standard_deviation_is_positive(wrong):
    truth = cells([1.0, np.nan, 2.0])
    std = cells([1.0, wrong, wrong])
    for function in (crps, log_score, score_uncertainty, pit_histogram, spread_skill):
        with pytest.raises(ScoreError, match=rf"1 standard deviations .*{wrong:.4g} for one"):
            function(0 * truth, truth, std)
    later = crps(0 * truth.chunk(), truth, std)
    with pytest.raises(ScoreError, match="1 standard deviations"):
        later.compute()
    std[2] = 1.0  # where nothing is scored it may be anything
    assert int(score_uncertainty(0 * truth, truth, std)["n_points_stated"]) == 2


def test_mistakes():
    truth = cells([1.0, 2.0])
    std, many = 0 * truth + 1, xr.concat([truth, truth + 1], "member")
    with pytest.raises(ConfigError, match="'ssh' is stated nowhere"):
        crps(truth, truth)
    with pytest.raises(ConfigError, match="'ssh' is stated twice"):
        crps(many, truth, std)
    with pytest.raises(ConfigError, match="no ensemble"):
        log_score(many, truth, None)
    with pytest.raises(ConfigError, match="ensemble of 1 states no spread"):
        crps(many[:1], truth)
    with pytest.raises(GridMismatchError, match="beside 'member'"):
        crps(many.expand_dims(depth=1), truth)
    with pytest.raises(GridMismatchError, match="ensemble and truth differ in size along 'cell'"):
        crps(many, truth[:1])
    with pytest.raises(GridMismatchError, match="standard deviation and truth differ in size"):
        crps(truth, truth, std[:1])
    metric = truth.assign_attrs(units="m")
    for given in (
        (metric.assign_attrs(units="cm"), metric, std),
        (metric, metric, std.assign_attrs(units="cm")),
    ):
        with pytest.raises(UnitsMismatchError, match="is in 'cm' in the analysis and in 'm' in the truth"):
            score_uncertainty(*given)
    with pytest.raises(ScoreError, match="0 cells are left"):
        score_uncertainty(truth, truth, std * np.nan)
    with pytest.raises(MissingVariableError, match="no dimension 'time'"):
        score_uncertainty(truth, truth, std, blocks={"time": 2})
    for length in (0, 1.5):
        with pytest.raises(ConfigError, match=f"block of {length} points of 'cell'"):
            pit_histogram(truth, truth, std, blocks={"cell": length})
    with pytest.raises(ConfigError, match="n_bins is 1"):
        pit_histogram(truth, truth, std, n_bins=1)
    with pytest.raises(ConfigError, match="n_bins is 0"):
        spread_skill(truth, truth, std, n_bins=0)
    with pytest.raises(ConfigError, match="level is 95"):
        score_uncertainty(truth, truth, std, level=95)
