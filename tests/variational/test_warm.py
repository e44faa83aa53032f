"""Going on from a state that is nearly the minimum: which solvers take fewer steps, what becomes of lost windows."""

import pytest
import torch

from oceanvar.dynamics import FlowStep, Lorenz63
from oceanvar.maps import Conv, Identity
from oceanvar.registry import build, describe
from oceanvar.variational import (
    LBFGS,
    Annealed,
    Assimilator,
    BackgroundTerm,
    BlockTridiagonalGaussNewton,
    ClimateMean,
    ControlSpace,
    DynamicsTerm,
    ForecastControl,
    GradientDescent,
    Observations,
    ObservationTerm,
    PriorTerm,
    Sequential,
    VariationalCost,
    Verdict,
    WithCost,
)
from oceanvar.variational.forecasts import forecast, has_dynamics
from oceanvar.variational.priors.flow import FlowPrior
from oceanvar.variational.solvers.schedules import LOOSER, N_WARM
from tests.variational.problems import lorenz63_problem

GAUSS_NEWTON = BlockTridiagonalGaussNewton()


def cost(**observed) -> VariationalCost:
    return VariationalCost(ObservationTerm(**observed), BackgroundTerm(weight=0.01))


def windows(background: torch.Tensor | None) -> Observations:
    obs = Observations.from_nan(torch.ones(3, 1, 50), background=background)
    obs.values["state"][2] = 4.0
    return obs


def test_an_annealing_goes_its_way_in_few_strides():
    solver, n_steps = Annealed(GAUSS_NEWTON, [1e-4, 1e-3, 1.0], 4, term=2).warm(12)
    assert (n_steps, solver.n_steps, solver.term) == (N_WARM, N_WARM, 2)
    assert solver.factors == pytest.approx([LOOSER * 1e-4, (LOOSER * 1e-4) ** 0.5, 1.0])
    assert solver.solver is GAUSS_NEWTON


def test_solvers_of_solvers_ask_what_they_end_with():
    own, control = cost(), ForecastControl(Identity(), Identity())
    inner = Annealed(GAUSS_NEWTON, [0.1, 1.0], 2)
    for solver, n_all in (
        (Sequential((GradientDescent(0.1), 5), (inner, 4)), 9),
        (WithCost(own, inner), 4),
        (ControlSpace(inner, control), 4),
    ):
        warm, n_steps = solver.warm(n_all)
        assert n_steps == N_WARM
        assert isinstance(warm, Annealed if isinstance(solver, Sequential) else type(solver))
    assert Sequential((GradientDescent(0.1), 5), (GAUSS_NEWTON, 4)).warm(9) == (GAUSS_NEWTON, 4)
    assert WithCost(own, inner).warm(4)[0].cost is own
    assert ControlSpace(inner, control).warm(4)[0].control is control
    assert GAUSS_NEWTON.warm(7) == (GAUSS_NEWTON, 7)


def test_from_the_minimum_it_stays_there_and_from_nearby_it_returns():
    torch.manual_seed(0)
    cost, obs, _, _ = lorenz63_problem(5)
    cold = Assimilator(cost, Annealed(BlockTridiagonalGaussNewton(), [1e-3, 1e-2, 0.1, 1.0], 3), 12)
    minimum = cold.solve(obs).state
    near = minimum + 0.05 * torch.randn_like(minimum)
    for guess in (minimum, near):
        found = cold.warm().solve(Observations(obs.values, obs.weights, background=guess)).state
        assert (found - minimum).square().mean() < 1e-4
    assert (near - minimum).square().mean() > 2e-3


@pytest.mark.parametrize("variances", [[0.25], None])
def test_only_what_has_lost_its_observations_is_solved_without_its_background(variances):
    """Descent that does not move: the background is the analysis of a window, or the start is, the observations."""
    warm = Assimilator(cost(variances=variances), GradientDescent(0.0), 1).warm()
    background = torch.ones(3, 1, 50) + torch.tensor([0.5, 5.0, torch.nan]).view(3, 1, 1)
    expected = torch.tensor([1.5, 1.0 if variances else 6.0, 4.0])
    obs = windows(background)
    found = warm.solve(obs)
    torch.testing.assert_close(found.state[:, 0, 0], expected)
    assert (found.verdict == Verdict.STOPPED).all()
    for i in range(3):
        torch.testing.assert_close(warm.solve(obs[[i]]).state, found.state[[i]])


def test_what_is_no_nearer_without_background_keeps_it():
    """The background is 1 away from the observations and lost by their error of 0.25; the start is 4 away."""
    warm = Assimilator(cost(variances=[0.0625]), GradientDescent(0.0), 1, ClimateMean()).warm()
    obs = windows(torch.full((3, 1, 50), 3.0))
    torch.testing.assert_close(warm.solve(obs).state[:, 0, 0], torch.tensor([0.0, 0.0, 3.0]))


def test_a_warm_assimilator_is_described_like_any_other():
    cold = Assimilator(cost(variances=[1.0]), Annealed(LBFGS(), [0.5, 1.0], 2), 4)
    again = build(describe(cold.warm()))
    assert describe(again) == describe(cold.warm())
    assert again.restarts.n_steps == 4


def test_forecasts_repeat_the_step_of_any_dynamics():
    torch.manual_seed(1)
    step, first = FlowStep(Lorenz63(), 0.01), torch.randn(2, 3, 1, dtype=torch.float64)
    control = ForecastControl(step, Identity())
    expected = [first]
    for _ in range(4):
        expected.append(step(expected[-1]))
    for assimilator in (
        Assimilator(VariationalCost(ObservationTerm(), DynamicsTerm(step)), GAUSS_NEWTON, 1),
        Assimilator(VariationalCost(ObservationTerm(), PriorTerm(FlowPrior(step))), GAUSS_NEWTON, 1),
        Assimilator(VariationalCost(ObservationTerm()), ControlSpace(LBFGS(), control), 1),
    ):
        assert has_dynamics(assimilator)
        torch.testing.assert_close(forecast(assimilator, first, 4), torch.cat(expected[1:], dim=2))
    none = Assimilator(VariationalCost(ObservationTerm(), PriorTerm(Conv(3, 3, [3]))), LBFGS(), 1)
    assert not has_dynamics(none)
    assert torch.equal(forecast(none, first, 3), first.expand(2, 3, 3))
    assert forecast(none, first, 0).shape == (2, 3, 0)
