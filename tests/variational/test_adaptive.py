"""Interpolation that infers its covariance: it follows its observations, and minimises what it says it does."""

import pytest
import torch

from oceanvar.maps import AbstractMap, Conv, FoldTime, InStretches
from oceanvar.maps.padding import fixes_times
from oceanvar.variational import Observations
from oceanvar.variational.starts.adaptive import AdaptiveInterpolation
from oceanvar.variational.starts.lag_covariances import lag_products, lag_statistics, n_statistics
from oceanvar.variational.starts.refined import RefinedInterpolation
from oceanvar.variational.starts.waves import coloured, interpolated, root_of, whitened

SHAPE = (6, 9, 8)
KEYS = ("lengths", "variances", "weights")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def start(**options) -> AdaptiveInterpolation:
    """One whose network says something else for each window."""
    made = AdaptiveInterpolation(**{"n_hidden": 8, "n_steps": 12, **options}).double()
    torch.nn.init.normal_(made.network[-1].weight, 0, 0.3)
    return made


def observations(n: int = 2, share: float = 0.2) -> torch.Tensor:
    values = torch.randn(n, 1, *SHAPE, dtype=torch.float64).cumsum(-1).cumsum(-2)
    return torch.where(torch.rand(values.shape) < share, values, torch.nan)


def test_products_by_lag_are_those_of_all_pairs():
    values = observations(1)[0]
    mask = values.isfinite().double()
    values = values.nan_to_num(0)
    products, pairs = lag_products(values, mask)
    points = mask[0].nonzero()
    lags = (points[:, None] - points).abs()
    y = values[0][tuple(points.T)]
    for lag in ((0, 0, 0), (1, 2, 0), (0, 0, 3), (5, 1, 1)):
        alike = (lags == torch.tensor(lag)).all(-1)
        assert pairs[(0, *lag)] == alike.sum()
        torch.testing.assert_close(products[(0, *lag)], (y[:, None] * y)[alike].sum())


def test_statistics_do_not_change_with_the_amplitude():
    values = observations()[:, 0]
    mask = values.isfinite().double()
    values = values.nan_to_num(0)
    (variance, numbers), (larger, same) = (lag_statistics(factor * values, mask) for factor in (1, 30))
    assert numbers.shape == (2, 2 * n_statistics(3))
    torch.testing.assert_close(numbers, same)
    torch.testing.assert_close(larger, 900 * variance)


@pytest.mark.parametrize("length", [0.8, 2.0, 7.0])
def test_waves_have_the_covariance_of_a_gaussian(length):
    root = root_of([15], torch.tensor([length], dtype=torch.float64))[0]
    away = torch.arange(15.0, dtype=torch.float64)
    expected = torch.exp(-0.5 * ((away[:, None] - away) / length).square())
    # Two points that are half a period apart feel each other from both sides.
    torch.testing.assert_close(root @ root.T, expected, atol=0.03, rtol=0)


def test_whitening_is_the_transpose():
    root = root_of(SHAPE, torch.tensor([2.0, 3.0, 1.5], dtype=torch.float64))
    field = torch.randn(SHAPE, dtype=torch.float64)
    noise = torch.randn([matrix.shape[1] for matrix in root], dtype=torch.float64)
    torch.testing.assert_close((coloured(root, noise) * field).sum(), (noise * whitened(root, field)).sum())


def test_iterations_end_at_optimal_interpolation():
    """K H^T (H K H^T + R)^-1 y, the covariance written out."""
    roots = [
        root_of(SHAPE, torch.tensor(lengths, dtype=torch.float64))
        for lengths in ([2.0, 2.0, 3.0], [5.0, 6.0, 6.0])
    ]
    size = torch.Size(SHAPE).numel()
    basis = torch.eye(size, dtype=torch.float64).view(size, *SHAPE)
    covariance = sum(
        torch.stack([coloured(root, whitened(root, each)).flatten() for each in basis]) for root in roots
    )
    values = observations(1)[0, 0]
    seen = values.isfinite()
    weights = torch.where(seen, torch.rand(SHAPE, dtype=torch.float64) + 1, 0.0)
    found = interpolated(roots, weights, values.nan_to_num(0), 80)
    at = seen.flatten()
    gain = torch.linalg.solve(covariance[at][:, at] + (1 / weights[seen]).diag(), values[seen])
    torch.testing.assert_close(found.flatten(), covariance[:, at] @ gain, atol=1e-8, rtol=0)


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_a_first_guess_follows_a_factor_a_constant_and_a_turn(share):
    made = RefinedInterpolation(start(), Twice())
    values = observations(share=share)
    guess, error = made(Observations.from_nan(values)), made.assessed(Observations.from_nan(values))
    scaled = Observations.from_nan(-40 * values + 3)
    torch.testing.assert_close(made(scaled), -40 * guess + 3)
    torch.testing.assert_close(made.assessed(scaled).variance, 1600 * error.variance)
    torch.testing.assert_close(made.assessed(scaled).weights, error.weights / 1600)
    turned = made(Observations.from_nan(values.flip(2, 4)))
    torch.testing.assert_close(turned.flip(2, 4), guess)


