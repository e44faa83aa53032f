"""The Lorenz twin experiments of the papers: truth, observations, windows, and scores on them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr

from oceanvar.baselines.linear import interpolate_linear
from oceanvar.baselines.optimal import optimal_interpolation
from oceanvar.dynamics.integrators import FlowStep
from oceanvar.dynamics.lorenz import Lorenz63, Lorenz96
from oceanvar.errors import ConfigError
from oceanvar.mapping import assimilate
from oceanvar.maps.base import AbstractMap
from oceanvar.metrics.intervals import bootstrap_interval
from oceanvar.osse import lorenz63, lorenz96, observe, windows
from oceanvar.sampling import AbstractSampler, EveryNthStep, RandomComponents
from oceanvar.varnet import VarNet, load

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
    oi_lengths : mapping of str to float
        Lengths of optimal interpolation, about the best ones on windows apart from any test.
    periods : mapping of str to float
        Dimensions that wrap, with their periods.
    """

    simulate: Callable[..., xr.Dataset]
    sampler: AbstractSampler
    dims: tuple[str, ...]
    tendency: Callable[[], AbstractMap]
    dt: float
    oi_lengths: Mapping[str, float]
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
    "lorenz63": TwinExperiment(
        lorenz63, EveryNthStep(8, n_unobserved_edge=10), ("time",), Lorenz63, 0.01, {"time": 0.13}
    ),
    # 20 of 40 sites, drawn anew at every 4th step.
    "lorenz96": TwinExperiment(
        lorenz96,
        RandomComponents(20, every=4),
        ("time", "site"),
        Lorenz96,
        0.05,
        {"time": 0.25, "site": 0.7},
        {"site": 40.0},
    ),
}


def r_scores(analysis: xr.Dataset, truth: xr.Dataset, dims: Sequence[str]) -> np.ndarray:
    """R-score of every window: its mean square error over the mean square of the truth of all windows.

    Parameters
    ----------
    analysis, truth : Dataset
        With a dimension ``window``.
    dims : sequence of str
        Dimensions of a window.
    """
    squares = sum(((analysis[name] - truth[name]) ** 2).mean(dims) for name in truth.data_vars)
    return np.asarray(squares / sum((truth[name] ** 2).mean() for name in truth.data_vars))


def compare(
    name: str,
    model: VarNet | str | Path | None = None,
    n_windows: int = 200,
    n_oi: int = 10,
    seed: int = 10,
) -> xr.Dataset:
    """Score a model, linear interpolation and optimal interpolation on fresh windows of an experiment.

    Parameters
    ----------
    name : {"lorenz63", "lorenz96"}
        Experiment.
    model : VarNet or path-like, optional
        Default: the packaged model of the experiment.
    n_windows : int
        Windows, at least 2, each from a trajectory of its own.
    n_oi : int
        The first windows, to which optimal interpolation is limited as it is slow; 0 for none.
    seed : int
        Of the windows.

    Returns
    -------
    Dataset
        Over ``scheme``: r_score with the 95 % bootstrap interval r_score_low, r_score_high; rmse;
        seconds per window; n_windows.

    Raises
    ------
    ConfigError
        For an unknown experiment, or fewer than 2 windows (of optimal interpolation: 1).
    """
    if name not in EXPERIMENTS:
        raise ConfigError(f"there is no experiment {name!r}: choose one of {sorted(EXPERIMENTS)}")
    if n_windows < 2 or n_oi == 1 or n_oi < 0:
        raise ConfigError(
            f"an interval needs at least 2 windows, got n_windows={n_windows} and n_oi={n_oi} (0 for none)"
        )
    experiment = EXPERIMENTS[name]
    truth, obs = experiment.test_windows(n_windows, seed)
    network = model if isinstance(model, VarNet) else load(name if model is None else model)
    few = slice(0, min(n_oi, n_windows))
    rows = {
        "4DVarNet": _row(lambda: assimilate(obs, network), truth, experiment),
        "linear interpolation": _row(lambda: interpolate_linear(obs), truth, experiment),
    }
    if n_oi:
        first = obs.isel(window=few)
        rows["optimal interpolation"] = _row(
            lambda: optimal_interpolation(
                first, experiment.oi_lengths, NOISE_STD, periods=experiment.periods
            ),
            truth.isel(window=few),
            experiment,
        )
    scores = {key: ("scheme", [row[key] for row in rows.values()]) for key in rows["4DVarNet"]}
    attrs = {"title": f"{name}: scores on fresh windows", "model": network.digest, "seed": seed}
    return xr.Dataset(scores, {"scheme": list(rows)}, attrs)


def _row(solve: Callable[[], xr.Dataset], truth: xr.Dataset, experiment: TwinExperiment) -> dict[str, float]:
    began = time.perf_counter()
    analysis = solve()
    seconds = time.perf_counter() - began
    scores = r_scores(analysis, truth, experiment.dims)
    low, high = bootstrap_interval(scores)
    squares = [float(((analysis[name] - truth[name]) ** 2).mean()) for name in truth.data_vars]
    return {
        "r_score": float(scores.mean()),
        "r_score_low": low,
        "r_score_high": high,
        "rmse": float(np.sqrt(np.mean(squares))),
        "seconds": seconds / len(scores),
        "n_windows": len(scores),
    }
