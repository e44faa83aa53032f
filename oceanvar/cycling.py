"""Cycling: window after window, each from the analysis of the one before and its forecast."""

import operator
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError, GridMismatchError, MissingVariableError
from oceanvar.mapping import Setup, set_up, stacked
from oceanvar.network.forecasting import Forecaster
from oceanvar.network.varnet import VarNet, loaded
from oceanvar.options import Options, check_keys
from oceanvar.patching.graphs import map_patches
from oceanvar.patching.streaming import rows
from oceanvar.variational.forecasts import has_dynamics

_OPTIONS = (
    "patch",
    "overlap",
    "periodic",
    "taper",
    "batch_size",
    "device",
    "precision",
    "variables",
    "gaps",
    "on_divergence",
)
"""Options of `oceanvar.mapping.assimilate` that make sense for windows that follow each other."""

LEAD = "lead"
"""Dimension of an output: from the newest time of a window to the time that a field is of."""


def cycle(
    ds: xr.Dataset,
    model: VarNet | str | Path,
    *,
    every: int = 1,
    lag: int = 0,
    lead: int = 0,
    window: int | None = None,
    **options: Any,
) -> xr.Dataset:
    """Assimilate window after window, as observations come in.

    The first window is solved as `oceanvar.mapping.assimilate` does. Each later one begins `every` steps after
    the one before, and starts from its analysis, and behind that from a forecast by the dynamics of the model:
    those of its cost or control, known or learned, else persistence. That is also the background, where the cost
    has a term for one. It takes fewer iterations (`oceanvar.variational.Assimilator.warm`); a window that has lost
    the track of its observations is solved as the first one. Models without iterations solve each window afresh.

    Parameters
    ----------
    ds : Dataset
        Observations as `oceanvar.mapping.assimilate` takes them, with at least as many times as a window. Lazy ones are
        computed a window at a time.
    model : VarNet or path-like
        Model, its file, or the name of a packaged one.
    every : int
        Steps from one window to the next.
    lag : int
        Steps behind the newest time for which the analysis is given too, as a smoother does. Default: none.
    lead : int
        Steps of the forecast from each window. Default: none.
    window : int, optional
        Times of a window. Default: those of the model's patch.
    **options
        Of `oceanvar.mapping.assimilate`: patch and overlap in space, periodic, taper, batch_size, device, precision,
        variables, gaps, on_divergence.

    Returns
    -------
    Dataset
        Variables of the model by time, the newest one of each window; by ``lead``, from there to the time that the
        field is of: ``-lag`` (smoother), 0 (filter), and up to the last forecast; and by space. The attribute
        ``forecast`` says whether forecasts are more than persistence.

    Raises
    ------
    ConfigError
        If a number is out of range or an option unknown.
    GridMismatchError
        If the times are fewer than a window, or no regular series.
    PatchError, MissingVariableError, UnitsMismatchError, DivergenceError
        As of `oceanvar.mapping.assimilate`.
    """
    if not isinstance(ds, xr.Dataset):
        raise ConfigError(f"the observations are a {type(ds).__name__} and must be an xarray Dataset")
    network = loaded(model)
    dim = network.state_space.dims[0]
    n_window = _whole("window", network.state_space.patch[dim] if window is None else window, 1)
    every, lag, lead = _whole("every", every, 1), _whole("lag", lag, 0), _whole(LEAD, lead, 0)
    if lag >= n_window:
        raise ConfigError(
            f"lag is {lag}, and a window has {n_window} times: take a lag of at most {n_window - 1}"
        )
    check_keys(options, _OPTIONS, "option of a cycle")
    if network.state_space.tracked:
        raise ConfigError(
            f"the model has along-track instruments, {sorted(network.state_space.tracked)}, and cycles know only "
            "observations on a grid: assimilate each window with along_track="
        )
    if LEAD in ds.variables or LEAD in ds.dims:
        raise ConfigError(
            f"the observations have a {LEAD!r} of their own, and so has the result: rename theirs"
        )
    choices = Options.of(options)
    for name in ("patch", "overlap"):
        if dim in getattr(choices, name):
            raise ConfigError(f"{name} names {dim!r}, along which each window is one patch: use window=")
    choices = replace(choices, patch={**choices.patch, dim: n_window}, overlap={**choices.overlap, dim: 0})
    whole = _in_order(ds, network, choices, n_window)
    windows = _Windows.of(whole, network, choices, n_window)
    fields = np.stack(list(windows.run(every, lag, lead)), axis=windows.time_axis - 1)
    newest = np.arange(n_window - 1, whole.given.ds.sizes[dim], every)
    leads = np.array([*([-lag] if lag else []), *range(lead + 1)])
    known = "by the dynamics of the model" if has_dynamics(network.assimilator) else "persistence"
    return _labelled(fields, whole, newest, leads).assign_attrs(forecast=known)


def _whole(name: str, given: object, least: int) -> int:
    """A number of steps."""
    try:
        number = operator.index(given)  # type: ignore[arg-type]
    except TypeError:
        number = least - 1
    if number < least or isinstance(given, bool):
        raise ConfigError(f"{name} must be a whole number of at least {least}, got {given!r}")
    return number


