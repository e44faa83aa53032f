"""Data that are not as a model expects them give the map of the clean ones, or an error: never another map."""

import warnings
from dataclasses import replace

import dask
import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import oceanvar
from oceanvar.errors import ConfigError, GridMismatchError, MendedWarning, OceanVarError, UnitsMismatchError
from oceanvar.labels.axes import Axis
from oceanvar.labels.coordinates import angles
from oceanvar.network import VarNet
from oceanvar.network.files import packed
from oceanvar.observing import RandomFraction
from oceanvar.state import Instrument, StateSpace
from oceanvar.variational import (
    Assimilator,
    BeamAverage,
    ConjugateGradients,
    ObservationTerm,
    PriorTerm,
    VariationalCost,
)

DIMS = ("time", "latitude", "longitude")
SIZES = {"time": 9, "latitude": 7, "longitude": 6}


def clean(seed: int = 0) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 0.1, tuple(SIZES.values()))
    values[rng.random(values.shape) < 0.6] = np.nan
    coords = {
        "time": np.datetime64("2019-01-01", "ns") + np.arange(9) * np.timedelta64(1, "D"),
        "latitude": ("latitude", 30 + 0.5 * np.arange(7), {"units": "degrees_north"}),
        "longitude": ("longitude", -1 + 0.5 * np.arange(6), {"units": "degrees_east"}),
    }
    return xr.Dataset({"ssh": (DIMS, values, {"units": "m"})}, coords)


def smoother(**options) -> VarNet:
    """A linear model that looks in all directions, and not the same way in both of any."""
    space = StateSpace(
        ("ssh",),
        DIMS,
        patch={"time": 4, "latitude": 5, "longitude": 4},
        overlap={"time": 2, "latitude": 2, "longitude": 1},
        mean={"ssh": 0.02},
        std={"ssh": 0.1},
        units={"ssh": "m"},
        **options,
    )
    cost = VariationalCost(ObservationTerm(), PriorTerm(BeamAverage([1.0, 1.5, 0.7]), weight=2.0))
    return VarNet(Assimilator(cost, ConjugateGradients(), 6), space)


def learned() -> dict[str, dict[str, Axis]]:
    return {"axes": {dim: Axis.of(clean()[dim]) for dim in DIMS}}


@pytest.fixture
def model() -> VarNet:
    return smoother(**learned())


def mapped(ds: xr.Dataset, model: VarNet, **options) -> xr.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MendedWarning)
        return ds.varnet.assimilate(model, **options)


@st.composite
def disorders(draw) -> tuple[xr.Dataset, xr.Dataset]:
    """The clean data with times missing, and the same data in another guise."""
    ds = clean()
    missing = draw(st.sets(st.integers(1, 7), max_size=3))
    kept = [i for i in range(9) if i not in missing]
    expected = ds.where(xr.DataArray(np.isin(np.arange(9), kept), dims="time"))
    ds = ds.isel(time=kept)
    for dim in DIMS:
        index = draw(st.permutations(range(ds.sizes[dim])) | st.just(range(ds.sizes[dim])[::-1]))
        ds = ds.isel({dim: list(index)})
    longitude = ds["longitude"] + draw(st.sampled_from([0.0, 360.0, -360.0]))
    if draw(st.booleans()):
        longitude = longitude % 360
    ds = ds.assign_coords(longitude=longitude)
    if draw(st.booleans()):
        ds = ds.assign_coords(latitude=ds["latitude"].astype(np.float32))
    unit, factor = draw(st.sampled_from([("m", 1), ("metre", 1), ("meters", 1), ("cm", 100), ("mm", 1000)]))
    ds = ds.assign(ssh=(ds["ssh"] * factor).assign_attrs(units=unit))
    ds = ds.rename(draw(st.sampled_from([{}, {"latitude": "lat", "longitude": "lon"}, {"longitude": "x0"}])))
    if draw(st.booleans()):
        ds = ds.chunk(dict.fromkeys(ds.dims, 3))
    return ds, expected


