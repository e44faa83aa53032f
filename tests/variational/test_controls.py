"""4D-Var in control space against dense algebra, and as a part of an assimilator."""

import pytest
import torch

from oceanvar.dynamics import FlowStep, Lorenz63
from oceanvar.errors import ConfigError
from oceanvar.maps import ByDistance, Chain, Conv, Filtered, OnGrid
from oceanvar.truths.oceans import one_day
from oceanvar.variational import (
    LBFGS,
    Assimilator,
    BackgroundTerm,
    BlockAverage,
    ClimateMean,
    ControlSpace,
    Forecast,
    ForecastControl,
    GaussNewton,
    Observations,
    ObservationTerm,
    SmoothedL1,
    VariationalCost,
)
from oceanvar.variational.control_costs import of_control

PHYSICS = {"latitude": 35.0, "deformation_radius": 30.0, "surface": False}
N_TIMES = 3


@pytest.fixture
def linear() -> ForecastControl:
    """A linear model of 6 x 6 points, and states on 8 x 8."""
    torch.manual_seed(0)
    step = Conv(1, 1, [1, 3, 3], [False, True, True])
    spread = Filtered.of(torch.rand(N_TIMES, 6, 4) + 0.2)
    return ForecastControl(step, spread, OnGrid((8, 8), (6, 6)), OnGrid((6, 6), (8, 8))).double()


@pytest.fixture
def obs() -> Observations:
    torch.manual_seed(1)
    values = torch.randn(2, 1, N_TIMES, 8, 8, dtype=torch.float64)
    values[torch.rand_like(values) < 0.7] = torch.nan
    return Observations.from_nan(values, background=torch.randn_like(values))


def test_the_analysis_is_the_best_linear_estimate(linear: ForecastControl, obs: Observations) -> None:
    """x^a = x(0) + P H^T (H P H^T + R)^-1 (y - H x(0)), P = X X^T of the linear x(v) = x(0) + X v."""
    cost = VariationalCost(ObservationTerm(variances=[0.3]))
    found = Assimilator(cost, ControlSpace(LBFGS(tolerance=0.0), linear), 60).solve(obs).state
    trajectory, rest = linear.trajectory(obs.background)
    root = torch.func.jacrev(lambda v: trajectory(v)[:1].flatten())(rest)[:, 0].flatten(1)
    undisturbed = trajectory(rest)[0].flatten()
    seen = obs.weights["state"][0].flatten() > 0
    covariance = root @ root.T
    innovations = (obs.values["state"][0].flatten() - undisturbed)[seen]
    seen_covariance = covariance[seen][:, seen] + 0.3 * torch.eye(int(seen.sum()))
    expected = undisturbed + covariance[:, seen] @ torch.linalg.solve(seen_covariance, innovations)
    torch.testing.assert_close(found[0].flatten(), expected, rtol=1e-4, atol=1e-5)


def test_forecasts_are_drawn_to_the_background_at_the_border_and_a_little_inside() -> None:
    torch.manual_seed(0)
    step = Conv(1, 1, [1, 3, 3]).double()
    background = torch.randn(2, 1, 4, 6, 7, dtype=torch.float64)
    share = ByDistance([1.0, 0.5, 0.1])
    control = ForecastControl(step, ByDistance([2.0, 1.0]), relaxation=[1.0, 0.5, 0.1])
    trajectory, rest = control.trajectory(background)
    v = torch.randn_like(rest)
    state = background[:, :, :1] + ByDistance([2.0, 1.0])(v[:, :, :1])
    expected = [state]
    for t in range(1, 4):
        forecast = step(state)
        state = (
            forecast
            + share(background[:, :, t : t + 1] - forecast)
            + ByDistance([2.0, 1.0])(v[:, :, t : t + 1])
        )
        expected.append(state)
    torch.testing.assert_close(trajectory(v), torch.cat(expected, dim=2))
    border = trajectory(rest)[:, :, 1:, 0]
    torch.testing.assert_close(border, background[:, :, 1:, 0])


