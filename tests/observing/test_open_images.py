"""Gridded files in the structures in which they are published, read as observations with errors."""

import warnings

import netCDF4
import numpy as np
import pytest
import xarray as xr

import oceanvar
from oceanvar.errors import ConfigError, GridMismatchError, MendedWarning, StoreError, UnitsMismatchError
from oceanvar.network import VarNet
from oceanvar.state import Instrument, StateSpace
from oceanvar.variational import (
    Assimilator,
    BeamAverage,
    ConjugateGradients,
    ObservationTerm,
    PriorTerm,
    VariationalCost,
)
from tests.observing import deliveries

NOON = np.datetime64("2019-01-02T12", "ns")
DAY = np.timedelta64(1, "D")
LATITUDE, LONGITUDE = 30 + 0.25 * np.arange(4), np.arange(-180, 180, 60.0)


def level3(path, time=NOON):
    kelvin = 290 + np.arange(24.0).reshape(4, 6) / 10
    kelvin[0, 0] = np.nan
    quality = np.full((4, 6), 5)
    quality[1, :2] = 4, 3
    dtime = np.arange(24.0).reshape(4, 6) * 100
    deliveries.ghrsst(path, time, LATITUDE, LONGITUDE, kelvin, quality, dtime)
    return kelvin, quality, dtime


def test_temperatures_of_level_3_are_good_and_unbiased_with_errors_and_times(tmp_path):
    kelvin, quality, dtime = level3(tmp_path / "b.nc")
    level3(tmp_path / "a.nc", NOON + DAY)
    ds = oceanvar.open_images(tmp_path)
    field = ds["sea_surface_temperature"]
    assert field.dims == ("time", "lat", "lon")
    np.testing.assert_array_equal(ds["time"], [NOON, NOON + DAY])
    expected = np.where(quality >= 4, kelvin - 0.1, np.nan)
    np.testing.assert_allclose(field[0], expected, atol=1e-3)
    np.testing.assert_allclose(ds["variance"], 0.16, atol=1e-6)
    assert field.attrs["units"] == "kelvin"
    offset = (ds["pixel_time"][1].values - (NOON + DAY)) / np.timedelta64(1, "s")
    np.testing.assert_array_equal(offset, dtime)
    best = oceanvar.open_images(tmp_path, quality=5)["sea_surface_temperature"]
    assert int(field.notnull().sum() - best.notnull().sum()) == 2
    celsius = oceanvar.open_images(tmp_path, units="degree_Celsius")
    np.testing.assert_allclose(celsius["sea_surface_temperature"][0], expected - 273.15, atol=1e-3)
    np.testing.assert_allclose(celsius["variance"], 0.16, atol=1e-6)


def test_level_4_across_the_seam(tmp_path):
    kelvin = 290 + np.arange(24.0).reshape(4, 6) / 10
    for day in range(3):
        deliveries.analysis(tmp_path / f"{day}.nc", NOON + day * DAY, LATITUDE, LONGITUDE, kelvin + day)
    ds = oceanvar.open_images(tmp_path, region=(100, 250, 30.2, 30.5), time=("2019-01-03", "2019-01-04"))
    np.testing.assert_array_equal(ds["lon"], [120, 180, 240])
    np.testing.assert_array_equal(ds["lat"], [30.25, 30.5])
    np.testing.assert_allclose(ds["analysed_sst"][0], 1 + kelvin[1:3][:, [5, 0, 1]], atol=1e-3)
    np.testing.assert_allclose(ds["variance"], 0.37**2, atol=1e-6)
    assert ds.sizes["time"] == 2


