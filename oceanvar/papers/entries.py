"""Anybody's method as a row of the papers' tables: a model, or a function from observations to an analysis."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError, ModelMismatchError, OceanVarError
from oceanvar.labels.alignment import check_same_grid
from oceanvar.mapping import assimilate, set_up
from oceanvar.network.varnet import VarNet, loaded
from oceanvar.options import Options
from oceanvar.state.spaces import StateSpace

Function = Callable[[xr.Dataset], xr.Dataset]
"""What maps the observations of all windows, NaN where nothing was observed, to their analyses."""

Given = VarNet | str | Path | Function


@dataclass(frozen=True, eq=False)
class Entry:
    """A method of somebody's as one row of a table.

    Parameters
    ----------
    name : str
        Of the row.
    function : callable
        Makes the analyses of all windows from their observations.
    obs : Dataset
        Observations of the windows, ``(window, time, ...)``, for their labels.
    space : StateSpace
        State of the experiment.
    model : VarNet, optional
        The model behind the function, if there is one.
    is_slow : bool
        Whether a window takes seconds.
    """

    name: str
    function: Function
    obs: xr.Dataset
    space: StateSpace
    model: VarNet | None = None
    is_slow: bool = False

    @property
    def n_parameters(self) -> float:
        """Numbers that can be learned; NaN where nobody says how many there are."""
        if self.model is None:
            return float("nan")
        return sum(each.numel() for each in self.model.assimilator.parameters())

    def solve(self, seen: np.ndarray) -> np.ndarray:
        """Analysis of observations ``(n, V, T, *S)``, the first windows of the experiment.

        Raises
        ------
        ConfigError
            If the function gives no Dataset, lacks a variable, or has NaN.
        GridMismatchError
            If it lies on another grid.
        """
        labels = self.obs.isel(window=slice(len(seen)))
        obs = labels.assign(
            {
                name: labels[name].transpose("window", *self.space.dims).copy(data=seen[:, number])
                for number, name in enumerate(self.space.variables)
            }
        )
        return self._checked(self.function(obs.copy(deep=True)), obs)

    def _checked(self, analysis: xr.Dataset, obs: xr.Dataset) -> np.ndarray:
        if not isinstance(analysis, xr.Dataset):
            raise ConfigError(
                f"the method {self.name!r} gives a {type(analysis).__name__}: it must give a Dataset of "
                f"{self.space.variables} on the grid of the observations"
            )
        missing = [name for name in self.space.variables if name not in analysis]
        if missing:
            raise ConfigError(f"the analysis of {self.name!r} has no {missing[0]!r}, only {list(analysis)}")
        dims = ("window", *self.space.dims)
        for name in self.space.variables:
            check_same_grid(
                obs[name], analysis[name], dims, f"the observations and {name!r} of {self.name!r}"
            )
        fields = self.space.stack(analysis[list(self.space.variables)].transpose(*dims)).values
        n_wrong = int((~np.isfinite(fields)).sum())
        if n_wrong:
            raise ConfigError(
                f"{n_wrong} of the {fields.size} values of {self.name!r} are not finite: every point of a window is "
                "to be analysed, those without observations too"
            )
        return fields


def entries(methods: Mapping[str, Given], system: str, obs: xr.Dataset, space: StateSpace) -> list[Entry]:
    """Make rows of what users give, once it is known that each fits.

    Parameters
    ----------
    methods : mapping of str to VarNet, path-like or callable
        By the name of the row.
    system : str
        Name of the experiment.
    obs : Dataset
        Observations of its windows.
    space : StateSpace
        Its state.

    Raises
    ------
    ModelMismatchError
        If a model maps another state.
    ConfigError
        If something is neither a model nor a function.
    """
    rows = []
    for name, given in methods.items():
        if isinstance(given, VarNet | str | Path):
            rows.append(_of_model(name, loaded(given), system, obs, space))
        elif callable(given):
            rows.append(Entry(name, given, obs, space))
        else:
            raise ConfigError(
                f"the method {name!r} is a {type(given).__name__}: give a model, its file, or a function that makes an "
                "analysis (Dataset) from observations (Dataset)"
            )
    return rows


def _of_model(name: str, model: VarNet, system: str, obs: xr.Dataset, space: StateSpace) -> Entry:
    own = model.state_space
    if set(own.variables) != set(space.variables) or own.dims != space.dims:
        raise ModelMismatchError(
            f"the model {name!r} maps {own.variables} over {own.dims}, and the state of {system} is "
            f"{space.variables} over {space.dims}"
        )

    def solved(given: xr.Dataset) -> xr.Dataset:
        return assimilate(given, model)

    try:
        with warnings.catch_warnings():  # told when it maps
            warnings.simplefilter("ignore")
            set_up(obs, model, Options())
    except OceanVarError as error:
        raise ModelMismatchError(f"the model {name!r} does not fit {system}: {error}") from error
    return Entry(name, solved, obs, space, model)
