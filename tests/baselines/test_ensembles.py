"""Ensemble filters and smoothers: Kalman's closed forms where the model is linear, known errors where it is not."""

import numpy as np
import pytest
import torch

from oceanvar.baselines import enkf, gaspari_cohn, ienks, letkf
from oceanvar.dynamics import FlowStep, Lorenz63, Lorenz96
from oceanvar.errors import ConfigError

NOISE = 0.7
RNG = np.random.default_rng(0)
MODEL = np.linalg.qr(RNG.standard_normal((3, 3)))[0] @ np.diag([1.05, 0.9, 0.8])


def linear(members):
    return members @ MODEL.T


def problem(n_windows=2, n_times=7, n_members=6):
    """First members, observations of parts of the state at some of the steps."""
    rng = np.random.default_rng(1)
    first = rng.standard_normal((n_windows, n_members, 3)) * [2.0, 1.0, 0.5] + 1
    obs = rng.standard_normal((n_windows, n_times, 3))
    obs[:, ::2] = np.nan
    obs[:, 3, 0] = np.nan
    return obs, first


def kalman(obs, first):
    """Means and covariances of filter and smoother (Rauch, Tung and Striebel), from those of the members."""
    mean, cov = first.mean(0), np.cov(first.T)
    forecasts, analyses = [], []
    for seen in obs:
        forecasts.append((mean, cov))
        where = np.isfinite(seen)
        H = np.eye(len(seen))[where]
        gain = cov @ H.T @ np.linalg.inv(H @ cov @ H.T + NOISE**2 * np.eye(where.sum()))
        mean, cov = mean + gain @ (seen[where] - H @ mean), cov - gain @ H @ cov
        analyses.append((mean, cov))
        mean, cov = MODEL @ mean, MODEL @ cov @ MODEL.T
    smoothed = [analyses[-1]]
    for (a, A), (f, F) in zip(analyses[-2::-1], forecasts[:0:-1], strict=True):
        G = A @ MODEL.T @ np.linalg.inv(F)
        s, S = smoothed[0]
        smoothed.insert(0, (a + G @ (s - f), A + G @ (S - F) @ G.T))
    return [
        (np.array([m for m, _ in each]), np.array([np.sqrt(np.diag(C)) for _, C in each]))
        for each in (analyses, smoothed)
    ]


@pytest.mark.parametrize("rotated", [False, True])
def test_the_transform_filter_is_kalman_s(rotated):
    obs, first = problem()
    found = letkf(obs, linear, first, NOISE, rotated=rotated)
    for number in range(len(obs)):
        mean, std = kalman(obs[number], first[number])[0]
        np.testing.assert_allclose(found.mean[number], mean, atol=1e-10)
        np.testing.assert_allclose(found.std[number], std, atol=1e-10)


@pytest.mark.parametrize("rotated", [False, True])
def test_a_smoother_over_the_whole_window_is_that_of_rauch_tung_and_striebel(rotated):
    obs, first = problem()
    found = ienks(obs, linear, first, NOISE, lag=4, rotated=rotated)
    for number in range(len(obs)):
        mean, std = kalman(obs[number], first[number])[1]
        np.testing.assert_allclose(found.mean[number], mean, atol=1e-10)
        np.testing.assert_allclose(found.std[number], std, atol=1e-10)


def test_a_lag_smooths_as_far_as_it_reaches():
    """A step is as the observations up to `lag` times after the last one before it have it."""
    obs, first = problem()
    times = [1, 3, 5]
    for lag in (1, 2):
        found = ienks(obs, linear, first, NOISE, lag=lag)
        for now in range(obs.shape[1]):
            reached = [t for t in times if t <= now][-1:]
            until = times[min(len(times) - 1, (times.index(reached[0]) if reached else -1) + lag)]
            cut = obs.copy()
            cut[:, until + 1 :] = np.nan
            mean = kalman(cut[0], first[0])[1][0]
            np.testing.assert_allclose(found.mean[0, now], mean[now], atol=1e-10)


def test_perturbed_observations_give_kalman_s_mean_at_once_and_his_variance_in_the_mean():
    obs, first = problem(n_members=400)
    found = enkf(obs[:1], linear, first[:1], NOISE)
    mean, std = kalman(obs[0], first[0])[0]
    np.testing.assert_allclose(found.mean[0, :2], mean[:2], atol=1e-10)
    np.testing.assert_allclose(found.mean[0], mean, atol=0.1)
    np.testing.assert_allclose(found.std[0], std, rtol=0.12)


def test_tapers_of_one_change_nothing_and_tapers_of_a_point_see_that_point_alone():
    obs, first = problem()
    whole = letkf(obs, linear, first, NOISE, rotated=False)
    local = letkf(obs, linear, first, NOISE, rotated=False, tapers=np.ones((3, 3)))
    np.testing.assert_allclose(local.mean, whole.mean, atol=1e-10)
    np.testing.assert_allclose(local.std, whole.std, atol=1e-10)
    alone = letkf(obs[:, 1:2], linear, first, NOISE, rotated=False, tapers=np.eye(3))
    variance = first.var(1, ddof=1)
    gain = variance / (variance + NOISE**2)
    expected = first.mean(1) + gain * (obs[:, 1] - first.mean(1))
    np.testing.assert_allclose(alone.mean[:, 0], expected, atol=1e-10)
    np.testing.assert_allclose(alone.std[:, 0], np.sqrt((1 - gain) * variance), atol=1e-10)


