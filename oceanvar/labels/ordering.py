"""The points of a coordinate, put into the order and steps of an axis where that loses nothing."""

from dataclasses import dataclass, replace
from typing import Any

import cftime
import numpy as np
import pandas as pd
import xarray as xr

from oceanvar.errors import GridMismatchError
from oceanvar.labels.axes import DAYS, DEGREES, Axis, kind_of
from oceanvar.labels.circles import MAX_JUMP, ONE_PLACE, begins_rightly, check_distinct, is_cut, unrolled
from oceanvar.labels.coordinates import LONGITUDE, MAX_UNEVEN, TIME, numbers
from oceanvar.labels.units import conversion

MOST_FILLED = 20
"""Times that are filled for each that is given, at most: more is a wrong date."""


ROUNDED = 1e-3
"""Share of a step by which that of a long series may differ before it is another step, not a rounded one."""

STANDARD = frozenset({"standard", "gregorian", "proleptic_gregorian"})
"""Calendars that are one for the dates of today."""


@dataclass(frozen=True, eq=False)
class Order:
    """Which given point stands where.

    Parameters
    ----------
    index : ndarray
        Position of each point in the given order, -1 for one that is missing there.
    values : ndarray
        Coordinate in the new order.
    told : tuple of str
        What was done, in words.
    """

    index: np.ndarray
    values: np.ndarray
    told: tuple[str, ...]

    @property
    def is_reversed(self) -> bool:
        """Whether nothing but the direction has changed, or that and the labels."""
        return np.array_equal(self.index, np.arange(len(self.index))[::-1])

    @property
    def keeps_places(self) -> bool:
        """Whether every point stands where it stood, and only the labels differ."""
        return np.array_equal(self.index, np.arange(len(self.index)))

    @property
    def n_rolled(self) -> int:
        """By how many points a circle was rolled to begin where it now does; 0 where something else has changed."""
        first = int(self.index[0])
        is_rolled = np.array_equal(np.roll(self.index, first), np.arange(len(self.index)))
        return first if is_rolled else 0

    @property
    def n_missing(self) -> int:
        """Points that are not given."""
        return int((self.index < 0).sum())


def ordered(coordinate: xr.DataArray, axis: Axis | None, gaps: str, what: str) -> Order | None:
    """Put a coordinate into the order of an axis, with even steps.

    Parameters
    ----------
    coordinate : DataArray
        One-dimensional, of at least one point.
    axis : Axis, optional
        What is expected. Without it any direction and any steps are right that leave out no point.
    gaps : {"fill", "refuse"}
        Whether missing times become points of the result.
    what : str
        Name of the data, for messages.

    Returns
    -------
    Order or None
        None where the coordinate is as it should be.

    Raises
    ------
    GridMismatchError
        If values are missing or occur twice, or steps are uneven or not those of the axis.
    """
    kind, unit = kind_of(coordinate)
    if axis is not None and _is_as_learned(coordinate, axis, kind, unit):
        return None
    name = f"coordinate {coordinate.name!r} of {what}"
    _check_countable(coordinate, name)
    is_finite = np.isfinite if coordinate.dtype.kind == "f" else pd.notnull
    n_missing = int(np.count_nonzero(~is_finite(coordinate.values)))
    if n_missing:
        raise GridMismatchError(f"{name} is missing or infinite at {n_missing} points: drop them")
    if axis is not None and axis.calendar and coordinate.dtype.kind in "MO":
        _check_calendar(coordinate, axis, name)
    axis = _in_unit(axis, coordinate, name, unit)
    given = _counted(coordinate)
    index, values, told = _sorted(given, kind == LONGITUDE, name)
    if kind == TIME and coordinate.dtype.kind in "iuf" and axis is not None and axis.unit == DAYS:
        _check_no_date(coordinate, name)
        told.append("holds no dates: its numbers are taken for days")
    if axis is not None and len(values) > 1 and (values[1] > values[0]) != (axis.step > 0):
        index, values = index[::-1], values[::-1]
        told.append("was turned, to run as the model learned it")
    if len(values) > 1 and kind == TIME:
        index, values, filled = _without_gaps(coordinate, index, values, axis, gaps, name, unit)
        told += filled
    elif len(values) > 1:
        _check_steps(values, axis, name, unit)
    if not told and np.array_equal(values, given):
        return None
    return Order(index, _as_given(coordinate, index, values), tuple(f"{name} {each}" for each in told))