@settings(max_examples=60, deadline=None)
@given(disorders())
def test_any_guise_gives_the_same_map(case):
    ds, expected = case
    model = smoother(**learned())
    result = mapped(ds, model).load(scheduler="synchronous")
    assert result["ssh"].attrs["units"] == ds["ssh"].attrs["units"]
    factor = {"cm": 0.01, "mm": 0.001}.get(ds["ssh"].attrs["units"], 1.0)
    names = {name: dim for name, dim in zip(result["ssh"].dims, DIMS, strict=True) if name != dim}
    result = result.rename(names)
    result = result.assign_coords(longitude=(result["longitude"] + 180) % 360 - 180).sortby(list(DIMS))
    right = mapped(expected, model)
    np.testing.assert_allclose(result["latitude"], right["latitude"])
    np.testing.assert_allclose(result["ssh"] * factor, right["ssh"], rtol=1e-4, atol=1e-6)


def test_a_region_in_two_parts_begins_behind_what_it_leaves_out(model):
    """[0.5, 1, 1.5, -1, -0.5, 0], say: each part in order, and the second before the first."""
    right = mapped(clean(), model)
    for n in range(1, SIZES["longitude"]):
        for turn in (0.0, 360.0):
            ds = clean().roll(longitude=n, roll_coords=True)
            ds = ds.assign_coords(longitude=ds["longitude"] % 360 if turn else ds["longitude"])
            result = mapped(ds, model)
            np.testing.assert_array_equal(np.sort(result["longitude"]), np.sort(ds["longitude"]))
            result = result.assign_coords(longitude=(result["longitude"] + 180) % 360 - 180)
            np.testing.assert_allclose(result.sortby("longitude")["ssh"], right["ssh"], atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(DIMS), st.data())
def test_what_occurs_twice_is_refused(dim, data):
    ds = clean()
    index = [*range(SIZES[dim]), data.draw(st.integers(0, SIZES[dim] - 1))]
    for model in (smoother(**learned()), smoother()):
        with pytest.raises(GridMismatchError, match=rf"{dim}.* twice"):
            mapped(ds.isel({dim: data.draw(st.permutations(index))}), model)


@pytest.mark.parametrize("dim", ["latitude", "longitude"])
@pytest.mark.parametrize("known", [True, False])
def test_missing_rows_and_other_steps_are_refused(dim, known):
    model = smoother(**learned()) if known else smoother()
    with pytest.raises(GridMismatchError, match="steps from 0.5 to 1 degrees"):
        mapped(clean().drop_isel({dim: 2}), model)
    other = clean().assign_coords({dim: clean()[dim] * 5})
    if known:
        with pytest.raises(
            GridMismatchError, match=f"{dim}.* steps from 2.5 to 2.5 degrees.* learned on 0.5"
        ):
            mapped(other, model)
    else:
        np.testing.assert_array_equal(mapped(other, model)["ssh"], mapped(clean(), model)["ssh"])


def test_days_two_apart_are_days_with_gaps(model):
    every_other = clean().isel(time=slice(None, None, 2))
    with pytest.warns(MendedWarning, match="lacks 4 of 9 times"):
        result = every_other.varnet.assimilate(model)
    assert result.sizes["time"] == 9
    with pytest.raises(GridMismatchError, match="lacks 4 of 9 times"):
        every_other.varnet.assimilate(model, gaps="refuse")
    thirds = clean()["time"].values[0] + np.arange(9) * np.timedelta64(8, "h")
    finer = clean().assign_coords(time=thirds)
    with pytest.raises(GridMismatchError, match="none of 1 days fits them all"):
        finer.varnet.assimilate(model)


def test_a_wrong_date_does_not_fill_centuries(model):
    times = clean()["time"].values.copy()
    times[0] = np.datetime64("1950-01-01")
    with pytest.raises(GridMismatchError, match="wrong date"):
        mapped(clean().assign_coords(time=times), model)


def test_a_stretched_grid_is_right_for_a_model_that_knows_none():
    mercator = clean().assign_coords(latitude=30 + 0.5 * 1.02 ** np.arange(7) * np.arange(7))
    np.testing.assert_array_equal(mapped(mercator, smoother())["ssh"], mapped(clean(), smoother())["ssh"])


def test_zero_and_360_are_one_place():
    globe = np.arange(0.0, 361.0, 90.0)
    ds = clean().isel(longitude=slice(5)).assign_coords(longitude=globe)
    with pytest.raises(GridMismatchError, match="0 and 360 degrees are one place"):
        mapped(ds, smoother())