def test_windows_do_not_know_of_each_other_and_nothing_observed_changes_nothing():
    obs, first = problem()
    with_gap = obs.copy()
    with_gap[1, 3] = np.nan
    for method, given in ((letkf, with_gap), (ienks, obs)):
        both = method(given, linear, first, NOISE, inflation=1.1, rotated=False)
        for number in (0, 1):
            one = slice(number, number + 1)
            alone = method(given[one], linear, first[one], NOISE, inflation=1.1, rotated=False)
            np.testing.assert_allclose(both.mean[one], alone.mean, atol=1e-9)
    free = enkf(np.full_like(obs, np.nan), linear, first, NOISE, inflation=1.1)
    np.testing.assert_allclose(free.mean[:, 3], linear(linear(linear(first))).mean(1), atol=1e-12)


def test_inflation_widens_what_was_analysed():
    obs, first = problem()
    plain, wide = (letkf(obs[:, :2], linear, first, NOISE, inflation=each) for each in (1.0, 1.3))
    np.testing.assert_allclose(wide.std[:, 1], 1.3 * plain.std[:, 1])
    np.testing.assert_allclose(wide.mean, plain.mean)


def test_the_taper_of_gaspari_and_cohn():
    c = np.sqrt(10 / 3)
    assert gaspari_cohn(np.zeros(1), 1.0)[0] == 1
    np.testing.assert_allclose(gaspari_cohn(np.array([c, 2 * c, 9.0]), 1.0), [5 / 24, 0, 0], atol=1e-12)
    assert gaspari_cohn(np.array([2.0]), 2.0)[0] == pytest.approx(np.exp(-0.5), abs=0.03)
    below, above = gaspari_cohn(np.array([c - 1e-9, c + 1e-9]), 1.0)
    assert below == pytest.approx(above, abs=1e-8)
    distances = np.abs(np.arange(40)[:, None] - np.arange(40))
    circle = gaspari_cohn(np.minimum(distances, 40 - distances), 3.0)
    assert np.linalg.eigvalsh(circle).min() > -1e-12


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"first": np.zeros((2, 1, 3))}, "at least 2 members"),
        ({"first": np.zeros((3, 5, 3))}, "observations of 2 windows"),
        ({"obs": np.zeros((7, 3))}, "have the shape"),
        ({"noise_std": 0.0}, "noise_std must be above 0"),
        ({"inflation": np.nan}, "inflation must be above 0"),
        ({"step": lambda members: members * 1e200}, "left all numbers behind by step 1"),
    ],
)
def test_what_cannot_be_is_refused(change, said):
    obs, first = problem()
    options = {"obs": obs, "step": linear, "first": first, "noise_std": NOISE} | change
    for method in (enkf, letkf, ienks):
        with np.errstate(all="ignore"), pytest.raises(ConfigError, match=said):
            method(**options)


def test_tapers_and_lags_that_cannot_be_are_refused():
    obs, first = problem()
    with pytest.raises(ConfigError, match=r"are \(3, 3\)"):
        letkf(obs, linear, first, NOISE, tapers=np.ones((2, 2)))
    for options in ({"lag": 0}, {"n_iterations": 0}):
        with pytest.raises(ConfigError, match="at least 1"):
            ienks(obs, linear, first, NOISE, **options)


def twin(tendency, dt, every, noise, n_cycles, n_runs, n_members, spread):
    """Observations of whole states, true states, and first members about the first of them."""
    flow = FlowStep(tendency, dt)

    def step(members):
        rows = torch.from_numpy(members.reshape(-1, members.shape[-1]))
        shaped = rows[:, :, None] if rows.shape[1] == 3 else rows[:, None, None]
        with torch.inference_mode():
            return flow(shaped).numpy().reshape(members.shape)

    rng = np.random.default_rng(5)
    n = 3 if isinstance(tendency, Lorenz63) else 40
    state = rng.standard_normal((n_runs, n))
    for _ in range(1000):
        state = step(state)
    truth = [state]
    for _ in range(n_cycles * every):
        truth.append(step(truth[-1]))
    truth = np.stack(truth, 1)
    obs = np.full(truth.shape, np.nan)
    obs[:, every::every] = truth[:, every::every] + noise * rng.standard_normal(truth[:, every::every].shape)
    first = truth[:, :1] + spread * rng.standard_normal((n_runs, n_members, n))
    return obs, truth, first, step


def rmse(found, truth, every, spin_up):
    errors = np.sqrt(np.square(found.mean - truth).mean(-1))[:, every::every]
    return errors[:, spin_up:].mean()


def test_errors_on_lorenz_63_are_those_of_the_tables():
    """Sakov, Oliver and Bertino (2012), table 1: observations of all components every 0.25, error variance 2."""
    obs, truth, first, step = twin(Lorenz63(), 0.01, 25, 2**0.5, 60, 40, 10, 2**0.5)
    assert rmse(letkf(obs, step, first, 2**0.5, inflation=1.02), truth, 25, 16) == pytest.approx(
        0.6, abs=0.08
    )
    assert rmse(enkf(obs, step, first, 2**0.5, inflation=1.04), truth, 25, 16) == pytest.approx(
        0.67, abs=0.12
    )


def test_errors_on_lorenz_96_are_those_of_the_tables():
    """Sakov and Oke (2008), table 1: observations of all sites every 0.05, error variance 1."""
    obs, truth, first, step = twin(Lorenz96(), 0.05, 1, 1.0, 250, 8, 24, 0.03)
    found = letkf(obs, step, first, 1.0, inflation=1.013)
    assert rmse(found, truth, 1, 100) == pytest.approx(0.18, abs=0.02)
    sites = np.abs(np.arange(40)[:, None] - np.arange(40))
    tapers = gaspari_cohn(np.minimum(sites, 40 - sites), 4.0)
    found = letkf(obs, step, first[:, :7], 1.0, inflation=1.04, tapers=tapers)
    assert rmse(found, truth, 1, 100) == pytest.approx(0.22, abs=0.02)
