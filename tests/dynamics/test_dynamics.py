"""Lorenz systems and Runge-Kutta integration: derivatives, orders of convergence, invariants."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from oceanvar.dynamics import FlowStep, Lorenz63, Lorenz96, simulate
from oceanvar.dynamics.integrators import integrate, rk4_step
from oceanvar.errors import ConfigError, MissingVariableError
from oceanvar.maps import AbstractMap
from oceanvar.registry import build, describe

# Forward-mode differentiation makes torch import a deprecated part of itself.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")


class Network(AbstractMap):
    """A learned tendency without derivatives of its own."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(3, 3, generator=generator, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(torch.einsum("ij,bjt->bit", self.weight, x))


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


SHAPE_63, SHAPE_96 = (2, 3, 4), (2, 1, 3, 7)
MAPS = {
    "lorenz63": (Lorenz63(), SHAPE_63),
    "lorenz96": (Lorenz96(), SHAPE_96),
    "lorenz96 with the fewest sites": (Lorenz96(), (2, 1, 3, 4)),
    "rk4 of lorenz63": (FlowStep(Lorenz63(), 0.05), SHAPE_63),
    "rk4 of lorenz96 in three substeps": (FlowStep(Lorenz96(), 0.2, n_substeps=3), SHAPE_96),
    "euler of lorenz96": (FlowStep(Lorenz96(), 0.05, scheme="euler"), SHAPE_96),
    "rk4 of a network": (FlowStep(Network(), 0.3, n_substeps=2), SHAPE_63),
}


@pytest.fixture(params=MAPS.values(), ids=MAPS.keys())
def case(request: pytest.FixtureRequest) -> tuple[AbstractMap, Tensor]:
    map_, shape = request.param
    return map_, 5 * draw(*shape)