@pytest.mark.parametrize("value", [9.969209968386869e36, 1e20, -999.0, 99.0, np.inf, -np.inf])
def test_values_that_are_none_are_not_used(value, model):
    ds, holes = clean(), clean()
    ds["ssh"][4, 3, 2] = value
    holes["ssh"][4, 3, 2] = np.nan
    np.testing.assert_array_equal(mapped(ds, model)["ssh"], mapped(holes, model)["ssh"])
    if np.isfinite(value):
        with pytest.warns(
            MendedWarning, match="far from all that the model has learned on: they are not used"
        ):
            ds.varnet.assimilate(model)


def test_other_units_without_a_word_are_refused(model):
    ds = clean() * 1e4
    del ds["ssh"].attrs["units"]
    with pytest.raises(UnitsMismatchError, match="seem to be in other units"):
        mapped(ds, model)


def test_absolute_heights_for_a_model_of_anomalies_are_told(model):
    space = replace(model.state_space, ranges={"ssh": (-0.4, 0.4)})
    of_anomalies = VarNet(model.assimilator, space)
    with pytest.warns(MendedWarning, match="outside of -0.4 to 0.4, all that the model has seen in training"):
        (clean() + 1.2).varnet.assimilate(of_anomalies)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clean().varnet.assimilate(of_anomalies)


@pytest.mark.parametrize(
    ("attrs", "encoding"),
    [
        ({"valid_min": -0.05, "valid_max": 0.05}, {}),
        ({"valid_range": [-0.05, 0.05]}, {}),
        ({"valid_min": np.int16(-50), "valid_max": np.int16(50)}, {"scale_factor": 0.001}),
    ],
)
def test_values_outside_the_valid_range_are_not_used(attrs, encoding, model):
    ds = clean()
    ds["ssh"].attrs |= attrs
    ds["ssh"].encoding |= encoding
    right = mapped(clean().where(abs(clean()) <= 0.05), model)
    np.testing.assert_array_equal(mapped(ds, model)["ssh"], right["ssh"])
    assert not set(mapped(ds, model)["ssh"].attrs) & set(attrs)


def test_packed_values_and_durations_are_refused(model, tmp_path):
    packing = {"dtype": "i2", "scale_factor": 1e-4, "_FillValue": -32768}
    clean().to_netcdf(tmp_path / "packed.nc", encoding={"ssh": packing})
    packed = xr.load_dataset(tmp_path / "packed.nc", mask_and_scale=False)
    with pytest.raises(ConfigError, match="attribute 'scale_factor'.*mask_and_scale=True"):
        packed.varnet.assimilate(model)
    with xr.open_dataset(tmp_path / "packed.nc") as decoded:
        np.testing.assert_allclose(mapped(decoded, model)["ssh"], mapped(clean(), model)["ssh"], atol=1e-4)
    durations = clean().assign(ssh=clean()["ssh"].fillna(0).astype("timedelta64[s]"))
    with pytest.raises(ConfigError, match="decode_timedelta=False"):
        durations.varnet.assimilate(model)


def test_names_can_be_given(model):
    ds = clean().rename(ssh="sla_filtered")
    result = mapped(ds, model, variables={"ssh": "sla_filtered"})
    np.testing.assert_array_equal(result["sla_filtered"], mapped(clean(), model)["ssh"])
    with pytest.raises(OceanVarError, match="no variable 'sla'"):
        mapped(ds, model, variables={"ssh": "sla"})


def test_what_goes_with_the_observations_is_mended_like_them(model):
    turned = slice(None, None, -1)
    guess = clean(seed=1).fillna(0.0)
    in_cm = (guess * 100).isel(latitude=turned)
    in_cm["ssh"].attrs["units"] = "cm"
    mask = clean()["latitude"] > 31
    right = mapped(clean(), model, background=guess, mask=mask)
    for ds in (clean(), clean().isel(latitude=turned)):
        for background in (guess, in_cm):
            for each in (mask, mask.isel(latitude=turned), mask.rename(latitude="lat")):
                result = mapped(ds, model, background=background, mask=each).sortby("latitude")
                np.testing.assert_allclose(result["ssh"], right["ssh"], atol=1e-6)


