"""Along-track observations as patches see them: samples at index coordinates, cut by position."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import dask
import numpy as np
import xarray as xr
from dask.base import tokenize

from oceanvar.errors import ConfigError, GridMismatchError, MissingVariableError, UnitsMismatchError
from oceanvar.labels.coordinates import (
    HALF_CELL,
    LONGITUDE,
    index_coordinate,
    is_time,
    metric_name,
    numbers,
    turned_longitude,
)
from oceanvar.patching.grids import Origin
from oceanvar.state.instruments import Instrument
from oceanvar.state.spaces import StateSpace


class TrackPatches(NamedTuple):
    """Samples of a batch of patches, padded with NaN to the same number n.

    `values` and `variances` are ``(B, V, n)`` in physical units, `variances` None where the instrument gives
    none; `positions` are ``(B, n, D)``, index coordinates in the patch.
    """

    values: np.ndarray
    variances: np.ndarray | None
    positions: np.ndarray

    def part(self, patches: slice) -> "TrackPatches":
        """Those of some patches."""
        variances = None if self.variances is None else self.variances[patches]
        return TrackPatches(self.values[patches], variances, self.positions[patches])


@dataclass(frozen=True, eq=False)
class Samples:
    """Scattered observations of one instrument on a grid, in the order of time.

    Parameters
    ----------
    positions : ndarray
        ``(N, D)``, index coordinates on the grid along each of its dimensions, time first.
    values : ndarray
        ``(V, N)``, in physical units, NaN where a variable is missing.
    variances : ndarray, optional
        Error variance ``(V, N)``.
    """

    positions: np.ndarray
    values: np.ndarray
    variances: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class TrackCutter:
    """Gives each patch the samples that lie in it, or up to half a point beyond its border.

    Parameters
    ----------
    instruments : mapping of str to Samples
        By name.
    sizes, patch : tuple of int
        Points of the grid and of a patch along each dimension.
    wraps : tuple of bool
        Dimensions that are periodic.
    """

    instruments: Mapping[str, Samples]
    sizes: tuple[int, ...]
    patch: tuple[int, ...]
    wraps: tuple[bool, ...]

    def __dask_tokenize__(self) -> tuple[object, ...]:
        arrays = [(k, s.positions, s.values, s.variances) for k, s in self.instruments.items()]
        return ("oceanvar.TrackCutter", tokenize(arrays), self.sizes, self.patch, self.wraps)

    def __call__(self, origins: Sequence[Origin]) -> dict[str, TrackPatches]:
        """Samples of the patches that start at `origins`, by instrument."""
        return {name: self._cut(each, origins) for name, each in self.instruments.items()}

    def _cut(self, samples: Samples, origins: Sequence[Origin]) -> TrackPatches:
        return padded([self._inside(samples, origin) for origin in origins])

    def _inside(self, samples: Samples, origin: Origin) -> Samples:
        """Samples in a patch, at their places in it."""
        first, stop = 0, len(samples.positions)
        if not self.wraps[0]:
            # In the order of time: most samples need no look.
            times, begin = samples.positions[:, 0], origin[0] - HALF_CELL
            first = int(np.searchsorted(times, begin))
            stop = int(np.searchsorted(times, begin + self.patch[0], side="right"))
        places = samples.positions[first:stop] - np.asarray(origin)
        for axis, (size, wraps) in enumerate(zip(self.sizes, self.wraps, strict=True)):
            if wraps:
                places[:, axis] = (places[:, axis] + HALF_CELL) % size - HALF_CELL
        last = np.asarray(self.patch) - 1
        inside = ((places >= -HALF_CELL) & (places <= last + HALF_CELL)).all(axis=1)
        chosen = np.flatnonzero(inside) + first
        variances = None if samples.variances is None else samples.variances[:, chosen]
        return Samples(np.clip(places[inside], 0, last), samples.values[:, chosen], variances)


def padded(found: Sequence[Samples]) -> TrackPatches:
    """Samples of some patches, side by side."""
    n_most = max(each.values.shape[1] for each in found)

    def side_by_side(arrays: Sequence[np.ndarray], fill: float, axis: int) -> np.ndarray:
        def width(array: np.ndarray) -> list[tuple[int, int]]:
            return [(0, n_most - array.shape[i] if i == axis else 0) for i in range(2)]

        return np.stack([np.pad(each, width(each), constant_values=fill) for each in arrays])

    given = [each.variances for each in found if each.variances is not None]
    return TrackPatches(
        side_by_side([each.values for each in found], np.nan, axis=1),
        side_by_side(given, np.nan, axis=1) if given else None,
        side_by_side([each.positions for each in found], 0.0, axis=0),
    )


def track_cutter(
    along_track: Mapping[str, xr.Dataset] | None, ds: xr.Dataset, space: StateSpace
) -> TrackCutter | None:
    """Locate the samples of every along-track instrument of a model on the grid of `ds`.

    Parameters
    ----------
    along_track : mapping of str to Dataset, optional
        For each along-track instrument of `space` its samples: variables over one dimension, with a coordinate
        for each dimension of the state.
    ds : Dataset
        Grid; only its coordinates are looked at.
    space : StateSpace
        Names the instruments.

    Returns
    -------
    TrackCutter or None
        None where the model has no along-track instrument.

    Raises
    ------
    ConfigError
        If instruments are missing or unknown, or the samples are lazy.
    MissingVariableError, UnitsMismatchError, GridMismatchError
        Where samples lack variables or coordinates, have other units, or do not lie on the grid.
    """
    given = along_track or {}
    if set(given) != set(space.tracked):
        raise ConfigError(
            f"the model has the along-track instruments {sorted(space.tracked)}, and along_track gives "
            f"{sorted(given)}: give a Dataset for each, or name them in the instruments of its StateSpace"
        )
    if not given:
        return None
    samples = {name: _samples(given[name], name, each, ds, space) for name, each in space.tracked.items()}
    return TrackCutter(
        samples,
        tuple(ds.sizes[dim] for dim in space.dims),
        tuple(space.patch[dim] for dim in space.dims),
        tuple(dim in space.periodic for dim in space.dims),
    )


def _samples(
    tracks: xr.Dataset, name: str, instrument: Instrument, ds: xr.Dataset, space: StateSpace
) -> Samples:
    _check_tracks(tracks, name, instrument, space)
    found = [_index_on(tracks, name, ds, dim) for dim in space.dims]
    positions = np.stack(found, axis=1)
    on_grid = np.isfinite(positions).all(axis=1)
    if tracks.sizes[_sample_dim(tracks, name, instrument)] and not on_grid.any():
        raise GridMismatchError(
            f"none of the {len(positions)} samples of {name!r} lies on the grid: along {list(space.dims)} it "
            f"holds {np.isfinite(positions).sum(axis=0).tolist()} of them"
        )
    order = np.flatnonzero(on_grid)
    order = order[np.argsort(positions[order, 0], kind="stable")]
    values = np.stack([tracks[each].values[order] for each in instrument.variables]).astype(np.float64)
    variances = None
    if isinstance(instrument.variance, str):
        variances = np.broadcast_to(
            tracks[instrument.variance].values[order].astype(np.float64), values.shape
        )
    return Samples(positions[order], values, variances)


def _sample_dim(tracks: xr.Dataset, name: str, instrument: Instrument) -> str:
    dims = {dim for each in instrument.sources for dim in tracks[each].dims}
    if len(dims) != 1:
        raise GridMismatchError(
            f"the variables {instrument.sources} of {name!r} have the dimensions {sorted(map(str, dims))}: "
            "along-track observations have one, of samples; use .stack(sample=[...])"
        )
    return str(dims.pop())


def _check_tracks(tracks: xr.Dataset, name: str, instrument: Instrument, space: StateSpace) -> None:
    missing = [each for each in instrument.sources if each not in tracks]
    if missing:
        raise MissingVariableError(
            f"the tracks {name!r} have no variable {missing[0]!r}; there are "
            f"{sorted(map(str, tracks.data_vars))}"
        )
    _sample_dim(tracks, name, instrument)
    if any(dask.is_dask_collection(tracks[each].variable._data) for each in tracks.variables):
        raise ConfigError(
            f"the tracks {name!r} are lazy (dask): use .load(), they are cut by position at once"
        )
    for each, scale in zip(instrument.variables, instrument.scales, strict=True):
        expected = space.units.get(scale)
        found = tracks[each].attrs.get("units", expected)
        if expected is not None and found != expected:
            raise UnitsMismatchError(
                f"variable {each!r} of the tracks {name!r} is in {found!r}, the model was trained in "
                f"{expected!r}: convert it and set its attrs['units']"
            )


def _index_on(tracks: xr.Dataset, name: str, ds: xr.Dataset, dim: str) -> np.ndarray:
    """Index coordinate of every sample along a dimension; NaN beyond half a cell outside the grid."""
    if dim not in ds.coords:
        raise MissingVariableError(
            f"the dimension {dim!r} of the grid has no coordinate, and samples cannot be located without one"
        )
    where = _coordinate(tracks, name, ds[dim])
    if where.isnull().any():
        raise GridMismatchError(
            f"coordinate {where.name!r} of the tracks {name!r} is missing at {int(where.isnull().sum())} of "
            f"{where.size} samples: drop them first, tracks.dropna('{where.dims[0]}')"
        )
    if metric_name(ds[dim]) == LONGITUDE:
        where = turned_longitude(where, ds[dim])
    points = numbers(ds[dim]).values
    places = numbers(where, ds[dim][0]).values
    return index_coordinate(places, points, dim)


def _coordinate(tracks: xr.Dataset, name: str, axis: xr.DataArray) -> xr.DataArray:
    """Coordinate of the samples that has the name of an axis, or else its meaning."""
    if axis.name in tracks.variables:
        return tracks[axis.name].reset_coords(drop=True)
    alike = [
        each
        for each in tracks.coords.values()
        if (is_time(each) if is_time(axis) else metric_name(each) == metric_name(axis))
    ]
    if len(alike) != 1:
        raise MissingVariableError(
            f"the tracks {name!r} have no coordinate {axis.name!r}; there are "
            f"{sorted(map(str, tracks.coords))}: rename or add it with assign_coords"
        )
    return alike[0].reset_coords(drop=True)
