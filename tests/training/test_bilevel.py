"""Learning the parameters of a cost by its minima: sure decreases, and little work for them."""

import pytest
import torch

from oceanvar.errors import ConfigError
from oceanvar.maps import Gradient, Identity
from oceanvar.training.bilevel import Bilevel, strong_convexity
from oceanvar.training.losses import Sample, mean_square
from oceanvar.variational import (
    LBFGS,
    Assimilator,
    ClimateMean,
    ConjugateGradients,
    LSTMSolver,
    MapTerm,
    Observations,
    ObservationTerm,
    VariationalCost,
)
from scripts.benchmarks.bilevel import dynamic, fronts, parameters_of, smoothed_variation, unrolled, work_to


def exact(cost: VariationalCost, sample: Sample) -> float:
    analysis = Assimilator(cost, LBFGS(tolerance=0), 300, ClimateMean()).solve(sample.obs).state
    return float(mean_square(analysis - sample.truth, sample.known))


def test_every_accepted_step_lowers_the_error_and_its_bound_holds():
    sample = fronts(0, n=2, size=10)
    cost = smoothed_variation()
    solver = Assimilator(cost, LBFGS(tolerance=0), 500, ClimateMean())
    bilevel, errors = Bilevel(solver, [sample], parameters_of(cost)), [exact(cost, sample)]
    for _ in range(4):
        *_, last = bilevel.run(1)
        errors.append(exact(cost, sample))
        assert abs(last.loss - errors[-1]) <= last.bound
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[0]


def test_the_weight_of_a_quadratic_cost_is_that_of_the_closed_form():
    """x = y / (1 + w): the w of least error of a field with variance s^2 under noise n^2 is n^2 / s^2."""
    torch.manual_seed(0)
    truth = torch.randn(1, 1, 1, 40, 40, dtype=torch.float64)
    obs = truth + 0.5 * torch.randn_like(truth)
    cost = VariationalCost(ObservationTerm(), MapTerm(Identity(), weight=2.0)).double()
    sample = Sample(truth, torch.ones_like(truth), Observations.from_nan(obs))
    weight = cost.terms[1].log_weight
    Bilevel(Assimilator(cost, ConjugateGradients(), 20, ClimateMean()), [sample], [weight]).run(40)
    best = float((obs * obs).sum() / (obs * truth).sum() - 1)  # least squares on this very sample
    assert float(weight.detach().exp()) == pytest.approx(best, rel=0.01)


def test_it_takes_a_fifth_of_the_work_of_fixed_unrolling():
    """Evaluations to the best error that 100 unrolled iterations reach in 25 steps, at the better of two rates."""
    sample = fronts(0, n=2, size=12)
    path, _ = dynamic(sample, 8)
    paths = [unrolled(sample, 100, 25, rate) for rate in (0.1, 0.3)]
    lowest = min(loss for each in paths for _, loss in each)
    target = 1.02 * max(lowest, path[-1][1])
    assert min(work_to(each, target) for each in paths) > 5 * work_to(path, target)
    assert path[-1][1] < 0.5 * path[0][1]


def test_clear_errors():
    sample = fronts(0, n=1, size=6)
    cost = VariationalCost(ObservationTerm(), MapTerm(Gradient([1, 2]))).double()
    with pytest.raises(ConfigError, match=r"LSTMSolver does not minimise the cost: use LBFGS\(tolerance=0\)"):
        Bilevel(Assimilator(cost, LSTMSolver(1, 2, [3] * 3), 2), [sample], [cost.terms[0].log_weight])
    with pytest.raises(ConfigError, match="there are no parameters to learn"):
        Bilevel(Assimilator(cost, LBFGS(), 2), [sample], [])
    with pytest.raises(ConfigError, match="nothing in the cost says how convex it is"):
        strong_convexity(cost, sample.truth)
    given = Bilevel(
        Assimilator(cost, LBFGS(tolerance=0), 50), [sample], [cost.terms[1].log_weight], convexity=1e-3
    )
    assert given.run(1)[0].bound > 0
