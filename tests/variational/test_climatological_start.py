"""Optimal interpolation as a first guess against the same written out in full."""

import pytest
import torch

from oceanvar.variational import ClimatologicalStart, Observations
from oceanvar.variational.starts.climatological import lag_covariances


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(3)


def stationary_windows(n: int, n_times: int = 12) -> torch.Tensor:
    """Two coupled autoregressive series ``(n, 2, T)`` around (1, 0)."""
    matrix = torch.tensor([[0.9, 0.2], [-0.2, 0.8]]).double()
    state, states = torch.zeros(n, 2, dtype=torch.float64), []
    for _ in range(60 + n_times):
        state = state @ matrix.T + 0.3 * torch.randn_like(state)
        states.append(state)
    return torch.stack(states[60:], dim=2) + torch.tensor([1.0, 0.0]).double().view(2, 1)


def test_the_climatological_start_is_dense_optimal_interpolation():
    training = stationary_windows(4000)
    start = ClimatologicalStart([2, 12], variances=[0.1, 0.3]).double().fit_(training)
    truth = stationary_windows(3)
    noise = torch.tensor([0.1, 0.3]).double().view(2, 1)
    values = truth + noise.sqrt() * torch.randn_like(truth)
    values[torch.rand(3, 2, 12) < 0.5] = torch.nan
    guess = start(Observations.from_nan(values))
    # Every lag from the stored covariances, written out in full.
    lags = start.covariances
    full = torch.stack(
        [torch.cat([lags[t - s] if t >= s else lags[s - t].T for s in range(12)], dim=1) for t in range(12)]
    ).flatten(0, 1)
    assert torch.linalg.eigvalsh(full).min() > -1e-10
    for window in range(3):
        y = values[window].T.flatten()
        seen = torch.isfinite(y)
        R = torch.tensor([0.1, 0.3]).double().repeat(12)[seen].diag()
        gain = full[:, seen] @ torch.linalg.inv(full[seen][:, seen] + R)
        mean = start.mean.repeat(12)
        expected = mean + gain @ (y - mean)[seen]
        torch.testing.assert_close(guess[window].T.flatten(), expected)


def test_the_covariances_are_those_of_anomalies():
    training = stationary_windows(50)
    start, shifted = (
        ClimatologicalStart([2, 12], [0.1, 0.3]).double().fit_(each) for each in (training, training + 5)
    )
    torch.testing.assert_close(shifted.covariances, start.covariances)
    torch.testing.assert_close(shifted.mean, start.mean + 5)


def test_covariances_from_few_windows_fit_together():
    lags = lag_covariances(torch.randn(2, 12, 3, dtype=torch.float64))
    full = torch.cat(
        [torch.cat([lags[t - s] if t >= s else lags[s - t].T for s in range(12)], dim=1) for t in range(12)]
    )
    assert torch.linalg.eigvalsh(full).min() > -1e-10


def test_estimated_covariances_are_those_of_the_process():
    training = stationary_windows(4000)
    anomalies = (training - training.mean((0, 2)).view(2, 1)).movedim(2, 1)
    sample = anomalies.flatten(1).T.cov().view(12, 2, 12, 2)
    lags = lag_covariances(anomalies)
    for lag in range(4):
        torch.testing.assert_close(lags[lag], sample[lag + 2, :, 2], rtol=0, atol=0.05)


def test_the_climatological_start_takes_any_mask_and_shorter_windows():
    start = ClimatologicalStart([2, 12], variances=[0.1, 0.3]).double().fit_(stationary_windows(200))
    values = stationary_windows(4)[:, :, :8]
    values[0] = torch.nan
    values[1, :, 1:] = torch.nan
    obs = Observations.from_nan(values)
    guess = start(obs)
    torch.testing.assert_close(guess[0], start.mean.view(2, 1).expand(2, 8))
    alone = torch.cat([start(obs[[i]]) for i in range(4)])
    torch.testing.assert_close(guess, alone, rtol=1e-12, atol=1e-12)
    halved = Observations(obs.values, {"state": obs.weights["state"] * 0.5})
    coarse = ClimatologicalStart([2, 12], variances=[0.2, 0.6]).double()
    coarse.load_state_dict(start.state_dict())
    torch.testing.assert_close(start(halved), coarse(obs))
