"""The variational core against closed forms, dense algebra and its own invariances."""

from functools import partial

import pytest
import torch

from oceanvar.errors import ConfigError
from oceanvar.maps import AbstractMap, Chain, Conv, Identity, SiLU
from oceanvar.variational import (
    LBFGS,
    Assimilator,
    BackgroundTerm,
    BlockAverage,
    ConjugateGradients,
    DynamicsTerm,
    FirstStateTerm,
    FixedPoint,
    FlowPrior,
    GradientDescent,
    LearnedStart,
    LSTMSolver,
    Observations,
    ObservationTerm,
    PriorTerm,
    SamplingDesign,
    SmoothedL1,
    Squared,
    Unroll,
    VariationalCost,
    health,
    two_scale_prior,
    unet,
)
from oceanvar.variational.starts import interpolated
from oceanvar.variational.starts.interpolated import _gathered, _swept, interpolate_in_time

SHAPE = (2, 6, 4)  # variables, times, sites


class LinearMap(AbstractMap):
    """A dense linear map on flattened states, without a hand-written adjoint."""

    def __init__(self, n: int):
        super().__init__()
        self.matrix = torch.nn.Parameter(torch.randn(n, n) / n**0.5)

    def forward(self, x):
        return (x.flatten(1) @ self.matrix.T).view_as(x)


def observations(n: int = 3, fraction: float = 0.5, dtype=torch.float64, shape=SHAPE) -> Observations:
    values = torch.randn(n, *shape, dtype=dtype)
    values[torch.rand(n, *shape) > fraction] = torch.nan
    return Observations.from_nan(values, background=torch.randn(n, *shape, dtype=dtype))


def step() -> AbstractMap:
    return Chain(Conv(2, 2, [1, 3], [False, True]), SiLU())


