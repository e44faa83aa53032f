"""Derivatives of where a solve ends: against converged iterations and finite differences."""

import warnings

import pytest
import torch

from oceanvar.errors import ConfigError, ConvergenceWarning
from oceanvar.maps import AbstractMap, Dense, Gradient, Shaped
from oceanvar.variational import (
    LBFGS,
    Anderson,
    Assimilator,
    ClimateMean,
    ConjugateGradients,
    Denoiser,
    GenerativeTerm,
    GradientDescent,
    Grouped,
    ImplicitFixedPoint,
    ImplicitMinimum,
    LSTMSolver,
    MapTerm,
    Observations,
    ObservationTerm,
    PriorTerm,
    ProximalGradient,
    SmoothedL1,
    VariationalCost,
)

SHAPE = (1, 1, 5, 6)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(6)


def smoothed_variation() -> VariationalCost:
    """The lower level of Ehrhardt and Roberts (2021): weights of total variation and of |x|^2, and the smoothing."""
    variation = MapTerm(Gradient([1, 2]), 0.5, Grouped(SmoothedL1(0.2, trainable=True)))
    return VariationalCost(ObservationTerm(), variation, MapTerm(Gradient([1, 2]), weight=0.05)).double()


def problem(n: int = 2) -> tuple[Observations, torch.Tensor]:
    truth = torch.randn(n, *SHAPE, dtype=torch.float64)
    obs = truth + 0.3 * torch.randn_like(truth)
    obs[torch.rand_like(obs) < 0.3] = torch.nan
    return Observations.from_nan(obs), truth


def derivatives(cost, unroll, solver, n_steps, obs, truth) -> torch.Tensor:
    for parameter in cost.parameters():
        parameter.grad = None
    analysis = Assimilator(cost, solver, n_steps, ClimateMean(), unroll)(obs)
    (analysis - truth).square().sum().backward()
    return torch.stack([parameter.grad.clone() for parameter in cost.parameters()])


def test_the_derivative_of_a_minimum_is_that_of_finite_differences():
    cost, (obs, truth) = smoothed_variation(), problem()
    found = derivatives(cost, ImplicitMinimum(tolerance=1e-10), LBFGS(tolerance=0), 300, obs, truth)

    def loss() -> float:
        analysis = Assimilator(cost, LBFGS(tolerance=0), 300, ClimateMean()).solve(obs).state
        return float((analysis - truth).square().sum())

    for parameter, expected in zip(cost.parameters(), found, strict=True):
        step, sides = 1e-4, []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * step
                sides.append(loss())
                parameter -= sign * step
        difference = (sides[0] - sides[1]) / (2 * step)
        assert float(expected) == pytest.approx(difference, rel=1e-5)


def test_it_is_that_of_iterations_that_have_converged():
    cost, (obs, truth) = smoothed_variation(), problem()
    implicit = derivatives(cost, ImplicitMinimum(tolerance=1e-10), LBFGS(tolerance=0), 300, obs, truth)
    errors = [
        float((derivatives(cost, None, GradientDescent(), n, obs, truth) - implicit).norm() / implicit.norm())
        for n in (10, 100, 1000)
    ]
    assert errors[0] > 0.05
    assert errors[0] > 5 * errors[1]
    assert errors[2] < 0.005


def test_observations_get_their_derivative_too():
    """Of a linear problem it is the gain: dx = K dy."""
    cost, (obs, _) = (
        VariationalCost(ObservationTerm(), MapTerm(Gradient([1, 2]), weight=0.3)).double(),
        problem(1),
    )
    values = obs.values["state"].clone().requires_grad_()
    given = Observations({"state": values}, obs.weights)
    direction = torch.randn_like(values)
    analysis = Assimilator(cost, ConjugateGradients(), 60, ClimateMean(), ImplicitMinimum(tolerance=1e-12))(
        given
    )
    (found,) = torch.autograd.grad(analysis, values, direction)
    n = values.numel()
    eye = torch.eye(n, dtype=torch.float64).view(n, *SHAPE).unsqueeze(1)
    hessian = torch.stack([cost.at(analysis.detach(), obs).product(e).flatten() for e in eye])
    expected = torch.linalg.solve(hessian, direction.flatten()) * 2 / n * obs.weights["state"].flatten()
    torch.testing.assert_close(found.flatten(), expected.detach())


