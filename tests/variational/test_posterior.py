"""What an analysis says about itself against dense algebra and the statistics it promises."""

import math

import pytest
import torch

from oceanvar.variational import (
    Assimilator,
    BlockTridiagonalGaussNewton,
    health,
    is_trapped,
    posterior_variance,
)
from tests.variational.problems import (
    SHAPE,
    dense_solution,
    linear_cost,
    lorenz63_problem,
    observations,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(3)


def test_posterior_variance_is_the_dense_inverse():
    cost, obs = linear_cost(), observations()
    minimiser, hessian = dense_solution(cost, obs)
    expected = torch.linalg.inv(hessian * math.prod(SHAPE) / 2).diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(posterior_variance(cost, minimiser, obs).flatten(1), expected)


def test_lorenz63_reaches_the_noise_and_knows_its_own_error():
    cost, obs, truth, std = lorenz63_problem()
    analysis = Assimilator(cost, BlockTridiagonalGaussNewton(), n_steps=15).solve(obs).state
    scores = health(cost, analysis, obs)
    # 75 observations in each of 40 windows: the mean has a standard deviation of 0.026.
    assert scores.mean().item() == pytest.approx(1.0, abs=0.1)
    assert is_trapped(cost, analysis, obs).sum() <= 1
    assert is_trapped(cost, torch.zeros_like(analysis), obs).all()
    error = analysis - truth
    physical = (error * std.view(3, 1)).square()
    assert physical.mean() < 0.15  # the noise has variance 2
    variance = posterior_variance(cost, analysis, obs)
    assert 0.7 < (error.square().mean() / variance.mean()).item() < 1.4
    scaled = error.abs() / variance.sqrt()
    assert (scaled < 0.6745).double().mean().item() == pytest.approx(0.5, abs=0.08)
    assert (scaled < 1.6449).double().mean().item() == pytest.approx(0.9, abs=0.05)
