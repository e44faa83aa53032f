"""Cures for files of other names, units and times, in the shell and in Python."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import oceanvar
from oceanvar.archive import open_archive
from oceanvar.archive.preprocessing import Renamed, Steps, TimeFrom, TimeUnits, WithUnits
from oceanvar.cli.commands import main
from oceanvar.errors import ConfigError, StoreError
from oceanvar.labels.axes import Axis
from oceanvar.network import VarNet
from tests.labelled_fields import gappy


@pytest.fixture
def days() -> xr.Dataset:
    return gappy({"time": 9, "lat": 11, "lon": 13})


@pytest.fixture
def odd(days, tmp_path):
    """One file a day without a time, in centimetres without a word, north to south, under other names."""
    folder = tmp_path / "l4" / "2020"
    folder.mkdir(parents=True)
    for i in range(9):
        day = (100 * days.isel(time=i, drop=True)).isel(lat=slice(None, None, -1))
        del day["ssh"].attrs["units"]
        date = str(days["time"].values[i])[:10].replace("-", "")
        day.rename(ssh="sla", lat="nav_lat").to_netcdf(folder / f"l4_{date}_v2.nc")
    return folder.parent


@pytest.mark.parametrize(
    ("name", "pattern", "time"),
    [
        ("l4_20200103_v2.nc", r"_(\d{8})_", "2020-01-03"),
        ("m_2020-07.nc", r"_([\d-]+)\.", "2020-07-01"),
        ("a.20200103T0430.nc", r"\.(.*)\.", "2020-01-03T04:30"),
        ("y1999.nc", r"y(\d+)", "1999-01-01"),
    ],
)
def test_the_time_comes_from_the_name(name, pattern, time, days):
    ds = days.isel(time=0, drop=True)
    ds.encoding["source"] = f"/somewhere/20010101/{name}"
    found = TimeFrom(pattern)(ds)
    assert found["time"].values == [np.datetime64(time)]
    assert found["ssh"].dims == ("time", "lat", "lon")


def test_the_time_comes_from_an_attribute(days):
    ds = days.isel(time=0, drop=True).assign_attrs(
        time_coverage_start="2003-05-06T07:08:09Z", of="2001-02-03"
    )
    for place in ("", "time_coverage_start"):
        assert TimeFrom(place)(ds)["time"].values == [np.datetime64("2003-05-06T07:08:09")]
    assert TimeFrom("of")(ds)["time"].values == [np.datetime64("2001-02-03")]


def test_the_time_comes_from_a_variable_without_dimensions(days):
    ds = days.isel(time=0, drop=True).assign(valid=np.datetime64("2003-05-06T12", "ns"))
    found = TimeFrom("valid")(ds)
    assert found["time"].values == [np.datetime64("2003-05-06T12")]
    assert found["ssh"].dims == ("time", "lat", "lon")


@pytest.mark.parametrize("is_coordinate", [True, False])
@pytest.mark.parametrize("units", ["m", "cm"])
def test_files_of_one_time_without_a_dimension_follow_each_other(days, model, tmp_path, is_coordinate, units):
    factor = {"m": 1, "cm": 100}[units]
    for i in range(9):
        day = days.isel(time=i).assign(ssh=(factor * days["ssh"][i]).assign_attrs(units=units))
        day = day if is_coordinate else day.reset_coords("time")
        day.to_netcdf(tmp_path / f"{i}.nc")
    model = VarNet(model.assimilator, replace(model.state_space, units={"ssh": "m"}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", oceanvar.MendedWarning)
        out = oceanvar.assimilate_archive(tmp_path, model, tmp_path / "out.zarr")
    with xr.open_zarr(out) as stored:
        np.testing.assert_allclose(stored["ssh"], days.varnet.assimilate(model)["ssh"], atol=1e-5)
    with open_archive(tmp_path / "*.nc", ["ssh"]) as ds:
        np.testing.assert_array_equal(ds["time"], days["time"])


def test_files_without_a_time_say_where_it_may_come_from(days, model, tmp_path):
    model.save(tmp_path / "m.varnet")
    (tmp_path / "in").mkdir()
    for i in range(3):
        day = days.isel(time=i, drop=True).assign_attrs(date_of_map="2020-01-01", number=3)
        day.assign(when=25000.0).to_netcdf(tmp_path / "in" / f"{i}.nc")
    arguments = [str(tmp_path / "in"), "-m", str(tmp_path / "m.varnet"), "--quick"]
    bare = CliRunner().invoke(main, ["plan", *arguments])
    assert "has no coordinate 'time'" in bare.stderr
    assert "--time-from time_coverage_start" in bare.stderr
    assert "--group" in bare.stderr
    for place in ("", "when"):
        wrong = CliRunner().invoke(main, ["plan", *arguments, "--time-from", place])
        assert "attributes ['date_of_map'] and the variables ['when'] without dimensions" in wrong.stderr
        assert "give --time-from the name of one, or a pattern" in wrong.stderr
    days.isel(time=[0]).to_netcdf(tmp_path / "in" / "0.nc", group="data", mode="w")
    with pytest.raises(
        StoreError, match=r"has the variables \[\], not \['ssh'\]; those of a group .*--group"
    ):
        open_archive(tmp_path / "in" / "0.nc", ["ssh"])


def test_times_that_cannot_be_are_told(days):
    ds = days.isel(time=0, drop=True)
    ds.encoding["source"] = "x_20201399_.nc"
    with pytest.raises(ConfigError, match="'20201399' is no time"):
        TimeFrom(r"_(\d{8})_")(ds)
    with pytest.raises(ConfigError, match=r"'x_20201399_.nc' does not match"):
        TimeFrom(r"__(\d{8})_")(ds)
    with pytest.raises(ConfigError, match="has the dimension 'time' already"):
        TimeFrom(r"_(\d{8})_")(days)
    for pattern in (r"_\d{8}_", "_2020."):
        with pytest.raises(ConfigError, match="has no group"):
            TimeFrom(pattern)
    with pytest.raises(ConfigError, match="no regular expression"):
        TimeFrom("_(")


def test_steps_follow_each_other(days):
    steps = Steps((Renamed({"ssh": "sla", "y": "lat"}), WithUnits({"sla": "cm"})))
    found = steps(days)
    assert found["sla"].attrs["units"] == "cm"
    assert days["ssh"].attrs["units"] == "m"


def test_names_that_a_file_lacks_are_told(days):
    with pytest.raises(
        ConfigError, match=r"no 'shs' that could be in 'cm', only \['lat', 'lon', 'ssh', 'time'"
    ):
        WithUnits({"shs": "cm"})(days)
    with pytest.raises(ConfigError, match=r"no 'sla' to rename to 'level', only \['lat'"):
        Renamed({"sla": "level"})(days)


@pytest.mark.parametrize(
    ("named", "units"),
    [
        (["--variable", "ssh=sla"], "ssh"),
        (["--variable", "ssh=sla"], "sla"),
        (["--rename", "sla=ssh"], "ssh"),
        (["--rename", "sla=ssh"], "sla"),
    ],
)
def test_units_are_given_by_the_name_in_the_files_or_the_model(days, model, tmp_path, named, units):
    (100 * days).rename(ssh="sla").drop_attrs().to_netcdf(tmp_path / "cm.nc")
    model = VarNet(model.assimilator, replace(model.state_space, units={"ssh": "m"}))
    model.save(tmp_path / "m.varnet")
    arguments = [
        str(tmp_path / "cm.nc"),
        "-m",
        str(tmp_path / "m.varnet"),
        "-o",
        str(tmp_path / "o.zarr"),
        *named,
    ]
    result = CliRunner().invoke(main, ["assimilate", *arguments, "--units", f"{units}=cm"])
    assert result.exit_code == 0, result.output
    with xr.open_zarr(tmp_path / "o.zarr") as stored:
        np.testing.assert_allclose(stored["ssh"], days.varnet.assimilate(model)["ssh"], atol=1e-5)
    wrong = CliRunner().invoke(main, ["plan", *arguments[:3], *named, "--units", "shs=cm", "--quick"])
    assert wrong.exit_code == 1
    assert "there is no 'shs' that could be in 'cm', only" in wrong.stderr


def test_the_shell_maps_files_that_are_odd_in_every_way(odd, days, model, tmp_path):
    axes = {dim: Axis.of(days[dim]) for dim in ("time", "lat", "lon")}
    model = VarNet(model.assimilator, replace(model.state_space, axes=axes))
    model.save(tmp_path / "m.varnet")
    arguments = ["-m", str(tmp_path / "m.varnet"), "--time-from", r"_(\d{8})_", "--units", "sla=cm"]
    arguments += ["--rename", "nav_lat=lat", "--variable", "ssh=sla"]
    result = CliRunner().invoke(main, ["plan", str(odd), *arguments, "--quick"])
    assert result.exit_code == 0, result.output
    assert "mended          the observations were converted: 'ssh' from 'cm' to 'm'" in result.stdout
    result = CliRunner().invoke(main, ["assimilate", str(odd), *arguments, "-o", str(tmp_path / "out.zarr")])
    assert result.exit_code == 0, result.output
    assert "Warning: the observations were converted" in result.stderr
    expected = days.varnet.assimilate(model)
    with xr.open_zarr(tmp_path / "out.zarr") as stored:
        np.testing.assert_allclose(stored["ssh"].sortby("lat"), expected["ssh"], atol=1e-5)


@pytest.mark.filterwarnings("ignore::oceanvar.errors.MendedWarning")
def test_days_without_a_file_are_mapped(days, model, tmp_path):
    for i in (0, 1, 2, 3, 7, 8):
        days.isel(time=[i]).to_netcdf(tmp_path / f"{i}.nc")
    out = oceanvar.assimilate_archive(tmp_path, model, tmp_path / "out.zarr")
    right = days.isel(time=[0, 1, 2, 3, 7, 8]).reindex(time=days["time"]).varnet.assimilate(model)
    with xr.open_zarr(out) as stored:
        np.testing.assert_allclose(stored["ssh"], right["ssh"], atol=1e-5)
        np.testing.assert_array_equal(stored["time"], days["time"])
    summary = oceanvar.archive.read_summary(out)
    assert summary["n_times_unobserved"] == 3
    assert summary["mended"] == [
        "coordinate 'time' of the observations lacks 3 of 9 times: they are mapped without observations"
    ]
    assert summary["files_unobserved"] == []
    with pytest.raises(oceanvar.OceanVarError, match="lacks 3 of 9 times"):
        oceanvar.assimilate_archive(tmp_path, model, tmp_path / "other.zarr", gaps="refuse")


def test_a_dimension_that_no_variable_uses_is_no_matter(days, model, tmp_path):
    with_bounds = days.assign(lat_bnds=(("lat", "nv"), np.zeros((11, 2)))).assign_coords(nv=[0, 1])
    with_bounds.to_netcdf(tmp_path / "obs.nc")
    out = oceanvar.assimilate_archive(tmp_path / "obs.nc", model, tmp_path / "out.zarr")
    with xr.open_zarr(out) as stored:
        np.testing.assert_allclose(stored["ssh"], days.varnet.assimilate(model)["ssh"], atol=1e-5)


def test_wave_periods_stay_numbers(days, tmp_path):
    days["period"] = (8.0 + 0 * days["ssh"]).assign_attrs(units="seconds")
    packing = {"dtype": "i2", "scale_factor": 0.1, "_FillValue": -999}
    days.to_netcdf(tmp_path / "waves.nc", encoding={"period": packing})
    with open_archive(tmp_path / "waves.nc") as ds:
        assert ds["period"].dtype.kind == "f"
        np.testing.assert_array_equal(ds["period"].isnull(), days["ssh"].isnull())


def test_a_folder_without_files_says_what_it_holds(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match=r"no file \*\.nc, in no depth; it holds nothing"):
        open_archive(tmp_path / "empty")
    (tmp_path / "empty" / "readme.txt").write_text("")
    with pytest.raises(StoreError, match=r"1 other entries: readme.txt"):
        open_archive(tmp_path / "empty")


def test_one_file_in_a_unit_that_is_another_quantity_is_told_by_name(days, model, tmp_path):
    for i in range(3):
        part = days.isel(time=slice(3 * i, 3 * i + 3))
        part["ssh"].attrs["units"] = "kelvin" if i == 1 else "m"
        part.to_netcdf(tmp_path / f"{i}.nc")
    with pytest.raises(StoreError, match=r"1.nc: 'ssh' is in 'kelvin', but in 'm'"):
        oceanvar.assimilate_archive(tmp_path, model, tmp_path / "out.zarr")


@pytest.mark.parametrize(
    ("units", "numbers", "first", "last"),
    [
        ("months since 1993-01", [0, 1, 25], "1993-01-01", "1995-02-01"),
        ("month since 1993-11-01 00:00:00", [0.0, 1.0, 2.0], "1993-11-01", "1994-01-01"),
        ("yyyymmdd", [20191230, 20191231, 20200101], "2019-12-30", "2020-01-01"),
    ],
)
def test_times_that_cf_does_not_count(units, numbers, first, last):
    ds = TimeUnits(units)(xr.Dataset(coords={"time": numbers}))
    assert ds["time"].dtype == "datetime64[ns]"
    assert [str(each)[:10] for each in ds["time"].values[[0, -1]]] == [first, last]


def test_times_that_cf_does_not_count_and_that_are_none():
    with pytest.raises(ConfigError, match="must be whole numbers, and there is 0.5"):
        TimeUnits("months since 1993-01")(xr.Dataset(coords={"time": [0.0, 0.5]}))
    with pytest.raises(ConfigError, match="'20191332' is no time"):
        TimeUnits("yyyymmdd")(xr.Dataset(coords={"time": [20191332]}))
