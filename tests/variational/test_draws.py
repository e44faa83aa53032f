"""Samples of the error of an analysis: their law against dense algebra, and the same noise wherever windows lie."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from oceanvar.variational import posterior_variance
from oceanvar.variational.draws import Draws, white_noise
from oceanvar.variational.posterior import deviations
from oceanvar.variational.starts.adaptive import Covariance
from oceanvar.variational.starts.conditional import bumps
from oceanvar.variational.starts.conditional import deviations as conditional
from oceanvar.variational.starts.waves import coloured, whitened
from tests.variational.problems import SHAPE, dense_solution, linear_cost, observations


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(5)


def draws(n: int, n_windows: int = 1, n_axes: int = 2) -> Draws:
    return Draws(n, 7, (0,) * n_axes, np.zeros((n_windows, n_axes), int))


def check_covariance(samples: torch.Tensor, expected: torch.Tensor) -> None:
    """Whitened samples have the covariance 1: each entry within five standard deviations of its chance."""
    whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(expected), samples.T, upper=False)
    n, size = len(samples), len(expected)
    found = whitened @ whitened.T / n
    assert (found - torch.eye(size)).abs().max() < 5 * (2 / n) ** 0.5
    # The sum of all squares is chi-squared with n * size degrees of freedom.
    assert whitened.square().sum() / (n * size) == pytest.approx(1, abs=4 * (2 / (n * size)) ** 0.5)


def test_noise_is_white_normal_and_belongs_to_places():
    places = [np.arange(-50, 50)[None], np.arange(200)[None]]
    noise = white_noise((3, 1), places)[0]
    assert noise.mean() == pytest.approx(0, abs=0.03)
    assert noise.square().mean() == pytest.approx(1, abs=0.05)
    assert (noise.abs() < 0.6745).double().mean() == pytest.approx(0.5, abs=0.02)
    assert (noise[1:] * noise[:-1]).mean() == pytest.approx(0, abs=0.03)
    assert (noise[:, 1:] * noise[:, :-1]).mean() == pytest.approx(0, abs=0.03)
    part = white_noise((3, 1), [places[0][:, 20:30], places[1][:, 7:9]])[0]
    torch.testing.assert_close(part, noise[20:30, 7:9], rtol=0, atol=0)
    assert abs((white_noise((3, 2), places)[0] * noise).mean()) < 0.03


def test_windows_see_the_noise_of_their_places_around_a_periodic_axis():
    here = Draws(1, 0, (0, 10), np.array([[0, 0], [4, 8]]))
    field = here.white((1,), torch.zeros(2, 2, 9, 10, dtype=torch.float64))
    torch.testing.assert_close(field[1, :, :5, :4], field[0][:, 4:, [8, 9, 0, 1]], rtol=0, atol=0)


def test_samples_of_a_linear_cost_have_the_inverse_of_its_matrix_as_covariance():
    cost, obs = linear_cost(), observations(1)
    minimiser, hessian = dense_solution(cost, obs)
    expected = torch.linalg.inv(hessian[0] * math.prod(SHAPE) / 2)
    samples = deviations(cost, minimiser, obs, draws(3000))
    check_covariance(samples.flatten(1), expected)


def test_trust_in_a_term_enters_spread_and_samples_alike():
    cost, obs = linear_cost(), observations(1)
    cost.terms[2].trust = 0.1
    minimiser, _ = dense_solution(cost, obs)
    _, hessian = dense_solution(cost.reweighted({2: 0.1}), obs)
    expected = torch.linalg.inv(hessian[0] * math.prod(SHAPE) / 2)
    variance = posterior_variance(cost, minimiser, obs)
    torch.testing.assert_close(variance[0].flatten(), expected.diagonal())
    check_covariance(deviations(cost, minimiser, obs, draws(3000)).flatten(1), expected)


def test_windows_of_a_batch_are_drawn_as_they_are_alone():
    cost, obs = linear_cost(), observations(3)
    minimiser, _ = dense_solution(cost, obs)
    where = replace(draws(2), origins=np.array([[0, 0], [3, 1], [8, 8]]))
    together = deviations(cost, minimiser, obs, where)
    alone = deviations(cost, minimiser[1:2], obs[1:2], replace(where, origins=where.origins[1:2]))
    torch.testing.assert_close(together[:, 1:2], alone)


@pytest.mark.parametrize("length", [0.6, 2.0, 3.1, 4.0, 7.3])
@pytest.mark.parametrize("period", [0, 40])
def test_bumps_have_the_covariance_of_a_gaussian(length, period):
    matrix, _ = bumps(-3, 15, period, length)
    away = torch.arange(15.0, dtype=torch.float64)
    expected = torch.exp(-0.5 * ((away[:, None] - away) / length).square())
    torch.testing.assert_close(matrix @ matrix.T, expected, atol=0.03, rtol=0)


@pytest.mark.parametrize("period", [0, 30])
def test_windows_that_overlap_draw_one_field_and_nearly_one_with_somewhat_other_lengths(period):
    def field(first: int, length: float) -> torch.Tensor:
        matrix, places = bumps(first, 20, period, length)
        return matrix @ white_noise((1,), [places[None]])[0]

    left, right = field(0, 3.9), field(12, 3.9)
    torch.testing.assert_close(left[12:], right[:8], rtol=0, atol=1e-2)
    if period:
        torch.testing.assert_close(field(30, 3.9), left, rtol=0, atol=1e-9)
    # A power of two lies between.
    (one, here), (other, there) = (bumps(0, 20, period, length) for length in (3.9, 4.1))
    _, i, j = np.intersect1d(here, there, return_indices=True)
    assert (one[:, i] * other[:, j]).sum(1).min() > 0.97


def test_conditional_samples_have_the_covariance_of_the_error_of_interpolation():
    shape, n = (3, 4, 5), 300
    weights = torch.where(torch.rand(1, *shape) < 0.3, 4.0, 0.0).double()
    lengths = torch.tensor([[[2.0, 1.5, 2.5], [4.0, 5.0, 5.0]]], dtype=torch.float64)
    covariance = Covariance(torch.tensor([[1.0, 0.4]]).double(), lengths, weights)
    samples = conditional(covariance, draws(n, 1, 3), 40)[:, 0].flatten(1)
    basis = torch.eye(60, dtype=torch.float64).view(60, *shape)
    prior = torch.stack(
        [sum(coloured(root, whitened(root, e)) for root in covariance.roots(0)).flatten() for e in basis]
    )
    seen = weights.flatten() > 0
    n_seen = int(seen.sum())
    noise = 0.25 * torch.eye(n_seen, dtype=torch.float64)
    gain = torch.linalg.solve(prior[seen][:, seen] + noise, prior[seen]).T
    # Of departures from the mean of the observations, to which that is added.
    gain = gain + (1 - gain.sum(1, keepdim=True)) / n_seen
    left = torch.eye(60, dtype=torch.float64)
    left[:, seen] -= gain
    expected = left @ prior @ left.T + gain @ noise @ gain.T
    found = samples.T @ samples / n
    torch.testing.assert_close(found, expected, atol=0.35, rtol=0)
    assert float(found.trace()) == pytest.approx(float(expected.trace()), rel=0.08)
