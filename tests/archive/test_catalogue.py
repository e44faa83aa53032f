"""The files of an archive: what is read, and what is refused before any work."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from oceanvar.archive import open_archive
from oceanvar.errors import StoreError
from tests.archive.archives import write_files


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
    assert len(lines) == 3
    assert " and 32 more files: has the variables" in lines[1]


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


def test_a_file_without_any_time_is_told(long_obs, tmp_path):
    pattern = write_files(long_obs.isel(time=slice(20)), tmp_path)
    long_obs.isel(time=slice(0)).to_netcdf(tmp_path / "empty.nc")
    with pytest.raises(StoreError, match="empty.nc: has no coordinate 'time', or no values of it"):
        open_archive(pattern)
    long_obs.isel(time=slice(20, 22)).drop_vars("time").to_netcdf(tmp_path / "empty.nc")
    with pytest.raises(StoreError, match="empty.nc: has no coordinate 'time', or no values of it"):
        open_archive(pattern)
