"""What coordinates mean: which are latitude, longitude and time, and how far apart their points lie."""

from collections.abc import Hashable
from typing import NamedTuple, TypeVar

import cf_xarray  # noqa: F401 - registers the .cf accessor
import numpy as np
import xarray as xr
from cf_xarray.criteria import coordinate_criteria

from oceanvar.errors import GridMismatchError, MissingVariableError
from oceanvar.labels import earth

A = TypeVar("A", np.ndarray, xr.DataArray)

KM_PER_DEGREE = earth.RADIUS * np.pi / 180

LATITUDE, LONGITUDE, TIME = "latitude", "longitude", "time"

MAX_UNEVEN = 0.01
"""Greatest departure from even steps, in steps: 15 times that of float32 longitudes of a 1/20 degree grid."""

HALF_CELL = 0.5
"""How far beyond the first and the last point of an axis a place still belongs to it, in points."""

CIRCLE = 360.0
"""Degrees of longitude around the globe."""

NAMES = {
    TIME: ("time", "t"),
    LATITUDE: ("latitude", "lat", "nav_lat"),
    LONGITUDE: ("longitude", "lon", "nav_lon"),
}
"""Usual names of coordinates by what they mean."""

_AXES = (("T", TIME, ()), ("Y", LATITUDE, ("y",)), ("X", LONGITUDE, ("x",)))


class MapDims(NamedTuple):
    """Names of the dimensions of a map that changes in time."""

    time: Hashable
    latitude: Hashable
    longitude: Hashable


def metric_name(coordinate: xr.DataArray) -> str:
    """Name of a coordinate in a metric: "latitude" or "longitude" by name or CF attributes, or its own."""
    for metric in (LATITUDE, LONGITUDE):
        if _means(coordinate, metric):
            return metric
    return str(coordinate.name)


def is_time(coordinate: xr.DataArray) -> bool:
    """Whether a coordinate is a time: by its values, its name or its CF attributes."""
    return coordinate.dtype.kind in "mM" or _means(coordinate, TIME)


def _means(coordinate: xr.DataArray, what: str) -> bool:
    marks = coordinate_criteria[what].items()
    named = str(coordinate.name).lower() in NAMES[what]
    return named or any(str(coordinate.attrs.get(key)) in values for key, values in marks)


def angles(field: xr.DataArray | xr.Dataset) -> dict[str, xr.DataArray]:
    """Coordinates of a field that are angles on the sphere, by their name in a metric."""
    named = named_coordinates(field)
    # Of several pairs (T and U points) the variable's own attribute decides, and so it comes last.
    ordered = sorted(field.coords.items(), key=lambda item: str(item[0]) in named)
    found = {metric_name(one): one for _, one in ordered}
    return {metric: one for metric, one in found.items() if metric in (LATITUDE, LONGITUDE)}


def named_coordinates(field: xr.DataArray | xr.Dataset) -> list[str]:
    """Names in the attribute ``coordinates``, which xarray moves to the encoding."""
    return str(field.encoding.get("coordinates", field.attrs.get("coordinates", ""))).split()


def map_dims(field: xr.DataArray) -> MapDims | None:
    """Dimensions of time, latitude and longitude, by CF attributes or else by names; None if one is absent.

    The dimensions of a projected or curvilinear grid count too: those that run north and east.
    """
    found = meant_dims(field)
    return MapDims(**found) if len(set(found.values())) == len(_AXES) else None


def meant_dims(field: xr.DataArray | xr.Dataset) -> dict[str, Hashable]:
    """Those of time, latitude and longitude that are dimensions, as `map_dims` finds them, by their meaning."""
    named = field.coords.to_dataset()[[dim for dim in field.dims if dim in field.coords]]
    guessed = named.cf.guess_coord_axis().cf
    found: dict[str, Hashable] = {}
    for axis, coordinate, others in _AXES:
        known = [*guessed.axes.get(axis, ()), *guessed.coordinates.get(coordinate, ())]
        alike = [name for name in (*known, *NAMES[coordinate], *others) if name in field.dims]
        if alike:
            found[coordinate] = alike[0]
    return found


def around_the_globe(field: xr.DataArray, dim: Hashable) -> xr.DataArray:
    """Field with its last column before the first and its first one behind the last, where it goes around the globe."""
    places = numbers(field[dim]).values
    if len(places) < 2:
        return field
    covered = abs(even_step(places, dim)) * len(places)
    if not is_circle(covered, abs(places[1] - places[0])):
        return field
    turn = np.sign(places[1] - places[0]) * CIRCLE
    before, behind = field.isel({dim: [-1]}), field.isel({dim: [0]})
    before, behind = (
        each.assign_coords({dim: each[dim] + shift}) for each, shift in ((before, -turn), (behind, turn))
    )
    return xr.concat([before, field, behind], dim, coords="minimal", compat="override", join="override")


def is_circle(covered: float, cell: float) -> bool:
    """Whether columns of so many degrees go around the globe, to within half of one."""
    return bool(abs(covered - CIRCLE) <= HALF_CELL * cell)


def half_turned(degrees: A) -> A:
    """Angles turned to within half a circle of zero."""
    return (degrees + CIRCLE / 2) % CIRCLE - CIRCLE / 2


def turned_longitude(longitude: xr.DataArray, grid: xr.DataArray) -> xr.DataArray:
    """Longitudes turned to within half a circle of the middle of a grid's longitudes."""
    middle = float(grid.min() + grid.max()) / 2
    return half_turned(longitude - middle) + middle


