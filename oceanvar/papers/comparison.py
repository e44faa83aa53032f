"""Methods scored side by side on the windows of a twin experiment."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.metrics.intervals import bootstrap_interval
from oceanvar.network.bridge import to_observations, to_tensor
from oceanvar.network.varnet import VarNet
from oceanvar.observing.samplers import EveryNthStep, Fixed
from oceanvar.papers.entries import Entry, Given, entries
from oceanvar.papers.experiments import EXPERIMENTS, TwinExperiment
from oceanvar.papers.ladder import BATCH, Climate, Method, climate_of
from oceanvar.papers.ladder import methods as packaged_methods
from oceanvar.papers.references import ensembles
from oceanvar.state.spaces import StateSpace
from oceanvar.variational.posterior import health


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
    methods: Mapping[str, Given] | None = None,
    *,
    keep_packaged: bool = True,
    references: bool = False,
    n_windows: int = 200,
    seed: int = 10,
    all_steps: bool = False,
    fixed_mask: bool = False,
    slow: bool = False,
    report: Callable[[str], object] | None = None,
) -> xr.Dataset:
    """Score methods on the same fresh windows of an experiment: the packaged ones, and anybody's.

    Parameters
    ----------
    system : {"lorenz63", "lorenz96"}
        Experiment.
    methods : mapping of str to VarNet, path-like or callable, optional
        Further rows by their names. A model maps as by `oceanvar.assimilate`; a function gets the observations of all
        windows, a Dataset over ``(window, time[, site])`` with NaN where nothing was observed, and gives the analysis
        of every point as a Dataset on the same grid.
    keep_packaged : bool
        Score the packaged methods too.
    references : bool
        Score ensemble filters and smoothers too, see `oceanvar.papers.ensembles`.
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
        For an unknown experiment, fewer than 2 windows, no method at all or two of one name, or a function whose result
        is no analysis of all points.
    ModelMismatchError
        If a model maps another state.
    GridMismatchError
        If a function gives another grid.

    Examples
    --------
    >>> def interpolated(obs):
    ...     return obs.interpolate_na("time", fill_value="extrapolate")
    >>> table = compare("lorenz63", {"mine": interpolated}, keep_packaged=False, n_windows=4)
    >>> table["scheme"].values.tolist(), bool(table["r_score"][0] < 0.1)
    (['mine'], True)
    """
    experiment = experiment_of(system, all_steps, fixed_mask)
    if n_windows < 2:
        raise ConfigError(f"an interval needs at least 2 windows, got n_windows={n_windows}")
    climate, packaged = packaged_methods(system) if keep_packaged else (climate_of(system), [])
    fields, obs = experiment.test_windows(n_windows, seed)
    given = entries(
        {**(ensembles(system) if references else {}), **(methods or {})}, system, obs, climate.space
    )
    rows: list[Method | Entry] = [*(each for each in packaged if slow or not each.is_slow), *given]
    _check_names([each.name for each in packaged], [each.name for each in given])
    truth, seen = (climate.space.stack(ds).values for ds in (fields, obs))
    scores = []
    for method in rows:
        if report is not None:
            report(method.name)
        scores.append(score(method, climate, truth, seen))
    table = xr.concat(scores, "scheme")
    return table.assign_attrs(title=f"{system}: scores on {n_windows} fresh windows", seed=seed)


def _check_names(packaged: list[str], given: list[str]) -> None:
    twice = sorted({name for name in given if name in packaged})
    if twice:
        raise ConfigError(f"there is a packaged method {twice[0]!r}: give yours another name")
    if not packaged and not given:
        raise ConfigError("there is nothing to compare: give methods, or keep_packaged=True")


def score(method: Method | Entry, climate: Climate, truth: np.ndarray, seen: np.ndarray) -> xr.Dataset:
    """Solve windows with one method and score them.

    Parameters
    ----------
    method : Method or Entry
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
        median of 2 J / n_obs; n_parameters, the numbers that were learned (NaN of a function); seconds of wall time per
        window.
    """
    began = time.perf_counter()
    analysis = method.solve(seen)
    seconds = (time.perf_counter() - began) / len(seen)
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
        "p_score": _p_score(method.model, climate.space, truth),
        "health": _health(climate, analysis, seen),
        "n_parameters": method.n_parameters,
        "seconds": seconds,
        "n_windows": len(truth),
    }
    return xr.Dataset(
        {**row, "r_by_step": ("step", steps), "r_by_window": ("window", by_window)}
    ).assign_coords(scheme=method.name)


def _p_score(model: VarNet | None, space: StateSpace, truth: np.ndarray) -> float:
    """Of the prior of a model whose variables may come in another order than those of the space."""
    terms = [] if model is None else model.assimilator.cost.priors
    if model is None or not terms:
        return float("nan")
    sizes = dict(zip(model.state_space.dims, truth.shape[2:], strict=True))
    if any(model.state_space.patch[dim] != sizes[dim] for dim in model.fixed_dims):
        return float("nan")
    order = [space.variables.index(name) for name in model.state_space.variables]
    states = to_tensor(truth[:, order], model.state_space)
    with torch.no_grad():
        parts = [terms[0].prior(part) - part for part in states.split(BATCH)]
    std = model.state_space.scales()[1]
    return float(np.square(torch.cat(parts).numpy() * std).mean() / np.square(truth).mean())


def _health(climate: Climate, analysis: np.ndarray, seen: np.ndarray) -> float:
    state = to_tensor(analysis, climate.space, torch.float64)
    obs = to_observations(seen, climate.space, dtype=torch.float64)
    return float(health(climate.cost.double(), state, obs).median())