def test_solvers_agree_and_the_background_that_counts_is_the_first_guess(
    linear: ForecastControl, obs: Observations
) -> None:
    cost = VariationalCost(ObservationTerm(variances=[0.3]))
    lbfgs, newton = (
        Assimilator(cost, ControlSpace(solver, linear), n, ClimateMean())
        for solver, n in ((LBFGS(tolerance=0.0), 60), (GaussNewton(n_inner=60), 2))
    )
    torch.testing.assert_close(lbfgs.solve(obs).state, newton.solve(obs).state, rtol=1e-3, atol=1e-4)
    obs.background[:, :, 1:] = torch.nan
    assert lbfgs.solve(obs).state.isfinite().all(), "days after the first do not matter"
    obs.background = None
    obs.values["state"].zero_()
    assert lbfgs.solve(obs).state.abs().max() < 1e-12


def test_every_kind_of_term_keeps_its_cost_and_has_the_gradient_of_the_control(
    linear: ForecastControl, obs: Observations
) -> None:
    obs.values["mean"] = torch.randn(2, 1, N_TIMES, 4, 4, dtype=torch.float64)
    obs.weights["mean"] = torch.rand(2, 1, N_TIMES, 4, 4, dtype=torch.float64)
    cost = VariationalCost(
        ObservationTerm(variances=[0.3]),
        ObservationTerm(BlockAverage([1, 2, 2]), "mean", weight=2.0, penalty=SmoothedL1()),
        BackgroundTerm(weight=0.1),
    ).double()
    cost = cost.reweighted({2: 3.0})
    trajectory, rest = linear.trajectory(obs.background)
    whole = of_control(cost, trajectory)
    v = torch.randn_like(rest)
    # N is that of the control for all terms.
    expected = cost(trajectory(v), obs) * (64 / 36) + v.square().flatten(1).mean(1)
    torch.testing.assert_close(whole(v, obs), expected)
    value, gradient = whole.cost_and_gradient(v, obs)
    torch.testing.assert_close(value, expected)
    point = v.clone().requires_grad_()
    (by_autograd,) = torch.autograd.grad(whole(point, obs).sum(), point)
    torch.testing.assert_close(gradient, by_autograd)
    a, b, point = torch.randn_like(v), torch.randn_like(v), whole.at(v, obs)
    left, right = (b * point.product(a)).sum(), (a * point.product(b)).sum()
    torch.testing.assert_close(left, right)


def test_a_forecast_adds_its_errors_to_the_model_day_by_day() -> None:
    torch.manual_seed(2)
    day = one_day(8, 10.0, PHYSICS)
    control = 0.1 * torch.randn(2, 1, 4, 8, 8, dtype=torch.float64)
    days = Forecast(day)(control)
    torch.testing.assert_close(days[:, :, :1], control[:, :, :1])
    torch.testing.assert_close(days[:, :, 1:] - day(days[:, :, :-1]), control[:, :, 1:])


def test_tangent_and_adjoint_belong_to_the_trajectory_of_an_ocean() -> None:
    torch.manual_seed(3)
    control = ForecastControl(one_day(8, 10.0, PHYSICS), Filtered.of(0.1 * torch.rand(8, 5))).double()
    trajectory, rest = control.trajectory(0.1 * torch.randn(2, 1, 3, 8, 8, dtype=torch.float64))
    v, tangent = torch.randn_like(rest), torch.randn_like(rest)
    value, pullback = trajectory.linearize(v)
    torch.testing.assert_close(value, trajectory(v))
    pushed, cotangent = trajectory.jvp(v, tangent), torch.randn_like(value)
    torch.testing.assert_close((pushed * cotangent).sum(), (tangent * pullback(cotangent)).sum())

    def remainder(h: float) -> float:
        return (trajectory(v + h * tangent) - value - h * pushed).norm().item()

    assert remainder(1e-3) / remainder(1e-4) > 10**1.8


def test_without_space_axes_the_control_is_that_of_lorenz() -> None:
    step = FlowStep(Lorenz63(), dt=0.01)
    trajectory, rest = ForecastControl(step, Chain()).trajectory(torch.ones(2, 3, 5))
    torch.testing.assert_close(trajectory(rest)[:, :, 2:3], step(step(torch.ones(2, 3, 1))))


def test_a_control_without_a_background_is_refused(linear: ForecastControl, obs: Observations) -> None:
    obs.background = None
    with pytest.raises(ConfigError, match="no background was given"):
        ControlSpace(LBFGS(), linear).init(VariationalCost(ObservationTerm()), obs, obs.values["state"])
