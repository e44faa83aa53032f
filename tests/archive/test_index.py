"""The index of an archive: what is wrong is told at once, what has not changed is not opened again."""

import json
import os
import re
import resource
import shutil
from pathlib import Path

import fsspec
import numpy as np
import pytest
import xarray as xr

from oceanvar.archive import TimeUnits, assimilate_archive, open_archive, progress, read_summary
from oceanvar.archive.catalogue import check_files
from oceanvar.archive.jobs import run_folder
from oceanvar.archive.manifest import INDEX
from oceanvar.archive.notes import FileNotes
from oceanvar.archive.preprocessing import Renamed, Steps, TimeFrom
from oceanvar.archive.reading import Reading
from oceanvar.archive.sources import find_files
from oceanvar.errors import ConfigError, StoreError
from oceanvar.mapping import assimilate
from tests.labelled_fields import gappy

READING = Reading(["ssh"])
DAY = np.timedelta64(1, "D")


@pytest.fixture(scope="module")
def obs() -> xr.Dataset:
    return gappy({"time": 24, "lat": 6, "lon": 8})


@pytest.fixture
def folder(obs, tmp_path) -> Path:
    """Six files of four days, whose names do not sort like their times."""
    (tmp_path / "obs").mkdir()
    for i, first in enumerate(range(0, 24, 4)):
        obs.isel(time=slice(first, first + 4)).to_netcdf(tmp_path / "obs" / f"obs_{9 - i}.nc")
    return tmp_path / "obs"


def opened(monkeypatch) -> list[str]:
    names: list[str] = []
    real = Reading.open
    monkeypatch.setattr(
        Reading, "open", lambda self, file, *a: names.append(Path(file.name).name) or real(self, file, *a)
    )
    return names


def assert_same_notes(ours: FileNotes, theirs: FileNotes) -> None:
    """Demand the same labels, dimensions, types and attributes."""
    assert set(ours.coords) == set(theirs.coords)
    for name, coord in theirs.coords.items():
        xr.testing.assert_identical(xr.DataArray(ours.coords[name]), xr.DataArray(coord))
    for name, (dtype, attrs) in theirs.variables.items():
        assert ours.variables[name].dtype == dtype
        assert repr(ours.variables[name].attrs) == repr(attrs)
    assert repr(ours.attrs) == repr(theirs.attrs)
    assert (ours.dims, ours.grid) == (theirs.dims, theirs.grid)


def test_only_files_that_have_changed_are_opened_again(folder, tmp_path, monkeypatch):
    index = tmp_path / "out.run" / INDEX
    first = check_files(find_files(folder), READING, index)
    names = opened(monkeypatch)
    again = check_files(find_files(folder), READING, index)
    assert names == []
    assert list(again.notes) == list(first.notes)
    for file, notes in first.notes.items():
        assert_same_notes(again.notes[file], notes)
    os.utime(folder / "obs_7.nc", (0, 0))
    shutil.copyfile(folder / "obs_5.nc", folder / "obs_4.nc")
    with xr.open_dataset(folder / "obs_4.nc") as ds:
        later = ds.assign_coords(time=ds["time"] + np.timedelta64(4, "D")).load()
    later.to_netcdf(folder / "obs_3.nc")
    os.remove(folder / "obs_4.nc")
    check_files(find_files(folder), READING, index)
    assert names == ["obs_3.nc", "obs_7.nc"]
    names.clear()
    check_files(find_files(folder), Reading(None), index)
    assert len(names) == 6, "other variables, another index"


