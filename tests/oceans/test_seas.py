"""Seas to learn from: what their attributes say is what their fields hold."""

import numpy as np
import pytest
import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.oceans import Flows, Seas
from oceanvar.oceans.fields import _interpolating, front, larger_scales, random_field
from oceanvar.oceans.observing_systems import drawn_errors, without_some_days

FLOWS = Flows(n_flows=1, n_days=16, n_spinup=0, resolution=0.5)
SEAS = Seas((9, 16, 20), FLOWS)


def test_a_sea_depends_on_its_number_and_the_seed_alone():
    first, second = list(SEAS(2, seed=5)), list(Seas((9, 16, 20), Flows(1, 16, 0, 0.5))(2, seed=5))
    xr.testing.assert_identical(first[1], second[1])
    assert not first[0].equals(first[1])
    assert not first[0].equals(next(SEAS(1, seed=6)))


def test_what_is_drawn_is_what_the_fields_hold():
    for sea in SEAS(12, seed=1):
        attrs = sea.attrs
        assert sea["ssh"].shape == (9, 16, 20)
        observed = sea["ssh_observed"].notnull()
        assert int(observed.sum()) >= 40
        # Nothing is seen of land, and land has no truth.
        xr.testing.assert_equal(sea["ssh"].notnull().all("time"), sea["sea"])
        assert not bool((observed & ~sea["sea"]).any())
        errors = (sea["ssh_observed"] - sea["ssh"]).values[observed.values]
        assert 0.6 * attrs["noise"] < errors.std() < 3 * attrs["noise"]
        assert 0.3 < attrs["amplitude"] / float((sea["ssh"] - attrs["offset"]).std()) < 3
        steps = np.diff(sea["latitude"]).mean() * 111.2, np.diff(sea["time"]).mean() / np.timedelta64(1, "D")
        assert steps == pytest.approx((attrs["step"], attrs["time_step"]), rel=1e-3)
        assert attrs["deformation_radius"] / attrs["step"] > 1.19


def test_kinds_differ():
    """Over some seas: flows and random fields, with and without land, stated and unknown errors, all densities."""
    seas = list(SEAS(24, seed=3))
    for share in (
        np.mean([sea.attrs["is_flow"] for sea in seas]),
        np.mean([bool(sea["sea"].all()) for sea in seas]),
        np.mean([np.isfinite(sea.attrs["stated_variance"]) for sea in seas]),
    ):
        assert 0.2 < share < 0.95
    density = [float(sea["ssh_observed"].notnull().mean()) for sea in seas]
    assert min(density) < 0.04
    assert max(density) > 0.2


def test_a_flow_is_cut_between_its_points_and_days():
    rng = np.random.default_rng(0)
    flow = FLOWS.fields
    same = FLOWS.cut((9, 16, 16), (1.0, 1.0), 1.0, rng)
    assert 0.3 < same.std() / flow.std() < 2
    # Cubic convolution gives the points themselves and is exact for parabolas.
    points = np.arange(12.0)
    np.testing.assert_allclose(_interpolating(points, 12), np.eye(12), atol=1e-7)
    places = np.linspace(2, 8, 13)
    np.testing.assert_allclose(_interpolating(places, 12) @ points**2, places**2, rtol=1e-5)


def test_random_fields_drift_and_have_the_variance_that_is_said():
    rng = np.random.default_rng(0)
    field = random_field((5, 24, 40), (1e3, 3.0, 3.0), 1.5, 0.0, rng)
    np.testing.assert_allclose(field[4, :, :-6], field[0, :, 6:], atol=0.03)
    many = np.stack([random_field((3, 24, 24), (2.0, 2.0, 2.0), 0.0, 0.6, rng) for _ in range(60)])
    assert many.std() == pytest.approx(1, rel=0.15)
    # Unevenness makes tails heavier than those of a Gaussian.
    assert (many**4).mean() / (many**2).mean() ** 2 > 3.5


def test_fronts_have_two_sides_and_larger_scales_no_eddies():
    rng = np.random.default_rng(0)
    jet = front((5, 40, 40), 2.0, rng)
    assert jet.min() < -0.9 < 0.9 < jet.max()
    large = larger_scales((5, 40, 40), (10.0, 30.0, 30.0), rng)
    assert np.abs(np.diff(large, axis=1)).max() < 0.2 * np.ptp(large)


def test_errors_have_the_variance_that_is_stated_or_a_factor_off():
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(150):
        errors = drawn_errors((5, 20, 20), 0.02, 4.0, rng)
        if np.isfinite(errors.stated_variance):
            ratios.append((errors.values**2).mean() / errors.stated_variance)
    assert 45 < len(ratios) < 105
    assert np.median(ratios) == pytest.approx(1, rel=0.1)
    assert min(ratios) > 0.25
    assert max(ratios) < 4


def test_days_are_missing_in_some_seas():
    rng = np.random.default_rng(0)
    kept = [without_some_days(np.ones((20, 2, 2), bool), rng).any((1, 2)).mean() for _ in range(200)]
    assert 0.5 < np.mean(np.array(kept) == 1) < 0.8
    assert min(kept) > 0.3


@pytest.mark.parametrize("shape", [(3, 16, 16), (9, 16)])
def test_windows_that_are_too_small_are_refused(shape):
    with pytest.raises(ConfigError, match="at least 4 times"):
        Seas(shape)
