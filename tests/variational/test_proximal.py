"""Proximal maps against their definition, and the solvers that use them."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from oceanvar.errors import ConfigError
from oceanvar.maps import AbstractMap, Gradient, Identity
from oceanvar.variational import (
    Anderson,
    Assimilator,
    Box,
    ClimateMean,
    Denoiser,
    DenoisingTerm,
    FixedPoint,
    GradientDescent,
    Huber,
    InBasis,
    LinearisedBregman,
    LogLorentz,
    MapTerm,
    Observations,
    ObservationTerm,
    PriorTerm,
    ProximalGradient,
    SmoothedL1,
    Sparse,
    TotalGeneralisedVariation,
    TotalVariation,
    VariationalCost,
)

SHAPE = (1, 1, 6, 7)
N = 42


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(4)


def window(n: int = 2) -> torch.Tensor:
    return torch.randn(n, *SHAPE, dtype=torch.float64)


def prox(proximal, x: torch.Tensor, step: float, n_calls: int = 1) -> torch.Tensor:
    obs, steps = Observations.from_nan(x), torch.full((len(x), *[1] * (x.ndim - 1)), step, dtype=x.dtype)
    dual = proximal.init(obs, x)
    for _ in range(n_calls):
        found, dual = proximal.prox(x, steps, obs, dual)
    return found


def variation(x: torch.Tensor) -> torch.Tensor:
    return Gradient([1, 2])(x).norm(dim=1).flatten(1).sum(1)


def dense_prox_of_variation(x: torch.Tensor, weight: float) -> torch.Tensor:
    """argmin_u weight TV(u) + |u - x|^2 / 2 with a smoothing that does not matter, by a general minimiser."""

    def cost(u: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.from_numpy(u).view(1, *SHAPE).requires_grad_()
        squares = Gradient([1, 2])(point).square().sum(1)
        value = weight * (squares + 1e-12).sqrt().sum() + (point - x).square().sum() / 2
        value.backward()
        return value.item(), point.grad.flatten().numpy()

    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-16, "gtol": 1e-10}
    found = minimize(cost, x.flatten().numpy(), jac=True, method="L-BFGS-B", options=options)
    return torch.from_numpy(found.x).view(1, *SHAPE)


def test_total_variation_is_the_proximal_point():
    x = window()
    found = prox(TotalVariation(2.0, n_inner=500), x, 0.2)
    for one, expected in zip(x.split(1), found.split(1), strict=True):
        torch.testing.assert_close(dense_prox_of_variation(one, 0.4), expected, atol=2e-3, rtol=0)


def test_the_dual_certifies_total_variation():
    """x - prox = s A^T q with |q| <= 1, and the duality gap closes: <q, A u> = |A u|."""
    x, scale = window(), 0.3
    proximal = TotalVariation(1.0, n_inner=2000)
    obs, step = Observations.from_nan(x), torch.full((2, 1, 1, 1, 1), scale, dtype=x.dtype)
    found, (field, _) = proximal.prox(x, step, obs, proximal.init(obs, x))
    gradient = Gradient([1, 2])
    assert float(field.norm(dim=1).max()) <= 1 + 1e-12
    torch.testing.assert_close(x - found, scale * gradient.vjp(x, field))
    gap = variation(found) - (field * gradient(found)).flatten(1).sum(1)
    assert float(gap.abs().max()) < 1e-5 * float(variation(x).max())


def test_calls_that_begin_where_the_last_one_ended_get_there():
    x = window()
    whole = prox(TotalVariation(1.0, n_inner=1000), x, 0.3)
    short = TotalVariation(1.0, n_inner=10)
    errors = [float((prox(short, x, 0.3, n) - whole).abs().max()) for n in (1, 40)]
    assert errors[1] < errors[0] / 10


@pytest.mark.parametrize(
    "proximal", [TotalVariation(1.0, n_inner=300), TotalGeneralisedVariation(1.0, n_inner=300)]
)
def test_variations_leave_their_kernel_alone(proximal):
    """Constants, and of the generalised variation affine fields too; a front is changed by both."""
    rows, columns = torch.meshgrid(
        *(torch.arange(float(n), dtype=torch.float64) for n in SHAPE[-2:]), indexing="ij"
    )
    affine = (1 + 0.3 * rows - 0.2 * columns).view(1, *SHAPE)
    constant = torch.full_like(affine, 0.7)
    torch.testing.assert_close(prox(proximal, constant, 0.5), constant)
    keeps = torch.allclose(prox(proximal, affine, 0.5), affine, atol=1e-3)
    assert keeps == isinstance(proximal, TotalGeneralisedVariation)
    front = (columns > 2).double().view(1, *SHAPE)
    assert not torch.allclose(prox(proximal, front, 0.5), front, atol=1e-2)


@pytest.mark.parametrize(
    "proximal",
    [
        Sparse(1.0),
        Box(-0.5, 0.3),
        TotalVariation(1.0, n_inner=400),
        TotalGeneralisedVariation(1.0, n_inner=2000),
    ],
    ids=lambda each: type(each).__name__,
)
def test_proximal_maps_are_firmly_nonexpansive_and_turn_with_the_field(proximal):
    x, y = window(), window()
    p, q = prox(proximal, x, 0.3), prox(proximal, y, 0.3)
    assert (((p - q).square() - (p - q) * (x - y)).flatten(1).sum(1) <= 1e-6).all()
    # The functionals do not tell y from x (Celledoni et al., 2021): nor do their proximal maps.
    torch.testing.assert_close(prox(proximal, x.mT, 0.3), p.mT, atol=2e-4, rtol=0)


def test_sparse_and_box_in_closed_form():
    x = torch.tensor([-2.0, -0.1, 0.0, 0.3, 1.0]).view(1, 1, 5)
    assert prox(Sparse(2.0), x, 0.1).flatten().tolist() == pytest.approx([-1.8, 0, 0, 0.1, 0.8])
    assert prox(Box(-0.5, 0.5), x, 0.1).flatten().tolist() == pytest.approx([-0.5, -0.1, 0, 0.3, 0.5])
    # Moreau: x is the point of the l1 norm plus that of its conjugate, the box.
    torch.testing.assert_close(prox(Sparse(2.0), x, 0.1) + prox(Box(-0.2, 0.2), x, 1.0), x)


class Rotation(AbstractMap):
    """An orthonormal basis of the last axis."""

    def __init__(self, n: int):
        super().__init__()
        self.matrix = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0]

    def forward(self, x):
        return x @ self.matrix.T


def least_squares(n: int = 2) -> tuple[VariationalCost, Observations]:
    """A cost of full rank with a condition number of about a hundred."""
    x = window(n)
    x[torch.rand_like(x) < 0.5] = torch.nan
    cost = VariationalCost(ObservationTerm(), MapTerm(Gradient([1, 2]), weight=0.3)).double()
    return cost, Observations.from_nan(x)


def test_sparsity_in_a_basis_meets_the_optimality_conditions():
    cost, obs = least_squares()
    basis, weight = Rotation(7), 0.2
    solver = ProximalGradient(InBasis(basis, Sparse(weight)))
    found = Assimilator(cost, solver, 2000, ClimateMean()).solve(obs).state
    coefficients, slope = basis(found), -basis(cost.gradient(found, obs)).detach() * N
    is_zero = coefficients.abs() < 1e-9
    assert 0.1 < float(is_zero.double().mean()) < 0.95
    torch.testing.assert_close(slope[~is_zero], weight * coefficients[~is_zero].sign(), atol=1e-5, rtol=0)
    assert float(slope[is_zero].abs().max()) <= weight + 1e-6


def test_bounds_give_what_bounded_least_squares_gives():
    cost, obs = least_squares(1)

    def of(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = cost.cost_and_gradient(torch.from_numpy(x).view(1, *SHAPE), obs)
        return value.item(), gradient.flatten().detach().numpy()

    expected = minimize(
        of,
        np.zeros(N),
        jac=True,
        bounds=[(-0.3, 0.4)] * N,
        options={"ftol": 1e-16, "gtol": 1e-12, "maxiter": 5000},
    )
    found = Assimilator(cost, ProximalGradient(Box(-0.3, 0.4)), 2000, ClimateMean()).solve(obs).state
    np.testing.assert_allclose(found.flatten(), expected.x, atol=2e-5)
    assert ((found == 0.4) | (found == -0.3)).any()


def test_momentum_falls_as_the_square_of_the_iterations():
    cost, obs = least_squares()
    proximal, weight = TotalVariation(0.05, n_inner=40), 0.05 / N

    def objective(n_steps: int, accelerated: bool) -> torch.Tensor:
        solver = ProximalGradient(proximal, accelerated=accelerated)
        state = Assimilator(cost, solver, n_steps, ClimateMean()).solve(obs).state
        return cost(state, obs) + weight * variation(state)

    best = objective(150, accelerated=True)
    slow, fast = (objective(20, accelerated) - best for accelerated in (False, True))
    assert (fast < slow).all()
    distance = Assimilator(cost, ProximalGradient(proximal), 150, ClimateMean()).solve(obs).state.square()
    step = GradientDescent().init(cost, obs, torch.zeros_like(distance)).flatten()
    assert (fast <= 2 * distance.flatten(1).sum(1) / (step * 21**2)).all()  # Beck and Teboulle, theorem 4.4


def test_the_default_step_is_one_over_the_largest_curvature():
    cost, obs = least_squares()
    zero = torch.zeros(2, *SHAPE, dtype=torch.float64)
    eye = torch.eye(N, dtype=torch.float64).view(N, 1, *SHAPE)
    columns = [cost.at(zero, obs).product(e.expand_as(zero)).flatten(1) for e in eye]
    largest = torch.linalg.eigvalsh(torch.stack(columns, dim=-1))[:, -1]
    steps = GradientDescent().init(cost, obs, zero).flatten()
    assert (steps * largest <= 1).all()
    assert (steps * largest > 0.9).all()
    values = [
        cost(each, obs) for each in Assimilator(cost, GradientDescent(), 30, ClimateMean()).iterates(obs)
    ]
    assert all((after <= before).all() for before, after in itertools.pairwise(values))


def test_bregman_iterations_without_a_threshold_are_those_of_landweber_and_with_one_end_sparse():
    cost, obs = least_squares()
    start = ClimateMean()
    plain = Assimilator(cost, GradientDescent(), 20, start).solve(obs).state
    assert torch.equal(Assimilator(cost, LinearisedBregman(0.0), 20, start).solve(obs).state, plain)
    alone = VariationalCost(ObservationTerm()).double()
    sparse = Assimilator(alone, LinearisedBregman(2.0), 400, start).solve(obs).state
    seen = obs.weights["state"] > 0
    torch.testing.assert_close(sparse[seen], obs.values["state"][seen], atol=1e-3, rtol=0)
    assert not sparse[~seen].any()


class TowardMean(AbstractMap):
    """Proximal map of weight sum |u - mean(u)|^2 / 2: a denoiser that is one."""

    def forward(self, x):
        mean = x.mean(dim=(2, 3, 4), keepdim=True)
        return mean + (x - mean) / 1.5


def test_a_denoiser_that_is_a_proximal_map_finds_the_minimum():
    cost, obs = least_squares()
    step = 0.5 * float(GradientDescent().init(cost, obs, window()).min())

    class FromMean(AbstractMap):
        def forward(self, x):
            return x.mean(dim=(2, 3, 4), keepdim=True).expand_as(x)

    # prox of s w |u - mean|^2 / N divides departures by 1 + 2 s w / N.
    same = VariationalCost(*cost.terms, PriorTerm(FromMean(), weight=0.25 * N / step)).double()
    expected = Assimilator(same, GradientDescent(), 2000, ClimateMean()).solve(obs).state
    solver = ProximalGradient(Denoiser(TowardMean()), step_size=step)
    found = Assimilator(cost, solver, 1000, ClimateMean()).solve(obs).state
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    damped = ProximalGradient(Denoiser(TowardMean(), relaxation=0.5), step_size=step, accelerated=False)
    assert not torch.allclose(
        Assimilator(cost, damped, 500, ClimateMean()).solve(obs).state, expected, atol=1e-3
    )


def test_anderson_reaches_the_fixed_point_in_fewer_steps():
    cost, obs = least_squares()
    start = ClimateMean()
    expected = Assimilator(cost, GradientDescent(), 4000, start).solve(obs).state
    plain, mixed = (
        (Assimilator(cost, solver, 60, start).solve(obs).state - expected).abs().max()
        for solver in (GradientDescent(), Anderson(GradientDescent(), memory=8))
    )
    assert mixed < 0.01 * plain


def test_windows_are_solved_alike_in_any_batch():
    cost, obs = least_squares(3)
    for solver in (
        ProximalGradient(TotalVariation(0.1)),
        ProximalGradient(TotalGeneralisedVariation(0.1)),
        LinearisedBregman(0.1),
        Anderson(GradientDescent()),
    ):
        whole = Assimilator(cost, solver, 8, ClimateMean()).solve(obs).state
        for i in range(3):
            alone = Assimilator(cost, solver, 8, ClimateMean()).solve(obs[[i]]).state
            torch.testing.assert_close(whole[[i]], alone)


def test_clear_errors():
    with pytest.raises(ConfigError, match="low must lie below high"):
        Box(1.0, 0.0)
    with pytest.raises(ConfigError, match="depends on the steps before it"):
        Anderson(ProximalGradient(Box(0.0)))
    assert Anderson(FixedPoint()).iteration is not None
    with pytest.raises(ConfigError, match="n_inner at least 1"):
        TotalVariation(0.1, n_inner=0)


@pytest.mark.parametrize("proximal", [TotalVariation(2.0), TotalGeneralisedVariation(2.0)])
def test_a_window_without_observations_keeps_its_first_guess_beside_others(proximal):
    values = window(2)
    values[1] = torch.nan
    obs, guess = Observations.from_nan(values), window(2)
    cost = VariationalCost(ObservationTerm()).double()
    found = Assimilator(cost, ProximalGradient(proximal), 20).improve(guess, obs)
    assert found.isfinite().all()
    torch.testing.assert_close(found[1], guess[1])
    assert not torch.allclose(found[0], guess[0])


def test_a_basis_carries_the_memory_of_its_proximal_map():
    cost, obs = least_squares()
    inner = TotalVariation(0.1, n_inner=5)

    class Same(AbstractMap):
        def forward(self, x):
            return x

    plain, wrapped = (
        Assimilator(cost, ProximalGradient(each), 30, ClimateMean()).solve(obs).state
        for each in (inner, InBasis(Same(), inner))
    )
    torch.testing.assert_close(wrapped, plain)
    assert ProximalGradient(InBasis(Same(), inner), accelerated=False).iteration is None
    with pytest.raises(ConfigError, match="depends on the steps before it"):
        Anderson(ProximalGradient(inner, accelerated=False))


def test_steps_are_not_too_long_for_robust_penalties_far_from_the_minimum():
    _, obs = least_squares()
    for penalty in (SmoothedL1(0.1), Huber(0.1), LogLorentz(0.1)):
        cost = VariationalCost(ObservationTerm(penalty=penalty), MapTerm(Identity(), 0.01)).double()
        far = torch.full((2, *SHAPE), 4.0, dtype=torch.float64)
        costs = [float(cost(each, obs).sum()) for each in descent(cost, obs, far)]
        assert costs == sorted(costs, reverse=True)


def descent(cost: VariationalCost, obs: Observations, state: torch.Tensor):
    solver = GradientDescent()
    with torch.no_grad():
        carry = solver.init(cost, obs, state)
        for _ in range(30):
            yield state
            state, carry = solver.step(cost, obs, state, carry)


def test_a_denoiser_of_another_shape_is_told():
    class First(AbstractMap):
        def forward(self, x):
            return x[:, :, :, :1]

    cost, obs = least_squares()
    for solver, more in (
        (ProximalGradient(Denoiser(First())), ()),
        (GradientDescent(1.0), (DenoisingTerm(First()),)),
    ):
        with pytest.raises(ConfigError, match="what the denoiser makes has the shape"):
            Assimilator(VariationalCost(*cost.terms, *more), solver, 2, ClimateMean()).solve(obs)