def test_an_index_is_kept_as_it_goes_and_goes_on_after_a_kill(folder, tmp_path, monkeypatch):
    """Whatever a kill leaves of it, or a disk makes of it: files whose lines are whole are not opened again."""
    index = tmp_path / INDEX
    whole = check_files(find_files(folder), READING, index)
    content = index.read_bytes()
    index.unlink()
    names = opened(monkeypatch)
    real = FileNotes.of.__func__

    def killed(cls, *what):
        if len(names) > 4:
            raise KeyboardInterrupt
        return real(cls, *what)

    with monkeypatch.context() as patched:
        patched.setattr(FileNotes, "of", classmethod(killed))
        with pytest.raises(KeyboardInterrupt):
            check_files(find_files(folder), READING, index)
    assert index.read_bytes() == content[: index.stat().st_size]
    assert index.read_bytes().count(b"\n") == 1 + 4
    for left, n_opened in (
        (index.read_bytes(), 2),
        (content[:-1], 1),
        (content[:-40], 1),
        (content.replace(b"obs_7", b"obs_8"), 1),
        (content.replace(b"2020-01-05", b"2020-01-06"), 1),
        (content[:50], 6),
        (b"", 6),
    ):
        index.write_bytes(left)
        names.clear()
        again = check_files(find_files(folder), READING, index)
        assert len(names) == n_opened
        for file, notes in whole.notes.items():
            assert_same_notes(again.notes[file], notes)
        names.clear()
        check_files(find_files(folder), READING, index)
        assert names == []


def test_an_index_forgets_files_that_are_gone(folder, tmp_path):
    index = tmp_path / INDEX
    check_files(find_files(folder), READING, index)
    n_lines = index.read_bytes().count(b"\n")
    for name in ("obs_4.nc", "obs_5.nc"):
        (folder / name).unlink()
    check_files(find_files(folder), READING, index)
    assert index.read_bytes().count(b"\n") == n_lines - 2
    assert os.listdir(tmp_path / "obs") == os.listdir(folder)


def test_progress_over_files_is_a_line_now_and_then(folder, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN", 1000.0)
    check_files(find_files(folder), READING, progress=True)
    assert capsys.readouterr().err == "", "it did not take long"
    monkeypatch.setattr(progress, "SECONDS_BETWEEN", 0.0)
    check_files(find_files(folder), READING)
    assert capsys.readouterr().err == ""
    check_files(find_files(folder), READING, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6
    assert re.fullmatch(r"looked at 3 of 6 files after \d+ s, about \d+ s left", lines[2])


def test_few_files_are_open_at_once(obs, space, model, tmp_path):
    """Twenty files more than are open already, of sixty: from the index to the last row."""
    (tmp_path / "obs").mkdir()
    for number in range(60):
        piece = obs.isel(time=[number % 24]).assign_coords(
            time=[np.datetime64("2020-01-01", "ns") + number * DAY]
        )
        piece.to_netcdf(tmp_path / "obs" / f"obs_{number:02}.nc")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    n_open = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_open + 20, before[1]))
    try:
        output = assimilate_archive(tmp_path / "obs", model, tmp_path / "out.zarr")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert read_summary(output)["n_files"] == 60


def test_the_index_says_what_is_where(folder, tmp_path):
    check_files(find_files(folder), READING, tmp_path / INDEX)
    header, *lines = [json.loads(line) for line in (tmp_path / INDEX).read_text().splitlines()]
    assert header["variables"] == ["ssh"]
    assert [Path(line["path"]).name for line in lines] == [f"obs_{i}.nc" for i in range(4, 10)]
    assert lines[5]["size"] == (folder / "obs_9.nc").stat().st_size
    assert lines[5]["coords"]["time"]["values"]["flat"][3].startswith("2020-01-04T00:00:00")
    assert len({line["grid"] for line in lines}) == 1


def test_notes_of_any_kind_come_back_as_they_were(obs, tmp_path):
    strange = obs.convert_calendar("noleap").assign_attrs(
        number=np.float32(0.1), flags=np.array([1, 2], "i1")
    )
    strange["ssh"].attrs["valid_min"] = np.float32(-0.3)
    strange["name"] = ("time", [f"day {i}" for i in range(24)])
    leads = obs.assign_coords(lead=("time", np.arange(24).astype("timedelta64[h]")))
    for ds in (obs, leads, strange.set_coords("name"), obs.assign_coords(time=np.arange(24.0) / 7)):
        notes = FileNotes.of(ds, ["ssh"], "time")
        again = FileNotes.from_json(json.loads(json.dumps(notes.to_json())))
        assert_same_notes(again, notes)
        assert again.times("time").equals(notes.times("time"))
        assert type(again.variables["ssh"].attrs.get("valid_min")) is type(
            notes.variables["ssh"].attrs.get("valid_min")
        )


