"""Solving patches on a device: what happens when its memory is too small, and how data get there."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from oceanvar.archive import assimilate_archive, open_archive
from oceanvar.errors import DeviceMemoryError
from oceanvar.mapping import assimilate
from oceanvar.network import VarNet, handles
from oceanvar.network.bridge import on_device
from oceanvar.network.handles import PatchSolver
from oceanvar.variational import Observations
from tests.labelled_fields import gappy


@pytest.fixture(autouse=True)
def _no_copies(monkeypatch):
    """Let no test see what another has learned about the device."""
    monkeypatch.setattr(handles, "_COPIES", {})


def small_memory(monkeypatch, n_fit: int) -> list[int]:
    """Pretend that a device holds `n_fit` patches; give the sizes of the batches tried."""
    tried: list[int] = []
    solve = VarNet.solve

    def limited(self, values, *arguments):
        tried.append(len(values))
        if len(values) > n_fit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return solve(self, values, *arguments)

    monkeypatch.setattr(VarNet, "solve", limited)
    return tried


@pytest.mark.parametrize("has_background", [False, True])
def test_a_batch_that_does_not_fit_is_halved_once_and_for_all(has_background, model, monkeypatch, caplog):
    rng = np.random.default_rng(0)
    patches = rng.standard_normal((11, 1 + has_background, 4, 6, 8)).astype(np.float32)
    solver = PatchSolver(model, "cpu", "float32", has_background)
    expected = solver(patches)
    monkeypatch.setattr(handles, "_COPIES", {})
    tried = small_memory(monkeypatch, 3)
    np.testing.assert_allclose(solver(patches), expected, rtol=1e-5, atol=1e-5)
    assert tried == [11, 6, 3, 3, 3, 2]
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "the memory of cpu is too small for 11 patches at once: 6 from now on"),
        ("WARNING", "the memory of cpu is too small for 6 patches at once: 3 from now on"),
    ]
    tried.clear()
    np.testing.assert_allclose(solver(patches), expected, rtol=1e-5, atol=1e-5)
    assert tried == [3, 3, 3, 2], "what does not fit is not tried again"


def test_a_patch_that_does_not_fit_is_an_error_with_a_cure(model, monkeypatch):
    small_memory(monkeypatch, 0)
    solver = PatchSolver(model, "cpu", "float32", has_background=False)
    with pytest.raises(DeviceMemoryError, match=r"\(1, 4, 6, 8\).*cpu.*smaller patch.*20.00 GiB") as caught:
        solver(np.zeros((4, 1, 4, 6, 8), np.float32))
    assert isinstance(caught.value, MemoryError)


def test_an_archive_goes_on_with_smaller_batches(model, tmp_path, monkeypatch):
    obs = gappy({"time": 20, "lat": 11, "lon": 13})
    obs.to_netcdf(tmp_path / "obs.nc")
    expected = assimilate(obs, model)
    monkeypatch.setattr(handles, "_COPIES", {})
    tried = small_memory(monkeypatch, 2)
    output = assimilate_archive(tmp_path / "obs.nc", model, tmp_path / "out.zarr", batch_size=6)
    assert sum(n for n in tried if n > 2) == 6 + 3
    with open_archive(output) as ds:
        np.testing.assert_allclose(ds["ssh"], expected["ssh"], rtol=1e-5, atol=1e-5)


def test_a_gpu_is_given_pinned_memory(monkeypatch):
    moves: list[tuple[str, object]] = []

    def pinned(self):
        moves.append(("pinned", None))
        return self

    def moved(self, device, non_blocking=False):
        moves.append((device, non_blocking))
        return self

    obs = Observations.from_nan(torch.zeros(2, 1, 3))
    monkeypatch.setattr(torch.Tensor, "pin_memory", pinned)
    monkeypatch.setattr(torch.Tensor, "to", moved)
    on_device(obs, "cuda:1")
    assert moves == [("pinned", None)] * 2 + [("cuda:1", True)] * 2
    moves.clear()
    on_device(obs, "cpu")
    assert moves == [("cpu", False)] * 2


def test_models_of_own_classes_with_the_same_digest_stay_two_models(model):
    """A digest knows nothing of functions."""
    patches = np.random.default_rng(0).standard_normal((2, 1, 4, 6, 8)).astype(np.float32)

    class Own(type(model.assimilator.start)):
        def forward(self, obs):
            return self.function(super().forward(obs))

    found, digests = [], set()
    for function in (torch.zeros_like, torch.ones_like):
        model.assimilator.start.__class__ = Own
        model.assimilator.start.function = function
        digests.add(model.digest)
        found.append(PatchSolver(model, "cpu", "float32", has_background=False)(patches))
    assert len(digests) == 1
    assert np.abs(found[0] - found[1]).max() > 1e-4


def test_one_thread_of_a_process_solves_at_a_time(model, monkeypatch):
    at_work, most = 0, 0
    solve = VarNet.solve

    def watched(self, *arguments):
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        time.sleep(0.02)
        result = solve(self, *arguments)
        at_work -= 1
        return result

    monkeypatch.setattr(VarNet, "solve", watched)
    solver = PatchSolver(model, "cpu", "float32", has_background=False)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(solver, np.zeros((8, 1, 1, 4, 6, 8), np.float32)))
    assert (at_work, most) == (0, 1)
