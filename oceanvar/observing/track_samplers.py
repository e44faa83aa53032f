"""Samplers that observe where satellites passed."""

import abc
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from oceanvar.errors import ConfigError, GridMismatchError, MissingVariableError, StoreError
from oceanvar.labels.coordinates import half_turned, index_coordinate
from oceanvar.labels.samples import PLACE, Tracks, as_samples
from oceanvar.labels.times import dates
from oceanvar.observing.samplers import AbstractSampler, size_of, spread
from oceanvar.observing.tracks import FILE_EPOCH


class AbstractTrackSampler(AbstractSampler):
    """A sampler that knows more than cells: where between the grid points, and when, each sample lies.

    Training takes one for an along-track instrument, whose samples are then drawn afresh for every window.
    """

    @abc.abstractmethod
    def places(
        self, coords: Mapping[str, np.ndarray], dims: Sequence[str], rng: np.random.Generator
    ) -> np.ndarray:
        """Positions of the samples in one window.

        Parameters
        ----------
        coords : mapping of str to ndarray
            One-dimensional coordinates of the window.
        dims : sequence of str
            Dimensions of the window, D of them.
        rng : numpy.random.Generator
            Source of randomness of a random rule.

        Returns
        -------
        ndarray
            ``(n, D)``: index coordinates along `dims`, 0 at the first point of the window, at most half a
            cell beyond its points.

        Raises
        ------
        MissingVariableError
            If the rule needs a dimension that the window lacks, or the other way round.
        """