@pytest.mark.parametrize("n_times", [4, 5, 7, 12])
def test_stretches_are_solved_alike_whatever_the_window(n_times):
    """Each time sees those around it, zeros beyond the window, and a network that knows its place in the stretch."""
    network = InStretches(FoldTime(Conv(5, 5, [1])), 3, 1)
    torch.nn.init.zeros_(network.inner.inner.weight)
    for time in range(1, 4):
        network.inner.inner.weight.data[time, time - 1, 0] = 1.0
        network.inner.inner.weight.data[time, time, 0] = 10.0 * time
    x = torch.arange(1.0, n_times + 1)[None, None, :, None].expand(2, 1, -1, 4)
    expected = (
        torch.cat((torch.zeros(1), torch.arange(1.0, n_times)))
        + 10 * (torch.arange(n_times) % 3 + 1) * x[0, 0, :, 0]
    )
    torch.testing.assert_close(network(x), expected[None, None, :, None].expand(2, 1, -1, 4))
    assert not fixes_times(list(network.modules()))
    assert fixes_times(list(network.inner.modules()))


def test_windows_do_not_depend_on_their_neighbours():
    values = observations(3)
    together, alone = start()(Observations.from_nan(values)), start()(Observations.from_nan(values[1:2]))
    torch.manual_seed(1)
    made = start()
    together, alone = made(Observations.from_nan(values)), made(Observations.from_nan(values[1:2]))
    torch.testing.assert_close(together[1:2], alone)


def test_variables_are_interpolated_by_themselves():
    values = observations(2)
    made = start()
    both = made(Observations.from_nan(values.view(1, 2, *SHAPE)))
    torch.testing.assert_close(both.view(2, 1, *SHAPE), made(Observations.from_nan(values)))


def test_stated_errors_weigh():
    """Observations that are said to be exact are met, those said to be worthless leave the mean."""
    values = observations(1)
    obs = Observations.from_nan(values)
    made = start(n_steps=60)
    torch.nn.init.zeros_(made.network[-1].weight)
    seen = obs.weights["state"] > 0
    for weight, is_met in ((1e6, True), (1e-8, False)):
        found = made(Observations(obs.values, {"state": torch.where(seen, weight, 0.0).double()}))
        errors = (found - obs.values["state"])[seen]
        assert (errors.std() < 0.4 * obs.values["state"][seen].std()) == is_met
    assert found.std() < 1e-3


@pytest.mark.parametrize("n_observed", [0, 1])
def test_windows_of_hardly_any_observation_give_numbers(n_observed):
    values = torch.full((1, 1, *SHAPE), torch.nan, dtype=torch.float64)
    values[0, 0, 2, 3, :n_observed] = 0.4
    made = start()
    found = made(Observations.from_nan(values))
    assert found.isfinite().all()
    found.square().sum().backward()
    assert all(each.grad.isfinite().all() for each in made.parameters())
    torch.testing.assert_close(found.detach(), torch.full_like(found, 0.4 * n_observed))


def test_the_covariance_learns_through_the_iterations():
    """The derivative of the analysis by the weights of the network, against finite differences."""
    made, obs = start(n_steps=4), Observations.from_nan(observations(1))
    bias = made.network[-1].bias
    made(obs).square().sum().backward()
    for i in range(0, len(bias), 3):
        with torch.no_grad():
            ends = []
            for shift in (1e-5, -1e-5):
                bias[i] += shift
                ends.append(float(made(obs).square().sum()))
                bias[i] -= shift
        assert float(bias.grad[i]) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-3, abs=1e-5)


class Twice(AbstractMap):
    """Two fields out of five, odd in those that change sign and even in the others."""

    def forward(self, x):
        return torch.stack((0.1 * x[:, 0] * x[:, 2] + 0.2 * x[:, 1], x[:, 3] - x[:, 1].abs()), dim=1)
