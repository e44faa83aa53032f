"""Clouds: their share of the sky, the correlation they are made with, their drift."""

import numpy as np
import pytest

from oceanvar.errors import ConfigError, MissingVariableError
from oceanvar.observing import MovingClouds

SIZES = {"variable": 2, "time": 6, "latitude": 12, "longitude": 16}
SIZE = {"latitude": 2.0, "longitude": 3.0}


def hidden(clouds: MovingClouds, sizes: dict[str, int] = SIZES, seed: int = 0) -> np.ndarray:
    return ~clouds.mask(sizes, {}, np.random.default_rng(seed))


def test_the_share_of_hidden_cells_is_the_same_everywhere_and_all_variables_share_it() -> None:
    for fraction in (0.3, 0.6):
        clouds = MovingClouds(fraction, SIZE, 2.0, {"longitude": 1.5})
        draws = np.array([hidden(clouds, seed=seed) for seed in range(1500)])
        assert (draws == draws[:, :1]).all()
        # 1500 independent draws of a cell: standard deviation 0.013 at most; 1152 cells are looked at.
        assert np.abs(draws[:, 0].mean(axis=0) - fraction).max() < 5 * 0.013
        assert abs(draws.mean() - fraction) < 0.01


def test_pairs_are_hidden_together_as_the_orthant_formula_says() -> None:
    drift = 1.0
    clouds = MovingClouds(0.5, SIZE, 2.0, {"longitude": drift})
    draws = np.array([hidden(clouds, seed=seed)[0] for seed in range(3000)])
    for days, y, x in ((0, 2, 0), (0, 0, 3), (2, 0, 0), (2, 0, 2), (1, 1, 4), (3, 0, -3)):
        first = draws[:, 3 - days, 4, 8 - x]
        second = draws[:, 3, 4 + y, 8]
        squares = (days / 2) ** 2 + (y / 2) ** 2 + ((x - drift * days) / 3) ** 2
        # Two Gaussians of correlation rho are both positive with probability 1/4 + asin(rho) / (2 pi).
        expected = 0.25 + np.arcsin(np.exp(-squares / 2)) / (2 * np.pi)
        assert abs((first & second).mean() - expected) < 4 * np.sqrt(0.25 / 3000), (days, y, x)


@pytest.mark.parametrize("dim", ["latitude", "longitude"])
def test_clouds_that_live_long_only_drift(dim: str) -> None:
    clouds = MovingClouds(0.5, SIZE, 300.0, {dim: -2.0})
    skies = np.array([hidden(clouds, seed=seed)[0] for seed in range(20)])
    now, later = (np.moveaxis(skies[:, time], 1 + list(SIZE).index(dim), 1) for time in (0, 3))
    # 3 of 300 steps: correlation rho = exp(-(3 / 300)^2 / 2), so that acos(rho) / pi = 0.3 % of the cells change.
    assert (later[:, :-6] != now[:, 6:]).mean() < 0.01
    assert (later != now).mean() > 0.1


def test_clouds_do_not_come_back_round_the_edge() -> None:
    # In 6 steps these drift by more than the window and its margin of 9 points.
    clouds = MovingClouds(0.5, SIZE, 20.0, {"longitude": 7.0})
    draws = np.array([hidden(clouds, seed=seed)[0] for seed in range(400)])
    first = draws[:, 0, 6, :, None]
    last = draws[:, 5, 6, None, :]
    both = (first & last).mean(axis=0)
    assert np.abs(both - 0.25).max() < 5 * np.sqrt(0.1875 / 400)


def test_only_the_dimensions_of_the_clouds_matter() -> None:
    lines = MovingClouds(0.4, {"site": 4.0}, 3.0)
    sky = hidden(lines, {"site": 40, "variable": 2, "depth": 3, "time": 10})
    assert sky.shape == (40, 2, 3, 10)
    assert (sky == sky[:, :1, :1]).all()
    assert (sky != hidden(lines, {"site": 40, "variable": 2, "depth": 3, "time": 10}, seed=1)).any()


@pytest.mark.parametrize(
    "options",
    [
        {"fraction": 0.0},
        {"fraction": 1.0},
        {"fraction": float("nan")},
        {"size": {}},
        {"size": {"latitude": 0.5}},
        {"lifetime": 0.0},
        {"drift": {"depth": 1.0}},
        {"drift": {"latitude": float("inf")}},
    ],
)
def test_impossible_numbers_are_named(options: dict) -> None:
    with pytest.raises(ConfigError, match="MovingClouds"):
        MovingClouds(**{"fraction": 0.5, "size": SIZE, "lifetime": 2.0, **options})


def test_a_window_without_the_clouds_dimension_is_named() -> None:
    with pytest.raises(MissingVariableError, match="'longitude'"):
        MovingClouds(0.5, SIZE, 2.0).mask(
            {"variable": 1, "time": 3, "latitude": 4}, {}, np.random.default_rng()
        )