def test_what_lies_beside_observations_may_run_the_other_way_or_begin_elsewhere():
    """A global mask and background from 0 to 350 beside observations from -180 to 170, and the other way round."""
    coords = {"latitude": np.arange(5.0), "longitude": np.arange(-180.0, 180.0, 10.0)}
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.1, (6, 5, 36))
    obs = xr.Dataset({"ssh": (DIMS, np.where(values > 0.05, values, np.nan))}, coords)
    guess = xr.Dataset({"ssh": (DIMS, rng.normal(0, 0.1, (6, 5, 36)))}, coords)
    mask = xr.DataArray(rng.random((5, 36)) > 0.3, {k: obs[k] for k in DIMS[1:]}, DIMS[1:])
    model = smoother()
    right = mapped(obs, model, background=guess, mask=mask)["ssh"]

    def elsewhere(given):
        other = given.roll(longitude=18, roll_coords=True)
        other = other.assign_coords(longitude=other["longitude"] % 360)
        return other.isel(latitude=slice(None, None, -1))

    found = mapped(obs, model, background=elsewhere(guess), mask=elsewhere(mask))["ssh"]
    np.testing.assert_allclose(found, right, atol=1e-6)
    with pytest.raises(GridMismatchError):
        mapped(obs, model, mask=mask.assign_coords(longitude=mask["longitude"] + 5))


@pytest.mark.parametrize("periodic", [(), ("longitude",)])
@pytest.mark.parametrize("first", [-180.0, -179.75])
def test_a_circle_gives_one_map_wherever_it_is_cut(periodic, first):
    rng = np.random.default_rng(0)
    coords = {
        "latitude": np.arange(5.0),
        "longitude": ("longitude", first + 10 * np.arange(36.0), {"units": "degrees_east"}),
    }
    values = rng.normal(0, 0.1, (6, 5, 36))
    obs = xr.Dataset({"ssh": (DIMS, np.where(values > 0.05, values, np.nan))}, coords)
    model = smoother(periodic=periodic, axes={dim: Axis.of(obs[dim]) for dim in DIMS[1:]})
    right = mapped(obs, model)["ssh"]
    for n in (0, 1, 18, 35):
        given = obs.roll(longitude=n, roll_coords=True)
        for low in (-180.0, 0.0):
            cut = given.assign_coords(longitude=(given["longitude"] - low) % 360 + low)
            backwards = cut.isel(longitude=slice(None, None, -1))
            for ds in (cut, backwards, cut.chunk(time=2, longitude=7)):
                found = mapped(ds, model)["ssh"]
                np.testing.assert_array_equal(np.sort(found["longitude"]), np.sort(ds["longitude"]))
                if ds is not backwards:
                    np.testing.assert_array_equal(found["longitude"], ds["longitude"])
                turned = found.assign_coords(longitude=(found["longitude"] + 180.01) % 360 - 180.01)
                np.testing.assert_allclose(turned.sortby("longitude"), right, atol=1e-6)
    given = obs.assign_coords(longitude=obs["longitude"] % 360).sortby("longitude")
    with pytest.warns(MendedWarning, match=f"goes all around, and was rolled to begin at {first:g}"):
        given.varnet.assimilate(model)


def test_dates_written_as_numbers_are_refused(model):
    written = clean().assign_coords(
        time=np.array([20190128, 20190129, 20190130, 20190131, *range(20190201, 20190206)])
    )
    with pytest.raises(GridMismatchError, match="dates written as numbers, 20190128 the first"):
        mapped(written, model)


def test_attributes_may_be_lists_and_arrays(model):
    ds = clean()
    ds["ssh"].attrs |= {"valid_max": [0.1]}
    ds["latitude"].attrs["standard_name"] = np.array(["latitude", "north"])
    np.testing.assert_array_equal(
        mapped(ds, model)["ssh"], mapped(clean().where(clean() <= 0.1), model)["ssh"]
    )


def test_turned_latitudes_are_turned_back_and_told(model):
    ds = clean().isel(latitude=slice(None, None, -1))
    with pytest.warns(MendedWarning, match="'latitude' of the observations was turned"):
        result = ds.varnet.assimilate(model)
    xr.testing.assert_equal(result["latitude"], ds["latitude"])