TERMS = {
    "obs": lambda: ObservationTerm(weight=0.7),
    "obs_robust": lambda: ObservationTerm(penalty=SmoothedL1(0.3)),
    "prior": lambda: PriorTerm(two_scale_prior(2, 3, [3, 3], [2, 2]), weight=2.0),
    "prior_robust": lambda: PriorTerm(unet(2, 2, (3, 4), [3, 3]), penalty=SmoothedL1(0.3)),
    "prior_fallback": lambda: PriorTerm(LinearMap(48)),
    "dynamics": lambda: DynamicsTerm(step(), weight=3.0),
    "background": lambda: BackgroundTerm(Conv(2, 2, [3, 3])),
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(1)


@pytest.mark.parametrize("name", TERMS)
def test_gradient_and_gauss_newton_product_of_each_term(name):
    term = TERMS[name]().double()
    obs = observations()
    x = torch.randn(3, *SHAPE, dtype=torch.float64, requires_grad=True)
    point = term.at(x, obs)
    (expected,) = torch.autograd.grad(term.cost(x, obs).sum(), x)
    torch.testing.assert_close(point.value, term.cost(x, obs))
    torch.testing.assert_close(point.gradient, expected, rtol=1e-12, atol=1e-14)
    # J^T W J v, with J and its transpose by automatic differentiation.
    residual = partial(term.residual, obs=obs)
    for v in (torch.randn_like(x), torch.randn_like(x)):
        value, pushed = torch.func.jvp(residual, (x,), (v,))
        curved = term.scaled(term.penalty.curvature(value) * pushed, x, obs)
        (product,) = torch.func.vjp(residual, x)[1](curved)
        torch.testing.assert_close(point.product(v), product, rtol=1e-11, atol=1e-13)
        assert (point.product(v) * v).sum() >= 0
    torch.testing.assert_close(point.curvatures, term.scaled(term.penalty.curvature(value), x, obs))


@pytest.mark.parametrize("penalty", [Squared(), SmoothedL1(0.2)])
def test_penalty_derivatives(penalty):
    r = torch.linspace(-2, 2, 41, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(penalty.value(r).sum(), r, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), r)
    torch.testing.assert_close(penalty.derivative(r), first)
    torch.testing.assert_close(penalty.curvature(r), second)
    assert penalty.value(torch.zeros(1)) == 0


def test_cost_is_the_formula_written_out():
    obs = observations(1)
    x = torch.randn(1, *SHAPE, dtype=torch.float64)
    prior = LinearMap(48).double()
    cost = VariationalCost(ObservationTerm(weight=0.3), PriorTerm(prior, weight=1.7))
    by_hand = 0.0
    for p in range(48):
        if obs.weights["state"].flatten()[p]:
            by_hand += 0.3 * (x.flatten()[p] - obs.values["state"].flatten()[p]).item() ** 2
        by_hand += 1.7 * (x - prior(x)).flatten()[p].item() ** 2
    assert cost(x, obs).item() == pytest.approx(by_hand / 48)


def quadratic_problem() -> tuple[VariationalCost, Observations, torch.Tensor]:
    """A linear-Gaussian cost and its minimiser from the dense normal equations."""
    obs = observations()
    cost = VariationalCost(
        ObservationTerm(BlockAverage([2, 2]), name="coarse", weight=1.5),
        ObservationTerm(weight=0.8),
        PriorTerm(LinearMap(48), weight=0.4),
    ).double()
    coarse = torch.randn(3, 2, 3, 2, dtype=torch.float64)
    obs = Observations(
        values={**obs.values, "coarse": coarse},
        weights={**obs.weights, "coarse": torch.rand_like(coarse)},
    )
    eye = torch.eye(48, dtype=torch.float64).view(48, 1, *SHAPE)
    zero = torch.zeros(3, *SHAPE, dtype=torch.float64)
    with torch.no_grad():
        columns = [cost.at(zero, obs).product(e.expand(3, *SHAPE)).flatten(1) for e in eye]
        hessian = torch.stack(columns, dim=2)
        minimiser = torch.linalg.solve(hessian, -cost.gradient(zero, obs).flatten(1))
    return cost, obs, minimiser.view(3, *SHAPE)


def test_linear_gaussian_solvers_reach_the_dense_solution():
    cost, obs, expected = quadratic_problem()
    by_cg = Assimilator(cost, ConjugateGradients(), n_steps=150).solve(obs).state
    by_descent = Assimilator(cost, GradientDescent(step_size=8.0), n_steps=20_000).solve(obs).state
    torch.testing.assert_close(by_cg, expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(by_descent, expected, rtol=0, atol=1e-8)


def test_the_dense_solution_is_the_minimum():
    cost, obs, minimiser = quadratic_problem()
    lowest = cost(minimiser, obs)
    for scale in (1e-3, 1e-1):
        assert (cost(minimiser + scale * torch.randn_like(minimiser), obs) > lowest).all()


def test_fixed_point_keeps_observations_and_projects_the_rest():
    obs = observations()
    prior = LinearMap(48).double()
    x = torch.randn(3, *SHAPE, dtype=torch.float64)
    moved, _ = FixedPoint().step(VariationalCost(PriorTerm(prior)), obs, x, None)
    observed = obs.weights["state"] > 0
    assert torch.equal(moved[observed], obs.values["state"][observed])
    assert torch.equal(moved[~observed], prior(x)[~observed])


def test_dynamics_term_equals_prior_term_of_the_same_flow():
    model, obs = step().double(), observations()
    x = torch.randn(3, *SHAPE, dtype=torch.float64)
    as_dynamics = DynamicsTerm(model).double().at(x, obs)
    as_prior = PriorTerm(FlowPrior(model)).double().at(x, obs)
    torch.testing.assert_close(as_dynamics.value, as_prior.value)
    torch.testing.assert_close(as_dynamics.gradient, as_prior.gradient)


def learned(n_steps: int = 4, unroll: Unroll | None = None, start=None) -> Assimilator:
    cost = VariationalCost(ObservationTerm(), PriorTerm(two_scale_prior(2, 3, [3, 3], [2, 2], [False, True])))
    solver = LSTMSolver(2, 5, [3, 3], [False, True])
    return Assimilator(cost, solver, n_steps, start=start, unroll=unroll)


ASSIMILATORS = {
    "lstm": learned,
    "lstm_folded": lambda: Assimilator(
        VariationalCost(ObservationTerm(), PriorTerm(two_scale_prior(2, 3, [3], [2], n_times_folded=6))),
        LSTMSolver(12, 4, [3], fold_time=True),
        3,
    ),
    "learned_start": lambda: learned(start=LearnedStart(unet(6, 2, (4, 5), [3, 3]))),
    "residual_start": lambda: learned(start=LearnedStart(unet(6, 2, (4, 5), [3, 3]), residual=True)),
    "descent": lambda: Assimilator(
        VariationalCost(ObservationTerm(), PriorTerm(unet(2, 2, (3, 4), [3, 3]))), GradientDescent(1.0), 5
    ),
    "fixed_point": lambda: Assimilator(VariationalCost(PriorTerm(LinearMap(48))), FixedPoint(), 3),
    "cg": lambda: Assimilator(
        VariationalCost(ObservationTerm(), PriorTerm(LinearMap(48))), ConjugateGradients(), 12
    ),
}


@pytest.fixture(params=ASSIMILATORS)
def assimilator(request) -> Assimilator:
    return ASSIMILATORS[request.param]().double()


def without_background(obs: Observations) -> Observations:
    return Observations(obs.values, obs.weights)


def test_a_window_is_solved_alike_in_any_batch(assimilator):
    obs = without_background(observations(5))
    together = assimilator.solve(obs).state
    alone = torch.cat([assimilator.solve(obs[[i]]).state for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=1e-11, atol=1e-11)
    order = [3, 1, 4, 0, 2]
    torch.testing.assert_close(assimilator.solve(obs[order]).state, together[order], rtol=1e-11, atol=1e-11)


def test_unobserved_values_cannot_leak(assimilator):
    obs = without_background(observations())
    expected = assimilator.solve(obs).state
    poisoned = obs.values["state"].masked_fill(obs.weights["state"] == 0, 1e6)
    assert torch.equal(assimilator.solve(Observations({"state": poisoned}, obs.weights)).state, expected)


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_empty_and_full_masks_give_finite_answers(assimilator, fraction):
    analysis = assimilator.solve(without_background(observations(fraction=fraction))).state
    assert torch.isfinite(analysis).all()


def test_a_solve_leaves_no_trace(assimilator):
    obs = without_background(observations())
    before = obs.values["state"].clone()
    first = assimilator.solve(obs).state
    assert torch.equal(assimilator.solve(obs).state, first)
    assert torch.equal(obs.values["state"], before)
    assert not first.requires_grad


def test_solve_works_inside_no_grad_and_inference_mode(assimilator):
    obs = without_background(observations())
    expected = assimilator.solve(obs).state
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            torch.testing.assert_close(assimilator.solve(obs).state, expected)


def parameter_gradients(assimilator: Assimilator, obs: Observations) -> torch.Tensor:
    assimilator.zero_grad()
    assimilator(obs).square().mean().backward()
    return torch.cat([p.grad.flatten() for p in assimilator.parameters() if p.grad is not None])


def test_checkpointing_changes_memory_not_gradients():
    obs = without_background(observations())
    assimilator = learned(5).double()
    expected = parameter_gradients(assimilator, obs)
    for every in (1, 2, 7):
        assimilator.unroll = Unroll(checkpoint_every=every)
        torch.testing.assert_close(parameter_gradients(assimilator, obs), expected, rtol=1e-10, atol=1e-14)


def test_unrolled_gradient_agrees_with_finite_differences():
    obs = without_background(observations())
    assimilator = learned(3).double()
    weight = assimilator.solver.gates.weight
    parameter_gradients(assimilator, obs)
    direction = torch.randn_like(weight)
    slope = (weight.grad * direction).sum().item()

    def loss(h: float) -> float:
        with torch.no_grad():
            weight.add_(h * direction)
            value = assimilator(obs).square().mean().item()
            weight.sub_(h * direction)
        return value

    assert (loss(1e-5) - loss(-1e-5)) / 2e-5 == pytest.approx(slope, rel=1e-6)


def test_truncated_unrolling_has_the_same_value_and_the_last_gradient():
    obs = without_background(observations())
    assimilator = learned(4).double()
    value = assimilator(obs)
    assimilator.unroll = Unroll(last=4)
    assert torch.equal(assimilator(obs), value)
    full = parameter_gradients(assimilator, obs)
    assimilator.unroll = Unroll(last=1)
    assert torch.equal(assimilator(obs), value)
    short = parameter_gradients(assimilator, obs)
    assert 0 < torch.nn.functional.cosine_similarity(full, short, dim=0) < 1


def test_background_replaces_the_start():
    obs = observations()
    assert torch.equal(learned(0).double().solve(obs).state, obs.background)


def test_interpolation_in_time():
    values = torch.tensor([[0.0, 2.0, 0.0, 0.0, 8.0, 0.0], [0.0] * 6, [0.0, 0.0, 5.0, 0.0, 0.0, 0.0]])
    observed = values > 0
    expected = torch.tensor([[2.0, 2.0, 4.0, 6.0, 8.0, 8.0], [0.0] * 6, [5.0] * 6])
    result = interpolate_in_time(values.view(1, 3, 6), observed.view(1, 3, 6))
    torch.testing.assert_close(result, expected.view(1, 3, 6))


@pytest.mark.parametrize("shape", [(3, 2, 7, 5), (2, 1, 1, 4), (1, 1, 200, 3), (2, 1, 9, 40, 50)])
def test_interpolation_by_sweeps_is_that_by_gathers(shape):
    generator = torch.Generator().manual_seed(0)
    observed = torch.rand(shape, generator=generator) < 0.2
    values = torch.randn(shape, dtype=torch.float64, generator=generator, requires_grad=True)
    results = [one(values, observed) for one in (_swept, _gathered)]
    # The gathers' shares are quotients of whole numbers, which torch gives in single precision.
    torch.testing.assert_close(*results, rtol=0, atol=1e-6)
    cotangent = torch.randn(shape, dtype=torch.float64, generator=generator)
    gradients = [torch.autograd.grad(each, values, cotangent)[0] for each in results]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-5)


def test_interpolation_takes_the_same_way_in_any_batch(monkeypatch):
    taken = []
    monkeypatch.setattr(interpolated, "_swept", lambda values, _: taken.append(tuple(values.shape)))
    for shape in [
        (1, 1, 3, 40, 25),
        (1, 1, 3, 40, 24),
        (9, 1, 3, 40, 24),
        (9, 1, 3, 40, 25),
        (0, 1, 3, 40, 25),
    ]:
        interpolate_in_time(torch.zeros(shape), torch.ones(shape, dtype=torch.bool))
    assert taken == [(1, 1, 3, 40, 25), (9, 1, 3, 40, 25)]


def test_window_length_may_change_when_time_is_a_convolution_axis():
    assimilator = learned().double()
    for n_times in (6, 9):
        obs = without_background(observations(shape=(2, n_times, 4)))
        assert assimilator.solve(obs).state.shape == (3, 2, n_times, 4)


def test_lstm_with_time_as_a_convolution_axis_of_maps():
    """Three convolution axes: batch invariance, and any length of the window."""
    torch.manual_seed(2)
    prior = two_scale_prior(1, 3, [3, 3, 3], [1, 2, 2], [False, False, True])
    cost = VariationalCost(ObservationTerm(), PriorTerm(prior))
    assimilator = Assimilator(cost, LSTMSolver(1, 4, [3, 3, 3], [False, False, True]), 3).double()
    for n_times in (4, 7):
        obs = without_background(observations(shape=(1, n_times, 5, 6)))
        together = assimilator.solve(obs).state
        alone = torch.cat([assimilator.solve(obs[[i]]).state for i in range(3)])
        torch.testing.assert_close(together, alone, rtol=1e-11, atol=1e-11)
        rolled = Observations.from_nan(
            torch.where(obs.weights["state"] > 0, obs.values["state"], torch.nan).roll(2, -1)
        )
        torch.testing.assert_close(
            assimilator.solve(rolled).state, together.roll(2, -1), rtol=1e-10, atol=1e-10
        )


def test_clear_errors():
    with pytest.raises(ValueError, match="no background was given"):
        BackgroundTerm().cost(torch.zeros(1, 1, 2), Observations({}, {}))
    with pytest.raises(ValueError, match="do not tile"):
        BlockAverage([2, 2])(torch.zeros(1, 1, 5, 4))
    with pytest.raises(ValueError, match="must be positive"):
        ObservationTerm(weight=0.0)
    with pytest.raises(ValueError, match="exactly one prior term"):
        _ = VariationalCost(ObservationTerm(Identity())).prior


def test_variances_and_choices_are_arguments_and_no_weights():
    term = ObservationTerm(variances=[0.5])
    assert set(term.state_dict()) == {"log_weight"}
    sampling = SamplingDesign(Identity(), ["z"], share=0.5)
    whole = Assimilator(VariationalCost(term), GradientDescent(0.1), 1, sampling=sampling)
    assert whole.sampling is sampling


def test_the_fewest_numbers_that_do():
    assert LBFGS(history=1, n_trials=1, tolerance=0.0).history == 1
    with pytest.raises(ConfigError):
        LBFGS(history=0)
    term = FirstStateTerm([2])
    states = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).view(3, 2, 1)
    assert term.fit_(states).mean.tolist() == pytest.approx([1 / 3, 1 / 3])
    with pytest.raises(ConfigError, match="2 states are too few"):
        term.fit_(states[:2])
    FirstStateTerm([2]).fit_(states[:2] + torch.tensor([[[0.0], [0.0]], [[0.0], [1.0]]]), diagonal=True)
    with pytest.raises(ConfigError, match="1 states are too few"):
        term.fit_(states[:1], diagonal=True)


def test_a_window_without_observations_has_a_health():
    cost = VariationalCost(ObservationTerm(), BackgroundTerm())
    obs = Observations.from_nan(torch.full((1, 1, 4), torch.nan), background=torch.ones(1, 1, 4))
    assert float(health(cost, torch.zeros(1, 1, 4), obs)) == pytest.approx(4.0), "2 J itself"
