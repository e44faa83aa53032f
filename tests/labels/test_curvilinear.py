"""Places among points with two-dimensional latitudes and longitudes."""

import time

import numpy as np
import pytest
import xarray as xr

from oceanvar.errors import GridMismatchError, MissingVariableError
from oceanvar.labels.coordinates import index_coordinate
from oceanvar.labels.curvilinear import Curvilinear, curvilinear, unit_vectors

NORTH, EAST = {"units": "degrees_north"}, {"units": "degrees_east"}


def angles_of(vectors):
    """Latitude and longitude, of -180 to 180, of vectors of any length."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.rad2deg(np.arctan2(z, np.hypot(x, y))), np.rad2deg(np.arctan2(y, x))


def labelled(latitude, longitude, dims=("y", "x"), names=("nav_lat", "nav_lon")):
    return tuple(
        xr.DataArray(each, dims=dims, name=name, attrs=attrs)
        for each, name, attrs in zip((latitude, longitude), names, (NORTH, EAST), strict=True)
    )


def rotated(n=40, m=50, pole=(0.0, 180.0), stretch=0.5, shear=0.0):
    """A stretched grid about a place of the sphere, its rows turned by 30 degrees: latitude and longitude."""
    j, i = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, m), indexing="ij")
    north = 8 * (j + stretch * j**3)
    east = 10 * (i + stretch * i**3) + shear * north
    turn, (lat, lon) = np.deg2rad(30), np.deg2rad(pole)
    flat = unit_vectors(north, east)
    about_x = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    up = np.array([[np.cos(lat), 0, -np.sin(lat)], [0, 1, 0], [np.sin(lat), 0, np.cos(lat)]])
    around = np.array([[np.cos(lon), -np.sin(lon), 0], [np.sin(lon), np.cos(lon), 0], [0, 0, 1]])
    return angles_of(flat @ (around @ up @ about_x).T)


def mixtures(latitude, longitude, k=2000, seed=0, beyond=0.0):
    """Index coordinates at random and the latitude and longitude of the bilinear mixtures there."""
    points = unit_vectors(latitude, longitude)
    last = np.array(latitude.shape) - 1
    index = np.random.default_rng(seed).uniform(-beyond, last + beyond, (k, 2))
    cell = np.clip(np.floor(index).astype(int), 0, last - 1)
    (s, t), (j, i) = (index - cell).T[..., np.newaxis], cell.T
    near = (1 - t) * points[j, i] + t * points[j, i + 1]
    far = (1 - t) * points[j + 1, i] + t * points[j + 1, i + 1]
    return index, *angles_of((1 - s) * near + s * far)


@pytest.mark.parametrize(
    "options",
    [
        {"pole": (0.0, 180.0)},  # across the date line
        {"pole": (35.0, 0.0)},
        {"pole": (89.0, 20.0)},  # the pole lies within
        {"pole": (-90.0, 0.0), "stretch": 0.0},
        {"pole": (40.0, -60.0), "shear": 2.5},
        {"n": 2, "m": 2},
    ],
    ids=str,
)
def test_places_between_points_are_found_where_they_were_made(options):
    latitude, longitude = rotated(**options)
    grid = Curvilinear.of(*labelled(latitude, longitude))
    index, north, east = mixtures(latitude, longitude)
    for turn in (0, 360):
        np.testing.assert_allclose(grid.index(north, east + turn), index, rtol=0, atol=1e-6)
    # Beyond a curved border the strips of neighbouring cells overlap, and the nearest one decides.
    index, north, east = mixtures(latitude, longitude, beyond=0.45)
    np.testing.assert_allclose(grid.index(north, east), index, rtol=0, atol=0.05)
    own = grid.index(latitude.ravel(), longitude.ravel())
    np.testing.assert_allclose(own, np.argwhere(np.ones(latitude.shape)), rtol=0, atol=1e-6)


def test_a_grid_of_parallels_and_meridians_is_that_of_its_axes():
    """To a sixteenth of the size of a cell in radians: parallels are no straight lines."""
    lat, lon = 85 - 0.5 * np.arange(120), 100 + 0.5 * np.arange(200)  # southward, across the date line
    grid = Curvilinear.of(*labelled(*np.meshgrid(lat, lon, indexing="ij")))
    rng = np.random.default_rng(0)
    north, east = rng.uniform(lat.min() - 1, lat.max() + 1, 5000), rng.uniform(99, 201, 5000)
    expected = np.stack([index_coordinate(north, lat, "lat"), index_coordinate(east, lon, "lon")], 1)
    found = grid.index(north, (east + 180) % 360 - 180)
    known = np.isfinite(expected).all(axis=1)
    assert 0.9 < known.mean() < 1
    # At the very border the curvature decides.
    assert (np.isfinite(found).all(axis=1) != known).mean() < 1e-3
    both = known & np.isfinite(found).all(axis=1)
    between = both & (expected >= 0).all(axis=1) & (expected <= [119, 199]).all(axis=1)
    np.testing.assert_allclose(found[between], expected[between], rtol=0, atol=1.01 * np.deg2rad(0.5) / 16)
    np.testing.assert_allclose(found[both], expected[both], rtol=0, atol=3 * np.deg2rad(0.5) / 16)


def test_places_outside_are_nan():
    latitude, longitude = rotated()
    grid = Curvilinear.of(*labelled(latitude, longitude))
    index, north, east = mixtures(latitude, longitude, beyond=1.5)
    last = np.array(latitude.shape) - 1
    inside = ((index > -0.5) & (index < last + 0.5)).all(axis=1)
    assert 0.8 < inside.mean() < 0.95
    np.testing.assert_array_equal(np.isfinite(grid.index(north, east)).all(axis=1), inside)
    far = grid.index(np.array([0.0, 0.0, 90.0, np.nan, 1e20]), np.array([0.0, 90.0, 0.0, 180.0, 180.0]))
    assert np.isnan(far).all()
    assert grid.index(np.zeros(0), np.zeros(0)).shape == (0, 2)


@pytest.mark.parametrize("fill", [(np.nan, np.nan), (0.0, 0.0), (-1.0, -1.0), (1e20, 1e20), (9.97e36, 0.0)])
@pytest.mark.parametrize("pole", [(35.0, 100.0), (2.0, 3.0)], ids=["elsewhere", "around the fill value"])
def test_land_without_places_is_left_out(fill, pole):
    latitude, longitude = rotated(pole=pole)
    land = np.zeros(latitude.shape, bool)
    land[5:12, 10:30] = land[20, 20] = land[30:, :8] = land[25:27, 40] = True
    whole = Curvilinear.of(*labelled(latitude, longitude))
    given = (np.where(land, value, each) for value, each in zip(fill, (latitude, longitude), strict=True))
    grid = Curvilinear.of(*labelled(*given))
    index, north, east = mixtures(latitude, longitude, 5000)
    j, i = np.floor(index).astype(int).T
    touched = land[j, i] | land[j + 1, i] | land[j, i + 1] | land[j + 1, i + 1]
    found = grid.index(north, east)
    np.testing.assert_allclose(found[~touched], index[~touched], rtol=0, atol=1e-6)
    # In cells that have lost a corner the next cell goes on for half its width, as at the border of a grid.
    deep = land[j, i] & land[j + 1, i] & land[j, i + 1] & land[j + 1, i + 1]
    assert np.isnan(found[deep]).all()
    near = touched & np.isfinite(found).all(axis=1)
    assert near.any()
    assert np.abs(found[near] - index[near]).max() < 0.1
    assert np.isfinite(whole.index(north, east)).all()


def test_a_single_wrong_place_spoils_its_own_cells_only():
    latitude, longitude = rotated(pole=(35.0, 100.0))
    latitude[0, 0], longitude[0, 0] = 0.0, 0.0
    latitude[20, 21], longitude[20, 21] = -1.0, -1.0
    grid = Curvilinear.of(*labelled(latitude, longitude))
    assert int((~grid.is_cell).sum()) == 1 + 4
    # Four points at one place, in the midst of a cell of others: they are not taken for the nearest ones.
    latitude, longitude = rotated(pole=(35.0, 100.0))
    index, north, east = mixtures(latitude, longitude)
    inner = int(np.argmin(np.abs(index - [30.5, 40.5]).sum(axis=1)))
    latitude[5:7, 5:7], longitude[5:7, 5:7] = north[inner], east[inner]
    grid = Curvilinear.of(*labelled(latitude, longitude))
    assert int((~grid.is_cell).sum()) == 9
    np.testing.assert_allclose(grid.index(north, east)[inner], index[inner], rtol=0, atol=1e-6)


def test_seams_and_folds_repeat_points():
    """As the grids of ORCA do: the first columns again behind the last ones."""
    lat, lon = np.arange(-20, 21, 1.0), np.arange(0, 362, 1.0)
    grid = Curvilinear.of(*labelled(*np.meshgrid(lat, (lon + 180) % 360 - 180, indexing="ij")))
    assert grid.is_cell.all()
    found = grid.index(np.array([0.5]), np.array([77.25]))
    np.testing.assert_allclose(found, [[20.5, 77.25]], atol=2e-3)
    (seam,) = grid.index(np.array([0.0]), np.array([360.75]))
    assert seam[1] % 360 == pytest.approx(0.75, abs=1e-5)
    polar = np.meshgrid(np.arange(80, 91, 1.0), np.arange(0, 40, 2.0), indexing="ij")
    assert Curvilinear.of(*labelled(*polar)).is_cell.all()


def test_which_coordinates_of_a_dataset():
    latitude, longitude = rotated(6, 7, pole=(40.0, 10.0))
    dims = ("eta_rho", "xi_rho")
    rho = labelled(latitude, longitude, dims, ("lat_rho", "lon_rho"))
    moved = labelled(latitude, longitude + 0.5, dims, ("lat_u", "lon_u"))
    ds = xr.Dataset({"zeta": (("ocean_time", *dims), np.zeros((2, 6, 7)))})
    assert curvilinear(ds) is None
    ds = ds.assign_coords({each.name: each for each in (*rho, *moved)})
    with pytest.raises(
        MissingVariableError, match=r"are the latitude, \['lat_rho', 'lat_u'\]: name one in attrs"
    ):
        curvilinear(ds)
    for where in ("attrs", "encoding"):
        for (north, east), shift in ((rho, 0.0), (moved, 0.5)):
            named = ds.copy()
            getattr(named["zeta"], where)["coordinates"] = f"{north.name} {east.name}"
            found = curvilinear(named).index(latitude[3:4, 3], longitude[3:4, 3] + shift)
            np.testing.assert_allclose(found, [[3, 3]], atol=1e-6)
            assert curvilinear(named["zeta"]).dims == dims
    # A latitude and a longitude that are dimensions count before what lies over two.
    plain = ds.rename(eta_rho="lat", xi_rho="lon").assign_coords(lat=np.arange(6.0), lon=np.arange(7.0))
    assert curvilinear(plain) is None
    turned = ds.drop_vars(["lat_u", "lon_u"]).assign_coords(lon_rho=rho[1].transpose())
    np.testing.assert_allclose(
        curvilinear(turned).index(latitude[2, 4:5], longitude[2, 4:5]), [[2, 4]], atol=1e-6
    )
    apart = ds.drop_vars(["lat_u", "lon_u", "lon_rho"]).assign_coords(
        lon_rho=(("ocean_time", "xi_rho"), np.zeros((2, 7)), EAST)
    )
    with pytest.raises(GridMismatchError, match="give both over the same two dimensions"):
        curvilinear(apart)
    empty = ds.drop_vars(["lat_u", "lon_u"]).assign_coords(lat_rho=rho[0] * np.nan)
    with pytest.raises(GridMismatchError, match="no four neighbours.*0 of 42 points have"):
        curvilinear(empty)


def test_a_hundred_thousand_places_on_a_million_points_are_seconds():
    latitude, longitude = rotated(1000, 1000, pole=(60.0, 179.0))
    index, north, east = mixtures(latitude, longitude, 100_000)
    start = time.perf_counter()
    found = Curvilinear.of(*labelled(latitude, longitude)).index(north, east)
    assert time.perf_counter() - start < 30
    np.testing.assert_allclose(found, index, rtol=0, atol=1e-6)
