"""Corrections that are added to values or subtracted, from an axis of their own where they have one."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from oceanvar.errors import MissingVariableError
from oceanvar.labels.coordinates import TIME
from oceanvar.labels.passes import SAME_SECONDS
from oceanvar.labels.samples import positions
from oceanvar.labels.times import dates
from oceanvar.labels.units import conversion
from oceanvar.labels.values import is_no_value, within_valid_range

EPOCH = np.datetime64("2000-01-01", "ns")

MOST_APART = 2.5
"""Seconds between two samples of a correction, that of 1 Hz say, between which it is interpolated."""


def interpolated(ds: xr.Dataset, name: str, correction: str, times: xr.DataArray) -> xr.Variable | None:
    """A correction at the times of values, from those of its own; None where it lies beside them already.

    Linear between two neighbours that are at most `MOST_APART` apart, and known both; at the time of a sample that
    sample. Elsewhere, before the first and after the last one too, it is missing.

    Parameters
    ----------
    ds : Dataset
        Of a file, of which values are read when they are looked at.
    name, correction : str
        Of the values and of the correction.
    times : DataArray
        Dates of the values that are wanted.

    Raises
    ------
    MissingVariableError
        If the correction lies elsewhere and has no times.
    """
    field, along = ds[correction], set(ds[correction].dims)
    if not along or set(times.dims) <= along <= set(ds[name].dims):
        return None
    own = _own_times(ds, correction)
    if own is None and along <= set(ds[name].dims):
        return None
    if own is None:
        raise MissingVariableError(
            f"{correction!r} lies along {field.dims} and {name!r} along {ds[name].dims}, and there are no times over "
            f"{field.dims} by which one could be brought to the other: give a correction beside the values"
        )
    field = within_valid_range(ds[[correction]], [correction])[correction].transpose(*own.dims)
    values = field.values.ravel().astype(float)
    values[is_no_value(values)] = np.nan
    found = _between(_seconds(times.variable), _seconds(own).ravel(), values)
    return xr.Variable(times.dims, found, {key: field.attrs[key] for key in ("units",) if key in field.attrs})


def corrected(ds: xr.Dataset, name: str, plus: Sequence[str], minus: Sequence[str]) -> xr.DataArray:
    """Values with corrections added and subtracted, in the units of the values; missing where one of these is.

    Raises
    ------
    UnitsMismatchError
        If a correction has units that cannot be converted.
    """
    value, wanted = ds[name], ds[name].attrs.get("units")
    attrs, told = dict(value.attrs), []
    for names, sign, how in ((plus, 1, "added"), (minus, -1, "subtracted")):
        for each in names:
            given = ds[each].attrs.get("units", wanted)
            both = isinstance(given, str) and isinstance(wanted, str)
            # A correction is a difference: where its unit has another zero that does not matter.
            factor = conversion(given, wanted, f"the correction {each!r}").factor if both else 1.0
            value = value + sign * factor * ds[each]
            told.append(f"{each} {how}")
    if told:
        attrs["comment"] = "; ".join([*([attrs["comment"]] if "comment" in attrs else []), *told])
    return value.assign_attrs(attrs)


def _own_times(ds: xr.Dataset, name: str) -> xr.Variable | None:
    """Dates along all dimensions of a variable, where there are any."""
    try:
        _, places = positions(ds, name, (TIME,))
    except MissingVariableError:
        return None
    times = dates(ds.variables[places[TIME]])
    return times if times.dtype.kind == "M" and set(times.dims) == set(ds[name].dims) else None


def _seconds(times: xr.Variable) -> np.ndarray:
    return (times.values - EPOCH) / np.timedelta64(1, "s")


def _between(at: np.ndarray, seconds: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values at times, linear between known neighbours that are near."""
    if not len(seconds):
        return np.full(at.shape, np.nan)
    # Missing times come last, and nothing is near them.
    order = np.argsort(seconds)
    seconds, values = seconds[order], values[order]
    behind = np.clip(np.searchsorted(seconds, at), 1, max(len(seconds) - 1, 1)) % len(seconds)
    before = np.maximum(behind - 1, 0)
    apart = seconds[behind] - seconds[before]
    share = (at - seconds[before]) / np.where(apart > 0, apart, 1.0)
    is_near = (apart > 0) & (apart <= MOST_APART) & (share >= 0) & (share <= 1)
    found = np.where(is_near, (1 - share) * values[before] + share * values[behind], np.nan)
    for neighbour in (before, behind):
        found = np.where(np.abs(at - seconds[neighbour]) <= SAME_SECONDS, values[neighbour], found)
    return found
