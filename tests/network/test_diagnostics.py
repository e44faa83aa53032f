"""What an analysis says about itself, written beside the field."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

import oceanvar
from oceanvar.archive import read_summary
from oceanvar.cli.report import summary_lines
from oceanvar.errors import ConfigError
from oceanvar.maps import Identity, TotalOf
from oceanvar.observing import EveryNthStep
from oceanvar.papers.experiments import NOISE_STD
from oceanvar.variational import (
    LBFGS,
    Assimilator,
    Box,
    EnergyTerm,
    ObservationTerm,
    ProximalGradient,
    VariationalCost,
)
from tests.network.twins import LORENZ, sixty_windows, weak_constraint_model

N_TIMES = 64


@pytest.fixture(scope="module")
def model() -> oceanvar.VarNet:
    return weak_constraint_model(N_TIMES, overlap=16)


@pytest.fixture(scope="module")
def twin() -> tuple[xr.Dataset, xr.Dataset]:
    return sixty_windows(N_TIMES)


def test_the_spread_is_that_of_the_error_and_the_health_is_about_one(model, twin):
    truth, obs = twin
    analysis = obs.varnet.assimilate(model, diagnostics=True)
    plain = obs.varnet.assimilate(model)
    for name in model.state_space.variables:
        np.testing.assert_array_equal(analysis[name], plain[name])
        departure = (analysis[name] - truth[name]) / analysis[f"{name}_std"]
        assert float((departure**2).median()) == pytest.approx(0.455, abs=0.12)  # of chi-squared
        assert 0.85 < float((abs(departure) < 1.645).mean()) < 0.95
    health = analysis["health"]
    assert float(health.mean()) == pytest.approx(1, abs=0.15)
    assert (health.isel(time=0) == health.isel(time=-1)).all(), "one number for the one patch of a window"


def test_diagnostics_are_labelled_masked_and_lazy_like_the_field(model, twin):
    obs = twin[1].isel(window=slice(4))
    obs["x"].attrs["standard_name"] = "sea_surface_height"
    del obs["y"].attrs["units"]
    eager = obs.varnet.assimilate(model, diagnostics=True)
    assert eager["x_std"].attrs["units"] == eager["y_std"].attrs["units"] == "1"
    assert eager["x_std"].attrs["standard_name"] == "sea_surface_height standard_error"
    lazy = obs.chunk(window=2).varnet.assimilate(model, diagnostics=True)
    xr.testing.assert_allclose(lazy.compute(scheduler="sync"), eager)
    kept = eager["health"].time > 0.3
    masked = obs.varnet.assimilate(model, diagnostics=True, mask=kept)
    assert (masked["health"].notnull() == kept).all()
    assert (masked["x_std"].notnull() == kept).all()


def test_a_logarithm_has_a_median_and_a_mean_in_memory_and_in_archives(model, tmp_path):
    space = replace(model.state_space, transform={"x": "log10"}, units={"x": "mg m-3"})
    logarithmic = oceanvar.VarNet(model.assimilator, space)
    truth = LORENZ.simulate(2 * N_TIMES, seed=5)
    obs = truth.varnet.observe(EveryNthStep(8), noise_std=NOISE_STD, seed=6)
    logs = obs.varnet.assimilate(model, diagnostics=True)
    grams = obs.assign(x=(10 ** (obs["x"] - 3)).assign_attrs(units="g m-3"))
    with pytest.warns(oceanvar.MendedWarning, match="from 'g m-3' to 'mg m-3'"):
        analysis = grams.varnet.assimilate(logarithmic, diagnostics=True)
    np.testing.assert_allclose(analysis["x"], 10 ** (logs["x"] - 3), rtol=1e-4)
    np.testing.assert_allclose(analysis["x_std"], logs["x_std"], rtol=1e-4)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    values = 10 ** (logs["x"].values[:, None] - 3 + logs["x_std"].values[:, None] * nodes)
    np.testing.assert_allclose(analysis["x_mean"], values @ weights / weights.sum(), rtol=1e-3)
    assert [analysis[name].attrs["units"] for name in ("x", "x_mean", "x_std")] == ["g m-3", "g m-3", "1"]
    grams.to_netcdf(tmp_path / "obs.nc")
    with pytest.warns(oceanvar.MendedWarning):
        path = oceanvar.assimilate_archive(
            tmp_path / "obs.nc", logarithmic, tmp_path / "a.zarr", diagnostics=True
        )
    with xr.open_zarr(path) as written:
        assert written["x"].attrs["units"] == written["x_mean"].attrs["units"] == "mg m-3"
        for name, factor in (("x", 1e-3), ("x_mean", 1e-3), ("x_std", 1), ("y", 1), ("health", 1)):
            np.testing.assert_allclose(written[name] * factor, analysis[name], rtol=1e-3, atol=1e-4)


def test_a_learned_cost_is_refused(twin):
    torch.manual_seed(0)
    space = oceanvar.StateSpace(
        ("x",), ("time", "site"), {"time": 8, "site": 8}, mean={"x": 0.0}, std={"x": 1.0}
    )
    learned = oceanvar.network.presets.fourdvarnet(space, n_steps=1, n_features=2, n_hidden=2)
    obs = xr.Dataset({"x": (("time", "site"), np.zeros((8, 8), np.float32))})
    with pytest.raises(ConfigError, match="weights of this model's cost are learned"):
        obs.varnet.assimilate(learned, diagnostics=True)


def test_an_archive_gets_them_too_and_counts_what_is_unhealthy(model, tmp_path):
    truth = LORENZ.simulate(3 * N_TIMES, seed=5)
    obs = truth.varnet.observe(EveryNthStep(8), noise_std=NOISE_STD, seed=6)
    obs["x"][80:104] += 30  # an instrument that has gone wrong
    obs.to_netcdf(tmp_path / "obs.nc")
    path = oceanvar.assimilate_archive(tmp_path / "obs.nc", model, tmp_path / "a.zarr", diagnostics=True)
    expected = obs.varnet.assimilate(model, diagnostics=True)
    with xr.open_zarr(path) as written:
        assert set(written.data_vars) == set(expected.data_vars)
        for name in written.data_vars:
            np.testing.assert_allclose(written[name], expected[name], rtol=2e-5, atol=1e-4)
        n_unhealthy = int((written["health"] > 1.15).sum())
    summary = read_summary(path)
    assert summary["n_unhealthy"] == n_unhealthy > 0
    assert any(f"{n_unhealthy:,} cells above 1.15" in line for line in summary_lines(summary))
    assert summary["n_missing"] == 0


def test_error_bars_that_would_leave_out_what_the_solver_knows_are_refused(twin):
    _, seen = twin
    space = oceanvar.StateSpace(
        ("x", "y", "z"),
        ("time",),
        {"time": N_TIMES},
        mean=dict.fromkeys("xyz", 0.0),
        std=dict.fromkeys("xyz", 1.0),
    )
    misfit = ObservationTerm(variances=[1.0] * 3)
    for assimilator, message in (
        (
            Assimilator(VariationalCost(misfit), ProximalGradient(Box(-3.0, 3.0)), 2),
            "what ProximalGradient knows",
        ),
        (
            Assimilator(VariationalCost(misfit, EnergyTerm(TotalOf(Identity()))), LBFGS(), 2),
            "EnergyTerm is no sum over residuals",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            seen.varnet.assimilate(oceanvar.VarNet(assimilator, space), diagnostics=True)
