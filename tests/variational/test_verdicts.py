"""A solve says of each window whether it converged, stopped or diverged."""

import logging

import numpy as np
import pytest
import torch

from oceanvar.network import VarNet
from oceanvar.state import StateSpace
from oceanvar.variational import (
    LBFGS,
    AbstractSolver,
    Analysis,
    Annealed,
    Assimilator,
    BlockTridiagonalGaussNewton,
    ConjugateGradients,
    DynamicsTerm,
    FirstStateTerm,
    GaussNewton,
    GradientDescent,
    InterpolatedStart,
    Observations,
    ObservationTerm,
    Restarts,
    Select,
    Sequential,
    VariationalCost,
    Verdict,
    WithCost,
)
from tests.variational.problems import SHAPE, LinearStep, observations

CONVERGED, STOPPED, DIVERGED, TRAPPED = Verdict


class Plain(AbstractSolver):
    """Somebody's own solver, which knows of no verdicts."""

    def init(self, cost, obs, state):
        return None

    def step(self, cost, obs, state, carry):
        return state - cost.gradient(state, obs), carry


def cost() -> VariationalCost:
    torch.manual_seed(3)
    return VariationalCost(ObservationTerm(), DynamicsTerm(LinearStep(6)), FirstStateTerm([2, 3])).double()


def three_windows() -> Observations:
    """One whose first guess is its minimum, one that is far from it, one whose first guess is infinite."""
    torch.manual_seed(3)
    obs = observations()
    background = torch.stack((torch.zeros(SHAPE), torch.randn(SHAPE), torch.full(SHAPE, torch.inf)))
    weights = obs.weights["state"] * torch.tensor([0.0, 1.0, 1.0]).view(3, 1, 1, 1)
    return Observations(obs.values, {"state": weights}, background=background.double())


KNOWING = {
    "gauss_newton": (GaussNewton(), 1),
    "block_tridiagonal": (BlockTridiagonalGaussNewton(), 1),
    "lbfgs": (LBFGS(), 2),
    "conjugate_gradients": (ConjugateGradients(), 2),
    "sequential": (Sequential((GradientDescent(0.1), 1), (GaussNewton(), 1)), 2),
    "annealed": (Annealed(LBFGS(), [0.5, 1.0], 1), 2),
    "with_cost": (WithCost(cost(), BlockTridiagonalGaussNewton()), 1),
}
NOT_KNOWING = {
    "own": (Plain(), 2),
    "descent": (GradientDescent(0.1), 2),
    "sequence_that_ends_so": (Sequential((GaussNewton(), 1), (GradientDescent(0.1), 1)), 2),
    "no_step": (GaussNewton(), 0),
}


@pytest.mark.parametrize("name", [*KNOWING, *NOT_KNOWING])
def test_each_window_has_its_own_verdict_in_any_batch(name):
    solver, n_steps = (KNOWING | NOT_KNOWING)[name]
    assimilator, obs = Assimilator(cost(), solver, n_steps), three_windows()
    verdict = assimilator.solve(obs).verdict
    assert verdict.tolist() == [CONVERGED if name in KNOWING else STOPPED, STOPPED, DIVERGED]
    assert [assimilator.solve(obs[[i]]).verdict.item() for i in range(3)] == verdict.tolist()


@pytest.mark.parametrize("name", ["gauss_newton", "block_tridiagonal", "lbfgs", "conjugate_gradients"])
def test_with_enough_iterations_all_others_converge(name):
    analysis = Assimilator(cost(), KNOWING[name][0], 60).solve(three_windows())
    assert analysis.verdict.tolist() == [CONVERGED, CONVERGED, DIVERGED]
    assert cost().gradient(analysis.state, three_windows())[:2].abs().max() < 1e-5


def test_a_finite_state_of_infinite_cost_has_diverged():
    obs = observations().to(torch.float32)
    obs.background = torch.full_like(obs.background, 1e25)
    analysis = Assimilator(VariationalCost(ObservationTerm()), GradientDescent(0.1), 1).solve(obs)
    assert analysis.state.isfinite().all()
    assert (analysis.verdict == Verdict.DIVERGED).all()


def test_a_variable_that_no_term_sees_may_diverge_too():
    obs = Observations.from_nan(torch.zeros(1, 1, 7), background=torch.tensor([[[0.0] * 7, [torch.nan] * 7]]))
    cost = VariationalCost(ObservationTerm(Select([0])))
    assert cost(obs.background, obs).isfinite().all()
    assert Assimilator(cost, GradientDescent(0.1), 1).solve(obs).verdict.tolist() == [DIVERGED]


@pytest.mark.parametrize("first", [9.0, torch.nan])
def test_restarts_keep_the_verdict_of_the_better_state(first, caplog):
    obs = Observations.from_nan(torch.zeros(3, 1, 40))
    states = torch.tensor([first, 9.0, 0.0]).view(3, 1, 1).expand(3, 1, 40)
    again = {0: 0.1, 1: 99.0}  # better, worse; the third window is sound

    def solve(guess: torch.Tensor, given: Observations) -> Analysis:
        tried = torch.stack([torch.full((1, 40), each) for each in again.values()])[-len(guess) :]
        return Analysis(tried, torch.full((len(tried),), CONVERGED))

    with caplog.at_level(logging.INFO, logger="oceanvar"):
        found = Restarts(2, 0.1).run(
            VariationalCost(ObservationTerm()),
            InterpolatedStart(),
            solve,
            obs,
            Analysis(states, torch.full((3,), STOPPED)),
        )
    assert found.state[:, 0, 0].tolist() == pytest.approx([0.1, 9.0, 0.0])
    assert found.verdict.tolist() == [CONVERGED, TRAPPED, STOPPED]
    assert caplog.messages == ["2 of 3 windows were restarted, 1 improved"]


def test_a_model_warns_of_windows_that_diverged(caplog):
    space = StateSpace(("x",), ("time",), {"time": 8}, mean={"x": 0.0}, std={"x": 1.0})
    model = VarNet(Assimilator(VariationalCost(ObservationTerm()), GradientDescent(1e30), 3), space)
    values = np.random.default_rng(0).standard_normal((3, 1, 8)).astype(np.float32)
    background = values + np.array([0, 1, 1], np.float32).reshape(3, 1, 1)
    with caplog.at_level(logging.WARNING, logger="oceanvar"):
        model.solve(values, background)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "2 of 3 windows diverged" in caplog.text
    caplog.clear()
    model.solve(values[:1], background[:1])
    assert not caplog.records
