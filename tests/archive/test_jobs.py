"""Archives: what is read, what is refused, and that what has the final name is whole."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from oceanvar.archive import assimilate_archive, jobs, open_archive, read_summary
from oceanvar.archive.reading import Reading
from oceanvar.archive.writers import ZarrWriter
from oceanvar.errors import ConfigError, GridMismatchError, PatchError, StoreError
from oceanvar.mapping import assimilate
from oceanvar.network.handles import PatchSolver
from tests.archive.archives import write_files
from tests.counters import count_solves


@pytest.fixture
def expected(long_obs, model) -> xr.Dataset:
    return assimilate(long_obs, model)


def assert_same_field(a: xr.Dataset, b: xr.Dataset) -> None:
    for name in ("time", "lat", "lon"):
        np.testing.assert_array_equal(a[name], b[name])
    np.testing.assert_allclose(a["ssh"].values, b["ssh"].values, rtol=1e-5, atol=1e-5)


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
        count_solves(patched, fail_after=3)
        with pytest.raises(KeyboardInterrupt):
            assimilate_archive(pattern, model, output, overwrite=True, batch_size=1)
    with open_archive(output) as ds:
        assert ds.sizes["time"] == 10, "the old output is still there"
    assimilate_archive(pattern, model, output, overwrite=True)
    with open_archive(output) as ds:
        assert_same_field(ds, expected)
    assert sorted(os.listdir(tmp_path)) == [name, f"{name}.run"]


def test_a_run_that_ends_before_its_first_unit_leaves_its_index_only(pattern, model, tmp_path, monkeypatch):
    count_solves(monkeypatch, fail_after=0)
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
        PatchSolver,
        "__call__",
        lambda self, *given, **named: seen.append(os.listdir(tmp_path)) or solve(self, *given, **named),
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

    def solved(self, patches, **named):
        nonlocal n_solved, most
        n_solved += len(patches)
        most = max(most, n_solved // 6 - n_written)
        return solve(self, patches, **named)

    def written(self, unit, values, part=None):
        nonlocal n_written
        write(self, unit, values, part)
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

    def counted(*arguments, **options):
        opened.append(threading.current_thread().name)
        ds = real(*arguments, **options)
        whole = ds.copy()
        whole.set_close(lambda: closed.append(1) or ds.close())
        assert len(opened) - len(closed) <= 2
        return whole

    monkeypatch.setattr(Reading, "open", counted)
    assimilate_archive(pattern, model, tmp_path / "out.zarr", preprocess=lambda ds: ds)
    # Here all of them, and the first one for its grid.
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


def test_an_output_that_another_job_completed_meanwhile_stays(pattern, model, tmp_path, monkeypatch):
    """It may end between the first look at the output and the lock."""
    other, output = tmp_path / "other.zarr", tmp_path / "out.zarr"
    assimilate_archive(pattern, model, other)
    (other / "of-the-other").touch()
    real = jobs.locked

    def locked(folder):
        other.rename(output)
        return real(folder)

    monkeypatch.setattr(jobs, "locked", locked)
    solves = count_solves(monkeypatch)
    with pytest.raises(StoreError, match="out.zarr' exists"):
        assimilate_archive(pattern, model, output)
    assert (output / "of-the-other").exists()
    assert solves == []
