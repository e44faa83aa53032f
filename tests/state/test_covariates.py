"""Multimodal terms: the algebra, what may change their parts, and a covariate from the dataset to the analysis."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

import oceanvar
from oceanvar.errors import MissingVariableError
from oceanvar.maps import Chain, Conv, SiLU
from oceanvar.network import VarNet, fourdvarnet
from oceanvar.observing import RandomFraction
from oceanvar.variational import (
    Assimilator,
    ConjugateGradients,
    FeatureTerm,
    GradientDescent,
    Observations,
    ObservationTerm,
    PriorTerm,
    VariationalCost,
)
from tests.labelled_fields import gappy

SHAPE = (2, 3, 4, 5)


def term(gated: bool = False, linear: bool = True) -> FeatureTerm:
    g = Conv(2, 3, [1, 3, 3])
    gate = Conv(4, 3, [1, 3, 3], bias=True) if gated else None
    return FeatureTerm(
        g if linear else Chain(g, SiLU(), Conv(3, 3, [1, 1, 1])),
        Chain(Conv(4, 6, [1, 3, 3]), SiLU(), Conv(6, 3, [1, 1, 1])),
        ["sst", "depth"],
        gate,
        weight=0.7,
    ).double()


def observed(batch: int = 3, seed: int = 0) -> Observations:
    torch.manual_seed(seed)
    values = torch.randn(batch, *SHAPE, dtype=torch.float64)
    values[torch.rand(batch, *SHAPE) > 0.4] = torch.nan
    obs = Observations.from_nan(values)
    fields = {name: torch.randn(batch, 1, *SHAPE[1:], dtype=torch.float64) for name in ("sst", "depth")}
    masks = {name: (torch.rand_like(field) > 0.3).double() for name, field in fields.items()}
    return Observations(obs.values, {**obs.weights, **masks}, fields)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("linear", [False, True])
def test_gradient_and_gauss_newton_product(gated, linear):
    torch.manual_seed(1)
    each, obs = term(gated, linear), observed()
    x = torch.randn(3, *SHAPE, dtype=torch.float64, requires_grad=True)
    point = each.at(x, obs)
    cost, gradient = point.value, point.gradient
    (expected,) = torch.autograd.grad(each.cost(x, obs).sum(), x)
    torch.testing.assert_close(cost, each.cost(x, obs))
    torch.testing.assert_close(gradient, expected, rtol=1e-11, atol=1e-13)
    v, w = torch.randn_like(x), torch.randn_like(x)
    left = (each.at(x, obs).product(v) * w).sum()
    torch.testing.assert_close(left, (each.at(x, obs).product(w) * v).sum(), rtol=1e-10, atol=1e-12)
    # and it is the formula: the sum over points with all covariates of the squared distance of features
    mask = obs.weights["sst"] * obs.weights["depth"]
    by_hand = (each.residual(x, obs) ** 2 * mask).flatten(1).sum(1) * 0.7 / x[0].numel()
    torch.testing.assert_close(cost, by_hand)


def test_values_in_the_gaps_of_a_covariate_cannot_leak():
    torch.manual_seed(1)
    each, obs = term(gated=True), observed()
    x = torch.randn(3, *SHAPE, dtype=torch.float64)
    poisoned = {n: torch.where(obs.weights[n] > 0, f, 1e6) for n, f in obs.covariates.items()}
    other = replace(obs, covariates=poisoned)
    ours, theirs = each.at(x, obs), each.at(x, other)
    assert torch.equal(ours.value, theirs.value)
    assert torch.equal(ours.gradient, theirs.gradient)


def assimilator(n_steps: int) -> Assimilator:
    torch.manual_seed(2)
    cost = VariationalCost(ObservationTerm(), PriorTerm(Conv(2, 2, [1, 3, 3])), term(gated=True))
    return Assimilator(cost, GradientDescent(10.0), n_steps).double()


def feature_gradients(model: Assimilator) -> list[torch.Tensor | None]:
    return [p.grad for p in model.cost.terms[2].parameters()]


def test_the_inner_loop_sends_no_gradient_to_the_features():
    """G = F = 0 minimises the cost, so minimising it must not touch them; only the loss at the end may."""
    obs = observed()
    model = assimilator(4)
    before = [p.clone() for p in model.parameters()]
    with torch.enable_grad():
        model.solve(obs)
        list(model.iterates(obs))
    assert all(grad is None for grad in feature_gradients(model))
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    # Without an iteration the loss knows nothing of them; with some it does, all of them.
    model(obs, n_steps=0).square().sum()
    assert not model(obs, n_steps=0).requires_grad
    model(obs).square().sum().backward()
    assert all(grad is not None and grad.abs().max() > 0 for grad in feature_gradients(model))


def test_the_outer_gradient_of_the_features_agrees_with_finite_differences():
    """It is the derivative of the loss through the analysis, not of the cost."""
    obs = observed()
    model = assimilator(3)
    truth = torch.randn(3, *SHAPE, dtype=torch.float64)
    weight = model.cost.terms[2].state_features.weight

    def loss() -> torch.Tensor:
        return (model(obs) - truth).square().mean()

    loss().backward()
    direction = torch.randn_like(weight)
    slope = (weight.grad * direction).sum().item()
    values = []
    for h in (1e-5, -2e-5):
        with torch.no_grad():
            weight.add_(h * direction)
            values.append(loss().item())
    assert (values[0] - values[1]) / 2e-5 == pytest.approx(slope, rel=1e-6)


def test_windows_are_solved_alike_in_any_batch():
    obs, model = observed(4), assimilator(3)
    together = model.solve(obs).state
    alone = torch.cat([model.solve(obs[[i]]).state for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=1e-11, atol=1e-11)


@pytest.fixture
def ocean() -> xr.Dataset:
    """Sea level, and a temperature that is 3 x + 10 of it, with a gap a quarter of the time."""
    ds = gappy({"time": 30, "lat": 6, "lon": 8}, fraction=1.1)
    smooth = ds["ssh"].rolling(lat=3, lon=3, center=True, min_periods=1).mean()
    hidden = np.random.default_rng(1).random(smooth.shape) < 0.25
    sst = (3 * smooth + 10).where(~hidden).assign_attrs(units="degree_Celsius")
    return ds.assign(ssh=smooth.assign_attrs(units="m"), sst=sst)


def fitted(ocean: xr.Dataset, space, covariates: tuple[str, ...]) -> tuple[VarNet, xr.Dataset]:
    torch.manual_seed(0)
    space = replace(space, covariates=covariates, mean=None, std=None, overlap={})
    terms = [ObservationTerm(), PriorTerm(Conv(1, 1, [1, 3, 3]))]
    if covariates:
        terms.append(FeatureTerm(Conv(1, 1, [1, 1, 1]), Conv(2, 1, [1, 1, 1]), covariates, weight=1.0))
    model = VarNet(Assimilator(VariationalCost(*terms), ConjugateGradients(), 3), space)
    options = {"n_epochs": 6, "batch_size": 4, "n_samples": 24, "learning_rate": 0.25, "n_warmup": 1}
    return model, ocean.varnet.fit(model, RandomFraction(0.05), device="cpu", **options)


def test_a_covariate_helps_from_the_dataset_to_the_analysis(ocean, space, tmp_path):
    _, alone = fitted(ocean, space, ())
    model, history = fitted(ocean, space, ("sst",))
    assert history["validation_loss"].min() < 0.6 * alone["validation_loss"].min()
    assert model.state_space.mean["sst"] == pytest.approx(10.0, abs=0.3)
    assert model.state_space.units["sst"] == "degree_Celsius"
    model.save(tmp_path / "m.varnet")
    back = oceanvar.load(tmp_path / "m.varnet")
    assert back.digest == model.digest
    obs = ocean.assign(ssh=ocean["ssh"].where(ocean["lon"] == 1).assign_attrs(units="m"))
    analysis = obs.varnet.assimilate(back)
    assert set(analysis.data_vars) == {"ssh"}
    xr.testing.assert_equal(analysis, obs.varnet.assimilate(model))
    lazy = obs.chunk(time=7).varnet.assimilate(back)
    np.testing.assert_allclose(lazy["ssh"], analysis["ssh"], rtol=1e-5, atol=1e-5)
    without = obs.assign(sst=obs["sst"] * np.nan).varnet.assimilate(back)
    error, blind = (float(((a["ssh"] - ocean["ssh"]) ** 2).mean()) for a in (analysis, without))
    assert error < 0.6 * blind
    with pytest.raises(MissingVariableError, match="no 'sst', which the model reads besides"):
        obs.drop_vars("sst").varnet.assimilate(back)


def test_the_preset_takes_covariates_into_cost_and_start(ocean, space, tmp_path):
    rich = replace(space, covariates=("sst",), mean=None, std=None)
    options = {"n_features": 3, "n_hidden": 3, "n_shared": 2, "start_widths": (4, 6)}
    model = fourdvarnet(rich, n_steps=2, covariates=("sst",), **options)
    observed = ocean.varnet.observe(RandomFraction(0.2), seed=1).assign(sst=ocean["sst"])
    history = ocean.varnet.fit(model, observed, n_epochs=1, batch_size=4, device="cpu")
    assert np.isfinite(history["loss"]).all()
    model.save(tmp_path / "m.varnet")
    back = oceanvar.load(tmp_path / "m.varnet")
    xr.testing.assert_equal(observed.varnet.assimilate(back), observed.varnet.assimilate(model))
