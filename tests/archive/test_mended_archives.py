"""Archives whose files are not as a model expects them, each file in its own way."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import oceanvar
from oceanvar.archive.reading import Reading
from oceanvar.archive.slabs import index_expected
from oceanvar.archive.sources import AbstractSource, find_files
from oceanvar.cli.commands import main
from oceanvar.cli.report import summary_lines
from oceanvar.errors import GridMismatchError, ModelMismatchError, PatchError, StoreError, UnitsMismatchError
from oceanvar.network import VarNet
from oceanvar.options import Options
from oceanvar.state import Instrument
from oceanvar.variational import AlongTrack, Assimilator, ConjugateGradients, ObservationTerm, VariationalCost
from tests.test_mended_inputs import clean, learned, mapped, smoother

pytestmark = pytest.mark.filterwarnings("ignore::oceanvar.errors.MendedWarning")


@pytest.fixture
def model() -> VarNet:
    return smoother(**learned())


def written(folder: Path, *files: xr.Dataset) -> Path:
    folder.mkdir()
    for i, each in enumerate(files):
        each.to_netcdf(folder / f"{i}.nc")
    return folder


def halves(ds: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    return ds.isel(time=slice(5)), ds.isel(time=slice(5, 9))


def test_the_valid_range_of_each_file_counts(model, tmp_path):
    first, second = halves(clean())
    second["ssh"].attrs |= {"valid_min": -0.05, "valid_max": 0.05}
    out = oceanvar.assimilate_archive(written(tmp_path / "in", first, second), model, tmp_path / "out.zarr")
    late = clean()["time"] >= second["time"][0]
    right = mapped(clean().where(~late | (abs(clean()) <= 0.05)), model)
    with xr.open_zarr(out) as stored:
        np.testing.assert_array_equal(stored["ssh"], right["ssh"])


def in_units(ds: xr.Dataset, units: str, factor: float = 1.0) -> xr.Dataset:
    return ds.assign(ssh=(factor * ds["ssh"]).assign_attrs(units=units))


def turned(ds: xr.Dataset) -> xr.Dataset:
    return ds.isel(latitude=slice(None, None, -1))


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        (lambda ds: in_units(ds, "cm", 100.0), "were converted: 'ssh' from 'cm'"),
        (lambda ds: in_units(ds, "metre"), "were converted: 'ssh' from 'metre'"),
        (turned, "'latitude' of the observations"),
    ],
    ids=["cm", "metre", "turned"],
)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_one_odd_file_is_mended_wherever_it_stands(model, tmp_path, number, odd, told):
    parts = [in_units(clean().isel(time=slice(3 * i, 3 * i + 3)), "m") for i in range(3)]
    parts[number] = odd(parts[number])
    model = VarNet(model.assimilator, replace(model.state_space, units={"ssh": "m"}))
    out = oceanvar.assimilate_archive(written(tmp_path / "in", *parts), model, tmp_path / "out.zarr")
    with xr.open_zarr(out) as stored:
        np.testing.assert_allclose(stored["ssh"], mapped(in_units(clean(), "m"), model)["ssh"], atol=1e-5)
        assert stored["ssh"].attrs["units"] == "m"
    (line,) = oceanvar.archive.read_summary(out)["mended"]
    assert line.startswith(f"in 1 of 3 files, {tmp_path / 'in' / str(number)}.nc the first, ")
    assert told in line


def test_files_that_cut_the_circle_elsewhere_are_on_one_grid(tmp_path):
    around = clean().isel(longitude=np.arange(12) % 6).assign_coords(longitude=np.arange(-180.0, 180.0, 30.0))
    around["longitude"].attrs["units"] = "degrees_east"
    other = around.assign_coords(longitude=around["longitude"] % 360).sortby("longitude")
    model = smoother()
    right = mapped(around, model)["ssh"]
    for name, parts in {"mixed": (halves(around)[0], halves(other)[1]), "all": halves(other)}.items():
        folder = written(tmp_path / name, *parts)
        out = oceanvar.assimilate_archive(folder, model, tmp_path / f"{name}.zarr")
        with xr.open_zarr(out) as stored:
            np.testing.assert_array_equal(stored["longitude"], right["longitude"])
            np.testing.assert_allclose(stored["ssh"], right, atol=1e-6)
        assert "goes all around" in oceanvar.archive.read_summary(out)["mended"][0]


def test_files_of_a_curvilinear_grid_are_turned_and_have_samples_along_tracks(tmp_path):
    ds = clean().drop_isel(time=8)
    north, east = np.meshgrid(ds["latitude"], ds["longitude"], indexing="ij")
    angles = {"nav_lat": (("y", "x"), north, {"units": "degrees_north"})}
    angles |= {"nav_lon": (("y", "x"), east, {"units": "degrees_east"})}
    curved = ds.drop_vars(["latitude", "longitude"]).rename(latitude="y", longitude="x").assign_coords(angles)
    rng = np.random.default_rng(0)
    places = {"time": ds["time"].values[rng.integers(0, 8, 20)], "latitude": rng.uniform(30, 33, 20)}
    places["longitude"] = rng.uniform(-1, 1.5, 20)
    tracks = xr.Dataset(
        {"ssh": ("sample", rng.normal(0, 0.1, 20))}, {k: ("sample", v) for k, v in places.items()}
    )
    plain = smoother(**learned())
    cost = VariationalCost(*plain.assimilator.cost.terms, ObservationTerm(AlongTrack(), "nadir", 2.0))
    space = replace(plain.state_space, instruments={"nadir": Instrument(("ssh",), along_track=True)})
    model = VarNet(Assimilator(cost, ConjugateGradients(), 6), space)
    options = {"along_track": {"nadir": tracks}}
    right = mapped(ds, model, **options)["ssh"]
    assert (
        np.abs(mapped(ds, model, along_track={"nadir": tracks[{"sample": slice(0)}]})["ssh"] - right).max()
        > 0.01
    )
    southward = [each.isel(y=slice(None, None, -1)) for each in halves(curved)]
    out = oceanvar.assimilate_archive(
        written(tmp_path / "in", *southward), model, tmp_path / "out.zarr", **options
    )
    with xr.open_zarr(out) as stored:
        np.testing.assert_allclose(stored["ssh"], right, atol=2e-3)
        assert stored["nav_lat"].values[0, 0] == 30


def test_mended_files_that_have_not_changed_are_not_opened_again(model, tmp_path, monkeypatch):
    first, second = halves(clean())
    folder = written(tmp_path / "in", first, turned(second))
    names: list[AbstractSource] = []
    real = Reading.open
    monkeypatch.setattr(
        Reading, "open", lambda self, file, *a, **k: names.append(file) or real(self, file, *a, **k)
    )
    what = find_files(folder), model.state_space, Options(), None, tmp_path / "index.jsonl"
    found = [index_expected(*what) for _ in range(2)]
    assert [Path(each.name).name for each in names] == ["0.nc", "1.nc", "0.nc", "0.nc"]  # the head, each time
    assert found[0].told == found[1].told != ()
    assert found[0].preprocess == found[1].preprocess


def test_a_file_that_cannot_be_mended_is_named_beside_those_that_can(model, tmp_path):
    model = VarNet(model.assimilator, replace(model.state_space, units={"ssh": "m"}))
    first, second = halves(clean())
    folder = written(tmp_path / "in", in_units(first, "cm", 100.0), in_units(second, "kelvin"))
    with pytest.raises(
        StoreError, match=r"1 problem.*\n.*1.nc: variable 'ssh' .* is in 'kelvin', which is no 'm'"
    ):
        oceanvar.assimilate_archive(folder, model, tmp_path / "out.zarr")


def test_spellings_of_one_unit_are_one_for_a_model_that_knows_none(model, tmp_path):
    model = VarNet(model.assimilator, replace(model.state_space, units={}))
    first, second = halves(clean())
    folder = written(tmp_path / "in", in_units(first, "metre"), in_units(second, "m"))
    out = oceanvar.assimilate_archive(folder, model, tmp_path / "out.zarr")
    with xr.open_zarr(out) as stored:
        assert stored["ssh"].attrs["units"] == "metre"
    folder = written(tmp_path / "two", in_units(first, "cm"), in_units(second, "m"))
    with pytest.raises(StoreError, match="'ssh' is in 'm', but in 'cm'"):
        oceanvar.assimilate_archive(folder, model, tmp_path / "other.zarr")


def test_a_mask_without_coordinates_beside_turned_files_is_refused(model, tmp_path):
    folder = written(tmp_path / "in", *halves(clean().isel(latitude=slice(None, None, -1))))
    mask = (clean()["latitude"] > 31).isel(latitude=slice(None, None, -1))
    with pytest.raises(GridMismatchError, match="the mask has no coordinate 'latitude'"):
        oceanvar.assimilate_archive(folder, model, tmp_path / "out.zarr", mask=mask.drop_vars("latitude"))
    out = oceanvar.assimilate_archive(folder, model, tmp_path / "out.zarr", mask=mask)
    with xr.open_zarr(out) as stored:
        right = mapped(clean(), model, mask=clean()["latitude"] > 31)
        np.testing.assert_array_equal(stored["ssh"].sortby("latitude"), right["ssh"])


def test_a_model_of_times_that_run_backwards_is_refused(model, tmp_path):
    axes = model.state_space.axes
    backwards = smoother(axes={**axes, "time": replace(axes["time"], step=-1.0)})
    with pytest.raises(ModelMismatchError, match="run backwards"):
        oceanvar.assimilate_archive(
            written(tmp_path / "in", *halves(clean())), backwards, tmp_path / "out.zarr"
        )


def test_fewer_days_than_a_window_are_for_memory(model, tmp_path):
    space = replace(model.state_space, patch={"time": 15, "latitude": 7, "longitude": 6}, overlap={})
    net = oceanvar.presets.fourdvarnet(space, n_steps=1, n_features=2, n_hidden=2)
    folder = written(tmp_path / "in", *halves(clean()))
    with pytest.raises(PatchError, match="the archive has 9 times, and the model solves 15 at once"):
        oceanvar.assimilate_archive(folder, net, tmp_path / "out.zarr")
    whole = oceanvar.archive.open_archive(folder).varnet.assimilate(net)  # as the message says
    np.testing.assert_allclose(whole["ssh"], mapped(clean(), net)["ssh"], atol=1e-6)
    beside = {"background": clean(1).fillna(0.0), "mask": clean()["time"] > clean()["time"][3]}
    assert mapped(clean(), net, **beside)["ssh"].notnull().sum() == 5 * 7 * 6


def test_files_of_one_grid_may_count_longitudes_differently(model, tmp_path):
    first, second = halves(clean())
    around = second.assign_coords(longitude=second["longitude"] % 360)
    out = oceanvar.assimilate_archive(written(tmp_path / "in", first, around), model, tmp_path / "out.zarr")
    with xr.open_zarr(out) as stored:
        np.testing.assert_array_equal(stored["ssh"], mapped(clean(), model)["ssh"])


def test_an_analysis_says_where_it_lies_and_not_what_its_files_said(model, tmp_path):
    of_files = {
        "title": "along-track sea level",
        "processing_level": "L3",
        "time_coverage_start": "2019-01-01",
    }
    given = clean().assign_attrs(of_files, institution="a centre")
    folder = written(tmp_path / "in", *halves(given.isel(latitude=slice(None, None, -1))))
    out = oceanvar.assimilate_archive(folder, model, tmp_path / "out", period="day")
    with xr.open_dataset(out / "analysis_2019-01-05.nc") as day:
        assert day.attrs["time_coverage_start"] == day.attrs["time_coverage_end"] == "2019-01-05T00:00:00Z"
    analysis = mapped(given, model)
    assert analysis.attrs["time_coverage_end"] == "2019-01-09T00:00:00Z"
    for attrs in (analysis.attrs, day.attrs):
        assert attrs["title"] == "ssh: analysis of gappy observations"
        assert (attrs["processing_level"], attrs["institution"]) == ("L4", "a centre")
        assert [attrs[f"geospatial_lat_{end}"] for end in ("min", "max")] == [30.0, 33.0]
        assert [attrs[f"geospatial_lon_{end}"] for end in ("min", "max")] == [-1.0, 1.5]


def test_groups_of_files_and_stores_are_read(model, tmp_path):
    (tmp_path / "in").mkdir()
    for i, half in enumerate(halves(clean())):
        xr.Dataset(attrs={"of": "the root"}).to_netcdf(tmp_path / "in" / f"{i}.nc")
        half.to_netcdf(tmp_path / "in" / f"{i}.nc", group="data/gridded", mode="a")
    clean().chunk(time=3).to_zarr(tmp_path / "in.zarr", group="data/gridded", zarr_format=2)
    right = mapped(clean(), model)["ssh"]
    for given in ("in", "in.zarr"):
        out = oceanvar.assimilate_archive(
            tmp_path / given, model, tmp_path / f"{given}.out.zarr", group="data/gridded"
        )
        with xr.open_zarr(out) as stored:
            np.testing.assert_array_equal(stored["ssh"], right)
    with pytest.raises(StoreError, match="other"):
        oceanvar.assimilate_archive(tmp_path / "in", model, tmp_path / "o.zarr", group="other")
    model.save(tmp_path / "m.varnet")
    arguments = [str(tmp_path / "in"), "-m", str(tmp_path / "m.varnet"), "--group", "data/gridded"]
    assert CliRunner().invoke(main, ["plan", *arguments, "--quick"]).exit_code == 0
    done = CliRunner().invoke(main, ["assimilate", *arguments, "-o", str(tmp_path / "cli.zarr"), "-q"])
    assert done.exit_code == 0, done.output


def test_values_that_are_no_observations_are_counted_once(model, tmp_path):
    first, second = halves(clean())
    # Far from all that was learned on, infinite, and out of the valid range: 2, 1 and 3 of them.
    wrong = first.copy(deep=True)
    seen = np.argwhere(wrong["ssh"].notnull().values)
    for place, value in zip(seen[[0, 20, 40]], (1e20, -np.inf, 400.0), strict=True):
        wrong["ssh"][tuple(place)] = value
    late = second.copy(deep=True)
    late["ssh"].attrs["valid_max"] = 50.0
    for place in np.argwhere(late["ssh"].notnull().values)[[5, 6, 30]]:
        late["ssh"][tuple(place)] = 60.0
    folder = written(tmp_path / "in", wrong, late)
    # Each of several batches of patches and each of several stretches of units sees most of them.
    out = oceanvar.assimilate_archive(folder, model, tmp_path / "out.zarr", batch_size=1, chunks={"time": 2})
    summary = oceanvar.archive.read_summary(out)
    assert summary["n_not_used"] == 6
    assert "not used        6 values" in "\n".join(summary_lines(summary))
    missing = xr.concat([wrong.where(abs(wrong) < 300), late.where(late < 50)], "time")
    with xr.open_zarr(out) as stored:
        np.testing.assert_array_equal(stored["ssh"], mapped(missing, model)["ssh"])
    alone = oceanvar.assimilate_archive(written(tmp_path / "good", first), model, tmp_path / "good.zarr")
    assert oceanvar.archive.read_summary(alone)["n_not_used"] == 0


def test_files_in_other_units_that_do_not_say_so_are_refused(model, tmp_path):
    first, second = halves(clean())
    folder = written(tmp_path / "in", first, 1e4 * second)
    with pytest.raises(UnitsMismatchError, match=r"of 'ssh' of .*1\.nc.*other units"):
        oceanvar.assimilate_archive(folder, model, tmp_path / "out.zarr")
