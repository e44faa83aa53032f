"""How many threads a solve uses."""

import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import xarray as xr

import oceanvar
from oceanvar import threads
from oceanvar.archive.jobs import run_folder
from oceanvar.archive.manifest import MANIFEST, Manifest
from oceanvar.network.handles import PatchSolver
from oceanvar.observing import RandomFraction


@pytest.fixture(autouse=True)
def two_threads(monkeypatch) -> Iterator[None]:
    monkeypatch.setattr(threads, "_chosen", {})
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize(("of_two", "number"), [(0.6, 2), (1.2, 1), (8.0, 1)])
def test_the_quicker_number_is_chosen_whatever_one_trial_says(monkeypatch, of_two, number):
    trials = []

    def seconds(n: int) -> float:
        trials.append(n)
        noise = 20.0 if len(trials) == 5 else 1.0  # somebody else had the core just then
        return noise * (of_two if n == 2 else 1.0)

    monkeypatch.setattr(threads, "_seconds", seconds)
    assert threads.best_number() == number
    n_trials = len(trials)
    assert threads.best_number() == number
    assert len(trials) == n_trials, "the choice holds for a while"
    monkeypatch.setattr(threads, "SECONDS_VALID", 0.0)
    threads.best_number()
    assert len(trials) == 2 * n_trials
    assert threads.described_number() == f"{number} of 2, the quickest in a trial just now"


def test_one_thread_needs_no_trial(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(threads, "_seconds", lambda n: pytest.fail("there is nothing to choose"))
    assert threads.best_number() == 1
    assert threads.described_number() == "1"


def test_a_trial_is_short_and_leaves_the_threads_as_they_were():
    assert 0 < threads._seconds(1) < 0.5
    assert torch.get_num_threads() == 2
    within = []

    def failing() -> None:
        with threads.threads(1):
            within.append(torch.get_num_threads())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert within == [1]
    assert torch.get_num_threads() == 2


@pytest.fixture
def seen(monkeypatch) -> list[int]:
    """Threads of every solve."""
    found: list[int] = []
    solve = oceanvar.VarNet.solve

    def noted(*args, **kwargs) -> np.ndarray:
        found.append(torch.get_num_threads())
        return solve(*args, **kwargs)

    monkeypatch.setattr(oceanvar.VarNet, "solve", noted)
    return found


def small() -> tuple[oceanvar.VarNet, xr.Dataset]:
    patch = {"time": 4, "x": 6}
    space = oceanvar.StateSpace(("ssh",), tuple(patch), patch, mean={"ssh": 0.0}, std={"ssh": 1.0})
    model = oceanvar.presets.fourdvarnet(space, n_steps=1, n_features=2, n_hidden=2)
    rng = np.random.default_rng(0)
    truth = xr.Dataset(
        {"ssh": (tuple(patch), rng.standard_normal((12, 6)).astype(np.float32))},
        {"time": np.datetime64("2020-01-01", "ns") + np.arange(12) * np.timedelta64(1, "D")},
    )
    return model, truth.varnet.observe(RandomFraction(0.5), seed=1)


def test_a_solve_takes_the_number_it_is_given_or_the_quickest(monkeypatch, seen):
    monkeypatch.setattr(threads, "_seconds", lambda n: float(n))
    model, _ = small()
    patches = np.zeros((1, 1, 4, 6), np.float32)
    PatchSolver(model, "cpu", "float32", False)(patches)
    PatchSolver(model, "cpu", "float32", False, n_threads=2)(patches)
    assert seen == [1, 2]


def test_an_archive_that_goes_on_keeps_to_its_threads(monkeypatch, seen, tmp_path):
    model, obs = small()
    obs.to_netcdf(tmp_path / "obs.nc")
    monkeypatch.setattr(threads, "_seconds", lambda n: 1 / n)

    def run(output: str, **options) -> list[int]:
        seen.clear()
        oceanvar.assimilate_archive(
            tmp_path / "obs.nc", model, tmp_path / output, chunks={"time": 4}, **options
        )
        return seen

    def fail(self, *args) -> None:
        raise OSError("the disk is full")

    writer = oceanvar.archive.writers.ZarrWriter
    write = writer.write
    monkeypatch.setattr(
        writer, "write", lambda self, unit, *rest: (fail if unit else write)(self, unit, *rest)
    )
    with pytest.raises(oceanvar.errors.StoreError, match="disk is full"):
        run("out.zarr")
    monkeypatch.setattr(writer, "write", write)
    monkeypatch.setattr(threads, "_chosen", {})
    monkeypatch.setattr(threads, "_seconds", lambda n: float(n))
    assert set(run("out.zarr", resume=True)) == {2}
    assert Manifest.read(run_folder(tmp_path / "out.zarr") / MANIFEST).run["threads"] == 2
    assert set(run("other.zarr")) == {1}
    assert run("out.zarr", resume=True) == [], "it is complete"


FORKED = """
import os, sys, threading
import numpy as np, torch, xarray as xr
import oceanvar
from oceanvar.network import handles

torch.set_num_threads(2)
rng = np.random.default_rng(0)
obs = xr.Dataset({"x": (("time", "site"), rng.normal(0, 3, (200, 40)).astype("f4"))})
obs = obs.where(rng.random((200, 40)) < 0.3)
model = oceanvar.load("lorenz96-lstm")
solver = handles.PatchSolver(model, "cpu", "float32", False, False, n_threads=2)
values = obs.x.values[None, None]
expected = solver(values)
holder = threading.Event()
threading.Thread(target=lambda: (handles._LOCK.acquire(), holder.set(), threading.Event().wait()), daemon=True).start()
holder.wait()
child = os.fork()
if child == 0:
    import signal
    signal.alarm(60)
    os._exit(0 if np.allclose(solver(values), expected, atol=1e-5) else 3)
_, status = os.waitpid(child, 0)
print("status", status, flush=True)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_solves_though_its_parent_had_threads_and_the_lock():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "status 0" in done.stdout, done.stdout + done.stderr
