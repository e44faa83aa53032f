"""Simulated seas with everything that varies in the real ones, drawn anew for each."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.labels.coordinates import KM_PER_DEGREE
from oceanvar.oceans.coasts import drawn_coast
from oceanvar.oceans.fields import PACE, STRETCH, Flows, Shape, front, larger_scales, random_field
from oceanvar.oceans.observing_systems import DIMS, drawn_errors, drawn_sampler, without_some_days

RADII = (8.0, 60.0)
"""Deformation radii, km."""

AMPLITUDES = (0.01, 0.5)
"""Standard deviations of the whole, m."""

NOISE = (0.03, 0.6)
"""Of the white errors, in standard deviations of the sea; between `LEAST_NOISE` and `MOST_NOISE` m."""

LEAST_NOISE, MOST_NOISE = 0.005, 0.06

STEPS, DAYS = (1 / 20, 1 / 4), (0.5, 1.0, 1.0, 1.0, 1.0, 2.0, 3.0)
"""Of the grid, degrees, and of time."""

LEAST_SCALE = 1.2
"""Deformation radius in steps of the grid, at least: below it eddies fall between its points."""

FEWEST = 40
"""Observed values of a sea, at least."""

N_ATTEMPTS = 50


@dataclass(frozen=True)
class Seas:
    """Simulated seas, each with its own physics, grid, coasts, observing system and errors.

    Parameters
    ----------
    shape : (int, int, int)
        Times and points along latitude and longitude.
    flows : Flows, optional
        Simulations that a part of the seas are cut from.

    Examples
    --------
    >>> seas = Seas((7, 16, 16), Flows(n_flows=1, n_days=12, n_spinup=0, resolution=0.5))
    >>> sea = seas.draw(np.random.default_rng(0))
    >>> sorted(map(str, sea.data_vars))
    ['sea', 'ssh', 'ssh_observed']
    """

    shape: Shape = (25, 64, 64)
    flows: Flows = field(default_factory=Flows)

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 4:
            raise ConfigError(f"a sea needs at least 4 times and 4 x 4 points, got shape={self.shape}")

    def __call__(self, n_seas: int, seed: int = 0) -> Iterator[xr.Dataset]:
        """Seas number 0, 1, ... of a seed; each depends on its number and the seed alone."""
        for number in range(n_seas):
            yield self.draw(np.random.default_rng([seed, number]))

    def draw(self, rng: np.random.Generator) -> xr.Dataset:
        """One sea.

        Parameters
        ----------
        rng : Generator
            Source of everything that is drawn.

        Returns
        -------
        Dataset
            ``ssh`` in m, the truth, NaN on land; ``ssh_observed``, with errors, NaN where nothing was observed; and
            ``sea``, True where there is sea. Attributes say what was drawn: ``deformation_radius`` and ``step`` in km,
            ``time_step`` in days, ``amplitude``, ``noise`` and ``offset`` in m, ``stated_variance`` of the errors in
            m2, NaN where none is stated, and ``is_flow``, 1 where the eddies are those of a simulated flow.
        """
        for _ in range(N_ATTEMPTS):
            found = self._drawn(rng)
            if int(found["ssh_observed"].count()) >= FEWEST:
                return found
        raise ConfigError(
            f"{N_ATTEMPTS} seas of {self.shape} points in a row had fewer than {FEWEST} observations: give more points"
        )

    def _drawn(self, rng: np.random.Generator) -> xr.Dataset:
        radius = _logarithmic(*RADII, rng)
        coords, time_step = self._grid(radius / LEAST_SCALE, rng)
        step = (coords["latitude"][1] - coords["latitude"][0]) * KM_PER_DEGREE
        slimmer = math.cos(math.radians(float(coords["latitude"].mean())))
        scale = radius / step, radius / (step * slimmer)
        truth, is_flow = self._eddies(scale, time_step, radius, rng)
        truth = truth + self._surroundings(scale, time_step, step, rng)
        truth *= (amplitude := _logarithmic(*AMPLITUDES, rng)) / truth.std()
        offset = rng.normal()
        sizes = {"variable": 1, **dict(zip(DIMS, self.shape, strict=True))}
        observed = drawn_sampler(sizes, rng).mask(sizes, coords, rng)[0]
        sea = drawn_coast(coords, rng)
        observed = without_some_days(observed, rng) & sea
        noise = float(np.clip(amplitude * _logarithmic(*NOISE, rng), LEAST_NOISE, MOST_NOISE))
        errors = drawn_errors(self.shape, noise, rng.uniform(150, 500) / step, rng)
        values = (truth + offset).astype(np.float32)
        fields = {
            "ssh": (DIMS, np.where(sea, values, np.float32(np.nan)), {"units": "m"}),
            "ssh_observed": (
                DIMS,
                np.where(observed, values + errors.values, np.float32(np.nan)),
                {"units": "m"},
            ),
            "sea": (DIMS[1:], sea),
        }
        attrs = {"deformation_radius": radius, "step": step, "time_step": time_step, "amplitude": amplitude}
        attrs |= {
            "noise": noise,
            "offset": offset,
            "stated_variance": errors.stated_variance,
            "is_flow": int(is_flow),
        }
        return xr.Dataset(fields, coords, attrs)

    def _grid(self, most_km: float, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], float]:
        n_times, n_north, n_east = self.shape
        widest = min(STEPS[1], most_km / KM_PER_DEGREE)
        step, time_step = _logarithmic(STEPS[0], widest, rng), float(rng.choice(DAYS))
        north = rng.choice([-1, 1]) * rng.uniform(5, 60) + step * (np.arange(n_north) - n_north / 2)
        east = rng.uniform(-180, 180) + step * np.arange(n_east)
        first = np.datetime64("2000-01-01", "ns") + np.timedelta64(int(rng.integers(7000)), "D")
        hours = np.round(24 * time_step * np.arange(n_times)).astype(int)
        return {
            "time": first + hours * np.timedelta64(1, "h"),
            "latitude": north,
            "longitude": east,
        }, time_step

    def _eddies(
        self, scale: tuple[float, float], time_step: float, radius: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, bool]:
        """Flow, random field or both, of about standard deviation 1, and whether there is a flow in it."""
        kind = rng.random()
        field = np.zeros(self.shape, np.float32)
        if kind < 0.7:
            # Simulations are 11 km a point at a deformation radius of 32 km or so.
            stretch = [float(np.clip(2.8 / each, *STRETCH)) for each in scale]
            pace = float(np.clip(time_step * rng.uniform(0.4, 1.3), *PACE))
            field += self.flows.cut(self.shape, (stretch[0], stretch[1]), pace, rng)
        if kind > 0.55:
            share = 1.0 if kind >= 0.7 else rng.uniform(0.2, 0.8)
            wide = rng.uniform(0.9, 2.4)
            uneven = rng.uniform(0, 0.7) if rng.random() < 0.5 else 0.0
            north, east = (max(1.0, wide * each * rng.uniform(0.85, 1.2)) for each in scale)
            lengths = (max(0.5, _logarithmic(3, 25, rng) / time_step), north, east)
            # Waves and eddies go west by the deformation radius squared times beta, some km a day.
            drift = min(rng.uniform(0, 6) * time_step * scale[1] / radius, 1.5)
            field += share * random_field(self.shape, lengths, drift, uneven, rng)
        return field, kind < 0.7

    def _surroundings(
        self, scale: tuple[float, float], time_step: float, step: float, rng: np.random.Generator
    ) -> np.ndarray:
        """What is larger than eddies, and a jet in some seas."""
        field = np.zeros(self.shape, np.float32)
        if rng.random() < 0.6:
            cells = rng.uniform(200, 900) / step
            lengths = (max(0.5, _logarithmic(4, 40, rng) / time_step), cells, cells)
            field += rng.uniform(0.1, 0.8) * larger_scales(self.shape, lengths, rng)
        if rng.random() < 0.15:
            field += rng.uniform(0.3, 1.5) * front(self.shape, max(1.5, rng.uniform(1, 3) * scale[0]), rng)
        return field


def _logarithmic(low: float, high: float, rng: np.random.Generator) -> float:
    """Number between two whose logarithm is uniform."""
    return float(low * (high / low) ** rng.random())
