"""Methods scored side by side on the windows of a twin experiment."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.metrics.intervals import bootstrap_interval
from oceanvar.network.bridge import to_observations, to_tensor
from oceanvar.network.varnet import VarNet, load
from oceanvar.observing.samplers import EveryNthStep, Fixed
from oceanvar.papers.experiments import EXPERIMENTS, TwinExperiment
from oceanvar.papers.ladder import Climate, Method, methods
from oceanvar.variational.posterior import health

BATCH = 64


def experiment_of(system: str, all_steps: bool = False, fixed_mask: bool = False) -> TwinExperiment:
    """Give the experiment of a system, observed in one of the papers' ways.

    Parameters
    ----------
    system : {"lorenz63", "lorenz96"}
        Name of the experiment.
    all_steps : bool
        Lorenz-63 only: observe the first and last ten steps too.
    fixed_mask : bool
        One mask for all windows, as in the papers' test sets, instead of one for each.
    """
    if system not in EXPERIMENTS:
        raise ConfigError(f"there is no experiment {system!r}: choose one of {sorted(EXPERIMENTS)}")
    if all_steps and system != "lorenz63":
        raise ConfigError(f"all_steps is for lorenz63: {system} has no unobserved edges")
    experiment = EXPERIMENTS[system]
    if all_steps:
        experiment = replace(experiment, sampler=EveryNthStep(8))
    return replace(experiment, sampler=Fixed(experiment.sampler)) if fixed_mask else experiment


def compare(
    system: str,
    model: VarNet | str | Path | None = None,
    *,
    n_windows: int = 200,
    seed: int = 10,
    all_steps: bool = False,
    fixed_mask: bool = False,
    slow: bool = False,
    report: Callable[[str], object] | None = None,
) -> xr.Dataset:
    """Score every method on the same fresh windows of an experiment.

    Parameters
    ----------
    system : {"lorenz63", "lorenz96"}
        Experiment.
    model : VarNet or path-like, optional
        Model to set beside the others, instead of the packaged one.
    n_windows : int
        Windows, at least 2, each from a trajectory of its own.
    seed : int
        Of the windows, their masks and their noise.
    all_steps, fixed_mask : bool
        See `experiment_of`.
    slow : bool
        Also run the methods that take seconds a window.
    report : callable, optional
        Told the name of each method before it runs.

    Returns
    -------
    Dataset
        Over ``scheme``, see `score`, and over ``step``: ``r_by_step``.

    Raises
    ------
    ConfigError
        For an unknown experiment, or fewer than 2 windows.
    """
    experiment = experiment_of(system, all_steps, fixed_mask)
    if n_windows < 2:
        raise ConfigError(f"an interval needs at least 2 windows, got n_windows={n_windows}")
    mine = load(model) if isinstance(model, str | Path) else model
    climate, rows = methods(system, mine)
    truth, seen = (climate.space.stack(ds).values for ds in experiment.test_windows(n_windows, seed))
    scores = []
    for method in rows:
        if slow or not method.is_slow:
            if report is not None:
                report(method.name)
            scores.append(score(method, climate, truth, seen))
    table = xr.concat(scores, "scheme")
    return table.assign_attrs(title=f"{system}: scores on {n_windows} fresh windows", seed=seed)


def score(method: Method, climate: Climate, truth: np.ndarray, seen: np.ndarray) -> xr.Dataset:
    """Solve windows with one method and score them.

    Parameters
    ----------
    method : Method
        What solves.
    climate : Climate
        Owner of the cost that tells the health.
    truth, seen : ndarray
        True windows ``(n, V, T, *S)`` and their observations, physical units, NaN where nothing was observed.

    Returns
    -------
    Dataset
        r_score: mean square error over the mean square of the truth, with the 95 % bootstrap interval over windows
        r_score_low and r_score_high, and its median; rmse in physical units; p_score, the mean square of
        Phi(x) - x on the truth over the mean square of the truth (NaN without a prior); health, the
        median of 2 J / n_obs; n_parameters; seconds of wall time per window.
    """
    model = method.model
    model.assimilator.to(torch.float64 if method.precision == "float64" else torch.float32)
    began = time.perf_counter()
    parts = [
        model.solve(seen[first : first + BATCH], precision=method.precision)
        for first in range(0, len(seen), BATCH)
    ]
    seconds = (time.perf_counter() - began) / len(seen)
    analysis = np.concatenate(parts)
    mean_square = np.square(truth).mean()
    errors = np.square(analysis - truth)
    by_window = errors.reshape(len(errors), -1).mean(1) / mean_square
    low, high = bootstrap_interval(by_window)
    steps = np.moveaxis(errors, 2, 0).reshape(errors.shape[2], -1).mean(1) / mean_square
    row = {
        "r_score": by_window.mean(),
        "r_score_low": low,
        "r_score_high": high,
        "median": np.median(by_window),
        "rmse": np.sqrt(errors.mean()),
        "p_score": _p_score(model, truth, mean_square),
        "health": _health(climate, analysis, seen),
        "n_parameters": sum(p.numel() for p in _trained(model)),
        "seconds": seconds,
        "n_windows": len(truth),
    }
    return xr.Dataset(
        {**row, "r_by_step": ("step", steps), "r_by_window": ("window", by_window)}
    ).assign_coords(scheme=method.name)


def _trained(model: VarNet) -> Sequence[torch.nn.Parameter]:
    """Weights of networks; the weights of terms are one number each."""
    return [p for p in model.assimilator.parameters() if p.ndim > 0]


def _p_score(model: VarNet, truth: np.ndarray, mean_square: float) -> float:
    terms = model.assimilator.cost.priors
    if not terms:
        return float("nan")
    states = to_tensor(truth, model.state_space)
    with torch.no_grad():
        parts = [terms[0].prior(part) - part for part in states.split(BATCH)]
    std = model.state_space.scales()[1]
    return float(np.square(torch.cat(parts).numpy() * std).mean() / mean_square)


def _health(climate: Climate, analysis: np.ndarray, seen: np.ndarray) -> float:
    state = to_tensor(analysis, climate.space, torch.float64)
    obs = to_observations(seen, climate.space, dtype=torch.float64)
    return float(health(climate.cost.double(), state, obs).median())
