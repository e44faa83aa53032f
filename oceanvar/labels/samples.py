"""Scattered observations as they come, made one Dataset over ``sample`` with longitude, latitude and time."""

import warnings
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError, GridMismatchError, MendedWarning, MissingVariableError
from oceanvar.labels.axes import kind_of
from oceanvar.labels.coordinates import CIRCLE, LATITUDE, LONGITUDE, TIME, named_coordinates
from oceanvar.labels.passes import IDENTITY, identity, is_repeated
from oceanvar.labels.times import dates
from oceanvar.labels.units import conversion
from oceanvar.labels.values import usable

SAMPLE = "sample"

PLACE = (LONGITUDE, LATITUDE, TIME)

Tracks = xr.Dataset | xr.DataArray | Sequence[xr.Dataset | xr.DataArray]

_LARGEST = {LATITUDE: 90.001, LONGITUDE: 10 * CIRCLE}
"""Degrees, of any turn and up to rounding, beyond which a number is no such angle."""


def as_samples(
    tracks: Tracks, variable: str | Sequence[str] | None = None, needed: Sequence[str] = PLACE
) -> xr.Dataset:
    """Make one Dataset over ``sample`` of scattered observations as they come.

    Longitude, latitude and time are found by CF attributes or names, among coordinates and variables, along the
    dimensions of the values: 20 Hz positions beside 1 Hz values do not count. A swath becomes a list of its
    pixels.

    Parameters
    ----------
    tracks : Dataset, DataArray or sequence of these
        Along any dimension, or several; those of a sequence are put one after the other. Where a sample is there
        twice (near-real-time and reprocessed, say) the first one counts.
    variable : str or sequence of str, optional
        Which variables are the values: a sample of which all are missing is left out. Default: the variables of
        real numbers, or else of whole ones.
    needed : sequence of str
        Which of longitude, latitude and time there must be.

    Returns
    -------
    Dataset
        All variables over the dimensions of the values, with coordinates longitude (degrees, of any turn), latitude
        and time (datetime64, or as given where it is no date of the standard calendar), and, where known,
        ``satellite``, ``cycle`` and ``track``.

    Raises
    ------
    ConfigError
        If something else is given, or values are still packed.
    MissingVariableError
        If a variable or a coordinate is missing, or there are several of one meaning.
    GridMismatchError
        If the dimensions of the values differ.

    Warns
    -----
    MendedWarning
        Where samples are left out, or values are none (`oceanvar.labels.values.usable`), with their number.
    """
    samples = over_samples(tracks, variable, needed)
    chosen = _names(variable) or value_names(samples)
    samples = samples.assign({name: usable(samples[name], "the tracks") for name in chosen})
    left_out = ~(is_placed(samples, needed).values & _has_value(samples, chosen))
    samples = _told(samples, left_out, "without a place, a time or a value")
    return located(samples, chosen, needed)


def located(samples: xr.Dataset, values: Sequence[str], needed: Sequence[str] = PLACE) -> xr.Dataset:
    """Samples with a place and time, each once; those without a value remain.

    Parameters
    ----------
    samples : Dataset
        From `over_samples`.
    values : sequence of str
        Names of the values: of a sample that is there twice, the first one with a value counts.
    needed : sequence of str
        As of `as_samples`.

    Warns
    -----
    MendedWarning
        Where samples are left out, with their number.
    """
    samples = _told(samples, ~is_placed(samples, needed).values, "without a place or a time")
    if set(PLACE) <= set(needed):
        repeated = _has_value(samples, values)
        repeated[repeated] = is_repeated(samples.isel({SAMPLE: repeated}))
        samples = _told(samples, repeated, "there already, from the same place and time")
    return samples


def is_placed(places: xr.Dataset | Mapping[str, xr.DataArray], needed: Sequence[str] = PLACE) -> xr.DataArray:
    """Whether there is a time, and a latitude and longitude that are angles: a fill value is none."""
    found = xr.DataArray(True)
    for name in needed:
        found = found & places[name].notnull()
        if name in _LARGEST:
            found = found & (abs(places[name]) <= _LARGEST[name])
    return found


