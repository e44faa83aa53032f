"""Grids that must be the same: what passes, and what the message says when one does not."""

import re

import numpy as np
import pytest
import xarray as xr

from oceanvar.errors import ConfigError, GridMismatchError, MissingVariableError
from oceanvar.labels.alignment import (
    are_one,
    check_broadcasts,
    check_mask,
    check_same_grid,
    check_variables,
    on_grid,
)

DIMS = ("time", "lat")


@pytest.fixture
def field() -> xr.DataArray:
    coords = {
        "time": np.datetime64("2020-01-01", "ns") + np.arange(4) * np.timedelta64(1, "D"),
        "lat": 33 + 0.1 * np.arange(3),
    }
    return xr.DataArray(np.arange(12.0).reshape(4, 3), coords, DIMS, "ssh", attrs={"units": "m"})


def test_equal_numbers_pass_whatever_their_type(field: xr.DataArray) -> None:
    whole = field.assign_coords(lat=[1, 2, 3])
    same = [
        (field, field),
        (whole, whole.assign_coords(lat=np.array([1, 2, 3], dtype=np.float32))),
        (field, field.assign_coords(time=field.time.astype("datetime64[s]"))),
        (field, field.drop_vars("lat")),
        (field.assign_coords(lat=list("abc")), field.assign_coords(lat=list("abc"))),
        (field.assign_coords(lat=[1, 2, np.nan]), field.assign_coords(lat=[1, 2, np.nan])),
        (field.to_dataset(), field.transpose()),
    ]
    for first, second in same:
        check_same_grid(first, second, DIMS, "one and other")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.isel(time=slice(3)), "one and other differ in size along 'time': 4 and 3; select"),
        (lambda a: a.isel(time=0), r"do not share dimension 'time': one has only \('lat',\)"),
        (
            lambda a: a.assign_coords(lat=a.lat.astype("float32")),
            r"'lat' of one and other differs by up to 1\.\d+e-06 \(float64 against float32\)"
            r".*second\.assign_coords\(lat=first\['lat'\]\)",
        ),
        (lambda a: a.assign_coords(time=a.time + np.timedelta64(36, "h")), "by up to 1 days 12:00:00"),
        (lambda a: a.assign_coords(time=np.arange(4)), "at 4 of 4 points.*datetime64.*against int64"),
        (lambda a: a.assign_coords(lat=["a", "b", "c"]), "at 3 of 3 points"),
    ],
)
def test_what_differs_is_named(field: xr.DataArray, change, message: str) -> None:
    with pytest.raises(GridMismatchError, match=message):
        check_same_grid(field, change(field), DIMS, "one and other")


@pytest.mark.parametrize("dim", ["lat", "time", "lon"])
@pytest.mark.parametrize(
    ("order", "message"),
    [
        ([4, 3, 2, 1, 0], "runs the other way: turn it, (second.isel.*)"),
        ([3, 4, 0, 1, 2], "is rolled: roll it back, (second.roll.*)"),
        ([1, 0, 4, 2, 3], r"is in another order: put both in order, .* and (second\.sortby.*)"),
    ],
)
def test_points_in_another_order_are_named_and_following_the_cure_moves_no_value(dim, order, message) -> None:
    days = np.datetime64("2020-01-01", "ns") + np.arange(5) * np.timedelta64(1, "D")
    values = {"lat": 30 + 0.1 * np.arange(5), "lon": np.arange(0.0, 360.0, 72.0), "time": days}[dim]
    first = xr.DataArray(np.arange(5.0), {dim: values}, (dim,))
    second = first.isel({dim: order})
    if dim == "lon":
        second = second.assign_coords(lon=(second["lon"] + 180) % 360 - 180)
    with pytest.raises(GridMismatchError, match=f"{dim!r} of one and other has the same points") as caught:
        check_same_grid(first, second, (dim,), "one and other")
    found = re.search(message, str(caught.value))
    assert found is not None, str(caught.value)
    cured = eval(found[1], {"first": first, "second": second, "slice": slice})
    if "sortby" not in found[1] and dim != "lon":
        xr.testing.assert_equal(cured, first)
    np.testing.assert_array_equal(np.sort(cured.values), first.values)
    np.testing.assert_allclose(
        cured[dim].astype(float) % 360, values[cured.values.astype(int)].astype(float) % 360
    )


def test_copying_a_coordinate_is_no_cure_for_one_that_lies_elsewhere(field: xr.DataArray) -> None:
    for change in ({"lat": field["lat"] + 0.05}, {"time": field["time"] + np.timedelta64(12, "h")}):
        with pytest.raises(GridMismatchError, match=r"\); interpolate to one of them"):
            check_same_grid(field, field.assign_coords(change), DIMS, "one and other")


