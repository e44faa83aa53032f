"""Analyses in an Icechunk repository: commits instead of files, the same bits, and a history."""

import json
import os
import subprocess
import sys
from pathlib import Path

import icechunk
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

from oceanvar.archive import Packing, assimilate_archive, icechunks, read_summary, verify
from oceanvar.archive.commits import IcechunkWriter
from oceanvar.archive.icechunks import MAIN, WORK
from oceanvar.archive.kept_sums import SUMS
from oceanvar.archive.manifest import INDEX, MANIFEST
from oceanvar.archive.outputs import run_folder
from oceanvar.cli.commands import main
from oceanvar.errors import ConfigError, StoreError
from tests.archive.archives import whole, write_days
from tests.counters import count_solves


def repository(path: Path) -> icechunk.Repository:
    return icechunk.Repository.open(icechunk.local_filesystem_storage(str(path)))


def read(path: Path, **version) -> xr.Dataset:
    """What a reader sees."""
    session = repository(path).readonly_session(**(version or {"branch": MAIN}))
    with xr.open_zarr(session.store, consolidated=False) as ds:
        return ds.load()


def assert_same(ours: xr.Dataset, theirs: xr.Dataset) -> None:
    assert set(ours.variables) == set(theirs.variables)
    for name in theirs.variables:
        np.testing.assert_array_equal(ours[name].values, theirs[name].values, strict=True, err_msg=str(name))


@pytest.fixture
def obs_folder(long_obs, tmp_path) -> Path:
    write_days(long_obs, tmp_path / "obs", 0, 8)
    return write_days(long_obs, tmp_path / "obs", 8, 14)


@pytest.fixture
def mapped(obs_folder, model, tmp_path):
    """Map what is there, to a repository or to a store."""

    def run(name: str = "icechunk://", **more) -> Path:
        path = tmp_path / ("out.ice" if name == "icechunk://" else name)
        given = f"icechunk://{path}" if name == "icechunk://" else path
        assert assimilate_archive(obs_folder, model, given, **more) == given
        return path

    return run


def messages(path: Path) -> list[str]:
    return [each.message for each in repository(path).ancestry(branch=MAIN)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": {"time": 3, "lat": 6}, "shards": {"time": 6, "lat": 12}},
        {"packing": {"ssh": Packing.over(-30, 30)}, "compression": 5},
    ],
)
def test_a_repository_holds_what_a_store_holds_in_a_commit_for_each_unit(options, mapped):
    path, store = mapped(**options), mapped("out.zarr", **options)
    ours, theirs = read(path), whole(store)
    assert_same(ours, theirs)
    assert ours["ssh"].attrs == theirs["ssh"].attrs
    n_units = read_summary(f"icechunk://{path}")["n_units"]
    assert read_summary(store)["n_units"] == n_units
    _, begun, *units = reversed(messages(path))
    assert begun == "oceanvar: begin 14 times"
    assert len(units) == n_units
    assert units[0].startswith("oceanvar: time 2020-01-01")
    assert repository(path).list_branches() == {MAIN}
    assert sorted(os.listdir(run_folder(path))) == [INDEX, MANIFEST]
    assert verify(f"icechunk://{path}") == {}


def test_readers_see_nothing_until_all_is_there_and_a_run_goes_on_from_its_last_commit(
    mapped, monkeypatch, tmp_path
):
    right = whole(mapped("out.zarr", batch_size=6))
    with monkeypatch.context() as patched:
        counts = count_solves(patched, 4)
        with pytest.raises(KeyboardInterrupt):
            mapped(batch_size=6)
    path = tmp_path / "out.ice"
    assert messages(path) == ["Repository initialized"]
    done = icechunks.committed(repository(path))
    assert 0 < len(done) < 4
    with pytest.raises(StoreError, match="broken off: resume it"):
        mapped(batch_size=6)
    again = count_solves(monkeypatch)
    mapped(resume=True, batch_size=6)
    assert_same(read(path), right)
    assert sum(again) < read_summary(path)["n_patches"]
    assert len(messages(path)) == 2 + read_summary(path)["n_units"]
    counts = count_solves(monkeypatch)
    mapped(resume=True, batch_size=6)
    assert counts == []
    with pytest.raises(StoreError, match="holds an analysis"):
        mapped(batch_size=6)


