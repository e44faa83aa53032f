"""Along-track observations: reading, passes, binning onto a grid, and a field seen along tracks."""

import os
import warnings

import numpy as np
import xarray as xr

from oceanvar.errors import StoreError
from oceanvar.labels.coordinates import even_step, numbers, turned_longitude

GAP_SECONDS = 120.0
"""A pause longer than this between two measurements begins a new pass."""

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


def withhold_passes(tracks: xr.Dataset, fraction: float, seed: int = 0) -> tuple[xr.Dataset, xr.Dataset]:
    """Divide tracks into those kept and those withheld, whole passes at a time.

    Parameters
    ----------
    tracks : Dataset
        With a coordinate ``track``.
    fraction : float
        Share of the passes to withhold.
    seed : int
        Of the choice.
    """
    passes = np.unique(tracks["track"])
    n_withheld = round(fraction * len(passes))
    chosen = np.random.default_rng(seed).permutation(passes)[:n_withheld]
    withheld = np.isin(tracks["track"], chosen)
    return tracks.isel(sample=~withheld), tracks.isel(sample=withheld)


def bin_tracks(tracks: xr.DataArray, grid: xr.Dataset) -> xr.DataArray:
    """Average along-track values over the cells of a grid.

    Parameters
    ----------
    tracks : DataArray
        Values over ``sample`` with coordinates longitude, latitude, time.
    grid : Dataset
        Evenly spaced coordinates time, latitude, longitude: centres of the cells.

    Returns
    -------
    DataArray
        Dimensions time, latitude, longitude; NaN where no sample fell, float32. A sample more than half a
        cell outside the grid is ignored.

    Raises
    ------
    GridMismatchError
        If a coordinate of the grid is not evenly spaced.
    """
    return bin_with_errors(tracks, grid, noise_std=1.0)[tracks.name or "mean"].rename(tracks.name)


def bin_with_errors(tracks: xr.DataArray, grid: xr.Dataset, noise_std: float) -> xr.Dataset:
    """Average along-track values over the cells of a grid, with their number and error variance.

    Parameters
    ----------
    tracks : DataArray
        Values over ``sample`` with coordinates longitude, latitude, time.
    grid : Dataset
        Evenly spaced coordinates time, latitude, longitude: centres of the cells.
    noise_std : float
        Standard deviation of the independent errors of the samples.

    Returns
    -------
    Dataset
        The mean under the name of `tracks` (or "mean"), float32; ``count``, the samples of each cell; and
        ``variance``, noise_std^2 / count: NaN where no sample fell. A sample more than half a cell outside the
        grid is ignored.

    Raises
    ------
    GridMismatchError
        If a coordinate of the grid is not evenly spaced.
    """
    dims = ("time", "latitude", "longitude")
    longitude = turned_longitude(tracks["longitude"], grid["longitude"])
    tracks = tracks.assign_coords(longitude=longitude)
    index, inside = [], np.ones(tracks.sizes["sample"], bool)
    for dim in dims:
        centres = numbers(grid[dim]).values
        distance = numbers(tracks[dim], grid[dim][0]).values - centres[0]
        nearest = np.floor(distance / even_step(centres, dim) + 0.5).astype(int)
        inside &= (nearest >= 0) & (nearest < grid.sizes[dim])
        index.append(nearest)
    shape = [grid.sizes[dim] for dim in dims]
    flat = np.ravel_multi_index([each[inside] for each in index], shape)
    n_cells = int(np.prod(shape))
    counts = np.bincount(flat, minlength=n_cells).reshape(shape)
    sums = np.bincount(flat, tracks.values[inside], minlength=n_cells).reshape(shape)
    seen, shared = counts > 0, np.maximum(counts, 1)
    mean = np.where(seen, sums / shared, np.nan).astype(np.float32)
    variance = np.where(seen, noise_std**2 / shared, np.nan).astype(np.float32)
    return xr.Dataset(
        {
            tracks.name or "mean": (dims, mean, tracks.attrs),
            "count": (dims, counts, {"long_name": "samples in the cell", "units": "1"}),
            "variance": (dims, variance, {"long_name": "error variance of the mean"}),
        },
        {dim: grid[dim] for dim in dims},
    )


def sample_field(field: xr.DataArray, tracks: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """Value of a gridded field at the positions and times of tracks.

    Bilinear in space and linear in time; before the first and after the last time of the field the
    first and the last map hold. Next to land, where a corner is NaN, the nearest cell serves.

    Parameters
    ----------
    field : DataArray
        Dimensions latitude, longitude and, optionally, time.
    tracks : Dataset or DataArray
        Coordinates longitude, latitude, time over ``sample``.

    Returns
    -------
    DataArray
        Over ``sample``; NaN outside the grid and on land.
    """
    where = {
        "latitude": tracks["latitude"],
        "longitude": turned_longitude(tracks["longitude"], field["longitude"]),
    }
    if "time" in field.dims:
        first, last = field["time"].values[[0, -1]]
        where["time"] = tracks["time"].clip(first, last)
    smooth = field.interp(where)
    nearest = field.interp(where, method="nearest")
    return smooth.where(smooth.notnull(), nearest)


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
