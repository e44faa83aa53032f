"""Solvers made of solvers."""

import pytest
import torch

from oceanvar.variational import (
    LBFGS,
    Annealed,
    Assimilator,
    BlockTridiagonalGaussNewton,
    GradientDescent,
    Observations,
    Sequential,
    Unroll,
    WithCost,
)
from tests.variational.problems import nonlinear_cost, observations, without_background


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(3)


def test_annealing_views_leave_the_cost_alone():
    cost, obs = nonlinear_cost(), observations()
    x = obs.background
    before = cost(x, obs), {name: p.clone() for name, p in cost.state_dict().items()}
    view = cost.reweighted({1: 0.25})
    by_hand = cost.terms[0].cost(x, obs) + 0.25 * cost.terms[1].cost(x, obs) + cost.terms[2].cost(x, obs)
    torch.testing.assert_close(view(x, obs), by_hand)
    Assimilator(cost, Annealed(LBFGS(), [0.1, 1.0], 3), 6).solve(obs)
    assert torch.equal(cost(x, obs), before[0])
    assert all(torch.equal(p, before[1][name]) for name, p in cost.state_dict().items())
    assert view.terms[1].log_weight is cost.terms[1].log_weight


def test_annealing_is_solving_one_view_after_the_other():
    cost, obs = nonlinear_cost(), observations()
    annealed = Annealed(BlockTridiagonalGaussNewton(), [0.1, 1.0], 2)
    state = Assimilator(cost.reweighted({1: 0.1}), BlockTridiagonalGaussNewton(), 2).solve(obs).state
    obs.background, first_guess = state, obs.background
    expected = Assimilator(cost, BlockTridiagonalGaussNewton(), 2).solve(obs).state
    obs.background = first_guess
    assert torch.equal(Assimilator(cost, annealed, annealed.n_steps).solve(obs).state, expected)


def test_a_sequence_equals_its_solvers_one_after_the_other():
    cost, other, obs = nonlinear_cost(), nonlinear_cost(), without_background(observations())
    first, second = GradientDescent(1.0), WithCost(other, BlockTridiagonalGaussNewton())
    sequence = Sequential((first, 3), (second, 2))
    half = Assimilator(cost, first, 3).solve(obs).state
    after = Observations(obs.values, obs.weights, background=half)
    expected = Assimilator(other, BlockTridiagonalGaussNewton(), 2).solve(after).state
    assert torch.equal(Assimilator(cost, sequence, sequence.n_steps).solve(obs).state, expected)


def test_the_verdict_of_a_sequence_is_that_of_its_last_solver():
    cost, obs = nonlinear_cost(), without_background(observations())
    long, short = BlockTridiagonalGaussNewton(), GradientDescent(1e-6)
    for solvers in (((short, 2), (long, 12)), ((long, 12), (short, 2))):
        sequence = Sequential(*solvers)
        result = Assimilator(cost, sequence, sequence.n_steps).solve(obs)
        half = Assimilator(cost, solvers[0][0], solvers[0][1]).solve(obs).state
        alone = Assimilator(cost, solvers[1][0], solvers[1][1])
        assert torch.equal(
            result.verdict, alone.solve(Observations(obs.values, obs.weights, background=half)).verdict
        )


def test_training_differentiates_through_a_classical_finish():
    obs = without_background(observations())
    assimilator = Assimilator(
        nonlinear_cost(),
        Sequential((GradientDescent(1.0), 1), (BlockTridiagonalGaussNewton(tolerance=0.0), 2)),
        3,
    )
    weight = assimilator.cost.terms[1].log_weight
    assimilator(obs).square().sum().backward()
    slope, values = weight.grad.item(), []
    for h in (1e-5, -2e-5):
        weight.data += h
        values.append(assimilator(obs).square().sum().item())
    assert (values[0] - values[1]) / 2e-5 == pytest.approx(slope, rel=1e-5)
    weight.data += 1e-5
    assimilator.unroll, weight.grad = Unroll(checkpoint_every=1), None
    assimilator(obs).square().sum().backward()
    assert weight.grad.item() == pytest.approx(slope, rel=1e-9)
