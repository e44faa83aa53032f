"""Ensemble filters and smoothers cycled over the windows of a twin experiment, as functions that `compare` takes.

Each window is on its own, as for every other method: the first members are states of other trajectories. A filter has
seen what came before alone, and needs some of the window to come near the truth; what cycling over long runs gives is
told by `python -m scripts.lorenz ensembles`.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr

from oceanvar.baselines.ensembles import Ensemble, enkf, gaspari_cohn, ienks, letkf
from oceanvar.errors import ConfigError
from oceanvar.papers.experiments import EXPERIMENTS, NOISE_STD, TwinExperiment

FIRST_SEED = 8
"""Of the trajectories whose states are first members."""

N_PAST = 2000
"""Steps of these."""


@dataclass(frozen=True, eq=False)
class Cycled:
    """An ensemble method with its settings, from observations to the means of the ensemble.

    Parameters
    ----------
    system : {"lorenz63", "lorenz96"}
        Experiment, whose model is known.
    method : callable
        `enkf`, `letkf` or `ienks` of `oceanvar.baselines`.
    n_members : int
        Members.
    options : mapping
        Of the method.
    """

    system: str
    method: Callable[..., Ensemble]
    n_members: int
    options: dict[str, Any]

    def __call__(self, obs: xr.Dataset) -> xr.Dataset:
        """Analysis of every step, from observations ``(window, time[, site])``."""
        dims = ("window", *EXPERIMENTS[self.system].dims)
        fields = {name: each.transpose(*dims) for name, each in obs.data_vars.items()}
        seen = np.stack([each.values for each in fields.values()], 2)
        n_windows, n_times = seen.shape[:2]
        first = first_members(self.system, n_windows, self.n_members)
        found = self.method(
            seen.reshape(n_windows, n_times, -1), step_of(self.system), first, NOISE_STD, **self.options
        )
        mean = found.mean.reshape(seen.shape)
        return obs.assign(
            {name: each.copy(data=mean[:, :, number]) for number, (name, each) in enumerate(fields.items())}
        )


def step_of(system: str) -> Callable[[np.ndarray], np.ndarray]:
    """Model of one step of a system on members ``(B, N, n)``."""
    flow = EXPERIMENTS[system].step()

    def step(members: np.ndarray) -> np.ndarray:
        rows = torch.from_numpy(members.reshape(-1, members.shape[-1]))
        with torch.inference_mode():
            # (B, V, T, *S): the variables of a point, or one variable at all sites.
            moved = flow(rows[:, None, None] if _has_sites(EXPERIMENTS[system]) else rows[:, :, None])
        return moved.numpy().reshape(members.shape)

    return step


def _has_sites(experiment: TwinExperiment) -> bool:
    return len(experiment.dims) > 1


@functools.cache
def _past(system: str) -> np.ndarray:
    """States ``(n, components)`` of other trajectories."""
    experiment = EXPERIMENTS[system]
    past = experiment.simulate(N_PAST, seed=FIRST_SEED, n_trajectories=16)
    dims = ("trajectory", *experiment.dims)
    states = np.stack([each.transpose(*dims).values for each in past.data_vars.values()], 2)
    return states.reshape(states.shape[0] * states.shape[1], -1)


def first_members(system: str, n_windows: int, n_members: int) -> np.ndarray:
    """States ``(n_windows, n_members, n)`` of other trajectories, the same for the same numbers."""
    rng = np.random.default_rng(FIRST_SEED)
    past = _past(system)
    return past[rng.integers(len(past), size=(n_windows, n_members))]


def ensembles(system: str) -> dict[str, Cycled]:
    """Ensemble references of a system, by the names of their rows.

    Inflation, lag and localisation are the best on windows of seed 6.

    Parameters
    ----------
    system : {"lorenz63", "lorenz96"}
        Experiment.

    Returns
    -------
    dict of str to Cycled
        Functions that `compare` takes as methods.

    Raises
    ------
    ConfigError
        If there is no such experiment.
    """
    if system not in EXPERIMENTS:
        raise ConfigError(f"there is no experiment {system!r}: choose one of {sorted(EXPERIMENTS)}")
    if system == "lorenz63":
        return {
            "EnKF, 40 members": Cycled(system, enkf, 40, {"inflation": 1.02}),
            "ETKF, 40 members": Cycled(system, letkf, 40, {"inflation": 1.02}),
            "iEnKS, 40 members, lag 6": Cycled(system, ienks, 40, {"lag": 6}),
        }
    sites = np.arange(40)
    apart = np.abs(sites[:, None] - sites)
    tapers = gaspari_cohn(np.minimum(apart, 40 - apart), 3.0)
    return {
        "EnKF, 100 members": Cycled(system, enkf, 100, {"inflation": 1.06}),
        "LETKF, 20 members": Cycled(system, letkf, 20, {"inflation": 1.1, "tapers": tapers}),
        "iEnKS, 100 members, lag 2": Cycled(
            system, ienks, 100, {"lag": 2, "n_iterations": 3, "inflation": 1.05}
        ),
    }
