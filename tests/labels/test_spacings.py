"""Steps of curvilinear grids, and data on another grid than the model's."""

import warnings

import numpy as np
import pytest
import xarray as xr

from oceanvar.errors import GridMismatchError, MendedWarning
from oceanvar.labels.axes import Axis
from oceanvar.labels.coordinates import KM_PER_DEGREE
from oceanvar.labels.spacings import spacings
from oceanvar.state import StateSpace
from tests.labels.test_curvilinear import labelled, rotated
from tests.test_mended_inputs import mapped, smoother

DIMS = ("time", "y", "x")


def grid_of(latitude, longitude, dims=("y", "x"), n_times=4, seed=0) -> xr.Dataset:
    """Gappy sea level on a grid with two-dimensional coordinates."""
    coords = {each.name: each for each in labelled(latitude, longitude, dims)}
    values = np.random.default_rng(seed).normal(0, 0.1, (n_times, *latitude.shape))
    values[values < 0.03] = np.nan
    return xr.Dataset({"ssh": (("time", *dims), values, {"units": "m"})}, coords)


def even(step=0.5, n=12, m=10, south=30.0):
    """Parallels and meridians as two-dimensional coordinates."""
    return np.meshgrid(south + step * np.arange(n), -10 + step * np.arange(m), indexing="ij")


def learned_on(ds: xr.Dataset, dims=DIMS):
    patch, overlap = dict(zip(dims, (4, 5, 4), strict=True)), dict(zip(dims, (2, 2, 1), strict=True))
    space = StateSpace(("ssh",), dims, patch, overlap).labelled_by(ds)
    model = smoother()
    return type(model)(
        model.assimilator,
        StateSpace(("ssh",), dims, patch, overlap, mean={"ssh": 0.02}, std={"ssh": 0.1}, axes=space.axes),
    )


def test_steps_are_great_circles_of_either_dimension():
    found = spacings(grid_of(*even()), ("y", "x"))
    assert (found["y"].kind, found["x"].kind) == ("latitude", "longitude")
    assert found["y"].step("km") == pytest.approx(0.5 * KM_PER_DEGREE, rel=1e-3)
    middle = np.cos(np.deg2rad(30 + 0.5 * 5.5))
    assert found["x"].step("km") == pytest.approx(0.5 * KM_PER_DEGREE * middle, rel=1e-2)
    assert found["x"].step("degrees") == pytest.approx(0.5, rel=1e-3)
    turned = spacings(grid_of(*(each[::-1] for each in even())), ("y", "x"))
    assert turned["y"].axis().step == -found["y"].axis().step
    assert turned["x"].axis().step == found["x"].axis().step > 0


def test_rows_and_columns_that_lead_elsewhere_are_told_by_where_most_lead():
    latitude, longitude = rotated()
    found = spacings(grid_of(latitude, longitude), ("y", "x"))
    swapped = spacings(grid_of(latitude.T, longitude.T), ("y", "x"))
    assert {found["y"].kind, found["x"].kind} == {"latitude", "longitude"}
    assert swapped["x"].kind == found["y"].kind
    assert swapped["x"].axis() == found["y"].axis()


@pytest.mark.parametrize("fill", [np.nan, 0.0, 1e20])
def test_land_without_places_has_no_steps(fill):
    latitude, longitude = even()
    right = spacings(grid_of(latitude, longitude), ("y", "x"))
    latitude[3:6, 2:5] = longitude[3:6, 2:5] = fill
    found = spacings(grid_of(latitude, longitude), ("y", "x"))
    for dim in ("y", "x"):
        assert found[dim].axis().step == pytest.approx(right[dim].axis().step, rel=1e-2)


def numbered(ds: xr.Dataset) -> xr.Dataset:
    """Points that have numbers, which are the same on every grid."""
    return ds.assign_coords({dim: np.arange(ds.sizes[dim]) for dim in ("y", "x")})


@pytest.mark.parametrize("given", [lambda ds: ds, numbered])
@pytest.mark.parametrize("learned", [lambda ds: ds, numbered])
def test_a_model_learns_the_steps_and_refuses_others(given, learned):
    model = learned_on(learned(grid_of(*even())))
    assert {dim: axis.unit for dim, axis in model.state_space.axes.items()} == {"y": "km", "x": "km"}
    mapped(given(grid_of(*even())), model)
    with pytest.raises(
        GridMismatchError, match=r"dimension 'y' .* 27.8 km apart .* learned on 55.6 km: interpolate"
    ):
        mapped(given(grid_of(*even(step=0.25))), model)
    latitude, longitude = even()
    with pytest.raises(
        GridMismatchError, match="'y' .* runs along the longitude, and the model learned it along"
    ):
        mapped(grid_of(latitude.T, longitude.T), model)


@pytest.mark.parametrize("given", [lambda ds: ds, numbered])
def test_a_grid_that_runs_the_other_way_is_turned_and_turned_back(given):
    ds = given(grid_of(*even()))
    model = learned_on(ds)
    right = mapped(ds, model)
    for flips in ({"y": -1}, {"x": -1}, {"y": -1, "x": -1}):
        turn = {dim: slice(None, None, way) for dim, way in flips.items()}
        with pytest.warns(MendedWarning, match="was turned, to run as the model learned it"):
            found = ds.isel(turn).varnet.assimilate(model)
        np.testing.assert_allclose(found.isel(turn)["ssh"], right["ssh"], atol=1e-6)
        np.testing.assert_array_equal(found["nav_lat"], ds.isel(turn)["nav_lat"])


def test_a_model_of_parallels_and_meridians_knows_its_dimensions_by_where_they_lead():
    """Files of ocean models over (y, x), for a model over (latitude, longitude)."""
    coords = {"latitude": 30 + 0.5 * np.arange(12), "longitude": -10 + 0.5 * np.arange(10)}
    axes = {dim: Axis.of(xr.DataArray(values, dims=dim, name=dim)) for dim, values in coords.items()}
    model = smoother(axes=axes)
    ds = grid_of(*even())
    right = mapped(ds.drop_vars(["nav_lat", "nav_lon"]).rename(y="latitude", x="longitude"), model)["ssh"]
    found = mapped(ds, model)["ssh"]
    assert found.dims == DIMS
    np.testing.assert_allclose(found, right, atol=1e-6)
    with pytest.raises(GridMismatchError, match="0.25 degrees apart .* learned on 0.5 degrees"):
        mapped(grid_of(*even(step=0.25)), model)


def test_measuring_a_large_grid_looks_at_some_of_its_lines():
    latitude, longitude = even(step=0.02, n=1500, m=2000, south=-15.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = spacings(grid_of(latitude, longitude, n_times=1), ("y", "x"))
    assert found["y"].steps.size < 1500 * 110
    assert found["x"].step("degrees") == pytest.approx(0.02, rel=1e-3)