def test_pullback_and_tangent_equal_automatic_differentiation(case: tuple[AbstractMap, Tensor]) -> None:
    map_, x = case
    tangent, cotangent = draw(*x.shape, seed=1), draw(*x.shape, seed=2)
    value, vjp = torch.func.vjp(map_.forward, x)
    _, jvp = torch.func.jvp(map_.forward, (x,), (tangent,))
    linearized, pullback = map_.linearize(x)
    torch.testing.assert_close(linearized, value, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(pullback(cotangent), vjp(cotangent)[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(map_.jvp(x, tangent), jvp, rtol=1e-12, atol=1e-12)


def test_adjoint_identity(case: tuple[AbstractMap, Tensor]) -> None:
    map_, x = case
    tangent, cotangent = draw(*x.shape, seed=1), draw(*x.shape, seed=2)
    forward = (map_.jvp(x, tangent) * cotangent).sum().item()
    backward = (tangent * map_.vjp(x, cotangent)).sum().item()
    assert forward == pytest.approx(backward, rel=1e-12)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_grad_mode_gives_the_same_numbers(mode: type, dtype: torch.dtype) -> None:
    for map_, shape in MAPS.values():
        if isinstance(map_, FlowStep) and isinstance(map_.tendency, Network) and dtype is torch.float32:
            continue
        x, cotangent = draw(*shape, dtype=dtype), draw(*shape, seed=1, dtype=dtype)
        expected = map_(x), map_.vjp(x, cotangent), map_.jvp(x, cotangent)
        with mode():
            found = map_(x), map_.vjp(x, cotangent), map_.jvp(x, cotangent)
        for a, b in zip(found, expected, strict=True):
            assert a.dtype is dtype
            torch.testing.assert_close(a, b.detach(), rtol=0, atol=0)


def trainable_flows() -> list[tuple[FlowStep, tuple[int, ...]]]:
    return [
        (FlowStep(Lorenz63(trainable=True), 0.05), SHAPE_63),
        (FlowStep(Lorenz96(trainable=True), 0.05, n_substeps=2), SHAPE_96),
        (FlowStep(Network(), 0.3), SHAPE_63),
    ]


@pytest.mark.parametrize(("flow", "shape"), trainable_flows())
def test_parameters_get_their_gradient_through_value_and_pullback(
    flow: FlowStep, shape: tuple[int, ...]
) -> None:
    x, cotangent = draw(*shape), draw(*shape, seed=1)

    def loss() -> Tensor:
        value, pullback = flow.linearize(x)
        return value.square().sum() + pullback(cotangent).square().sum()

    parameters = list(flow.parameters())
    gradients = torch.autograd.grad(loss(), parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        flat, step = parameter.data.view(-1), 1e-5
        values = []
        for sign in (1, -1):
            flat[0] += sign * step
            values.append(loss().item())
            flat[0] -= sign * step
        difference = (values[0] - values[1]) / (2 * step)
        assert gradient.reshape(-1)[0].item() == pytest.approx(difference, rel=1e-6)


def test_parameters_are_trained_only_on_request() -> None:
    assert not list(Lorenz63().parameters())
    assert sorted(Lorenz63().state_dict()) == ["beta", "rho", "sigma"]
    assert [name for name, _ in Lorenz63(trainable=True).named_parameters()] == ["sigma", "rho", "beta"]


def test_single_precision_keeps_double_precision_parameters_exact() -> None:
    assert Lorenz63().beta.item() == 8 / 3
    assert Lorenz63()(draw(1, 3, 2, dtype=torch.float32)).dtype is torch.float32


def test_a_flow_is_described_by_plain_values() -> None:
    flow = FlowStep(Lorenz63(rho=30.0, trainable=True), 0.02, scheme="euler", n_substeps=2)
    again = build(describe(flow))
    x = draw(2, 3, 4)
    torch.testing.assert_close(again(x), flow(x), rtol=0, atol=0)
    assert describe(again) == describe(flow)


def test_the_batch_does_not_mix() -> None:
    for map_, shape in MAPS.values():
        x, cotangent = draw(*shape), draw(*shape, seed=1)
        alone = torch.cat([map_.vjp(x[i : i + 1], cotangent[i : i + 1]) for i in range(len(x))])
        torch.testing.assert_close(map_.vjp(x, cotangent), alone, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(("scheme", "order"), [("euler", 1), ("rk4", 4)])
@pytest.mark.parametrize(("tendency", "shape"), [(Lorenz63(), SHAPE_63), (Lorenz96(), (2, 1, 1, 7))])
def test_order_of_convergence(scheme: str, order: int, tendency: AbstractMap, shape: tuple[int, ...]) -> None:
    start = 3 * draw(*shape)
    exact = integrate(tendency, start, 1e-4, 1000)[-1]
    errors = [
        (FlowStep(tendency, 0.1, scheme, n_substeps)(start) - exact).abs().max().item()
        for n_substeps in (40, 80)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


def test_a_trajectory_is_that_of_another_integrator() -> None:
    start = np.array([[[1.0], [2.0], [20.0]]])
    found = simulate(Lorenz63(), start, 1e-3, 1001)
    oracle = solve_ivp(
        lambda _, y: [10 * (y[1] - y[0]), y[0] * (28 - y[2]) - y[1], y[0] * y[1] - 8 / 3 * y[2]],
        (0, 1),
        start.reshape(-1),
        method="DOP853",
        rtol=1e-13,
        atol=1e-13,
    )
    np.testing.assert_allclose(found[-1].reshape(-1), oracle.y[:, -1], rtol=1e-7)


def test_substeps_are_shorter_steps() -> None:
    x = draw(*SHAPE_63)
    expected = rk4_step(Lorenz63(), rk4_step(Lorenz63(), x, 0.02), 0.02)
    torch.testing.assert_close(FlowStep(Lorenz63(), 0.04, n_substeps=2)(x), expected, rtol=0, atol=0)


def test_trajectory_starts_with_the_initial_state_and_restarts_exactly() -> None:
    x = draw(*SHAPE_96)
    whole = integrate(Lorenz96(), x, 0.05, 10)
    assert whole.shape == (11, *SHAPE_96)
    torch.testing.assert_close(whole[0], x, rtol=0, atol=0)
    torch.testing.assert_close(integrate(Lorenz96(), whole[4], 0.05, 6), whole[4:], rtol=0, atol=0)


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="euler, rk4"):
        FlowStep(Lorenz63(), 0.1, scheme="leapfrog")
    with pytest.raises(ConfigError, match="n_substeps is 0"):
        FlowStep(Lorenz63(), 0.1, n_substeps=0)
    with pytest.raises(MissingVariableError, match=r"\(2, 4, 5\)"):
        Lorenz63()(draw(2, 4, 5))
    with pytest.raises(ConfigError, match="unstable with dt = 1"):
        simulate(Lorenz96(), 10 * np.ones((1, 1, 1, 6)) * np.arange(6), 1.0, 20)


def test_lorenz96_advection_conserves_energy() -> None:
    x = draw(3, 1, 2, 40)
    advection = Lorenz96(forcing=8.0)(x) + x - 8.0
    assert (x * advection).sum(dim=-1).abs().max() < 1e-12
    assert advection.abs().max() > 1


def test_lorenz96_has_no_preferred_site() -> None:
    x = draw(2, 1, 3, 9)
    torch.testing.assert_close(Lorenz96()(x.roll(2, -1)), Lorenz96()(x).roll(2, -1), rtol=0, atol=0)


def test_lorenz96_follows_its_equation() -> None:
    x = draw(1, 1, 1, 5).reshape(-1)
    n = len(x)
    expected = [(x[(i + 1) % n] - x[i - 2]) * x[i - 1] - x[i] + 8 for i in range(n)]
    torch.testing.assert_close(
        Lorenz96()(x.view(1, 1, 1, n)).view(-1), torch.stack(expected), rtol=0, atol=1e-14
    )


def test_lorenz63_contracts_volumes_at_a_constant_rate() -> None:
    x = 10 * draw(5, 3)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda p: Lorenz63()(p[None])[0]))(x)
    rate = -(10 + 1 + 8 / 3)
    torch.testing.assert_close(
        torch.einsum("bii->b", jacobian), torch.full((5,), rate, dtype=torch.float64), rtol=0, atol=1e-13
    )
    flow = FlowStep(Lorenz63(), 0.1, n_substeps=20)
    volume = torch.linalg.det(torch.func.jacrev(lambda p: flow(p[None])[0])(x[0]))
    assert volume.item() == pytest.approx(math.exp(0.1 * rate), rel=1e-5)


def test_lorenz63_is_symmetric_about_its_vertical_axis() -> None:
    x, mirror = draw(2, 3, 4), torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64).view(1, 3, 1)
    torch.testing.assert_close(Lorenz63()(mirror * x), mirror * Lorenz63()(x), rtol=0, atol=0)


def test_lorenz63_rests_at_its_fixed_points() -> None:
    side = math.sqrt(8 / 3 * 27)
    points = torch.tensor([[0.0, 0.0, 0.0], [side, side, 27.0], [-side, -side, 27.0]], dtype=torch.float64)
    assert Lorenz63()(points).abs().max() < 1e-12
