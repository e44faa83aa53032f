"""Gaps filled by empirical orthogonal functions: DINEOF on fields."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import gaussian_filter

import oceanvar  # noqa: F401 - registers the accessor
from oceanvar.baselines import dineof
from oceanvar.errors import ConfigError, GridMismatchError, MendedWarning, MissingVariableError

NOISE = 0.7


def low_rank(n_modes, sizes=(60, 12, 15), seed=0, noise=0.0, hidden=0.5, size=1.0):
    """Truth of so many modes about 5, and what is seen of it at random places."""
    rng = np.random.default_rng(seed)
    patterns = rng.standard_normal((n_modes, *sizes[1:]))
    amplitudes = size * rng.standard_normal((sizes[0], n_modes))
    coords = {
        "time": np.datetime64("2020-01-01", "ns") + np.arange(sizes[0]) * np.timedelta64(1, "D"),
        "latitude": 30 + 0.1 * np.arange(sizes[1]),
        "longitude": 5 + 0.1 * np.arange(sizes[2]),
    }
    values = 5 + np.tensordot(amplitudes, patterns, 1)
    truth = xr.DataArray(
        values, coords, tuple(coords), "sst", attrs={"units": "K", "long_name": "temperature"}
    )
    seen = rng.random(truth.shape) >= hidden
    return truth, (truth + noise * rng.standard_normal(truth.shape)).where(seen).assign_attrs(truth.attrs)


def clouded(obs, truth, noise, seed=0):
    """The same truth under clouds of nine by nine cells, 60 % of the sky."""
    rng = np.random.default_rng(seed)
    seen = np.ones(truth.shape, bool)
    for day in seen:
        while day.mean() > 0.4:
            y, x = (rng.integers(n) for n in day.shape)
            day[max(y - 4, 0) : y + 5, max(x - 4, 0) : x + 5] = False
    return (truth + noise * rng.standard_normal(truth.shape)).where(seen).assign_attrs(obs.attrs)


def rms(field, where=True):
    return float((field**2).where(where).mean() ** 0.5)


def naive(values, n_modes, n_iterations):
    """Beckers and Rixen's iteration as it is written, with a whole decomposition each time."""
    seen = ~np.isnan(values)
    mean = values[seen].mean()
    filled = np.where(seen, values - mean, 0.0)
    for _ in range(n_iterations):
        u, s, v = np.linalg.svd(filled, full_matrices=False)
        analysis = u[:, :n_modes] * s[:n_modes] @ v[:n_modes]
        filled = np.where(seen, filled, analysis)
    return analysis + mean


# ---- the analysis


@pytest.mark.parametrize("shrink", [True, False])
def test_a_field_of_few_modes_is_recovered_from_half_of_it(shrink):
    truth, obs = low_rank(3)
    found = dineof(obs, 3, tolerance=1e-6, max_iterations=2000, shrink=shrink)
    assert rms(found.sst - truth) < 1e-4 * float(truth.std())
    assert rms(found.sst_std) < 1e-2 * float(truth.std())
    assert found.sst.attrs.pop("cross_validation_rmse") < 1e-3
    assert found.sst.attrs == {"units": "K", "long_name": "temperature", "n_modes": 3}
    assert found.sst_std.attrs["units"] == "K"
    assert found.sst.dims == obs.dims


def test_the_limit_is_that_of_dineof_as_it_is_written():
    _, obs = low_rank(3, (40, 8, 9), noise=0.5, hidden=0.3)
    expected = naive(obs.values.reshape(40, -1), 3, 300).reshape(obs.shape)
    found = dineof(obs, 3, mean=float(obs.mean()), tolerance=1e-7, max_iterations=2000, shrink=False).sst
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_complete_fields_are_projected_on_their_modes_and_a_second_time_nothing_changes():
    _, obs = low_rank(4, noise=NOISE, hidden=0.0)
    expected = naive(obs.values.reshape(60, -1), 4, 1).reshape(obs.shape)
    once = dineof(obs, 4, mean=float(obs.mean()), tolerance=1e-7, shrink=False).sst
    np.testing.assert_allclose(once, expected, atol=1e-3)
    for shrink in (True, False):
        once = dineof(obs, 4, tolerance=1e-7, shrink=shrink).sst
        twice = dineof(once, 4, tolerance=1e-7, shrink=shrink).sst
        np.testing.assert_allclose(twice, once, atol=1e-3)


