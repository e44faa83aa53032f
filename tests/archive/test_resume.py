"""Runs that are broken off: what is kept, what is refused, and that the result is the same bit by bit."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from oceanvar.archive import assimilate_archive, read_summary
from oceanvar.archive.cluster import TOKEN
from oceanvar.archive.jobs import run_folder
from oceanvar.archive.manifest import INDEX, LOCK, MANIFEST, Manifest, locked
from oceanvar.archive.runs import ArchiveRun
from oceanvar.archive.sources import LocalSource
from oceanvar.archive.writers import ZarrWriter
from oceanvar.errors import ModelMismatchError, StoppedError, StoreError
from oceanvar.files.lines import sealed
from oceanvar.network import fourdvarnet
from tests.archive.archives import fields
from tests.counters import count_solves

KILLED = Path(__file__).with_name("killed_runs.py")


@pytest.mark.parametrize(
    ("name", "n_calls", "batch_size"),
    [("out.zarr", 9, 2), ("out.zarr", 101, 2), ("out.zarr", 6, 19), ("out", 80, 2)],
)
def test_resuming_gives_the_same_bits_and_says_what_was_solved_twice(
    name, n_calls, batch_size, pattern, model, tmp_path, monkeypatch, caplog
):
    options = {"batch_size": batch_size}
    whole = assimilate_archive(pattern, model, tmp_path / "whole" / name, **options)
    n_patches = 34 * 6
    assert read_summary(whole)["n_patches"] == n_patches
    assert read_summary(whole)["n_patches_again"] == 0
    with monkeypatch.context() as patched:
        count_solves(patched, n_calls)
        with pytest.raises(KeyboardInterrupt):
            assimilate_archive(pattern, model, tmp_path / name, **options)
    assert sorted(os.listdir(tmp_path)) == [f"{name}.run", "whole"]
    begun = Manifest.read(tmp_path / f"{name}.run" / MANIFEST)
    with pytest.raises(StoreError, match="broken off.*resume"):
        assimilate_archive(pattern, model, tmp_path / name, **options)
    counts = count_solves(monkeypatch)
    with caplog.at_level(logging.INFO, "oceanvar"):
        result = assimilate_archive(pattern, model, tmp_path / name, resume=True, **options)
    np.testing.assert_array_equal(fields(result), fields(whole), strict=True)
    assert sorted(os.listdir(tmp_path / f"{name}.run")) == [INDEX, MANIFEST]
    summary = read_summary(result)
    row = sum(each["n_times"] for each in begun.units)
    assert row > 0
    n_joined = max(1, batch_size // 6)  # starts in time that share batches, six patches each
    starts = list(range(0, 67, 2))
    groups = [starts[i : i + n_joined] for i in range(0, 34, n_joined)]
    again = [start for group in groups if group[-1] + 4 > row for start in group]
    assert sum(counts) == 6 * len(again)
    assert summary["n_patches_again"] == 6 * sum(
        len(group) for group in groups if group[0] < row < group[-1] + 4
    )
    assert summary["n_resumes"] == 1
    n_again = summary["n_patches_again"]
    assert caplog.messages == [
        f"{tmp_path / name}.run is resumed: {len(begun.units)} units are finished",
        *[f"{n_again} patches are solved again, at boundaries or because of a resume"] * bool(n_again),
    ]


def test_a_complete_output_is_left_as_it_is(pattern, model, tmp_path, monkeypatch):
    output = assimilate_archive(pattern, model, tmp_path / "out.zarr", resume=True)
    counts = count_solves(monkeypatch)
    manifest = run_folder(output) / MANIFEST
    before = manifest.read_bytes()
    assert assimilate_archive(pattern, model, output, resume=True) == output
    assert manifest.read_bytes() == before
    assert counts == []
    with pytest.raises(StoreError, match="exists"):
        assimilate_archive(pattern, model, output)
    with pytest.raises(StoreError, match="overlap time: 2 then, 3 now"):
        assimilate_archive(pattern, model, output, resume=True, overlap={"time": 3})
    assimilate_archive(pattern, model, output, resume=True, overwrite=True, overlap={"time": 3})
    assert len(counts) > 0
    manifest.unlink()
    with pytest.raises(StoreError, match="exists"):
        assimilate_archive(pattern, model, output, resume=True)


def broken_off(pattern, model, output, monkeypatch, **options) -> None:
    with monkeypatch.context() as patched:
        count_solves(patched, 30)
        with pytest.raises(KeyboardInterrupt):
            assimilate_archive(pattern, model, output, batch_size=6, **options)
    assert (run_folder(output) / MANIFEST).is_file()


def test_another_run_is_not_continued_and_what_differs_is_named(pattern, model, space, tmp_path, monkeypatch):
    folder = tmp_path / "obs"
    shutil.copytree(Path(pattern).parent, folder)
    output = tmp_path / "out.zarr"
    options = {"overlap": {"lat": 3}, "mask": xr.DataArray(np.ones(11, bool), dims="lat")}
    broken_off(folder, model, output, monkeypatch, **options)

    def refused(error, *texts, model=model, **changed):
        with pytest.raises(error) as caught:
            assimilate_archive(folder, model, output, resume=True, **{"batch_size": 6, **options, **changed})
        for text in texts:
            assert text in str(caught.value)

    refused(StoreError, "batch size: 6 then, 5 now", batch_size=5)
    refused(StoreError, "overlap lat: 3 then, 2 now", "overlap lon: 3 then, 4 now", overlap={"lon": 4})
    refused(StoreError, "precision: float32 then, float64 now", precision="float64")
    refused(StoreError, "periodic: [] then, ['lon'] now", periodic=["lon"])
    refused(StoreError, "chunks time: 4 then, 5 now", chunks={"time": 5})
    refused(StoreError, "taper: triangle then, hann now", taper="hann")
    refused(StoreError, "mask: ", "then, None now", mask=None)
    other = fourdvarnet(space, n_steps=2, n_features=3, n_hidden=4, start_widths=(4, 6), seed=3)
    refused(ModelMismatchError, f"model: {model.digest} then, {other.digest} now", model=other)
    os.utime(folder / "obs_98.nc", (0, 0))
    refused(StoreError, "obs_98.nc", "1970-01-01", "overwrite")
    assert (tmp_path / "out.zarr.run" / MANIFEST).is_file()
    counts = count_solves(monkeypatch)
    assimilate_archive(folder, model, output, resume=True, overwrite=True, batch_size=6, **options)
    assert sum(counts) == 34 * 2 * 3


def test_failures_name_the_file_or_unit_and_keep_what_is_finished(pattern, model, tmp_path, monkeypatch):
    folder, output = tmp_path / "obs", tmp_path / "out.zarr"
    shutil.copytree(Path(pattern).parent, folder)
    whole = fields(assimilate_archive(folder, model, tmp_path / "whole.zarr", batch_size=6))
    real = LocalSource.open

    def unreadable(self, in_blocks):
        if self.path.name == "obs_96.nc" and threading.current_thread().name == "oceanvar-reader":
            raise OSError(5, "Input/output error")
        return real(self, in_blocks)

    with monkeypatch.context() as patched:
        patched.setattr(LocalSource, "open", unreadable)
        with pytest.raises(StoreError, match="obs_96.nc' cannot be read.*Input/output"):
            assimilate_archive(folder, model, output, batch_size=6)
    write = ZarrWriter.write

    def full(self, unit, values, part=None):
        if unit == 12:
            raise OSError(28, "No space left on device")
        return write(self, unit, values, part)

    with monkeypatch.context() as patched:
        patched.setattr(ZarrWriter, "write", full)
        with pytest.raises(StoreError, match="cannot write time 2020-02-18.*No space left.*resume"):
            assimilate_archive(folder, model, output, batch_size=6, resume=True)
    with monkeypatch.context() as patched:
        count_solves(patched, 6, RuntimeError)
        with pytest.raises(RuntimeError) as caught:
            assimilate_archive(folder, model, output, batch_size=6, resume=True)
    assert "patches that start at ('time', 'lat', 'lon') = [(58, 0, 0)" in caught.value.__notes__[0]
    assert not output.exists()
    np.testing.assert_array_equal(
        fields(assimilate_archive(folder, model, output, batch_size=6, resume=True)), whole, strict=True
    )
    assert read_summary(output)["n_resumes"] == 3


def test_a_run_stops_in_good_order_when_it_is_told_to(pattern, model, tmp_path):
    answers = iter([False, False])
    output = tmp_path / "out.zarr"
    with pytest.raises(StoppedError, match="after 3 of 18 units"):
        assimilate_archive(pattern, model, output, stop=lambda: next(answers, True))
    assert len(Manifest.read(tmp_path / "out.zarr.run" / MANIFEST).units) == 3
    assimilate_archive(pattern, model, output, resume=True, stop=lambda: output.exists())
    whole = assimilate_archive(pattern, model, tmp_path / "whole.zarr")
    np.testing.assert_array_equal(fields(output), fields(whole), strict=True)


def test_two_jobs_do_not_write_one_output(pattern, model, tmp_path):
    part = tmp_path / "out.zarr.run"
    with locked(part):
        for options in ({"resume": True}, {"overwrite": True}, {"resume": True, "overwrite": True}):
            with pytest.raises(StoreError, match=f"written by another job .process {os.getpid()} on"):
                assimilate_archive(pattern, model, tmp_path / "out.zarr", **options)
    assert (part / LOCK).exists(), "a lock without a holder is free"
    assimilate_archive(pattern, model, tmp_path / "out.zarr", resume=True)


def test_foreign_files_in_the_folder_of_a_run_stay(pattern, model, tmp_path):
    folder = tmp_path / "out.zarr.run"
    folder.mkdir()
    (folder / "letter.txt").write_text("dear")
    with pytest.raises(StoreError, match="broken off"):
        assimilate_archive(pattern, model, tmp_path / "out.zarr")
    assimilate_archive(pattern, model, tmp_path / "out.zarr", overwrite=True)
    assert (folder / "letter.txt").exists()


def test_history_of_netcdf_files_is_that_of_the_first_run(pattern, model, tmp_path, monkeypatch):
    broken_off(pattern, model, tmp_path / "out", monkeypatch, period="day")
    part = tmp_path / "out.run"
    manifest = Manifest.read(part / MANIFEST)
    lines = (part / MANIFEST).read_text().splitlines(keepends=True)
    header = {**json.loads(lines[0]), "history": "once upon a time"}
    del header["crc"]
    (part / MANIFEST).write_text("".join([sealed(header) + "\n", *lines[1:]]))
    (part / "out" / "analysis_2020-03-01.nc.part").write_text("half")
    assimilate_archive(pattern, model, tmp_path / "out", resume=True, batch_size=6, period="day")
    assert sorted(os.listdir(tmp_path / "out"))[-1] == "analysis_2020-03-10.nc"
    with xr.open_dataset(tmp_path / "out" / "analysis_2020-03-10.nc") as ds:
        assert ds.attrs["history"] == "once upon a time"
    assert manifest.units


def test_a_line_that_a_kill_cut_short_does_not_count(tmp_path):
    path = tmp_path / MANIFEST
    run = {"model": "abc", "patch": {"time": 4}}
    manifest = Manifest.create(path, run, "history")
    manifest.append(unit=0)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"unit": 1')
    again = Manifest.read(path)
    assert [record["unit"] for record in again.units] == [0]
    again.append(unit=1)
    assert path.read_text() == whole.decode() + sealed({"unit": 1}) + "\n"
    for n in range(whole.index(b"\n")):
        path.write_bytes(whole[:n])
        assert Manifest.read(path) is None


def test_a_line_that_was_altered_does_not_count(tmp_path, caplog):
    path = tmp_path / MANIFEST
    manifest = Manifest.create(path, {"model": "abc"}, "history")
    for unit in range(3):
        manifest.append(unit=unit, n=0)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for place in range(len(whole)):
        altered = bytearray(whole)
        altered[place] ^= 0x20  # of a dash this makes an end of line, for some readers
        path.write_bytes(altered)
        if place < first:
            with pytest.raises(StoreError, match="is damaged"):
                Manifest.read(path)
        else:
            units = [record["unit"] for record in Manifest.read(path).units]
            assert len(units) in (1, 2), "two, where the end of a line is gone"
            assert set(units) < {0, 1, 2}
    assert "1 lines" in caplog.text
    assert "damaged and do not count" in caplog.text
    again = Manifest.read(path)
    again.append(unit=2, n=1)
    assert [record["n"] for record in Manifest.read(path).units] == [0, 0, 1], "what comes after is read"


def test_kills_at_any_moment_lose_nothing(pattern, model, tmp_path):
    model.save(tmp_path / "model.varnet")
    outputs = [tmp_path / "out.zarr", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, str(KILLED), "10", pattern, str(tmp_path / "model.varnet"), *map(str, outputs)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout)
    assert ends.count(-signal.SIGKILL) >= 18, "of twenty; a fast machine may finish before one"
    whole = fields(assimilate_archive(pattern, model, tmp_path / "whole.zarr", batch_size=2))
    for output in outputs:
        np.testing.assert_array_equal(fields(output), whole, strict=True)
        assert [each for each in output.rglob("*") if each.suffix in (".partial", ".part", ".lock")] == []
    assert sorted(os.listdir(tmp_path)) == [
        *("model.varnet", "out", "out.run", "out.zarr", "out.zarr.run", "whole.zarr", "whole.zarr.run")
    ]
    for output in outputs:
        assert sorted(os.listdir(run_folder(output))) == [INDEX, MANIFEST]


def test_workers_of_a_killed_run_are_told_to_stop(pattern, model, tmp_path, monkeypatch):
    """What they look for is gone before the run goes on without them."""
    output = tmp_path / "out.zarr"
    broken_off(pattern, model, output, monkeypatch)
    token = run_folder(output) / TOKEN
    token.write_text("of the run that was killed")
    seen = []
    real = ArchiveRun.solve_stretch

    def noted(self, *arguments):
        seen.append(token.exists())
        real(self, *arguments)

    monkeypatch.setattr(ArchiveRun, "solve_stretch", noted)
    assimilate_archive(pattern, model, output, resume=True, batch_size=6)
    assert seen
    assert not any(seen)


def test_a_finished_record_beside_data_that_were_not_moved_is_no_complete_run(pattern, model, tmp_path):
    output = assimilate_archive(pattern, model, tmp_path / "out.zarr")
    assert read_summary(output)["n_units"] > 0
    output.rename(run_folder(output) / output.name)
    with pytest.raises(StoreError, match="no record of a complete run"):
        read_summary(output)
    shutil.copytree(run_folder(output) / output.name, output)
    with pytest.raises(StoreError, match="no record of a complete run"):
        read_summary(output)


def test_a_folder_that_cannot_be_made_is_told(pattern, model, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError, match="cannot write to the folder"):
        assimilate_archive(pattern, model, tmp_path / "file" / "out.zarr")
