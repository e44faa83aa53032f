"""What coordinates mean: names, days and distances."""

import numpy as np
import pytest
import xarray as xr

from oceanvar.errors import GridMismatchError, MissingVariableError
from oceanvar.labels.coordinates import (
    KM_PER_DEGREE,
    angles,
    coordinate_of,
    even_step,
    is_time,
    map_dims,
    metric_name,
    numbers,
    spacing,
)


def axis(name: str, values: object = (0.0, 1.0), **attrs: str) -> xr.DataArray:
    return xr.DataArray(np.asarray(values), dims=name, name=name, attrs=attrs)


def test_angles_are_known_by_name_or_attributes() -> None:
    for coordinate in (
        axis("latitude"),
        axis("Lat"),
        axis("y", units="degrees_north"),
        axis("a", standard_name="latitude"),
    ):
        assert metric_name(coordinate) == "latitude"
    for coordinate in (axis("lon"), axis("nav_lon", units="degree_E"), axis("b", standard_name="longitude")):
        assert metric_name(coordinate) == "longitude"
    # Neither the axes of a projection nor words that begin alike are degrees.
    for coordinate in (axis("y"), axis("lattice"), axis("rlat", standard_name="grid_latitude"), axis("long")):
        assert metric_name(coordinate) == coordinate.name
    grid = xr.Dataset(coords={"lat": axis("lat"), "x": axis("x", units="degrees_east"), "z": axis("z")})
    assert {metric: one.name for metric, one in angles(grid).items()} == {"latitude": "lat", "longitude": "x"}


def test_times_are_known_by_values_name_or_attributes() -> None:
    dates = np.datetime64("2020-01-01", "ns") + np.arange(2) * np.timedelta64(1, "D")
    for coordinate in (axis("d", dates), axis("d", dates - dates[0]), axis("time"), axis("d", axis="T")):
        assert is_time(coordinate)
    assert not is_time(axis("site"))


def test_dimensions_of_a_map_are_found_by_attributes_or_names() -> None:
    by_attribute = xr.DataArray(
        np.zeros((2, 2, 2)),
        dims=["a", "b", "c"],
        coords={
            "a": ("a", [0, 1], {"standard_name": "longitude"}),
            "b": ("b", [0, 1], {"axis": "T"}),
            "c": ("c", [0, 1], {"units": "degrees_north"}),
        },
    )
    assert map_dims(by_attribute) == ("b", "c", "a")
    bare = xr.DataArray(np.zeros((2, 2, 2)), dims=["time", "y", "x"])
    assert map_dims(bare) == ("time", "y", "x")
    curvilinear = bare.assign_coords(
        nav_lat=(("y", "x"), np.zeros((2, 2))), nav_lon=(("y", "x"), np.zeros((2, 2)))
    )
    assert map_dims(curvilinear) == ("time", "y", "x")
    assert map_dims(xr.DataArray(np.zeros((2, 2)), dims=["time", "site"])) is None


def test_every_kind_of_time_becomes_days() -> None:
    dates = np.datetime64("2001-02-01T06", "ns") + np.arange(3) * np.timedelta64(12, "h")
    calendar = xr.date_range("2001-02-01", periods=3, freq="12h", calendar="noleap", use_cftime=True)
    for values in (dates, dates.astype("datetime64[s]"), dates - dates[0], calendar):
        np.testing.assert_allclose(numbers(axis("time", values)), [0, 0.5, 1], rtol=0, atol=1e-12)
    since = numbers(axis("time", dates), axis("time", dates)[2])
    np.testing.assert_allclose(since, [-1, -0.5, 0])
    assert numbers(axis("x", np.arange(3, dtype=np.int16))).dtype == np.float64
    np.testing.assert_array_equal(numbers(axis("x", [5, 7]), axis("x", [5, 7])[0]), [5, 7])


def test_names_and_times_of_two_kinds_are_not_numbers() -> None:
    dates = axis("time", np.array(["2001-02-01", "2001-02-02"], "datetime64[ns]"))
    mixtures = [(axis("site", ["a", "b"]), None), (axis("time", [1.0, 2.0]), dates[0]), (dates, axis("t")[0])]
    for coordinate, origin in mixtures:
        with pytest.raises(GridMismatchError, match="cannot be counted in days"):
            numbers(coordinate, origin)


def test_steps_are_even_or_an_error() -> None:
    assert even_step(np.array([3.0, 1.0, -1.0]), "x") == -2.0
    grid = (-65 + 0.05 * np.arange(200)).astype(np.float32)
    assert even_step(grid, "lon") == pytest.approx(0.05, rel=1e-5)
    for values, message in (
        ([0, 1, 3], "'x' has steps from 1 to 2 km, and even ones"),
        ([0, 1, 2.05], "steps from 1 to 1.05 km"),
        ([1, 1, 1], "steps from 0 to 0 km"),
        ([0, np.nan, 2], "steps from nan"),
        ([0], "'x' has 1 points"),
    ):
        with pytest.raises(GridMismatchError, match=message):
            even_step(np.array(values, dtype=float), "x", "km")


def test_spacing_is_in_km_and_days() -> None:
    dates = np.datetime64("2001-02-01", "ns") + np.arange(4) * np.timedelta64(6, "h")
    grid = {"time": dates, "lat": [59.0, 60.0, 61.0], "lon": [10.0, 8.0], "depth": [0.0, 50.0]}
    field = xr.DataArray(np.zeros((4, 3, 2, 2)), grid, list(grid))
    assert spacing(field, "time") == pytest.approx(0.25)
    assert spacing(field, "lat") == pytest.approx(KM_PER_DEGREE)
    assert spacing(field, "lon") == pytest.approx(2 * KM_PER_DEGREE * np.cos(np.pi / 3))
    assert spacing(field, "depth") == 50.0
    assert spacing(field.drop_vars("depth"), "depth") == 1.0
    with pytest.raises(MissingVariableError, match="'lon' is a longitude"):
        spacing(field.isel(lat=0, drop=True), "lon")
    with pytest.raises(MissingVariableError, match="'site'"):
        coordinate_of(field, "site")
