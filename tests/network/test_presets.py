"""Models in one call."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch.utils.flop_counter import FlopCounterMode

import oceanvar
from oceanvar.baselines import optimal_interpolation
from oceanvar.errors import ConfigError
from oceanvar.labels.coordinates import KM_PER_DEGREE
from oceanvar.network import VarNet, load, quasigeostrophic_4dvar
from oceanvar.observing import RandomFraction
from oceanvar.state import Instrument, StateSpace
from oceanvar.variational import Observations

SIZE, N_POINTS, N_DAYS, NOISE = 6.4, 32, 6, 0.02
NORTH = SIZE * KM_PER_DEGREE
LENGTHS = (NORTH, NORTH * np.cos(np.deg2rad(35)))
SPACE = StateSpace(
    ("ssh",),
    ("time", "latitude", "longitude"),
    patch={"time": N_DAYS, "latitude": N_POINTS, "longitude": N_POINTS},
    mean={"ssh": 0.01},
    std={"ssh": 0.2},
)
ERRORS = {"obs_variance": NOISE**2, "background_std": 0.1, "correlation": 40.0}


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    ocean = oceanvar.quasigeostrophic(N_DAYS, seed=1, resolution=SIZE / N_POINTS, size=SIZE, n_spinup=60)
    return ocean[["ssh"]]


@pytest.fixture(scope="module")
def obs(truth: xr.Dataset) -> xr.Dataset:
    return truth.varnet.observe(RandomFraction(0.05), noise_std=NOISE, seed=1)


def rmse(analysis: xr.Dataset, truth: xr.Dataset) -> float:
    return float(((analysis["ssh"] - truth["ssh"]) ** 2).mean() ** 0.5)


@pytest.mark.parametrize("options", [{"model_error_std": 0.001}, {"shape": (24, 26)}], ids=["weak", "coarse"])
def test_quasigeostrophic_4dvar_finds_the_ocean_that_its_first_guess_knows_nothing_of(
    truth: xr.Dataset, obs: xr.Dataset, options: dict
) -> None:
    model = quasigeostrophic_4dvar(SPACE, LENGTHS, **ERRORS, n_steps=8, **options)
    analysis = obs.varnet.assimilate(model)
    model.assimilator.n_steps = 0
    assert rmse(analysis, truth) < 0.2 * rmse(obs.varnet.assimilate(model), truth)


def test_quasigeostrophic_4dvar_improves_an_optimal_interpolation(truth: xr.Dataset, obs: xr.Dataset) -> None:
    scales = {"time": 5.0, "latitude": 50.0, "longitude": 50.0}
    guess = optimal_interpolation(obs["ssh"], scales, NOISE, mean=0.0, n_nearest=30)[["ssh"]]
    model = quasigeostrophic_4dvar(SPACE, LENGTHS, **{**ERRORS, "background_std": 0.05}, n_steps=8)
    assert rmse(obs.varnet.assimilate(model, background=guess), truth) < 0.75 * rmse(guess, truth)


def test_quasigeostrophic_4dvar_is_the_same_from_a_file(tmp_path, obs: xr.Dataset) -> None:
    model = quasigeostrophic_4dvar(SPACE, LENGTHS, **ERRORS, n_steps=1, surface=True)
    model.save(tmp_path / "qg.varnet")
    again: VarNet = load(tmp_path / "qg.varnet")
    xr.testing.assert_equal(obs.varnet.assimilate(again), obs.varnet.assimilate(model))


def test_error_variances_may_come_with_the_observations(obs: xr.Dataset) -> None:
    """Observations of no worth leave the first guess as it is."""
    model = quasigeostrophic_4dvar(SPACE, LENGTHS, **{**ERRORS, "obs_variance": "variance"}, n_steps=2)
    useless = obs.assign(variance=xr.full_like(obs["ssh"], 1e9))
    assert abs(useless.varnet.assimilate(model)["ssh"] - 0.01).max() < 1e-5
    useful = obs.assign(variance=xr.full_like(obs["ssh"], NOISE**2))
    assert abs(useful.varnet.assimilate(model)["ssh"] - 0.01).max() > 0.1


@pytest.mark.parametrize(
    "changes",
    [
        {"variables": ("ssh", "sst")},
        {"mean": None, "std": None},
        {"covariates": ("sst",)},
        {"instruments": {"state": Instrument(("ssh",), variance=1e-4)}},
    ],
)
def test_quasigeostrophic_4dvar_refuses_other_states(changes: dict) -> None:
    space = StateSpace(**{**vars(SPACE), **changes})
    with pytest.raises(ConfigError, match="one variable over time"):
        quasigeostrophic_4dvar(space, LENGTHS, **ERRORS)


def test_the_defaults_cost_less_than_the_widths_the_reference_is_run_with():
    """4dvarnet-starter: 48 hidden channels, 32 features of the prior."""
    space = StateSpace(
        ("ssh",),
        SPACE.dims,
        patch={"time": 15, "latitude": 16, "longitude": 16},
        mean={"ssh": 0},
        std={"ssh": 1},
    )
    obs = Observations({"state": torch.ones(1, 1, 15, 16, 16)}, {"state": torch.ones(1, 1, 15, 16, 16)})
    counts = []
    for widths in ({}, {"n_hidden": 48, "n_features": 32}):
        with FlopCounterMode(display=False) as counter:
            oceanvar.presets.fourdvarnet(space, **widths).assimilator.solve(obs)
        counts.append(counter.get_total_flops())
    assert 0 < counts[0] < 0.65 * counts[1]