@final
@dataclass(frozen=True, eq=False)
class TrackPositions(AbstractTrackSampler):
    """The positions of real measurements, for all variables; as a mask the cells nearest to them.

    A position more than half a cell outside the window, in space or time, is ignored. Longitudes are
    compared on the circle, so tracks from 0 to 360 degrees fit a grid from -180 to 180.

    Parameters
    ----------
    longitude, latitude : array_like
        Positions in degrees east and north, shape (n,).
    time : array_like
        Dates, or days since `epoch`, shape (n,).
    shift : float
        Days added to the times of the tracks, to use the tracks of one year in another one.
    epoch : str
        Day 0, for windows whose time coordinate holds dates; a coordinate of numbers is taken as days.
    longitude_dim, latitude_dim, time_dim : str
        Names of the dimensions; each needs a one-dimensional coordinate of at least two points.

    Raises
    ------
    ConfigError
        If the three arrays are not one-dimensional and equally long.
    """

    longitude: ArrayLike
    latitude: ArrayLike
    time: ArrayLike
    shift: float = 0.0
    epoch: str = FILE_EPOCH
    longitude_dim: str = "longitude"
    latitude_dim: str = "latitude"
    time_dim: str = "time"

    def __post_init__(self) -> None:
        shapes = [np.shape(values) for values in (self.longitude, self.latitude, self.time)]
        if len(shapes[0]) != 1 or len(set(shapes)) != 1:
            raise ConfigError(f"longitude, latitude and time must be three lists of one length; got {shapes}")
        object.__setattr__(
            self,
            "time",
            coordinate_numbers({"time": dates(xr.Variable("sample", self.time)).values}, "time", self.epoch),
        )

    @classmethod
    def of(cls, tracks: Tracks, **options: Any) -> "TrackPositions":
        """Positions of tracks as `oceanvar.labels.samples.as_samples` takes them.

        Parameters
        ----------
        tracks : Dataset, DataArray or sequence of these
            With longitude, latitude and time.
        **options
            `shift`, `epoch` and the names of the dimensions.
        """
        samples = as_samples(tracks)
        longitude, latitude, time = (samples[name].values for name in PLACE)
        return cls(longitude, latitude, time, **options)

    @classmethod
    def from_text(cls, path: str | os.PathLike[str], **options: Any) -> "TrackPositions":
        """Positions of a text file with the columns longitude, latitude, days; further columns are ignored.

        Parameters
        ----------
        path : str or path
            File; a line that starts with ``#`` is a comment.
        **options
            `shift`, `epoch` and the names of the dimensions.

        Raises
        ------
        StoreError
            If the file cannot be read, or holds no positions.
        """
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*input contained no data", category=UserWarning)
                columns = np.loadtxt(path, usecols=(0, 1, 2), ndmin=2, unpack=True)
        except (OSError, ValueError) as error:
            problem = f"cannot read the columns longitude, latitude, days from {os.fspath(path)}: {error}"
            raise StoreError(problem) from error
        if columns.size == 0:
            raise StoreError(f"{os.fspath(path)} holds no track positions")
        return cls(*columns, **options)

    def mask(
        self, sizes: Mapping[str, int], coords: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """Observed cells of one window; the same every time."""
        dims = (self.time_dim, self.latitude_dim, self.longitude_dim)
        shape = tuple(size_of(sizes, dim) for dim in dims)
        # Half-way between two points the later one counts, at the border the last one.
        nearest = np.floor(self.places(coords, dims, rng) + 0.5).astype(int)
        observed = np.zeros(shape, dtype=bool)
        observed[tuple(np.minimum(nearest, np.array(shape) - 1).T)] = True
        return spread(observed, dims, sizes)

    def places(
        self, coords: Mapping[str, np.ndarray], dims: Sequence[str], rng: np.random.Generator
    ) -> np.ndarray:
        """Positions in one window; the same every time."""
        del rng
        own = (self.time_dim, self.latitude_dim, self.longitude_dim)
        if set(dims) != set(own):
            raise MissingVariableError(f"the tracks lie along {own}, but the window has {tuple(dims)}")
        centres = {dim: coordinate_numbers(coords, dim, self.epoch) for dim in own}
        # Every longitude is turned to within half a circle of the middle of the window.
        middle = (centres[self.longitude_dim].min() + centres[self.longitude_dim].max()) / 2
        turned = half_turned(np.asarray(self.longitude) - middle) + middle
        given = (np.asarray(self.time) + self.shift, np.asarray(self.latitude), turned)
        index = {dim: _index(centres[dim], each, dim) for dim, each in zip(own, given, strict=True)}
        found = np.stack([index[dim] for dim in dims], axis=1)
        return found[np.isfinite(found).all(axis=1)]


@final
@dataclass(frozen=True, eq=False)
class ShuffledTracks(AbstractTrackSampler):
    """Passes of real tracks, drawn afresh: shifted in time by whole days, some left out.

    A network that always saw the same tracks would learn them by heart. The shift is cyclic over the
    days that the tracks span, counted from the start of the window, whatever its dates are.

    Parameters
    ----------
    tracks : TrackPositions
        Positions to draw from.
    passes : array_like of int
        Number of the pass of each position, shape (n,).
    most_left_out : float
        Each window leaves out a share of the passes drawn between 0 and this.

    Raises
    ------
    ConfigError
        If `passes` does not fit the positions, or the share is outside 0 to 1.
    """

    tracks: TrackPositions
    passes: ArrayLike
    most_left_out: float = 0.3

    def __post_init__(self) -> None:
        if np.shape(self.passes) != np.shape(self.tracks.time):
            raise ConfigError(
                f"passes must number each of the {np.shape(self.tracks.time)} positions, "
                f"got {np.shape(self.passes)}"
            )
        if not 0 <= self.most_left_out <= 1:
            raise ConfigError(f"most_left_out is a share from 0 to 1, got {self.most_left_out}")

    def mask(
        self, sizes: Mapping[str, int], coords: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """Observed cells of one window."""
        return self._drawn(coords, rng).mask(sizes, coords, rng)

    def places(
        self, coords: Mapping[str, np.ndarray], dims: Sequence[str], rng: np.random.Generator
    ) -> np.ndarray:
        """Positions in one window: as many passes as `mask` draws."""
        return self._drawn(coords, rng).places(coords, dims, rng)

    def _drawn(self, coords: Mapping[str, np.ndarray], rng: np.random.Generator) -> TrackPositions:
        tracks = self.tracks
        start = coordinate_numbers(coords, tracks.time_dim, tracks.epoch)[0]
        days = np.asarray(tracks.time)
        n_days = np.floor(days.max()) - np.floor(days.min()) + 1
        shifted = start - 0.5 + (days - np.floor(days.min()) + rng.integers(n_days)) % n_days
        _, number = np.unique(np.asarray(self.passes), return_inverse=True)
        kept = (rng.random(number.max() + 1) >= rng.uniform(0, self.most_left_out))[number]
        return replace(
            tracks,
            longitude=np.asarray(tracks.longitude)[kept],
            latitude=np.asarray(tracks.latitude)[kept],
            time=shifted[kept],
            shift=0.0,
        )


def coordinate_numbers(coords: Mapping[str, np.ndarray], dim: str, epoch: str) -> np.ndarray:
    """Coordinate as float numbers; dates become days since the epoch, durations days."""
    if dim not in coords:
        raise MissingVariableError(f"the sampler needs a coordinate {dim!r} to find the cells of its tracks")
    values = np.asarray(coords[dim])
    if values.ndim != 1 or values.dtype.kind not in "iufmM":
        raise GridMismatchError(
            f"the coordinate {dim!r} has {values.ndim} dimensions and the type {values.dtype}; tracks need "
            "one dimension of numbers or dates"
        )
    if values.dtype.kind == "M":
        values = values - np.datetime64(epoch)
    if values.dtype.kind == "m":
        return values / np.timedelta64(1, "D")
    return values.astype(float)


def _index(centres: np.ndarray, positions: np.ndarray, dim: str) -> np.ndarray:
    """Index coordinate of each position, NaN outside."""
    steps = np.diff(centres)
    if steps.size == 0 or not (np.all(steps > 0) or np.all(steps < 0)):
        raise GridMismatchError(
            f"the coordinate {dim!r} must increase or decrease strictly and have at least two points: its "
            "cells need a size"
        )
    return index_coordinate(positions, centres, dim)
