"""Runs on a cluster: the bits of a single process, whatever happens to the workers."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

from oceanvar.archive import assimilate_archive, read_summary
from oceanvar.archive.cluster import TOKEN, Withdrawn, connected
from oceanvar.archive.jobs import run_folder
from oceanvar.archive.manifest import MANIFEST, Manifest
from oceanvar.archive.stretches import divided, missing
from oceanvar.cli.commands import main
from oceanvar.errors import ConfigError, StoppedError, StoreError
from oceanvar.network import VarNet, fourdvarnet
from oceanvar.state import StateSpace
from tests.archive.archives import assert_same_bits, write_days
from tests.counters import count_solves

distributed = pytest.importorskip("distributed")

N_PATCHES = 34 * 6
OPTIONS = {"batch_size": 18, "chunks": {"time": 5}}


@pytest.fixture(scope="module")
def model() -> VarNet:
    space = StateSpace(
        ("ssh",),
        ("time", "lat", "lon"),
        patch={"time": 4, "lat": 6, "lon": 8},
        overlap={"time": 2, "lat": 2, "lon": 3},
        mean={"ssh": 1.0},
        std={"ssh": 2.0},
    )
    return fourdvarnet(space, n_steps=2, n_features=3, n_hidden=4)


@pytest.fixture(scope="module")
def client() -> Iterator["distributed.Client"]:
    """Two worker processes on this machine."""
    with connected(2, None) as client:
        yield client


def field(output: Path) -> np.ndarray:
    files = sorted(output.glob("*.nc"))
    if not files:
        with xr.open_zarr(output) as ds:
            return ds["ssh"].values
    parts = []
    for file in files:
        with xr.open_dataset(file) as ds:
            parts.append(ds["ssh"].values)
    return np.concatenate(parts)


def hook_that_heeds(folder: Path):
    """A preprocess hook that does in a worker, when it opens one of the later files, what a file in `folder` says.

    It is a closure, so that it travels by value: workers need not find this module.
    """
    coordinator = os.getpid()

    def hook(ds: xr.Dataset) -> xr.Dataset:
        if os.getpid() == coordinator:
            return ds
        if (folder / "slow").exists():
            time.sleep(0.25)
        if "obs_94" in ds.encoding["source"] and (folder / "fail").exists():
            raise OSError(5, "Input/output error")
        if "obs_94" in ds.encoding["source"] and (folder / "kill").exists():
            (folder / "kill").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return ds

    return hook


@pytest.fixture(scope="module")
def orders(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("orders")


@pytest.fixture(scope="module")
def hook(orders):
    return hook_that_heeds(orders)


@pytest.fixture(scope="module")
def whole(pattern, model, tmp_path_factory) -> np.ndarray:
    """The field of a single process."""
    return field(assimilate_archive(pattern, model, tmp_path_factory.mktemp("whole") / "out.zarr", **OPTIONS))


def n_units(part: Path) -> int:
    return len(Manifest.read(part / MANIFEST).units)


@pytest.mark.parametrize("name", ["out.zarr", "out"])
def test_a_cluster_gives_the_bits_of_one_process(name, pattern, model, client, tmp_path):
    options = OPTIONS if name == "out.zarr" else {"batch_size": 18}
    whole = assimilate_archive(pattern, model, tmp_path / "whole" / name, **options)
    result = assimilate_archive(pattern, model, tmp_path / name, client=client, **options)
    np.testing.assert_array_equal(field(result), field(whole), strict=True)
    assert sorted(os.listdir(result)) == sorted(os.listdir(whole))
    one, two = read_summary(whole), read_summary(result)
    manifest = Manifest.read(run_folder(result) / MANIFEST)
    (begun,) = [record for record in manifest.records if "stretches" in record]
    assert len(begun["stretches"]) == 2
    row = 35 if name == "out.zarr" else 31
    # Starts in time are solved in threes; a group that reaches both sides of the cut is solved on both.
    groups = [range(first, min(first + 6, 68), 2) for first in range(0, 68, 6)]
    twice = sum(6 * len(group) for group in groups if group[0] < row < group[-1] + 4)
    assert twice > 0
    assert two["n_patches_again"] == twice
    assert one["n_patches_again"] == 0
    for key in ("n_files", "n_units", "n_patches", "n_cells", "n_missing", "n_resumes"):
        assert one[key] == two[key]
    for record in client.run(lambda: len(import_module("oceanvar.network.handles")._COPIES)).values():
        assert record == 1, "one copy of the model per process"


@pytest.mark.parametrize("name", ["out.zarr", "out"])
def test_a_cluster_extends_an_output_to_the_bits_of_one_process(name, long_obs, model, client, tmp_path):
    folder, options = (
        tmp_path / "obs",
        {"append": True, "chunks": {"time": 5}} if "." in name else {"append": True},
    )
    write_days(long_obs, folder, 0, 40)
    output = assimilate_archive(folder, model, tmp_path / name, client=client, **options)
    write_days(long_obs, folder, 40, 62)
    assimilate_archive(folder, model, output, client=client, **options)
    assert_same_bits(output, assimilate_archive(folder, model, tmp_path / "scratch" / name, **options))


def test_an_error_of_a_worker_is_raised_here_and_what_is_finished_is_kept(
    pattern, model, client, whole, orders, hook, tmp_path
):
    output, part = tmp_path / "out.zarr", tmp_path / "out.zarr.run"
    options = {"client": client, "preprocess": hook, **OPTIONS}
    (orders / "fail").touch()
    with pytest.raises(StoreError, match="obs_94.nc' cannot be read.*Input/output"):
        assimilate_archive(pattern, model, output, **options)
    (orders / "fail").unlink()
    assert 0 < n_units(part) < 14
    assert not (part / TOKEN).exists()
    assimilate_archive(pattern, model, output, resume=True, **options)
    np.testing.assert_array_equal(field(output), whole, strict=True)


def test_a_run_goes_on_with_any_number_of_processes(
    pattern, model, client, whole, orders, hook, tmp_path, monkeypatch
):
    output, part = tmp_path / "out.zarr", tmp_path / "out.zarr.run"
    options = {"preprocess": hook, **OPTIONS}

    def begun(n: int):
        return lambda: n_units(part) >= n

    with pytest.raises(StoppedError, match="of 14 units: resume to go on"):
        assimilate_archive(pattern, model, output, stop=begun(2), **options)
    n_first = n_units(part)
    assert 2 <= n_first <= 5
    (orders / "slow").touch()
    with pytest.raises(StoppedError):
        assimilate_archive(
            pattern, model, output, resume=True, stop=begun(n_first + 1), client=client, **options
        )
    (orders / "slow").unlink()
    n_done = n_units(part)
    assert n_first < n_done < 14
    (part / TOKEN).write_text("of a run that was killed")
    counts = count_solves(monkeypatch)
    assimilate_archive(pattern, model, output, resume=True, **options)
    np.testing.assert_array_equal(field(output), whole, strict=True)
    assert 0 < sum(counts) < N_PATCHES
    assert not (output / TOKEN).exists()
    assert read_summary(output)["n_resumes"] == 2


def test_what_no_worker_has_is_refused_at_once(pattern, model, client, tmp_path):
    def refused(error, match, client=client, **options):
        with pytest.raises(error, match=match):
            assimilate_archive(pattern, model, tmp_path / "out.zarr", client=client, **options)
        assert os.listdir(tmp_path) == []

    refused(
        ConfigError,
        r"no worker offers the resources .'GPU': 1.*; they offer:\n  tcp.*none",
        resources={"GPU": 1},
    )
    refused(ConfigError, "torch sees no GPU on the workers", device="cuda")
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=None) as none,
        distributed.Client(none) as alone,
        pytest.raises(ConfigError, match="no worker yet"),
    ):
        assimilate_archive(pattern, model, tmp_path / "out.zarr", client=alone)
    with pytest.raises(ConfigError, match="one of the two"), connected(2, "tcp://node:8786"):
        pass


def test_a_task_stops_when_its_token_goes(tmp_path):
    wanted = Withdrawn(tmp_path / TOKEN, "one")
    assert wanted()
    (tmp_path / TOKEN).write_text("one")
    assert not wanted()
    (tmp_path / TOKEN).write_text("other")
    assert wanted()


def test_signals_end_a_command_as_they_do_without_a_cluster(pattern, model, client, whole, tmp_path):
    model.save(tmp_path / "model.varnet")
    output, part = tmp_path / "out.zarr", tmp_path / "out.zarr.run"
    command = ["assimilate", pattern, "-m", str(tmp_path / "model.varnet"), "-o", str(output), "--resume"]
    command += ["--batch-size", "2", "--scheduler", client.scheduler.address]

    def told_after(n: int, number: int) -> int:
        def tell() -> None:
            while not (part / MANIFEST).exists() or n_units(part) < n:
                time.sleep(0.005)
            os.kill(os.getpid(), number)

        teller = threading.Thread(target=tell)
        teller.start()
        ended = CliRunner().invoke(main, command)
        teller.join()
        assert not output.exists()
        assert not (part / TOKEN).exists()
        return ended.exit_code

    assert told_after(1, signal.SIGTERM) == 75
    n_done = n_units(part)
    assert told_after(n_done + 1, signal.SIGINT) == 130
    assert n_done < n_units(part) < 18
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    np.testing.assert_allclose(field(output), whole, atol=1e-5)


def test_stretches_cover_what_is_missing_with_few_cuts():
    assert missing({0, 1, 5}, (0, 9)) == [(2, 5), (6, 9)]
    assert missing({0, 1}, (0, 2)) == []
    assert divided([], 3) == []
    assert divided([(0, 9)], 1) == [(0, 9)]
    assert divided([(0, 9)], 2) == [(0, 4), (4, 9)]
    assert divided([(0, 2)], 5) == [(0, 1), (1, 2)]
    for gaps, n in (([(2, 5), (6, 9)], 2), ([(0, 1), (3, 40)], 4), ([(1, 14), (20, 21)], 3)):
        pieces = divided(gaps, n)
        assert [unit for piece in pieces for unit in range(*piece)] == [
            u for gap in gaps for u in range(*gap)
        ]
        assert len(pieces) <= n + len(gaps)
        assert max(stop - first for first, stop in pieces) <= -(-sum(b - a for a, b in gaps) // n)


def test_a_killed_worker_is_survived(pattern, model, client, whole, orders, hook, tmp_path):
    (orders / "kill").touch()
    before = set(client.run(os.getpid).values())
    result = assimilate_archive(
        pattern, model, tmp_path / "out.zarr", client=client, preprocess=hook, **OPTIONS
    )
    assert not (orders / "kill").exists()
    client.wait_for_workers(2)
    assert set(client.run(os.getpid).values()) != before, "a worker was killed, and another took its place"
    np.testing.assert_array_equal(field(result), whole, strict=True)
    units = [unit["unit"] for unit in Manifest.read(run_folder(result) / MANIFEST).units]
    assert sorted(units) == list(range(14)), "each unit is noted once"