def extended(coordinate: xr.DataArray, axis: Axis | None, n_all: int, what: str) -> Order:
    """Lengthen an ordered coordinate by missing points on both sides, to `n_all` of them.

    Raises
    ------
    GridMismatchError
        If its step is not known: of a single point, without an axis.
    """
    n_given = coordinate.size
    if n_given < 2 and axis is None:
        raise GridMismatchError(
            f"coordinate {coordinate.name!r} of {what} has a single point, and the model does not know its step: "
            f"give {n_all} points"
        )
    places = numbers(coordinate).values
    step = float(np.median(np.diff(places))) if axis is None else axis.step
    before = n_before(n_given, n_all)
    index = np.full(n_all, -1)
    index[before : before + n_given] = np.arange(n_given)
    values = places[0] + step * (np.arange(n_all) - before)
    values[index >= 0] = places
    told = (
        f"coordinate {coordinate.name!r} of {what} has {n_given} points, and the model solves {n_all} at once: "
        f"{n_all - n_given} were added without observations"
    )
    return Order(index, _as_given(coordinate, index, values), (told,))


def n_before(n_given: int, n_all: int) -> int:
    """Points that `extended` adds before the given ones."""
    return (n_all - n_given) // 2


def taken(ds: xr.Dataset, dim: str, order: Order) -> xr.Dataset:
    """Put data into an order; they are NaN at points that are missing."""
    attrs, encoding = ds[dim].attrs, ds[dim].encoding
    if order.n_missing:
        numbered = ds.isel({dim: order.index[order.index >= 0]})
        numbered = numbered.assign_coords({dim: np.flatnonzero(order.index >= 0)})
        ds = numbered.reindex({dim: np.arange(len(order.index))})
    elif order.is_reversed:
        ds = ds.isel({dim: slice(None, None, -1)})
    elif order.n_rolled:
        ds = rolled(ds, dim, -order.n_rolled)
    else:
        ds = ds.isel({dim: order.index})
    ds = ds.assign_coords({dim: (dim, order.values, attrs)})
    ds[dim].encoding = encoding
    return ds


def _is_as_learned(coordinate: xr.DataArray, axis: Axis, kind: str, unit: str) -> bool:
    """Whether points lie evenly at the step of an axis, so that nothing else is left to ask: one look for most data.

    What does not pass here may still be right, and is looked at in full.
    """
    is_date, own = coordinate.dtype.kind == "M", str(coordinate.attrs.get("units", "deg")).lower()
    if (kind, unit) != (axis.kind, axis.unit) or coordinate.size < 2 or is_date != (kind == TIME):
        return False
    if not (is_date or coordinate.dtype.kind == "f") or (
        unit == DEGREES and not own.startswith(("deg", "°"))
    ):
        return False
    if is_date and axis.calendar not in STANDARD:
        return False
    given = _counted(coordinate)
    off = given - axis.step * np.arange(len(given))
    is_even = np.ptp(off) <= min(MAX_UNEVEN, axis.tolerance / 2) * abs(axis.step)
    return bool(is_even) and (kind != LONGITUDE or begins_rightly(given, abs(axis.step)))


def _counted(coordinate: xr.DataArray) -> np.ndarray:
    """Days since the first for times, else numbers; of dates without the labels that xarray would carry along."""
    values = coordinate.values
    if coordinate.dtype.kind in "mM":
        return (values - values[0]) / np.timedelta64(1, "D")
    return numbers(coordinate).values if coordinate.dtype.kind == "O" else values.astype(float)