def test_kills_at_any_moment_lose_nothing(pattern, model, tmp_path):
    model.save(tmp_path / "model.varnet")
    script, path = Path(__file__).with_name("killed_runs.py"), tmp_path / "out.ice"
    done = subprocess.run(
        [sys.executable, script, "4", pattern, tmp_path / "model.varnet", f"icechunk://{path}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout)
    assert ends[-1] == 0
    assert -9 in ends
    right = assimilate_archive(pattern, model, tmp_path / "right.zarr", batch_size=2)
    assert_same(read(path), whole(right))


def test_a_day_is_appended_in_commits_and_yesterdays_analysis_stays_in_the_history(
    mapped, long_obs, obs_folder, model, tmp_path
):
    path = mapped(append=True)
    yesterday, tip = read(path), repository(path).lookup_branch(MAIN)
    write_days(long_obs, obs_folder, 14, 15)
    mapped(append=True)
    today = whole(mapped("today.zarr", append=True))
    assert_same(read(path), today)
    assert_same(read(path, snapshot_id=tip), yesterday)
    new = messages(path)[: messages(path).index("oceanvar: extend to 15 times")]
    assert 0 < len(new) < read_summary(path)["n_units"]
    assert read_summary(path)["n_units_kept"] == read_summary(path)["n_units"] - len(new)
    assert sorted(os.listdir(run_folder(path))) == [INDEX, MANIFEST, SUMS]
    before = messages(path)
    mapped(append=True)
    assert messages(path) == before, "nothing is new"
    arguments = [
        "plan",
        str(obs_folder),
        "-m",
        str(tmp_path / "model.varnet"),
        "--append",
        f"icechunk://{path}",
    ]
    model.save(tmp_path / "model.varnet")
    planned = CliRunner().invoke(main, arguments)
    assert planned.exit_code == 0, planned.output
    with xr.open_dataset(obs_folder / "obs_000.nc") as ds:
        late = (ds + 1).load()
    late.to_netcdf(obs_folder / "obs_000.nc")
    mapped(append=True)
    assert_same(read(path), whole(mapped("late.zarr", append=True)))


@pytest.mark.parametrize("stop_at", [0, 1, 2])
def test_an_append_that_is_broken_off_leaves_the_old_analysis_and_goes_on(
    stop_at, mapped, long_obs, obs_folder, monkeypatch, tmp_path
):
    path = mapped(append=True)
    yesterday = read(path)
    write_days(long_obs, obs_folder, 14, 17)
    write, n_written = IcechunkWriter.write, []

    def killed(self, *what):
        if len(n_written) == stop_at:
            raise KeyboardInterrupt
        n_written.append(1)
        return write(self, *what)

    with monkeypatch.context() as patched:
        patched.setattr(IcechunkWriter, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            mapped(append=True)
    assert_same(read(path), yesterday)
    assert WORK in repository(path).list_branches()
    if stop_at == 2:  # other files than those of the append that was broken off
        write_days(long_obs, obs_folder, 17, 18)
    mapped(append=True)
    assert_same(read(path), whole(mapped("scratch.zarr", append=True)))


def test_a_kill_while_an_analysis_is_published_is_mended(mapped, monkeypatch, tmp_path):
    right = whole(mapped("out.zarr"))
    path = tmp_path / "out.ice"
    for broken in ("reset_branch", "delete_branch"):

        def killed(*arguments, **options):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(icechunk.Repository, broken, killed)
            with pytest.raises(KeyboardInterrupt):
                mapped(overwrite=True)
        mapped(resume=True)
        assert_same(read(path), right)
        assert repository(path).list_branches() == {MAIN}


def test_an_analysis_is_overwritten_by_commits_only_where_it_is_ours(mapped, tmp_path, model, obs_folder):
    path = mapped()
    tip, old = repository(path).lookup_branch(MAIN), read(path)
    mapped(overwrite=True, taper="boxcar")
    assert_same(read(path, snapshot_id=tip), old)
    assert not np.array_equal(read(path)["ssh"], old["ssh"])
    session = repository(path).writable_session(MAIN)
    xr.Dataset({"mine": ("x", np.arange(3.0))}).to_zarr(session.store, mode="w", consolidated=False)
    session.commit("mine")
    with pytest.raises(StoreError, match="somebody else has committed"):
        mapped(resume=True, taper="boxcar")
    run_folder(path).rename(tmp_path / "lost.run")
    with pytest.raises(StoreError, match="no record of a complete run"):
        mapped(resume=True)
    with pytest.raises(StoreError, match="no analysis that may be overwritten"):
        mapped(overwrite=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(StoreError, match="no Icechunk repository, and not empty"):
        assimilate_archive(obs_folder, model, f"icechunk://{tmp_path / 'other'}")


def test_what_is_not_offered_is_told(mapped, obs_folder, model, monkeypatch):
    with pytest.raises(ConfigError, match="verify.*compares files"):
        mapped(verify=True)
    with pytest.raises(ConfigError, match="has one process"):
        mapped(client=object())
    with pytest.raises(StoreError, match="names no folder of this machine"):
        assimilate_archive(obs_folder, model, "icechunk://s3://bucket/analysis")
    monkeypatch.setitem(sys.modules, "icechunk", None)
    with pytest.raises(StoreError, match=r"needs the library icechunk: pip install .oceanvar.icechunk."):
        mapped()


def test_damage_in_a_repository_is_told_by_verify(mapped, long_obs):
    path = mapped(chunks={"time": 14})
    for victim in (path / "chunks").iterdir():
        content = bytearray(victim.read_bytes())
        content[len(content) // 2] ^= 4
        victim.write_bytes(content)
    (name,) = verify(f"icechunk://{path}")
    assert name == "ssh"
    said = CliRunner().invoke(main, ["verify", f"icechunk://{path}"])
    assert said.exit_code == 1
    assert "ssh cannot be read" in said.output


def test_the_command_commits_to_a_repository(obs_folder, model, tmp_path):
    model.save(tmp_path / "model.varnet")
    out = f"icechunk://{tmp_path / 'out.ice'}"
    arguments = ["assimilate", str(obs_folder), "-m", str(tmp_path / "model.varnet"), "-o", out, "--json"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["n_times"] == 14
    assert read(tmp_path / "out.ice").sizes["time"] == 14