def test_training_teaches_the_axes_and_the_file_keeps_them(tmp_path):
    truth = clean().fillna(0.0)
    space = StateSpace(("ssh",), DIMS, patch={"time": 3, "latitude": 7, "longitude": 6})
    model = oceanvar.presets.fourdvarnet(space, n_steps=1, n_features=2, n_hidden=2)
    truth.varnet.fit(model, clean(), n_epochs=1, validation=0.34, n_warmup=1)
    model.save(tmp_path / "m.varnet")
    back = oceanvar.load(tmp_path / "m.varnet").state_space
    assert back == model.state_space
    assert back.axes["latitude"] == Axis("latitude", 0.5, "degrees")
    assert back.axes["time"].unit == "days"
    assert back.axes["time"].calendar == "proleptic_gregorian"
    low, _ = back.ranges["ssh"]
    assert low == pytest.approx(float(truth["ssh"].isel(time=slice(6)).min()))


@pytest.mark.parametrize("units", ["mg m-3", "g m-3"])
def test_the_error_of_a_logarithm_is_given_as_such_or_comes_from_that_of_the_values(units):
    factor = {"mg m-3": 1.0, "g m-3": 1e-3}[units]
    space = replace(
        smoother(**learned()).state_space,
        transform={"ssh": "log10"},
        units={"ssh": "mg m-3"},
        instruments={"state": Instrument(("ssh",), variance="error")},
    )
    model = VarNet(smoother().assimilator, space)
    values = factor * 10 ** clean()
    values["ssh"].attrs["units"] = units
    relative = 0.02 * (1 + np.arange(6))
    error = xr.DataArray(relative, dims="longitude").broadcast_like(values["ssh"]).transpose(*DIMS)
    of_log = values.assign(error=error**2 / np.log(10) ** 2)
    of_value = values.assign(error=(error * values["ssh"]) ** 2)
    of_value["error"].attrs["units"] = f"({units})2".replace("(mg m-3)2", "mg2 m-6").replace(
        "(g m-3)2", "g2 m-6"
    )
    right = mapped(of_log, model)["ssh"]
    np.testing.assert_allclose(mapped(of_value, model)["ssh"], right, rtol=1e-5)
    flat = mapped(values.assign(error=xr.full_like(error, 1e-4)), model)["ssh"]
    assert not np.allclose(flat, right, rtol=1e-3)
    of_value["error"].attrs["units"] = "m2"
    with pytest.raises(UnitsMismatchError, match="error variance 'error'"):
        mapped(of_value, model)
    values["ssh"][0, 0, :2] = [-0.1 * factor, 0.0]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        of_log.assign(ssh=values["ssh"]).varnet.assimilate(model)
    assert any("2 values of 'ssh' are not positive" in str(each.message) for each in told)


def test_a_variable_known_by_its_logarithm_comes_back_in_its_own_units(model):
    space = replace(
        model.state_space, transform={"ssh": "log10"}, units={"ssh": "mg m-3"}, mean={"ssh": -0.5}
    )
    chlorophyll = 10 ** (clean() - 0.5)
    chlorophyll["ssh"].attrs["units"] = "mg m-3"
    chlorophyll["ssh"][0, 0, 0] = -0.01  # a negative retrieval has no logarithm
    logs = clean() - 0.5
    logs["ssh"][0, 0, 0] = np.nan
    plain = VarNet(model.assimilator, replace(space, transform={}, units={}))
    logs["ssh"].attrs.pop("units")
    expected = 10 ** mapped(logs, plain)["ssh"]
    analysis = mapped(chlorophyll, VarNet(model.assimilator, space))["ssh"]
    np.testing.assert_allclose(analysis, expected, rtol=1e-5)
    assert analysis.attrs["units"] == "mg m-3"
    with pytest.raises(ConfigError, match="transform is"):
        replace(space, transform={"ssh": "sqrt"})


@pytest.mark.parametrize("given", [0.5, RandomFraction, np.zeros((9, 7, 6)), "obs.nc"])
def test_what_are_no_observations_is_refused_and_never_the_truth_instead(given):
    space = StateSpace(("ssh",), DIMS, patch={"time": 3, "latitude": 7, "longitude": 6})
    model = oceanvar.presets.fourdvarnet(space, n_steps=1, n_features=2, n_hidden=2)
    truth = clean().fillna(0.0)
    with pytest.raises(ConfigError, match="the observations are"):
        truth.varnet.fit(model, given, n_epochs=1)
    for wrong in ("observed", np.ones((7, 6), bool)):
        with pytest.raises(ConfigError, match="mask is a"):
            truth.varnet.fit(model, clean(), mask=wrong)
    with pytest.raises(ConfigError, match="the validation is"):
        truth.varnet.fit(model, RandomFraction(0.5), validation="a year")


