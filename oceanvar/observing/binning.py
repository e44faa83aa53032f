"""Samples averaged over the cells of a grid."""

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import xarray as xr
from dask import delayed

from oceanvar.errors import ConfigError, MissingVariableError
from oceanvar.labels.coordinates import (
    LATITUDE,
    LONGITUDE,
    TIME,
    even_step,
    meant_dims,
    numbers,
    turned_longitude,
)
from oceanvar.labels.curvilinear import Curvilinear, curvilinear
from oceanvar.labels.samples import SAMPLE, Tracks, as_samples, over_samples, value_names


class _Seen(NamedTuple):
    """Values of the cells that were seen, by their numbers in a flat grid, ascending; and what all others have."""

    cells: np.ndarray
    values: np.ndarray
    fill: float

    def spread(self, shape: Sequence[int]) -> np.ndarray:
        """The whole field."""
        field = np.full(shape, self.fill, self.values.dtype)
        field.reshape(-1)[self.cells] = self.values
        return field

    def lazy(self, shape: Sequence[int], n_times: int) -> da.Array:
        """The whole field, lazy along its first axis: a chunk knows its own cells only."""
        n_all, *others = shape
        n_cells = math.prod(others)
        firsts = [*range(0, n_all, n_times), n_all]
        blocks = []
        for first, stop in itertools.pairwise(firsts):
            part = slice(*np.searchsorted(self.cells, (first * n_cells, stop * n_cells)))
            own = _Seen(self.cells[part] - first * n_cells, self.values[part], self.fill)
            size = (stop - first, *others)
            blocks.append(da.from_delayed(delayed(own.spread)(size), size, self.values.dtype))
        return da.concatenate(blocks)


def bin_tracks(tracks: Tracks, grid: xr.Dataset | xr.DataArray, chunks: int | None = None) -> xr.DataArray:
    """Average along-track values over the cells of a grid.

    Parameters
    ----------
    tracks : DataArray, Dataset or sequence of these
        One variable, as `oceanvar.labels.samples.as_samples` takes it.
    grid : Dataset or DataArray
        As of `bin_with_errors`.
    chunks : int, optional
        As there.

    Returns
    -------
    DataArray
        Dimensions time, latitude, longitude, as the grid calls them; NaN where no sample fell, float32. A sample
        more than half a cell outside the grid is ignored.

    Raises
    ------
    GridMismatchError
        If a coordinate of the grid is not evenly spaced.
    """
    binned = _binned(tracks, grid, 1.0)
    name = next(iter(binned.fields))
    mean = binned.dataset([name], chunks)[name]
    return mean.rename(tracks.name) if isinstance(tracks, xr.DataArray) else mean


def bin_with_errors(
    tracks: Tracks,
    grid: xr.Dataset | xr.DataArray,
    noise_std: float | None = None,
    chunks: int | None = None,
) -> xr.Dataset:
    """Average along-track values over the cells of a grid, with their number and error variance.

    Parameters
    ----------
    tracks : DataArray, Dataset or sequence of these
        One variable, as `oceanvar.labels.samples.as_samples` takes it.
    grid : Dataset or DataArray
        Evenly spaced coordinates of time, latitude and longitude, by CF attributes or names: centres of the cells.
        On a curvilinear grid latitude and longitude are two-dimensional, and its cells reach half-way to the next
        points.
    noise_std : float, optional
        Standard deviation of the independent errors of the samples. Default: from their ``variance``, as
        `oceanvar.open_tracks` reads it: a sample weighs as one over its own, and is not used without one.
    chunks : int, optional
        Times of a chunk of a lazy result (dask), of which only what is asked for is in memory. Default: all at once.

    Returns
    -------
    Dataset
        The mean under the name of the variable (or "mean"), float32; ``count``, the samples of each cell; and
        ``variance``, that of the mean, noise_std^2 / count: NaN where no sample fell. A sample more than half a cell
        outside the grid is ignored.

    Raises
    ------
    GridMismatchError
        If a coordinate of the grid is not evenly spaced.
    MissingVariableError
        If there is not one variable, or a coordinate or the errors are missing.
    """
    binned = _binned(tracks, grid, noise_std)
    return binned.dataset(list(binned.fields), chunks)


class _Binned(NamedTuple):
    """Fields of a grid by name, with their attributes."""

    fields: dict[Hashable, tuple[_Seen, dict[str, Any]]]
    sizes: dict[Hashable, int]
    coords: dict[Hashable, Any]

    def dataset(self, names: Sequence[Hashable], n_times: int | None) -> xr.Dataset:
        """Some of the fields, lazy in chunks of so many times if a number is given."""
        if n_times is not None and not (isinstance(n_times, int | np.integer) and n_times >= 1):
            raise ConfigError(f"chunks is {n_times!r}: give a whole number of times, of at least 1")
        over, shape = tuple(self.sizes), tuple(self.sizes.values())
        found = {}
        for name in names:
            seen, attrs = self.fields[name]
            found[name] = over, seen.spread(shape) if n_times is None else seen.lazy(shape, n_times), attrs
        return xr.Dataset(found, self.coords)


