"""A map from files of points, by a model, by optimal interpolation or by empirical orthogonal functions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from math import ceil, floor
from typing import Any

import numpy as np
import xarray as xr

from oceanvar.baselines.filling import dineof
from oceanvar.baselines.optimal import optimal_interpolation
from oceanvar.errors import ConfigError
from oceanvar.labels.axes import DAYS
from oceanvar.labels.coordinates import KM_PER_DEGREE
from oceanvar.labels.discovery import about, with_coverage
from oceanvar.labels.units import conversion
from oceanvar.mapping import assimilate
from oceanvar.network.varnet import VarNet
from oceanvar.observing.binning import bin_tracks, bin_with_errors
from oceanvar.observing.tracks import sample_field, withhold_passes

N_STEPS_PER_LENGTH = 5
"""Grid steps of a length of optimal interpolation, where none is given."""

ONE_STEP = 0.001
"""Share of a step by which maps may lie beside the times of a model."""


@dataclass(frozen=True)
class Region:
    """Where and when a map is wanted.

    Parameters
    ----------
    west, east, south, north : float
        Borders, in degrees.
    first, last : datetime64
        First and last time.
    step : float
        Of the grid, in degrees.
    days : float
        From one map to the next.
    """

    west: float
    east: float
    south: float
    north: float
    first: np.datetime64
    last: np.datetime64
    step: float
    days: float

    def grid(self) -> xr.Dataset:
        """Coordinates of the maps that are asked for.

        Raises
        ------
        ConfigError
            If there is no point.
        """
        span = (self.last - self.first) / np.timedelta64(1, "D")
        if not (
            self.step > 0
            and self.days > 0
            and self.east > self.west
            and self.north > self.south
            and span >= 0
        ):
            raise ConfigError(
                f"no map fits into {self}: give WEST,EAST,SOUTH,NORTH and FIRST,LAST in order, and steps above 0"
            )
        return self._at(np.arange(floor(span / self.days) + 1), self.days)

    def around(self, days: float, n_more: int) -> xr.Dataset:
        """Coordinates in steps of time of their own, from before the first map to behind the last one.

        Parameters
        ----------
        days : float
            Step, of which that of the maps is a whole number.
        n_more : int
            Steps before and behind.

        Raises
        ------
        ConfigError
            If the step does not divide that of the maps.
        """
        n_steps = round(self.days / days)
        if n_steps < 1 or abs(n_steps * days - self.days) > ONE_STEP * days:
            raise ConfigError(
                f"maps every {self.days:g} days are wanted, and the model has steps of {days:g} days: give --days a "
                "whole number of these"
            )
        n_maps = self.grid().sizes["time"]
        return self._at(np.arange(-n_more, (n_maps - 1) * n_steps + n_more + 1), days)

    def cut(self, grid: xr.Dataset) -> dict[str, Any]:
        """Region and time of all cells of a grid, which reach half a step beyond its points."""
        half, times = self.step / 2, grid["time"].values
        half_step = (times[1] - times[0]) / 2
        return {
            "region": (self.west - half, self.east + half, self.south - half, self.north + half),
            "time": (times[0] - half_step, times[-1] + half_step),
        }

    @property
    def half_step(self) -> np.timedelta64:
        """Half the time from one map to the next."""
        return np.timedelta64(round(43_200e9 * self.days), "ns")

    def _at(self, numbers: np.ndarray, days: float) -> xr.Dataset:
        times = self.first + numbers * np.timedelta64(round(86_400e9 * days), "ns")
        latitudes = _points(self.south, self.north, self.step)
        longitudes = _points(self.west, self.east, self.step)
        return xr.Dataset(
            coords={
                "time": times.astype("datetime64[ns]"),
                "latitude": ("latitude", latitudes, {"units": "degrees_north"}),
                "longitude": ("longitude", longitudes, {"units": "degrees_east"}),
            }
        )


def _points(first: float, last: float, step: float) -> np.ndarray:
    # A hundredth of a step, so that 30 to 46 by 0.1 has its last point.
    return np.round(first + step * np.arange(floor((last - first) / step + 0.01) + 1), 9)


def step_of(model: VarNet) -> float | None:
    """Days between the times that a model learned on, where it knows them."""
    axis = model.state_space.axes.get(model.state_space.dims[0])
    return axis.step if axis is not None and axis.unit == DAYS else None


def solved_grid(region: Region, model: VarNet | None, lengths: Mapping[str, float]) -> xr.Dataset:
    """Coordinates on which points are averaged, so that the first and the last map have their neighbours too.

    A model has its own step, and half its window on both sides; optimal interpolation one of its lengths, and
    empirical orthogonal functions, which know of no neighbours, one map.

    Raises
    ------
    ConfigError
        As of `Region`.
    """
    if model is None:
        return region.around(region.days, max(1, ceil(lengths["time"] / region.days)))
    space = model.state_space
    return region.around(step_of(model) or region.days, max(1, space.patch[space.dims[0]] // 2))


def usual_lengths(region: Region) -> dict[str, float]:
    """Lengths of optimal interpolation where none are given, in km and days."""
    along = N_STEPS_PER_LENGTH * region.step * KM_PER_DEGREE
    return {"time": N_STEPS_PER_LENGTH * region.days, "latitude": along, "longitude": along}


def error_of(samples: xr.DataArray, number: float, units: str | None) -> float:
    """The standard deviation of their errors in the units of samples, in metres where these say none.

    Parameters
    ----------
    samples : DataArray
        The samples.
    number : float
        The error.
    units : str, optional
        Its units. Default: those of the samples.

    Raises
    ------
    ConfigError
        If it is not positive.
    UnitsMismatchError
        If they measure different things.
    """
    if not number > 0:
        raise ConfigError(f"the noise is {number:g}: give a number above 0")
    if units is None:
        return number
    own = str(samples.attrs.get("units", "m"))
    what = f"the noise ({number:g} {units}, --noise '0.3 {own}' would be of the units of {samples.name!r})"
    return number * conversion(units, own, what).factor


def map_by_model(
    tracks: xr.Dataset, name: str, grid: xr.Dataset, maps: xr.Dataset, model: VarNet, **options: object
) -> xr.Dataset:
    """Map points with a model of one variable: along the track where it can, else averaged in cells.

    Parameters
    ----------
    tracks : Dataset
        Samples, from `oceanvar.open_tracks`.
    name : str
        Their variable.
    grid : Dataset
        Coordinates of the cells, from `solved_grid`.
    maps : Dataset
        Coordinates of the maps that are asked for.
    model : VarNet
        The model.
    **options
        Of `oceanvar.mapping.assimilate`.

    Raises
    ------
    ConfigError
        If the model maps several variables.
    """
    space = model.state_space
    if space.n_variables > 1:
        raise ConfigError(f"the model maps {space.variables}, and the points hold {name!r} alone")
    (variable,) = space.variables
    if space.tracked:
        gaps = np.full([grid.sizes[dim] for dim in ("time", "latitude", "longitude")], np.nan, np.float32)
        obs = xr.Dataset({variable: (("time", "latitude", "longitude"), gaps)}, grid.coords)
        options["along_track"] = {each: tracks.rename({name: variable}) for each in space.tracked}
    else:
        obs = bin_tracks(tracks[name], grid).rename(variable).to_dataset()
    analysis = assimilate(obs.assign_attrs(tracks.attrs), model, **options)  # type: ignore[arg-type]
    return with_coverage(analysis.sel(time=maps["time"], method="nearest"))


def map_by_interpolation(
    tracks: xr.Dataset,
    name: str,
    grid: xr.Dataset,
    maps: xr.Dataset,
    lengths: Mapping[str, float],
    noise_std: float,
    n_nearest: int,
) -> xr.Dataset:
    """Map points by optimal interpolation of their averages in cells, with the expected error.

    Parameters
    ----------
    tracks, name, grid, maps
        As of `map_by_model`.
    lengths : mapping of str to float
        In km and days.
    noise_std : float
        Standard deviation of the errors of the samples, in their units.
    n_nearest : int
        Observations used for each point.
    """
    cells = bin_with_errors(tracks[name], grid, noise_std)
    errors = cells["variance"].fillna(noise_std**2) ** 0.5
    analysis = optimal_interpolation(cells[name], lengths, errors, n_nearest=n_nearest, targets=maps)
    how = (
        f"optimal interpolation, lengths {dict(lengths)} (km, days), noise {noise_std:g}, {n_nearest} nearest"
    )
    return _described(analysis, tracks[name], tracks.attrs, how)


def map_by_modes(
    tracks: xr.Dataset,
    name: str,
    grid: xr.Dataset,
    maps: xr.Dataset,
    n_modes: int | None,
    smoothing: float | None,
) -> xr.Dataset:
    """Map points by the empirical orthogonal functions of their averages in cells, with the expected error.

    Parameters
    ----------
    tracks, name, grid, maps
        As of `map_by_model`.
    n_modes, smoothing
        See `oceanvar.baselines.dineof`.
    """
    analysis = dineof(bin_tracks(tracks[name], grid), n_modes, smoothing=smoothing)
    number = analysis[name].attrs["n_modes"]
    how = f"DINEOF, {number} modes" + (f", smoothing {smoothing:g} days" if smoothing else "")
    analysis = analysis.sel(time=maps["time"], method="nearest").assign_coords(time=maps["time"])
    return _described(analysis, tracks[name], tracks.attrs, how)


def _described(analysis: xr.Dataset, samples: xr.DataArray, attrs: Mapping[str, Any], how: str) -> xr.Dataset:
    """Analysis with attributes that say of what it is, where and how it was made."""
    history = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} oceanvar {version('oceanvar')}: {how}"
    named = about(attrs, [samples]) | {"history": history}
    return with_coverage(xr.Dataset(analysis.data_vars, analysis.coords, named))


def withheld_score(analysis: xr.DataArray, withheld: xr.DataArray, half_step: np.timedelta64) -> str:
    """Root mean square difference at passes that maps have not seen, beside their own spread.

    Only samples at most half a step before the first or behind the last map count.
    """
    first, last = analysis["time"].values[[0, -1]]
    is_near = (withheld["time"] >= first - half_step) & (withheld["time"] <= last + half_step)
    withheld = withheld.where(is_near, drop=True)
    # A single map holds for all of its day.
    field = analysis if analysis.sizes["time"] > 1 else analysis.isel(time=0, drop=True)
    difference = sample_field(field, withheld) - withheld
    is_seen = difference.notnull()
    rmse, spread = float((difference**2).mean() ** 0.5), float(withheld.where(is_seen).std())
    return (
        f"rmse {rmse:.4g} at {int(is_seen.sum())} samples of withheld passes, which have a standard deviation of "
        f"{spread:.4g}"
    )


def divided(tracks: xr.Dataset, share: float) -> tuple[xr.Dataset, xr.Dataset | None]:
    """What is mapped, and whole passes that are withheld to score the map."""
    return withhold_passes(tracks, share) if share else (tracks, None)