class Shrinking(AbstractMap):
    """A contraction with parameters: tanh of a convolution with the neighbours."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([0.5, 0.2], dtype=torch.float64))

    def forward(self, x):
        return torch.tanh(self.weight[0] * x + self.weight[1] * x.roll(1, -1))


def test_a_fixed_point_has_the_derivative_of_iterations_that_have_converged():
    obs, truth = problem()
    cost = VariationalCost(ObservationTerm()).double()
    results = []
    for unroll, solver in (
        (None, ProximalGradient(Denoiser(Shrinking()), accelerated=False)),
        (ImplicitFixedPoint(tolerance=1e-10), ProximalGradient(Denoiser(Shrinking()), accelerated=False)),
        (
            ImplicitFixedPoint(tolerance=1e-10),
            Anderson(ProximalGradient(Denoiser(Shrinking()), accelerated=False)),
        ),
    ):
        analysis = Assimilator(cost, solver, 150 if unroll is None else 80, ClimateMean(), unroll)(obs)
        cost.zero_grad()
        (analysis - truth).square().sum().backward()
        parameters = [*cost.parameters(), *solver.parameters()]
        results.append(torch.cat([parameter.grad.flatten() for parameter in parameters]))
    torch.testing.assert_close(results[1], results[0], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(results[2], results[0], rtol=1e-6, atol=1e-9)


def test_memory_does_not_grow_with_the_iterations():
    """What the graph keeps, counted by what autograd saves."""
    obs, _ = problem()
    cost, solver = (
        VariationalCost(ObservationTerm()).double(),
        ProximalGradient(Denoiser(Shrinking()), accelerated=False),
    )

    def saved(unroll, n_steps: int) -> int:
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
            Assimilator(cost, solver, n_steps, ClimateMean(), unroll)(obs)
        return sum(sizes)

    assert saved(ImplicitFixedPoint(), 40) == saved(ImplicitFixedPoint(), 5)
    assert saved(None, 40) > 5 * saved(None, 5)


def test_what_cannot_be_differentiated_is_told():
    obs, truth = problem()
    cost = smoothed_variation()
    with pytest.raises(ConfigError, match=r"LSTMSolver does not end where the gradient of the cost is 0"):
        Assimilator(cost, LSTMSolver(1, 2, [3] * 3), 2, ClimateMean(), ImplicitMinimum())(obs)
    with pytest.raises(ConfigError, match=r"LBFGS depends on the steps before it"):
        Assimilator(cost, LBFGS(), 2, ClimateMean(), ImplicitFixedPoint())(obs)
    with pytest.warns(
        ConvergenceWarning, match=r"after 1 conjugate gradients the equation .* met to \d+% only"
    ):
        derivatives(cost, ImplicitMinimum(n_inner=1), LBFGS(), 50, obs, truth)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        # Nothing is observed, nothing pulls: the derivative is 0 and there is nothing to warn of.
        unseen = Observations.from_nan(torch.full_like(truth, torch.nan))
        prior = VariationalCost(ObservationTerm(), PriorTerm(Shrinking())).double()
        Assimilator(prior, LBFGS(), 5, ClimateMean(), ImplicitMinimum())(unseen).sum().backward()


def test_a_minimum_without_a_derivative_is_told():
    obs, _ = problem()
    flat = VariationalCost(ObservationTerm()).double()
    assimilator = Assimilator(flat, LBFGS(), 30, unroll=ImplicitMinimum())
    with pytest.raises(ConfigError, match="second derivatives of the cost are 0 somewhere"):
        assimilator(obs).sum().backward()
    inner = VariationalCost(ObservationTerm(), GenerativeTerm(Shaped(Dense(2, 30), SHAPE), [2])).double()
    with pytest.raises(ConfigError, match="GenerativeTerm minimises inside"):
        Assimilator(inner, LBFGS(), 2, ClimateMean(), ImplicitMinimum())(obs)
