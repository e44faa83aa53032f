"""Terms without residuals: energies, denoisers, counts."""

import pytest
import torch

from oceanvar.errors import ConfigError
from oceanvar.maps import AbstractMap
from oceanvar.variational import (
    LBFGS,
    Assimilator,
    ClimateMean,
    ConjugateGradients,
    CountTerm,
    DenoisingTerm,
    EnergyTerm,
    GaussNewton,
    GradientDescent,
    Observations,
    ObservationTerm,
    VariationalCost,
)
from tests.variational.problems import observations


class Quadratic(AbstractMap):
    """x^T A x / 2 of each window."""

    def __init__(self, n: int):
        super().__init__()
        root = torch.randn(n, n, dtype=torch.float64)
        self.matrix = root @ root.T / n

    def forward(self, x):
        flat = x.flatten(1)
        return ((flat @ self.matrix) * flat).sum(1) / 2


class Smoother(AbstractMap):
    """A linear denoiser, with a symmetric matrix or not."""

    def __init__(self, n: int, symmetric: bool):
        super().__init__()
        matrix = torch.randn(n, n, dtype=torch.float64) / n
        self.matrix = matrix + matrix.T if symmetric else matrix

    def forward(self, x):
        return (x.flatten(1) @ self.matrix.T).view_as(x)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(2)


def test_a_quadratic_energy_is_solved_as_the_dense_system():
    obs = observations()
    n = obs.values["state"][0].numel()
    energy = Quadratic(n)
    cost = VariationalCost(ObservationTerm(weight=2.0), EnergyTerm(energy, weight=0.7)).double()
    weights, seen = (each["state"].flatten(1) for each in (obs.weights, obs.values))
    expected = torch.stack(
        [
            torch.linalg.solve(4.0 * w.diag() + 0.7 * energy.matrix, 4.0 * w * y)
            for w, y in zip(weights, seen, strict=True)
        ]
    )
    for solver, n_steps in ((LBFGS(tolerance=1e-15), 200), (ConjugateGradients(), 2 * n)):
        found = Assimilator(cost, solver, n_steps, ClimateMean()).solve(obs).state
        torch.testing.assert_close(found.flatten(1), expected, rtol=1e-5, atol=1e-6)


def test_derivatives_and_second_derivatives_are_exact():
    obs, terms = observations(), [EnergyTerm(Quadratic(42)), DenoisingTerm(Smoother(42, symmetric=False))]
    x, v = (torch.randn_like(obs.values["state"]) for _ in range(2))
    for term in terms:
        term.double()
        point = term.at(x, obs)
        step = 1e-4
        slope = (term.cost(x + step * v, obs) - term.cost(x - step * v, obs)) / (2 * step)
        torch.testing.assert_close((point.gradient * v).flatten(1).sum(1), slope, rtol=1e-6, atol=1e-8)
        second = term.cost(x + v, obs) + term.cost(x - v, obs) - 2 * point.value
        torch.testing.assert_close((point.product(v) * v).flatten(1).sum(1), second)
        with torch.no_grad():
            assert not term.at(x, obs).product(v).requires_grad


def test_regularisation_by_denoising_has_its_usual_gradient_for_symmetric_denoisers_only():
    obs = observations()
    x = torch.randn_like(obs.values["state"])
    for symmetric in (True, False):
        denoiser = Smoother(42, symmetric)
        gradient = DenoisingTerm(denoiser).double().at(x, obs).gradient
        usual = 2 * (x - denoiser(x)) / 42
        assert torch.allclose(gradient, usual) == symmetric


def test_counts_are_fitted_where_their_divergence_is_zero():
    counts = torch.tensor([[3.0, 0.0, 7.0, 1.0]], dtype=torch.float64).view(1, 1, 4)
    obs = Observations.from_nan(counts)
    term = CountTerm(weight=2.0).double()
    point = term.at(counts.clamp(min=1e-3), obs)
    torch.testing.assert_close(point.value, torch.tensor([2 * 1e-3 / 4], dtype=torch.float64))
    # d/dh of h - y + y log(y / h) is 1 - y / h.
    doubled = term.at(2 * counts + 1, obs).gradient.flatten()
    expected = 2 / 4 * (1 - counts / (2 * counts + 1)).flatten()
    torch.testing.assert_close(doubled, expected)
    cost = VariationalCost(term)
    found = Assimilator(cost, LBFGS(tolerance=1e-14), 100).improve(torch.full_like(counts, 2.0), obs)
    torch.testing.assert_close(found.clamp(min=1e-3), counts.clamp(min=1e-3), atol=0.01, rtol=1e-3)


def test_training_reaches_the_weight_and_the_energy():
    obs = observations()
    term = DenoisingTerm(Smoother(42, symmetric=True))
    term.denoiser.matrix = torch.nn.Parameter(term.denoiser.matrix)
    cost = VariationalCost(ObservationTerm(), term).double()
    Assimilator(cost, LBFGS(), 3).improve(torch.zeros_like(obs.values["state"]), obs).sum().backward()
    assert term.log_weight.grad.abs() > 0
    assert term.denoiser.matrix.grad.abs().sum() > 0


def test_clear_errors():
    obs = observations()
    state = torch.zeros_like(obs.values["state"])
    cost = VariationalCost(ObservationTerm(), EnergyTerm(Quadratic(42))).double()
    with pytest.raises(ConfigError, match=r"EnergyTerm is no sum over residuals.*use LBFGS"):
        Assimilator(cost, GaussNewton(), 2).improve(state, obs)
    with pytest.raises(ConfigError, match="no sum over residuals"):
        cost.at(state, obs).blocks()
    with pytest.raises(
        ConfigError, match=r"shape \(3, 2, 7, 3\): it must be one number for each of 3 windows"
    ):
        EnergyTerm(Smoother(42, symmetric=True)).cost(state, obs)
    with pytest.raises(ConfigError, match="weight of a term must be positive"):
        EnergyTerm(Quadratic(2), weight=0.0)


def test_counts_draw_a_state_back_from_below_the_floor():
    counts = torch.tensor([[3.0, 7.0, 1.0]], dtype=torch.float64).view(1, 1, 3)
    cost = VariationalCost(CountTerm()).double()
    found = Assimilator(cost, LBFGS(tolerance=1e-14), 200).improve(
        torch.zeros_like(counts), Observations.from_nan(counts)
    )
    torch.testing.assert_close(found, counts, atol=0.01, rtol=1e-3)
    with pytest.raises(ConfigError, match=r"not negative, and the smallest of 'state' is -7"):
        Assimilator(cost, LBFGS(), 2).improve(counts, Observations.from_nan(-counts))


class Hill(AbstractMap):
    """Curves down at 0 and up far away."""

    def forward(self, x):
        x = x.flatten(1)
        return (x**4 - 3 * x**2).sum(1)


def test_default_steps_move_where_an_energy_curves_down():
    obs = observations(2)
    cost = VariationalCost(ObservationTerm(weight=0.01), EnergyTerm(Hill())).double()
    start = torch.full_like(obs.values["state"], 0.1)
    found = Assimilator(cost, GradientDescent(), 30).improve(start, obs)
    assert (cost(found, obs) < cost(start, obs)).all()
    assert float(found.detach().abs().mean()) > 0.5