def test_another_unit_or_zero_changes_nothing_else():
    _, obs = low_rank(3, noise=NOISE)
    found = dineof(obs, 3)
    other = dineof(1e3 * obs - 7e4, 3)
    np.testing.assert_allclose(other.sst, 1e3 * found.sst - 7e4, atol=1.0)
    np.testing.assert_allclose(other.sst_std, 1e3 * found.sst_std, rtol=1e-3)


def test_the_order_of_times_and_cells_does_not_matter():
    _, obs = low_rank(3, noise=NOISE)
    rng = np.random.default_rng(1)
    order = {dim: rng.permutation(n) for dim, n in obs.sizes.items()}
    options = {"tolerance": 1e-7, "max_iterations": 2000}
    found = dineof(obs, 3, **options).sst
    np.testing.assert_allclose(dineof(obs.isel(order), 3, **options).sst, found.isel(order), atol=1e-3)
    turned = dineof(obs.transpose("longitude", "time", "latitude"), 3, **options).sst
    assert turned.dims == ("longitude", "time", "latitude")
    np.testing.assert_allclose(turned.transpose(*obs.dims), found, atol=1e-3)


def test_noise_does_not_grow_under_the_gaps_with_modes_that_are_too_many():
    truth, obs = low_rank(3, (80, 15, 20))
    obs = clouded(obs, truth, NOISE)
    errors = {
        (number, shrink): rms(dineof(obs, number, shrink=shrink).sst - truth, obs.isnull())
        for number in (3, 8)
        for shrink in (True, False)
    }
    assert errors[8, True] < 1.1 * errors[3, True] < 1.1 * 1.1 * errors[3, False]
    assert errors[8, False] > 2 * errors[3, False]
    assert dineof(obs, 8).sst.n_modes == 3


def test_a_background_is_what_is_left_where_nothing_is_known():
    truth, obs = low_rank(2, size=0.1)
    slope = xr.ones_like(truth[0]).drop_vars("time") * np.arange(12.0)[:, np.newaxis]
    obs, truth = obs + slope, truth + slope
    obs[7] = np.nan
    with pytest.warns(MendedWarning, match="1 of 60 times have no observation"):
        found = dineof(obs, 2, mean=slope + 5, tolerance=1e-6, max_iterations=2000)
    np.testing.assert_allclose(found.sst[7], slope + 5)
    assert rms(found.sst - truth, obs.notnull()) < 1e-3
    # Where nothing of a day is known, the error is the spread of the signal.
    np.testing.assert_allclose(found.sst_std[7], (truth - slope - 5).std("time"), rtol=0.5)


# ---- the number of modes and the error


@pytest.mark.parametrize("withhold", ["clouds", "points"])
@pytest.mark.parametrize("number", [1, 4, 7])
def test_cross_validation_finds_the_number_of_modes_and_the_error_is_the_one_it_says(number, withhold):
    truth, obs = low_rank(number, (120, 20, 30))
    obs = clouded(obs, truth, NOISE)
    found = dineof(obs, withhold=withhold)
    assert abs(found.sst.n_modes - number) <= 1
    for where in (obs.isnull(), obs.notnull()):
        assert rms(found.sst_std, where) == pytest.approx(rms(found.sst - truth, where), rel=0.15)
    hidden_error = np.hypot(rms(found.sst - truth, obs.isnull()), NOISE)
    assert found.sst.cross_validation_rmse == pytest.approx(hidden_error, rel=0.1)


