"""Along-track observations: reading, withheld passes, and a field seen along tracks."""

import os
import warnings

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError, GridMismatchError, MissingVariableError, StoreError
from oceanvar.labels.coordinates import (
    LATITUDE,
    LONGITUDE,
    TIME,
    around_the_globe,
    meant_dims,
    numbers,
    turned_longitude,
)
from oceanvar.labels.curvilinear import curvilinear
from oceanvar.labels.passes import GAP_SECONDS, passes_of
from oceanvar.labels.samples import SAMPLE, Tracks, located, over_samples, own_dim, value_names
from oceanvar.labels.samples import as_samples as as_samples

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
        As `oceanvar.labels.samples.as_samples` takes them, with a coordinate ``track`` or with times, whose pauses
        tell passes apart. Where they have places, a sample that is there twice (near-real-time and reprocessed)
        counts once, so that none is in both parts.
    fraction : float
        Share of the passes to withhold, from 0 to 1.
    seed : int
        Of the choice.

    Returns
    -------
    kept, withheld : Dataset
        Samples of the passes that stay, and of the others.

    Raises
    ------
    ConfigError
        If the fraction is no such share.
    MissingVariableError
        If there is neither a coordinate ``track`` nor a time.
    """
    if not 0 <= fraction <= 1:
        raise ConfigError(f"fraction is the share of the passes to withhold, from 0 to 1, and not {fraction}")
    samples = _each_once(tracks)
    number = passes_of(samples)
    passes = np.unique(number)
    n_withheld = round(fraction * len(passes))
    chosen = np.random.default_rng(seed).permutation(passes)[:n_withheld]
    withheld = np.isin(number, chosen)
    return samples.isel({SAMPLE: ~withheld}), samples.isel({SAMPLE: withheld})


def _each_once(tracks: Tracks) -> xr.Dataset:
    """Samples that are there once, as far as places and times say so."""
    try:
        samples = over_samples(tracks)
    except (MissingVariableError, GridMismatchError):
        # Without places the passes can still be told apart.
        samples = over_samples(tracks, needed=())
        return samples if "track" in samples.variables else over_samples(tracks, needed=(TIME,))
    return located(samples, value_names(samples))


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
        As `oceanvar.labels.samples.as_samples` takes them.

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
    for dim in (dims[name] for name in dims if dims[name] in field.coords):
        n_twice = int(field.get_index(dim).duplicated().sum())
        if n_twice:
            raise GridMismatchError(
                f"{n_twice} of {field.sizes[dim]} points of {dim!r} of the field are there twice: use "
                f"drop_duplicates({dim!r})"
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


def _beside(values: xr.DataArray, tracks: Tracks, samples: xr.Dataset) -> xr.DataArray:
    """Give values of samples the dimension and coordinates of the tracks, where these have one."""
    dim = own_dim(tracks)
    if dim is None or not isinstance(tracks, xr.Dataset | xr.DataArray):
        return values.assign_coords(samples.coords)
    coords = {name: each.variable for name, each in tracks.coords.items() if each.dims == (dim,)}
    return values.rename({SAMPLE: dim} if dim != SAMPLE else {}).assign_coords(coords)