def test_curved_coordinates_are_one_in_two_precisions() -> None:
    y, x = np.mgrid[0:6, 0:5]
    latitude = xr.DataArray(30 + 0.5 * y + 0.05 * x, dims=("y", "x"), attrs={"units": "degrees_north"})
    longitude = xr.DataArray(179.0 + 0.5 * x - 0.05 * y, dims=("y", "x"), attrs={"units": "degrees_east"})
    land = latitude.where((y > 1) | (x > 1))
    around = (longitude + 180) % 360 - 180
    assert are_one(latitude, latitude.astype("f4"))
    assert are_one(land, land.astype("f4"))
    assert are_one(longitude, around.assign_attrs(longitude.attrs).astype("f4"))
    assert not are_one(latitude, latitude + 0.02)
    assert not are_one(latitude, land)
    assert not are_one(latitude, latitude.T)


def test_names_durations_and_calendars_are_compared_too(field: xr.DataArray) -> None:
    names = field.assign_coords(lat=list("abc"))
    with pytest.raises(GridMismatchError, match="at 1 of 3 points"):
        check_same_grid(names, names.assign_coords(lat=list("abd")), DIMS, "one and other")
    elapsed = field.assign_coords(time=np.arange(4) * np.timedelta64(6, "h"))
    with pytest.raises(GridMismatchError, match="by up to 0 days 06:00:00"):
        check_same_grid(elapsed, elapsed.assign_coords(time=elapsed.time + elapsed.time[1]), DIMS, "a and b")
    dates = xr.date_range("2001-01-01", periods=4, calendar="noleap", use_cftime=True)
    model = field.assign_coords(time=dates)
    check_same_grid(model, model.copy(), DIMS, "a and b")
    with pytest.raises(GridMismatchError, match="at 4 of 4 points"):
        check_same_grid(model, model.assign_coords(time=dates.shift(1, "D")), DIMS, "a and b")


def test_a_field_may_lack_dimensions_of_the_grid_but_not_add_one(field: xr.DataArray) -> None:
    for part in (field, field.transpose(), field[0].drop_vars("time"), xr.DataArray(3.0)):
        check_broadcasts(part, field, "part and whole")
    with pytest.raises(GridMismatchError, match=r"part and whole.*\['time'\].*only \['lat'\]"):
        check_broadcasts(field, field[0], "part and whole")
    with pytest.raises(GridMismatchError, match=r"'lat' of part and whole differs by up to 0\.5"):
        check_broadcasts(field[0].assign_coords(lat=field.lat + 0.5), field, "part and whole")


def test_values_are_put_on_the_grid(field: xr.DataArray) -> None:
    other = (field + 1).transpose().rename("other").assign_attrs(units="cm").drop_vars("lat")
    xr.testing.assert_identical(on_grid(other, field, "a and b"), field.copy(data=field.values + 1))
    lazy = on_grid(other.chunk({"time": 2}), field, "a and b")
    assert lazy.chunksizes["time"] == (2, 2)
    with pytest.raises(GridMismatchError, match=r"dimensions \['lat'\] and \['time', 'lat'\]"):
        on_grid(field[0], field, "a and b")
    with pytest.raises(GridMismatchError, match="differ in size along 'lat': 2 and 3"):
        on_grid(field[:, :2], field, "a and b")


def test_missing_variables_and_dimensions_are_named(field: xr.DataArray) -> None:
    ds = field.to_dataset()
    check_variables(ds, ["ssh"], DIMS, "observations")
    with pytest.raises(MissingVariableError, match=r"no variable 'sst'; there are \['ssh'\]"):
        check_variables(ds, ["sst"], DIMS, "observations")
    with pytest.raises(MissingVariableError, match=r"'ssh' of observations lacks dimension 'lon'"):
        check_variables(ds, ["ssh"], ["lon"], "observations")


def test_masks_are_boolean_and_lie_on_the_grid(field: xr.DataArray) -> None:
    layout, sea = field.to_dataset(), field > 3
    for good in (sea, sea[0], sea.T, sea.drop_vars("lat")):
        check_mask(good, layout, DIMS)
    with pytest.raises(ConfigError, match="must be boolean.*float64.*notnull"):
        check_mask(field, layout, DIMS)
    with pytest.raises(GridMismatchError, match="'depth'"):
        check_mask(sea.expand_dims("depth"), layout, DIMS)
    with pytest.raises(GridMismatchError, match="'lat': 3 and 2"):
        check_mask(sea.isel(lat=slice(2)), layout, DIMS)
