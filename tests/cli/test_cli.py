"""The shell command: exit codes, messages, and that it does what the library does."""

import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner, Result

from oceanvar.cli.commands import main
from oceanvar.mapping import assimilate
from oceanvar.maps import Identity
from oceanvar.network import VarNet, fourdvarnet, handles, load
from oceanvar.network.handles import PatchSolver
from oceanvar.state import Instrument, StateSpace
from oceanvar.variational import (
    AlongTrack,
    Assimilator,
    GradientDescent,
    ObservationTerm,
    PriorTerm,
    VariationalCost,
)
from tests.counters import count_solves
from tests.labelled_fields import gappy
from tests.state.test_instruments import tracks_on

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "train.toml"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


@pytest.fixture
def obs40() -> xr.Dataset:
    return gappy({"time": 40, "lat": 11, "lon": 13})


@pytest.fixture
def tracked_model(space) -> VarNet:
    nadir = Instrument(("ssh",), along_track=True)
    cost = VariationalCost(ObservationTerm(), ObservationTerm(AlongTrack(), "nadir"), PriorTerm(Identity()))
    return VarNet(Assimilator(cost, GradientDescent(2.0), 2), replace(space, instruments={"nadir": nadir}))


@pytest.fixture
def folder(tmp_path, obs40, model) -> Path:
    """A folder with obs_*.nc and model.varnet."""
    for first in range(0, 40, 10):
        obs40.isel(time=slice(first, first + 10)).to_netcdf(tmp_path / f"obs_{first}.nc")
    model.provenance["card"] = {"data": "none at all"}
    model.save(tmp_path / "model.varnet")
    return tmp_path


def assert_failed(result: Result, *texts: str) -> None:
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.output
    for text in texts:
        assert text in result.stderr