def test_observations_are_brought_to_the_units_and_directions_of_the_truth():
    space = StateSpace(("ssh",), DIMS, patch={"time": 3, "latitude": 7, "longitude": 6})
    losses = []
    in_cm = (100 * clean()).isel(latitude=slice(None, None, -1))
    in_cm["ssh"].attrs["units"] = "cm"
    for observed in (clean(), in_cm):
        model = oceanvar.presets.fourdvarnet(space, n_steps=1, n_features=2, n_hidden=2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MendedWarning)
            history = clean().fillna(0.0).varnet.fit(model, observed, n_epochs=1, validation=0.34, n_warmup=1)
        losses.append(float(history["loss"][0]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_one_variable_may_be_given_as_an_array():
    space = StateSpace(("ssh",), DIMS, patch={"time": 3, "latitude": 7, "longitude": 6})
    digests = []
    for observed in (clean(), clean()["ssh"]):
        model = oceanvar.presets.fourdvarnet(space, n_steps=1, n_features=2, n_hidden=2)
        clean().fillna(0.0).varnet.fit(model, observed, n_epochs=1, validation=0.34, n_warmup=1)
        digests.append(model.digest)
    assert digests[0] == digests[1]


@pytest.mark.parametrize("fill", [9.969209968386869e36, -999.0, 1e20, np.inf, -32768.0])
def test_a_truth_with_fill_values_that_nobody_declared_is_refused(fill):
    space = StateSpace(("ssh",), DIMS, patch={"time": 3, "latitude": 7, "longitude": 6})
    model = oceanvar.presets.fourdvarnet(space, n_steps=1, n_features=2, n_hidden=2)
    truth = clean().fillna(0.0).where(clean()["latitude"] > 31, fill)
    n = 3 * 9 * 6
    for each in (truth, truth.chunk(time=2)):
        with pytest.raises(
            ConfigError, match=rf"{n} values of 'ssh' of the truth are .*stand for what is missing"
        ):
            each.varnet.fit(model, RandomFraction(0.5), n_epochs=1)
    depths = 10 * clean().fillna(0.0) - 990.0  # 999 m is no fill among such values
    depths["ssh"][0, 0, 0] = -999.0
    depths.varnet.fit(model, RandomFraction(0.5), n_epochs=1, validation=0.34, n_warmup=1)


def test_default_fills_say_nothing_of_units(model):
    """A masked array written without a fill value: most values are netCDF's default, and the units are right."""
    right = mapped(clean(), model)
    for fill in (9.969209968386869e36, np.inf, -999.0, 1e20):
        with pytest.warns(
            MendedWarning, match="far from all that the model has learned on: they are not used"
        ):
            result = clean().fillna(fill).varnet.assimilate(model)
        np.testing.assert_allclose(result["ssh"], right["ssh"], atol=1e-6)
    with pytest.raises(UnitsMismatchError, match="in other units"):
        clean().fillna(-998.0).varnet.assimilate(model)


def test_times_that_run_backwards_are_learned_forwards():
    patch = {"time": 3, "latitude": 7, "longitude": 6}
    digests = []
    for order in (slice(None), slice(None, None, -1)):
        torch.manual_seed(0)
        model = oceanvar.presets.fourdvarnet(
            StateSpace(("ssh",), DIMS, patch=patch), n_steps=1, n_features=2, n_hidden=2
        )
        truth, observed = (each.isel(time=order) for each in (clean().fillna(0.0), clean()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MendedWarning)
            truth.varnet.fit(model, observed, n_epochs=1, validation=0.34, n_warmup=1)
        assert model.state_space.axes["time"].step == 1.0
        digests.append(model.digest)
    assert digests[0] == digests[1]


def test_a_trained_model_knows_its_error_and_gives_the_mean_of_a_logarithm(tmp_path):
    logs = 3 * clean().fillna(0.0)
    truth = 10**logs
    truth["ssh"].attrs["units"] = "mg m-3"
    observed = truth.where(clean()["ssh"].notnull())
    patch = {"time": 3, "latitude": 7, "longitude": 6}
    space = StateSpace(("ssh",), DIMS, patch=patch, transform={"ssh": "log10"}, units={"ssh": "mg m-3"})
    model = oceanvar.presets.fourdvarnet(space, n_steps=1, n_features=2, n_hidden=2)
    withheld = {"truth": truth.isel(time=slice(6, None)), "observations": observed.isel(time=slice(6, None))}
    learned_from = {"truth": truth.isel(time=slice(6)), "observations": observed.isel(time=slice(6))}
    learned_from["truth"].varnet.fit(
        model,
        learned_from["observations"],
        validation=tuple(withheld.values()),
        n_epochs=2,
        n_warmup=1,
    )
    # Three days are one window, all that is withheld: its error can be taken from the map as well.
    analysis = mapped(withheld["observations"], model)
    error = np.log10(analysis["ssh"]) - logs["ssh"].isel(time=slice(6, None))
    spread = model.state_space.error_std["ssh"]
    assert spread == pytest.approx(float((error**2).mean() ** 0.5), rel=1e-4)
    ratio = np.exp(0.5 * (np.log(10) * spread) ** 2)
    np.testing.assert_allclose(analysis["ssh_mean"], analysis["ssh"] * ratio, rtol=1e-5)
    assert analysis["ssh_mean"].attrs["units"] == "mg m-3"
    withheld["observations"].to_netcdf(tmp_path / "obs.nc")
    out = oceanvar.assimilate_archive(tmp_path / "obs.nc", model, tmp_path / "out.zarr")
    with xr.open_zarr(out) as stored:
        for name in ("ssh", "ssh_mean"):
            np.testing.assert_allclose(stored[name], analysis[name], rtol=1e-5)


def test_an_analysis_refers_to_nothing_that_is_not_there(model):
    ds = clean()
    ds["ssh"].attrs |= {"grid_mapping": "crs", "ancillary_variables": "ssh_error"}
    ds["latitude"].attrs["bounds"] = "lat_bnds"
    ds = ds.assign_coords(crs=0).assign(lat_bnds=(("latitude", "nv"), np.zeros((7, 2))))
    analysis = mapped(ds, model)
    assert analysis["ssh"].attrs["grid_mapping"] == "crs"
    assert "ancillary_variables" not in analysis["ssh"].attrs
    assert "bounds" not in analysis["latitude"].attrs


def test_coordinates_of_zarr_2_are_written_to_zarr_3(model, tmp_path):
    clean().chunk(time=3).to_zarr(tmp_path / "in.zarr", zarr_format=2)
    mapped(xr.open_zarr(tmp_path / "in.zarr"), model).to_zarr(tmp_path / "out.zarr", consolidated=False)
    assert xr.open_zarr(tmp_path / "out.zarr", consolidated=False)["ssh"].notnull().all()


def test_training_leaves_land_and_days_that_are_missing(model):
    truth = clean().fillna(0.0)
    sea = truth["latitude"] < 32
    space = StateSpace(("ssh",), DIMS, patch={"time": 3, "latitude": 7, "longitude": 6})
    results = []
    settings = {"n_epochs": 1, "validation": 0.34, "n_warmup": 1, "n_samples": 8}
    for land in (0.0, 50.0):
        net = oceanvar.presets.fourdvarnet(space, n_steps=1, n_features=2, n_hidden=2)
        fields = truth.where(sea, land).isel(time=[0, 1, 2, 4, 5, 6, 7, 8])
        with pytest.warns(MendedWarning, match="'time' of the truth lacks 1 of 9 times"):
            history = fields.varnet.fit(net, clean(), mask=sea, **settings)
        results.append((float(history["loss"][-1]), net.state_space.mean["ssh"]))
    assert results[0] == results[1]


def test_checks_look_at_no_value(model):
    days = 400
    like = clean().isel(time=0, drop=True)
    values = dask.array.from_delayed(dask.delayed(_never)(), (days, 7, 6), np.float64).rechunk((10, 7, 6))
    times = np.datetime64("2019-01-01", "ns") + np.arange(days) * np.timedelta64(1, "D")
    ds = xr.Dataset({"ssh": (DIMS, values, {"units": "cm"})}, {**like.coords, "time": times})
    lazy = mapped(ds.isel(latitude=slice(None, None, -1), time=np.delete(np.arange(days), 7)), model)
    assert lazy.sizes["time"] == days


def _never():
    raise AssertionError("a check has computed the data")


def test_a_file_from_before_loads_and_says_what_it_does_not_know(model, tmp_path):
    header, tensors = model._header(), model._tensors()
    space = {k: v for k, v in header["state_space"].items() if k not in ("axes", "ranges")}
    old = {**header, "format": "oceanvar-model-1", "state_space": space}
    (tmp_path / "old.varnet").write_bytes(packed(old, tensors, {}))
    with pytest.warns(MendedWarning, match="did not keep the steps, directions and ranges"):
        back = oceanvar.load(tmp_path / "old.varnet")
    assert back.state_space.axes == {}
    model.save(tmp_path / "new.varnet")
    assert oceanvar.load(tmp_path / "new.varnet").state_space == model.state_space


@pytest.mark.parametrize("name", ["ocean", "ocean-2026.11", "lorenz63", "lorenz96", "lorenz63-lstm"])
def test_packaged_models_know_their_grid(name):
    space = oceanvar.load(name).state_space
    assert set(space.axes) == set(space.dims)
    assert set(space.ranges) == set(space.variables)


def test_the_packaged_ocean_is_right_in_any_direction_and_unit():
    truth = oceanvar.quasigeostrophic(n_days=26, seed=11, size=6.4, n_spinup=30)[["ssh"]]
    obs = truth.varnet.observe(RandomFraction(0.1), noise_std=0.02, seed=1)
    right = obs.varnet.assimilate("ocean-2026.11")["ssh"]
    turned = mapped(obs.isel(latitude=slice(None, None, -1)), "ocean-2026.11")["ssh"]
    xr.testing.assert_allclose(turned.sortby("latitude"), right, atol=1e-5)
    in_cm = 100 * obs
    in_cm["ssh"].attrs["units"] = "cm"
    np.testing.assert_allclose(mapped(in_cm, "ocean-2026.11")["ssh"] / 100, right, atol=1e-5)
    coarse = obs.assign_coords(latitude=30 + 0.25 * np.arange(64))
    with pytest.raises(
        GridMismatchError, match="latitude.* steps from 0.25 to 0.25 degrees.* learned on 0.1 degrees"
    ):
        mapped(coarse, "ocean-2026.11")


def test_files_of_one_grid_in_two_precisions_are_joined(model, tmp_path):
    ds = clean()
    longitude = ds["longitude"] + 0.1
    ds.isel(time=slice(5)).assign_coords(longitude=longitude).to_netcdf(tmp_path / "a.nc")
    single = longitude.astype(np.float32)
    ds.isel(time=slice(5, None)).assign_coords(longitude=single).to_netcdf(tmp_path / "b.nc")
    out = oceanvar.assimilate_archive(tmp_path, model, tmp_path / "out.zarr")
    with xr.open_zarr(out) as stored:
        np.testing.assert_allclose(stored["ssh"], mapped(ds, model)["ssh"], atol=1e-5)
    # xarray joins them to twice as many longitudes, and that is told.
    parts = [xr.open_dataset(tmp_path / name) for name in ("a.nc", "b.nc")]
    doubled = xr.concat(parts, "time", join="outer", data_vars="all", coords="minimal", compat="override")
    with pytest.raises(GridMismatchError, match="neighbours that are only .* apart.* in two precisions"):
        mapped(doubled, model)


def test_arrays_without_labels_and_samplers_that_are_none_are_told(model):
    with pytest.raises(ConfigError, match="are a ndarray and must be an xarray Dataset"):
        oceanvar.assimilate(clean()["ssh"].values, model)
    with pytest.raises(ConfigError, match=r"0.5 is no sampler: give RandomFraction\(0.1\)"):
        clean().varnet.observe(0.5)


def test_of_two_pairs_of_positions_the_variables_own_counts():
    lat, lon = np.meshgrid(np.arange(3.0), np.arange(4.0), indexing="ij")
    ds = xr.Dataset(
        {"ssh": (("y", "x"), np.zeros((3, 4)))},
        {
            name: (("y", "x"), value)
            for name, value in {"TLAT": lat, "TLON": lon, "ULAT": lat + 9, "ULON": lon + 9}.items()
        },
    )
    for name in ds.coords:
        ds[name].attrs["standard_name"] = "latitude" if name.endswith("LAT") else "longitude"
    ds["ssh"].encoding["coordinates"] = "TLON TLAT"
    assert {metric: one.name for metric, one in angles(ds["ssh"]).items()} == {
        "latitude": "TLAT",
        "longitude": "TLON",
    }
