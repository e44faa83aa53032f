"""Fields that the truth may be, drawn beside an analysis."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

import oceanvar
from oceanvar.errors import ConfigError
from oceanvar.maps import AbstractMap, InStretches
from oceanvar.observing import EveryNthStep
from oceanvar.papers.experiments import NOISE_STD
from oceanvar.variational import (
    AdaptiveInterpolation,
    Assimilator,
    GradientDescent,
    ObservationTerm,
    RefinedInterpolation,
    VariationalCost,
)
from tests.network.twins import LORENZ, sixty_windows, weak_constraint_model

N_TIMES = 48
DIMS = ("time", "lat", "lon")


@pytest.fixture(scope="module")
def model() -> oceanvar.VarNet:
    return weak_constraint_model(N_TIMES, overlap=24)


@pytest.fixture(scope="module")
def twin() -> tuple[xr.Dataset, xr.Dataset]:
    return sixty_windows(N_TIMES)


class Rough(AbstractMap):
    """A correction, and an error that is larger where little was observed."""

    def forward(self, x):
        return torch.stack((0.1 * x[:, 1], 0.7 - 0.5 * x[:, 3]), dim=1)


@pytest.fixture(scope="module")
def sea() -> tuple[oceanvar.VarNet, xr.Dataset]:
    torch.manual_seed(0)
    start = RefinedInterpolation(AdaptiveInterpolation(n_hidden=8, n_steps=10), InStretches(Rough(), 3, 1))
    cost = VariationalCost(ObservationTerm())
    space = oceanvar.StateSpace(
        ("ssh",), DIMS, dict(zip(DIMS, (4, 12, 12), strict=True)), dict(zip(DIMS, (2, 6, 6), strict=True)), (),
        {"ssh": 0.0}, {"ssh": 1.0}, {"ssh": "m"},
    )  # fmt: skip
    rng = np.random.default_rng(0)
    fields = np.cumsum(np.cumsum(rng.standard_normal((6, 18, 24)), axis=1), axis=2)
    values = np.where(rng.random(fields.shape) < 0.15, fields, np.nan).astype(np.float32)
    obs = xr.Dataset({"ssh": (DIMS, values, {"units": "m"})})
    return oceanvar.VarNet(Assimilator(cost, GradientDescent(), 0, start), space), obs


def spread(analysis: xr.Dataset, name: str) -> xr.DataArray:
    """Root mean square departure of the members from the analysis."""
    return ((analysis[f"{name}_sample"] - analysis[name]) ** 2).mean("member") ** 0.5


def test_samples_tell_the_error_of_a_derived_quantity(model, twin):
    """Of the mean over 16 steps, and of the change over 4, neither of which the standard deviations tell."""
    truth, obs = twin
    analysis = obs.varnet.assimilate(model, n_samples=50)
    np.testing.assert_array_equal(analysis["x"], obs.varnet.assimilate(model)["x"])
    assert float((spread(analysis, "x") / analysis["x_std"]).mean()) == pytest.approx(1, abs=0.15)
    for derived in (lambda x: x.rolling(time=16).mean(), lambda x: x - x.shift(time=4)):
        error = derived(analysis["x"] - truth["x"])
        expected = (derived(analysis["x_sample"] - analysis["x"]) ** 2).mean("member") ** 0.5
        assert float(abs(error / expected).median()) == pytest.approx(0.6745, abs=0.1)


def test_samples_are_the_same_however_the_data_are_cut_into_chunks(sea):
    model, obs = sea
    eager = obs.varnet.assimilate(model, n_samples=2, seed=3)
    lazy = obs.chunk(time=3, lat=10).varnet.assimilate(model, n_samples=2, seed=3)
    assert lazy.chunks
    xr.testing.assert_allclose(lazy.compute(scheduler="sync"), eager, rtol=1e-3, atol=1e-3)
    assert eager["ssh_sample"].dims == ("member", *DIMS)
    assert eager["ssh_sample"].attrs["units"] == "m"
    other = obs.varnet.assimilate(model, n_samples=2, seed=4)
    differs = abs(other["ssh_sample"] - eager["ssh_sample"]).mean()
    assert float(differs) > 0.5 * float(eager["ssh_std"].mean())


@pytest.mark.parametrize("periodic", [(), ("lon",)])
def test_patches_draw_one_field_so_that_samples_have_the_stated_spread_where_they_overlap(sea, periodic):
    model, obs = sea
    analysis = obs.varnet.assimilate(model, n_samples=32, periodic=periodic)
    ratio = (spread(analysis, "ssh") / analysis["ssh_std"]).mean("time")
    # Up to eight patches that drew each their own would leave less than half where they overlap.
    assert 0.85 < float(ratio.mean()) < 1.01
    assert float(ratio.mean("lat").min()) > 0.8
    assert float(ratio.mean("lon").min()) > 0.8


def test_samples_know_what_the_mean_of_overlapping_windows_has_gained(model):
    """Each window sees other observations: their mean is better than each, which standard deviations do not tell."""
    truth = oceanvar.windows(LORENZ.simulate(4 * N_TIMES, seed=5, n_trajectories=20), 4 * N_TIMES)
    obs = truth.varnet.observe(EveryNthStep(4), noise_std=NOISE_STD, seed=6, dims=["time"])
    analysis = obs.varnet.assimilate(model, n_samples=40)
    error, stated = (
        float((each**2).isel(time=slice(24, -24)).mean() ** 0.5)
        for each in (analysis.x - truth.x, analysis.x_std)
    )
    drawn = float((spread(analysis, "x") ** 2).isel(time=slice(24, -24)).mean() ** 0.5)
    assert drawn < 0.95 * stated
    assert error / drawn == pytest.approx(1, abs=0.15)


def test_samples_go_through_units_logarithms_masks_and_archives(model, twin, tmp_path):
    space = replace(model.state_space, transform={"x": "log10"}, units={"x": "mg m-3"})
    logarithmic = oceanvar.VarNet(model.assimilator, space)
    obs = LORENZ.simulate(2 * N_TIMES, seed=5).varnet.observe(EveryNthStep(8), noise_std=NOISE_STD, seed=6)
    logs = obs.varnet.assimilate(model, n_samples=2)
    grams = obs.assign(x=(10 ** (obs["x"] - 3)).assign_attrs(units="g m-3"))
    kept = logs["time"] > 0.3
    with pytest.warns(oceanvar.MendedWarning, match="from 'g m-3' to 'mg m-3'"):
        analysis = grams.varnet.assimilate(logarithmic, n_samples=2, mask=kept)
    np.testing.assert_allclose(analysis["x_sample"], 10 ** (logs["x_sample"].where(kept) - 3), rtol=1e-3)
    assert analysis["x_sample"].attrs["units"] == "g m-3"
    obs.to_netcdf(tmp_path / "obs.nc")
    path = oceanvar.assimilate_archive(tmp_path / "obs.nc", model, tmp_path / "a.zarr", n_samples=2)
    with xr.open_zarr(path) as written:
        np.testing.assert_allclose(written["y_sample"], logs["y_sample"], rtol=1e-3, atol=1e-3)


def test_samples_beside_an_analysis_are_not_scored_and_are_an_ensemble_by_themselves(model, twin):
    truth, obs = (each.isel(window=slice(8)) for each in twin)
    analysis = obs.varnet.assimilate(model, n_samples=19)
    scores = analysis.varnet.score(truth)
    assert list(scores["variable"].values) == ["x", "y", "z", "all"]
    ensemble = analysis[["x_sample"]].rename(x_sample="x")
    coverage = float(ensemble.varnet.score(truth[["x"]])["coverage_90"].sel(variable="x"))
    assert coverage == pytest.approx(float(scores["coverage_90"].sel(variable="x")), abs=0.05)


def test_what_cannot_be_drawn_is_refused(sea, monkeypatch):
    model, obs = sea
    with pytest.raises(
        ConfigError, match="samples lie along 'member', and the observations have that dimension"
    ):
        obs.expand_dims(member=2).varnet.assimilate(model, n_samples=2)
    monkeypatch.setattr(RefinedInterpolation, "draws_errors", False)
    with pytest.raises(ConfigError, match="leave n_samples out, or use a start that infers a covariance"):
        obs.varnet.assimilate(model, n_samples=2)
