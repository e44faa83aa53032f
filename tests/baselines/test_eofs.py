"""The iteration of EOFs on arrays, and its filter in time."""

import numpy as np
import pytest

from oceanvar.baselines.eof_days import days_of
from oceanvar.baselines.eofs import Iteration, Modes, shrinkage
from oceanvar.baselines.gappy import Gappy
from oceanvar.baselines.mode_numbers import ladder, withhold
from oceanvar.baselines.time_filter import TimeFilter
from oceanvar.errors import ConfigError


def uneven_days(n=50, seed=0):
    return np.random.default_rng(seed).permutation(
        np.cumsum(np.random.default_rng(seed).uniform(0.2, 3.0, n))
    )


# ---- the filter in time


@pytest.mark.parametrize("period", [0.5, 10.0, 1e4])
def test_the_filter_keeps_constants_and_means_and_its_transpose_is_its_transpose(period):
    days, rng = uneven_days(), np.random.default_rng(1)
    smooth = TimeFilter(days, period)
    np.testing.assert_allclose(smooth(np.full((50, 2), 3.0)), 3.0)
    one, other = rng.standard_normal((2, 50, 3))
    np.testing.assert_allclose((smooth(one) * other).sum(0), (one * smooth.transposed(other)).sum(0))
    weights = np.empty(50)
    weights[smooth.order] = smooth.widths[:, 0]
    np.testing.assert_allclose(weights @ smooth(one), weights @ one)
    if period == 1e4:
        np.testing.assert_allclose(
            smooth(one), np.broadcast_to(weights @ one / weights.sum(), one.shape), atol=1e-2
        )


def test_a_wave_of_the_period_keeps_two_fifths_and_others_as_diffusion_says():
    days = np.arange(0, 400, 0.1)
    inner = slice(1000, -1000)
    smooth = TimeFilter(days, 10.0)
    for period in (5.0, 10.0, 40.0):
        wave = np.sin(2 * np.pi * days / period)[:, np.newaxis]
        kept = (1 + (10.0 / period) ** 2 / 8) ** -8
        np.testing.assert_allclose(smooth(wave)[inner], kept * wave[inner], atol=2e-3)
    assert kept == pytest.approx(0.94, abs=0.01)
    # Of the paper's alpha = 0.01 and three explicit iterations, where steps are a day.
    paper, step = np.eye(20), np.diff(np.eye(20), axis=0)
    for _ in range(3):
        paper -= 0.01 * step.T @ step @ paper
    np.testing.assert_allclose(
        TimeFilter(np.arange(20.0), 2 * np.pi * 0.03**0.5)(np.eye(20)), paper, atol=2e-3
    )


def test_the_filter_takes_noise_off_by_the_norm_of_its_matrix():
    smooth = TimeFilter(uneven_days(200), 8.0)
    assert smooth.noise_kept == pytest.approx((smooth(np.eye(200)) ** 2).sum() / 200, rel=0.05)


@pytest.mark.parametrize("days", [np.array([1.0]), np.array([1.0, 2.0, 1.0]), np.array([1.0, np.nan])])
def test_times_that_have_no_filter(days):
    with pytest.raises(ConfigError, match="two times or more that all differ"):
        TimeFilter(days, 2.0)


# ---- noise


def test_factors_of_singular_values_in_closed_form():
    # A square matrix: sqrt(y^2 (y^2 - 4)) / y^2 = sqrt(1 - 4 / y^2) beyond y = 2.
    squares = np.array([3.9, 4.1, 16.0, 1e6])
    expected = [0.0, *np.sqrt(1 - 4 / squares[1:])]
    np.testing.assert_allclose(shrinkage(100 * 0.5 * squares, 0.5, (100, 100)), expected)
    # Far from the noise it is what this adds to the square.
    np.testing.assert_allclose(
        shrinkage(np.array([1e4 * 500]), 1.0, (30, 500)), 1 - 530 / (1e4 * 500), rtol=1e-6
    )
    np.testing.assert_array_equal(shrinkage(squares, 0.0, (100, 100)), 1.0)


def test_no_other_factor_of_the_singular_values_comes_nearer_to_the_truth():
    rng = np.random.default_rng(0)
    truth = sum(
        np.multiply.outer(*(rng.standard_normal(n) for n in (150, 400))) * size for size in (0.3, 0.15)
    )
    u, s, v = np.linalg.svd(truth + rng.standard_normal(truth.shape), full_matrices=False)
    found = shrinkage(s**2, 1.0, truth.shape)
    best = np.einsum("ik,ij,kj->k", u, truth, v) / s
    np.testing.assert_allclose(found[:2], best[:2], atol=0.03)
    assert not found[2:].any()


