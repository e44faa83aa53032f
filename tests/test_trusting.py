"""Whom to trust: models and optimal interpolation, compared where observations were withheld from all."""

import numpy as np
import pytest
import torch
import xarray as xr

import oceanvar
from oceanvar import trusting
from oceanvar.errors import ConfigError, MendedWarning, MissingVariableError
from oceanvar.observing import MovingClouds, Nadirs
from oceanvar.truths.random_fields import gaussian_field
from oceanvar.variational import (
    AdaptiveInterpolation,
    Assimilator,
    ClimateMean,
    GradientDescent,
    ObservationTerm,
    VariationalCost,
)

DIMS = ("time", "latitude", "longitude")
NOISE = 0.02
ALTIMETERS = Nadirs(("jason", "sentinel3a", "altika"))


def truth() -> xr.Dataset:
    values = 0.1 * gaussian_field((16, 30, 30), (5.0, 5.0, 5.0), np.random.default_rng(0))
    coords = {
        "time": np.datetime64("2019-01-01", "ns") + np.arange(16) * np.timedelta64(1, "D"),
        "latitude": 36 + 0.2 * np.arange(30),
        "longitude": 0.2 * np.arange(30.0),
    }
    return xr.Dataset({"ssh": (DIMS, values.astype(np.float32), {"units": "m"})}, coords)


def model(start, **options) -> oceanvar.VarNet:
    torch.manual_seed(0)
    patch = dict(zip(DIMS, (16, 30, 30), strict=True))
    space = oceanvar.StateSpace(
        ("ssh",), DIMS, patch, dict.fromkeys(DIMS, 0), mean={"ssh": 0.0}, std={"ssh": 1.0}
    )
    cost = VariationalCost(ObservationTerm())
    return oceanvar.VarNet(Assimilator(cost, GradientDescent(1.0), 0, start), space, **options)


MODELS = {"inferred": model(AdaptiveInterpolation()), "climatology": model(ClimateMean())}


@pytest.mark.parametrize("sampler", [ALTIMETERS, MovingClouds(0.5, {"latitude": 5, "longitude": 5}, 2)])
def test_the_order_is_that_of_the_errors(sampler):
    field = truth()
    obs = field.varnet.observe(sampler, noise_std=NOISE, seed=1)
    table = obs.varnet.trust(MODELS)
    assert list(table["model"].values[-1:]) == ["climatology"]
    assert (trusting.DINEOF in table["model"].values) == (sampler is not ALTIMETERS)
    assert float(table["rmse"][0]) < 0.7 * float(table["rmse"].sel(model="climatology"))
    # Climatology is 0: its error is the size of what was withheld.
    assert float(table["rmse"].sel(model="climatology")) == pytest.approx(float(field["ssh"].std()), rel=0.3)
    assert float(table["rmse"].min()) > NOISE
    assert list(table["rmse"].values) == sorted(table["rmse"].values)
    assert table.attrs["advice"].startswith(f"use {table['model'].values[0]}")
    assert table["rmse"].attrs["units"] == "m"
    low, high = table["rmse_over_best_interval"].sel(model="climatology").values
    assert 1 < low < float(table["rmse_over_best"].sel(model="climatology")) < high


def of_modes(n_times: int = 40) -> xr.Dataset:
    """Images under clouds that move at once, of two patterns whose amplitudes know nothing of the days before."""
    rng = np.random.default_rng(3)
    maps = 0.1 * gaussian_field((2, 20, 20), (0.01, 4.0, 4.0), rng)
    values = np.tensordot(rng.standard_normal((n_times, 2)), maps, 1)
    coords = {"time": np.datetime64("2019-01-01", "ns") + np.arange(n_times) * np.timedelta64(1, "D")}
    coords |= {"latitude": 36 + 0.2 * np.arange(20), "longitude": 0.2 * np.arange(20.0)}
    field = xr.Dataset({"ssh": (DIMS, values, {"units": "m"})}, coords)
    clouds = MovingClouds(0.5, {"latitude": 5, "longitude": 5}, 0.5)
    return field.varnet.observe(clouds, noise_std=NOISE, seed=1)


def test_dineof_is_there_for_images_and_wins_where_there_are_few_modes():
    obs = of_modes()
    # A cell that is seen once, and withheld then.
    obs["ssh"][:, 0, 0] = np.nan
    obs["ssh"][1, 0, 0] = 0.1
    table = obs.varnet.trust(MODELS["climatology"])
    assert table["model"].values[0] == trusting.DINEOF
    assert NOISE < float(table["rmse"][0]) < 1.5 * NOISE
    assert set(table["model"].values) == {"model", trusting.OPTIMAL, trusting.DINEOF}
    assert table.attrs["advice"].startswith("use DINEOF")


def test_dineof_is_left_out_of_passes_and_of_too_few_images():
    passes = truth().varnet.observe(ALTIMETERS, noise_std=NOISE, seed=1)
    assert trusting.DINEOF not in passes.varnet.trust(MODELS["climatology"])["model"].values
    # Each cell is seen once.
    obs = of_modes(4).fillna(0.1)
    column = xr.DataArray(np.arange(20) // 5, dims="longitude")
    obs = obs.where(column == xr.DataArray(np.arange(4), dims="time")).transpose(*DIMS)
    with pytest.warns(MendedWarning, match="there is no row of DINEOF: .* tell 0 modes at most") as told:
        table = obs.varnet.trust(MODELS["climatology"], fraction=0.4)
    assert told[0].filename == __file__
    assert set(table["model"].values) == {trusting.OPTIMAL, "model"}


def test_no_method_sees_what_is_withheld(monkeypatch):
    obs = truth().varnet.observe(ALTIMETERS, noise_std=NOISE, seed=1)
    seen = []
    real = trusting.assimilate

    def watched(ds, *args, **options):
        seen.append(ds["ssh"].notnull())
        return real(ds, *args, **options)

    monkeypatch.setattr(trusting, "assimilate", watched)
    table = obs.varnet.trust(MODELS, fraction=0.3)
    n_kept = {int(each.sum()) for each in seen}
    assert n_kept == {int(obs["ssh"].count()) - table.attrs["n_withheld"]}
    # A pass is withheld as a whole: no withheld cell touches one that is kept on the same day.
    withheld = obs["ssh"].notnull() & ~seen[0]
    near = withheld.rolling(latitude=3, longitude=3, center=True, min_periods=1).max() > 0
    assert not bool((near & seen[0]).any())


def test_one_model_by_its_name_and_names_of_variables():
    obs = truth().varnet.observe(ALTIMETERS, noise_std=NOISE, seed=1).rename(ssh="sla")
    with pytest.warns(MendedWarning, match="'sla' as 'ssh'"):
        table = obs.varnet.trust(MODELS["inferred"], variables={"ssh": "sla"})
    assert set(table["model"].values) == {"model", trusting.OPTIMAL}


def test_too_little_to_withhold_is_refused():
    obs = truth().varnet.observe(ALTIMETERS, noise_std=NOISE, seed=1)
    with pytest.raises(ConfigError, match="at least one must be drawn"):
        obs.isel(time=slice(0, 1)).where(False).fillna(np.nan).varnet.trust(MODELS)
    with pytest.raises(ConfigError, match="'DINEOF'. are rows of their own"):
        obs.varnet.trust({"DINEOF": MODELS["climatology"]})
    with pytest.raises(MissingVariableError, match="no variable 'ssh'"):
        obs.rename(ssh="sla").varnet.trust(MODELS)
