"""What an archive run must survive: full disks, read-only folders, and grids and masks as they come."""

import errno
import fcntl
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from oceanvar.archive import assimilate_archive, manifest, read_summary
from oceanvar.archive.jobs import run_folder
from oceanvar.archive.manifest import MANIFEST, Manifest
from oceanvar.archive.writers import NetcdfWriter, ZarrWriter
from oceanvar.errors import StoreError
from oceanvar.mapping import assimilate
from tests.archive.archives import fields
from tests.counters import count_solves
from tests.labelled_fields import gappy

NOBODY = 65534


@pytest.fixture
def obs() -> xr.Dataset:
    return gappy({"time": 24, "lat": 11, "lon": 13})


@pytest.fixture
def folder(obs, tmp_path) -> Path:
    (tmp_path / "obs").mkdir()
    for first in range(0, 24, 6):
        obs.isel(time=slice(first, first + 6)).to_netcdf(tmp_path / "obs" / f"obs_{first:02}.nc")
    return tmp_path / "obs"


@contextmanager
def no_file_beyond(n_bytes: int) -> Iterator[None]:
    """Let the system refuse to write more than this into any file, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("name", "writer", "unit"),
    [("out.zarr", ZarrWriter, "time 2020-01-13"), ("out", NetcdfWriter, "analysis_2020-01-04.nc")],
)
def test_a_disk_that_fills_up_loses_nothing_that_was_finished(
    name, writer, unit, folder, model, tmp_path, monkeypatch
):
    options = {"period": "day", "batch_size": 6}
    whole = fields(assimilate_archive(folder, model, tmp_path / "whole.zarr", **options))
    write = writer.write

    def filling(self, number, values, part=None):
        if number < 3:
            return write(self, number, values, part)
        with no_file_beyond(1000):
            return write(self, number, values, part)

    with monkeypatch.context() as patched:
        patched.setattr(writer, "write", filling)
        with pytest.raises(StoreError, match=f"cannot write {unit}.*in '.*{name}'.*resume"):
            assimilate_archive(folder, model, tmp_path / name, **options)
    assert not (tmp_path / name).exists()
    assert len(Manifest.read(run_folder(tmp_path / name) / MANIFEST).units) == 3
    np.testing.assert_array_equal(
        fields(assimilate_archive(folder, model, tmp_path / name, resume=True, **options)), whole, strict=True
    )


def forced_to_the_disk(monkeypatch, record: Path) -> list[tuple[str, int]]:
    """Give the list to which each fsync adds its file, and how many units the record of the run names by then."""
    forced: list[tuple[str, int]] = []
    fsync = os.fsync

    def noted(stream):
        manifest = Manifest.read(record)
        forced.append((os.readlink(f"/proc/self/fd/{stream}"), len(manifest.units) if manifest else 0))
        fsync(stream)

    monkeypatch.setattr(os, "fsync", noted)
    return forced


@pytest.mark.parametrize("name", ["out.zarr", "out"])
def test_data_are_forced_to_the_disk_before_their_line_and_that_before_more_data(
    name, folder, model, tmp_path, monkeypatch
):
    record = run_folder(tmp_path / name) / MANIFEST
    forced = forced_to_the_disk(monkeypatch, record)
    output = assimilate_archive(folder, model, tmp_path / name, chunks={} if name == "out" else {"lat": 6})
    n_units = read_summary(output)["n_units"]
    assert n_units == (6 if name == "out.zarr" else 1)
    assert [n for file, n in forced if file == str(record)] == [0, 0, 0, *range(1, n_units + 1), n_units]
    for unit in range(n_units):
        files = [Path(file) for file, n in forced if n == unit and file != str(record)]
        if name == "out.zarr":
            chunks = [each for each in (output / "ssh" / "c" / str(unit)).rglob("*") if each.is_file()]
            assert sorted(each.parts[-4:] for each in files[-2:]) == sorted(
                each.parts[-4:] for each in chunks
            )
        else:
            assert files[-2].name.startswith("analysis_2020-01.nc."), "the file, before it gets its name"
            assert files[-1].name == "out", "and the folder with its name"


def test_a_record_that_cannot_be_written_does_not_count(folder, model, tmp_path, monkeypatch):
    whole = fields(assimilate_archive(folder, model, tmp_path / "whole.zarr"))
    write = manifest._write

    def full(path, offset, record):
        if record.get("unit") == 4:
            with path.open("ab") as stream:
                stream.write(b'{"unit": 4, "n_ti')
            raise OSError(28, "No space left on device")
        return write(path, offset, record)

    with monkeypatch.context() as patched:
        patched.setattr(manifest, "_write", full)
        with pytest.raises(StoreError, match="cannot write time 2020-01-17.*No space left"):
            assimilate_archive(folder, model, tmp_path / "out.zarr")
    assert len(Manifest.read(run_folder(tmp_path / "out.zarr") / MANIFEST).units) == 4
    output = assimilate_archive(folder, model, tmp_path / "out.zarr", resume=True)
    np.testing.assert_array_equal(fields(output), whole, strict=True)


def test_a_read_only_folder_is_an_error_before_any_work(obs, model, monkeypatch):
    calls = count_solves(monkeypatch)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        obs.to_netcdf(place / "obs.nc")
        (place / "results").mkdir()
        (place / "results").chmod(0o555)
        place.chmod(0o755)
        user = os.geteuid()
        if user == 0:  # for whom permissions mean nothing
            os.seteuid(NOBODY)
        try:
            with pytest.raises(StoreError, match=r"cannot write to the folder '.*results.*Permission denied"):
                assimilate_archive(place / "obs.nc", model, place / "results" / "out.zarr")
        finally:
            os.seteuid(user)
        assert os.listdir(place / "results") == []
        (place / "results").chmod(0o755)
    assert calls == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_an_error_before_any_work(
    number, folder, model, tmp_path, monkeypatch
):
    def refused(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(StoreError, match=f"cannot lock files.*{os.strerror(number)}.*flock.*another one"):
        assimilate_archive(folder, model, tmp_path / "out.zarr")
    assert not (run_folder(tmp_path / "out.zarr") / MANIFEST).exists()


def test_a_lock_of_a_killed_process_is_free(tmp_path):
    hold = "with locked(pathlib.Path(sys.argv[1])): os._exit(9)"
    code = f"import os, pathlib, sys; from oceanvar.archive.manifest import locked\n{hold}"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 9
    assert (tmp_path / manifest.LOCK).read_text().startswith("process ")
    with manifest.locked(tmp_path):
        assert (tmp_path / manifest.LOCK).read_text().startswith(f"process {os.getpid()} on ")


def test_chunks_of_nan_are_finished_though_no_file_says_so(folder, obs, model, tmp_path, monkeypatch):
    mask = xr.DataArray((np.arange(24) < 8) | (np.arange(24) > 15), dims="time")
    options = {"mask": mask, "batch_size": 6}
    answers = iter([False, False, False])
    with pytest.raises(RuntimeError, match="after 4 of 6 units"):
        assimilate_archive(folder, model, tmp_path / "out.zarr", stop=lambda: next(answers, True), **options)
    chunks = run_folder(tmp_path / "out.zarr") / "out.zarr" / "ssh" / "c"
    assert sorted(each.name for each in chunks.iterdir()) == ["0", "1"], "two of four units have no file"
    starts = count_solves(monkeypatch)
    output = assimilate_archive(folder, model, tmp_path / "out.zarr", resume=True, **options)
    assert sum(starts) == 6 * len([start for start in range(0, 21, 2) if start + 4 > 16])
    np.testing.assert_allclose(fields(output), assimilate(obs, model, mask=mask)["ssh"], atol=1e-5)
    assert read_summary(output)["n_missing"] == 8 * 11 * 13


def written(ds: xr.Dataset, folder: Path) -> Path:
    folder.mkdir()
    for first in range(0, ds.sizes["time"], 6):
        ds.isel(time=slice(first, first + 6)).to_netcdf(folder / f"obs_{first:02}.nc")
    return folder


def test_descending_latitudes_stay_descending(obs, model, tmp_path):
    down = obs.isel(lat=slice(None, None, -1))
    output = assimilate_archive(written(down, tmp_path / "obs"), model, tmp_path / "out.zarr")
    with xr.open_zarr(output) as ds:
        np.testing.assert_array_equal(ds["lat"], down["lat"])
        assert float(ds["lat"][0]) > float(ds["lat"][-1])
        np.testing.assert_allclose(ds["ssh"], assimilate(down, model)["ssh"], atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*goes all around:oceanvar.errors.MendedWarning")
def test_longitudes_all_round_the_globe_have_no_seam(obs, model, tmp_path):
    # The patches of a grid whose size is a multiple of their stride turn with the field.
    ring = obs.isel(lon=slice(0, 10)).assign_coords(lon=np.arange(10) * 36.0)
    turned = ring.roll(lon=5, roll_coords=True)
    options = {"periodic": ["lon"], "chunks": {"lon": 4}}
    outputs = [
        assimilate_archive(written(ds, tmp_path / f"obs{i}"), model, tmp_path / f"out{i}.zarr", **options)
        for i, ds in enumerate((ring, turned))
    ]
    with xr.open_zarr(outputs[0]) as first, xr.open_zarr(outputs[1]) as second:
        np.testing.assert_array_equal(first["lon"], np.arange(-5, 5) * 36.0)
        np.testing.assert_allclose(second["ssh"], first["ssh"], atol=1e-5)
        given = first["ssh"].roll(lon=5)  # from 0 on, as it came
        np.testing.assert_allclose(given, assimilate(ring, model, periodic=["lon"])["ssh"], atol=1e-5)


def test_a_land_mask_may_change_in_time(obs, model, tmp_path):
    rng = np.random.default_rng(3)
    sea = xr.DataArray(rng.random((24, 11, 13)) > 0.3, dims=("time", "lat", "lon"))
    seen = obs.where(sea)
    folder = written(seen, tmp_path / "obs")
    output = assimilate_archive(folder, model, tmp_path / "out", mask=sea, period="day")
    expected = assimilate(seen, model)["ssh"].where(sea)
    np.testing.assert_allclose(fields(output), expected, atol=1e-5)
    assert read_summary(output)["n_missing"] == int((~sea).sum())
