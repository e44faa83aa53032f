"""Along-track observations: reading, passes, binning onto a grid, and a field seen along tracks."""

import os
import warnings
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import xarray as xr

from oceanvar.errors import MissingVariableError, StoreError
from oceanvar.labels.coordinates import (
    LATITUDE,
    LONGITUDE,
    TIME,
    around_the_globe,
    even_step,
    meant_dims,
    numbers,
    turned_longitude,
)
from oceanvar.labels.curvilinear import Curvilinear, curvilinear
from oceanvar.observing.passes import GAP_SECONDS, passes_of
from oceanvar.observing.samples import SAMPLE, Tracks, as_samples, over_samples, own_dim

FILE_EPOCH = "1950-01-01"
"""Day 0 of the times in files of along-track data."""


def read_tracks(path: str | os.PathLike[str], name: str = "adt", units: str = "m") -> xr.Dataset:
    """Read a text file with the columns longitude, latitude, days since 1950-01-01, value.

    Parameters
    ----------
    path : path-like
        File; further columns are ignored.
    name, units : str
        Of the fourth column.

    Returns
    -------
    Dataset
        Dimension ``sample``, ordered in time, with coordinates longitude, latitude, time and ``track``, the
        number of the pass.

    Raises
    ------
    StoreError
        If the file cannot be read, has fewer columns, or holds values that are not finite.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*input contained no data", category=UserWarning)
            columns = np.loadtxt(path, ndmin=2, usecols=(0, 1, 2, 3))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"cannot read the columns longitude, latitude, days, value from {path}: {error}"
        ) from error
    if not len(columns) or not np.isfinite(columns).all():
        raise StoreError(
            f"{path} has {len(columns)} rows, {int((~np.isfinite(columns)).sum())} values not finite"
        )
    columns = columns[np.argsort(columns[:, 2], kind="stable")]
    longitude, latitude, days, values = columns.T
    seconds = np.round(days * 86_400_000).astype("timedelta64[ms]")
    track = np.concatenate(([0], np.cumsum(np.diff(days) * 86_400 > GAP_SECONDS)))
    return xr.Dataset(
        {name: ("sample", values, {"units": units})},
        coords={
            "longitude": ("sample", longitude, {"units": "degrees_east"}),
            "latitude": ("sample", latitude, {"units": "degrees_north"}),
            "time": ("sample", (np.datetime64(FILE_EPOCH, "ms") + seconds).astype("datetime64[ns]")),
            "track": ("sample", track),
        },
    )


def withhold_passes(tracks: Tracks, fraction: float, seed: int = 0) -> tuple[xr.Dataset, xr.Dataset]:
    """Divide tracks into those kept and those withheld, whole passes at a time, both over ``sample``.

    Parameters
    ----------
    tracks : Dataset, DataArray or sequence of these
        As `oceanvar.observing.samples.as_samples` takes them, with a coordinate ``track`` or with times, whose pauses
        tell passes apart.
    fraction : float
        Share of the passes to withhold.
    seed : int
        Of the choice.
    """
    samples = over_samples(tracks, needed=())
    if "track" not in samples.variables:
        samples = over_samples(tracks, needed=(TIME,))
    number = passes_of(samples)
    passes = np.unique(number)
    n_withheld = round(fraction * len(passes))
    chosen = np.random.default_rng(seed).permutation(passes)[:n_withheld]
    withheld = np.isin(number, chosen)
    return samples.isel({SAMPLE: ~withheld}), samples.isel({SAMPLE: withheld})


def bin_tracks(tracks: Tracks, grid: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """Average along-track values over the cells of a grid.

    Parameters
    ----------
    tracks : DataArray, Dataset or sequence of these
        One variable, as `oceanvar.observing.samples.as_samples` takes it.
    grid : Dataset or DataArray
        As of `bin_with_errors`.

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
    mean = next(iter(bin_with_errors(tracks, grid, noise_std=1.0).data_vars.values()))
    return mean.rename(tracks.name) if isinstance(tracks, xr.DataArray) else mean


