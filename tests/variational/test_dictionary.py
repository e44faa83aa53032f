"""Sparse sums of atoms, correlated backgrounds, bounds: against closed forms and other packages."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import Lasso, orthogonal_mp

from oceanvar.errors import ConfigError
from oceanvar.maps import Gradient
from oceanvar.variational import (
    LBFGS,
    Assimilator,
    BackgroundTerm,
    BoundedLBFGS,
    ClimateMean,
    ConjugateGradients,
    ControlSpace,
    DictionaryPrior,
    Latent,
    MapTerm,
    Observations,
    ObservationTerm,
    PriorTerm,
    SeparableSpread,
    SeparableWhitening,
    VariationalCost,
    Verdict,
)
from oceanvar.variational.operators.correlations import CORRELATIONS

BLOCK, N_POINTS, N_ATOMS = [1, 4, 4], 16, 24


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(8)


def prior(**coding) -> DictionaryPrior:
    return DictionaryPrior(BLOCK, 1, N_ATOMS, **coding).double()


def test_blocks_are_put_back_where_they_were():
    whole = DictionaryPrior(BLOCK, 2, 40, n_nonzero=32).double()
    x = torch.randn(2, 2, 3, 8, 12, dtype=torch.float64)
    assert torch.equal(whole._state(whole._blocks(x), x), x)
    # As many atoms as points represent anything.
    torch.testing.assert_close(whole(x), x, atol=1e-4, rtol=0)
    # Blocks hold all variables of one place.
    torch.testing.assert_close(whole._blocks(x)[0], x[0, :, 0, :4, :4].flatten())


def test_pursuit_recovers_sums_of_few_incoherent_atoms():
    """Exact where the sum has fewer than (1 + 1 / mu) / 2 atoms, mu the coherence (Tropp, 2004, theorem 3.5)."""
    one = DictionaryPrior([1, 8, 8], 1, 72, n_nonzero=2).double()
    with torch.no_grad():  # spikes and waves: coherence 1 / 8
        hadamard = torch.ones(1, 1, dtype=torch.float64)
        for _ in range(6):
            hadamard = torch.cat((torch.cat((hadamard, hadamard)), torch.cat((hadamard, -hadamard))), dim=1)
        one.atoms.copy_(torch.cat((torch.eye(64, dtype=torch.float64), hadamard[:, :8] / 8), dim=1))
    codes = torch.zeros(40, 72, dtype=torch.float64)
    for row in codes:
        row[torch.randperm(72)[:2]] = torch.randn(2, dtype=torch.float64) + 2
    blocks = codes @ one.atoms.T
    torch.testing.assert_close(one.codes(blocks), codes, atol=1e-9, rtol=0)


def test_codes_are_those_of_scikit_learn():
    blocks = torch.randn(20, N_POINTS, dtype=torch.float64)
    pursuit = prior(n_nonzero=4)
    atoms = pursuit._unit.detach().numpy()
    expected = orthogonal_mp(atoms, blocks.numpy().T, n_nonzero_coefs=4).T
    np.testing.assert_allclose(pursuit.codes(blocks).detach(), expected, atol=1e-8)
    lasso = prior(sparsity=0.3, n_inner=2000)
    atoms = lasso._unit.detach().numpy()
    model = Lasso(alpha=0.3 / N_POINTS, fit_intercept=False, tol=1e-12, max_iter=100_000)
    expected = np.stack([model.fit(atoms, each).coef_.copy() for each in blocks.numpy()])
    np.testing.assert_allclose(lasso.codes(blocks).detach(), expected, atol=1e-6)


@pytest.mark.parametrize("coding", [{"n_nonzero": 3}, {"sparsity": 0.3, "n_inner": 3000}])
def test_derivatives_are_those_of_the_projection_where_the_atoms_stay(coding):
    one = prior(**coding)
    x, v = (torch.randn(2, 1, 2, 4, 8, dtype=torch.float64) for _ in range(2))
    step = 1e-6
    difference = (one(x + step * v) - one(x - step * v)) / (2 * step)
    torch.testing.assert_close(one.jvp(x, v), difference, atol=1e-4, rtol=1e-4)
    value, pullback = one.linearize(x)
    torch.testing.assert_close(value, one(x))
    torch.testing.assert_close((pullback(v) * x).sum(), (one.jvp(x, x) * v).sum())


def test_atoms_are_learned_and_fill_gaps():
    """Sums of two of 24 hidden atoms: learned atoms represent new ones, and a gap is filled by what is around it."""
    hidden = prior(n_nonzero=2)

    def drawn(n: int) -> torch.Tensor:
        codes = torch.zeros(n * 4, N_ATOMS, dtype=torch.float64)
        for row in codes:
            row[torch.randperm(N_ATOMS)[:2]] = torch.randn(2, dtype=torch.float64)
        return (codes @ hidden._unit.detach().T).view(n, 4, 4, 4).view(n, 1, 4, 4, 4)

    learned = prior(n_nonzero=2).fit_(drawn(400), n_iterations=30)
    new = drawn(50)
    error = (learned(new) - new).square().mean() / new.square().mean()
    before = (prior(n_nonzero=2)(new) - new).square().mean() / new.square().mean()
    assert error < 0.25 * before
    gappy = new.clone()
    gappy[torch.rand_like(gappy) < 0.2] = torch.nan
    obs = Observations.from_nan(gappy)
    cost = VariationalCost(ObservationTerm(weight=10.0), PriorTerm(learned)).double()
    found = Assimilator(cost, LBFGS(), 60, ClimateMean()).solve(obs).state
    missing = gappy.isnan()
    assert (found - new)[missing].square().mean() < 0.5 * new[missing].square().mean()


@pytest.mark.parametrize("kind", list(CORRELATIONS))
def test_whitening_is_the_inverse_of_the_whole_covariance(kind):
    lengths, shape = [2.0, 3.0, 0.0], (3, 4, 2)
    one = SeparableWhitening(lengths, kind)
    x = torch.randn(2, 1, *shape, dtype=torch.float64)

    def correlation(n: int, length: float) -> np.ndarray:
        distance = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
        return CORRELATIONS[kind](distance / length) if length else np.eye(n)

    whole = np.ones((1, 1))
    for n, length in zip(shape, lengths, strict=True):
        whole = np.kron(whole, correlation(n, length))
    flat = x.flatten(1).numpy()
    expected = (flat * np.linalg.solve(whole, flat.T).T).sum(1)
    np.testing.assert_allclose(one(x).square().flatten(1).sum(1), expected, rtol=1e-6)
    value, pullback = one.linearize(x)
    u = torch.randn_like(value)
    torch.testing.assert_close((one.jvp(x, x) * u).sum(), (x * pullback(u)).sum())


def test_an_analysis_with_a_correlated_background_is_optimal_interpolation():
    shape, lengths, noise = (3, 5, 5), [2.0, 2.5, 2.5], 0.3
    values = torch.randn(1, 1, *shape, dtype=torch.float64)
    values[torch.rand_like(values) < 0.7] = torch.nan
    background = torch.randn(1, 1, *shape, dtype=torch.float64)
    obs = Observations.from_nan(values, background)
    cost = VariationalCost(
        ObservationTerm(variances=[noise**2]), BackgroundTerm(SeparableWhitening(lengths, "matern32"))
    ).double()
    found = Assimilator(cost, ConjugateGradients(), 300).solve(obs).state.flatten().numpy()
    axes = [
        np.abs(np.subtract.outer(np.arange(n), np.arange(n))) / length
        for n, length in zip(shape, lengths, strict=True)
    ]
    covariance = np.ones((1, 1))
    for each in axes:
        covariance = np.kron(covariance, CORRELATIONS["matern32"](each))
    seen = np.isfinite(values.flatten().numpy())
    innovation = (values - background).flatten().numpy()[seen]
    matrix = covariance[np.ix_(seen, seen)] + noise**2 * np.eye(seen.sum())
    expected = background.flatten().numpy() + covariance[:, seen] @ np.linalg.solve(matrix, innovation)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # The same about the mean, over what is white, in a tenth of the iterations.
    alone = VariationalCost(ObservationTerm(variances=[noise**2])).double()
    control = Latent(SeparableSpread(lengths, "matern32"), (1, *shape))
    departures = Observations.from_nan(values - background)
    white = Assimilator(alone, ControlSpace(ConjugateGradients(), control), 30, ClimateMean()).solve(
        departures
    )
    np.testing.assert_allclose(
        white.state.flatten().numpy() + background.flatten().numpy(), expected, atol=1e-6
    )


def test_bounded_quasi_newton_ends_where_that_of_scipy_does():
    shape = (1, 1, 8, 9)
    values = 2 * torch.randn(3, *shape, dtype=torch.float64)
    values[torch.rand_like(values) < 0.5] = torch.nan
    obs = Observations.from_nan(values)
    cost = VariationalCost(ObservationTerm(), MapTerm(Gradient([1, 2]), weight=0.3)).double()
    analysis = Assimilator(cost, BoundedLBFGS(-0.5, 0.8, tolerance=1e-14), 300, ClimateMean()).solve(obs)
    assert analysis.verdict.tolist() == [Verdict.CONVERGED] * 3
    for i in range(3):

        def of(x: np.ndarray, i: int = i) -> tuple[float, np.ndarray]:
            value, gradient = cost.cost_and_gradient(torch.from_numpy(x).view(1, *shape), obs[[i]])
            return value.item(), gradient.detach().flatten().numpy()

        options = {"ftol": 1e-16, "gtol": 1e-12, "maxiter": 5000}
        expected = minimize(of, np.zeros(72), jac=True, bounds=[(-0.5, 0.8)] * 72, options=options)
        np.testing.assert_allclose(analysis.state[i].flatten(), expected.x, atol=1e-5)
    free = Assimilator(cost, BoundedLBFGS(tolerance=1e-14), 300, ClimateMean()).solve(obs).state
    torch.testing.assert_close(
        free,
        Assimilator(cost, LBFGS(tolerance=1e-14), 300, ClimateMean()).solve(obs).state,
        atol=1e-5,
        rtol=0,
    )


def test_clear_errors():
    with pytest.raises(ConfigError, match="give n_nonzero or sparsity"):
        prior()
    with pytest.raises(ConfigError, match="between 1 and 16"):
        prior(n_nonzero=17)
    with pytest.raises(
        ConfigError, match=r"blocks of \[1, 4, 4\] points do not divide a state of \[1, 6, 8\]"
    ):
        prior(n_nonzero=1)(torch.zeros(1, 1, 1, 6, 8, dtype=torch.float64))
    with pytest.raises(ConfigError, match="24 atoms need as many blocks, and the states have 4"):
        prior(n_nonzero=1).fit_(torch.zeros(1, 1, 1, 8, 8))
    with pytest.raises(
        ConfigError, match="complete states of 1 channels, and these have 1 and 128 missing values"
    ):
        prior(n_nonzero=1).fit_(torch.full((2, 1, 1, 8, 8), torch.nan))
    with pytest.raises(ConfigError, match="kind must be one of"):
        SeparableWhitening([1.0], "gaussian")
    with pytest.raises(ConfigError, match="2 lengths for a state of 3 axes"):
        SeparableWhitening([1.0, 2.0])(torch.zeros(1, 1, 2, 2, 2))
    with pytest.raises(ConfigError, match="low must lie below high"):
        BoundedLBFGS(1.0, 1.0)
