"""What is evaluated at a point is evaluated once, and solvers do not ask twice."""

import pytest
import torch

from oceanvar.maps import AbstractMap
from oceanvar.variational import (
    LBFGS,
    BlockTridiagonalGaussNewton,
    ConjugateGradients,
    DynamicsTerm,
    GaussNewton,
    GradientDescent,
    ObservationTerm,
    PriorTerm,
    VariationalCost,
)
from tests.variational.problems import SHAPE, observations


class Counting(AbstractMap):
    """A sine that counts what is asked of it."""

    def __init__(self):
        super().__init__()
        self.counts = dict(values=0, linearizations=0, pushforwards=0)

    def forward(self, x):
        self.counts["values"] += 1
        return torch.sin(x)

    def linearize(self, x):
        self.counts["linearizations"] += 1
        return torch.sin(x), lambda r: torch.cos(x) * r

    def pushforward(self, x):
        self.counts["pushforwards"] += 1
        return lambda v: torch.cos(x) * v


@pytest.fixture(params=[ObservationTerm, PriorTerm, DynamicsTerm])
def counted(request) -> tuple[VariationalCost, Counting]:
    counting = Counting()
    return VariationalCost(ObservationTerm(), request.param(counting)).double(), counting


def test_everything_at_one_point_takes_one_linearization(counted):
    cost, counting = counted
    obs = observations()
    point = cost.at(obs.background, obs)
    for _ in range(4):
        assert point.value.shape == (3,)
        point.product(point.gradient)
        assert point.terms[1].curvatures.shape[:2] == (3, 2)
    assert counting.counts == dict(values=0, linearizations=1, pushforwards=1)


def test_gradients_do_not_ask_for_tangents(counted):
    cost, counting = counted
    obs = observations()
    cost.gradient(obs.background, obs)
    assert counting.counts == dict(values=0, linearizations=1, pushforwards=0)


def test_a_point_agrees_with_the_cost(counted):
    cost, _ = counted
    obs = observations()
    x = torch.randn(3, *SHAPE, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(cost(x, obs).sum(), x)
    point = cost.at(x, obs)
    torch.testing.assert_close(point.value, cost(x, obs))
    torch.testing.assert_close(point.gradient, expected)
    torch.testing.assert_close(cost.cost_and_gradient(x, obs), (point.value, point.gradient))


ASKED = {
    # The line search of a Gauss-Newton step asks for one value, which is low enough.
    "newton": (GaussNewton(n_inner=20), dict(values=1, linearizations=1, pushforwards=1)),
    "conjugate_gradients": (ConjugateGradients(), dict(values=0, linearizations=2, pushforwards=1)),
    "descent": (GradientDescent(1.0), dict(values=0, linearizations=1, pushforwards=0)),
    "lbfgs": (LBFGS(), dict(values=0, linearizations=2, pushforwards=1)),
}


@pytest.mark.parametrize("name", ASKED)
def test_a_step_asks_only_for_what_it_does_not_hold(name):
    """Of a cost so weakly nonlinear that the first step length will do."""
    solver, expected = ASKED[name]
    counting, obs = Counting(), observations()
    cost = VariationalCost(ObservationTerm(), PriorTerm(counting, weight=1e-3)).double()
    with torch.no_grad():
        solver.step(cost, obs, obs.background, solver.init(cost, obs, obs.background))
    assert counting.counts == expected


def test_an_exact_step_takes_one_jacobian():
    counting, obs = Counting(), observations()
    cost = VariationalCost(ObservationTerm(), DynamicsTerm(counting, weight=1e-3)).double()
    solver = BlockTridiagonalGaussNewton()
    with torch.no_grad():
        solver.step(cost, obs, obs.background, solver.init(cost, obs, obs.background))
    assert counting.counts == dict(values=1, linearizations=1, pushforwards=1)
