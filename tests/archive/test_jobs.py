"""Archives: what is read, what is refused, and that what has the final name is whole."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from oceanvar.archive.catalogue import open_archive
from oceanvar.archive.jobs import assimilate_archive, read_summary
from oceanvar.archive.reading import Reading
from oceanvar.archive.writers import ZarrWriter
from oceanvar.errors import ConfigError, GridMismatchError, PatchError, StoreError
from oceanvar.mapping import assimilate
from oceanvar.network.handles import PatchSolver
from tests.conftest import gappy


@pytest.fixture(scope="module")
def long_obs() -> xr.Dataset:
    """Seventy days from 2020-01-01: parts of three months."""
    return gappy({"time": 70, "lat": 11, "lon": 13})


def write_files(obs: xr.Dataset, folder: Path, days: int = 10, **options) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    # Names do not sort like times.
    for i, first in enumerate(range(0, obs.sizes["time"], days)):
        piece = obs.isel(time=slice(first, first + days))
        piece.to_netcdf(folder / f"obs_{99 - i}.nc", engine="netcdf4", **options)
    return str(folder / "*.nc")


@pytest.fixture(scope="module")
def pattern(long_obs, tmp_path_factory) -> str:
    hours = {"time": {"units": "hours since 1950-01-01", "dtype": "float64"}}
    return write_files(long_obs, tmp_path_factory.mktemp("obs"), encoding=hours)


@pytest.fixture
def expected(long_obs, model) -> xr.Dataset:
    return assimilate(long_obs, model)


def assert_same_field(a: xr.Dataset, b: xr.Dataset) -> None:
    for name in ("time", "lat", "lon"):
        np.testing.assert_array_equal(a[name], b[name])
    np.testing.assert_allclose(a["ssh"].values, b["ssh"].values, rtol=1e-5, atol=1e-5)


def count_solves(monkeypatch) -> list[int]:
    counts: list[int] = []
    solve = PatchSolver.__call__
    monkeypatch.setattr(PatchSolver, "__call__", lambda self, p: counts.append(len(p)) or solve(self, p))
    return counts


def test_open_archive_sorts_files_in_time_and_is_lazy(pattern, long_obs):
    with open_archive(pattern, ["ssh"]) as ds:
        assert ds["ssh"].chunks is not None
        xr.testing.assert_equal(ds.load(), long_obs)


def test_open_archive_takes_lists_folders_and_stores(pattern, long_obs, tmp_path):
    long_obs.chunk(time=20).to_zarr(tmp_path / "obs.zarr", zarr_format=2)
    folder = Path(pattern).parent
    for paths in (folder, sorted(folder.glob("*.nc")), [pattern, folder], tmp_path / "obs.zarr"):
        with open_archive(paths) as ds:
            xr.testing.assert_equal(ds.load(), long_obs)


def test_blocks_are_bounded_and_follow_the_chunks_of_the_file(long_obs, tmp_path, monkeypatch):
    monkeypatch.setattr("oceanvar.archive.reading.BLOCK_BYTES", 17 * 11 * 13 * 4)
    plain = write_files(long_obs, tmp_path / "plain", days=70)
    chunked = write_files(
        long_obs, tmp_path / "chunked", days=70, encoding={"ssh": {"chunksizes": (7, 11, 13)}}
    )
    for paths, size in ((plain, 17), (chunked, 14)):
        with open_archive(paths) as ds:
            assert ds.chunksizes["time"][0] == size
            xr.testing.assert_equal(ds.load(), long_obs)


def test_all_broken_files_are_reported_together(long_obs, tmp_path):
    folder = tmp_path / "obs"
    write_files(long_obs, folder)  # obs_99 (first days) ... obs_93
    good = (folder / "obs_98.nc").read_bytes()
    (folder / "obs_10.nc").write_bytes(b"")
    (folder / "obs_11.nc").write_bytes(good[: len(good) // 2])
    later = long_obs.isel(time=slice(0, 5)).assign_coords(
        time=long_obs["time"][:5] + np.timedelta64(1000, "D")
    )
    later.to_netcdf(folder / "classic.nc", format="NETCDF3_64BIT")
    classic = (folder / "classic.nc").read_bytes()
    (folder / "obs_94b.nc").write_bytes(classic[: len(classic) // 2])
    (folder / "classic.nc").unlink()
    later.rename(ssh="sla").to_netcdf(folder / "obs_94c.nc")
    later.assign_coords(lat=later["lat"] + 0.125).to_netcdf(folder / "obs_94d.nc")
    centimetres = later.copy()
    centimetres["ssh"].attrs["units"] = "cm"
    centimetres.to_netcdf(folder / "obs_94e.nc")
    later.isel(time=[0, 1, 1, 2]).to_netcdf(folder / "obs_94f.nc")
    long_obs.isel(time=slice(35, 37)).to_netcdf(folder / "obs_94g.nc")
    long_obs.isel(time=[19]).to_netcdf(folder / "obs_94h.nc")
    with pytest.raises(StoreError) as caught:
        open_archive(str(folder / "*.nc"), ["ssh"])
    lines = {Path(line.split(": ")[0].strip()).name: line for line in str(caught.value).splitlines()[1:-1]}
    broken = ("10", "11", "94b", "94c", "94d", "94e", "94f", "94g", "94h")
    assert set(lines) == {f"obs_{number}.nc" for number in broken}
    assert "truncated" in lines["obs_94b.nc"]
    assert "['sla'], not ['ssh']" in lines["obs_94c.nc"]
    assert "0.125" in lines["obs_94d.nc"]
    assert "'cm'" in lines["obs_94e.nc"]
    assert "1 are repeated" in lines["obs_94f.nc"]
    assert "goes on to 2020-02-09" in lines["obs_94g.nc"]
    assert "preprocess" in str(caught.value)


def test_a_problem_that_many_files_share_is_not_told_of_each(long_obs, tmp_path):
    pattern = write_files(long_obs, tmp_path, days=2)
    with pytest.raises(StoreError, match="35 problem") as caught:
        open_archive(pattern, ["sst"])
    lines = str(caught.value).splitlines()
    assert len(lines) == 23
    assert lines[-2] == "  and 15 more files: the same"


def test_two_dimensional_coordinates_and_calendars_must_agree(long_obs, tmp_path):
    first, last = long_obs.isel(time=slice(0, 5)), long_obs.isel(time=slice(5, 9))
    nav = xr.Variable(("lat", "lon"), np.zeros((11, 13)))
    first.assign_coords(nav=nav).to_netcdf(tmp_path / "a.nc")
    last.assign_coords(nav=nav + 1).to_netcdf(tmp_path / "b.nc")
    last.convert_calendar("noleap").to_netcdf(tmp_path / "c.nc")
    with pytest.raises(StoreError, match="'nav' differs"):
        open_archive([tmp_path / "a.nc", tmp_path / "b.nc"])
    with pytest.raises(StoreError, match="calendar"):
        open_archive([tmp_path / "a.nc", tmp_path / "c.nc"])


def test_preprocess_runs_before_the_check(pattern, long_obs):
    with open_archive(pattern, ["sla"], preprocess=lambda ds: ds.rename(ssh="sla") * 100) as ds:
        np.testing.assert_allclose(ds["sla"], 100 * long_obs["ssh"])


def test_nothing_found(tmp_path):
    with pytest.raises(StoreError, match="no file matches"):
        open_archive(str(tmp_path / "*.nc"))
    with pytest.raises(StoreError, match="empty"):
        open_archive([])


def test_zarr_equals_memory_and_each_patch_is_solved_once(pattern, model, expected, tmp_path, monkeypatch):
    counts = count_solves(monkeypatch)
    result = assimilate_archive(pattern, model, tmp_path / "out.zarr")
    n_patches = 34 * 3 * 2
    assert sum(counts) == n_patches
    assert result == tmp_path / "out.zarr"
    assert sorted(os.listdir(tmp_path)) == ["out.zarr", "out.zarr.run"]
    assert sorted(os.listdir(tmp_path / "out.zarr.run")) == ["index.jsonl", "manifest.jsonl"]
    with xr.open_zarr(result) as ds:
        assert ds["ssh"].chunks == ((4,) * 17 + (2,), (11,), (13,))
        assert ds["ssh"].dtype == np.float32
        assert ds.attrs["Conventions"].startswith("CF")
        assert "oceanvar" in ds.attrs["history"]
        assert ds["ssh"].attrs["units"] == "m"
        assert ds["time"].encoding["units"] == "hours since 1950-01-01"
        assert_same_field(ds, expected)


def test_netcdf_equals_memory_in_one_file_per_month(pattern, model, expected, tmp_path, monkeypatch):
    counts = count_solves(monkeypatch)
    result = assimilate_archive(pattern, model, tmp_path / "out", chunks={"time": 9, "lat": 4})
    assert sum(counts) == 34 * 3 * 2
    names = [f"analysis_2020-0{month}.nc" for month in (1, 2, 3)]
    assert sorted(os.listdir(result)) == names
    options = {"data_vars": "minimal", "coords": "minimal", "compat": "override", "join": "exact"}
    with xr.open_mfdataset(str(result / "*.nc"), **options) as ds:
        assert ds["ssh"].dtype == np.float32
        assert ds["ssh"].encoding["zlib"]
        assert "_FillValue" not in ds["lat"].encoding
        assert_same_field(ds, expected)
    with xr.open_dataset(result / "analysis_2020-02.nc") as ds:
        assert ds.sizes["time"] == 29
        assert ds["time"].encoding["units"] == "hours since 1950-01-01"


def test_other_periods(pattern, model, tmp_path):
    few = sorted(Path(pattern).parent.glob("*.nc"))[-1:]
    daily = assimilate_archive(few, model, tmp_path / "daily", period="day")
    assert len(list(daily.glob("*.nc"))) == 10
    yearly = assimilate_archive(few, model, tmp_path / "yearly", period="year")
    assert os.listdir(yearly) == ["analysis_2020.nc"]
    with pytest.raises(ConfigError, match="period"):
        assimilate_archive(few, model, tmp_path / "weekly", period="week")


def test_packing_of_the_observations_does_not_clip_the_analysis(long_obs, model, tmp_path):
    packed = {"ssh": {"dtype": "int16", "scale_factor": 1e-4, "add_offset": 0.0, "_FillValue": -32768}}
    pattern = write_files(long_obs.clip(-3, 3), tmp_path / "obs", encoding=packed)
    with open_archive(pattern) as obs:
        expected = assimilate(obs.load(), model)
    for name in ("out.zarr", "out"):
        result = assimilate_archive(pattern, model, tmp_path / name)
        with open_archive(result) as ds:
            assert ds["ssh"].dtype == ds["ssh"].encoding["dtype"] == np.float32
            assert not {"scale_factor", "add_offset"} & set(ds["ssh"].encoding)
            assert_same_field(ds, expected)


def test_options_reach_the_solver(pattern, long_obs, model, tmp_path):
    mask = xr.DataArray(np.arange(11) > 3, dims="lat")
    options = {
        "patch": {"lat": 8},
        "overlap": {"time": 3},
        "periodic": ["lon"],
        "precision": "float64",
        "mask": mask,
    }
    result = assimilate_archive(
        pattern, model, tmp_path / "out.zarr", background=long_obs.fillna(0).chunk(), **options
    )
    expected = assimilate(long_obs, model, background=long_obs.fillna(0), **options)
    with xr.open_zarr(result) as ds:
        assert ds["ssh"].dtype == np.float64
        assert bool(ds["ssh"].isel(lat=0).isnull().all())
        assert_same_field(ds, expected)


@pytest.mark.parametrize("name", ["out.zarr", "out"])
def test_existing_output_is_replaced_only_when_asked_and_by_a_whole_one(
    name, pattern, model, expected, tmp_path, monkeypatch
):
    few = sorted(Path(pattern).parent.glob("*.nc"))[-1:]
    output = assimilate_archive(few, model, tmp_path / name)
    with pytest.raises(StoreError, match="exists"):
        assimilate_archive(pattern, model, output)
    with monkeypatch.context() as patched:
        interrupt_after(patched, 3)
        with pytest.raises(KeyboardInterrupt):
            assimilate_archive(pattern, model, output, overwrite=True, batch_size=1)
    with open_archive(output) as ds:
        assert ds.sizes["time"] == 10, "the old output is still there"
    assimilate_archive(pattern, model, output, overwrite=True)
    with open_archive(output) as ds:
        assert_same_field(ds, expected)
    assert sorted(os.listdir(tmp_path)) == [name, f"{name}.run"]


def interrupt_after(monkeypatch, n: int) -> None:
    calls: list[int] = []
    solve = PatchSolver.__call__

    def interrupted(self, patches):
        calls.append(1)
        if len(calls) > n:
            raise KeyboardInterrupt
        return solve(self, patches)

    monkeypatch.setattr(PatchSolver, "__call__", interrupted)


def test_a_run_that_ends_before_its_first_unit_leaves_its_index_only(pattern, model, tmp_path, monkeypatch):
    interrupt_after(monkeypatch, 0)
    n_threads = threading.active_count()
    for name in ("out.zarr", "out"):
        with pytest.raises(KeyboardInterrupt):
            assimilate_archive(pattern, model, tmp_path / name, batch_size=2)
        assert os.listdir(tmp_path / f"{name}.run") == ["index.jsonl"]
    assert sorted(os.listdir(tmp_path)) == ["out.run", "out.zarr.run"]
    assert threading.active_count() == n_threads


def test_a_store_is_never_seen_under_its_name_before_its_end(pattern, model, tmp_path, monkeypatch):
    seen = []
    solve = PatchSolver.__call__
    monkeypatch.setattr(
        PatchSolver, "__call__", lambda self, p: seen.append(os.listdir(tmp_path)) or solve(self, p)
    )
    assimilate_archive(pattern, model, tmp_path / "out.zarr")
    assert seen
    assert all(names == ["out.zarr.run"] for names in seen)


def test_overwriting_never_removes_anything_else(pattern, model, tmp_path):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter1.tex").write_text("years of work")
    with pytest.raises(StoreError, match="not an analysis"):
        assimilate_archive(pattern, model, folder, overwrite=True)
    obs = Path(pattern).parent
    for output in (obs, obs.parent):
        with pytest.raises(StoreError, match="holds the observations"):
            assimilate_archive(pattern, model, output, overwrite=True)
    assert (folder / "chapter1.tex").exists()
    assert len(list(obs.glob("*.nc"))) == 7


def test_outputs_that_cannot_be(pattern, model, long_obs, tmp_path):
    with pytest.raises(StoreError, match="one per month"):
        assimilate_archive(pattern, model, tmp_path / "out.nc")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        assimilate_archive(pattern, model, tmp_path / "file" / "out.zarr")
    (tmp_path / "out.zarr.run" / "out.zarr").mkdir(parents=True)
    with pytest.raises(StoreError, match="broken off or is still at work.*resume"):
        assimilate_archive(pattern, model, tmp_path / "out.zarr")
    numbers = long_obs.assign_coords(time=np.arange(70.0))
    numbers.to_netcdf(tmp_path / "numbers.nc")
    with pytest.raises(ConfigError, match="no dates"):
        assimilate_archive(tmp_path / "numbers.nc", model, tmp_path / "out")
    assimilate_archive(tmp_path / "numbers.nc", model, tmp_path / "numbers.zarr")
    with xr.open_zarr(tmp_path / "numbers.zarr") as ds:
        np.testing.assert_array_equal(ds["time"], np.arange(70.0))


def test_few_blocks_are_in_memory_at_once(long_obs, model, tmp_path, monkeypatch):
    n_solved, n_written, most = 0, 0, 0
    solve, write = PatchSolver.__call__, ZarrWriter.write

    def solved(self, patches):
        nonlocal n_solved, most
        n_solved += len(patches)
        most = max(most, n_solved // 6 - n_written)
        return solve(self, patches)

    def written(self, unit, values):
        nonlocal n_written
        write(self, unit, values)
        n_written += 1

    pattern = write_files(long_obs.isel(lat=slice(0, 6)), tmp_path / "obs", days=2)
    monkeypatch.setattr(PatchSolver, "__call__", solved)
    monkeypatch.setattr(ZarrWriter, "write", written)
    options = {"chunks": {"time": 2}, "overlap": {"lon": 7}, "batch_size": 6}
    assimilate_archive(pattern, model, tmp_path / "out.zarr", **options)
    assert (n_solved, n_written) == (34 * 6, 35)
    assert most <= 4, "the analysis of 35 blocks should pass through memory a few at a time"


def test_files_are_opened_in_one_thread_and_two_at_once_at_most(pattern, model, tmp_path, monkeypatch):
    opened: list[str] = []
    closed: list[int] = []
    real = Reading.open

    def counted(*arguments):
        opened.append(threading.current_thread().name)
        ds = real(*arguments)
        whole = ds.copy()
        whole.set_close(lambda: closed.append(1) or ds.close())
        assert len(opened) - len(closed) <= 2
        return whole

    monkeypatch.setattr(Reading, "open", counted)
    assimilate_archive(pattern, model, tmp_path / "out.zarr", preprocess=lambda ds: ds)
    assert opened == ["MainThread"] * 8 + ["oceanvar-reader"] * 7
    assert len(closed) == 15


def test_members_windows_and_masks_in_time(long_obs, model, tmp_path):
    members = xr.concat([long_obs, long_obs * 2], "member").transpose("time", "lat", "member", "lon")
    pattern = write_files(members, tmp_path / "obs", days=15)
    mask = long_obs["ssh"].notnull().transpose("lon", "time", "lat")
    guess = members.fillna(0.5).transpose("member", "lon", "time", "lat")
    result = assimilate_archive(
        pattern, model, tmp_path / "out.zarr", background=guess, mask=mask, chunks={"lon": 5}
    )
    expected = assimilate(members, model, background=guess, mask=mask)
    with xr.open_zarr(result) as ds:
        assert ds["ssh"].dims == expected["ssh"].dims
        assert dict(zip(ds["ssh"].dims, ds["ssh"].encoding["chunks"], strict=True)) == {
            "member": 1,
            "time": 4,
            "lat": 11,
            "lon": 5,
        }
        assert_same_field(ds, expected)
    summary = read_summary(result)
    assert summary["n_missing"] == int(expected["ssh"].isnull().sum()) > 0
    assert summary["n_cells"] == expected["ssh"].size
    assert summary["n_patches"] == 34 * 3 * 2 * 2
    with pytest.raises(GridMismatchError, match="'depth'"):
        assimilate_archive(
            pattern, model, tmp_path / "2.zarr", mask=xr.DataArray(np.ones(3, bool), dims="depth")
        )


def test_stores_and_mixed_types_are_read_too(long_obs, model, expected, tmp_path):
    long_obs.chunk(time=7).to_zarr(tmp_path / "obs.zarr", zarr_format=2)
    result = assimilate_archive(tmp_path / "obs.zarr", model, tmp_path / "out.zarr")
    with xr.open_zarr(result) as ds:
        assert_same_field(ds, expected)
    long_obs.isel(time=slice(0, 31)).astype(float).to_netcdf(tmp_path / "a.nc")
    long_obs.isel(time=slice(31, None)).to_netcdf(tmp_path / "b.nc")
    result = assimilate_archive(str(tmp_path / "?.nc"), model, tmp_path / "out2.zarr")
    with xr.open_zarr(result) as ds:
        assert_same_field(ds, expected)


def test_chunks_that_a_store_cannot_have_and_a_periodic_time_are_refused(pattern, model, tmp_path):
    for chunks, text in (
        ({"time": (10, 60)}, "equal ones"),
        ({"depth": 3}, "depth"),
        ({"lat": (3, 3)}, "fit"),
    ):
        with pytest.raises(PatchError, match=text):
            assimilate_archive(pattern, model, tmp_path / "out.zarr", chunks=chunks)
    with pytest.raises(PatchError, match="'time' is periodic"):
        assimilate_archive(pattern, model, tmp_path / "out.zarr", periodic=["time"])
    assert os.listdir(tmp_path / "out.zarr.run") == ["index.jsonl"]


def test_progress_writes_a_line_per_unit_where_there_is_no_terminal(pattern, model, tmp_path, capsys):
    assimilate_archive(pattern, model, tmp_path / "out.zarr", progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 18
    assert lines[-1].startswith("unit 18 of 18 written after ")
    assert lines[-1].endswith("about 0 s left")
    assimilate_archive(pattern, model, tmp_path / "quiet.zarr")
    assert capsys.readouterr().err == ""
