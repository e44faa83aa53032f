"""Generators as priors, and energies that are learned."""

import pytest
import torch

from oceanvar.errors import ConfigError
from oceanvar.maps import AbstractMap, Dense, Identity, InputConvex, Shaped, TotalOf
from oceanvar.variational import (
    LBFGS,
    Assimilator,
    ClimateMean,
    ControlSpace,
    EnergyTerm,
    GenerativeTerm,
    Latent,
    Observations,
    ObservationTerm,
    VariationalCost,
    autoencoder_prior,
    generator_of,
)

SHAPE, N, N_LATENT = (1, 2, 6), 12, 3


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(7)


def linear_generator() -> Shaped:
    return Shaped(Dense(N_LATENT, N), SHAPE).double()


def test_the_soft_range_of_a_linear_generator_is_a_gaussian_prior():
    """min_z |x - W z|^2 + |z|^2 = x^T (I + W W^T)^{-1} x (Woodbury), and its gradient is that of the closed form."""
    generator, x = linear_generator(), torch.randn(4, *SHAPE, dtype=torch.float64)
    matrix = torch.linalg.inv(
        torch.eye(N, dtype=torch.float64) + generator.inner.weight @ generator.inner.weight.T
    )
    term = GenerativeTerm(generator, [N_LATENT], weight=0.5, n_inner=60).double()
    point, flat = term.at(x, Observations({}, {})), x.flatten(1)
    expected = 0.5 / N * ((flat @ matrix) * flat).sum(1)
    torch.testing.assert_close(point.value, expected, rtol=1e-7, atol=0)
    torch.testing.assert_close(point.gradient.flatten(1), 0.5 / N * 2 * flat @ matrix, rtol=1e-5, atol=1e-8)
    with pytest.raises(ConfigError, match="no sum over residuals"):
        point.blocks()


def test_the_analysis_under_a_soft_range_is_that_of_the_dense_system():
    generator = linear_generator()
    matrix = torch.linalg.inv(
        torch.eye(N, dtype=torch.float64) + generator.inner.weight @ generator.inner.weight.T
    )
    values = torch.randn(2, *SHAPE, dtype=torch.float64)
    values[torch.rand_like(values) < 0.5] = torch.nan
    obs = Observations.from_nan(values)
    cost = VariationalCost(
        ObservationTerm(weight=4.0), GenerativeTerm(generator, [N_LATENT], n_inner=60)
    ).double()
    found = Assimilator(cost, LBFGS(tolerance=1e-14), 100, ClimateMean()).solve(obs).state
    for i in range(2):
        mask, seen = obs.weights["state"][i].flatten(), obs.values["state"][i].flatten()
        expected = torch.linalg.solve(4 * mask.diag() + matrix, 4 * mask * seen)
        torch.testing.assert_close(found[i].flatten(), expected, atol=1e-5, rtol=0)


class LogVariance(AbstractMap):
    """Large on the first time, small on the second, whatever z is."""

    def forward(self, z):
        return torch.tensor([2.0, -2.0], dtype=z.dtype).view(1, 1, 2, 1).expand(len(z), *SHAPE)


def test_a_learned_variance_is_the_density_of_a_normal_distribution():
    generator, x = linear_generator(), torch.randn(3, *SHAPE, dtype=torch.float64)
    term = GenerativeTerm(generator, [N_LATENT], n_inner=60, log_variance=LogVariance()).double()
    z = term.latent_of(x)
    std = torch.exp(LogVariance()(z) / 2)
    density = torch.distributions.Normal(generator(z), std).log_prob(x).flatten(1).sum(1)
    constant = N * torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64))
    expected = -2 * density - constant + z.square().sum(1)
    torch.testing.assert_close(term.energy(x, Observations({}, {})), expected)
    # z is the minimum: moving it raises the energy.
    for step in torch.randn(5, *z.shape, dtype=torch.float64) * 1e-2:
        assert (term.joint_energy(z + step, x) > term.joint_energy(z, x)).all()


def test_an_analysis_in_the_range_of_a_generator_recovers_what_it_made():
    """12 unknowns of 3 latent ones, seen at 6 points without noise: a very small weight of z recovers them."""
    generator = linear_generator()
    truth = generator(torch.randn(3, N_LATENT, dtype=torch.float64))
    seen = truth.detach().clone()
    seen[..., ::2] = torch.nan
    obs = Observations.from_nan(seen)
    cost = VariationalCost(ObservationTerm(weight=1e8)).double()
    solver = ControlSpace(LBFGS(tolerance=1e-15), Latent(generator, [N_LATENT]))
    found = Assimilator(cost, solver, 100, ClimateMean()).solve(obs).state
    torch.testing.assert_close(found, truth.detach(), atol=1e-5, rtol=0)
    energies = VariationalCost(
        ObservationTerm(weight=1e8), EnergyTerm(TotalOf(Identity()), weight=1e-9)
    ).double()
    again = Assimilator(energies, solver, 100, ClimateMean()).solve(obs).state
    torch.testing.assert_close(again, found, atol=1e-5, rtol=0)


def test_the_decoder_of_an_autoencoder_is_a_generator():
    prior = autoencoder_prior(SHAPE, (8, N_LATENT), (8,)).double()
    x = torch.randn(2, *SHAPE, dtype=torch.float64)
    latent = prior.inner.maps[0](x.flatten(1))
    torch.testing.assert_close(generator_of(prior, SHAPE)(latent), prior(x))
    with pytest.raises(ConfigError, match="Identity has no decoder"):
        generator_of(Identity(), SHAPE)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_an_input_convex_network_is_convex_however_it_is_trained(batch):
    energy = InputConvex(1, 4, [1, 3], n_layers=3).double()
    optimizer = torch.optim.Adam(energy.parameters(), lr=0.1)
    for _ in range(20):  # towards what is not convex at all
        x = torch.randn(16, *SHAPE, dtype=torch.float64)
        optimizer.zero_grad()
        (energy(x) + 5 * x.square().flatten(1).sum(1)).square().mean().backward()
        optimizer.step()
    x, y = torch.randn(2, batch, *SHAPE, dtype=torch.float64) * 3
    middle = (energy(x) + energy(y)) / 2 - energy((x + y) / 2)
    strong = energy.strength / 8 * (x - y).square().flatten(1).sum(1)
    assert (middle >= strong - 1e-9).all()
    assert middle.shape == (batch,)
    torch.testing.assert_close(energy(x)[:1], energy(x[:1]))


def test_clear_errors():
    with pytest.raises(ConfigError, match="n_inner at least 1"):
        GenerativeTerm(Identity(), [3], n_inner=0)
    with pytest.raises(ConfigError, match=r"the generator makes has the shape \(2, 3\)"):
        GenerativeTerm(Identity(), [3]).cost(torch.zeros(2, *SHAPE), Observations({}, {}))
    with pytest.raises(ConfigError, match="n_layers must be at least 1"):
        InputConvex(1, 2, [3], n_layers=0)
