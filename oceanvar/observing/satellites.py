"""Altimeters of a twin experiment: nadirs and swaths as samplers, along-track data, and their errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.labels.coordinates import KM_PER_DEGREE, numbers
from oceanvar.labels.passes import passes_of
from oceanvar.labels.samples import Tracks, as_samples
from oceanvar.observing.orbits import ORBIT_EPOCH, Orbit, Positions, orbit_of
from oceanvar.observing.samplers import AbstractSampler
from oceanvar.observing.track_samplers import TrackPositions, coordinate_numbers
from oceanvar.observing.tracks import sample_field

SWATH = (10.0, 60.0)
"""Distances to the ground track between which the interferometer of SWOT measures, km."""

GROUND_SPEED = 6.7
"""Of the point below an altimeter, km/s; those of the missions here differ by some per cent."""


@final
@dataclass(frozen=True)
class Nadirs(AbstractSampler):
    """The cells below altimeters that look straight down, for all variables.

    A cell counts at the time of the grid nearest to the overflight; a day, on daily maps.

    Parameters
    ----------
    missions : sequence of str or Orbit
        Names of `oceanvar.observing.orbits.MISSIONS`, or orbits.
    longitude_dim, latitude_dim, time_dim : str
        Names of the dimensions. Times are dates, or numbers that count days since
        `oceanvar.observing.orbits.ORBIT_EPOCH`.

    Raises
    ------
    ConfigError
        If a mission is unknown.
    """

    missions: Sequence[str | Orbit]
    longitude_dim: str = "longitude"
    latitude_dim: str = "latitude"
    time_dim: str = "time"

    def __post_init__(self) -> None:
        if isinstance(self.missions, str) or not self.missions:
            raise ConfigError(f"Nadirs needs a list of missions; got {self.missions!r}")
        for mission in self.missions:
            orbit_of(mission)

    def mask(
        self, sizes: Mapping[str, int], coords: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """Observed cells of one window; the same every time."""
        dims = (self.longitude_dim, self.latitude_dim, self.time_dim)
        return _seen([(orbit_of(mission), (0.0,)) for mission in self.missions], dims, sizes, coords, rng)


@final
@dataclass(frozen=True)
class Swath(AbstractSampler):
    """The cells that a wide-swath altimeter sees on both sides of its track, and below it, for all variables.

    Parameters
    ----------
    mission : str or Orbit
        Name of `oceanvar.observing.orbits.MISSIONS`, or an orbit.
    nearest, farthest : float
        Distances to the track between which it sees, km.
    nadir : bool
        Whether it also looks straight down into the gap.
    longitude_dim, latitude_dim, time_dim : str
        Names of the dimensions, as for `Nadirs`.

    Raises
    ------
    ConfigError
        If the mission is unknown, or the distances are not in order.
    """

    mission: str | Orbit = "swot"
    nearest: float = SWATH[0]
    farthest: float = SWATH[1]
    nadir: bool = True
    longitude_dim: str = "longitude"
    latitude_dim: str = "latitude"
    time_dim: str = "time"

    def __post_init__(self) -> None:
        orbit_of(self.mission)
        if not 0 <= self.nearest < self.farthest:
            raise ConfigError(
                f"a swath needs 0 <= nearest < farthest; got {self.nearest} and {self.farthest} km"
            )

    def mask(
        self, sizes: Mapping[str, int], coords: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """Observed cells of one window; the same every time."""
        dims = (self.longitude_dim, self.latitude_dim, self.time_dim)
        sides = swath_distances(self.nearest, self.farthest)
        distances = (*sides, 0.0) if self.nadir else sides
        return _seen([(orbit_of(self.mission), distances)], dims, sizes, coords, rng)


@final
@dataclass(frozen=True)
class Together(AbstractSampler):
    """What any of several samplers observes.

    Parameters
    ----------
    samplers : sequence of AbstractSampler
        At least one.
    """

    samplers: Sequence[AbstractSampler]

    def mask(
        self, sizes: Mapping[str, int], coords: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """Observed cells of one window."""
        return np.any([sampler.mask(sizes, coords, rng) for sampler in self.samplers], axis=0)


def swath_distances(
    nearest: float = SWATH[0], farthest: float = SWATH[1], spacing: float = 2.0
) -> tuple[float, ...]:
    """Distances to the track of the points of a two-sided swath, km, negative to the left."""
    right = np.linspace(nearest, farthest, 1 + round((farthest - nearest) / spacing))
    return tuple(map(float, (*-right[::-1], *right)))


def ground_tracks(
    missions: Sequence[str | Orbit],
    grid: xr.Dataset | xr.DataArray,
    *,
    cross_track: Sequence[float] = (0.0,),
    step: float = 1.0,
) -> xr.Dataset:
    """Where and when satellites measure in the box and the dates of a grid.

    Parameters
    ----------
    missions : sequence of str or Orbit
        Names of `oceanvar.observing.orbits.MISSIONS`, or orbits.
    grid : Dataset or DataArray
        One-dimensional coordinates longitude, latitude and time (dates); the time between the first and the
        last is covered.
    cross_track : sequence of float
        Distances to the track in km: `swath_distances` for a swath, default straight down.
    step : float
        Seconds between two positions along the track.

    Returns
    -------
    Dataset
        No variables; dimension ``sample``, ordered in time, with coordinates longitude, latitude, time,
        ``track`` (a number for each pass of each mission), ``cross_track`` in km and ``mission``, its place
        in the list: what `oceanvar.observing.tracks` works on.
    """
    east, north = (_ends(grid[name].values.astype(float)) for name in ("longitude", "latitude"))
    origin = xr.DataArray(np.datetime64(ORBIT_EPOCH, "ns"))
    days = _ends(numbers(grid["time"], origin).values)
    parts = []
    for number, mission in enumerate(missions):
        found = orbit_of(mission).over(east, north, days, cross_track, step)
        # Passes of different missions stay apart: far more than the passes of any cycle.
        parts.append(_as_samples(found, number, found.passes + number * 10**7))
    return xr.concat(parts, "sample").sortby("time")


def observe_tracks(
    truth: xr.DataArray,
    tracks: Tracks,
    noise_std: float = 0.0,
    *,
    correlated_std: float = 0.0,
    correlated_km: float = 300.0,
    seed: int = 0,
) -> xr.Dataset:
    """Measurements of a truth along tracks: its values, white noise, and an error correlated along the track.

    The correlated error (orbit, troposphere, roll) has the covariance std^2 exp(-distance / length) within a
    pass and is common to the points of a swath that are measured at once; passes are independent.

    Parameters
    ----------
    truth : DataArray
        Dimensions time, latitude, longitude, interpolated to the samples.
    tracks : Dataset, DataArray or sequence of these
        From `ground_tracks`, or real ones as `oceanvar.labels.samples.as_samples` takes them.
    noise_std, correlated_std : float
        Standard deviations, in the units of the truth.
    correlated_km : float
        Length of the correlation.
    seed : int
        Of both errors.

    Returns
    -------
    Dataset
        A variable of the truth's name over ``sample``; `oceanvar.observing.binning.bin_tracks` puts it on a grid.

    Raises
    ------
    ConfigError
        If a standard deviation is negative or the length not positive.
    """
    if min(noise_std, correlated_std) < 0 or correlated_km <= 0:
        raise ConfigError(
            f"errors need noise_std, correlated_std >= 0 and correlated_km > 0; got {noise_std}, "
            f"{correlated_std} and {correlated_km}"
        )
    white, correlated = np.random.default_rng(seed).spawn(2)
    tracks = as_samples(tracks)
    values = sample_field(truth, tracks)
    error = noise_std * white.standard_normal(values.size)
    error += correlated_std * _correlated(tracks, correlated_km, correlated)
    return (values + error).astype(truth.dtype).rename(truth.name).assign_attrs(truth.attrs).to_dataset()


def _correlated(tracks: xr.Dataset, length: float, rng: np.random.Generator) -> np.ndarray:
    """Unit-variance error of every sample: an autoregression along each pass."""
    seconds = (tracks["time"].values - np.datetime64(ORBIT_EPOCH)) / np.timedelta64(1, "s")
    number = passes_of(tracks)
    order = np.lexsort((seconds, number))
    passes, times = number[order], seconds[order]
    is_new = np.concatenate(([True], (np.diff(passes) != 0) | (np.diff(times) > 0)))[: len(order)]
    moments = np.flatnonzero(is_new)
    apart = np.diff(times[moments]) * GROUND_SPEED
    memory = np.where(np.diff(passes[moments]) == 0, np.exp(-np.abs(apart) / length), 0.0)
    errors = rng.standard_normal(len(moments))
    for i, factor in enumerate(memory, start=1):
        errors[i] = factor * errors[i - 1] + np.sqrt(1 - factor**2) * errors[i]
    result = np.empty(len(order))
    result[order] = errors[np.cumsum(is_new) - 1]
    return result


def _as_samples(found: Positions, mission: int, tracks: np.ndarray) -> xr.Dataset:
    times = np.datetime64(ORBIT_EPOCH, "ns") + (found.days * 86_400e9).astype("timedelta64[ns]")
    return xr.Dataset(
        coords={
            "longitude": ("sample", found.longitude, {"units": "degrees_east"}),
            "latitude": ("sample", found.latitude, {"units": "degrees_north"}),
            "time": ("sample", times),
            "track": ("sample", tracks),
            "cross_track": ("sample", found.cross_track, {"units": "km"}),
            "mission": ("sample", np.full(len(times), mission)),
        }
    )


def _seen(
    instruments: Sequence[tuple[Orbit, Sequence[float]]],
    dims: tuple[str, str, str],
    sizes: Mapping[str, int],
    coords: Mapping[str, np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:
    """Mask of the cells nearest to what instruments, given by orbit and distances to the track, see."""
    axes = [coordinate_numbers(coords, dim, ORBIT_EPOCH) for dim in dims]
    box, band, period = (_cell_borders(axis) for axis in axes)
    # Once a second as the real ones measure, and often enough for a finer grid.
    step = abs(np.diff(axes[1][:2])[0]) * KM_PER_DEGREE / GROUND_SPEED / 2
    found = [orbit.over(box, band, period, distances, min(1.0, step)) for orbit, distances in instruments]
    east, north, days = (
        np.concatenate([getattr(one, name) for one in found]) for name in Positions._fields[:3]
    )
    positions = TrackPositions(
        east, north, days, epoch=ORBIT_EPOCH, longitude_dim=dims[0], latitude_dim=dims[1], time_dim=dims[2]
    )
    return positions.mask(sizes, coords, rng)


def _ends(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _cell_borders(centres: np.ndarray) -> tuple[float, float]:
    low, high = _ends(centres)
    half = (high - low) / max(2 * (len(centres) - 1), 1)
    return low - half, high + half
