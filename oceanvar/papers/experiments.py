"""The Lorenz twin experiments of the papers: truth, observations and windows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import xarray as xr

from oceanvar.dynamics.integrators import FlowStep
from oceanvar.dynamics.lorenz import Lorenz63, Lorenz96
from oceanvar.maps.base import AbstractMap
from oceanvar.observing.samplers import AbstractSampler, EveryNthStep, RandomComponents
from oceanvar.observing.twins import observe
from oceanvar.truths.lorenz import lorenz63, lorenz96, windows

NOISE_STD = 2**0.5
"""Noise of variance 2, section 4.2 of Fablet, Drumetz and Rousseau (2020)."""

N_TIMES = 200
"""Steps of a window there."""


@dataclass(frozen=True)
class TwinExperiment:
    """A system, and how it is observed.

    Parameters
    ----------
    simulate : callable
        Makes the truth: ``simulate(n_steps, seed=, n_trajectories=)``.
    sampler : AbstractSampler
        Where a window is observed.
    dims : tuple of str
        Dimensions of a window.
    tendency : callable
        Makes the dynamics dx/dt.
    dt : float
        Time between two states.
    periods : mapping of str to float
        Dimensions that wrap, with their periods.
    """

    simulate: Callable[..., xr.Dataset]
    sampler: AbstractSampler
    dims: tuple[str, ...]
    tendency: Callable[[], AbstractMap]
    dt: float
    periods: Mapping[str, float] = field(default_factory=dict)

    def step(self) -> FlowStep:
        """Make the model of one time step, in physical units."""
        return FlowStep(self.tendency(), self.dt)

    def test_windows(self, n_windows: int, seed: int) -> tuple[xr.Dataset, xr.Dataset]:
        """Truth and observations of windows that are independent: each from a trajectory of its own.

        Parameters
        ----------
        n_windows : int
            Number of windows.
        seed : int
            Of the initial states, the masks and the noise.
        """
        truth = windows(self.simulate(N_TIMES, seed=seed, n_trajectories=n_windows), N_TIMES)
        return truth, observe(truth, self.sampler, noise_std=NOISE_STD, seed=seed, dims=self.dims)


EXPERIMENTS = {
    # Every 8th step, the first and last ten steps unobserved.
    "lorenz63": TwinExperiment(lorenz63, EveryNthStep(8, n_unobserved_edge=10), ("time",), Lorenz63, 0.01),
    # 20 of 40 sites, drawn anew at every 4th step.
    "lorenz96": TwinExperiment(
        lorenz96,
        RandomComponents(20, every=4),
        ("time", "site"),
        Lorenz96,
        0.05,
        {"site": 40.0},
    ),
}
