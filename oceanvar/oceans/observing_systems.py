"""What is observed of a sea, and with which errors: any number of altimeters, images under clouds, buoys."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from oceanvar.observing.clouds import MovingClouds
from oceanvar.observing.orbits import MISSIONS
from oceanvar.observing.samplers import AbstractSampler, RandomFraction
from oceanvar.observing.satellites import Nadirs, Swath, Together
from oceanvar.truths.random_fields import gaussian_field

DIMS = ("time", "latitude", "longitude")


class Errors(NamedTuple):
    """Errors of the observations of one sea ``(T, Y, X)``, and the variance that is stated of them, NaN for none."""

    values: np.ndarray
    stated_variance: float


def drawn_sampler(sizes: Mapping[str, int], rng: np.random.Generator) -> AbstractSampler:
    """Altimeters, a swath, images or buoys, or several of them."""
    found: list[AbstractSampler] = []
    while not found:
        if rng.random() < 0.75:
            n_missions = min(int(rng.integers(1, 11)), len(MISSIONS))
            found.append(
                Nadirs([str(each) for each in rng.choice(sorted(MISSIONS), n_missions, replace=False)])
            )
        if rng.random() < 0.25:
            found.append(Swath(str(rng.choice(["swot", "swot_calval"]))))
        if rng.random() < 0.2:
            size = dict.fromkeys(DIMS[1:], float(rng.uniform(2, 12)))
            found.append(MovingClouds(float(rng.uniform(0.4, 0.95)), size, float(rng.uniform(1, 4))))
        if rng.random() < 0.15:
            found.append(RandomFraction(float(10 ** rng.uniform(-3, -1.3))))
    return Together(found)


def without_some_days(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Observed cells ``(T, Y, X)`` but those of days that are missing: some, or a stretch of them."""
    n_times, kept = len(mask), np.ones(len(mask), bool)
    kind = rng.random()
    if kind < 0.2:
        kept = rng.random(n_times) > rng.uniform(0.05, 0.4)
    elif kind < 0.35:
        first = rng.integers(n_times)
        kept[first : first + max(1, n_times // 4)] = False
    return mask & kept[:, None, None]


def drawn_errors(shape: tuple[int, int, int], std: float, cells: float, rng: np.random.Generator) -> Errors:
    """White errors, and in some seas one that is common to what is seen on a day, as of orbits and of the atmosphere.

    Parameters
    ----------
    shape : (int, int, int)
        Times, points along latitude and longitude.
    std : float
        Standard deviation of the white errors.
    cells : float
        Length of the common error, points.
    rng : Generator
        Source of what is drawn.
    """
    values = std * rng.standard_normal(shape, dtype=np.float32)
    variance = std**2
    if rng.random() < 0.35:
        common = std * rng.uniform(0.3, 1.2)
        values += common * gaussian_field(shape, [0.3, cells, cells], rng)
        variance += common**2
    kind = rng.random()
    if kind < 0.5:
        return Errors(values, float("nan"))
    wrong = 1.0 if kind < 0.85 else 2 ** rng.uniform(-1.5, 1.5)
    return Errors(values, wrong * variance)
