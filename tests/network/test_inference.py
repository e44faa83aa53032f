"""Solving in the form for inference: the results of the model itself, and nothing of the user's is touched."""

import gc
import resource

import numpy as np
import pytest

from oceanvar.maps.inference import inference_form
from oceanvar.network import VarNet, fourdvarnet, handles, load
from oceanvar.network.bridge import to_observations
from oceanvar.network.handles import PatchSolver
from oceanvar.state import StateSpace
from oceanvar.truths import lorenz96
from oceanvar.variational.solvers.lstm import LSTMInference


def space(n_times: int, *sizes: int, periodic: tuple[str, ...] = ()) -> StateSpace:
    dims = ("time", "lat", "lon")[: 1 + len(sizes)]
    patch = dict(zip(dims, (n_times, *sizes), strict=True))
    return StateSpace(("ssh",), dims, patch=patch, periodic=periodic, mean={"ssh": 0.5}, std={"ssh": 2.0})


def sites(*, fold_time: bool) -> VarNet:
    return fourdvarnet(
        space(12, 10), n_steps=3, n_features=4, n_hidden=5, fold_time=fold_time, start_widths=(4, 6)
    )


MODELS = {
    "ocean": lambda: load("ocean-2026.11"),
    "lorenz96": lambda: load("lorenz96"),
    "3-D": lambda: fourdvarnet(
        space(4, 10, 12), n_steps=3, n_features=4, fold_time=False, start_widths=(4, 6)
    ),
    "LSTM": lambda: fourdvarnet(space(5, 34, 40), n_steps=5, n_features=8, n_hidden=12),
    "periodic": lambda: fourdvarnet(space(5, 10, 13, periodic=("lon",)), n_steps=3, start_widths=(4, 6)),
    "time and sites": lambda: sites(fold_time=False),
    "sites": lambda: sites(fold_time=True),
}


@pytest.fixture(params=MODELS)
def model(request, monkeypatch) -> VarNet:
    monkeypatch.setattr(handles, "_COPIES", {})
    return MODELS[request.param]()


def gappy(model: VarNet, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = (n, 1, *model.state_space.patch.values())
    if "x" in model.state_space.variables:
        # A minimisation with chaotic dynamics magnifies rounding unless the observations fit these.
        truth = lorenz96(shape[2], seed=seed, n_trajectories=n)["x"].transpose("trajectory", "time", "site")
        values = truth.values.reshape(shape).astype(np.float32)
    else:
        values = rng.uniform(-0.2, 0.2, shape).astype(np.float32)
    return np.where(rng.random(shape) < 0.2, values, np.float32(np.nan))


def solver(model: VarNet) -> PatchSolver:
    return PatchSolver(model, "cpu", "float32", has_background=False)


def assert_near(given: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(given, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_results_are_those_of_the_model_itself(model):
    patches = gappy(model, 2)
    assert_near(solver(model)(patches), model.solve(patches))


def test_a_patch_is_solved_alike_alone_and_beside_others(model):
    patches, solve = gappy(model, 3), solver(model)
    beside = solve(patches)
    for i in range(len(patches)):
        assert_near(beside[i : i + 1], solve(patches[i : i + 1]))


def test_the_model_of_the_user_is_untouched(model):
    parts = [type(part) for part in model.assimilator.modules()]
    strides = [each.stride() for each in model.assimilator.parameters()]
    before = model.to_bytes()
    solver(model)(gappy(model, 1))
    assert [type(part) for part in model.assimilator.modules()] == parts
    assert [each.stride() for each in model.assimilator.parameters()] == strides
    assert model.to_bytes() == before


def test_results_repeat_bit_by_bit_and_are_never_overwritten(model):
    patches, solve = gappy(model, 2), solver(model)
    first = solve(patches)
    kept = first.copy()
    solve(gappy(model, 2, seed=1))
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(solve(patches), kept)


@pytest.mark.parametrize(
    ("device", "precision", "formed"),
    [("cpu", "float32", True), ("cpu", "float64", False), ("cpu", "bfloat16", False)],
)
def test_forms_are_for_single_precision_on_a_cpu(device, precision, formed, monkeypatch):
    monkeypatch.setattr(handles, "_COPIES", {})
    copied = PatchSolver(MODELS["LSTM"](), device, precision, has_background=False)._copy(device)
    assert isinstance(copied.model.assimilator.solver, LSTMInference) == formed


def test_a_step_of_the_lstm_can_be_taken_again_from_what_it_was_given():
    model = MODELS["LSTM"]()
    obs = to_observations(gappy(model, 2), model.state_space)
    assimilator = inference_form(model.assimilator)
    state = assimilator.first_guess(obs)
    step, cost = assimilator.solver.step, assimilator.cost
    carry = step(cost, obs, state, assimilator.solver.init(cost, obs, state))[1]
    kept = [each.clone() for each in carry]
    once, again = (step(cost, obs, state, carry)[0] for _ in range(2))
    np.testing.assert_array_equal(once.detach(), again.detach())
    for each, before in zip(carry, kept, strict=True):
        np.testing.assert_array_equal(each.detach(), before.detach())


def test_memory_does_not_grow_with_calls(monkeypatch):
    monkeypatch.setattr(handles, "_COPIES", {})
    model = MODELS["LSTM"]()
    patches, solve = gappy(model, 4), solver(model)

    def peak_after(n_calls: int) -> int:
        for _ in range(n_calls):
            solve(patches)
        gc.collect()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    # A call that kept one field of its gates would add 4 x 48 x 34 x 40 x 4 bytes: 1 MB.
    warm = peak_after(30)
    assert peak_after(200) - warm < 20_000
