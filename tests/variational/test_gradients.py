"""Differences: on index space, on the sphere, with land."""

import math

import pytest
import torch

from oceanvar.errors import ConfigError
from oceanvar.labels import earth
from oceanvar.maps import Gradient
from oceanvar.variational import MapTerm, Observations, SphericalGradient


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(1)


@pytest.mark.parametrize("periodic", [(), (True, False), (True, True)])
def test_the_pullback_is_the_transpose(periodic):
    gradient = Gradient([0, 2], periodic)
    x = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)
    value, pullback = gradient.linearize(x)
    assert value.shape == (2, 6, 4, 5, 6)
    cotangent, tangent = torch.randn_like(value), torch.randn_like(x)
    torch.testing.assert_close(
        (gradient.jvp(x, tangent) * cotangent).sum(), (tangent * pullback(cotangent)).sum()
    )


def test_channels_are_axis_after_axis():
    x = torch.zeros(1, 2, 1, 3, 3)
    x[0, 0, 0, 1:] = 1.0  # a front along y in the first variable
    x[0, 1, 0, :, 2] = 2.0  # and along x in the second
    north_0, north_1, east_0, east_1 = Gradient([1, 2])(x)[0, :, 0]
    assert north_0.tolist() == [[1.0] * 3, [0.0] * 3, [0.0] * 3]
    assert not north_1.any()
    assert not east_0.any()
    assert east_1.tolist() == [[0.0, 2.0, 0.0]] * 3


def on_the_sphere(x: torch.Tensor, latitude, longitude, sea=None) -> Observations:
    ones = torch.ones(len(x), 1, *x.shape[2:], dtype=x.dtype)
    covariates = {"latitude": latitude.view(-1, 1) * ones, "longitude": longitude * ones}
    if sea is not None:
        covariates["sea"] = sea * ones
    return Observations({"state": x}, {"state": torch.ones_like(x)}, covariates)


def test_a_uniform_slope_is_found_anywhere_on_the_sphere_and_across_the_date_line():
    """A field that grows by one per 100 km northward, and one that does so eastward along each parallel."""
    latitude = torch.tensor([58.0, 60.0, 63.0], dtype=torch.float64)
    longitude = torch.tensor([178.0, 179.5, -179.0, -177.0], dtype=torch.float64)
    km = math.radians(1) * earth.RADIUS
    east = torch.tensor([0.0, 1.5, 3.0, 5.0], dtype=torch.float64) * km
    field = torch.stack(
        (
            latitude.view(-1, 1).expand(3, 4) * km / 100,
            torch.cos(torch.deg2rad(latitude)).view(-1, 1) * east / 100,
        )
    )
    x = field.view(1, 2, 1, 3, 4)
    found = SphericalGradient(100.0).bind(on_the_sphere(x, latitude, longitude), "state")(x)
    assert found.shape == (1, 4, 1, 3, 4)
    torch.testing.assert_close(
        found[0, 0, 0, :2], torch.ones(2, 4, dtype=torch.float64)
    )  # first variable, north
    torch.testing.assert_close(found[0, 3, 0, :, :3], torch.ones(3, 3, dtype=torch.float64))  # second, east
    assert not found[0, 2].any()
    assert not found[0, :2, 0, 2].any()
    assert not found[0, 2:, 0, :, 3].any()


def test_no_difference_is_taken_across_a_coast():
    latitude, longitude = torch.arange(4.0), torch.arange(5.0)
    sea = torch.ones(4, 5)
    sea[1, 2] = 0
    x = torch.randn(1, 1, 1, 4, 5)
    term = MapTerm(SphericalGradient(sea="sea"))
    obs = on_the_sphere(x, latitude, longitude, sea)
    other = x.clone()
    other[..., 1, 2] = 1e6  # whatever land holds
    torch.testing.assert_close(term.cost(other, obs), term.cost(x, obs))
    gradient = term.at(other, obs).gradient
    assert gradient[..., 1, 2] == 0
    assert (gradient[..., 3, 4] != 0).all()


def test_clear_errors():
    with pytest.raises(ConfigError, match="different numbers from 0 on"):
        Gradient([1, 1])
    with pytest.raises(ConfigError, match="1 entries for the 2 axes"):
        Gradient([1, 2], [True])
    with pytest.raises(ConfigError, match="length must be positive"):
        SphericalGradient(-1.0)
