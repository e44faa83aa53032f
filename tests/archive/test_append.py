"""Outputs that grow: whatever comes when, the result is that of a run over all files, bit by bit."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

from oceanvar.archive import Packing, assimilate_archive, read_summary, verify
from oceanvar.archive.kept_sums import SUMS
from oceanvar.archive.manifest import INDEX, MANIFEST
from oceanvar.archive.outputs import in_flight, run_folder
from oceanvar.cli.commands import main
from oceanvar.errors import ConfigError, ModelMismatchError, PatchError, StoreError
from oceanvar.network import fourdvarnet
from oceanvar.state import Instrument
from tests.archive.archives import assert_same_bits, whole, write_days
from tests.counters import count_solves

KILLED = Path(__file__).with_name("killed_appends.py")

LAYOUTS = {
    "zarr": ("out.zarr", {}),
    "shards": ("out.zarr", {"chunks": {"time": 3, "lat": 6}, "shards": {"time": 9, "lat": 12}}),
    "months": ("out", {"period": "month", "packing": {"ssh": Packing.over(-30, 30)}}),
}
PER_START = 6
"""Patches of the model over the map."""

few_layouts = pytest.mark.parametrize("layout", ["zarr", "months"])


@pytest.fixture
def made(layout, long_obs, model, tmp_path):
    """The first 35 days, and what maps the files that are there."""
    name, options = LAYOUTS[layout]
    write_days(long_obs, tmp_path / "obs", 0, 20)
    write_days(long_obs, tmp_path / "obs", 20, 35)

    def run(output: Path = tmp_path / name, **more) -> Path:
        return assimilate_archive(tmp_path / "obs", model, output, append=True, **{**options, **more})

    return run(), run


def from_scratch(made) -> Path:
    output, run = made
    other = output.parent / "scratch" / output.name
    shutil.rmtree(other.parent, ignore_errors=True)
    return run(other)


def data_files(output: Path) -> dict[str, os.stat_result]:
    found = [*output.glob("*.nc"), *(each for each in output.glob("ssh/c/**/*") if each.is_file())]
    return {each.relative_to(output).as_posix(): each.stat() for each in found}


@pytest.mark.parametrize(
    ("layout", "batch_size"), [("zarr", "auto"), ("zarr", 20), ("shards", 20), ("months", "auto")]
)
def test_new_files_extend_an_output_to_that_of_a_run_over_all(layout, batch_size, made, long_obs, tmp_path):
    """One day after the other, then stretches shorter and longer than a window; nothing that was final changes."""
    output, run = made
    run(overwrite=True, batch_size=batch_size)
    final: list[xr.Dataset] = []
    for first, stop in ((35, 36), (36, 37), (37, 39), (39, 58), (58, 59)):
        before = data_files(output)
        final.append(whole(output).pipe(lambda ds: ds.isel(time=ds["status"].values == 0)))
        write_days(long_obs, tmp_path / "obs", first, stop)
        run(batch_size=batch_size)
        after = data_files(output)
        kept = [name for name in before if after[name].st_ino == before[name].st_ino]
        assert len(kept) >= {"zarr": 6, "shards": 3, "months": 0}[layout]
        assert all(after[name].st_mtime_ns == before[name].st_mtime_ns for name in kept)
    other = from_scratch((output, lambda out: run(out, batch_size=batch_size)))
    assert_same_bits(output, other)
    if output.suffix == ".zarr":
        for name in data_files(other):
            assert (output / name).read_bytes() == (other / name).read_bytes()
    assert verify(output) == {}
    for ds in final:
        assert 24 <= ds.sizes["time"] < 59
        same = whole(output).sel(time=ds["time"])
        np.testing.assert_array_equal(same["ssh"], ds["ssh"], strict=True)
        assert (same["status"] == 0).all()
    summary, of_other = read_summary(output), read_summary(other)
    for key in (
        "n_files",
        "n_units",
        "n_patches",
        "n_cells",
        "n_missing",
        "n_not_used",
        "n_times_unobserved",
    ):
        assert summary[key] == of_other[key]
    assert sorted(os.listdir(run_folder(output))) == [INDEX, MANIFEST, SUMS]
    assert sorted(os.listdir(tmp_path)) == sorted(["obs", "scratch", output.name, f"{output.name}.run"])


def test_daily_files_stay_as_they_are_unless_their_status_is_another(long_obs, model, tmp_path):
    """Days 6 to 8 of eight are provisional; of twelve the sixth is final, though no new patch reaches it."""

    def run(output):
        return assimilate_archive(tmp_path / "obs", model, output, append=True, period="day")

    write_days(long_obs, tmp_path / "obs", 0, 8)
    output = run(tmp_path / "out")
    assert whole(output)["status"].values.tolist() == [0] * 5 + [1] * 3
    before = data_files(output)
    write_days(long_obs, tmp_path / "obs", 8, 12)
    run(output)
    after = data_files(output)
    kept = sorted(name for name in before if after[name].st_ino == before[name].st_ino)
    assert kept == [f"analysis_2020-01-0{day}.nc" for day in range(1, 6)]
    assert_same_bits(output, run(tmp_path / "scratch" / "out"))


@pytest.mark.parametrize("layout", ["zarr"])
def test_only_patches_that_reach_what_is_new_are_solved(made, long_obs, tmp_path, monkeypatch):
    """A record of 35 days has patches at 0, 2, ..., 30 and at 31; one of 36 has none at 31, and one at 32."""
    output, run = made
    assert whole(output)["status"].values.tolist() == [0] * 31 + [1] * 4
    counts = count_solves(monkeypatch)
    run()
    assert counts == [], "nothing is new"
    write_days(long_obs, tmp_path / "obs", 35, 36)
    run()
    assert counts == [PER_START], "at 32: what others add to day 31 and later ones was kept"
    assert read_summary(output)["n_units_kept"] == 7
    assert whole(output)["status"].values.tolist() == [0] * 33 + [1] * 3
    (run_folder(output) / SUMS).unlink()
    write_days(long_obs, tmp_path / "obs", 36, 37)
    run()
    assert counts[1:] == [PER_START] * 3, "at 30, 32 and 33: nothing was kept"
    assert_same_bits(output, from_scratch(made))


def test_the_status_says_what_it_is(long_obs, model, tmp_path):
    folder = write_days(long_obs, tmp_path / "obs", 0, 9)
    output = assimilate_archive(folder, model, tmp_path / "out.zarr", append=True)
    with xr.open_zarr(output) as ds:
        status = ds["status"].load()
    assert (status.dims, status.dtype) == (("time",), np.int8)
    assert dict(zip(status.attrs["flag_meanings"].split(), status.attrs["flag_values"], strict=True)) == {
        "final": 0,
        "provisional": 1,
    }
    plain = assimilate_archive(folder, model, tmp_path / "plain.zarr")
    assert "status" not in whole(plain)
    named = xr.Dataset({"ssh": long_obs["ssh"]}).assign_coords(status=("time", np.arange(70)))
    named.to_netcdf(tmp_path / "named.nc")
    with pytest.raises(ConfigError, match="'status'"):
        assimilate_archive(tmp_path / "named.nc", model, tmp_path / "named.zarr", append=True)


@few_layouts
@pytest.mark.filterwarnings("ignore::oceanvar.errors.MendedWarning")
def test_late_and_replaced_files_are_found_and_their_surroundings_solved_again(
    layout, made, long_obs, tmp_path, monkeypatch
):
    output, run = made
    folder = write_days(long_obs, tmp_path / "obs", 45, 60)  # days 35 to 44 are late
    run()
    assert read_summary(output)["n_times_unobserved"] == 10
    counts = count_solves(monkeypatch)
    write_days(long_obs, folder, 38, 41)
    run()
    assert counts == [PER_START] * 5, "at 34 to 42: they reach a day of those at 36, 38 and 40"
    assert read_summary(output)["n_times_unobserved"] == 7
    assert_same_bits(output, from_scratch(made))
    (folder / "obs_020.nc").unlink()
    write_days(long_obs, folder, 20, 28)
    write_days(long_obs * 2, folder, 28, 35)
    write_days(long_obs, folder, 60, 61)
    counts.clear()
    run()
    assert sum(counts) < PER_START * 24, "of 30 starts"
    assert_same_bits(output, from_scratch(made))
    write_days(long_obs * 2, folder, 28, 33)
    run()
    assert read_summary(output)["n_times_unobserved"] == 9, "two days are gone"
    assert_same_bits(output, from_scratch(made))
    assert verify(output) == {}


@pytest.mark.parametrize("layout", ["zarr"])
@pytest.mark.filterwarnings("ignore::oceanvar.errors.MendedWarning")
def test_what_cannot_be_extended_is_refused_with_the_reason(made, long_obs, model, space, tmp_path):
    output, run = made
    folder, before = tmp_path / "obs", whole(output)

    def refused(match, error=StoreError, **options):
        with pytest.raises(error, match=match):
            run(**options)
        xr.testing.assert_identical(whole(output), before)
        assert verify(output) == {}

    (folder / "obs_020.nc").rename(tmp_path / "obs_020.nc")
    write_days(long_obs, folder, 25, 40)
    refused("1 file.s. of '.*out.zarr' are gone, and no other has their times: .*obs_020.nc: bring them back")
    (folder / "obs_025.nc").unlink()
    (tmp_path / "obs_020.nc").rename(folder / "obs_020.nc")
    early = long_obs.isel(time=[0]).assign_coords(time=long_obs["time"][:1] - np.timedelta64(1, "D"))
    early.to_netcdf(folder / "early.nc")
    refused("begins at 2020-01-01 00:00:00, and the files at 2019-12-31 00:00:00.*overwrite")
    (folder / "early.nc").unlink()
    write_days(long_obs, folder, 35, 36)
    refused("overlap time: 2 then, 3 now", overlap={"time": 3})
    refused("chunks time: 4 then, 5 now", chunks={"time": 5})
    refused("chunks along 'time' are -1.*a number", PatchError, chunks={"time": -1})
    other = fourdvarnet(space, n_steps=2, n_features=3, n_hidden=4, start_widths=(4, 6), seed=3)
    with pytest.raises(ModelMismatchError, match=f"model: {model.digest} then"):
        assimilate_archive(folder, other, output, append=True)
    with pytest.raises(StoreError, match="made with append=True"):
        assimilate_archive(folder, model, output, resume=True)
    plain = assimilate_archive(folder, model, tmp_path / "plain.zarr")
    with pytest.raises(StoreError, match="not begun with append=True.*overwrite"):
        assimilate_archive(folder, model, plain, append=True)
    shutil.rmtree(run_folder(plain))
    with pytest.raises(StoreError, match="no record of a complete run"):
        assimilate_archive(folder, model, plain, append=True)
    assimilate_archive(folder, model, plain, append=True, overwrite=True)
    run()
    assert_same_bits(plain, output)


@few_layouts
def test_readers_see_the_old_output_until_the_new_one_is_complete(
    layout, made, long_obs, tmp_path, monkeypatch
):
    output, run = made
    before = whole(output)
    write_days(long_obs, tmp_path / "obs", 35, 58)
    with monkeypatch.context() as patched:
        count_solves(patched, fail_after=9)
        with pytest.raises(KeyboardInterrupt):
            run()
    xr.testing.assert_identical(whole(output), before)
    assert verify(output) == {}
    names = in_flight(output)
    first, last = {
        "zarr": ("time 2020-01-29 00:00:00 to 2020-02-01", "time 2020-02-26 00:00:00 to 2020-02-27"),
        "months": ("analysis_2020-02.nc", "analysis_2020-02.nc"),
    }[layout]
    assert (names[0][: len(first)], names[-1][: len(last)]) == (first, last)
    said = CliRunner().invoke(main, ["verify", str(output)])
    assert said.exit_code == 0
    assert f"{len(names)} unit(s) of it are not in {output} yet: {first}" in said.output
    for name in ("resume", "overwrite"):
        with pytest.raises(StoreError, match="go on with append=True" if name == "resume" else "exists"):
            assimilate_archive(tmp_path / "obs", "lorenz63", output, **{name: name == "resume"})
    write_days(long_obs, tmp_path / "obs", 58, 59)
    counts = count_solves(monkeypatch)
    run()
    assert in_flight(output) == []
    assert_same_bits(output, from_scratch(made))
    assert sum(counts) > 0


@few_layouts
def test_a_first_run_goes_on_with_what_it_has_though_there_are_more_files(
    layout, long_obs, model, tmp_path, monkeypatch
):
    name, options = LAYOUTS[layout]
    output = tmp_path / name

    def run(output: Path) -> Path:
        return assimilate_archive(tmp_path / "obs", model, output, append=True, **options)

    write_days(long_obs, tmp_path / "obs", 0, 50)
    with monkeypatch.context() as patched:
        count_solves(patched, fail_after=19)
        with pytest.raises(KeyboardInterrupt):
            run(output)
    assert not output.exists()
    with pytest.raises(StoreError, match="no record of a complete run"):
        verify(output)
    write_days(long_obs, tmp_path / "obs", 50, 51)
    counts = count_solves(monkeypatch)
    run(output)
    assert len(counts) == {"zarr": 8, "months": 11}[layout]
    assert_same_bits(output, run(tmp_path / "scratch" / name))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@few_layouts
def test_altered_files_are_not_extended(layout, made, long_obs, tmp_path):
    """Of those that are rewritten with some times as they were; the others are read with verify=True."""
    output, run = made
    write_days(long_obs, tmp_path / "obs", 35, 36)
    run()
    flip_a_bit(output / sorted(data_files(output))[-1])
    write_days(long_obs, tmp_path / "obs", 36, 37)
    run()
    assert_same_bits(output, from_scratch(made))


@few_layouts
def test_damaged_units_of_an_output_are_solved_again(layout, made, monkeypatch):
    output, run = made
    right = whole(output)
    victims = sorted(data_files(output))
    (output / victims[0]).unlink()
    flip_a_bit(output / victims[1])
    counts = count_solves(monkeypatch)
    run()
    assert 0 < len(counts) <= 17
    assert list(verify(output)) == [victims[1]]
    run(verify=True)
    xr.testing.assert_identical(whole(output).drop_attrs(), right.drop_attrs())
    assert verify(output) == {}


@pytest.mark.parametrize("layout", ["zarr"])
def test_a_file_system_without_hard_links_gets_copies(made, long_obs, tmp_path, monkeypatch):
    output, run = made

    link = os.link

    def refused(old, new):
        if "append" not in str(old):  # Zarr moves its own new files so
            raise OSError(1, "Operation not permitted")
        link(old, new)

    monkeypatch.setattr(os, "link", refused)
    write_days(long_obs, tmp_path / "obs", 35, 36)
    run()
    assert_same_bits(output, from_scratch(made))


@few_layouts
def test_kills_at_any_moment_lose_nothing(layout, long_obs, model, tmp_path):
    """Real ones, between any two operations on files that can be told apart; a reader looks after each."""
    model.save(tmp_path / "model.varnet")
    for first, stop in ((0, 20), (20, 30), (30, 33), (33, 34)):
        write_days(long_obs, tmp_path / "obs", first, stop)
    name = LAYOUTS[layout][0]
    command = [sys.executable, str(KILLED), str(tmp_path), str(tmp_path / "model.varnet"), name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen == {"old": 3, "none": 1, "new": 3}, "none between the two renames"


def test_what_is_given_for_each_time_grows_and_changes_with_the_files(long_obs, space, tmp_path, monkeypatch):
    """A background, a mask and samples along tracks: their changes are found time by time."""
    nadir = Instrument(("ssh",), along_track=True)
    model = fourdvarnet(replace(space, instruments={"nadir": nadir}), n_steps=1, n_features=2, n_hidden=2)
    rng = np.random.default_rng(4)
    n_samples, times = 300, long_obs["time"].values
    tracks = xr.Dataset(
        {"ssh": ("sample", rng.standard_normal(n_samples))},
        {
            "time": (
                "sample",
                np.sort(times[0] + rng.integers(0, 40 * 86400, n_samples) * np.timedelta64(1, "s")),
            ),
            "lat": ("sample", rng.uniform(0, 2.5, n_samples)),
            "lon": ("sample", rng.uniform(0, 3, n_samples)),
        },
    )
    guess, mask = long_obs.fillna(0.5), xr.DataArray(rng.random((70, 11, 13)) > 0.2, long_obs["ssh"].coords)

    def run(output: Path, n: int, tracks=tracks, guess=guess, mask=mask) -> Path:
        found = tracks.sel(sample=tracks["time"] < times[n - 1] + np.timedelta64(11, "h"))
        options = {"append": True, "background": guess.isel(time=slice(n)), "along_track": {"nadir": found}}
        options |= {} if mask is None else {"mask": mask.isel(time=slice(n))}
        return assimilate_archive(tmp_path / "obs", model, output, **options)

    output = tmp_path / "out.zarr"
    write_days(long_obs, tmp_path / "obs", 0, 30)
    run(output, 30)
    write_days(long_obs, tmp_path / "obs", 30, 32)
    counts = count_solves(monkeypatch)
    run(output, 32)
    assert len(counts) == 3
    days = xr.DataArray(np.arange(70), dims="time")
    others = {
        "guess": guess.where(days != 5, 2.0),
        "mask": mask & (days != 5),
        "tracks": tracks.assign(
            ssh=tracks["ssh"].where(abs(tracks["time"] - times[5]) > np.timedelta64(9, "h"), 3.0)
        ),
    }
    for name, other in others.items():
        counts.clear()
        run(output, 32, **{name: other})
        assert len(counts) == 4, "at 0, 2, 4 and 6: they reach a day of those at 2 and 4"
        assert_same_bits(output, run(tmp_path / name / "out.zarr", 32, **{name: other}))
        run(output, 32)
    with pytest.raises(StoreError, match="mask: over time then, None now"):
        run(output, 32, mask=None)


def test_several_sources_grow_each_for_itself(long_obs, model, tmp_path):
    def run(output: Path, names: str) -> Path:
        paths = {name: tmp_path / name for name in names}
        return assimilate_archive(paths, model, output, append=True)

    write_days(long_obs, tmp_path / "a", 0, 10)
    write_days(long_obs * 2, tmp_path / "b", 4, 12)
    output = run(tmp_path / "out.zarr", "ab")
    write_days(long_obs, tmp_path / "a", 10, 14)
    run(output, "ab")
    write_days(long_obs * 2, tmp_path / "b", 12, 16)
    run(output, "ab")
    assert read_summary(output)["n_units_kept"] == 2
    assert_same_bits(output, run(tmp_path / "scratch.zarr", "ab"))
    (tmp_path / "a" / "obs_010.nc").unlink()
    with pytest.raises(StoreError, match="are gone.*a/obs_010.nc"):  # the other source has these times too
        run(output, "ab")
    with pytest.raises(StoreError, match="sources: 2 then, 1 now"):
        run(output, "b")


def test_the_commands_extend_an_output_and_say_before_what_they_would_do(long_obs, model, tmp_path):
    model.save(tmp_path / "m.varnet")
    given = [str(write_days(long_obs, tmp_path / "obs", 0, 20)), "-m", str(tmp_path / "m.varnet")]
    output = str(tmp_path / "out.zarr")

    def said(*arguments: str) -> str:
        result = CliRunner().invoke(main, list(arguments))
        assert result.exit_code == 0, result.output
        return result.output

    said("assimilate", *given, "-o", output, "--append", "-q", "--taper", "hann")
    write_days(long_obs, tmp_path / "obs", 20, 21)
    plan = said("plan", *given, "--append", output).splitlines()
    assert plan[2:] == [
        "solved          4 times, 2020-01-18 00:00:00 to 2020-01-21 00:00:00",
        "patches         6 of 60",
        "units           1 whole, 1 in part, 4 stay as they are",
        "final           17 times, up to 2020-01-17 00:00:00",
    ]
    lines = said("assimilate", *given, "-o", output, "--append", "--taper", "hann")
    assert "units           6, 4 of them as they were" in lines
    assert "solved" not in said("plan", *given, "--append", output)
    result = CliRunner().invoke(main, ["plan", *given, "--append", str(tmp_path / "none.zarr")])
    assert result.exit_code == 1
    assert "no record of a complete run" in result.output
    result = CliRunner().invoke(main, ["plan", *given, "--append", output, "--overlap", "time=3"])
    assert "overlap time: 2 then, 3 now" in result.output