def _binned(tracks: Tracks, grid: xr.Dataset | xr.DataArray, noise_std: float | None) -> _Binned:
    """Mean, number and error variance of the samples in each cell that has some."""
    values, errors = _one_variable(tracks, noise_std)
    curved = curvilinear(grid)
    dims = _grid_dims(grid, curved)
    sizes = {dim: grid.sizes[dim] for dim in dims.values()}
    shape = tuple(sizes.values())
    nearest = np.floor(_index(values, grid, dims, curved) + 0.5)
    inside = ((nearest >= 0) & (nearest < np.reshape(shape, (-1, 1)))).all(axis=0)
    flat = np.ravel_multi_index(tuple(nearest[:, inside].astype(int)), shape)
    cells, place = np.unique(flat, return_inverse=True)
    weights = 1 / errors[inside]
    share = np.bincount(place, weights, minlength=len(cells))
    total = np.bincount(place, weights * values.values[inside], minlength=len(cells))
    count = np.bincount(place, minlength=len(cells))
    gap = math.nan
    fields: dict[Hashable, tuple[_Seen, dict[str, Any]]] = {
        values.name: (_Seen(cells, (total / share).astype(np.float32), gap), values.attrs),
        "count": (_Seen(cells, count, 0), {"long_name": "samples in the cell", "units": "1"}),
        "variance": (
            _Seen(cells, (1 / share).astype(np.float32), gap),
            {"long_name": "error variance of the mean"},
        ),
    }
    over = tuple(sizes)
    return _Binned(
        fields, sizes, {dim: grid[dim] for dim in over} if curved is None else _coords_over(grid, over)
    )


def _one_variable(tracks: Tracks, noise_std: float | None) -> tuple[xr.DataArray, np.ndarray]:
    """Values of the only variable of tracks, over ``sample``, and their error variances."""
    if isinstance(tracks, xr.DataArray):
        names = [str(tracks.name or "mean")]
        samples = over_samples(tracks.rename(names[0]))
    else:
        samples = over_samples(tracks)
        names = value_names(samples.drop_vars("variance", errors="ignore"))
    if len(names) != 1:
        raise MissingVariableError(
            f"one variable of the tracks can be binned at a time, and there are {names}: choose one, tracks['name']"
        )
    if noise_std is None and "variance" not in samples:
        raise MissingVariableError(
            "the tracks have no 'variance', the error variance of each: give noise_std"
        )
    samples = as_samples(samples, names[0])
    if noise_std is not None:
        return samples[names[0]], np.full(samples.sizes[SAMPLE], noise_std**2)
    samples = samples.isel({SAMPLE: (samples["variance"] > 0).values})
    return samples[names[0]], samples["variance"].values


def _grid_dims(grid: xr.Dataset | xr.DataArray, curved: Curvilinear | None) -> dict[str, Hashable]:
    """Names that a grid gives to time, latitude and longitude, or to what runs along them."""
    dims = meant_dims(grid)
    wanted = (TIME, LATITUDE, LONGITUDE) if curved is None else (TIME,)
    missing = [name for name in wanted if dims.get(name) not in grid.coords]
    if missing:
        raise MissingVariableError(
            f"the grid has no dimension with a coordinate that is the {missing[0]}; there are {tuple(grid.dims)}"
        )
    if curved is None:
        return dims
    return {TIME: dims[TIME], LATITUDE: curved.dims[0], LONGITUDE: curved.dims[1]}


def _index(
    samples: xr.DataArray,
    grid: xr.Dataset | xr.DataArray,
    dims: Mapping[str, Hashable],
    curved: Curvilinear | None,
) -> np.ndarray:
    """Index coordinates ``(3, n)`` of samples on a grid, with any number outside of it or NaN."""
    places = {each: samples[each] for each in dims}
    found = {}
    if curved is None:
        places[LONGITUDE] = turned_longitude(samples[LONGITUDE], grid[dims[LONGITUDE]])
    else:
        index = curved.index(samples[LATITUDE].values, samples[LONGITUDE].values)
        found = dict(zip((LATITUDE, LONGITUDE), index.T, strict=True))
    for each, dim in dims.items():
        if each not in found:
            centres = numbers(grid[dim]).values
            distance = numbers(places[each], grid[dim][0]).values - centres[0]
            found[each] = distance / even_step(centres, dim)
    return np.stack([found[each] for each in dims])


def _coords_over(grid: xr.Dataset | xr.DataArray, dims: Sequence[Hashable]) -> dict[Hashable, xr.Variable]:
    """Coordinates along some dimensions."""
    return {
        name: each.variable for name, each in grid.coords.items() if each.dims and set(each.dims) <= set(dims)
    }