def test_what_most_files_are_is_right_and_the_odd_ones_are_named_once(folder, obs, caplog):
    with xr.open_dataset(folder / "obs_9.nc") as ds:
        first = ds.load()
    first.assign_coords(lat=first["lat"][::-1]).to_netcdf(folder / "obs_9.nc")
    with pytest.raises(StoreError, match=r"1 problem.s. in the 6 file.s.*\n  \S*obs_9.nc: .*'lat'"):
        check_files(find_files(folder), READING)
    found = check_files(find_files(folder), READING, skip_bad=True)
    assert len(found.notes) == 5
    assert list(found.skipped) == [str(folder / "obs_9.nc")]
    assert [each.levelname for each in caplog.records] == ["WARNING"]
    assert caplog.messages[0].startswith(f"{folder / 'obs_9.nc'} is left out: ")


def test_files_with_one_problem_share_a_line_whatever_their_names(folder):
    for i in range(20):
        (folder / f"bad_{i}.nc").write_bytes(b"no NetCDF file")
    with pytest.raises(StoreError, match="20 problem") as caught:
        check_files(find_files(folder), READING)
    _, line, _ = str(caught.value).splitlines()
    assert "bad_0.nc, " in line
    assert "and 17 more files: cannot be read: " in line
    with pytest.raises(StoreError, match="6 problem") as caught:
        check_files(find_files(folder / "obs*.nc"), Reading(["ssh"], preprocess=Renamed({"sla": "level"})))
    assert len(str(caught.value).splitlines()) == 3
    named = Reading(
        ["ssh"], preprocess=Steps((lambda ds: ds.isel(time=0, drop=True), TimeFrom(r"x_(\d{8})")))
    )
    with pytest.raises(StoreError, match="and 3 more files: .*the name 'obs_4.nc' does not match") as caught:
        check_files(find_files(folder / "obs*.nc"), named)
    assert len(str(caught.value).splitlines()) == 3


def test_a_file_that_overlaps_a_long_one_is_found_behind_a_short_one(obs, tmp_path):
    for name, times in (("a", slice(0, 12)), ("b", slice(3, 5)), ("c", slice(10, 14)), ("d", slice(14, 24))):
        obs.isel(time=times).to_netcdf(tmp_path / f"{name}.nc")
    with pytest.raises(StoreError, match="2 problem") as caught:
        check_files(find_files(tmp_path), READING)
    assert "b.nc: its values of 'time' begin at 2020-01-04" in str(caught.value)
    assert "c.nc: its values of 'time' begin at 2020-01-11" in str(caught.value)
    found = check_files(find_files(tmp_path), READING, skip_bad=True)
    assert [Path(file.name).name for file in found.notes] == ["a.nc", "d.nc"]


def test_equal_coordinates_of_other_types_are_the_same_grid(obs, tmp_path):
    tenths = np.arange(8) / 10
    first, second = obs.isel(time=slice(0, 12)), obs.isel(time=slice(12, 24))
    for shift, folder in (
        (0.0, tmp_path / "same"),
        (0.0009, tmp_path / "close"),
        (0.002, tmp_path / "other"),
    ):
        folder.mkdir()
        first.assign_coords(lon=tenths.astype("f4")).to_netcdf(folder / "a.nc")
        second.assign_coords(lon=tenths + shift).to_netcdf(folder / "b.nc")
    for folder in ("same", "close"):
        assert len(check_files(find_files(tmp_path / folder), READING).notes) == 2
    with pytest.raises(
        StoreError, match=r"b.nc: coordinate 'lon' .* differs by up to 0.002 \(float32 against"
    ):
        check_files(find_files(tmp_path / "other"), READING)


