"""Gauss-Newton by block elimination against dense matrices and a Kalman smoother."""

import itertools

import pytest
import torch

from oceanvar.dynamics import FlowStep, Lorenz96
from oceanvar.errors import ConfigError
from oceanvar.maps import AbstractMap, Chain, Conv, SiLU
from oceanvar.variational import (
    Assimilator,
    BackgroundTerm,
    BlockAverage,
    BlockTridiagonalGaussNewton,
    DynamicsTerm,
    FirstStateTerm,
    FlowPrior,
    Observations,
    ObservationTerm,
    PriorTerm,
    SmoothedL1,
    Squared,
    SwathWhitening,
    VariationalCost,
    posterior_variance,
    weak_constraint_cost,
)
from oceanvar.variational.blocks import step_jacobian
from tests.variational.problems import (
    SHAPE,
    LinearStep,
    lorenz63_problem,
    observations,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(3)


def step() -> AbstractMap:
    return Chain(Conv(2, 2, [1, 3], [False, True]), SiLU())


TERMS = {
    "observations": lambda penalty: ObservationTerm(variances=[0.5, 0.2], penalty=penalty),
    "background": lambda penalty: BackgroundTerm(weight=0.3, penalty=penalty),
    "first_state": lambda penalty: (
        FirstStateTerm([2, 3], penalty=penalty).double().fit_(torch.randn(50, *SHAPE))
    ),
    "dynamics": lambda penalty: DynamicsTerm(step(), weight=4.0, penalty=penalty, variances=[0.4, 0.1]),
    "flow_prior": lambda penalty: PriorTerm(FlowPrior(step()), weight=2.0, penalty=penalty),
}
COMBINATIONS = [each for n in range(1, 6) for each in itertools.combinations(TERMS, n)]


@pytest.mark.parametrize("names", COMBINATIONS, ids="-".join)
@pytest.mark.parametrize("penalty", [Squared(), SmoothedL1(0.4)])
def test_blocks_are_the_dense_gauss_newton_matrix(names, penalty):
    cost, obs = VariationalCost(*(TERMS[name](penalty) for name in names)).double(), observations()
    x = torch.randn(3, *SHAPE, dtype=torch.float64)
    with torch.no_grad():
        point = cost.at(x, obs)
        blocks = point.blocks()
        eye = torch.eye(42, dtype=x.dtype).view(-1, 1, *SHAPE)
        columns = [point.product(e.expand_as(x)).movedim(2, 1).flatten(1) for e in eye]
    n_times, n = SHAPE[1], SHAPE[0] * SHAPE[2]
    dense = torch.zeros(3, n_times, n, n_times, n, dtype=x.dtype)
    for t in range(n_times):
        dense[:, t, :, t] = blocks.diagonal[:, t]
    for t in range(n_times - 1):
        dense[:, t + 1, :, t] = blocks.lower[:, t]
        dense[:, t, :, t + 1] = blocks.lower[:, t].mT
    order = torch.arange(42).view(SHAPE).movedim(1, 0).flatten()  # columns by time too
    expected = torch.stack(columns, dim=2)[:, :, order]
    torch.testing.assert_close(dense.view(3, 42, 42), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    "term",
    [
        ObservationTerm(BlockAverage([1, 3]), name="coarse"),
        ObservationTerm(whitening=SwathWhitening(2.0, axis=2)),
        BackgroundTerm(Conv(2, 2, [3, 3])),
        PriorTerm(Conv(2, 2, [3, 3])),
    ],
)
def test_a_term_that_reaches_further_says_so(term):
    cost, obs = VariationalCost(DynamicsTerm(LinearStep(6)), term).double(), observations()
    obs.values["coarse"] = obs.weights["coarse"] = torch.zeros(3, 2, 7, 1).double()
    with pytest.raises(ConfigError, match=f"cannot take {type(term).__name__} as it stands.*use GaussNewton"):
        cost.at(obs.background, obs).blocks()


def test_flow_prior_and_dynamics_term_give_the_same_steps():
    obs, model = observations(), LinearStep(6).double()
    analyses = [
        Assimilator(
            VariationalCost(ObservationTerm(), term).double(), BlockTridiagonalGaussNewton(), n_steps=3
        )
        .solve(obs)
        .state
        for term in (DynamicsTerm(model), PriorTerm(FlowPrior(model)))
    ]
    torch.testing.assert_close(*analyses)


def test_jacobian_of_a_model_step_agrees_with_autograd():
    flow = FlowStep(Lorenz96(), 0.05)
    points = torch.randn(2, 1, 3, 5, dtype=torch.float64)
    expected = torch.func.jacrev(lambda x: flow(x.view(1, 1, 1, 5)).flatten())(points[1, 0, 2])
    torch.testing.assert_close(step_jacobian(flow, points)[1, 2], expected)


def kalman_smoother(matrix, model_var, obs_var, mean, covariance, y, observed):
    """Means and covariances of the textbook filter and Rauch-Tung-Striebel smoother."""
    n, filtered, forecasts = len(mean), [], []
    x, P = mean, covariance
    for t in range(len(y)):
        if t:
            x, P = matrix @ x, matrix @ P @ matrix.T + model_var * torch.eye(n).double()
        forecasts.append((x, P))
        H = torch.eye(n).double()[observed[t]]
        K = P @ H.T @ torch.linalg.inv(H @ P @ H.T + obs_var * torch.eye(len(H)).double())
        x, P = x + K @ (y[t][observed[t]] - H @ x), P - K @ H @ P
        filtered.append((x, P))
    smoothed = [filtered[-1]]
    for t in reversed(range(len(y) - 1)):
        (x, P), (xf, Pf), (xs, Ps) = filtered[t], forecasts[t + 1], smoothed[0]
        G = P @ matrix.T @ torch.linalg.inv(Pf)
        smoothed.insert(0, (x + G @ (xs - xf), P + G @ (Ps - Pf) @ G.T))
    return torch.stack([x for x, _ in smoothed]), torch.stack([P.diagonal() for _, P in smoothed])


def test_one_step_is_the_kalman_smoother_in_physical_units():
    n, n_times, std, mean = 3, 9, [1.7, 0.6, 2.5], [0.5, -1.0, 2.0]
    step = LinearStep(n).double()
    training = torch.randn(40, n, n_times, dtype=torch.float64)
    background = FirstStateTerm([n]).double().fit_(training)
    cost = weak_constraint_cost(
        step, obs_variance=0.3, model_error_variance=0.05, mean=mean, std=std, background=background
    )
    s, m = torch.tensor(std, dtype=torch.float64), torch.tensor(mean, dtype=torch.float64)
    y = torch.randn(n_times, n, dtype=torch.float64)
    observed = torch.rand(n_times, n) < 0.5
    normalised = torch.where(observed, (y - m) / s, torch.nan).T.unsqueeze(0)
    obs = Observations.from_nan(normalised, background=torch.zeros(1, n, n_times).double())
    analysis = Assimilator(cost, BlockTridiagonalGaussNewton(damping=0.0), n_steps=1).solve(obs).state
    variance = posterior_variance(cost, analysis, obs)
    flat = training.movedim(2, 1).flatten(0, 1)
    matrix = step.matrix.detach()
    x, P = kalman_smoother(matrix, 0.05, 0.3, flat.mean(0) * s + m, flat.T.cov() * s.outer(s), y, observed)
    torch.testing.assert_close(analysis[0].T * s + m, x, rtol=0, atol=1e-8)
    torch.testing.assert_close(variance[0].T * s**2, P, rtol=1e-7, atol=0)


def test_single_precision_comes_close_to_double():
    cost, obs, truth, _ = lorenz63_problem(10)
    solver = BlockTridiagonalGaussNewton()
    double = Assimilator(cost, solver, 15).solve(obs).state
    single = Assimilator(cost, solver, 15).solve(obs.to(torch.float32)).state
    assert single.dtype == torch.float32
    assert (single - double).square().mean() < 0.01 * (double - truth).square().mean()


def test_half_precision_around_it_changes_nothing():
    cost, obs, _, _ = lorenz63_problem(2)
    cost, obs = cost.float(), obs.to(torch.float32)
    assimilator = Assimilator(cost, BlockTridiagonalGaussNewton(), 3)
    expected = assimilator.solve(obs).state
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(assimilator.solve(obs).state, expected)