def test_chlorophyll_is_its_logarithm_with_the_variance_of_a_lognormal_error(tmp_path):
    chlorophyll = np.array([[0.01, 0.1], [1.0, np.nan]])
    deliveries.colour(tmp_path / "chl.nc", NOON.astype("datetime64[D]"), [30.0, 31], [5.0, 6], chlorophyll)
    ds = oceanvar.open_images(tmp_path)
    np.testing.assert_allclose(ds["CHL"][0], [[-2, -1], [0, np.nan]], atol=1e-6)
    assert ds["CHL"].attrs["units"] == "lg(re 1 milligram m-3)"
    # A lognormal of this variance has a standard deviation of 30 % of its mean.
    draws = 10 ** np.random.default_rng(0).normal(0, np.sqrt(float(ds["variance"][0, 0, 0])), 200_000)
    assert draws.std() / draws.mean() == pytest.approx(0.3, rel=0.01)
    # The way back that the comment gives: the mean of the draws.
    assert draws.mean() == pytest.approx(10 ** (1.151293 * float(ds["variance"][0, 0, 0])), rel=0.01)
    assert "1.151293 * variance" in ds["CHL"].attrs["comment"]


def test_errors_of_oc_cci_are_those_of_the_logarithm(tmp_path):
    deliveries.colour(
        tmp_path / "cci.nc", NOON.astype("datetime64[D]"), [30.0, 31], [5.0, 6], np.ones((2, 2)), cci=True
    )
    ds = oceanvar.open_images(tmp_path)
    np.testing.assert_allclose(ds["chlor_a"], -0.1, atol=1e-6)
    np.testing.assert_allclose(ds["variance"], 0.3**2 - 0.1**2, atol=1e-6)


def test_a_map_without_a_time_lies_in_the_middle_of_its_coverage(tmp_path):
    with netCDF4.Dataset(tmp_path / "A2019002.L3m.nc", "w") as file:
        file.setncatts(
            {
                "time_coverage_start": "2019-01-02T00:00:00.000Z",
                "time_coverage_end": "2019-01-03T00:00:00.000Z",
            }
        )
        for name, values, attrs in (("lat", LATITUDE, deliveries.NORTH), ("lon", LONGITUDE, deliveries.EAST)):
            file.createDimension(name, len(values))
            deliveries.put(file, name, "f4", (name,), values, **attrs)
        deliveries.put(file, "chlor_a", "f4", ("lat", "lon"), np.ones((4, 6)), -32767.0, units="mg m^-3")
    ds = oceanvar.open_images(tmp_path, error=0.2)
    np.testing.assert_array_equal(ds["time"], [NOON])
    np.testing.assert_allclose(ds["chlor_a"], 0.0)
    np.testing.assert_allclose(ds["variance"], 0.04)


def test_variances_are_converted_with_the_square(tmp_path):
    metres = np.full((1, 4, 6), 0.5)
    coords = {"time": [NOON], "lat": LATITUDE, "lon": LONGITUDE}
    height = xr.Dataset({"sla": (("time", "lat", "lon"), metres, {"units": "m"})}, coords)
    height.to_netcdf(tmp_path / "h.nc")
    height["error"] = xr.full_like(height["sla"], 100.0).assign_attrs(units="mm")
    height.to_netcdf(tmp_path / "h.nc")
    # A number is meant in the units of the result.
    for error, units, variance in ((10.0, "cm", 100.0), ("error", "cm", 100.0), ("error", None, 0.01)):
        ds = oceanvar.open_images(tmp_path, "sla", error=error, units=units)
        np.testing.assert_allclose(ds["sla"], 50.0 if units else 0.5)
        np.testing.assert_allclose(ds["variance"], variance)
        assert ds["variance"].attrs["units"] == f"({units or 'm'})**2"


def smoother(name, **options):
    patch = {"time": 2, "lat": 4, "lon": 6}
    instruments = {"state": Instrument((name,), variance="variance")}
    space = StateSpace((name,), tuple(patch), patch=patch, instruments=instruments, **options)
    cost = VariationalCost(ObservationTerm(), PriorTerm(BeamAverage([1.0, 1.0, 1.0]), weight=2.0))
    return VarNet(Assimilator(cost, ConjugateGradients(), 10), space)


