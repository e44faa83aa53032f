"""A sampler with the gaps that clouds leave."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import final

import numpy as np

from oceanvar.errors import ConfigError
from oceanvar.observing.samplers import AbstractSampler, size_of, spread

REACH = 3.0
"""Lengths after which two points of the field behind the clouds count as independent: correlation 0.01."""


@final
@dataclass(frozen=True)
class MovingClouds(AbstractSampler):
    r"""All cells but those under clouds, which drift, change and dissolve, drawn afresh for every window.

    A cloud is where a Gaussian random field of unit variance and correlation
    :math:`\exp(-t^2 / (2 L_t^2) - \sum_i (x_i - c_i t)^2 / (2 L_i^2))` exceeds a level, the same everywhere
    and for all windows: a window shorter than the clouds' lifetime may be all clear or all covered, as
    a piece of a long record may.

    Parameters
    ----------
    fraction : float
        Probability that a cell is hidden, between 0 and 1.
    size : mapping of str to float
        Length L of the clouds along each of their dimensions, in points, at least 1. All other dimensions
        but the time share the clouds, also ``"variable"``.
    lifetime : float
        Length of the clouds in time, in steps, as it is met when one moves with them.
    drift : mapping of str to float
        Velocity c of the clouds along dimensions of `size`, in points per step. Default: none.
    time_dim : str
        Dimension of the times.

    Raises
    ------
    ConfigError
        If a number is out of range, or the clouds drift along a dimension that they have no size in.
    """

    fraction: float
    size: Mapping[str, float]
    lifetime: float
    drift: Mapping[str, float] = field(default_factory=dict)
    time_dim: str = "time"

    def __post_init__(self) -> None:
        in_range = 0 < self.fraction < 1 and 0 < self.lifetime < np.inf and self.size
        if not in_range or not all(1 <= each < np.inf for each in self.size.values()):
            raise ConfigError(
                f"MovingClouds needs 0 < fraction < 1, lifetime > 0 and sizes of at least a point; got {self}"
            )
        if not set(self.drift) <= set(self.size) or not np.isfinite(list(self.drift.values())).all():
            raise ConfigError(
                f"MovingClouds drift along dimensions of their size, by finite steps; got {self}"
            )

    def mask(
        self, sizes: Mapping[str, int], coords: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """Observed cells of one window."""
        shape = [size_of(sizes, dim) for dim in (self.time_dim, *self.size)]
        observed = self._field(shape, rng) <= NormalDist().inv_cdf(1 - self.fraction)
        return spread(observed, (self.time_dim, *self.size), sizes)

    def _field(self, shape: list[int], rng: np.random.Generator) -> np.ndarray:
        """Gaussian field of unit variance ``(T, *S)``: white noise, filtered on a larger periodic grid."""
        lengths = [self.lifetime, *self.size.values()]
        drifts = [0.0, *(self.drift.get(dim, 0.0) for dim in self.size)]
        # Clouds that have left on one side come back on the other one only when they are others.
        n_steps = min(shape[0], REACH * self.lifetime)
        padded = [
            n + int(np.ceil(REACH * length + abs(drift) * n_steps))
            for n, length, drift in zip(shape, lengths, drifts, strict=True)
        ]
        spectrum = np.fft.rfftn(rng.standard_normal(padded, dtype=np.float32))
        axes = [*map(np.fft.fftfreq, padded[:-1]), np.fft.rfftfreq(padded[-1])]
        others = [[i for i in range(len(padded)) if i != axis] for axis in range(len(padded))]
        for axis, (frequency, length) in enumerate(zip(axes, lengths, strict=True)):
            spectrum *= np.expand_dims(_gain(frequency, length, padded[axis]), others[axis])
        spectrum = np.fft.ifft(spectrum, axis=0)[: shape[0]]
        for axis, drift in enumerate(drifts):
            turns = drift * np.multiply.outer(np.arange(shape[0]), axes[axis])
            shift = np.exp(-2j * np.pi * turns).astype(np.complex64)
            spectrum *= np.expand_dims(shift, others[axis][1:]) if drift else 1
        moved = np.fft.irfftn(spectrum, padded[1:], tuple(range(1, len(padded))))
        return moved[(slice(None), *map(slice, shape[1:]))]


def _gain(frequency: np.ndarray, length: float, n: int) -> np.ndarray:
    """Root of the spectrum of exp(-x^2 / (2 L^2)), scaled for n points to a mean square of 1."""
    every = np.exp(-((np.pi * np.fft.fftfreq(n) * length) ** 2))
    gain = np.exp(-((np.pi * frequency * length) ** 2)) / np.sqrt((every**2).mean())
    return gain.astype(np.float32)
