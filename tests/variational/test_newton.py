"""Gauss-Newton with conjugate gradients inside, and the damping of any Gauss-Newton."""

import pytest
import torch

from oceanvar.maps import AbstractMap
from oceanvar.variational import BlockTridiagonalGaussNewton
from oceanvar.variational.solvers.newton import conjugate_gradients
from tests.variational.problems import nonlinear_cost, observations


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(3)


def test_a_failed_step_is_refused_and_damped():
    cost, obs = nonlinear_cost(), observations()
    state = obs.background.clone()
    state[1] = torch.inf
    solver = BlockTridiagonalGaussNewton(damping=0.1)
    moved, (damping, active) = solver.step(cost, obs, state, solver.init(cost, obs, state))
    assert torch.equal(moved[1], state[1])
    torch.testing.assert_close(damping, torch.tensor([0.03, 1.0, 0.03]).double())
    assert active.all()
    assert torch.isfinite(moved[[0, 2]]).all()


class Divide(AbstractMap):
    """Pointwise division: the preconditioner of a diagonal matrix."""

    def __init__(self, by: torch.Tensor):
        super().__init__()
        self.by = by

    def forward(self, x):
        return x / self.by


def test_the_right_preconditioner_needs_one_inner_step():
    diagonal = torch.logspace(-3, 3, 40, dtype=torch.float64)
    target = torch.randn(2, 40, dtype=torch.float64)
    solved = conjugate_gradients(lambda x: diagonal * x, target, 1, 0.0, Divide(diagonal))
    torch.testing.assert_close(solved, target / diagonal)
    plain = conjugate_gradients(lambda x: diagonal * x, target, 1, 0.0, lambda x: x)
    assert (plain - target / diagonal).abs().max() > 1