# ---- interpolation of single times


def test_times_are_interpolated_as_the_dense_formula_says():
    rng = np.random.default_rng(0)
    n, m, k, noise = 12, 80, 3, 0.3
    maps, level = rng.standard_normal((k, m)).astype(np.float32), np.full(m, 0.2, np.float32)
    seen = rng.random((n, m)) < 0.4
    seen[5] = False
    values = rng.standard_normal((n, m)).astype(np.float32)
    matrix = Gappy(values, seen, np.zeros((0, 2), int))
    days = days_of(matrix, Modes(np.zeros((n, k)), maps, level, noise * 0.5, 1, True))
    n_seen = seen.sum()
    assert days.noise == pytest.approx(0.5 * noise * n_seen / (n_seen - k * (n + m - k)))
    covariance = maps.T @ maps / n
    for factor in (1.0, 7.0):
        mu2 = factor * days.noise
        for day in range(n):
            here = np.flatnonzero(seen[day])
            inverse = np.linalg.inv(covariance[np.ix_(here, here)] + mu2 * np.eye(len(here)))
            gain = covariance[:, here] @ inverse
            analysis = days.times(factor)[day] @ maps
            np.testing.assert_allclose(analysis, gain @ (values[day, here] - 0.2), atol=1e-4)
            variance = ((days.roots(factor)[day] @ maps) ** 2).sum(0)
            np.testing.assert_allclose(variance, np.diag(covariance - gain @ covariance[here]), atol=1e-4)


# ---- what is withheld


def test_gaps_of_other_times_hide_as_much_as_is_asked_for_and_leave_something_of_each_time():
    rng = np.random.default_rng(0)
    seen = np.repeat(rng.random((60, 20)) < 0.5, 10, axis=1)
    seen[7] = False
    for how in ("clouds", "points"):
        withheld = withhold(seen, how, 0.1, 1)
        assert not (withheld & ~seen).any()
        assert 0.08 < withheld.sum() / seen.sum() < 0.25
        assert ((seen & ~withheld).any(1) == seen.any(1)).all()
        assert (withhold(seen, how, 0.1, 1) == withheld).all()
        assert (withhold(seen, how, 0.1, 2) != withheld).any()
        blocks = withheld.reshape(60, 20, 10)
        assert (blocks.all(2) == blocks.any(2)).all() == (how == "clouds")


def test_numbers_of_modes_to_try():
    assert ladder(1) == [1]
    assert ladder(5) == [1, 2, 3, 4, 5]
    assert ladder(40) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40]


def test_parts_of_a_matrix_keep_their_means_and_neighbours():
    values = np.arange(12.0, dtype=np.float32).reshape(2, 6)
    pairs = np.array([[0, 1], [1, 2], [3, 4], [4, 5]])
    matrix = Gappy(values, values > 3, pairs, (slice(0, 3), slice(3, 6)))
    some = matrix.of_cells(np.array([1, 2, 4]))
    np.testing.assert_array_equal(some.values, values[:, [1, 2, 4]])
    np.testing.assert_array_equal(some.neighbours, [[0, 1]])
    assert some.parts == (slice(0, 2), slice(2, 3))
    left = matrix.without(values > 8, guess=-1.0)
    np.testing.assert_array_equal(left.values, np.where((values > 3) & (values <= 8), values, -1))
    assert not np.shares_memory(left.values, values)


def test_a_second_mean_is_fitted_for_a_second_variable():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((40, 2)) @ rng.standard_normal((2, 60))
    truth[:, :25] += 2.0
    truth[:, 25:] -= 1.0
    seen = rng.random(truth.shape) < 0.6
    matrix = Gappy(
        np.where(seen, truth, 0).astype(np.float32),
        seen,
        np.zeros((0, 2), int),
        (slice(0, 25), slice(25, 60)),
    )
    modes = Iteration(1e-6, 3000).fit(matrix, 2)
    assert modes.converged
    np.testing.assert_allclose(modes.times @ modes.maps + modes.level, truth, atol=1e-3)
    np.testing.assert_allclose(modes.level, np.repeat([2.0, -1.0], [25, 35]), atol=1e-3)