def test_help_and_version_are_quick_and_read_well():
    code = (
        "import sys; from oceanvar.cli.commands import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'torch', 'scipy', 'dask', 'zarr', 'netCDF4'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command in ("assimilate", "train", "osse", "inspect", "plan"):
        assert command in done.stdout
        text = run(command, "--help").stdout
        assert f"oceanvar {command} " in text.split("Examples:")[1]
        assert max(map(len, text.splitlines())) <= 100
    assert "version" in run("--version").stdout


def test_usage_errors_exit_with_2(folder):
    for arguments in (
        ["assimilate"],
        ["nonsense"],
        ["osse", "lorenz84"],
        ["assimilate", "x.nc", "-m", "m", "-o", "out", "--patch", "time:3"],
        ["assimilate", "x.nc", "-m", "m", "-o", "out", "--batch-size", "0"],
        ["train", folder / "none.toml"],
    ):
        assert run(*arguments).exit_code == 2


def test_assimilate_does_what_the_library_does(folder, obs40, model):
    options = ["--patch", "lat=8,lon=9", "--overlap", "time=3", "--periodic", "lon", "--taper", "hann"]
    out = folder / "out.zarr"
    result = run("assimilate", folder / "obs_*.nc", "-m", folder / "model.varnet", "-o", out, *options)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{out}\n"
    assert "unit 10 of 10 written" in result.stderr
    assert "patches         222\n" in result.stderr
    assert "cells           5,720, 0.0% of them NaN" in result.stderr
    expected = assimilate(
        obs40, model, patch={"lat": 8, "lon": 9}, overlap={"time": 3}, periodic=["lon"], taper="hann"
    )
    with xr.open_zarr(out) as ds:
        np.testing.assert_allclose(ds["ssh"], expected["ssh"], rtol=1e-5, atol=1e-5)


def test_assimilate_with_a_background_into_netcdf(folder, obs40, model):
    obs40.fillna(0.5).to_netcdf(folder / "guess.nc")
    arguments = [*sorted(folder.glob("obs_*.nc")), "-m", folder / "model.varnet", "-o", folder / "out"]
    result = run("assimilate", *arguments, "--background", folder / "guess.nc", "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    expected = assimilate(obs40, model, background=obs40.fillna(0.5))
    with xr.open_dataset(folder / "out" / "analysis_2020-02.nc") as ds:
        np.testing.assert_allclose(ds["ssh"], expected["ssh"].sel(time="2020-02"), rtol=1e-5, atol=1e-5)
    assert_failed(run("assimilate", *arguments), "exists", "overwrite")
    assert run("assimilate", *arguments, "--overwrite", "-q").exit_code == 0


def test_threads_that_wait_do_not_spin_for_long_unless_the_user_says_so(monkeypatch, folder):
    for given, expected in ((None, "10000"), ("7", "7")):
        monkeypatch.setenv("GOMP_SPINCOUNT", given) if given else monkeypatch.delenv("GOMP_SPINCOUNT", False)
        assert run("inspect", folder / "model.varnet").exit_code == 0
        assert os.environ["GOMP_SPINCOUNT"] == expected


def test_samples_along_tracks_come_from_files(folder, obs40, model, tracked_model, tmp_path):
    tracked_model.save(folder / "nadir.varnet")
    tracks = tracks_on(obs40)
    tracks.to_netcdf(folder / "nadir.nc")
    arguments = ["assimilate", folder / "obs_*.nc", "-m", folder / "nadir.varnet", "-o", folder / "out.zarr"]
    assert_failed(run(*arguments), "instruments ['nadir'], and along_track gives []")
    assert_failed(run(*arguments, "--along-track", "nadir", folder / "no.nc"), "no.nc", "cannot be opened")
    given = ["--along-track", "nadir", folder / "nadir.nc"]
    assert (
        "patches "
        in run("plan", folder / "obs_*.nc", "-m", folder / "nadir.varnet", "--quick", *given).stdout
    )
    result = run(*arguments, *given)
    assert result.exit_code == 0, result.output
    expected = obs40.varnet.assimilate(tracked_model, along_track={"nadir": tracks})
    xr.testing.assert_allclose(xr.open_zarr(folder / "out.zarr")["ssh"], expected["ssh"], rtol=1e-5)


def test_an_impossible_device_is_told(folder):
    for device in ("gpu", "cuda:999"):
        for command in (["assimilate", "-o", folder / "x.zarr"], ["plan"]):
            arguments = [folder / "obs_*.nc", "-m", folder / "model.varnet", "--device", device]
            assert_failed(run(*command, *arguments), "device", repr(device))


def test_assimilate_keeps_the_sea_of_a_mask(folder, obs40, model):
    sea = np.ones((11, 13), "float32")
    sea[2, 3], sea[5] = 0, np.nan  # both ways in which files mark land
    grid = {dim: obs40[dim] for dim in ("lat", "lon")}
    xr.Dataset({"is_sea": (("lat", "lon"), sea)}, grid).to_netcdf(folder / "mask.nc")
    arguments = ["assimilate", folder / "obs_*.nc", "-m", folder / "model.varnet", "-q"]
    masked = [*arguments, "-o", folder / "out.zarr", "--mask", folder / "mask.nc"]
    result = run(*masked, "is_sea")
    assert result.exit_code == 0, result.output
    with xr.open_zarr(folder / "out.zarr") as ds:
        np.testing.assert_array_equal(ds["ssh"].notnull(), np.broadcast_to(sea == 1, (40, 11, 13)))
    assert_failed(run(*masked, "land"), "no variable 'land'", "is_sea")
    assert_failed(
        run(*arguments, "-o", folder / "x.zarr", "--mask", folder / "no.nc", "is_sea"), "no.nc", "opened"
    )
    other = xr.open_dataset(folder / "mask.nc").isel(lat=slice(10))
    other.to_netcdf(folder / "small.nc")
    assert_failed(
        run(*arguments, "-o", folder / "x.zarr", "--mask", folder / "small.nc", "is_sea"), "'lat': 11 and 10"
    )


def test_assimilate_packs_skips_and_sums_up_as_json(folder, obs40, model):
    days = ((obs40["time"] - np.datetime64("1900-01-01")) / np.timedelta64(1, "D")).values
    for first in range(0, 40, 10):
        file = folder / f"obs_{first}.nc"
        times = ("time", days[first : first + 10], {"Unit": "days since 1900-1-1"})
        obs40.isel(time=slice(first, first + 10)).assign_coords(time=times).to_netcdf(file)
    (folder / "obs_9.nc").write_bytes(b"")
    arguments = ["assimilate", folder / "obs_*.nc", "-m", folder / "model.varnet"]
    options = ["--time-units", "days since 1900-01-01", "--skip-bad", "--compression", 3]
    packed = ["--pack", "ssh=-40:40", "--chunks", "time=5,lat=4", "--shards", "time=20,lat=12"]
    assert_failed(
        run(*arguments, "-o", folder / "out", *options[:2]), "1 problem(s)", "obs_9.nc", "--skip-bad"
    )
    result = run(*arguments, "-o", folder / "out.zarr", *options, *packed, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["n_files"], summary["n_units"], summary["n_cells"]) == (4, 2, 40 * 11 * 13)
    assert f"left out        {folder / 'obs_9.nc'}: cannot be read" in result.stderr
    assert "times           40, 0 of them without any observation" in result.stderr
    with xr.open_zarr(folder / "out.zarr") as ds:
        assert ds["ssh"].encoding["shards"] == (20, 12, 13)
        np.testing.assert_array_equal(ds["time"], obs40["time"])
        np.testing.assert_allclose(ds["ssh"], assimilate(obs40, model)["ssh"], atol=80 / 65534)
    assert run(*arguments, "-o", folder / "out", *options, "-q").stderr == ""
    assert len(list((folder / "out").glob("analysis_*.nc"))) == 2
    (folder / "obs_9.nc").unlink()
    plan = run("plan", *arguments[1:], *options[:2]).stdout
    assert "times           40, 2020-01-01 00:00:00 to 2020-02-09 00:00:00" in plan
    assert_failed(run("plan", *arguments[1:], "--time-units", "fortnights"), "'fortnights'", "no dates")
    for pack in ("ssh", "ssh=1", "ssh=a:b"):
        assert run(*arguments, "-o", folder / "3.zarr", "--pack", pack).exit_code == 2


def test_failures_are_one_message_and_exit_code_1(folder, monkeypatch):
    model, out = folder / "model.varnet", folder / "out.zarr"
    assert_failed(run("assimilate", folder / "no_*.nc", "-m", model, "-o", out), "no file matches")
    assert_failed(run("assimilate", folder / "obs_*.nc", "-m", "atlantis", "-o", out), "atlantis")
    assert_failed(run("inspect", folder / "obs_0.nc"), "not an oceanvar model")
    (folder / "obs_50.nc").write_bytes(b"")
    (folder / "obs_60.nc").write_bytes(b"CDF")
    result = run("assimilate", folder / "obs_*.nc", "-m", model, "-o", out)
    assert_failed(result, "2 problem(s) in the 6 file(s)", "obs_50.nc", "obs_60.nc")
    assert not out.exists()


def test_an_interrupt_exits_with_130_and_leaves_nothing_unfinished(folder, monkeypatch):
    count_solves(monkeypatch, fail_after=0)
    before = sorted(os.listdir(folder))
    result = run("assimilate", folder / "obs_*.nc", "-m", folder / "model.varnet", "-o", folder / "out")
    assert result.exit_code == 130
    assert "interrupted" in result.stderr
    assert sorted(os.listdir(folder)) == sorted([*before, "out.run"])
    assert os.listdir(folder / "out.run") == ["index.jsonl"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_signals_end_a_run_that_can_be_resumed(number, code, folder, monkeypatch):
    arguments = ["assimilate", folder / "obs_*.nc", "-m", folder / "model.varnet", "-o"]
    solve, calls = PatchSolver.__call__, []
    handler = signal.getsignal(signal.SIGTERM)

    def signalled(self, patches, **named):
        calls.append(1)
        if len(calls) == 8:
            os.kill(os.getpid(), number)
        return solve(self, patches, **named)

    with monkeypatch.context() as patched:
        patched.setattr(PatchSolver, "__call__", signalled)
        result = run(*arguments, folder / "out.zarr", "--batch-size", 6)
    assert result.exit_code == code, result.output
    assert ("stopped after" if code == 75 else "interrupted") in result.stderr
    assert signal.getsignal(signal.SIGTERM) == handler
    assert not (folder / "out.zarr").exists()
    assert_failed(run(*arguments, folder / "out.zarr", "--batch-size", 6), "broken off", "resume")
    assert_failed(
        run(*arguments, folder / "out.zarr", "--batch-size", 5, "--resume"), "batch size: 6 then, 5"
    )
    result = run(*arguments, folder / "out.zarr", "--batch-size", 6, "--resume")
    assert result.exit_code == 0, result.output
    assert "after 1 resume(s)" in result.stderr
    run(*arguments, folder / "whole.zarr", "--batch-size", 6)
    with xr.open_zarr(folder / "out.zarr") as ds, xr.open_zarr(folder / "whole.zarr") as whole:
        np.testing.assert_array_equal(ds["ssh"], whole["ssh"])


def test_inspect_prints_what_the_model_is(folder, model):
    text = run("inspect", folder / "model.varnet").stdout
    n_parameters = sum(p.numel() for p in model.assimilator.parameters())
    for line in (
        f"digest          {model.digest}",
        f"parameters      {n_parameters:,}",
        "variable        ssh [m], mean 1, standard deviation 2",
        "patch           time 4, lat 6, lon 8",
        "overlap         time 2, lat 2, lon 3",
        "periodic        none",
        '    "data": "none at all"',
    ):
        assert line in text.splitlines() or line in text
    assert "assimilator: Assimilator(n_steps=2" in text
    assert "solver: LSTMSolver(" in text
    assert "start: LearnedStart(" in text


def test_a_warning_is_a_line_of_its_own(folder, monkeypatch):
    solve = VarNet.solve

    def limited(self, values, *arguments):
        if len(values) > 9:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return solve(self, values, *arguments)

    monkeypatch.setattr(handles, "_COPIES", {})
    monkeypatch.setattr(VarNet, "solve", limited)
    result = run(
        *("assimilate", folder / "obs_*.nc", "-m", folder / "model.varnet", "-o", folder / "out.zarr"),
        *("--batch-size", 18, "--quiet"),
    )
    assert result.stderr.splitlines() == [
        "the memory of cpu is too small for 18 patches at once: 9 from now on"
    ]
    assert logging.getLogger("oceanvar").handlers == []


def test_plan_prints_the_numbers_of_the_solve(folder, obs40, model, monkeypatch):
    counts = count_solves(monkeypatch)
    result = run(
        "plan", folder / "obs_*.nc", "-m", folder / "model.varnet", "--overlap", "time=3", "--batch-size", 9
    )
    assert result.exit_code == 0, result.output
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert sum(counts) == 7 * 6, "the patches of one unit of four times"
    assert "42 patches took" in lines["time"]
    assert lines["time"].startswith("about 0 h 0")
    assert "kB, judging by one unit" in lines["disk"]
    counts.clear()
    assimilate(obs40, model, overlap={"time": 3}, batch_size=9)
    assert lines["files"] == "4"
    assert lines["times"] == "40, 2020-01-01 00:00:00 to 2020-02-09 00:00:00"
    assert lines["grid"] == "time 40, lat 11, lon 13"
    assert lines["patches"] == f"37 (time) x 3 (lat) x 2 (lon) = {sum(counts)}"
    assert lines["solves"].startswith(f"{sum(counts)}, every point 7.5 times")
    assert lines["batches"] == f"about {len(counts)} of 9 patches"
    assert lines["output"] == "22.9 kB before compression, in blocks of time 4, lat 11, lon 13"
    assert "about" in lines["memory"]
    counts.clear()
    arguments = ("--periodic", "lon", "--quick")
    ring = run("plan", folder / "obs_*.nc", "-m", folder / "model.varnet", *arguments).stdout
    assert counts == []
    assert "judging" not in ring
    assert "19 (time) x 3 (lat) x 3 (lon) = 171" in ring


@pytest.fixture
def training(tmp_path) -> Path:
    """The example configuration with data of the names it gives, made short."""
    truth = gappy({"time": 30, "lat": 18, "lon": 20}, fraction=1.0)
    truth.isel(time=slice(0, 20)).to_netcdf(tmp_path / "truth_1.nc")
    truth.isel(time=slice(20, 30)).to_netcdf(tmp_path / "truth_2.nc")
    text = (
        EXAMPLE.read_text()
        .replace("n_epochs = 20", "n_epochs = 1")
        .replace("n_samples = 64", "n_samples = 8")
    )
    config = tmp_path / "train.toml"
    config.write_text(text.replace("n_steps = 5 ", "n_steps = 1 "))
    return config


def test_train_from_the_example_and_resume(training):
    result = run("train", training)
    assert result.exit_code == 0, result.output
    assert "1 epochs, loss " in result.stdout
    model = load(training.with_suffix(".varnet"))
    assert model.state_space.patch == {"time": 5, "lat": 16, "lon": 16}
    assert model.state_space.units == {"ssh": "m"}
    assert model.assimilator.n_steps == 1
    assert model.provenance["training"]["n_epochs"] == 1
    assert model.provenance["config"]["data"]["observations"]["fraction"] == 0.1
    assert_failed(run("train", training), "--resume", "--overwrite")
    resumed = run("train", training, "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert load(training.with_suffix(".varnet")).digest == model.digest
    again = run("train", training, "--overwrite", "--out", training.with_suffix(".varnet"))
    assert again.exit_code == 0, again.output
    assert load(training.with_suffix(".varnet")).digest == model.digest, "the same seed, the same model"


def test_train_goes_on_from_a_model_with_given_observations(training):
    truth = xr.open_mfdataset(
        str(training.parent / "truth_*.nc"),
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="override",
    ).load()
    truth.where(truth["ssh"] > 0).to_netcdf(training.parent / "obs.nc")
    space = StateSpace(("ssh",), ("time", "lat", "lon"), {"time": 5, "lat": 16, "lon": 16})
    fourdvarnet(space, n_steps=1, n_features=2, n_hidden=2).save(training.parent / "begun.varnet")
    training.write_text(
        '[data]\ntruth = ["truth_1.nc", "truth_2.nc"]\nobservations = "obs.nc"\nin_memory = false\n'
        'validation = {truth = "truth_2.nc", observations = "obs2.nc"}\n'
        '[model]\nstart = "begun.varnet"\n[training]\nn_epochs = 1\nn_samples = 2\nn_steps = {0 = 1}\n'
    )
    assert_failed(run("train", training), "obs2.nc")
    truth.where(truth["ssh"] > 0).sel(time=slice("2020-01-21", None)).to_netcdf(training.parent / "obs2.nc")
    result = run("train", training, "--out", training.parent / "on.varnet")
    assert result.exit_code == 0, result.output
    assert load(training.parent / "on.varnet").state_space.mean is not None


@pytest.mark.parametrize("withhold", ["", 'withhold = {sampler = "WholePasses", share = 0.5}\n'])
def test_train_on_observations_alone(training, withhold):
    gappy({"time": 30, "lat": 18, "lon": 20}, fraction=0.4).to_netcdf(training.parent / "obs.nc")
    training.write_text(
        f'[data]\nobservations = "obs.nc"\nvariables = ["ssh"]\nin_memory = false\n{withhold}'
        "validation = {share = 0.2, size = {time = 3}}\n"
        '[state]\ndims = ["time", "lat", "lon"]\npatch = {time = 5, lat = 16, lon = 16}\n'
        "[model]\nn_steps = 1\nn_features = 2\nn_hidden = 2\n"
        '[training]\nbudget = "1us"\nn_samples = 2\nbatch_size = 2\n'
    )
    result = run("train", training)
    assert result.exit_code == 0, result.output
    assert load(training.with_suffix(".varnet")).provenance["training"]["n_epochs"] == 1
    text = training.read_text()
    training.write_text(
        text.replace("[data]\n", '[data]\ntruth = "obs.nc"\nwithhold = {sampler = "WholePasses"}\n', 1)
    )
    if not withhold:
        assert_failed(run("train", training, "--overwrite"), "leave one of them out")
    training.write_text(text.replace('"obs.nc"', '{sampler = "RandomFraction", fraction = 0.1}'))
    assert_failed(run("train", training, "--overwrite"), "observes a truth, and there is none")


@pytest.mark.parametrize(
    ("old", "new", "texts"),
    [
        ("learning_rate", "lerning_rate", ["'lerning_rate'", "did you mean 'learning_rate'", "[training]"]),
        ("[state]", "[stat]", ["'stat'", "did you mean 'state'"]),
        ("n_hidden", "hidden", ["did you mean 'n_hidden'"]),
        ('"RandomFraction"', '"RandomFractions"', ["did you mean 'RandomFraction'"]),
        ("fraction = 0.1", "share = 0.1", ["no option of the sampler RandomFraction 'share'"]),
        ("truth_projection", "projection_of_truth", ["no weight in section [training] 'projection_of_truth'"]),
        ("fraction = 0.1", "fraction = 10.0", ["between 0 and 1"]),
        ("batch_size = 8", 'batch_size = "big"', ["batch_size must be a whole number"]),
        ("batch_size = 8", 'precision = "bf17"\nbatch_size = 8', ["must be one of 'float32', 'bfloat16'"]),
        ("batch_size = 8", 'device = "gpu9"\nbatch_size = 8', ["device must be 'auto', 'cpu', 'cuda'"]),
        ("n_steps = 1 ", "kernel = 4\nn_steps = 1 ", ["kernel sizes must be odd"]),
        ("n_steps = 1 ", "n_steps = -1 ", ["n_steps must be at least 0"]),
        ('variables = ["ssh"]', "", ["[data] lacks the key 'variables'"]),
        ('variables = ["ssh"]', 'variables = ["sst"]', ["['ssh'], not ['sst']"]),
        ("[data]", "[data", ["is not TOML"]),
        ("n_steps = 1 ", 'start = "lorenz63"\nn_steps = 1 ', ["leave them out"]),
    ],
)  # fmt: skip
def test_mistakes_in_a_configuration_are_named(training, old, new, texts):
    text = training.read_text()
    assert old in text
    training.write_text(text.replace(old, new, 1))
    assert_failed(run("train", training), *texts)
    assert not training.with_suffix(".varnet").exists()
