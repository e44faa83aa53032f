"""Terms with variances, of the first state and of a background."""

import pytest
import torch

from oceanvar.errors import ConfigError
from oceanvar.variational import (
    Assimilator,
    BlockTridiagonalGaussNewton,
    ClimatologicalStart,
    FirstStateTerm,
    Observations,
    ObservationTerm,
    VariationalCost,
)
from tests.variational.problems import SHAPE, linear_cost, lorenz63_problem, observations


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(3)


def test_terms_with_variances_and_a_first_state_have_consistent_derivatives():
    cost, obs = linear_cost(), observations()
    x = torch.randn(3, *SHAPE, dtype=torch.float64, requires_grad=True)
    for term in cost.terms:
        point = term.at(x, obs)
        (expected,) = torch.autograd.grad(term.cost(x, obs).sum(), x)
        torch.testing.assert_close(point.gradient, expected, rtol=1e-11, atol=1e-13)
        # The terms are quadratic: twice their homogeneous part is the Gauss-Newton form.
        v = torch.randn_like(x)
        second = term.cost(x + v, obs) + term.cost(x - v, obs) - 2 * point.value
        torch.testing.assert_close((point.product(v) * v).flatten(1).sum(1), second)


def test_the_first_guess_is_the_background_of_its_first_state():
    cost, obs, truth, _ = lorenz63_problem(3)
    guess = truth + 0.1
    errors = 0.1 * torch.randn(200, 3, 1, dtype=torch.float64) + 0.05
    relative = FirstStateTerm([3], weight=0.5, of_background=True).double().fit_(errors)
    with_guess = VariationalCost(*cost.terms[:2], relative)
    solver = BlockTridiagonalGaussNewton()
    analysis = Assimilator(with_guess, solver, 8).improve(guess, obs)
    for i in range(3):
        absolute = FirstStateTerm([3], weight=0.5).double().fit_(errors + guess[i, :, 0].unsqueeze(-1))
        expected = Assimilator(VariationalCost(*cost.terms[:2], absolute), solver, 8)
        torch.testing.assert_close(analysis[[i]], expected.improve(guess[[i]], obs[[i]]))
    started = Assimilator(with_guess, solver, 8)
    again = Assimilator(with_guess, solver, 8).improve(started.first_guess(obs), obs)
    assert torch.equal(started.solve(obs).state, again)
    with pytest.raises(ValueError, match="no background was given"):
        with_guess(guess, obs)


def test_clear_errors():
    with pytest.raises(ConfigError, match="has terms 0 to 0"):
        VariationalCost(ObservationTerm()).reweighted({1: 0.5})
    with pytest.raises(ConfigError, match="too few for a covariance"):
        FirstStateTerm([40]).fit_(torch.randn(2, 1, 10, 40))
    with pytest.raises(ConfigError, match="singular"):
        FirstStateTerm([2]).fit_(torch.ones(5, 2, 10))
    with pytest.raises(ConfigError, match="reach over 4 times"):
        ClimatologicalStart([1, 4], [1.0])(Observations.from_nan(torch.zeros(1, 1, 5)))
    with pytest.raises(ValueError, match="variances of a term must be positive"):
        ObservationTerm(variances=[1.0, 0.0])