def test_the_error_of_each_day_and_cell_is_the_one_it_says():
    """Days with few observations and cells that were rarely seen, over many draws of the noise."""
    truth, _ = low_rank(3, (80, 12, 15), size=2.0)
    rng = np.random.default_rng(3)
    by_day, by_cell = rng.uniform(0.05, 0.9, (80, 1, 1)), rng.uniform(0.4, 1.0, (12, 15))
    seen = rng.random(truth.shape) < by_day * by_cell
    squares, stated = [], []
    for _ in range(10):
        found = dineof((truth + NOISE * rng.standard_normal(truth.shape)).where(seen), 3)
        squares.append((found.sst - truth) ** 2)
        stated.append(found.sst_std**2)
    real, said = (sum(each) / len(each) for each in (squares, stated))
    for share, dims in ((seen.mean((1, 2)), ("latitude", "longitude")), (seen.mean(0), "time")):
        one, other = real.mean(dims).values.ravel(), said.mean(dims).values.ravel()
        rare = np.argsort(share.ravel())[: share.size // 4]
        often = np.argsort(share.ravel())[-share.size // 4 :]
        for part in (rare, often):
            assert np.sqrt(other[part].mean()) == pytest.approx(np.sqrt(one[part].mean()), rel=0.15)
    assert real.mean(("latitude", "longitude")).values[rare[0] % 80] > 0


def test_signal_beyond_the_modes_is_an_error_and_noise_is_none():
    truth, _ = low_rank(2, (80, 12, 15))
    smooth = gaussian_filter(np.random.default_rng(5).standard_normal(truth.shape), (0, 3, 3))
    truth = truth + 0.5 * smooth / smooth.std()
    obs = clouded(truth, truth, 0.1)
    found = dineof(obs, 2)
    for where in (obs.isnull(), obs.notnull()):
        assert rms(found.sst_std, where) == pytest.approx(rms(found.sst - truth, where), rel=0.25)


# ---- smoothing in time


def test_a_day_without_observations_lies_between_its_neighbours_with_smoothing():
    truth, obs = low_rank(1, (60, 8, 9), hidden=0.3)
    wave = xr.DataArray(np.sin(np.arange(60) / 8), dims="time")
    pattern = truth[0].drop_vars("time") - 5
    truth, obs = (5 + wave * pattern).transpose(*obs.dims), (5 + wave * pattern).where(obs.notnull())
    obs = obs.rename("sst")
    obs[20:22] = np.nan
    with pytest.warns(MendedWarning, match="smoothing="):
        alone = dineof(obs, 1)
    np.testing.assert_allclose(alone.sst[20], 5.0, atol=1e-2)
    found = dineof(obs, 1, smoothing=2.0, tolerance=1e-5)
    assert rms((found.sst - truth)[20:22]) < 0.05 * rms((truth - 5)[20:22])
    left = obs.isel(time=np.r_[0:9, 12:20, 21:30, 33:60])
    uneven = dineof(left, 1, smoothing=2.0, tolerance=1e-5).sst.sel(time=obs.time[21])
    assert rms(uneven - truth[21]) < 0.1 * rms((truth - 5)[20:22])
    order = np.random.default_rng(0).permutation(60)
    mixed = dineof(obs.isel(time=order), 1, smoothing=2.0, tolerance=1e-5).sst
    np.testing.assert_allclose(mixed.sortby("time"), found.sst, atol=2e-3)


def test_smoothing_takes_noise_off_slow_modes():
    truth, obs = low_rank(2, (80, 8, 9))
    slow = xr.DataArray(np.sin(np.arange(80) / [[15.0], [9.0]]), dims=("mode", "time"))
    patterns = (truth[:2] - 5).rename(time="mode").drop_vars("mode")
    truth = (5 + xr.dot(slow, patterns, dim="mode")).transpose(*obs.dims)
    obs = (
        (truth + 2 * np.random.default_rng(1).standard_normal(truth.shape)).where(obs.notnull()).rename("sst")
    )
    plain, smooth = (rms(dineof(obs, 2, smoothing=days).sst - truth) for days in (None, 10.0))
    assert smooth < 0.9 * plain


# ---- fields as they come


@pytest.mark.parametrize("chunks", [{"time": 17}, {"time": 60, "latitude": 5}])
def test_lazy_fields_give_the_same_lazily(chunks):
    _, obs = low_rank(3, noise=NOISE)
    lazy = dineof(obs.chunk(chunks))
    assert isinstance(lazy.sst.data, da.Array)
    assert isinstance(lazy.sst_std.data, da.Array)
    assert lazy.sst.chunksizes["time"] == obs.chunk(chunks).chunksizes["time"]
    expected = dineof(obs)
    xr.testing.assert_allclose(lazy.compute(), expected, atol=1e-5)
    assert lazy.sst.attrs == expected.sst.attrs


def test_a_lazy_field_is_read_twice_and_chunk_by_chunk():
    _, obs = low_rank(2)
    reads = []

    def read(values):
        reads.append(len(values))
        return values

    lazy = obs.chunk(time=20)
    lazy = lazy.copy(data=lazy.data.map_blocks(read, dtype=obs.dtype, meta=np.empty((0, 0, 0))))
    dineof(lazy, 2)
    assert reads == [20] * 6


def test_a_few_gaps_are_enough_to_choose_by():
    truth, obs = low_rank(2, noise=0.3, hidden=0.01)
    found = dineof(obs)
    assert found.sst.n_modes == 2
    assert rms(found.sst - truth) < 0.1
    always = truth.copy()
    always[::2, :3] = np.nan
    with pytest.raises(ConfigError, match="or withhold='points'"):
        dineof(always[::2])
    assert "cross_validation_rmse" not in dineof(truth, 2).sst.attrs


def test_land_stays_missing():
    _, obs = low_rank(2)
    obs[:, 3, 4:7] = np.nan
    sea = xr.ones_like(obs[0].drop_vars("time"), bool)
    sea[:5, 2] = False
    for mask in (sea, sea.astype(np.int8)):
        found = dineof(obs, 2, mask=mask)
        land = ~sea
        land[3, 4:7] = True
        for field in (found.sst, found.sst_std):
            assert (field.isnull() == land).all()
    # What lies on land is not looked at.
    changed = dineof(obs.where(sea, 6.0), 2, mask=sea)
    xr.testing.assert_identical(changed, found)
    assert found.sst.attrs["n_modes"] == 2


def test_variables_together_tell_of_each_other():
    truth, obs = low_rank(3)
    both = xr.Dataset(
        {"sst": obs, "chl": 1e-3 * obs.isel(latitude=slice(6)).drop_attrs()}, attrs={"title": "sea"}
    )
    both["chl"][11] = np.nan
    both["depth"] = ("latitude", np.arange(12.0))
    both["variance"] = xr.ones_like(obs)
    with pytest.warns(MendedWarning, match=r"\['chl'\]"):
        alone = both.varnet.dineof(3, tolerance=1e-6, max_iterations=2000)
    together = both.varnet.dineof(3, together=True, tolerance=1e-6, max_iterations=2000)
    expected = 1e-3 * truth.isel(latitude=slice(6))
    assert set(together.data_vars) == {"sst", "sst_std", "chl", "chl_std"}
    assert together.attrs == {"title": "sea"}
    assert rms(together.chl[11] - expected[11]) < 1e-2 * float(expected.std())
    assert rms(alone.chl[11] - expected[11]) > 0.5 * float(expected.std())
    chosen = both.varnet.dineof(together=True)
    assert {chosen[name].cross_validation_rmse < float(both[name].std()) for name in ("sst", "chl")} == {True}


def test_times_are_found_by_their_meaning_and_other_dimensions_are_cells():
    _, obs = low_rank(2)
    found = dineof(obs, 2).sst
    named = dineof(obs.rename(time="day", latitude="y").drop_vars("y"), 2).sst
    assert named.dims == ("day", "y", "longitude")
    np.testing.assert_array_equal(named, found)
    deep = obs.expand_dims(depth=2).copy()
    deep[1] *= 2
    both = dineof(deep.transpose("time", "depth", ...), 3).sst
    assert both.dims == ("time", "depth", "latitude", "longitude")
    assert rms(both[:, 1] - 2 * both[:, 0]) < 0.05


def test_numbers_of_any_type():
    _, obs = low_rank(2)
    assert dineof(obs.astype(np.float32), 2).sst.dtype == np.float32
    whole = (100 * obs).fillna(0).astype(np.int32)
    assert dineof(whole, 2).sst.dtype == np.float64
    assert set(dineof(obs.rename(None), 2).data_vars) == {"analysis", "analysis_std"}
    filled = obs.fillna(-999.0)
    with pytest.warns(MendedWarning, match="not used"):
        np.testing.assert_allclose(dineof(filled, 2).sst, dineof(obs, 2).sst)


# ---- what cannot work


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_modes": 0}, r"n_modes \(0\)"),
        ({"max_modes": 0}, r"max_modes \(0\)"),
        ({"max_iterations": 0}, r"max_iterations \(0\)"),
        ({"withhold": "blocks"}, "'blocks'"),
        ({"fraction": 1.0}, r"fraction \(1.0\)"),
        ({"tolerance": 0.0}, r"tolerance \(0.0\)"),
        ({"smoothing": -1.0}, "given -1"),
        ({"n_modes": 60}, "tell 24 modes at most, and 60"),
        ({"fraction": 1e-9, "withhold": "points"}, "withholds none"),
    ],
)
def test_options_that_cannot_be(options, message):
    _, obs = low_rank(2)
    with pytest.raises(ConfigError, match=message):
        dineof(obs, **options)