def rolled(ds: xr.Dataset, dim: str, n: int) -> xr.Dataset:
    """Everything that lies along a dimension n points further, but its labels; a lazy whole row stays one block."""
    found = {}
    for name, each in ds.variables.items():
        if name == dim or dim not in each.dims:
            continue
        axis = each.get_axis_num(dim)
        if each.chunks is not None and len(each.chunks[axis]) == 1:
            found[name] = each.copy(data=each.data.map_blocks(np.roll, n, axis=axis, dtype=each.dtype))
        else:
            found[name] = each.roll({dim: n})
    coords = {name: found.pop(name) for name in ds.coords if name in found}
    moved = ds.assign(found)
    return moved.assign_coords(coords) if coords else moved


def _check_countable(coordinate: xr.DataArray, name: str) -> None:
    if not coordinate.size:
        raise GridMismatchError(f"{name} has no points: look at what was selected")
    is_date = coordinate.dtype.kind == "O" and isinstance(coordinate.values[0], cftime.datetime)
    if coordinate.dtype.kind not in "iufmM" and not is_date:
        raise GridMismatchError(
            f"{name} is of type {coordinate.dtype}, neither numbers nor dates ({coordinate.values[0]!r} the first): "
            "use .astype(float), or .astype('datetime64[ns]')"
        )


def _in_unit(axis: Axis | None, coordinate: xr.DataArray, name: str, unit: str) -> Axis | None:
    """An axis that counts as the coordinate does."""
    own = str(coordinate.attrs.get("units", "")).lower()
    if unit == DEGREES and own and not own.startswith(("deg", "°")):
        raise GridMismatchError(f"{name} is in {own!r}, and degrees are expected: convert it")
    counts_days = kind_of(coordinate)[0] == TIME and axis is not None and axis.unit == DAYS
    if axis is None or not axis.unit or not unit or counts_days:
        return axis
    return replace(axis, step=conversion(axis.unit, unit, name).factor * axis.step, unit=unit)


def _check_no_date(coordinate: xr.DataArray, name: str) -> None:
    written = pd.to_datetime(coordinate.values.astype(np.int64).astype(str), format="%Y%m%d", errors="coerce")
    if written.notna().all():
        raise GridMismatchError(
            f"{name} holds dates written as numbers, {coordinate.values[0]} the first: use "
            f"assign_coords({coordinate.name}=pd.to_datetime(ds[{str(coordinate.name)!r}].astype(str)))"
        )
    units = str(coordinate.attrs.get("units", ""))
    if units and units.strip().rstrip("s").lower() not in ("day", "d", "1"):
        raise GridMismatchError(
            f"{name} holds numbers in {units!r}, and the model learned on days: decode it with xr.decode_cf(ds), or "
            "convert it"
        )


def _check_calendar(coordinate: xr.DataArray, axis: Axis, name: str) -> None:
    calendar = str(coordinate.dt.calendar)
    if calendar != axis.calendar and not {calendar, axis.calendar} <= STANDARD:
        raise GridMismatchError(
            f"{name} is of the calendar {calendar!r}, and the model learned on {axis.calendar!r}: use "
            "convert_calendar"
        )


