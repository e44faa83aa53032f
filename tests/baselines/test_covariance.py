"""Covariances, errors along passes, and the analyses that they give."""

import numpy as np
import pytest
from scipy.special import gamma, kv

from oceanvar.baselines import Covariance, interpolate_points
from oceanvar.baselines.covariance import correlation_of
from oceanvar.baselines.kernels import KERNELS, NEGLIGIBLE
from oceanvar.baselines.pass_errors import PassErrors
from oceanvar.errors import ConfigError

LENGTHS = {"time": 1.1, "x": 1.7}
NOISE, STD, MEAN = 0.3, 1.5, 0.4


def matern(r, nu):
    """Rasmussen and Williams, eq. 4.14, for any smoothness."""
    scaled = np.sqrt(2 * nu) * np.maximum(r, 1e-9)
    return 2 ** (1 - nu) / gamma(nu) * scaled**nu * kv(nu, scaled)


EXACT = {
    "gaussian": lambda r: np.exp(-(r**2) / 2),
    "matern12": lambda r: matern(r, 0.5),
    "matern32": lambda r: matern(r, 1.5),
    "matern52": lambda r: matern(r, 2.5),
}


def scattered(n_obs=80, n_targets=30, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 3, (n_targets, 2)), rng.uniform(0, 3, (n_obs, 2)), rng.standard_normal(n_obs)


def dense(targets, points, values, prior, errors):
    """Bretherton's formula for any covariance function of two sets of points."""
    gain = np.linalg.solve(prior(points, points) + errors, prior(points, targets)).T
    variance = np.diag(prior(targets, targets)) - np.einsum("nk,nk->n", gain, prior(targets, points))
    return MEAN + gain @ (values - MEAN), np.sqrt(variance)


def prior_of(kernel, std=STD, scales=(1.1, 1.7)):
    def prior(a, b):
        return std**2 * EXACT[kernel](np.sqrt((((a[:, None] - b[None]) / scales) ** 2).sum(-1)))

    return prior


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_are_those_of_the_book_and_end_where_they_say(kernel):
    r = np.linspace(0, 6, 50)
    np.testing.assert_allclose(KERNELS[kernel].correlation(r**2), EXACT[kernel](r), rtol=0, atol=1e-8)
    assert KERNELS[kernel].correlation(np.array(KERNELS[kernel].reach ** 2)) == pytest.approx(
        NEGLIGIBLE, rel=0.2
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_kernel_equals_the_dense_formula(kernel):
    targets, points, values = scattered()
    expected = dense(targets, points, values, prior_of(kernel), NOISE**2 * np.eye(80))
    result = interpolate_points(
        targets, points, values, NOISE, Covariance(STD, LENGTHS, kernel=kernel), mean=MEAN
    )
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-8)


def test_a_sum_of_scales_equals_the_dense_formula_and_its_parts_in_any_order():
    targets, points, values = scattered()
    small, large = Covariance(0.8, LENGTHS, kernel="matern32"), Covariance(1.2, {"time": 9.0, "x": 4.0})

    def prior(a, b):
        return prior_of("matern32", 0.8)(a, b) + prior_of("gaussian", 1.2, (9.0, 4.0))(a, b)

    expected = dense(targets, points, values, prior, NOISE**2 * np.eye(80))
    for covariance in (small + large, large + small):
        result = interpolate_points(targets, points, values, NOISE, covariance, mean=MEAN)
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-8)
    far = interpolate_points(np.array([[1e3, 0.0]]), points, values, NOISE, small + large)
    np.testing.assert_allclose(far, [[0.0], [np.hypot(0.8, 1.2)]])


def test_two_equal_scales_are_one():
    targets, points, values = scattered()
    half = Covariance(STD / np.sqrt(2), LENGTHS)
    one = interpolate_points(targets, points, values, NOISE, Covariance(STD, LENGTHS), 9)
    np.testing.assert_allclose(
        interpolate_points(targets, points, values, NOISE, half + half, 9), one, rtol=0, atol=1e-12
    )
    scaled = interpolate_points(targets, points, values, NOISE, half.scaled(2) + half.scaled(1), 9)
    double = interpolate_points(targets, points, values, NOISE, Covariance(STD * np.sqrt(2.5), LENGTHS), 9)
    np.testing.assert_allclose(scaled, double, rtol=0, atol=1e-12)