def bin_with_errors(
    tracks: Tracks, grid: xr.Dataset | xr.DataArray, noise_std: float | None = None
) -> xr.Dataset:
    """Average along-track values over the cells of a grid, with their number and error variance.

    Parameters
    ----------
    tracks : DataArray, Dataset or sequence of these
        One variable, as `oceanvar.observing.samples.as_samples` takes it.
    grid : Dataset or DataArray
        Evenly spaced coordinates of time, latitude and longitude, by CF attributes or names: centres of the cells.
        On a curvilinear grid latitude and longitude are two-dimensional, and its cells reach half-way to the next
        points.
    noise_std : float, optional
        Standard deviation of the independent errors of the samples. Default: from their ``variance``, as
        `oceanvar.open_tracks` reads it: a sample weighs as one over its own, and is not used without one.

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
    values, errors = _one_variable(tracks, noise_std)
    curved = curvilinear(grid)
    dims = _grid_dims(grid, curved)
    index = _index(values, grid, dims, curved)
    shape = [grid.sizes[dim] for dim in dims.values()]
    nearest = np.floor(index + 0.5)
    inside = ((nearest >= 0) & (nearest < np.reshape(shape, (-1, 1)))).all(axis=0)
    flat = np.ravel_multi_index(tuple(nearest[:, inside].astype(int)), shape)
    n_cells = int(np.prod(shape))
    counts = np.bincount(flat, minlength=n_cells).reshape(shape)
    weights = 1 / errors[inside]
    sums = np.bincount(flat, weights * values.values[inside], minlength=n_cells).reshape(shape)
    shares = np.bincount(flat, weights, minlength=n_cells).reshape(shape)
    shares = np.where(counts > 0, shares, np.nan)
    mean, variance = (sums / shares).astype(np.float32), (1 / shares).astype(np.float32)
    over = tuple(dims.values())
    return xr.Dataset(
        {
            values.name: (over, mean, values.attrs),
            "count": (over, counts, {"long_name": "samples in the cell", "units": "1"}),
            "variance": (over, variance, {"long_name": "error variance of the mean"}),
        },
        {dim: grid[dim] for dim in over} if curved is None else _coords_over(grid, over),
    )


def sample_field(field: xr.DataArray, tracks: Tracks) -> xr.DataArray:
    """Value of a gridded field at the positions and times of tracks.

    Bilinear in space and linear in time; before the first and after the last time of the field the
    first and the last map hold. Next to land, where a corner is NaN, the nearest cell serves. A field all around
    the globe has no seam.

    Parameters
    ----------
    field : DataArray
        Dimensions latitude, longitude and, optionally, time, by CF attributes or names; or with two-dimensional
        latitude and longitude (a curvilinear grid).
    tracks : Dataset, DataArray or sequence of these
        As `oceanvar.observing.samples.as_samples` takes them.

    Returns
    -------
    DataArray
        Along the dimension of `tracks`, or ``sample`` where they have several; NaN outside the grid, on land and
        where a position is missing.

    Raises
    ------
    MissingVariableError, GridMismatchError
        If coordinates are missing, or the times of both are of different kinds.
    """
    dims, curved = meant_dims(field), curvilinear(field)
    if curved is not None:
        dims = dims | dict(zip((LATITUDE, LONGITUDE), curved.dims, strict=True))
    if not {LATITUDE, LONGITUDE} <= set(dims):
        raise MissingVariableError(
            f"the field has no latitude and longitude among {tuple(field.dims)}, and none over two of them: rename them"
        )
    samples = over_samples(tracks, needed=tuple(dims))
    # No coordinates but those of the axes: xarray would interpolate all others too.
    field = field.drop_vars([name for name in field.coords if name not in field.dims])
    if curved is None:
        longitude = turned_longitude(samples[LONGITUDE], field[dims[LONGITUDE]])
        places = {dims[LATITUDE]: samples[LATITUDE], dims[LONGITUDE]: longitude}
        field = around_the_globe(field, dims[LONGITUDE])
    else:
        index = curved.index(samples[LATITUDE].values, samples[LONGITUDE].values)
        places = {
            dim: xr.DataArray(each, dims=SAMPLE) for dim, each in zip(curved.dims, index.T, strict=True)
        }
        field = field.assign_coords({dim: np.arange(field.sizes[dim]) for dim in curved.dims})
    if TIME in dims:
        days = numbers(field[dims[TIME]])
        places[dims[TIME]] = numbers(samples[TIME], field[dims[TIME]][0]).clip(days.min(), days.max())
        field = field.assign_coords({dims[TIME]: days.values})
    if not samples.sizes[SAMPLE]:
        # xarray cannot interpolate to no places at all.
        none = field.isel({dim: xr.DataArray(np.zeros(0, int), dims=SAMPLE) for dim in places})
        return _beside(none.drop_vars(list(places)), tracks, samples)
    where = {dim: xr.DataArray(each.variable) for dim, each in places.items()}
    smooth, nearest = (
        field.interp(where, method=method).drop_vars(list(where)) for method in ("linear", "nearest")
    )
    return _beside(smooth.where(smooth.notnull(), nearest), tracks, samples)


def anomalies(tracks: xr.Dataset, name: str, mean: xr.DataArray, offset: float = 0.0) -> xr.Dataset:
    """Along-track values above a mean map, as a model of anomalies wants them.

    Parameters
    ----------
    tracks : Dataset
        Variables over ``sample`` with coordinates longitude, latitude, time.
    name : str
        Which of them.
    mean : DataArray
        Map over latitude and longitude, in the same units.
    offset : float
        Subtracted too: what all samples have in common, say, where the reference surfaces differ.

    Returns
    -------
    Dataset
        Without the samples of which something is unknown: those off the map, on land.
    """
    above = tracks[name] - sample_field(mean, tracks) - offset
    return tracks.assign({name: above.assign_attrs(tracks[name].attrs)}).dropna("sample")


def _one_variable(tracks: Tracks, noise_std: float | None) -> tuple[xr.DataArray, np.ndarray]:
    """Values of the only variable of tracks, over ``sample``, and their error variances."""
    if isinstance(tracks, xr.DataArray):
        names = [str(tracks.name or "mean")]
        samples = over_samples(tracks.rename(names[0]))
    else:
        samples = over_samples(tracks)
        real = (name for name, each in samples.data_vars.items() if each.dtype.kind == "f")
        names = [str(name) for name in real if name != "variance"]
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


def _beside(values: xr.DataArray, tracks: Tracks, samples: xr.Dataset) -> xr.DataArray:
    """Give values of samples the dimension and coordinates of the tracks, where these have one."""
    dim = own_dim(tracks)
    if dim is None or not isinstance(tracks, xr.Dataset | xr.DataArray):
        return values.assign_coords(samples.coords)
    coords = {name: each.variable for name, each in tracks.coords.items() if each.dims == (dim,)}
    return values.rename({SAMPLE: dim} if dim != SAMPLE else {}).assign_coords(coords)
