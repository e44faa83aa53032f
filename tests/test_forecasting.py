"""Maps of times that nothing has observed yet."""

import numpy as np
import pytest
import torch
import xarray as xr

import oceanvar
from oceanvar.errors import ConfigError
from oceanvar.maps import Conv
from oceanvar.observing import RandomFraction, UpToHorizon
from oceanvar.state import StateSpace
from oceanvar.variational import (
    Assimilator,
    BlockTridiagonalGaussNewton,
    ClimateMean,
    DynamicsTerm,
    ObservationTerm,
    VariationalCost,
)

SPACE = StateSpace(
    ("h",), ("time", "x"), {"time": 9, "x": 8}, {"time": 4}, ("x",), mean={"h": 0.5}, std={"h": 2.0}
)


def advection() -> Conv:
    """Each step moves the field by one point, and damps it a little."""
    step = Conv(1, 1, [1, 3], [False, True])
    with torch.no_grad():
        step.weight.copy_(torch.tensor([0.99, 0.0, 0.0]).view(1, 1, 1, 3))
    return step


def model() -> oceanvar.VarNet:
    cost = VariationalCost(ObservationTerm(variances=[0.01]), DynamicsTerm(advection(), variances=[1e-4]))
    return oceanvar.VarNet(Assimilator(cost, BlockTridiagonalGaussNewton(), 3, ClimateMean()), SPACE)


def truth(n: int = 12) -> xr.Dataset:
    x = np.arange(8)
    states = [0.5 + 2 * 0.99**t * np.sin(2 * np.pi * (x - t) / 8) for t in range(n)]
    time = np.datetime64("2020-01-01", "ns") + np.arange(n) * np.timedelta64(1, "D")
    return xr.Dataset({"h": (("time", "x"), np.array(states, np.float32))}, {"time": time, "x": x})


@pytest.mark.parametrize("lazy", [False, True])
def test_a_forecast_is_the_model_run_from_the_last_analysis(lazy):
    """Of 4D-Var with a linear model: where nothing is observed the minimum obeys the model exactly."""
    obs = truth(9).where(np.random.default_rng(0).random((9, 8)) < 0.7)
    obs = obs.chunk({"time": 3}) if lazy else obs
    analysis = obs.varnet.assimilate(
        model(), horizon={"time": 5}, patch={"time": 14}, precision="float64"
    ).compute()
    assert analysis.sizes == {"time": 14, "x": 8}
    assert analysis["time"].values[-1] == np.datetime64("2020-01-14")
    values = (analysis["h"].values - 0.5) / 2
    for t in range(9, 14):
        np.testing.assert_allclose(values[t], 0.99 * np.roll(values[t - 1], 1), atol=1e-6)
    np.testing.assert_allclose(analysis["h"], truth(14)["h"], atol=0.15)
    without = obs.varnet.assimilate(model(), patch={"time": 9}, precision="float64").compute()
    np.testing.assert_allclose(analysis["h"][:9], without["h"], atol=1e-6)


def test_patches_overlap_into_the_horizon():
    forecast = truth(30).varnet.assimilate(model(), horizon={"time": 4})
    np.testing.assert_allclose(forecast["h"], truth(34)["h"], atol=0.05)


def test_windows_are_observed_up_to_the_horizon_in_training():
    sampler = UpToHorizon(RandomFraction(0.5), 3)
    mask = sampler.mask({"variable": 1, "time": 9, "x": 200}, {}, np.random.default_rng(0))
    assert not mask[:, 6:].any()
    assert mask[:, :6].mean() == pytest.approx(0.5, abs=0.05)


def test_horizons_that_cannot_be_are_told():
    obs = truth(9)
    with pytest.raises(ConfigError, match="leaves nothing observed in a patch of 9"):
        obs.varnet.assimilate(model(), horizon={"time": 9})
    with pytest.raises(ConfigError, match=r"along 'day', and the observations have \['time', 'x'\]"):
        obs.varnet.assimilate(model(), horizon={"day": 2})
    with pytest.raises(ConfigError, match="whole number of at least 1, got 1.5"):
        obs.varnet.assimilate(model(), horizon={"time": 1.5})
    jumping = obs.assign_coords(time=obs["time"].values + np.arange(9) ** 2 * np.timedelta64(1, "h"))
    with pytest.raises(ConfigError, match="no regular step"):
        jumping.varnet.assimilate(model(), horizon={"time": 2})
    with pytest.raises(ConfigError, match="whole number of at least 1, got '1'"):
        obs.varnet.assimilate(model(), horizon={"time": "1"})
    with pytest.raises(ConfigError, match="leaves nothing observed in a patch of 3"):
        obs.varnet.assimilate(model(), patch={"time": 3}, overlap={"time": 1}, horizon={"time": 4})
    longer = obs.varnet.assimilate(model(), patch={"time": 20}, horizon={"time": 11})
    assert longer.sizes["time"] == 20
    with pytest.raises(ConfigError, match="UpToHorizon needs n >= 1"):
        UpToHorizon(RandomFraction(0.5), 0)
    assert extended_without_coordinate().sizes["time"] == 11


def extended_without_coordinate() -> xr.Dataset:
    return truth(9).drop_vars("time").varnet.assimilate(model(), horizon={"time": 2})