def test_two_dimensional_coordinates_of_other_types_are_the_same_grid(obs, tmp_path):
    j, i = np.mgrid[0:6, 0:8]
    curved = obs.rename(lat="y", lon="x").drop_vars(["y", "x"])
    latitude, longitude = 30 + j / 12 + i / 120, (i - j / 10) / 12
    for shift, folder in (
        (0.0, tmp_path / "same"),
        (0.0007, tmp_path / "close"),
        (0.002, tmp_path / "other"),
    ):
        folder.mkdir()
        for name, kind, moved, times in (("a", "f8", 0.0, slice(12)), ("b", "f4", shift, slice(12, 24))):
            places = {"nav_lat": (latitude + moved).astype(kind), "nav_lon": longitude.astype(kind)}
            file = curved.isel(time=times).assign_coords(
                {key: (("y", "x"), each) for key, each in places.items()}
            )
            file.to_netcdf(folder / f"{name}.nc")
    for folder in ("same", "close"):
        assert len(check_files(find_files(tmp_path / folder), READING).notes) == 2
    with pytest.raises(StoreError, match="b.nc: the coordinate 'nav_lat' differs from that of most files"):
        check_files(find_files(tmp_path / "other"), READING)


def test_bad_files_are_left_out_and_named_when_asked(folder, obs, model, tmp_path):
    good = (folder / "obs_5.nc").read_bytes()
    (folder / "obs_5.nc").write_bytes(good[: len(good) // 2])
    (folder / "obs_4.nc").write_bytes(b"")
    with pytest.raises(StoreError, match="2 problem.*(?s:.*)--skip-bad"):
        assimilate_archive(folder, model, tmp_path / "out.zarr")
    output = assimilate_archive(folder, model, tmp_path / "out.zarr", skip_bad=True)
    summary = read_summary(output)
    assert summary["n_files"] == 4
    assert [Path(name).name for name in summary["skipped"]] == ["obs_4.nc", "obs_5.nc"]
    with xr.open_zarr(output) as ds:
        np.testing.assert_allclose(
            ds["ssh"], assimilate(obs.isel(time=slice(0, 16)), model)["ssh"], atol=1e-5
        )
    assert assimilate_archive(folder, model, output, skip_bad=True, resume=True) == output
    (folder / "obs_5.nc").write_bytes(good)
    with pytest.raises(StoreError) as caught:
        assimilate_archive(folder, model, output, skip_bad=True, resume=True)
    assert "obs_5.nc: none then, " in str(caught.value)
    assert "cannot be read" in str(caught.value)
    for each in folder.glob("*.nc"):
        each.write_bytes(b"")
    with pytest.raises(StoreError, match="6 problem"):
        assimilate_archive(folder, model, tmp_path / "none.zarr", skip_bad=True)


def test_files_and_times_without_any_observation_are_counted_and_named(folder, model, tmp_path, monkeypatch):
    with xr.open_dataset(folder / "obs_7.nc") as ds:
        empty = ds.load() * np.nan
    empty.to_netcdf(folder / "obs_7.nc")
    with xr.open_dataset(folder / "obs_6.nc") as ds:
        empty = ds.load().where(ds["time"] > ds["time"][1])
    empty.to_netcdf(folder / "obs_6.nc")
    answers = iter([False, False])
    options = {"chunks": {"time": 3}, "resume": True}
    with pytest.raises(RuntimeError, match="after 3 of 8 units"):
        assimilate_archive(folder, model, tmp_path / "out.zarr", stop=lambda: next(answers, True), **options)
    summary = read_summary(assimilate_archive(folder, model, tmp_path / "out.zarr", **options))
    assert summary["n_times_unobserved"] == 6
    assert [Path(name).name for name in summary["files_unobserved"]] == ["obs_7.nc"]


@pytest.fixture
def remote(folder, obs):
    """The same files and a store in fsspec's memory."""
    fs = fsspec.filesystem("memory")
    for file in folder.glob("*.nc"):
        fs.put_file(str(file), f"/bucket/obs/{file.name}")
    obs.chunk(time=5).to_zarr("memory://bucket/obs.zarr", zarr_format=2)
    yield fs
    fs.rm("/bucket", recursive=True)


def test_urls_are_read_like_files(remote, folder, model, tmp_path, monkeypatch):
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(copies))
    local = assimilate_archive(folder, model, tmp_path / "local.zarr")
    with xr.open_zarr(local) as ds:
        expected = ds["ssh"].values
    for i, paths in enumerate(
        (
            "memory://bucket/obs/*.nc",
            "memory://bucket/obs",
            "memory://bucket/obs.zarr",
            f"file://{folder}/*.nc",
        )
    ):
        output = assimilate_archive(paths, model, tmp_path / f"out{i}.zarr")
        with xr.open_zarr(output) as ds:
            np.testing.assert_array_equal(ds["ssh"], expected)
    assert os.listdir(copies) == [], "copies of remote files are removed"
    text = (run_folder(tmp_path / "out0.zarr") / INDEX).read_text()
    assert '"path": "memory:///bucket/obs/obs_4.nc"' in text
    with open_archive("memory://bucket/obs/*.nc") as ds:
        np.testing.assert_array_equal(ds["ssh"].isel(time=3), ds["ssh"].isel(time=3).compute())


def test_a_remote_file_that_changed_is_noticed(remote, model, tmp_path):
    output = assimilate_archive("memory://bucket/obs/*.nc", model, tmp_path / "out.zarr")
    assert assimilate_archive("memory://bucket/obs/*.nc", model, output, resume=True) == output
    remote.cp_file("/bucket/obs/obs_9.nc", "/bucket/obs/obs_9.nc2")
    remote.mv("/bucket/obs/obs_9.nc2", "/bucket/obs/obs_9.nc")
    with pytest.raises(StoreError, match="obs_9.nc: .* bytes of version"):
        assimilate_archive("memory://bucket/obs/*.nc", model, output, resume=True)


def test_urls_that_lead_nowhere(tmp_path, folder, model):
    with pytest.raises(StoreError, match="no file matches 'memory://nowhere"):
        find_files("memory://nowhere/*.nc")
    with pytest.raises(StoreError, match="no file matches"):
        find_files("memory://nowhere/obs.zarr")
    with pytest.raises(StoreError, match="atlantis"):
        find_files("atlantis://obs.nc")
    with pytest.raises(StoreError, match="must lie on this machine"):
        assimilate_archive(folder, model, "memory://out.zarr")


def test_a_protocol_without_its_library_says_what_to_install(monkeypatch):
    def missing(*arguments, **options):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("oceanvar.archive.sources.url_to_fs", missing)
    with pytest.raises(StoreError, match=r"s3://bucket/\*.nc' needs a library .* Install s3fs"):
        find_files("s3://bucket/*.nc")


def test_a_place_that_cannot_be_looked_at_is_told(monkeypatch):
    def forbidden(*arguments, **options):
        raise PermissionError("no access to the bucket")

    monkeypatch.setattr("oceanvar.archive.sources.url_to_fs", forbidden)
    with pytest.raises(StoreError, match="cannot be looked at: no access to the bucket"):
        find_files("s3://bucket/*.nc")


def test_times_without_units_are_decoded_on_request(obs, model, tmp_path):
    days = (obs["time"] - np.datetime64("1900-01-01")) / np.timedelta64(1, "D")
    for i in range(6):
        part = obs.isel(time=slice(4 * i, 4 * i + 4))
        times = days[4 * i : 4 * i + 4].assign_attrs(Unit="days since 1900-1-1")
        part.assign_coords(time=times.drop_vars("time")).to_netcdf(tmp_path / f"{i}.nc")
    with pytest.raises(ConfigError, match="no dates"):
        assimilate_archive(tmp_path, model, tmp_path / "out")
    output = assimilate_archive(
        tmp_path, model, tmp_path / "out", preprocess=TimeUnits("days since 1900-01-01")
    )
    with xr.open_dataset(output / "analysis_2020-01.nc") as ds:
        np.testing.assert_array_equal(ds["time"], obs["time"])
        assert ds["time"].encoding["units"] == "days since 1900-01-01"
    with pytest.raises(ConfigError, match="'dies since 1900-01-01' are not understood"):
        TimeUnits("dies since 1900-01-01")
    with pytest.raises(ConfigError, match="give no dates"):
        TimeUnits("days")
    with pytest.raises(StoreError, match="holds dates already"):
        open_archive(output, ["ssh"], preprocess=TimeUnits("days since 1900-01-01"))
