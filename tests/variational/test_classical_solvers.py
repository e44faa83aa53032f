"""Classical 4D-Var solvers against dense algebra, a Kalman smoother, and the statistics they promise."""

import itertools
import math

import pytest
import torch

from oceanvar import registry
from oceanvar.dynamics.integrators import FlowStep, integrate
from oceanvar.dynamics.lorenz import Lorenz63, Lorenz96
from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractMap
from oceanvar.maps.compositions import Chain
from oceanvar.maps.layers import Conv, SiLU
from oceanvar.variational.assimilators import Assimilator
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.observations import Observations
from oceanvar.variational.operators.averages import BlockAverage
from oceanvar.variational.penalties import SmoothedL1
from oceanvar.variational.posterior import health, is_trapped, posterior_variance
from oceanvar.variational.priors.flow import FlowPrior
from oceanvar.variational.solvers.block_tridiagonal import (
    BlockTridiagonalGaussNewton,
    normal_blocks,
    step_jacobian,
)
from oceanvar.variational.solvers.descent import GradientDescent
from oceanvar.variational.solvers.lbfgs import LBFGS
from oceanvar.variational.solvers.newton import GaussNewton, conjugate_gradients
from oceanvar.variational.solvers.schedules import Annealed, Sequential, WithCost
from oceanvar.variational.starts.climatological import ClimatologicalStart, lag_covariances
from oceanvar.variational.terms.backgrounds import BackgroundTerm
from oceanvar.variational.terms.dynamics import DynamicsTerm, PriorTerm
from oceanvar.variational.terms.first_state import FirstStateTerm
from oceanvar.variational.terms.observations import ObservationTerm
from oceanvar.variational.unrolling import Unroll
from oceanvar.variational.weak_constraint import weak_constraint_cost

SHAPE = (2, 7, 3)  # variables, times, sites


class LinearStep(AbstractMap):
    """The same dense matrix for every time."""

    def __init__(self, n: int):
        super().__init__()
        self.matrix = torch.nn.Parameter(torch.randn(n, n) / n**0.5)

    def forward(self, x):
        flat = x.movedim(2, 1).flatten(2) @ self.matrix.T
        return flat.view(x.movedim(2, 1).shape).movedim(1, 2)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(3)


def observations(n: int = 3, fraction: float = 0.4) -> Observations:
    values = torch.randn(n, *SHAPE, dtype=torch.float64)
    values[torch.rand(n, *SHAPE) > fraction] = torch.nan
    return Observations.from_nan(values, background=torch.randn(n, *SHAPE, dtype=torch.float64))


def linear_cost() -> VariationalCost:
    first = FirstStateTerm([2, 3], weight=0.8).double().fit_(torch.randn(50, *SHAPE))
    return VariationalCost(
        ObservationTerm(variances=[0.5, 0.2]),
        DynamicsTerm(LinearStep(6), weight=1.5, variances=[0.4, 0.1]),
        first,
        BackgroundTerm(weight=0.1),
    ).double()


def nonlinear_cost() -> VariationalCost:
    step = Chain(Conv(2, 2, [1, 3], [False, True]), SiLU())
    return VariationalCost(ObservationTerm(), DynamicsTerm(step, weight=4.0), FirstStateTerm([2, 3])).double()


def dense_solution(cost: VariationalCost, obs: Observations) -> tuple[torch.Tensor, torch.Tensor]:
    """Minimiser, and Hessian of each window, of a quadratic cost."""
    zero = torch.zeros_like(obs.values["state"])
    eye = torch.eye(zero[0].numel(), dtype=zero.dtype).view(-1, 1, *SHAPE)
    with torch.no_grad():
        columns = [cost.gauss_newton(zero, obs, e.expand_as(zero)).flatten(1) for e in eye]
        hessian = torch.stack(columns, dim=2)
        minimiser = torch.linalg.solve(hessian, -cost.gradient(zero, obs).flatten(1))
    return minimiser.view_as(zero), hessian


