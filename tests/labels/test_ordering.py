"""One look at a coordinate says no more than the full one: what it lets pass is as the full one would have it."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from oceanvar.errors import GridMismatchError, OceanVarError
from oceanvar.labels import ordering
from oceanvar.labels.axes import Axis
from oceanvar.labels.ordering import ordered

DAY = np.timedelta64(1, "D")


@st.composite
def coordinates(draw) -> xr.DataArray:
    """Mostly right ones, of which one thing is off: the start, a step, the direction, a value, the type, the unit."""
    name, step, units = draw(
        st.sampled_from([("lat", 0.5, "degrees_north"), ("lon", 0.5, "degrees_east"), ("time", 1.0, "")])
    )
    n = draw(st.integers(1, 12) | st.just(round(360 / step)))
    start = draw(st.sampled_from([-180.0, 0.0, 179.75, 100.25, -179.75]))
    places = start + step * np.arange(n) * draw(st.sampled_from([1.0, -1.0, 1.0001, 1.2]))
    if draw(st.booleans()):
        places[draw(st.integers(0, n - 1))] += draw(st.sampled_from([0.004, 0.2, 7.0, np.nan, np.inf]))
    attrs = {"units": draw(st.sampled_from([units, units, "km", "radians"]))} if units else {}
    kind = draw(st.sampled_from([float, float, np.float32, "dates"]))
    if kind == "dates":
        finite = np.where(np.isfinite(places), places, 0)
        return xr.DataArray(
            np.datetime64("2019-01-01") + np.round(24 * finite) * (DAY // 24), dims=name, name=name
        )
    return xr.DataArray(places.astype(kind), dims=name, name=name, attrs=attrs)


LEARNED = (
    Axis("latitude", 0.5, "degrees"),
    Axis("longitude", 0.5, "degrees"),
    Axis("longitude", -0.5, "degrees", tolerance=1e-3),
    Axis("time", 1.0, "days", calendar="proleptic_gregorian"),
    Axis("time", 1.0, "days", calendar="noleap"),
    Axis("lat", 0.5, "km"),
)


@settings(max_examples=400, deadline=None)
@given(coordinates(), st.sampled_from(LEARNED))
def test_what_passes_at_once_passes_in_full(coordinate, axis):
    coordinate = coordinate.assign_coords({coordinate.name: coordinate})[coordinate.name]
    passed = ordering._is_as_learned(coordinate, axis, *ordering.kind_of(coordinate))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordering, "_is_as_learned", lambda *_: False)
        try:
            in_full = ordered(coordinate, axis, "fill", "x") is None
        except OceanVarError:
            in_full = False
    assert in_full or not passed


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("start", [-180, -179.875, 10])
def test_most_data_pass_at_once(dtype, start):
    n = 1440 if start < 0 else 100
    longitude = xr.DataArray((start + 0.25 * np.arange(n)).astype(dtype), dims="lon", name="lon")
    assert ordering._is_as_learned(longitude, Axis("longitude", 0.25, "degrees"), "longitude", "degrees")
    days = xr.DataArray(np.datetime64("2019-01-01") + np.arange(n) * DAY, dims="time", name="time")
    assert ordering._is_as_learned(days, Axis("time", 1.0, "days", calendar="standard"), "time", "days")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["lon", "lat", "depth"])
def test_coordinates_without_a_place_are_refused(name, value):
    coordinate = xr.DataArray([0.0, 1.0, value, 3.0], dims=name, name=name)
    with pytest.raises(GridMismatchError, match="missing or infinite at 1 point"):
        ordered(coordinate, None, "fill", "x")