def test_fields_that_cannot_be(monkeypatch):
    _, obs = low_rank(2)
    with pytest.raises(ConfigError, match="no observation"):
        dineof(obs * np.nan, 1)
    with pytest.raises(ConfigError, match="no observation"):
        dineof(obs * np.nan, 1, mean=0.0)
    with pytest.raises(ConfigError, match="nothing varies"):
        dineof(obs * 0 + 3, 1)
    with pytest.raises(ConfigError, match="tell 0 modes"):
        dineof(obs[:1])
    with pytest.raises(ConfigError, match="nothing is missing"):
        dineof(obs.fillna(0))
    with pytest.raises(ConfigError, match="twice"):
        dineof(obs[[0, 1, 1, 2, 3]], 1, smoothing=3.0)
    with pytest.raises(ConfigError, match="not a ndarray"):
        dineof(obs.values)
    with pytest.raises(MissingVariableError, match="'time'"):
        dineof(obs.drop_vars("time").rename(time="x"))
    with pytest.raises(MissingVariableError, match="no variable"):
        dineof(obs[:, 0, 0].drop_vars("time").to_dataset().drop_vars("sst").assign_coords(time=obs.time))
    with pytest.raises(GridMismatchError, match="mask"):
        dineof(obs, 2, mask=xr.ones_like(obs, bool))
    with pytest.raises(GridMismatchError, match="mean"):
        dineof(obs, 2, mean=obs[0].drop_vars("time").assign_coords(latitude=np.arange(12.0)))
    with pytest.warns(MendedWarning, match="still change after 2 iterations"):
        dineof(obs, 2, max_iterations=2)
    monkeypatch.setattr("oceanvar.baselines.matrices.memory_limit", lambda: 2.0**14)
    with pytest.raises(ConfigError, match=r"60 times of 180 sea cells are 5\.\d+e-05 GiB"):
        dineof(obs, 2)


def test_fields_without_a_signal_are_their_mean():
    truth = xr.DataArray(np.zeros((30, 12, 12)), dims=("time", "y", "x"), name="h")
    found = dineof(clouded(truth, truth, noise=1.0, seed=1).rename("h"))
    assert rms(found["h"]) < 0.1
    assert np.isfinite(found["h_std"]).all()