@pytest.mark.parametrize("units", [None, "kelvin", "degree_Celsius"])
@pytest.mark.parametrize("learned", ["kelvin", "degree_Celsius"])
def test_models_take_temperatures_with_their_errors(units, learned, tmp_path):
    for day in range(2):
        level3(tmp_path / f"{day}.nc", NOON + day * DAY)
    name = "sea_surface_temperature"
    mean = 292.0 if learned == "kelvin" else 18.85
    model = smoother(name, mean={name: mean}, std={name: 1.0}, units={name: learned})
    ds = oceanvar.open_images(tmp_path, units=units)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MendedWarning)
        analysis = ds.varnet.assimilate(model)[name]
    zero = 273.15 if units == "degree_Celsius" else 0.0
    assert analysis.attrs["units"] == (units or "kelvin")
    assert 290 < float(analysis.mean()) + zero < 293


def test_models_of_logarithms_take_chlorophyll_and_give_it_back(tmp_path):
    chlorophyll = np.random.default_rng(0).lognormal(0, 0.3, (2, 4, 6))
    for day in range(2):
        time = (NOON + day * DAY).astype("datetime64[D]")
        deliveries.colour(tmp_path / f"{day}.nc", time, LATITUDE, LONGITUDE, chlorophyll[day])
    ds = oceanvar.open_images(tmp_path).rename(latitude="lat", longitude="lon")
    assert ds["variance"].attrs == {"long_name": "error variance of the decimal logarithm"}
    model = smoother(
        "CHL", mean={"CHL": 0.0}, std={"CHL": 0.3}, units={"CHL": "mg m-3"}, transform={"CHL": "log10"}
    )
    linear = ds.assign(CHL=(10 ** ds["CHL"]).assign_attrs(units="mg m-3"))
    expected = linear.varnet.assimilate(model)["CHL"]
    with (
        pytest.warns(MendedWarning, match="the logarithm of 'CHL': the analysis is in 'milligram m-3'"),
        pytest.warns(MendedWarning, match="'CHL' from 'milligram m-3' to 'mg m-3'"),
    ):
        analysis = ds.varnet.assimilate(model)["CHL"]
    assert analysis.attrs["units"] == "milligram m-3"
    np.testing.assert_allclose(analysis, expected, rtol=1e-5)
    assert 0.3 < float(analysis.median()) < 3


def test_what_is_wrong_is_said(tmp_path):
    level3(tmp_path / "a.nc")
    level3(tmp_path / "b.nc")
    with pytest.raises(GridMismatchError, match="1 of 2 times are there twice"):
        oceanvar.open_images(tmp_path)
    with pytest.raises(UnitsMismatchError, match="'kelvin'"):
        oceanvar.open_images(tmp_path / "a.nc", units="m")
    with pytest.raises(StoreError, match="1 of 1 files cannot be used: .*no variable 'sst'"):
        oceanvar.open_images(tmp_path / "a.nc", "sst")
    with pytest.raises(StoreError, match="no variable 'nope' for error=; there are"):
        oceanvar.open_images(tmp_path / "a.nc", error="nope")
    with pytest.raises(StoreError, match="no point of its grid lies in the region"):
        oceanvar.open_images(tmp_path / "a.nc", region=(0, 10, 50, 60))
    with pytest.raises(StoreError, match="none of 1 files has a time in"):
        oceanvar.open_images(tmp_path / "a.nc", time=("2020", "2021"))
    with pytest.raises(ConfigError, match="region is"):
        oceanvar.open_images(tmp_path / "a.nc", region=(0, 1))
    latitude, longitude = np.meshgrid(LATITUDE, LONGITUDE, indexing="ij")
    kelvin = np.full((4, 6), 290.0)
    deliveries.ghrsst(
        tmp_path / "s.nc", NOON, latitude, longitude, kelvin, kelvin * 0 + 5, kelvin * 0, swath=True
    )
    with pytest.raises(StoreError, match="swaths are for open_tracks"):
        oceanvar.open_images(tmp_path / "s.nc")
    nameless = xr.Dataset(
        {"x": (("time", "lat", "lon"), np.zeros((1, 4, 6)))},
        {"time": [NOON], "lat": LATITUDE, "lon": LONGITUDE},
    )
    nameless.to_netcdf(tmp_path / "n.nc")
    with pytest.raises(ConfigError, match="has no units"):
        oceanvar.open_images(tmp_path / "n.nc", units="m")
