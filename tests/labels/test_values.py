"""Values that are no observations, where no model says which are plausible."""

import warnings

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from oceanvar.errors import ConfigError, MendedWarning
from oceanvar.labels.values import DEFAULT_FILL, is_no_value, usable


def heights(n=300, centre=0.0, spread=0.1):
    return centre + spread * np.random.default_rng(0).standard_normal(n)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7])
@pytest.mark.parametrize("fill", [DEFAULT_FILL, 1e20, np.inf, -np.inf, -999.0, 32767.0])
@pytest.mark.parametrize(("centre", "spread"), [(0.0, 0.1), (290.0, 5.0)])
def test_fill_values_are_found_be_they_few_or_most(fill, share, centre, spread):
    values = heights(centre=centre, spread=spread)
    filled = np.arange(300) < 300 * share
    for dtype in (np.float32, np.float64):
        found = is_no_value(np.where(filled, fill, values).astype(dtype))
        np.testing.assert_array_equal(found, filled)


def test_heavy_tails_and_dry_days_are_values():
    rng = np.random.default_rng(1)
    chlorophyll = np.exp(1.8 * rng.standard_normal(50_000) - 1.5)
    rain = np.where(rng.random(3000) < 0.7, 0.0, rng.exponential(5.0, 3000))
    for values in (chlorophyll, rain, rng.standard_cauchy(50_000), np.eye(40)):
        assert not is_no_value(values).any()


def test_few_values_say_nothing_of_each_other():
    np.testing.assert_array_equal(is_no_value(np.array([0.1, 0.10001, 1e4])), False)
    np.testing.assert_array_equal(is_no_value(np.array([0.1, np.nan, np.inf, DEFAULT_FILL])), [0, 0, 1, 1])
    assert is_no_value(np.zeros(0)).shape == (0,)


def test_they_are_told_when_they_are_looked_at():
    values = heights()
    values[:3] = -999.0
    field = xr.DataArray(values, dims="x", name="ssh", attrs={"units": "m"})
    with pytest.warns(
        MendedWarning, match="3 of 300 values of 'ssh' of the tracks, -999, are infinite or fill"
    ):
        eager = usable(field, "the tracks")
    assert eager.attrs == {"units": "m"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lazy = usable(field.copy(data=da.from_array(values, 100)), "the tracks")
    with pytest.warns(MendedWarning, match="3 of 100"):
        xr.testing.assert_identical(lazy.compute(), eager)
    limited = field.assign_attrs(valid_min=-5.0)
    with pytest.warns(MendedWarning, match="3 of 300 .* lie outside of the valid range"):
        np.testing.assert_array_equal(usable(limited, "the tracks"), eager)


def test_packed_values_and_durations_are_refused():
    field = xr.DataArray(np.arange(3, dtype=np.int16), dims="x", name="ssh")
    for wrong in (field.assign_attrs(scale_factor=0.1), field.astype("timedelta64[ns]"), field.astype(str)):
        with pytest.raises(ConfigError, match="'ssh' of the tracks"):
            usable(wrong, "the tracks")
