"""Along-track observations as patches see them: samples at index coordinates, cut by position."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import dask
import numpy as np
import xarray as xr
from dask.base import tokenize

from oceanvar.errors import ConfigError, GridMismatchError, MissingVariableError
from oceanvar.labels.axes import kind_of
from oceanvar.labels.coordinates import (
    HALF_CELL,
    LATITUDE,
    LONGITUDE,
    index_coordinate,
    numbers,
    turned_longitude,
)
from oceanvar.labels.curvilinear import Curvilinear, curvilinear
from oceanvar.labels.samples import PLACE, SAMPLE, Tracks, as_samples
from oceanvar.labels.units import Conversion, conversion, of_logarithm, squared
from oceanvar.patching.grids import Origin
from oceanvar.state.instruments import Instrument
from oceanvar.state.spaces import StateSpace
from oceanvar.state.transforms import variance_of_log10


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
    along_track: Mapping[str, Tracks] | None,
    ds: xr.Dataset,
    space: StateSpace,
    names: Mapping[str, str] | None = None,
) -> TrackCutter | None:
    """Locate the samples of every along-track instrument of a model on the grid of `ds`.

    Parameters
    ----------
    along_track : mapping of str to Dataset, DataArray or sequence of these, optional
        For each along-track instrument of `space` its samples, as `oceanvar.labels.samples.as_samples` takes
        them, with a coordinate for each dimension of the state; with latitude and longitude on a curvilinear grid.
    ds : Dataset
        Grid; only its coordinates are looked at.
    space : StateSpace
        Names the instruments.
    names : mapping of str to str, optional
        Names in the samples of variables that have other ones in `space`.

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
    given = {name: _renamed(each, names or {}) for name, each in (along_track or {}).items()}
    if set(given) != set(space.tracked):
        raise ConfigError(
            f"the model has the along-track instruments {sorted(space.tracked)}, and along_track gives "
            f"{sorted(given)}: give a Dataset for each, or name them in the instruments of its StateSpace"
        )
    if not given:
        return None
    fields = [name for name in space.inputs if name in ds]
    curved = curvilinear(ds[fields] if fields else ds, space.dims)
    samples = {
        name: _samples(given[name], name, each, ds, space, curved) for name, each in space.tracked.items()
    }
    return TrackCutter(
        samples,
        tuple(ds.sizes[dim] for dim in space.dims),
        tuple(space.patch[dim] for dim in space.dims),
        tuple(dim in space.periodic for dim in space.dims),
    )


def _renamed(tracks: Tracks, names: Mapping[str, str]) -> Tracks:
    """Give variables the names of the state space; what is no table stays, to be refused."""
    if isinstance(tracks, list | tuple):
        return [_renamed(each, names) for each in tracks]  # type: ignore[misc]
    if isinstance(tracks, xr.DataArray):
        return tracks.rename(next((own for own, other in names.items() if other == tracks.name), tracks.name))
    if not isinstance(tracks, xr.Dataset):
        return tracks
    return tracks.rename(
        {other: own for own, other in names.items() if other in tracks and own not in tracks}
    )


def _samples(
    tracks: Tracks,
    name: str,
    instrument: Instrument,
    ds: xr.Dataset,
    space: StateSpace,
    curved: Curvilinear | None,
) -> Samples:
    has_axes = curved is not None and all(dim in ds.coords for dim in curved.dims)
    if curved is not None and has_axes and _have_coordinates(tracks, curved.dims):
        # Samples that say where they lie along the dimensions themselves: on the plane of a projection, say.
        curved = None
    samples = _as_samples(tracks, name, instrument, ds, space, curved)
    positions = _positions(samples, name, ds, space, curved)
    on_grid = np.isfinite(positions).all(axis=1)
    if len(positions) and not on_grid.any():
        raise GridMismatchError(
            f"none of the {len(positions)} samples of {name!r} lies on the grid: along {list(space.dims)} it "
            f"holds {np.isfinite(positions).sum(axis=0).tolist()} of them"
        )
    order = np.flatnonzero(on_grid)
    order = order[np.argsort(positions[order, 0], kind="stable")]
    samples = samples.isel({SAMPLE: order})
    columns = [
        _as_in_state(samples, name, *each, instrument.variance, space)
        for each in zip(instrument.variables, instrument.scales, strict=True)
    ]
    values = np.stack([value for value, _ in columns])
    variances = [variance for _, variance in columns if variance is not None]
    return Samples(positions[order], values, np.stack(variances) if variances else None)


def _have_coordinates(tracks: Tracks, dims: Sequence[Hashable]) -> bool:
    parts = [tracks] if isinstance(tracks, xr.Dataset | xr.DataArray) else tracks
    names = [set(part.variables if isinstance(part, xr.Dataset) else part.coords) for part in parts]
    # The lines and pixels of a swath may bear the names of the grid's dimensions, and are others.
    return all(set(dims) <= each - set(part.dims) for each, part in zip(names, parts, strict=True))


