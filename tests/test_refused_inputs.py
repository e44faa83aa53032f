"""What once gave another map without a word, or a traceback: valid ranges, units of all kinds, axes, masks."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from oceanvar.errors import ConfigError, GridMismatchError, MendedWarning, OceanVarError
from oceanvar.labels.axes import Axis
from oceanvar.labels.ordering import ordered
from oceanvar.labels.units import conversion
from oceanvar.labels.values import valid_range
from oceanvar.network import VarNet
from oceanvar.state import Instrument
from oceanvar.variational import (
    Assimilator,
    BeamAverage,
    ConjugateGradients,
    ObservationTerm,
    PriorTerm,
    VariationalCost,
)
from tests.test_mended_inputs import DIMS, clean, learned, mapped, smoother

TURNED = {"latitude": slice(None, None, -1)}


@pytest.fixture
def model() -> VarNet:
    return smoother(**learned())


def in_units(ds: xr.Dataset, units: str, factor: float, **attrs) -> xr.Dataset:
    return ds.assign(ssh=(ds["ssh"] * factor).assign_attrs(units=units, **attrs))


def test_a_valid_range_is_in_the_units_of_the_file(model):
    right = mapped(clean().where(abs(clean()) <= 0.05), model)["ssh"]
    result = mapped(in_units(clean(), "cm", 100, valid_min=-5.0, valid_max=5.0), model)["ssh"]
    np.testing.assert_allclose(result / 100, right, atol=1e-7)
    space = replace(model.state_space, units={"ssh": "degree_Celsius"}, mean={"ssh": 15.0}, std={"ssh": 1.0})
    warm = VarNet(model.assimilator, space)
    celsius = clean() * 10 + 15
    kelvin = (celsius["ssh"] + 273.15).assign_attrs(units="kelvin", valid_min=270.0, valid_max=310.0)
    celsius["ssh"].attrs["units"] = "degree_Celsius"
    result = mapped(celsius.assign(ssh=kelvin), warm)["ssh"] - 273.15
    np.testing.assert_allclose(result, mapped(celsius, warm)["ssh"], atol=1e-4)


def test_a_valid_range_of_unsigned_bytes():
    field = xr.DataArray(np.zeros(3), attrs={"valid_min": np.int8(0), "valid_max": np.int8(-6)})
    field.encoding = {"_Unsigned": "true", "scale_factor": 0.005, "add_offset": -0.6}
    assert valid_range(field) == pytest.approx((-0.6, 0.65))


@pytest.mark.parametrize("wrong", ["-1 1", [1.0, 2.0, 3.0], 5.0])
def test_a_valid_range_that_is_none_is_refused(wrong, model):
    ds = clean()
    ds["ssh"].attrs["valid_range"] = wrong
    with pytest.raises(ConfigError, match="valid_range of 'ssh' is .*, no two numbers"):
        mapped(ds, model)


@pytest.mark.parametrize("dtype", [np.int16, np.int64])
def test_integers_are_converted_as_numbers(dtype, model):
    millimetres = (clean() * 1000).round().fillna(0)
    millimetres["ssh"].attrs["units"] = "mm"
    result = mapped(millimetres.astype(dtype), model)["ssh"]
    np.testing.assert_allclose(result, mapped(millimetres, model)["ssh"], atol=1e-3)
    space = replace(model.state_space, transform={"ssh": "log10"}, mean={"ssh": 1.5}, units={})
    logarithmic = VarNet(model.assimilator, space)
    counts = (10 ** (clean() + 1.5)).round().fillna(0).drop_attrs()
    result = mapped(counts.astype(dtype), logarithmic)["ssh"]
    np.testing.assert_allclose(result, mapped(counts, logarithmic)["ssh"], rtol=1e-5)


def test_error_variances_have_the_square_of_the_units(model):
    space = replace(model.state_space, instruments={"state": Instrument(("ssh",), variance="error")})
    weighted = VarNet(model.assimilator, space)
    error = (DIMS, np.random.default_rng(0).uniform(0.005, 0.02, clean()["ssh"].shape))
    metres = clean().assign(error=error)
    right = mapped(metres, weighted)["ssh"]
    for units in (None, "cm", "cm2"):
        centimetres = in_units(metres, "cm", 100).assign(error=metres["error"] * 1e4)
        centimetres["error"].attrs = {} if units is None else {"units": units}
        np.testing.assert_allclose(mapped(centimetres, weighted)["ssh"] / 100, right, atol=1e-6)
    metres["error"] = (metres["error"] * 1e4).assign_attrs(units="cm2")
    np.testing.assert_allclose(mapped(metres, weighted)["ssh"], right, atol=1e-6)


def test_another_instrument_is_mended_as_the_first():
    cost = VariationalCost(
        ObservationTerm(), ObservationTerm(name="swot"), PriorTerm(BeamAverage([1.0, 1.5, 0.7]), weight=2.0)
    )
    space = replace(smoother(**learned()).state_space, instruments={"swot": Instrument(("sw",), ("ssh",))})
    both = VarNet(Assimilator(cost, ConjugateGradients(), 6), space)
    ds = clean().assign(sw=clean(1)["ssh"])
    right = mapped(ds, both)["ssh"]
    decimetres = ds.assign(sw=(ds["sw"] * 10).assign_attrs(units="dm"))
    np.testing.assert_allclose(mapped(decimetres, both)["ssh"], right, atol=1e-6)
    filled = ds.assign(sw=ds["sw"].fillna(-9.0).assign_attrs(units="m", valid_min=-5.0))
    np.testing.assert_array_equal(mapped(filled, both)["ssh"], right)
    packed = ds.assign(sw=ds["sw"].assign_attrs(scale_factor=0.1))
    with pytest.raises(ConfigError, match="'sw' of the observations has the attribute 'scale_factor'"):
        mapped(packed, both)


def test_what_has_no_coordinates_lies_as_the_observations_do(model):
    mask, guess = clean()["latitude"] > 31, clean(1).fillna(0.0)
    right = mapped(clean(), model, mask=mask, background=guess)["ssh"]
    bare = {
        "mask": mask.isel(TURNED).drop_vars("latitude"),
        "background": guess.isel(TURNED).drop_vars("latitude"),
    }
    result = mapped(clean().isel(TURNED), model, **bare)["ssh"].sortby("latitude")
    np.testing.assert_array_equal(result, right)


def test_a_mask_lies_on_the_grid(model):
    mask = (clean()["latitude"] > 31) & (clean()["longitude"] > -0.5)
    around = mapped(clean(), model, mask=mask.assign_coords(longitude=mask["longitude"] % 360))
    np.testing.assert_array_equal(around["ssh"], mapped(clean(), model, mask=mask)["ssh"])
    with pytest.raises(GridMismatchError, match="differ in size along 'latitude': 7 and 1"):
        mapped(clean(), model, mask=mask.isel(latitude=[5]))


def test_a_background_without_a_day_is_refused(model):
    guess = clean(1).fillna(0.0)
    with pytest.raises(GridMismatchError, match="the background lacks 1 of 9 times"):
        mapped(clean(), model, background=guess.drop_isel(time=3))


def test_hours_stay_hours_however_many_there_are():
    hours = np.datetime64("2000-01-01", "ns") + np.arange(24 * 365 * 20) * np.timedelta64(1, "h")
    time = xr.DataArray(hours, dims="time", name="time", coords={"time": hours})
    axis = Axis.of(time)
    assert ordered(time, axis, "fill", "obs") is None
    order = ordered(time.drop_isel(time=[150_000]), axis, "fill", "obs")
    np.testing.assert_array_equal(order.values, hours)


def test_steps_are_compared_with_their_units(model):
    space = replace(
        model.state_space,
        dims=("time", "latitude", "x"),
        axes={"x": Axis("x", 10.0, "km")},
        patch={"time": 4, "latitude": 5, "x": 4},
        overlap={},
    )
    places = VarNet(model.assimilator, space)
    metres = clean().rename(longitude="x").assign_coords(x=("x", 10.0 * np.arange(6), {"units": "m"}))
    with pytest.raises(GridMismatchError, match="steps from 10 to 10 m, and the model learned on 10000 m"):
        mapped(metres, places)
    right = metres.assign_coords(x=("x", 1e4 * np.arange(6), {"units": "m"}))
    assert mapped(right, places)["ssh"].notnull().all()
    hourly = smoother(axes={**learned()["axes"], "time": Axis("time", 6.0, "hours")})
    with pytest.warns(MendedWarning, match="lacks 24 of 33 times"):
        assert clean().varnet.assimilate(hourly).sizes["time"] == 33
    radians = clean().assign_coords(latitude=("latitude", np.linspace(0.5, 0.6, 7), {"units": "radian"}))
    with pytest.raises(GridMismatchError, match="is in 'radian', and degrees are expected"):
        mapped(radians, model)


@pytest.mark.parametrize("offset", [0.025, 0.05, 0.1])
def test_one_place_twice_around_the_globe_in_float32(offset):
    longitude = (offset + 10 * np.arange(37)).astype(np.float32)
    values = np.random.default_rng(0).normal(0, 0.1, (9, 7, 37))
    ds = xr.Dataset(
        {"ssh": (DIMS, values)}, {**clean().drop_vars("longitude").coords, "longitude": longitude}
    )
    with pytest.raises(GridMismatchError, match="0 and 360 degrees are one place"):
        mapped(ds, smoother())


def test_a_model_of_the_globe_is_not_closed_around_a_region():
    globe = smoother(**learned(), periodic=("longitude",))
    with pytest.raises(GridMismatchError, match="covers 3 of 360 degrees: give periodic="):
        mapped(clean(), globe)
    region = smoother(**learned())
    np.testing.assert_array_equal(mapped(clean(), globe, periodic=())["ssh"], mapped(clean(), region)["ssh"])


def test_names_are_exchanged_or_refused(model):
    space = replace(
        model.state_space, variables=("u", "v"), mean={"u": 0, "v": 0}, std={"u": 1, "v": 1}, units={}
    )
    pair = VarNet(model.assimilator, space)
    ds = xr.Dataset({"u": clean(1)["ssh"], "v": clean(2)["ssh"]}).drop_attrs(deep=False)
    other = xr.Dataset({"u": ds["v"], "v": ds["u"]})
    right, exchanged = mapped(ds, pair), mapped(other, pair, variables={"u": "v", "v": "u"})
    np.testing.assert_array_equal(exchanged["v"], right["u"])
    for names, why in (
        ({"ssh": "latitude"}, "is a dimension"),
        ({"zzz": "ssh"}, "names 'zzz', and the model"),
    ):
        with pytest.raises(ConfigError, match=why):
            mapped(clean(), model, variables=names)


def test_a_second_coordinate_of_one_meaning_is_left_out_and_told(model):
    forecast = clean().rename(time="valid_time").assign_coords(time=np.datetime64("2018-12-31", "ns"))
    forecast["valid_time"].attrs["standard_name"] = "time"
    with pytest.warns(MendedWarning, match=r"\['time'\] of theirs are left out"):
        result = forecast.varnet.assimilate(model)
    np.testing.assert_array_equal(result["ssh"], mapped(clean(), model)["ssh"])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda ds: ds.assign_coords(time=ds["time"].dt.strftime("%Y-%m-%d")),
        lambda ds: ds.assign_coords(latitude=ds["latitude"].astype(str)),
        lambda ds: ds.isel(time=[]),
        lambda ds: ds.isel(longitude=[]),
        lambda ds: ds.isel(time=0),
        lambda ds: ds.expand_dims(variable=2),
    ],
)
def test_what_is_no_grid_is_refused(wrong, model):
    with pytest.raises(OceanVarError):
        mapped(wrong(clean()), model)


@pytest.mark.parametrize("units", ["m (", "m]", "m/0", "0**-1", "m^", "Meters above", "log10(m)"])
def test_text_that_is_no_unit_is_refused(units):
    with pytest.raises(OceanVarError, match="cannot be compared with 'm'"):
        conversion(units, "m", "ssh")
