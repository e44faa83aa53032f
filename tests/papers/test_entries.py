"""Anybody's method in the tables of the papers."""

import json
import sys

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import oceanvar
from oceanvar import registry
from oceanvar.cli.commands import main
from oceanvar.errors import ConfigError, GridMismatchError, ModelMismatchError
from oceanvar.network import VarNet, fourdvarnet
from oceanvar.papers import comparison
from oceanvar.papers.experiments import EXPERIMENTS
from oceanvar.papers.ladder import Climate, interpolations
from oceanvar.state import StateSpace


@pytest.fixture(scope="module")
def climate() -> Climate:
    return Climate.of("lorenz63", oceanvar.load("lorenz63").state_space, n_steps=800, n_trajectories=16)


@pytest.fixture(autouse=True)
def known_climate(climate, monkeypatch):
    """One climate for all tests; two packaged rows."""

    def climate_of(system):
        if system == "lorenz63":
            return climate
        return Climate.of(system, oceanvar.load(system).state_space, n_steps=400, n_trajectories=4)

    monkeypatch.setattr(comparison, "climate_of", climate_of)
    monkeypatch.setattr(comparison, "packaged_methods", lambda _: (climate, interpolations(climate)))


def interpolated(obs: xr.Dataset) -> xr.Dataset:
    return obs.interpolate_na("time", fill_value="extrapolate")


def small(**options) -> VarNet:
    space = StateSpace(("x", "y", "z"), ("time",), {"time": 200})
    space = space.normalised_by(EXPERIMENTS["lorenz63"].simulate(300, seed=1))
    return fourdvarnet(space, n_steps=1, n_features=2, n_hidden=2, fold_time=False, **options)


def mine(method, system="lorenz63", **options) -> xr.Dataset:
    return oceanvar.compare(system, {"mine": method}, keep_packaged=False, n_windows=3, **options)


def test_rows_are_models_files_and_functions_in_the_order_given(tmp_path):
    model = small()
    model.save(tmp_path / "a.varnet")
    given = {"plain": interpolated, "model": model, "file": tmp_path / "a.varnet", "named": "lorenz63"}
    table = oceanvar.compare("lorenz63", given, n_windows=3, seed=4)
    names = ["linear interpolation", "optimal interpolation", *given]
    assert table["scheme"].values.tolist() == names
    rows = table.set_index(scheme="scheme")["r_by_window"]
    # The packaged one interpolates in the same way between observations; beyond the outer ones they differ.
    inside = table.set_index(scheme="scheme")["r_by_step"].isel(step=slice(16, 185))
    np.testing.assert_allclose(
        inside.sel(scheme="plain"), inside.sel(scheme="linear interpolation"), rtol=1e-4, atol=1e-9
    )
    np.testing.assert_array_equal(rows.sel(scheme="file"), rows.sel(scheme="model"))
    assert float(rows.sel(scheme="named").mean()) < 0.1 * float(rows.sel(scheme="plain").mean())
    alone = oceanvar.compare("lorenz63", given, n_windows=3, seed=4, keep_packaged=False)
    np.testing.assert_array_equal(alone["r_by_window"], table["r_by_window"][2:])


def test_every_number_that_can_be_learned_counts(climate):
    model = small()
    n_weights = sum(p.numel() for p in model.assimilator.parameters() if p.ndim)
    n_scalars = sum(1 for p in model.assimilator.parameters() if not p.ndim)
    assert n_scalars == len(model.assimilator.cost.terms) == 2
    assert mine(model)["n_parameters"].item() == n_weights + n_scalars
    assert np.isnan(mine(interpolated)["n_parameters"].item())
    assert all(row.n_parameters == 0 for row in interpolations(climate))


def test_a_function_sees_observations_alone_and_changes_nothing():
    seen = {}

    def spoiling(obs):
        seen["obs"] = obs.copy(deep=True)
        found = interpolated(obs)
        obs["x"][:] = 0
        return found

    table = oceanvar.compare("lorenz63", {"a": spoiling, "b": interpolated}, n_windows=3, keep_packaged=False)
    np.testing.assert_array_equal(table["r_by_window"][0], table["r_by_window"][1])
    _, obs = EXPERIMENTS["lorenz63"].test_windows(3, seed=10)
    xr.testing.assert_identical(seen["obs"], obs)


def test_an_analysis_of_other_order_is_put_in_order():
    def turned(obs):
        return interpolated(obs)[["z", "x", "y"]].transpose("time", "window")

    np.testing.assert_array_equal(mine(turned)["r_by_window"], mine(interpolated)["r_by_window"])


