"""Gridded deliveries: temperatures of GHRSST, ocean colour, as observations with error variances."""

from pathlib import Path

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError, GridMismatchError, MissingVariableError, StoreError
from oceanvar.labels.alignment import joined
from oceanvar.labels.coordinates import LATITUDE, LONGITUDE, TIME, meant_dims
from oceanvar.labels.units import conversion
from oceanvar.labels.values import usable
from oceanvar.observing.readers.cutting import Region, Times, check_cut, is_inside
from oceanvar.observing.readers.files import Paths, files_of, read_all
from oceanvar.observing.readers.published import (
    CHLOROPHYLL,
    MIN_QUALITY,
    SST,
    as_published,
    check_error,
    companions,
    with_units_of_variance,
)


def open_images(
    paths: Paths,
    variable: str | None = None,
    *,
    region: Region | None = None,
    time: Times | None = None,
    quality: int = MIN_QUALITY,
    error: str | float | None = None,
    units: str | None = None,
) -> xr.Dataset:
    """Read gridded observations as they are delivered, with their error variances.

    GHRSST Level 3 and 4: pixels of at least a quality level, ``sses_bias`` subtracted, ``sses_standard_deviation`` or
    ``analysis_error`` squared. Ocean colour: the decimal logarithm of chlorophyll, whose errors are normal. Files are
    opened one by one and cut before their values are read. Swaths (L2P) are for `oceanvar.open_tracks`.

    Parameters
    ----------
    paths : path-like or sequence of path-like
        Files, patterns, folders (searched in depth), all of one grid.
    variable : str, optional
        Which one. Default: the temperature or chlorophyll, or the only one.
    region : sequence of float, optional
        West, east, south, north in degrees; it may cross any seam.
    time : sequence, optional
        First and last time, None where it is open; the last day is whole.
    quality : int
        Lowest quality level of GHRSST that counts, from 0 to 5.
    error : str or float, optional
        Standard deviation of the error in the units of the result, those of `units` if these are given, or the name of
        the variable that holds it, instead of the published one.
    units : str, optional
        To convert to, ``"degree_Celsius"`` say. Default: those of the files.

    Returns
    -------
    Dataset
        The variable over time, latitude and longitude, in the order of time; ``variance``, its error variance, where
        it is known; ``pixel_time``, when each pixel was seen, where it is known.

    Raises
    ------
    StoreError
        If files are missing, cannot be read or lack the variable, all named at once; or nothing lies inside.
    GridMismatchError
        If grids differ, or a time is there twice.
    ConfigError
        If the region or the time is no such thing.
    """
    check_cut(region, time)
    check_error(error)
    files = files_of(paths)

    def images(ds: xr.Dataset, name: str, path: Path) -> list[xr.Dataset]:
        image = _image(ds, name, path, region, time, quality, error)
        return [image] if image.sizes[image[name].dims[0]] else []

    parts, name = read_all(files, variable, (*SST, *CHLOROPHYLL), None, None, images)
    if not parts:
        raise StoreError(f"none of {len(files)} files has a time in {time}")
    return _in_units(_one_after_the_other(parts, name), name, units)


def _image(
    ds: xr.Dataset,
    name: str,
    path: Path,
    region: Region | None,
    time: Times | None,
    quality: int,
    error: str | float | None,
) -> xr.Dataset:
    """The part of a file that is wanted, in memory."""
    ds = _with_time(ds, name)
    dims = meant_dims(ds[name])
    if len(dims) < 3 or any(dim not in ds.coords for dim in dims.values()):
        raise MissingVariableError(
            f"{name!r} lies along {ds[name].dims}, not along time, latitude and longitude: swaths are for open_tracks"
        )
    wanted = {name, error, *companions(name), *dims.values()}
    if isinstance(error, str) and error not in ds.variables:
        raise MissingVariableError(
            f"no variable {error!r} for error=; there are {sorted(map(str, ds.data_vars))}"
        )
    ds = ds.drop_vars([each for each in ds.variables if each not in wanted])
    order = [dims[each] for each in (TIME, LATITUDE, LONGITUDE)]
    ds = ds.isel(_box(ds, dims, region, time)).load()
    if region is not None:
        longitude = ds[dims[LONGITUDE]]
        ds = ds.assign_coords({longitude.name: region[0] + (longitude - region[0]) % 360})
    ds = as_published(ds.assign({name: usable(ds[name], str(path))}), name, quality, error)
    ds = ds[[each for each in (name, "variance", "pixel_time") if each in ds]]
    return ds.transpose(*order, ...)


def _box(ds: xr.Dataset, dims: dict, region: Region | None, time: Times | None) -> dict:
    """Points of each axis that are inside, those of longitude from the west on."""
    places = {each: ds[dim] for each, dim in dims.items()}
    found = {}
    for each in (TIME, LATITUDE, LONGITUDE):
        # One axis at a time, with the other one at a corner of the region.
        inside = np.ones(places[each].size, bool)
        if each == TIME and time is not None:
            inside = is_inside({TIME: places[TIME]}, None, time).values
        elif each != TIME and region is not None:
            corner = {LONGITUDE: xr.DataArray(region[0]), LATITUDE: xr.DataArray(region[2])}
            inside = is_inside({**corner, each: places[each]}, region, None).values
        found[dims[each]] = np.flatnonzero(inside)
    if region is not None:
        index = found[dims[LONGITUDE]]
        found[dims[LONGITUDE]] = index[np.argsort((places[LONGITUDE].values[index] - region[0]) % 360)]
        if not min(len(index), len(found[dims[LATITUDE]])):
            raise StoreError(f"no point of its grid lies in the region {region}")
    return found


def _with_time(ds: xr.Dataset, name: str) -> xr.Dataset:
    """A file without a dimension of time, at the middle of what it covers."""
    if TIME in meant_dims(ds[name]):
        return ds
    ends = [ds.attrs.get(f"time_coverage_{end}") for end in ("start", "end")]
    if not all(ends):
        return ds
    first, last = (np.datetime64(str(end).removesuffix("Z"), "ns") for end in ends)
    return ds.drop_vars(TIME, errors="ignore").expand_dims({TIME: [first + (last - first) / 2]})


def _one_after_the_other(parts: list[xr.Dataset], name: str) -> xr.Dataset:
    time, *others = parts[0][name].dims
    alike = [parts[0], *(joined(parts[0], each, others, "two files") for each in parts[1:])]
    whole = xr.concat(alike, time, data_vars="all", coords="minimal", compat="override", join="override")
    whole = whole.sortby(time)
    twice = int(whole.indexes[time].duplicated().sum())
    if twice:
        raise GridMismatchError(
            f"{twice} of {whole.sizes[time]} times are there twice: give the files of one sensor and one version, or "
            "open them apart and choose"
        )
    return whole.drop_encoding()


def _in_units(ds: xr.Dataset, name: str, units: str | None) -> xr.Dataset:
    if units is not None:
        given = ds[name].attrs.get("units")
        if given is None:
            raise ConfigError(f"{name!r} has no units, and cannot be converted to {units!r}")
        way = conversion(given, units, f"variable {name!r}")
        attrs = ds[name].attrs | {"units": units}
        ds = ds.assign({name: (ds[name] * way.factor + way.offset).assign_attrs(attrs)})
        if "units" in ds.get("variance", xr.DataArray()).attrs:
            ds = ds.assign(variance=ds["variance"] * way.factor**2)
    return with_units_of_variance(ds, name) if "variance" in ds else ds
