"""Priors on their own, and what is fitted around training."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import oceanvar
from oceanvar.errors import ConfigError
from oceanvar.maps import Gradient, Identity
from oceanvar.observing import RandomFraction, Withhold
from oceanvar.state import StateSpace
from oceanvar.variational import (
    LBFGS,
    Assimilator,
    EOFPrior,
    GradientDescent,
    MapTerm,
    ObservationTerm,
    PriorTerm,
    VariationalCost,
)

SHAPE = (1, 2, 4, 5)


def fields(n: int, seed: int, rank: int = 3) -> xr.Dataset:
    """Sums of a few patterns of two days, with little besides."""
    rng = np.random.default_rng(0)
    patterns = rng.normal(size=(rank, 2, 4, 5))
    rng = np.random.default_rng(seed)
    days = np.einsum("nk,ktyx->ntyx", rng.normal(size=(n, rank)) * [3, 2, 1], patterns)
    days = days + 0.01 * rng.normal(size=days.shape)
    return xr.Dataset({"h": (("time", "y", "x"), days.reshape(-1, 4, 5).astype(np.float32))})


def with_eofs(n: int = 3) -> oceanvar.VarNet:
    space = StateSpace(("h",), ("time", "y", "x"), {"time": 2, "y": 4, "x": 5})
    cost = VariationalCost(ObservationTerm(), PriorTerm(EOFPrior(SHAPE, n)))
    return oceanvar.VarNet(Assimilator(cost, GradientDescent(), 3), space)


@pytest.mark.parametrize("chunks", [None, {"time": 6, "y": 2}])
def test_functions_of_lazy_fields_are_those_of_the_whole_array(chunks):
    truth = fields(60, 1)
    model = oceanvar.fit_eofs(with_eofs(), truth if chunks is None else truth.chunk(chunks))
    prior = model.assimilator.cost.prior
    mean, std = float(model.state_space.mean["h"]), float(model.state_space.std["h"])
    rows = (truth["h"].values.reshape(60, -1) - mean) / std
    expected = np.linalg.svd(rows - rows.mean(0), full_matrices=False)[2][:3]
    np.testing.assert_allclose(prior.mean, rows.mean(0), atol=1e-5)
    np.testing.assert_allclose(np.abs(expected @ prior.functions.numpy()), np.eye(3), atol=1e-3)


def test_the_projection_keeps_what_the_prior_takes_for_possible():
    model = oceanvar.fit_eofs(with_eofs(), fields(60, 1))
    truth = fields(10, 2)
    projected = truth.varnet.project(model, overlap={"time": 0})
    p_score = float(projected.varnet.score(truth)["r_score"].sel(variable="h"))
    assert p_score < 1e-4
    noise = truth + np.random.default_rng(3).normal(size=truth["h"].shape)
    changed = noise.varnet.project(model, overlap={"time": 0})
    # Of white noise, three of forty directions are kept.
    kept = float(((changed - projected) ** 2)["h"].mean() / ((noise - truth) ** 2)["h"].mean())
    assert kept == pytest.approx(3 / 40, rel=0.5)
    lazy = truth.chunk({"time": 4}).varnet.project(model, overlap={"time": 0})
    xr.testing.assert_allclose(lazy.compute(), projected)


def test_what_has_no_functions_is_told():
    truth = fields(3, 1)
    with pytest.raises(ConfigError, match="3 functions need more than 3 windows, and the fields hold 3"):
        oceanvar.fit_eofs(with_eofs(), truth)
    with pytest.raises(ConfigError, match="functions belong to the whole domain"):
        oceanvar.fit_eofs(with_eofs(), fields(9, 1).isel(x=slice(4)))
    with pytest.raises(ConfigError, match="missing values"):
        oceanvar.fit_eofs(with_eofs(), fields(9, 1).where(lambda ds: ds["h"] < 3))
    cost = VariationalCost(ObservationTerm(), PriorTerm(Identity()))
    other = replace(with_eofs(), assimilator=Assimilator(cost, GradientDescent(), 3))
    with pytest.raises(ConfigError, match="must be an EOFPrior of windows of 40 values, and is a Identity"):
        oceanvar.fit_eofs(other, fields(9, 1))
    without = replace(
        other, assimilator=Assimilator(VariationalCost(ObservationTerm()), GradientDescent(), 1)
    )
    with pytest.raises(ConfigError, match="exactly one prior term"):
        fields(9, 1).varnet.project(without)


def smooth(seed: int) -> xr.Dataset:
    """Waves with an error of 0.5, on three days."""
    rng = np.random.default_rng(seed)
    x = np.arange(24) * 2 * np.pi / 24
    waves = [np.sin(x[:, None] + p) * np.cos(2 * x + q) for p, q in rng.random((30, 2)) * 6]
    return xr.Dataset({"h": (("time", "y", "x"), 1.4 * np.array(waves, np.float32))})


def test_the_weight_of_smoothness_is_found_with_and_without_truth():
    space = StateSpace(
        ("h",), ("time", "y", "x"), {"time": 1, "y": 24, "x": 24}, mean={"h": 0.0}, std={"h": 1.0}
    )
    truth = smooth(1)
    obs = truth.varnet.observe(RandomFraction(0.5), noise_std=0.5, seed=2)
    found = []
    for given in ((truth, RandomFraction(0.5)), (obs, Withhold(RandomFraction(0.9)))):
        cost = VariationalCost(
            ObservationTerm(), MapTerm(Gradient([1, 2]), weight=0.05), MapTerm(Identity(), weight=0.01)
        )
        model = oceanvar.VarNet(Assimilator(cost, LBFGS(tolerance=0), 300), space)
        noise = {"noise_std": 0.5} if given[0] is truth else {}
        history = oceanvar.fit_cost(
            model, *given, parameters=["terms.1.log_weight"], n_windows=4, n_steps=12, **noise
        )
        losses = history["loss"].values
        assert (np.diff(losses) < 0).all()
        assert losses[-1] < 0.95 * losses[0]  # withheld values have errors of their own
        found.append(float(((obs.varnet.assimilate(model) - truth) ** 2)["h"].mean() ** 0.5))
    # Withheld values, with errors of their own, choose nearly as well.
    assert found[0] <= found[1] < 1.2 * found[0]
    with pytest.raises(
        ConfigError, match=r"the cost has no parameter 'weight'; there are terms.0.log_weight"
    ):
        oceanvar.fit_cost(model, truth, RandomFraction(0.5), parameters=["weight"])