SOLVERS = {
    "lbfgs": (lambda: LBFGS(tolerance=0.0), 120),
    "gauss_newton": (lambda: GaussNewton(n_inner=200, damping=0.0, inner_tolerance=1e-12), 1),
    "block_tridiagonal": (lambda: BlockTridiagonalGaussNewton(damping=0.0), 1),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_linear_gaussian_solvers_reach_the_dense_solution(name):
    make, n_steps = SOLVERS[name]
    cost, obs = linear_cost(), observations()
    analysis = Assimilator(cost, make(), n_steps).solve(obs)
    torch.testing.assert_close(analysis, dense_solution(cost, obs)[0], rtol=0, atol=1e-8)


def test_terms_with_variances_and_a_first_state_have_consistent_derivatives():
    cost, obs = linear_cost(), observations()
    x = torch.randn(3, *SHAPE, dtype=torch.float64, requires_grad=True)
    for term in cost.terms:
        value, gradient = term.cost_and_gradient(x, obs)
        (expected,) = torch.autograd.grad(term.cost(x, obs).sum(), x)
        torch.testing.assert_close(gradient, expected, rtol=1e-11, atol=1e-13)
        # The terms are quadratic: twice their homogeneous part is the Gauss-Newton form.
        v = torch.randn_like(x)
        second = term.cost(x + v, obs) + term.cost(x - v, obs) - 2 * value
        torch.testing.assert_close((term.gauss_newton(x, obs, v) * v).flatten(1).sum(1), second)


def test_blocks_are_the_gauss_newton_matrix():
    cost, obs = nonlinear_cost(), observations()
    x = torch.randn(3, *SHAPE, dtype=torch.float64)
    for robust in (False, True):
        if robust:
            cost.terms[0].penalty, cost.terms[1].penalty = SmoothedL1(0.3), SmoothedL1(0.5)
        with torch.no_grad():
            blocks = normal_blocks(cost, x, obs)
            v = torch.randn_like(x)
            by_time = v.movedim(2, 1).flatten(2).unsqueeze(-1)
            product = (blocks.diagonal @ by_time).squeeze(-1)
            product[:, 1:] += (blocks.lower @ by_time[:, :-1]).squeeze(-1)
            product[:, :-1] += (blocks.lower.mT @ by_time[:, 1:]).squeeze(-1)
            expected = cost.gauss_newton(x, obs, v).movedim(2, 1).flatten(2)
        torch.testing.assert_close(product, expected, rtol=1e-11, atol=1e-13)


def test_flow_prior_and_dynamics_term_give_the_same_steps():
    obs, model = observations(), LinearStep(6).double()
    analyses = [
        Assimilator(
            VariationalCost(ObservationTerm(), term).double(), BlockTridiagonalGaussNewton(), n_steps=3
        ).solve(obs)
        for term in (DynamicsTerm(model), PriorTerm(FlowPrior(model)))
    ]
    torch.testing.assert_close(*analyses)


def test_jacobian_of_a_model_step_agrees_with_autograd():
    step = FlowStep(Lorenz96(), 0.05)
    points = torch.randn(2, 1, 3, 5, dtype=torch.float64)
    expected = torch.func.jacrev(lambda x: step(x.view(1, 1, 1, 5)).flatten())(points[1, 0, 2])
    torch.testing.assert_close(step_jacobian(step, points)[1, 2], expected)


def kalman_smoother(matrix, model_var, obs_var, mean, covariance, y, observed):
    """Means and covariances of the textbook filter and Rauch-Tung-Striebel smoother."""
    n, filtered, forecasts = len(mean), [], []
    x, P = mean, covariance
    for t in range(len(y)):
        if t:
            x, P = matrix @ x, matrix @ P @ matrix.T + model_var * torch.eye(n).double()
        forecasts.append((x, P))
        H = torch.eye(n).double()[observed[t]]
        K = P @ H.T @ torch.linalg.inv(H @ P @ H.T + obs_var * torch.eye(len(H)).double())
        x, P = x + K @ (y[t][observed[t]] - H @ x), P - K @ H @ P
        filtered.append((x, P))
    smoothed = [filtered[-1]]
    for t in reversed(range(len(y) - 1)):
        (x, P), (xf, Pf), (xs, Ps) = filtered[t], forecasts[t + 1], smoothed[0]
        G = P @ matrix.T @ torch.linalg.inv(Pf)
        smoothed.insert(0, (x + G @ (xs - xf), P + G @ (Ps - Pf) @ G.T))
    return torch.stack([x for x, _ in smoothed]), torch.stack([P.diagonal() for _, P in smoothed])


def test_one_step_is_the_kalman_smoother_in_physical_units():
    n, n_times, std, mean = 3, 9, [1.7, 0.6, 2.5], [0.5, -1.0, 2.0]
    step = LinearStep(n).double()
    training = torch.randn(40, n, n_times, dtype=torch.float64)
    background = FirstStateTerm([n]).double().fit_(training)
    cost = weak_constraint_cost(
        step, obs_variance=0.3, model_error_variance=0.05, mean=mean, std=std, background=background
    )
    s, m = torch.tensor(std, dtype=torch.float64), torch.tensor(mean, dtype=torch.float64)
    y = torch.randn(n_times, n, dtype=torch.float64)
    observed = torch.rand(n_times, n) < 0.5
    normalised = torch.where(observed, (y - m) / s, torch.nan).T.unsqueeze(0)
    obs = Observations.from_nan(normalised, background=torch.zeros(1, n, n_times).double())
    analysis = Assimilator(cost, BlockTridiagonalGaussNewton(damping=0.0), n_steps=1).solve(obs)
    variance = posterior_variance(cost, analysis, obs)
    flat = training.movedim(2, 1).flatten(0, 1)
    matrix = step.matrix.detach()
    x, P = kalman_smoother(matrix, 0.05, 0.3, flat.mean(0) * s + m, flat.T.cov() * s.outer(s), y, observed)
    torch.testing.assert_close(analysis[0].T * s + m, x, rtol=0, atol=1e-8)
    torch.testing.assert_close(variance[0].T * s**2, P, rtol=1e-7, atol=0)


def test_posterior_variance_is_the_dense_inverse():
    cost, obs = linear_cost(), observations()
    minimiser, hessian = dense_solution(cost, obs)
    expected = torch.linalg.inv(hessian * math.prod(SHAPE) / 2).diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(posterior_variance(cost, minimiser, obs).flatten(1), expected)


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


def without_background(obs: Observations) -> Observations:
    return Observations(obs.values, obs.weights)


def test_a_window_is_solved_alike_in_any_batch(assimilator):
    obs = without_background(observations(5))
    together = assimilator.solve(obs)
    alone = torch.cat([assimilator.solve(obs[[i]]) for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)
    order = [3, 1, 4, 0, 2]
    torch.testing.assert_close(assimilator.solve(obs[order]), together[order], rtol=1e-9, atol=1e-9)


def test_unobserved_values_cannot_leak(assimilator):
    obs = without_background(observations())
    poisoned = obs.values["state"].masked_fill(obs.weights["state"] == 0, 1e6)
    expected = assimilator.solve(obs)
    assert torch.equal(assimilator.solve(Observations({"state": poisoned}, obs.weights)), expected)


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_empty_and_full_masks_give_finite_answers(assimilator, fraction):
    assert torch.isfinite(assimilator.solve(without_background(observations(fraction=fraction)))).all()


def test_a_description_builds_the_same_solver(assimilator):
    again = registry.build(registry.describe(assimilator))
    again.load_state_dict(assimilator.state_dict())
    obs = without_background(observations())
    torch.testing.assert_close(again.double().solve(obs), assimilator.solve(obs))


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
    minima = [Assimilator(cost, solver, n).solve(obs) for solver, n in solvers]
    torch.testing.assert_close(minima[1], minima[2], rtol=0, atol=1e-6)
    torch.testing.assert_close(minima[0], minima[2], rtol=0, atol=1e-6)


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
    state = Assimilator(cost.reweighted({1: 0.1}), BlockTridiagonalGaussNewton(), 2).solve(obs)
    obs.background, first_guess = state, obs.background
    expected = Assimilator(cost, BlockTridiagonalGaussNewton(), 2).solve(obs)
    obs.background = first_guess
    assert torch.equal(Assimilator(cost, annealed, annealed.n_steps).solve(obs), expected)


def test_a_sequence_equals_its_solvers_one_after_the_other():
    cost, other, obs = nonlinear_cost(), nonlinear_cost(), without_background(observations())
    first, second = GradientDescent(1.0), WithCost(other, BlockTridiagonalGaussNewton())
    sequence = Sequential((first, 3), (second, 2))
    half = Assimilator(cost, first, 3).solve(obs)
    after = Observations(obs.values, obs.weights, background=half)
    expected = Assimilator(other, BlockTridiagonalGaussNewton(), 2).solve(after)
    assert torch.equal(Assimilator(cost, sequence, sequence.n_steps).solve(obs), expected)


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


def lorenz63_windows(n: int, n_times: int) -> torch.Tensor:
    """Independent windows on the attractor, ``(n, 3, T)``."""
    state = torch.tensor([0.0, 0.0, 25.0]).double() + 5 * torch.randn(n, 3, dtype=torch.float64)
    state = integrate(Lorenz63(), state, 0.01, 1000)[-1]
    return integrate(Lorenz63(), state, 0.01, n_times - 1).movedim(0, 2)


def lorenz63_problem(n: int = 40) -> tuple[VariationalCost, Observations, torch.Tensor, torch.Tensor]:
    """Cost, observations of every eighth step with noise of variance 2, normalised truth, scale."""
    training = lorenz63_windows(50, 200)
    mean, std = training.mean((0, 2)), training.std((0, 2))
    truth = (lorenz63_windows(n, 200) - mean.view(3, 1)) / std.view(3, 1)
    background = FirstStateTerm([3]).double().fit_((training - mean.view(3, 1)) / std.view(3, 1))
    cost = weak_constraint_cost(
        FlowStep(Lorenz63(), 0.01),
        obs_variance=2.0,
        model_error_variance=1e-4,
        mean=mean.tolist(),
        std=std.tolist(),
        background=background,
    )
    values = truth + 2**0.5 * torch.randn_like(truth) / std.view(3, 1)
    values[:, :, torch.arange(200) % 8 != 0] = torch.nan
    return cost, Observations.from_nan(values), truth, std


def test_lorenz63_reaches_the_noise_and_knows_its_own_error():
    cost, obs, truth, std = lorenz63_problem()
    analysis = Assimilator(cost, BlockTridiagonalGaussNewton(), n_steps=15).solve(obs)
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


def test_single_precision_comes_close_to_double():
    cost, obs, truth, _ = lorenz63_problem(10)
    solver = BlockTridiagonalGaussNewton()
    double = Assimilator(cost, solver, 15).solve(obs)
    single = Assimilator(cost, solver, 15).solve(obs.to(torch.float32))
    assert single.dtype == torch.float32
    assert (single - double).square().mean() < 0.01 * (double - truth).square().mean()


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
    assert torch.equal(started.solve(obs), again)
    with pytest.raises(ValueError, match="no background was given"):
        with_guess(guess, obs)


def test_half_precision_around_it_changes_nothing():
    cost, obs, _, _ = lorenz63_problem(2)
    cost, obs = cost.float(), obs.to(torch.float32)
    assimilator = Assimilator(cost, BlockTridiagonalGaussNewton(), 3)
    expected = assimilator.solve(obs)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(assimilator.solve(obs), expected)


def stationary_windows(n: int, n_times: int = 12) -> torch.Tensor:
    """Two coupled autoregressive series ``(n, 2, T)`` around (1, 0)."""
    matrix = torch.tensor([[0.9, 0.2], [-0.2, 0.8]]).double()
    state, states = torch.zeros(n, 2, dtype=torch.float64), []
    for _ in range(60 + n_times):
        state = state @ matrix.T + 0.3 * torch.randn_like(state)
        states.append(state)
    return torch.stack(states[60:], dim=2) + torch.tensor([1.0, 0.0]).double().view(2, 1)


def test_the_climatological_start_is_dense_optimal_interpolation():
    training = stationary_windows(4000)
    start = ClimatologicalStart([2, 12], variances=[0.1, 0.3]).double().fit_(training)
    truth = stationary_windows(3)
    noise = torch.tensor([0.1, 0.3]).double().view(2, 1)
    values = truth + noise.sqrt() * torch.randn_like(truth)
    values[torch.rand(3, 2, 12) < 0.5] = torch.nan
    guess = start(Observations.from_nan(values))
    # Every lag from the stored covariances, written out in full.
    lags = start.covariances
    full = torch.stack(
        [torch.cat([lags[t - s] if t >= s else lags[s - t].T for s in range(12)], dim=1) for t in range(12)]
    ).flatten(0, 1)
    assert torch.linalg.eigvalsh(full).min() > -1e-10
    for window in range(3):
        y = values[window].T.flatten()
        seen = torch.isfinite(y)
        R = torch.tensor([0.1, 0.3]).double().repeat(12)[seen].diag()
        gain = full[:, seen] @ torch.linalg.inv(full[seen][:, seen] + R)
        mean = start.mean.repeat(12)
        expected = mean + gain @ (y - mean)[seen]
        torch.testing.assert_close(guess[window].T.flatten(), expected)


def test_covariances_from_few_windows_fit_together():
    lags = lag_covariances(torch.randn(2, 12, 3, dtype=torch.float64))
    full = torch.cat(
        [torch.cat([lags[t - s] if t >= s else lags[s - t].T for s in range(12)], dim=1) for t in range(12)]
    )
    assert torch.linalg.eigvalsh(full).min() > -1e-10


def test_estimated_covariances_are_those_of_the_process():
    training = stationary_windows(4000)
    anomalies = (training - training.mean((0, 2)).view(2, 1)).movedim(2, 1)
    sample = anomalies.flatten(1).T.cov().view(12, 2, 12, 2)
    lags = lag_covariances(anomalies)
    for lag in range(4):
        torch.testing.assert_close(lags[lag], sample[lag + 2, :, 2], rtol=0, atol=0.05)


def test_the_climatological_start_takes_any_mask_and_shorter_windows():
    start = ClimatologicalStart([2, 12], variances=[0.1, 0.3]).double().fit_(stationary_windows(200))
    values = stationary_windows(4)[:, :, :8]
    values[0] = torch.nan
    values[1, :, 1:] = torch.nan
    obs = Observations.from_nan(values)
    guess = start(obs)
    torch.testing.assert_close(guess[0], start.mean.view(2, 1).expand(2, 8))
    alone = torch.cat([start(obs[[i]]) for i in range(4)])
    torch.testing.assert_close(guess, alone, rtol=1e-12, atol=1e-12)
    halved = Observations(obs.values, {"state": obs.weights["state"] * 0.5})
    coarse = ClimatologicalStart([2, 12], variances=[0.2, 0.6]).double()
    coarse.load_state_dict(start.state_dict())
    torch.testing.assert_close(start(halved), coarse(obs))


def test_clear_errors():
    obs = observations()
    x = obs.background
    with pytest.raises(ConfigError, match="use GaussNewton"):
        normal_blocks(VariationalCost(ObservationTerm()), x, obs)
    coarse = VariationalCost(ObservationTerm(BlockAverage([1, 3])), DynamicsTerm(LinearStep(6)))
    with pytest.raises(ConfigError, match="ObservationTerm as it stands.*use GaussNewton"):
        normal_blocks(coarse.double(), x, obs)
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