def test_a_model_of_shorter_windows_is_stitched():
    space = oceanvar.load("lorenz96").state_space
    model = VarNet(oceanvar.load("lorenz96-lstm").assimilator, space.within({"time": 120, "site": 40}, ()))
    whole, stitched = (mine(each, "lorenz96")["r_score"].item() for each in ("lorenz96-lstm", model))
    assert stitched == pytest.approx(whole, rel=0.2)
    assert stitched != whole


@pytest.mark.parametrize(
    ("method", "error", "said"),
    [
        (42, ConfigError, "is a int: give a model, its file, or a function"),
        (lambda obs: obs["x"], ConfigError, "gives a DataArray: it must give a Dataset"),
        (lambda obs: interpolated(obs).drop_vars("y"), ConfigError, "has no 'y', only"),
        (lambda obs: obs, ConfigError, "values of 'mine' are not finite"),
        (lambda obs: interpolated(obs).isel(time=slice(5)), GridMismatchError, "'time'"),
        (lambda obs: interpolated(obs).isel(window=0), GridMismatchError, "'window'"),
        ("ocean", ModelMismatchError, r"maps \('ssh',\).*the state of lorenz63 is \('x', 'y', 'z'\)"),
        ("lorenz96", ModelMismatchError, r"over \('time', 'site'\)"),
    ],
)
def test_what_does_not_fit_is_refused(method, error, said):
    with pytest.raises(error, match=said):
        mine(method)


def test_a_model_of_another_step_is_refused_before_anything_runs():
    model = small()
    slow = EXPERIMENTS["lorenz63"].simulate(300, seed=1)
    slow["time"] = 10 * slow["time"]
    space = StateSpace(("x", "y", "z"), ("time",), {"time": 200}).normalised_by(slow)
    told = []
    with pytest.raises(ModelMismatchError, match="'mine' does not fit lorenz63: .*0.1"):
        mine(VarNet(model.assimilator, space.labelled_by(slow)), report=told.append)
    assert told == []


def test_names_are_of_one_row_and_there_is_a_row():
    with pytest.raises(ConfigError, match="packaged method 'linear interpolation'"):
        oceanvar.compare("lorenz63", {"linear interpolation": interpolated}, n_windows=3)
    with pytest.raises(ConfigError, match="nothing to compare"):
        oceanvar.compare("lorenz63", keep_packaged=False, n_windows=3)


MODULE = """
import torch
from oceanvar.maps import AbstractMap
from oceanvar.registry import registered


@registered
class Halved(AbstractMap):
    def forward(self, x):
        return 0.5 * x


def filled(obs):
    return obs.interpolate_na("time", fill_value="extrapolate")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a module of the user's and two models, one of them with a class of that module."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "users_own.py").write_text(MODULE)
    small().save("a.varnet")
    (tmp_path / "other").mkdir()
    small(seed=1).save("other/a.varnet")
    yield tmp_path
    sys.modules.pop("users_own", None)
    registry._CLASSES.pop("Halved", None)


def osse(*arguments):
    return CliRunner().invoke(main, ["osse", "lorenz63", "--n-windows", "3", *arguments])


def test_the_command_scores_files_and_functions_as_valid_json(folder):
    methods = ("-m", "a.varnet", "-m", "other/a.varnet", "-m", "users_own:filled")
    run = osse(*methods, "--only", "--json")
    assert run.exit_code == 0, run.output
    rows = json.loads(run.stdout, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))["scores"]
    assert [row["scheme"] for row in rows] == ["a", "other/a.varnet", "filled"]
    assert rows[2]["p_score"] is rows[2]["n_parameters"] is None
    assert rows[0]["n_parameters"] > 0
    lines = osse("-m", "users_own:filled").stdout.splitlines()
    assert len(lines) == 5
    assert lines[-1].split()[0] == "filled"
    assert lines[-1].split()[-2] == "-"


def test_the_command_imports_classes_of_the_user(folder):
    from users_own import Halved

    from oceanvar.variational import Assimilator, GradientDescent, ObservationTerm, PriorTerm, VariationalCost

    cost = VariationalCost(ObservationTerm(), PriorTerm(Halved()))
    VarNet(Assimilator(cost, GradientDescent(1.0), 1), small().state_space).save("own.varnet")
    sys.modules.pop("users_own")
    del registry._CLASSES["Halved"]
    refused = osse("-m", "own.varnet", "--only")
    assert refused.exit_code == 1
    assert "Halved" in refused.output
    run = osse("-m", "own.varnet", "--only", "--import", "users_own")
    assert run.exit_code == 0, run.output
    for wrong, said in (
        ("nowhere", "cannot be imported"),
        ("users_own:nothing", "has no function 'nothing'"),
    ):
        run = osse("--only", *(("-m", wrong) if ":" in wrong else ("--import", wrong)))
        assert run.exit_code == 1
        assert said in run.output
