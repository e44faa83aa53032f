"""A map from files of points, by a model or by optimal interpolation."""

from dataclasses import dataclass
from math import floor

import numpy as np
import xarray as xr

from oceanvar.baselines.optimal import optimal_interpolation
from oceanvar.errors import ConfigError
from oceanvar.labels.coordinates import KM_PER_DEGREE
from oceanvar.mapping import assimilate
from oceanvar.network.varnet import VarNet
from oceanvar.observing.binning import bin_tracks, bin_with_errors
from oceanvar.observing.tracks import sample_field, withhold_passes

N_STEPS_PER_LENGTH = 5
"""Grid steps of a length of optimal interpolation, where none is given."""


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
        """Coordinates of the map.

        Raises
        ------
        ConfigError
            If it has no point.
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
        times = self.first + np.arange(floor(span / self.days) + 1) * np.timedelta64(
            round(86_400e9 * self.days), "ns"
        )
        return xr.Dataset(
            coords={
                "time": times.astype("datetime64[ns]"),
                "latitude": (
                    "latitude",
                    _points(self.south, self.north, self.step),
                    {"units": "degrees_north"},
                ),
                "longitude": (
                    "longitude",
                    _points(self.west, self.east, self.step),
                    {"units": "degrees_east"},
                ),
            }
        )


def _points(first: float, last: float, step: float) -> np.ndarray:
    # A hundredth of a step, so that 30 to 46 by 0.1 has its last point.
    return np.round(first + step * np.arange(floor((last - first) / step + 0.01) + 1), 9)


def map_by_model(
    tracks: xr.Dataset, name: str, grid: xr.Dataset, model: VarNet, **options: object
) -> xr.Dataset:
    """Map points with a model of one variable: along the track where it can, else averaged in cells.

    Parameters
    ----------
    tracks : Dataset
        Samples, from `oceanvar.open_tracks`.
    name : str
        Their variable.
    grid : Dataset
        Coordinates of the map.
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
        samples = {each: tracks.rename({name: variable}) for each in space.tracked}
        return assimilate(obs, model, along_track=samples, **options)  # type: ignore[arg-type]
    binned = bin_tracks(tracks[name], grid).rename(variable)
    return assimilate(binned.to_dataset(), model, **options)  # type: ignore[arg-type]


def map_by_interpolation(
    tracks: xr.Dataset,
    name: str,
    grid: xr.Dataset,
    lengths: dict[str, float] | None,
    noise_std: float,
    n_nearest: int,
) -> xr.Dataset:
    """Map points by optimal interpolation of their averages in the cells of the map, with the expected error.

    Parameters
    ----------
    tracks, name, grid
        As of `map_by_model`.
    lengths : dict, optional
        In km and days. Default: five steps of the grid.
    noise_std : float
        Standard deviation of the errors of the samples, where they do not say theirs.
    n_nearest : int
        Observations used for each point.
    """
    step = abs(float(np.diff(grid["latitude"].values[:2])[0])) * KM_PER_DEGREE
    days = (
        float(np.diff(grid["time"].values[:2])[0] / np.timedelta64(1, "D")) if grid.sizes["time"] > 1 else 1.0
    )
    usual = {"time": N_STEPS_PER_LENGTH * days, "latitude": N_STEPS_PER_LENGTH * step}
    usual["longitude"] = usual["latitude"]
    cells = bin_with_errors(tracks[name], grid, noise_std)
    errors = cells["variance"].fillna(noise_std**2) ** 0.5
    return optimal_interpolation(cells[name], {**usual, **(lengths or {})}, errors, n_nearest=n_nearest)


def withheld_score(analysis: xr.DataArray, withheld: xr.DataArray) -> str:
    """Root mean square difference at passes that a map has not seen, beside their own spread."""
    difference = sample_field(analysis, withheld) - withheld
    rmse, spread = float((difference**2).mean() ** 0.5), float(withheld.std())
    n_seen = int(difference.notnull().sum())
    return f"rmse {rmse:.4g} at {n_seen} samples of withheld passes, which have a standard deviation of {spread:.4g}"


def divided(tracks: xr.Dataset, share: float) -> tuple[xr.Dataset, xr.Dataset | None]:
    """What is mapped, and whole passes that are withheld to score the map."""
    return withhold_passes(tracks, share) if share else (tracks, None)
