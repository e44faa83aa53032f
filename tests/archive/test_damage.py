"""What becomes of an output on the disk is found, told and mended: nothing is taken for right because it was once."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner

from oceanvar.archive import assimilate_archive, read_summary, verify
from oceanvar.archive.manifest import MANIFEST
from oceanvar.archive.outputs import replace_output, run_folder
from oceanvar.archive.slabs import SlabReader
from oceanvar.cli.commands import main
from oceanvar.errors import StoreError
from tests.archive.archives import fields
from tests.counters import count_solves

NAMES = {
    "zarr": ("out.zarr", {}),
    "shards": ("out.zarr", {"chunks": {"time": 10, "lat": 6}, "shards": {"time": 20, "lat": 12}}),
    "netcdf": ("out", {"period": "month"}),
}


@pytest.fixture(params=NAMES)
def made(request, pattern, model, tmp_path):
    """A complete output, its fields, and the run that makes it again."""
    name, options = NAMES[request.param]

    def run(**more):
        return assimilate_archive(pattern, model, tmp_path / name, batch_size=6, **options, **more)

    return run(), fields(tmp_path / name), run


def data_files(output: Path) -> list[Path]:
    """Chunks of the field, or files of periods."""
    return sorted(output.glob("*.nc")) or sorted(each for each in output.glob("ssh/c/**/*") if each.is_file())


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


DAMAGES = {
    "deleted": (Path.unlink, "is missing", False),
    "emptied": (lambda path: path.write_bytes(b""), "has 0 bytes and had", False),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-5]), "bytes and had", False),
    "flipped": (flipped, "has been altered", True),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_units_are_told_and_computed_anew_and_no_others(made, kind, monkeypatch):
    output, right, run = made
    damage, told, is_deep = DAMAGES[kind]
    assert verify(output) == {}
    (victim,) = data_files(output)[-1:]
    damage(victim)
    (what,) = verify(output).items()
    assert what[0] == victim.relative_to(output).as_posix()
    assert told in what[1]
    counts = count_solves(monkeypatch)
    if is_deep:
        before = os.listdir(output)
        run(resume=True)
        assert (os.listdir(output), counts) == (before, []), "the sizes are right"
    run(resume=True, verify=is_deep)
    np.testing.assert_array_equal(fields(output), right, strict=True)
    assert verify(output) == {}
    assert 0 < sum(counts) < read_summary(output)["n_patches"]
    assert read_summary(output)["n_repaired"] == 1


def test_a_flipped_bit_in_a_chunk_is_never_read_as_a_number(pattern, model, tmp_path):
    for name, level in {"own": None, "none": 0, "high": 5}.items():
        output = assimilate_archive(pattern, model, tmp_path / f"{name}.zarr", compression=level)
        for victim in data_files(output)[:2]:
            content = victim.read_bytes()
            rng = np.random.default_rng(0)
            for place in rng.integers(len(content), size=20):
                wrong = bytearray(content)
                wrong[place] ^= 1 << int(rng.integers(8))
                victim.write_bytes(wrong)
                with pytest.raises((ValueError, RuntimeError)):
                    np.asarray(zarr.open_group(output, mode="r")["ssh"])
            victim.write_bytes(content)


@pytest.mark.parametrize("made", ["zarr", "shards"], indirect=True)
def test_lost_coordinates_and_metadata_are_made_anew_with_everything(made):
    """Of a store: a NetCDF file is complete in itself."""
    output, right, run = made
    for victim in ("time/c/0", "lat/zarr.json"):
        (output / victim).unlink()
        assert verify(output) == {victim: "is missing"}
        run(resume=True)
        assert verify(output) == {}
        np.testing.assert_array_equal(fields(output), right, strict=True)


@pytest.mark.parametrize("made", ["zarr", "shards"], indirect=True)
@pytest.mark.parametrize("victim", ["zarr.json", "ssh/zarr.json"])
def test_metadata_that_nobody_can_read_are_made_anew_with_everything(made, victim):
    output, right, run = made
    (output / victim).write_bytes((output / victim).read_bytes()[:-300])
    assert "bytes and had" in verify(output)[victim]
    run(resume=True)
    assert verify(output) == {}
    content = (output / victim).read_bytes()
    (output / victim).write_bytes(content.replace(b":", b";"))
    run(resume=True, verify=True)
    assert verify(output) == {}
    np.testing.assert_array_equal(fields(output), right, strict=True)


def test_a_record_that_was_changed_is_not_believed(made):
    output, right, run = made
    path = run_folder(output) / MANIFEST
    lines = path.read_text().splitlines()
    (at,) = (i for i, line in enumerate(lines) if json.loads(line).get("unit") == 1)
    for other in (0, 99):
        changed = json.loads(lines[at]) | {"unit": other}
        path.write_text("\n".join([*lines[:at], json.dumps(changed), *lines[at + 1 :]]) + "\n")
        run(resume=True)
        np.testing.assert_array_equal(fields(output), right, strict=True)
        assert verify(output) == {}


def test_an_unfinished_run_looks_at_what_it_has(pattern, model, tmp_path, monkeypatch):
    whole = assimilate_archive(pattern, model, tmp_path / "whole.zarr", batch_size=6)
    with monkeypatch.context() as patched:
        count_solves(patched, 20)
        with pytest.raises(KeyboardInterrupt):
            assimilate_archive(pattern, model, tmp_path / "out.zarr", batch_size=6)
    victim = data_files(tmp_path / "out.zarr.run" / "out.zarr")[0]
    victim.unlink()
    output = assimilate_archive(pattern, model, tmp_path / "out.zarr", batch_size=6, resume=True)
    np.testing.assert_array_equal(fields(output), fields(whole), strict=True)
    assert read_summary(output)["n_repaired"] == 1


def test_the_command_names_what_is_wrong(made):
    output = made[0]
    said = CliRunner().invoke(main, ["verify", str(output)])
    assert (said.exit_code, said.output) == (0, f"{output} is as it was written\n")
    victim = data_files(output)[0]
    flipped(victim)
    said = CliRunner().invoke(main, ["verify", str(output)])
    assert said.exit_code == 1
    assert f"{victim.relative_to(output).as_posix()} has been altered" in said.output
    assert "1 file(s)" in said.output
    assert "--resume --verify" in said.output
    none = CliRunner().invoke(main, ["verify", str(output.parent / "other")])
    assert none.exit_code == 1
    assert "no record of a complete run" in none.output


def test_stores_that_no_run_has_made_are_never_replaced(pattern, model, tmp_path):
    store = tmp_path / "mine.zarr"
    xr.Dataset({"precious": ("x", np.arange(3.0))}).to_zarr(store, zarr_format=3, consolidated=False)
    with pytest.raises(StoreError, match="not an analysis that may be overwritten"):
        assimilate_archive(pattern, model, store, overwrite=True)
    folder = tmp_path / "folder"
    folder.mkdir()
    xr.Dataset({"precious": ("x", np.arange(3.0))}).to_netcdf(folder / "analysis_2020-01.nc")
    with pytest.raises(StoreError, match="not an analysis that may be overwritten"):
        assimilate_archive(pattern, model, folder, overwrite=True)
    assert xr.open_zarr(store, consolidated=False)["precious"].values.tolist() == [0, 1, 2]


def test_an_output_whose_record_is_lost_may_still_be_replaced(made):
    output, right, run = made
    shutil.rmtree(run_folder(output))
    run(overwrite=True)
    np.testing.assert_array_equal(fields(output), right, strict=True)


def test_the_old_output_stays_where_the_new_one_cannot_take_its_place(tmp_path):
    old = tmp_path / "out.zarr"
    old.mkdir()
    (old / "data").write_text("old")
    with pytest.raises(FileNotFoundError):
        replace_output(old, tmp_path / "out.zarr.run" / "out.zarr")
    assert (old / "data").read_text() == "old"
    assert os.listdir(tmp_path) == ["out.zarr"]


def test_a_file_that_is_replaced_in_mid_run_is_named(pattern, model, tmp_path, monkeypatch):
    folder = tmp_path / "obs"
    shutil.copytree(Path(pattern).parent, folder)
    victim = folder / "obs_94.nc"
    read = SlabReader.read

    def replaced(self, first, stop):
        if victim.exists() and first > 10:
            with xr.open_dataset(victim) as ds:
                other = (100 * ds).load()
            os.unlink(victim)
            other.to_netcdf(victim)
            monkeypatch.setattr(SlabReader, "read", read)
        return read(self, first, stop)

    monkeypatch.setattr(SlabReader, "read", replaced)
    with pytest.raises(
        StoreError, match=r"obs_94.nc' cannot be read any more: it has changed since it was checked"
    ):
        assimilate_archive(folder, model, tmp_path / "out.zarr", batch_size=6)
