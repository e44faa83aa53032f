"""Masks as files have them say where the sea is, or are refused."""

import numpy as np
import pytest
import xarray as xr

import oceanvar
from oceanvar.errors import ConfigError, MissingVariableError
from oceanvar.labels.masks import sea_at, sea_observed, sea_of
from tests.labelled_fields import gappy

SEA = np.array([[True, False, False], [True, True, False]])


def field(values, **attrs) -> xr.DataArray:
    return xr.DataArray(values, dims=("lat", "lon"), attrs=attrs)


AS_FILES_HAVE_IT = {
    "booleans": field(SEA),
    "ones and zeros": field(SEA.astype("i1")),
    "ones and missing": field(np.where(SEA, 1.0, np.nan)),
    "flag values (GHRSST L4)": field(
        np.where(SEA, 1, 2).astype("i1"), flag_values=np.array([1, 2], "i1"), flag_meanings="sea land"
    ),
    "flag masks (GHRSST L4)": field(
        np.where(SEA, 1, 2).astype("i1"),
        flag_masks=np.array([1, 2, 4, 8, 16], "i1"),
        flag_meanings="water land optional_lake_surface sea_ice optional_river_surface",
    ),
    "ice on the water": field(
        np.where(SEA, 9, 2).astype("i1"),
        flag_masks=np.array([1, 2, 4, 8], "i1"),
        flag_meanings="water land lake sea_ice",
    ),
    "sea fraction in percent": field(np.where(SEA, 80.0, 30.0), standard_name="sea_area_fraction", units="%"),
    "sea fraction in per cent": field(
        np.where(SEA, 80.0, 30.0), standard_name="sea_area_fraction", units="percent"
    ),
    "land fraction in hundredths": field(
        np.where(SEA, 10, 90), standard_name="land_area_fraction", units="1e-2"
    ),
    "other words for the sea": field(np.where(SEA, 3, 2), flag_values=[2, 3], flag_meanings="land open-sea"),
    "what is not land": field(np.where(SEA, 0, 1), flag_values=[0, 1], flag_meanings="not_land land"),
    "water inland": field(
        np.where(SEA, 0, [[1, 2, 1]] * 2), flag_values=[0, 1, 2], flag_meanings="ocean water_inland land"
    ),
    "land fraction": field(np.where(SEA, 0.1, 1.0), standard_name="land_area_fraction", units="1"),
    "land mask": field(np.where(SEA, 0, 1), standard_name="land_binary_mask"),
}


@pytest.mark.parametrize("name", AS_FILES_HAVE_IT)
def test_the_sea_is_found(name):
    given = AS_FILES_HAVE_IT[name]
    np.testing.assert_array_equal(sea_of(given, "the mask"), SEA)
    np.testing.assert_array_equal(sea_of(given.expand_dims(time=1), "the mask"), SEA)


@pytest.mark.parametrize(
    ("values", "attrs"),
    [
        ([[0.0, 3.5], [2.0, 1.0]], {}),
        ([[1, 2], [1, 2]], {}),
        ([[1, 2], [1, 2]], {"flag_values": [1, 2], "flag_meanings": "good bad"}),
        ([[1, 2], [1, 2]], {"flag_values": [1], "flag_meanings": "sea land"}),
        ([[1, 2], [1, 2]], {"flag_values": "1b, 2b", "flag_meanings": "sea land"}),
    ],
)
def test_what_is_no_mask_is_refused(values, attrs):
    with pytest.raises(ConfigError, match="the mask has the (values|flags)"):
        sea_of(field(np.array(values), **attrs), "the mask")


def test_a_mask_that_does_not_say_what_it_means_is_refused():
    for given in (
        field(np.where(SEA, 0, 1)).rename("land_mask"),
        field(np.where(SEA, 0, 1), long_name="land=1"),
    ):
        with pytest.raises(ConfigError, match="does not say which are land"):
            sea_of(given, "the mask")
    np.testing.assert_array_equal(sea_of(field(np.where(SEA, 1, 0)).rename("landsea_mask"), "the mask"), SEA)
    with pytest.raises(ConfigError, match="reaches 90"):
        sea_of(field(np.where(SEA, 10, 90), standard_name="land_area_fraction"), "the mask")


def test_a_mask_without_sea_is_refused():
    obs = gappy({"time": 4, "lat": 2, "lon": 3})
    space = oceanvar.StateSpace(
        ("ssh",), tuple(obs.sizes), dict(obs.sizes), mean={"ssh": 0.0}, std={"ssh": 1.0}
    )
    model = oceanvar.presets.fourdvarnet(space, n_steps=1, n_features=2, n_hidden=2)
    with pytest.raises(ConfigError, match="land everywhere"):
        obs.varnet.assimilate(model, mask=field(np.zeros((2, 3), bool)))


def test_flags_serve_a_mapping(obs, model):
    land = np.zeros((11, 13), bool)
    land[:, :4] = True
    flags = field(np.where(land, 2, 1), flag_values=[1, 2], flag_meanings="sea land")
    expected = obs.varnet.assimilate(model, mask=field(~land))
    xr.testing.assert_identical(obs.varnet.assimilate(model, mask=flags)["ssh"], expected["ssh"])


def test_what_was_ever_observed_is_sea(obs, model, tmp_path):
    seen = obs.where(obs["lat"] > 0.6)
    expected = seen.varnet.assimilate(model, mask=seen["ssh"].notnull().any("time"))
    eager = seen.varnet.assimilate(model, mask="observed")
    xr.testing.assert_equal(eager, expected)
    lazy = seen.chunk(time=3).varnet.assimilate(model, mask="observed")
    xr.testing.assert_allclose(lazy.compute(scheduler="synchronous"), expected)
    for i in range(3):
        seen.isel(time=slice(3 * i, 3 * i + 3)).to_netcdf(tmp_path / f"{i}.nc")
    out = oceanvar.assimilate_archive(tmp_path, model, tmp_path / "out.zarr", mask="observed")
    with xr.open_zarr(out) as stored:
        xr.testing.assert_allclose(stored["ssh"].load(), expected["ssh"], atol=1e-5)


def test_any_variable_counts_as_observed():
    ds = gappy({"time": 2, "lat": 2, "lon": 2}, fraction=0.0)
    ds["sst"] = ds["ssh"].copy()
    ds["sst"][1, 0, 1] = 3.0
    sea = sea_observed(ds, ["ssh", "sst"], ["lat", "lon"])
    np.testing.assert_array_equal(sea, [[False, True], [False, False]])


def test_coasts():
    pytest.importorskip("roaring_landmask")
    places = xr.Dataset(coords={"lat": [0.0, 40.0, 48.9], "lon": [2.35, 330.0]})
    np.testing.assert_array_equal(sea_at(places), [[True, True], [True, True], [False, True]])
    with pytest.raises(MissingVariableError, match="needs a latitude and a longitude"):
        sea_at(xr.Dataset(coords={"lat": [0.0]}))


def test_coasts_of_a_curvilinear_grid():
    pytest.importorskip("roaring_landmask")
    lat, lon = np.meshgrid([40.0, 48.9], [2.35, -30.0], indexing="ij")
    places = xr.Dataset(coords={"nav_lat": (("y", "x"), lat), "nav_lon": (("y", "x"), lon)})
    places["nav_lat"].attrs["standard_name"] = "latitude"
    places["nav_lon"].attrs["standard_name"] = "longitude"
    np.testing.assert_array_equal(sea_at(places), [[True, True], [False, True]])