def value_names(ds: xr.Dataset) -> list[str]:
    """Variables that may be values: those of real numbers, or else of whole ones, that are no places or passes."""
    found = [name for name in ds.data_vars if kind_of(ds[name])[0] not in PLACE and name not in IDENTITY]
    real = [str(name) for name in found if ds[name].dtype.kind == "f"]
    return real or [str(name) for name in found if ds[name].dtype.kind in "iu"]


def over_samples(
    tracks: Tracks, variable: str | Sequence[str] | None = None, needed: Sequence[str] = PLACE
) -> xr.Dataset:
    """The same with every sample, in the given order."""
    if isinstance(tracks, xr.Dataset | xr.DataArray):
        return _renamed(tracks, variable, needed)
    if not isinstance(tracks, Sequence) or isinstance(tracks, str) or not tracks:
        raise ConfigError(f"tracks are a Dataset, a DataArray or a list of these, and not {tracks!r}")
    parts = [_renamed(each, variable, needed) for each in tracks]
    if any("satellite" not in each.variables for each in parts):
        # Datasets that do not say from which satellite they are may overlap in time.
        parts = [_with_column(each, "satellite", f"{number}") for number, each in enumerate(parts)]
    return joined_samples(parts)


def joined_samples(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Samples one after the other, in the units of the first, with the variables that all of them have."""
    common = set.intersection(*(set(each.variables) for each in parts))
    parts = [each.drop_vars(set(each.variables) - common) for each in parts]
    alike = [_in_units_of(parts[0], each) for each in parts]
    return xr.concat(
        alike,
        SAMPLE,
        data_vars="all",
        coords="all",
        compat="override",
        join="override",
        combine_attrs="override",
    )


def own_dim(tracks: Tracks) -> Hashable | None:
    """Name of the dimension of samples in tracks that are one array and have one, else None."""
    if isinstance(tracks, xr.DataArray):
        dims = tracks.dims
    else:
        dims = _sample_dims(tracks, None) if isinstance(tracks, xr.Dataset) else ()
    return dims[0] if len(dims) == 1 else None


def _renamed(given: object, variable: str | Sequence[str] | None, needed: Sequence[str]) -> xr.Dataset:
    if isinstance(given, xr.DataArray):
        given = given.to_dataset(name=given.name if isinstance(given.name, str) else "value")
    if not isinstance(given, xr.Dataset):
        raise ConfigError(
            f"tracks are a Dataset, a DataArray or a list of these, and not {type(given).__name__}"
        )
    dims, places = positions(given, variable, needed)
    spanned = {dim for source in places.values() for dim in given[source].dims}
    if needed and len(dims) > 1 and spanned != set(dims):
        raise GridMismatchError(
            f"the tracks have the dimensions {list(map(str, dims))}, and their positions only "
            f"{sorted(map(str, spanned))}: along-track observations have one, of samples; select, average or use "
            ".stack(sample=[...])"
        )
    known = identity(given)
    columns = {
        name: each
        for name, each in given.variables.items()
        if each.dims and set(each.dims) <= set(dims) and name not in places.values() and name not in known
    }
    columns |= {name: each for name, each in known.items() if set(each.dims) <= set(dims)}
    columns |= {name: given.variables[source] for name, source in places.items()}
    sizes = {dim: given.sizes[dim] for dim in dims}
    spread = {name: _spread(each, sizes) for name, each in columns.items()}
    if TIME in spread:
        spread[TIME] = dates(spread[TIME])
    for name in {LATITUDE, LONGITUDE} & set(places):
        if spread[name].dtype.kind not in "iuf":
            raise ConfigError(
                f"the {name} {places[name]!r} holds {spread[name].dtype}, no numbers: convert it"
            )
    coords = {*given.coords, *known, *places}
    return xr.Dataset(
        {name: each for name, each in spread.items() if name not in coords},
        {name: each for name, each in spread.items() if name in coords},
        given.attrs,
    )


def positions(
    ds: xr.Dataset, variable: str | Sequence[str] | None = None, needed: Sequence[str] = PLACE
) -> tuple[tuple[Hashable, ...], dict[str, Hashable]]:
    """Dimensions of the values, and the names of the variables that are their longitude, latitude and time."""
    dims = _sample_dims(ds, variable)
    return dims, {name: _place(ds, name, dims, variable) for name in needed}


def _sample_dims(ds: xr.Dataset, variable: str | Sequence[str] | None) -> tuple[Hashable, ...]:
    """Dimensions over which the values lie, or without values the positions."""
    names = _names(variable)
    missing = [name for name in names if name not in ds.variables]
    if missing:
        raise MissingVariableError(
            f"the tracks have no variable {missing[0]!r}; there are {sorted(map(str, ds))}"
        )
    if not names and SAMPLE in ds.dims:
        return (SAMPLE,)
    found = {ds[name].dims for name in names or value_names(ds) or ds.data_vars}
    if len(found) != 1 and not names:
        found = {ds[name].dims for name in ds.variables if kind_of(ds[name])[0] == LATITUDE}
        found = {dims for dims in found if len(dims) == min(map(len, found))}
    if not ds.data_vars and not names:
        found = {tuple(ds.dims)} if len(ds.dims) == 1 else found
    if len(found) != 1:
        raise GridMismatchError(
            f"the tracks have values over the dimensions {sorted(map(str, found))}: choose variables of one kind, "
            "tracks[['name']]"
        )
    return found.pop()


def _place(
    ds: xr.Dataset, name: str, dims: tuple[Hashable, ...], variable: str | Sequence[str] | None
) -> Hashable:
    """Name of the variable that is the longitude, latitude or time of the values."""
    alike = {
        key: each.dims
        for key, each in ds.variables.items()
        if set(each.dims) <= set(dims) and kind_of(ds[key])[0] == name
    }
    named = {each for value in _names(variable) or ds.data_vars for each in named_coordinates(ds[value])}

    def rank(key: Hashable) -> tuple[int, bool, bool, bool, bool]:
        by_name = str(key).lower() in (name, name[:3])
        by_standard = ds[key].attrs.get("standard_name") == name
        return len(alike[key]), key in named, by_name, key in dims, by_standard

    best = [key for key in alike if rank(key) == max(map(rank, alike))]
    if len(best) == 1:
        return best[0]
    problem = (
        f"several coordinates that are the {name}, {sorted(map(str, best))}"
        if best
        else f"no coordinate {name!r}"
    )
    raise MissingVariableError(
        f"the tracks have {problem} along {list(map(str, dims))}; there are {sorted(map(str, ds.variables))}: "
        "rename or add it with assign_coords, or drop the others"
    )


def _spread(each: xr.Variable, sizes: dict[Hashable, int]) -> xr.Variable:
    """Values for each sample: those of a line hold for its pixels."""
    whole = each.to_base_variable().set_dims(sizes)
    if len(sizes) > 1:
        return whole.stack({SAMPLE: list(sizes)})
    return xr.Variable((SAMPLE,), whole.data, whole.attrs, whole.encoding)


def _has_value(samples: xr.Dataset, values: Sequence[str]) -> np.ndarray:
    """Whether one of the values of each sample is known; without values all have one."""
    if not values:
        return np.ones(samples.sizes[SAMPLE], bool)
    return np.any([np.isfinite(samples[name].values) for name in values], axis=0)


def _names(variable: str | Sequence[str] | None) -> tuple[str, ...]:
    return (variable,) if isinstance(variable, str) else tuple(variable or ())


def _told(samples: xr.Dataset, left_out: np.ndarray, why: str) -> xr.Dataset:
    """Leave samples out, with a warning."""
    if not left_out.any():
        return samples
    told = f"{int(left_out.sum())} of {left_out.size} samples are {why}: they are not used"
    warnings.warn(told, MendedWarning, stacklevel=4)
    return samples.isel({SAMPLE: ~left_out})


def _with_column(samples: xr.Dataset, name: str, value: str) -> xr.Dataset:
    if name in samples.variables:
        return samples
    return samples.assign_coords({name: (SAMPLE, np.full(samples.sizes[SAMPLE], value))})


def _in_units_of(first: xr.Dataset, other: xr.Dataset) -> xr.Dataset:
    """Convert variables to the units that they have in the first dataset."""
    for name in first.data_vars:
        given, wanted = (each[name].attrs.get("units") for each in (other, first))
        if given == wanted or not (isinstance(given, str) and isinstance(wanted, str)):
            continue
        way = conversion(given, wanted, f"variable {name!r} of the tracks")
        values = other[name] * way.factor + way.offset
        other = other.assign({name: values.assign_attrs(first[name].attrs)})
    return other