def _as_samples(
    tracks: Tracks,
    name: str,
    instrument: Instrument,
    ds: xr.Dataset,
    space: StateSpace,
    curved: Curvilinear | None,
) -> xr.Dataset:
    """Samples of an instrument with all that it needs, those without a place or a value left out."""
    by_angles = () if curved is None else curved.dims
    along = [dim for dim in space.dims if dim not in by_angles]
    missing = [dim for dim in along if dim not in ds.coords]
    if missing:
        raise MissingVariableError(
            f"the dimension {missing[0]!r} of the grid has no coordinate, and samples cannot be located without one: "
            f"add it with assign_coords, or a latitude and a longitude over two dimensions (a curvilinear grid); the "
            f"coordinates are {sorted(map(str, ds.coords))}, and CF attributes say what they are: standard_name, units"
        )
    for each in [tracks] if isinstance(tracks, xr.Dataset | xr.DataArray) else tracks:
        _check_tracks(each, name, instrument)
    needed = [kind for kind in (kind_of(ds[dim])[0] for dim in along) if kind in PLACE]
    return as_samples(tracks, instrument.variables, needed + ([LATITUDE, LONGITUDE] if by_angles else []))


def _check_tracks(tracks: xr.Dataset | xr.DataArray, name: str, instrument: Instrument) -> None:
    given = tracks.to_dataset(name=tracks.name or "value") if isinstance(tracks, xr.DataArray) else tracks
    missing = [each for each in instrument.sources if each not in given]
    if missing:
        raise MissingVariableError(
            f"the tracks {name!r} have no variable {missing[0]!r}; there are {sorted(map(str, given.data_vars))}"
        )
    if any(dask.is_dask_collection(each._data) for each in given.variables.values()):
        raise ConfigError(
            f"the tracks {name!r} are lazy (dask): use .load(), they are cut by position at once"
        )


def _as_in_state(
    samples: xr.Dataset, name: str, variable: str, scale: str, error: float | str | None, space: StateSpace
) -> tuple[np.ndarray, np.ndarray | None]:
    """Values and error variances of a variable of the tracks, in the units of the state or as their logarithm."""
    what = f"variable {variable!r} of the tracks {name!r}"
    given, units = samples[variable].values.astype(np.float64), samples[variable].attrs.get("units")
    variance = samples[error].values.astype(np.float64) if isinstance(error, str) else None
    is_logarithm, of_error = of_logarithm(units) is not None, None
    if isinstance(error, str):
        of_error = samples[error].attrs.get("units")
    if is_logarithm and scale in space.transform:
        given, units = 10**given, of_logarithm(units)
    wanted = space.units.get(scale)
    way = conversion(str(units), wanted, what) if None not in (units, wanted) else Conversion(1.0, 0.0)
    values = given * way.factor + way.offset
    if scale not in space.transform:
        return values, None if variance is None else variance * way.factor**2
    values = np.where(values > 0, values, np.nan)
    if variance is not None and not is_logarithm and of_error not in (None, "1"):
        factor = conversion(str(of_error), squared(str(units)), f"the error variance of {what}").factor
        variance = variance_of_log10(variance * factor, given)
    return np.log10(values), variance


def _positions(
    samples: xr.Dataset, name: str, ds: xr.Dataset, space: StateSpace, curved: Curvilinear | None
) -> np.ndarray:
    """Index coordinates of every sample along all dimensions; NaN beyond half a cell outside the grid."""
    found: dict[Hashable, np.ndarray] = {}
    if curved is not None:
        index = curved.index(samples[LATITUDE].values, samples[LONGITUDE].values)
        found = dict(zip(curved.dims, index.T, strict=True))
    for dim in space.dims:
        if dim not in found:
            found[dim] = _index_on(samples, name, ds, dim)
    return np.stack([found[dim] for dim in space.dims], axis=1)


def _index_on(samples: xr.Dataset, name: str, ds: xr.Dataset, dim: str) -> np.ndarray:
    """Index coordinate of every sample along a dimension; NaN beyond half a cell outside the grid."""
    kind = kind_of(ds[dim])[0]
    key = kind if kind in PLACE else dim
    if key not in samples.variables:
        raise MissingVariableError(
            f"the tracks {name!r} have no coordinate {dim!r}; there are {sorted(map(str, samples.variables))}: rename "
            "or add it with assign_coords"
        )
    where = samples[key].reset_coords(drop=True)
    if where.isnull().any():
        raise GridMismatchError(
            f"coordinate {dim!r} of the tracks {name!r} is missing at {int(where.isnull().sum())} of {where.size} "
            "samples: drop them first, tracks.dropna(...)"
        )
    if kind == LONGITUDE:
        where = turned_longitude(where, ds[dim])
    return index_coordinate(numbers(where, ds[dim][0]).values, numbers(ds[dim]).values, dim)
