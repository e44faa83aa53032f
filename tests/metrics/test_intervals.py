"""Bootstrap intervals."""

import numpy as np
import pytest

from oceanvar.errors import ConfigError
from oceanvar.metrics import bootstrap_difference, bootstrap_interval, bootstrap_ratio, intervals


def test_intervals_cover_the_mean_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    n_trials = 400
    hits = 0
    for trial in range(n_trials):
        low, high = bootstrap_interval(rng.normal(3.0, 2.0, 40), 0.9, n_resamples=400, seed=trial)
        hits += low <= 3.0 <= high
    # 0.9 less the known shortfall for 40 units (about 0.015), 4 standard errors of 0.015
    assert 0.825 < hits / n_trials < 0.945


def test_interval_of_a_known_distribution() -> None:
    # two units 0 and 1: a resampled mean is 0, 0.5 or 1 with probability 1/4, 1/2, 1/4
    assert bootstrap_interval([0.0, 1.0], level=0.4) == (0.5, 0.5)
    assert bootstrap_interval([0.0, 1.0], level=0.8) == (0.0, 1.0)
    assert bootstrap_interval([4.0, 4.0, 4.0]) == (4.0, 4.0)
    # many normal units: mean +- 1.96 std / sqrt(n)
    units = np.random.default_rng(0).standard_normal(2000)
    expected = units.mean() + np.array([-1.96, 1.96]) * units.std() / np.sqrt(2000)
    np.testing.assert_allclose(bootstrap_interval(units, n_resamples=4000), expected, atol=0.003)


def test_paired_intervals_see_through_what_the_units_share() -> None:
    rng = np.random.default_rng(0)
    hard = rng.exponential(1.0, 50) + 0.1  # windows differ much more than methods
    np.testing.assert_allclose(bootstrap_ratio(0.8 * hard, hard), 0.8)
    np.testing.assert_allclose(bootstrap_difference(hard - 0.2, hard), -0.2)
    low, high = bootstrap_interval(hard)
    assert high - low > 0.3
    with pytest.raises(ConfigError, match="bootstrap_difference"):
        bootstrap_ratio(hard, hard - 1.1)


def test_resampling_is_reproducible_and_bounded_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    units = np.random.default_rng(0).standard_normal(50)
    whole = bootstrap_interval(units, n_resamples=1000)
    monkeypatch.setattr(intervals, "_MAX_DRAWS", 350)  # blocks of 7 resamples
    assert bootstrap_interval(units, n_resamples=1000) == whole
    assert bootstrap_interval(units, n_resamples=1000, seed=1) != whole


def test_intervals_refuse_what_they_cannot_use() -> None:
    cases = [
        (lambda: bootstrap_interval([1.0, np.nan, 2.0]), "1 of 3 values are NaN"),
        (lambda: bootstrap_interval([1.0]), r"shape \(1,\)"),
        (lambda: bootstrap_interval([1.0, 2.0], level=95), "level is 95"),
        (lambda: bootstrap_interval([1.0, 2.0], n_resamples=0), "n_resamples is 0"),
        (lambda: bootstrap_ratio([1.0, 2.0], [1.0, 2.0, 3.0]), "2 values cannot be paired with 3"),
    ]
    for call, message in cases:
        with pytest.raises(ConfigError, match=message):
            call()
