"""Linear interpolation in time."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from oceanvar.baselines import interpolate_linear
from oceanvar.errors import ConfigError, GridMismatchError, MissingVariableError
from tests.labelled_fields import sea_level


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 1.0), st.integers(1, 12))
def test_linear_is_numpy_interp_for_any_gaps(seed, observed, n_time):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((4, n_time))
    values[rng.random(values.shape) > observed] = np.nan
    values[0, 0] = 1.0
    time = np.cumsum(rng.uniform(0.1, 2.0, n_time))
    obs = xr.DataArray(values, {"time": time}, ("site", "time"))
    filled = interpolate_linear(obs)
    assert filled.dims == obs.dims
    for row, result in zip(values, filled.values, strict=True):
        seen = ~np.isnan(row)
        expected = (
            np.interp(time, time[seen], row[seen]) if seen.any() else np.full(n_time, np.nanmean(values))
        )
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)


def test_linear_keeps_observations_attributes_and_data_type():
    obs = sea_level().astype(np.float32)
    filled = interpolate_linear(obs)
    assert filled.attrs == obs.attrs
    assert filled.dtype == np.float32
    assert filled.name == "ssh"
    xr.testing.assert_equal(filled.where(obs.notnull()), obs)
    assert filled.notnull().all()


def test_linear_lazy_equals_eager_and_computes_nothing():
    obs = sea_level(seed=3)
    lazy = interpolate_linear(obs.chunk({"time": 5, "latitude": 2}))
    assert isinstance(lazy.data, da.Array)
    assert lazy.chunksizes["latitude"] == (2, 2, 1)
    np.testing.assert_allclose(lazy.compute(), interpolate_linear(obs), rtol=0, atol=1e-14)


def test_linear_fill_of_points_never_observed():
    obs = sea_level()
    obs[:, 0, 0] = np.nan
    np.testing.assert_allclose(interpolate_linear(obs)[:, 0, 0], obs.mean())
    assert (interpolate_linear(obs, fill=7.0)[:, 0, 0] == 7).all()
    climatology = xr.zeros_like(obs[0].drop_vars("time")) + np.arange(5.0)[:, np.newaxis] + 3
    assert (interpolate_linear(obs, fill=climatology)[:, 0, 0] == 3).all()
    with pytest.raises(GridMismatchError, match="grids"):
        interpolate_linear(obs, fill=climatology.assign_coords(latitude=climatology.latitude + 1e-5))
    with pytest.raises(GridMismatchError, match="time"):
        interpolate_linear(obs, fill=obs)


def test_linear_over_a_dataset_leaves_other_variables():
    data = xr.Dataset({"ssh": sea_level(), "depth": ("latitude", np.arange(5.0))}, attrs={"title": "t"})
    filled = interpolate_linear(data)
    assert filled.attrs == data.attrs
    xr.testing.assert_identical(filled["depth"], data["depth"])
    assert filled["ssh"].notnull().all()


def test_linear_mistakes():
    obs = sea_level()
    with pytest.raises(MissingVariableError, match="'day'"):
        interpolate_linear(obs, "day")
    with pytest.raises(ConfigError, match="monotonic"):
        interpolate_linear(obs[[0, 2, 1]])
    with pytest.raises(ConfigError, match="no observation"):
        interpolate_linear(obs * np.nan)
    lazy = interpolate_linear(obs.chunk() * np.nan)
    with pytest.raises(ConfigError, match="no observation"):
        lazy.compute()


@pytest.mark.parametrize("lazy", [False, True])
def test_fill_values_of_any_kind_are_no_observations(lazy):
    rng = np.random.default_rng(0)
    obs = xr.DataArray(rng.normal(0, 0.1, (30, 4)), {"time": np.arange(30.0)}, ("time", "x"), name="ssh")
    gappy = obs.where(rng.random(obs.shape) < 0.7)
    filled = gappy.fillna(-999.0)
    with pytest.warns(UserWarning, match="not used"):
        found = interpolate_linear(filled.chunk(x=2) if lazy else filled).compute()
    np.testing.assert_allclose(found, interpolate_linear(gappy), atol=1e-12)