def _sorted(given: np.ndarray, is_longitude: bool, name: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Strictly monotonic values, in the given direction where they are that already."""
    steps = np.diff(given)
    is_monotonic = (steps > 0).all() or (steps < 0).all()
    if is_monotonic and not (is_longitude and is_cut(given)):
        return np.arange(len(given)), given, []
    if is_longitude:
        return unrolled(given, name)
    index = np.argsort(given, kind="stable")
    check_distinct(np.diff(given[index]), given[index], name)
    return index, given[index], ["was not in order, and was sorted"]


def _check_steps(values: np.ndarray, axis: Axis | None, name: str, unit: str) -> None:
    steps = np.diff(values)
    low, high = np.sort(np.abs(steps))[[0, -1]]
    if low < ONE_PLACE * np.median(np.abs(steps)) or low < ONE_PLACE * high:
        raise GridMismatchError(
            f"{name} has neighbours that are only {low:.3g} {unit} apart, others {high:g}: one grid in two precisions "
            "was joined to one of more points; round the coordinate of the parts, or open them with join='override'"
        )
    if axis is not None:
        if (np.abs(steps - axis.step) > axis.tolerance * abs(axis.step)).any():
            raise GridMismatchError(
                f"{name} has steps from {low:g} to {high:g} {unit}, and the model learned on {axis}: interpolate "
                "to such a grid, or train on this one"
            )
        return
    ratios = np.abs(steps[1:] / steps[:-1])
    if len(ratios) and max(ratios.max(), 1 / ratios.min()) > MAX_JUMP:
        raise GridMismatchError(
            f"{name} has steps from {low:g} to {high:g} {unit}: points are missing; reindex it to an even grid"
        )


def _without_gaps(
    coordinate: xr.DataArray,
    index: np.ndarray,
    values: np.ndarray,
    axis: Axis | None,
    gaps: str,
    name: str,
    unit: str,
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Times with even steps: those that are missing get the index -1."""
    steps = np.diff(values)
    if axis is None:
        ratios = np.abs(steps[1:] / steps[:-1])
        if not len(ratios) or max(ratios.max(), 1 / ratios.min()) <= MAX_JUMP:
            return index, values, []
    candidates, counts = np.unique(np.round(steps, 9), return_counts=True)
    step = float(candidates[np.argmax(counts)]) if axis is None else axis.step
    # Over thousands of steps the digits of one that is rounded would add up to a whole one.
    n_steps = float(np.round(steps / step).sum())
    fitted = float(values[-1] - values[0]) / n_steps if n_steps else step
    step = fitted if abs(fitted - step) <= ROUNDED * step else step
    places = (values - values[0]) / step
    numbered = np.round(places).astype(int)
    tolerance = 0.1 if axis is None else axis.tolerance
    if (np.abs(places - numbered) > tolerance).any() or (np.diff(numbered) < 1).any():
        raise GridMismatchError(
            f"{name} has steps from {steps.min():g} to {steps.max():g} {unit}, and none of {step:g} {unit} fits "
            "them all: resample or select times with even steps"
        )
    n_all = int(numbered[-1]) + 1
    n_missing = n_all - len(values)
    if not n_missing:
        return index, values, []
    first = coordinate.values[index[0]] if coordinate.dtype.kind in "mMO" else values[0]
    if gaps == "refuse" or n_missing > MOST_FILLED * len(values):
        raise GridMismatchError(
            f"{name} lacks {n_missing} of {n_all} times from {first} on, {step:g} {unit} apart: give them (with "
            "NaN), or look for a wrong date"
        )
    whole = np.full(n_all, -1)
    whole[numbered] = index
    found = np.interp(np.arange(n_all), numbered, values)
    return whole, found, [f"lacks {n_missing} of {n_all} times: they are mapped without observations"]


def _as_given(coordinate: xr.DataArray, index: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values in the type of the coordinate; those of given points as they are, unless they count on."""
    kind = coordinate.dtype.kind
    if kind not in "mMO":
        return values.astype(np.result_type(coordinate.dtype, np.float32))
    given: Any = coordinate.values
    days = numbers(coordinate).values
    found = np.empty(len(index), given.dtype)
    found[index >= 0] = given[index[index >= 0]]
    missing = np.flatnonzero(index < 0)
    for place in missing:
        found[place] = given[0] + _days(values[place] - days[0], kind)
    return found


def _days(n: float, kind: str) -> Any:
    if kind == "O":
        import datetime

        return datetime.timedelta(days=n)
    return np.timedelta64(round(n * 86_400_000_000), "us")
