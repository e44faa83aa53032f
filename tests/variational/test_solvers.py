"""What every classical solver keeps to: dense algebra, its own batch, the data it was given."""

import itertools

import pytest
import torch

from oceanvar import registry
from oceanvar.dynamics import FlowStep, Lorenz96
from oceanvar.variational import (
    LBFGS,
    Annealed,
    Assimilator,
    BackgroundTerm,
    BlockTridiagonalGaussNewton,
    DynamicsTerm,
    GaussNewton,
    GradientDescent,
    Observations,
    ObservationTerm,
    Sequential,
    VariationalCost,
)
from tests.variational.problems import (
    dense_solution,
    linear_cost,
    nonlinear_cost,
    observations,
    without_background,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(3)


SOLVERS = {
    "lbfgs": (lambda: LBFGS(tolerance=0.0), 120),
    "gauss_newton": (lambda: GaussNewton(n_inner=200, damping=0.0, inner_tolerance=1e-12), 1),
    "block_tridiagonal": (lambda: BlockTridiagonalGaussNewton(damping=0.0), 1),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_linear_gaussian_solvers_reach_the_dense_solution(name):
    make, n_steps = SOLVERS[name]
    cost, obs = linear_cost(), observations()
    analysis = Assimilator(cost, make(), n_steps).solve(obs).state
    torch.testing.assert_close(analysis, dense_solution(cost, obs)[0], rtol=0, atol=1e-8)


ITERATIONS = {
    "lbfgs": lambda: Assimilator(nonlinear_cost(), LBFGS(), 15),
    "gauss_newton": lambda: Assimilator(nonlinear_cost(), GaussNewton(), 5),
    "block_tridiagonal": lambda: Assimilator(nonlinear_cost(), BlockTridiagonalGaussNewton(), 6),
    "annealed": lambda: Assimilator(
        nonlinear_cost(), Annealed(BlockTridiagonalGaussNewton(), [0.01, 0.1, 1.0], 2), 6
    ),
    "sequential": lambda: Assimilator(
        nonlinear_cost(), Sequential((GradientDescent(1.0), 2), (LBFGS(), 4)), 6
    ),
}


@pytest.fixture(params=ITERATIONS)
def assimilator(request) -> Assimilator:
    return ITERATIONS[request.param]()


def test_a_window_is_solved_alike_in_any_batch(assimilator):
    obs = without_background(observations(5))
    together = assimilator.solve(obs).state
    alone = torch.cat([assimilator.solve(obs[[i]]).state for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)
    order = [3, 1, 4, 0, 2]
    torch.testing.assert_close(assimilator.solve(obs[order]).state, together[order], rtol=1e-9, atol=1e-9)


def test_unobserved_values_cannot_leak(assimilator):
    obs = without_background(observations())
    poisoned = obs.values["state"].masked_fill(obs.weights["state"] == 0, 1e6)
    expected = assimilator.solve(obs).state
    assert torch.equal(assimilator.solve(Observations({"state": poisoned}, obs.weights)).state, expected)


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_empty_and_full_masks_give_finite_answers(assimilator, fraction):
    assert torch.isfinite(assimilator.solve(without_background(observations(fraction=fraction))).state).all()


def test_a_description_builds_the_same_solver(assimilator):
    again = registry.build(registry.describe(assimilator))
    again.load_state_dict(assimilator.state_dict())
    obs = without_background(observations())
    torch.testing.assert_close(again.double().solve(obs).state, assimilator.solve(obs).state)


@pytest.mark.parametrize("name", ["lbfgs", "gauss_newton", "block_tridiagonal"])
def test_no_step_raises_the_cost_and_converged_windows_stand_still(name):
    obs = observations()
    loose = {
        "lbfgs": LBFGS(tolerance=1e-3),
        "gauss_newton": GaussNewton(tolerance=1e-3),
        "block_tridiagonal": BlockTridiagonalGaussNewton(tolerance=1e-3),
    }[name]
    assimilator = Assimilator(nonlinear_cost(), loose, 40)
    states = list(assimilator.iterates(obs))
    costs = torch.stack([assimilator.cost(x, obs) for x in states])
    assert (costs.diff(dim=0) <= 0).all()
    assert costs[-1].max() < 0.5 * costs[0].min()
    assert torch.equal(states[-1], states[-2])


@pytest.mark.parametrize(
    "solver", [LBFGS(), GaussNewton(damping=0.0), BlockTridiagonalGaussNewton(damping=0.0)]
)
def test_no_step_raises_the_cost_where_full_steps_would(solver):
    dynamics = DynamicsTerm(FlowStep(Lorenz96(), 0.05), variances=[1e-4])
    cost = VariationalCost(ObservationTerm(), dynamics, BackgroundTerm(weight=0.1))
    values = 2.3 + 3.6 * torch.randn(6, 1, 10, 8, dtype=torch.float64)
    obs = Observations.from_nan(values, background=torch.full_like(values, 2.3))
    states = list(Assimilator(cost, solver, 15).iterates(obs))
    costs = torch.stack([cost(x, obs) for x in states])
    assert (costs.diff(dim=0) <= 0).all()
    assert (costs[-1] < 0.5 * costs[0]).all()
    # The same steps, twice as long, do not all lower the cost.
    longer = torch.stack([cost(2 * b - a, obs) for a, b in itertools.pairwise(states)])
    assert (longer > costs[:-1]).any()


@pytest.mark.parametrize("solver", [LBFGS(), GaussNewton(), BlockTridiagonalGaussNewton()])
def test_a_window_that_converged_stands_still_beside_others(solver):
    cost, obs = nonlinear_cost(), observations()
    *memory, active = solver.init(cost, obs, obs.background)
    active = torch.tensor([True, False, True])
    moved, _ = solver.step(cost, obs, obs.background, (*memory, active))
    assert ((moved != obs.background).flatten(1).any(1) == active).all()


def test_solvers_agree_on_the_minimum_of_a_nonlinear_cost():
    obs, cost = observations(), nonlinear_cost()
    solvers = [
        (LBFGS(tolerance=0.0), 200),
        (GaussNewton(tolerance=0.0), 30),
        (BlockTridiagonalGaussNewton(tolerance=0.0), 30),
    ]
    minima = [Assimilator(cost, solver, n).solve(obs).state for solver, n in solvers]
    torch.testing.assert_close(minima[1], minima[2], rtol=0, atol=1e-6)
    torch.testing.assert_close(minima[0], minima[2], rtol=0, atol=1e-6)