def _in_order(ds: xr.Dataset, network: VarNet, choices: Options, n_window: int) -> Setup:
    """Set up a mapping of the whole record, with its times in order and without gaps."""
    dim = network.state_space.dims[0]
    if network.state_space.climatology is not None:
        raise ConfigError(
            "a model with a climatology is not cycled, as forecasts are of other times: take the climatology off the "
            "observations, and cycle a model without one"
        )
    if dim not in ds.dims:
        raise MissingVariableError(f"the observations have no dimension {dim!r}: rename that of their times")
    if ds.sizes[dim] < n_window:
        raise GridMismatchError(
            f"there are {ds.sizes[dim]} times and a window has {n_window}: give more, or window={ds.sizes[dim]} where "
            "the model takes any number"
        )
    whole = set_up(ds, network, choices)
    if dim not in ds.coords:
        return whole
    times = whole.given.ds[dim].values
    if np.array_equal(ds[dim], times):
        return whole
    if not np.isin(ds[dim], times).all():
        raise GridMismatchError(
            f"the times along {dim!r} are not those of a regular series: sort and fill them first"
        )
    return set_up(ds.reindex({dim: times}), network, choices)


@dataclass(frozen=True, eq=False)
class _Windows:
    """How windows are solved: the first one, those that follow, and what lies between."""

    whole: Setup
    cold: Setup
    warm: Setup | None
    forecaster: Forecaster
    n_window: int

    @classmethod
    def of(cls, whole: Setup, network: VarNet, choices: Options, n_window: int) -> "_Windows":
        space = network.state_space
        first = whole.given.ds.isel({space.dims[0]: slice(n_window)})
        choices = replace(choices, variables={})
        cold, warm = set_up(first, network, choices), None
        if network.assimilator.n_steps:
            following = VarNet(network.assimilator.warm(), space)
            guess = xr.zeros_like(first[list(space.variables)])
            warm = set_up(first, following, replace(choices, background=guess))
        forecaster = Forecaster(network, choices.device, choices.precision)
        return cls(whole, cold, warm, forecaster, n_window)

    @property
    def time_axis(self) -> int:
        """Axis of time in a field ``(*extra, V, T, *S)``, counted from the end."""
        return -len(self.whole.space.dims)

    def run(self, every: int, lag: int, lead: int) -> Iterator[np.ndarray]:
        """Fields ``(*extra, V, leads, *S)`` of each window."""
        n_times, guess = self.whole.given.ds.sizes[self.whole.space.dims[0]], None
        for stop in range(self.n_window, n_times + 1, every):
            field = self._solved(stop, guess)
            newest = rows(field, self.n_window - 1, self.n_window, self.time_axis)
            ahead = self._forecast(newest, max(every, lead))
            behind = rows(field, self.n_window - 1 - lag, self.n_window - lag, self.time_axis)
            parts = [*([behind] if lag else []), newest, rows(ahead, 0, lead, self.time_axis)]
            yield np.concatenate(parts, axis=self.time_axis)
            known = np.concatenate([field, ahead], axis=self.time_axis)
            guess = rows(known, every, every + self.n_window, self.time_axis)

    def _solved(self, stop: int, guess: np.ndarray | None) -> np.ndarray:
        dim = self.whole.space.dims[0]
        obs = self.whole.given.ds.isel({dim: slice(stop - self.n_window, stop)})
        values = stacked(obs, None, self.cold.space).values
        if guess is None or self.warm is None:
            return map_patches(values, self.cold.job)
        both = np.concatenate([values, guess.astype(values.dtype)], axis=self.time_axis - 1)
        return map_patches(both, self.warm.job)

    def _forecast(self, newest: np.ndarray, n_steps: int) -> np.ndarray:
        """States after one ``(*extra, V, 1, *S)``."""
        extra = newest.shape[: self.time_axis - 1]
        ahead = self.forecaster(newest.reshape(-1, *newest.shape[self.time_axis - 1 :]), n_steps)
        return ahead.reshape(*extra, *ahead.shape[1:])


def _labelled(fields: np.ndarray, whole: Setup, newest: np.ndarray, leads: np.ndarray) -> xr.Dataset:
    """Give fields ``(*extra, V, time, lead, *S)`` their names and labels, as the observations have them."""
    dim, *others = whole.space.dims
    given = whole.given.ds
    dims = (*whole.space.extra_dims(given), "variable", dim, LEAD, *others)
    analysis = whole.labelled(xr.Variable(dims, fields), given.isel({dim: newest}))
    steps = leads
    if dim in given.coords and given.sizes[dim] > 1:
        times = given[dim].values
        steps = leads * (times[1] - times[0])
    about = {
        "standard_name": "forecast_period",
        "long_name": "from the newest time of a window to that of the field",
    }
    if "units" in given[dim].attrs:
        about["units"] = given[dim].attrs["units"]
    return whole.finished(analysis.assign_coords({LEAD: (LEAD, steps, about)}))
