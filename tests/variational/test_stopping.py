"""Solves that end when they have done enough, window by window."""

import pytest
import torch

from oceanvar.errors import ConfigError
from oceanvar.variational import (
    LBFGS,
    AbstractSolver,
    Assimilator,
    BoundedLBFGS,
    Box,
    ClimateMean,
    CountTerm,
    Discrepancy,
    GradientDescent,
    LinearisedBregman,
    LSTMSolver,
    Observations,
    ObservationTerm,
    ProximalGradient,
    SmallGradient,
    Standstill,
    VariationalCost,
    Verdict,
)
from tests.variational.problems import linear_cost, observations


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(5)


class Counting(AbstractSolver):
    """Gradient descent that notes how many windows each step is given."""

    def __init__(self):
        super().__init__()
        self.inner = GradientDescent()
        self.sizes = []

    def init(self, cost, obs, state):
        return self.inner.init(cost, obs, state)

    def step(self, cost, obs, state, carry):
        self.sizes.append(len(state))
        return self.inner.step(cost, obs, state, carry)


NOISE = (0.05, 0.2, 0.8)


def noisy(n_sites: int = 400) -> tuple[VariationalCost, Observations]:
    """Windows whose observations have errors of another size each, told by their weights."""
    values = 1 + torch.randn(3, 1, 1, n_sites, dtype=torch.float64) * torch.tensor(NOISE).view(3, 1, 1, 1)
    variances = torch.tensor(NOISE, dtype=torch.float64).square().view(3, 1, 1, 1).expand_as(values)
    return VariationalCost(ObservationTerm(variances=[1.0])), Observations(
        {"state": values}, {"state": 1 / variances}
    )


def misfits(state: torch.Tensor, obs: Observations) -> torch.Tensor:
    return (obs.weights["state"] * (state - obs.values["state"]).square()).flatten(1).mean(1)


def test_the_discrepancy_ends_at_the_first_state_that_fits_as_closely_as_the_errors():
    cost, obs = noisy()
    stopped = Assimilator(cost, GradientDescent(0.2), 2000, ClimateMean(), stop=Discrepancy(1.05)).solve(obs)
    assert stopped.verdict.tolist() == [Verdict.CONVERGED] * 3
    misfit = misfits(stopped.state, obs)
    assert (misfit <= 1.05**2).all()
    assert (misfit > 0.8).all()
    # The state before the last did not fit: plain iterations pass through the same states.
    states = list(Assimilator(cost, GradientDescent(0.2), 2000, ClimateMean()).iterates(obs))
    for i in range(3):
        first = next(k for k, state in enumerate(states) if misfits(state, obs)[i] <= 1.05**2)
        assert first > 0
        assert torch.equal(states[first][i], stopped.state[i])


def test_windows_that_have_ended_cost_nothing():
    cost, obs = linear_cost(), observations(4)
    solver = Counting()
    analysis = Assimilator(cost, solver, 3000, stop=Standstill(1e-3)).solve(obs)
    assert (analysis.verdict == Verdict.CONVERGED).all()
    assert solver.sizes[0] == 4
    assert len(set(solver.sizes)) > 1
    assert solver.sizes == sorted(solver.sizes, reverse=True)
    for i in range(4):
        alone = Assimilator(cost, Counting(), 3000, stop=Standstill(1e-3)).solve(obs[[i]])
        torch.testing.assert_close(alone.state, analysis.state[[i]])


@pytest.mark.parametrize("solver", [LBFGS(), LSTMSolver(2, 3, [3, 3])], ids=["LBFGS", "LSTM"])
def test_solvers_with_a_memory_keep_that_of_the_windows_that_go_on(solver):
    cost, obs = linear_cost(), observations(5)
    cost, solver = cost.double(), solver.double()

    class AfterSteps(Discrepancy):
        """Window i ends after i iterations."""

        def __init__(self):
            self.done = -1
            self.left = torch.arange(5)

        def has_ended(self, cost, obs, before, after):
            self.done += 1
            ended = self.left <= self.done
            self.left = self.left[~ended]
            return ended

    found = Assimilator(cost, solver, 10, stop=AfterSteps()).solve(obs).state
    # A solver that does more than minimise the cost makes one iteration before the rule is asked.
    first = 0 if solver.minimises else 1
    for i in range(5):
        torch.testing.assert_close(found[[i]], Assimilator(cost, solver, first + i).solve(obs[[i]]).state)


def test_windows_that_go_on_are_judged_by_their_solver():
    cost, obs = linear_cost(), observations(3)
    analysis = Assimilator(cost, GradientDescent(1.0), 2, stop=Standstill(1e-12)).solve(obs)
    assert analysis.verdict.tolist() == [Verdict.STOPPED] * 3
    torch.testing.assert_close(analysis.state, Assimilator(cost, GradientDescent(1.0), 2).solve(obs).state)
    unmoved = Assimilator(cost, GradientDescent(1.0), 0, stop=Standstill()).solve(obs)
    assert unmoved.verdict.tolist() == [Verdict.STOPPED] * 3


def test_bounds_hold_where_the_first_guess_fits_already():
    obs = observations(3)
    cost = VariationalCost(ObservationTerm(variances=[0.5, 0.2])).double()
    for solver in (ProximalGradient(Box(-0.5, 0.5)), BoundedLBFGS(-0.5, 0.5)):
        found = Assimilator(cost, solver, 30, stop=Discrepancy()).solve(obs).state
        assert float(found.abs().max()) <= 0.5


def test_clear_errors():
    with pytest.raises(
        ConfigError, match="ProximalGradient does not end where the gradient of the cost is 0"
    ):
        Assimilator(
            VariationalCost(ObservationTerm()), ProximalGradient(Box(0.0)), 3, stop=SmallGradient(1.0)
        )
    with pytest.raises(ConfigError, match="LinearisedBregman stands still for a while"):
        Assimilator(VariationalCost(ObservationTerm()), LinearisedBregman(1.0), 3, stop=Standstill())
    counts = VariationalCost(CountTerm()).double()
    with pytest.raises(ConfigError, match="looks at observation terms, and the cost has none"):
        Assimilator(counts, LBFGS(), 3, stop=Discrepancy()).solve(
            Observations.from_nan(torch.ones(1, 2, 7, 3))
        )
    with pytest.raises(ConfigError, match="factor of Discrepancy must be at least 1"):
        Discrepancy(0.9)
    with pytest.raises(ConfigError, match="tolerance of Standstill must be positive"):
        Standstill(0.0)
