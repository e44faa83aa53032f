"""Sea level without observations: simulated flow at any scale, random fields, fronts and larger scales."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from oceanvar.truths.oceans import quasigeostrophic
from oceanvar.truths.random_fields import gaussian_field

Shape = tuple[int, int, int]

LATITUDES = (10.0, 60.0)
"""Of the simulated flows, degrees: how much the rotation changes to the north."""

RADII = (25.0, 40.0)
"""Deformation radii of the simulated flows, km; they are stretched to those of a sea."""

SIZE, N_DAYS = 10.0, 90
"""Of the box in degrees, and of the simulation."""

STRETCH = (0.25, 1.6)
"""Points of the simulation for one of the sea: beyond it the box would be seen twice, or eddies between points."""

PACE = (0.3, 2.5)
"""Days of the simulation for a step of the sea."""


@dataclass(frozen=True)
class Flows:
    """Simulated quasi-geostrophic flows, from which seas are cut at any scale.

    Parameters
    ----------
    n_flows : int
        Simulations, each with a latitude, a deformation radius and a kind of flow of its own.
    n_days, n_spinup : int
        Days kept of each, and before them.
    resolution : float
        Of the simulation, degrees.
    seed : int
        Of the simulations.
    """

    n_flows: int = 24
    n_days: int = N_DAYS
    n_spinup: int = 250
    resolution: float = 0.1
    seed: int = 0

    @cached_property
    def fields(self) -> np.ndarray:
        """Sea level ``(n_flows, time, y, x)`` of standard deviation 1, float32; simulated when first asked for."""
        return np.stack([self._simulated(number) for number in range(self.n_flows)])

    def _simulated(self, number: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, number])
        ocean = quasigeostrophic(
            self.n_days,
            int(rng.integers(2**31)),
            resolution=self.resolution,
            size=SIZE,
            latitude=rng.uniform(*LATITUDES),
            deformation_radius=rng.uniform(*RADII),
            surface=bool(rng.random() < 0.3),
            n_spinup=self.n_spinup,
        )
        values = ocean["ssh"].values
        return values / values.std()

    def cut(
        self, shape: Shape, stretch: tuple[float, float], pace: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Part of one of them at a place and time that are drawn, or its mirror image, ``(T, Y, X)``.

        Parameters
        ----------
        shape : (int, int, int)
            Times, points along latitude and longitude.
        stretch : (float, float)
            Points of the simulation for one of the part, along both.
        pace : float
            Days of the simulation for one time.
        rng : Generator
            Source of what is drawn.
        """
        flow = self.fields[rng.integers(len(self.fields))]
        pace = min(pace, (len(flow) - 4) / shape[0])
        first = rng.uniform(1, len(flow) - 3 - pace * (shape[0] - 1))
        flow = _interpolating(first + pace * np.arange(shape[0]), len(flow)) @ flow.reshape(len(flow), -1)
        flow = flow.reshape(shape[0], *self.fields.shape[2:])
        north, east = (
            _interpolating(rng.uniform(0, n) + step * np.arange(size), n)
            for n, step, size in zip(flow.shape[1:], stretch, shape[1:], strict=True)
        )
        field = north @ flow @ east.T
        # South and north exchanged, eddies turn the other way and obey the same equations.
        return -field[:, ::-1] if rng.random() < 0.5 else field


def _interpolating(places: np.ndarray, n: int) -> np.ndarray:
    """Matrix ``(len(places), n)`` of cubic convolution on a periodic axis (Keys, 1981, equation 15)."""
    below = np.floor(places).astype(int)
    matrix = np.zeros((len(places), n), np.float32)
    rows = np.arange(len(places))
    for offset in (-1, 0, 1, 2):
        away = np.abs(places - below - offset)
        near = 1.5 * away**3 - 2.5 * away**2 + 1
        far = -0.5 * away**3 + 2.5 * away**2 - 4 * away + 2
        np.add.at(matrix, (rows, (below + offset) % n), np.where(away <= 1, near, far))
    return matrix


def random_field(
    shape: Shape,
    lengths: tuple[float, float, float],
    drift: float,
    unevenness: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Gaussian field that drifts along the last axis, stronger in some places than in others.

    Parameters
    ----------
    shape : (int, int, int)
        Times, points along latitude and longitude.
    lengths : (float, float, float)
        L of exp(-d^2 / (2 L^2)), in steps.
    drift : float
        Points to the west for a step of time.
    unevenness : float
        Standard deviation of the logarithm of the amplitude: 0 for a Gaussian field, heavier tails with more.
    rng : Generator
        Source of what is drawn.
    """
    n_times, n_north, n_east = shape
    margin = math.ceil(abs(drift) * n_times) + 1
    wide = gaussian_field((n_times, n_north, n_east + margin), lengths, rng)
    field = np.empty(shape, np.float32)
    for time in range(n_times):
        way = drift * time if drift >= 0 else margin - 1 + drift * time
        first, share = int(way), way - int(way)
        before, behind = wide[time, :, first : first + n_east], wide[time, :, first + 1 : first + 1 + n_east]
        field[time] = before + share * (behind - before)
    if unevenness:
        field *= np.exp(
            unevenness * gaussian_field(shape, [3 * length for length in lengths], rng) - unevenness**2
        )
    return field


def larger_scales(shape: Shape, lengths: tuple[float, float, float], rng: np.random.Generator) -> np.ndarray:
    """What is larger than eddies, of about standard deviation 1: random, with a plane and a season through it."""
    field = gaussian_field(shape, lengths, rng)
    places = np.meshgrid(*(np.linspace(-0.5, 0.5, n) for n in shape), indexing="ij")
    for place in places:
        field += rng.normal() * place.astype(np.float32)
    return field


def front(shape: Shape, width: float, rng: np.random.Generator) -> np.ndarray:
    """Sea level across a jet that meanders, -1 on one side and 1 on the other."""
    n_times, n_north, n_east = shape
    angle = rng.normal(0, 0.5)
    north, east = np.meshgrid(np.arange(n_north) - n_north / 2, np.arange(n_east) - n_east / 2, indexing="ij")
    meanders = 2 * width * gaussian_field((n_times, n_east), [10.0, 2 * width], rng)[:, None]
    away = math.cos(angle) * north + math.sin(angle) * east - rng.uniform(-0.4, 0.4) * n_north
    return np.tanh((away + meanders) / width).astype(np.float32)
