"""A solve says of each window whether it converged, stopped or diverged."""

import logging

import pytest
import torch

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


@pytest.mark.parametrize("n_steps", [4, 40])
def test_growth_without_bound_is_divergence_before_it_overflows(n_steps):
    """Descent by a step of s multiplies the misfit by (1 - 2 s / N): with s = 3 N / 2 by -2 each time."""
    obs = Observations.from_nan(torch.ones(1, 1, 8), background=torch.tensor([[[2.0] * 8]]))
    analysis = Assimilator(VariationalCost(ObservationTerm()), GradientDescent(12.0), n_steps).solve(obs)
    torch.testing.assert_close(analysis.state, torch.full((1, 1, 8), 1.0 + (-2.0) ** n_steps))
    assert analysis.verdict.tolist() == [DIVERGED if n_steps == 40 else STOPPED]


@pytest.mark.parametrize("size", [1.0, 1e4])
def test_what_is_large_from_the_first_has_not_grown(size):
    obs = Observations.from_nan(torch.full((1, 1, 8), 500 * size), background=torch.full((1, 1, 8), size))
    analysis = Assimilator(VariationalCost(ObservationTerm()), GradientDescent(4.0), 1).solve(obs)
    assert analysis.verdict.tolist() == [STOPPED]