def coordinate_of(field: xr.DataArray | xr.Dataset, name: str) -> xr.DataArray:
    """Coordinate `name` of a field, its point numbers where a dimension has none.

    Raises
    ------
    MissingVariableError
        When the field has neither a coordinate nor a dimension of that name.
    """
    if name not in field.coords and name not in field.dims:
        known = sorted({str(key) for key in (*field.sizes, *field.coords)})
        raise MissingVariableError(f"no coordinate or dimension {name!r}, only {known}")
    return field[name].reset_coords(drop=True)


def coordinate_meant(field: xr.DataArray | xr.Dataset, name: str, meaning: str | None = None) -> xr.DataArray:
    """Coordinate `name` of a field, or else the one that means the same: its latitude, longitude or only time.

    Parameters
    ----------
    field : DataArray or Dataset
        With coordinates.
    name : str
        Of a coordinate or dimension.
    meaning : str, optional
        "latitude", "longitude" or "time". Default: what `name` usually means.

    Raises
    ------
    MissingVariableError
        When there is none.
    """
    if name in field.coords or name in field.dims:
        return coordinate_of(field, name)
    meaning = meaning or next((each for each, names in NAMES.items() if name.lower() in names), None)
    alike = {key for key, each in field.coords.items() if meaning == TIME and each.ndim and is_time(each)}
    if meaning in (LATITUDE, LONGITUDE) and meaning in angles(field):
        alike = {angles(field)[meaning].name}
    return coordinate_of(field, str(alike.pop()) if len(alike) == 1 else name)


def meaning_of(coordinate: xr.DataArray) -> str:
    """What a coordinate is: "latitude", "longitude", "time", or its own name."""
    return TIME if is_time(coordinate) else metric_name(coordinate)


def numbers(coordinate: xr.DataArray, origin: xr.DataArray | None = None) -> xr.DataArray:
    """Coordinate as float64: days since `origin` for times of any calendar, else its own units.

    Parameters
    ----------
    coordinate : DataArray
        Numbers, dates or durations.
    origin : DataArray, optional
        A single time, by default the first value of the coordinate.

    Raises
    ------
    GridMismatchError
        When the values are neither numbers nor times, or `origin` is of another kind.
    """
    start = coordinate[(0,) * coordinate.ndim] if origin is None else origin
    if coordinate.dtype.kind in "iuf" and start.dtype.kind in "iuf":
        return coordinate.astype(np.float64)
    try:
        return (coordinate - start.drop_vars(list(start.coords))) / np.timedelta64(1, "D")
    except TypeError as error:
        raise GridMismatchError(
            f"coordinate {coordinate.name!r} of type {coordinate.dtype} cannot be counted in days since "
            f"{start.values}: it needs numbers, or dates of one kind and calendar"
        ) from error


def index_coordinate(places: np.ndarray, points: np.ndarray, name: Hashable) -> np.ndarray:
    """Index coordinate of places along an axis: 0 at its first point, linear between neighbours.

    A place belongs to the axis up to half a cell beyond its ends, where a lone point has a cell of one unit (a
    day, a degree); elsewhere the result is NaN.

    Parameters
    ----------
    places : ndarray
        Of any shape, in the units of `points`.
    points : ndarray
        Shape (n,), in either direction.
    name : hashable
        Of the axis, for the message.

    Raises
    ------
    GridMismatchError
        If the points neither increase nor decrease strictly.
    """
    if len(points) > 1 and points[0] > points[-1]:
        return index_coordinate(-places, -points, name)
    if not (np.diff(points) > 0).all():
        raise GridMismatchError(
            f"coordinate {name!r} of the grid is neither increasing nor decreasing: use sortby({name!r}) "
            "and drop repeated values"
        )
    before = points[1] - points[0] if len(points) > 1 else 1.0
    after = points[-1] - points[-2] if len(points) > 1 else 1.0
    known = np.concatenate(([points[0] - before], points, [points[-1] + after]))
    index = np.interp(places, known, np.arange(-1.0, len(points) + 1))
    inside = (index >= -HALF_CELL) & (index <= len(points) - 1 + HALF_CELL)
    return np.where(inside, index, np.nan)


def even_step(values: np.ndarray, name: Hashable, units: str = "") -> float:
    """Step of an evenly spaced coordinate, negative where it decreases.

    Raises
    ------
    GridMismatchError
        When there are fewer than two values, or the steps are zero or differ by more than 1 %.
    """
    steps = np.diff(values)
    if steps.size == 0:
        raise GridMismatchError(f"dimension {name!r} has {values.size} points: a spacing needs at least two")
    step = float(steps.mean())
    if step == 0 or not np.abs(steps - step).max() <= MAX_UNEVEN * abs(step):
        raise GridMismatchError(
            f"dimension {name!r} has steps from {steps.min():.6g} to {steps.max():.6g} {units}".rstrip()
            + ", and even ones are needed: select an even part, use sortby, or interpolate"
        )
    return step


def spacing(field: xr.DataArray, dim: str) -> float:
    """Distance of neighbouring points along an even dimension, at the mean latitude of the field.

    Returns
    -------
    float
        In km along latitude and longitude, in days along times, else in the coordinate's own units.

    Raises
    ------
    GridMismatchError
        When the coordinate is not even.
    MissingVariableError
        When a longitude comes without a latitude.
    """
    coordinate = coordinate_of(field, dim)
    step = abs(even_step(numbers(coordinate).values, dim))
    metric = metric_name(coordinate)
    if metric == LATITUDE:
        return step * KM_PER_DEGREE
    if metric == LONGITUDE:
        if LATITUDE not in angles(field):
            raise MissingVariableError(
                f"{dim!r} is a longitude, and a degree has no size without a latitude: add it as a coordinate"
            )
        latitude = float(angles(field)[LATITUDE].mean())
        return step * KM_PER_DEGREE * float(np.cos(np.deg2rad(latitude)))
    return step