def test_what_the_larger_scale_reaches_counts():
    """The reach is that of the part that reaches farthest, in whatever order."""
    small, large = Covariance(1.0, {"x": 1.0}), Covariance(1.0, {"x": 100.0}, kernel="matern12")
    for covariance in (small + large, large + small):
        analysis, _ = interpolate_points(np.zeros((1, 1)), np.array([[200.0]]), np.ones(1), 1e-6, covariance)
        np.testing.assert_allclose(analysis, np.exp(-2) / 2, rtol=1e-6)


def test_errors_of_passes_equal_the_dense_formula():
    targets, points, values = scattered()
    passes = np.repeat(["a", "c", "b", "d"], 20)
    days = points[:, 0] / 1440
    middle = np.repeat(days.reshape(4, 20).mean(1), 20)
    minutes = (days - middle) * 1440
    same = passes[:, None] == passes
    errors = NOISE**2 * np.eye(80) + same * (0.5**2 + 0.2**2 * np.outer(minutes, minutes))
    expected = dense(targets, points, values, prior_of("gaussian"), errors)
    shared = PassErrors.of_orbits(passes, days, 0.5, 0.2)
    options = {"covariance": Covariance(STD, LENGTHS), "mean": MEAN}
    result = interpolate_points(targets, points, values, NOISE, pass_errors=shared, **options)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-9)
    none = PassErrors.of_orbits(passes, days, 0.0)
    plain = interpolate_points(targets, points, values, NOISE, **options)
    np.testing.assert_array_equal(
        interpolate_points(targets, points, values, NOISE, pass_errors=none, **options), plain
    )


def test_a_bias_as_large_as_can_be_leaves_only_differences():
    """With a bias without bound, a constant added to a whole pass changes nothing."""
    targets, points, values = scattered()
    shared = PassErrors.of_orbits(np.repeat([0, 1], 40), points[:, 0], 1e4)
    covariance = Covariance(STD, LENGTHS)
    one = interpolate_points(targets, points, values, NOISE, covariance, pass_errors=shared)
    moved = values + np.repeat([0.0, 7.0], 40)
    other = interpolate_points(targets, points, moved, NOISE, covariance, pass_errors=shared)
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


def test_observations_in_one_place_without_noise():
    """Rounding makes their covariance indefinite: Cholesky fails, and the answer must not."""
    points = np.concatenate([np.linspace(0, 0.3, 60)[:, None]] * 2)
    values = 1.0 + points[:, 0]
    analysis, error_std = interpolate_points(
        np.array([[0.15]]), points, values, 1e-8, Covariance(1.0, {"x": 1.0})
    )
    np.testing.assert_allclose(analysis, 1.15, atol=1e-3)
    assert error_std < 1e-3


def test_impossible_parts():
    one = Covariance(1.0, {"x": 1.0, "y": 1.0})
    with pytest.raises(ConfigError, match="cannot be added"):
        one + Covariance(1.0, {"y": 1.0, "x": 1.0})
    with pytest.raises(ConfigError, match="matern32"):
        Covariance(1.0, {"x": 1.0}, kernel="spherical")
    with pytest.raises(ConfigError, match="shares"):
        correlation_of([{"x": 1.0}, {"x": 2.0}], {}, shares=[1.0, -1.0])
    with pytest.raises(ConfigError, match="columns"):
        PassErrors(np.zeros(3), np.zeros(3))
    with pytest.raises(ConfigError, match="finite"):
        PassErrors(np.zeros(1), np.array([[np.nan]]))
    with pytest.raises(ConfigError, match="slope_std"):
        PassErrors.of_orbits(np.zeros(1), np.zeros(1), 0.1, -1.0)
