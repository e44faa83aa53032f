"""Learned sampling: the budget, the gradient through the mask, and a design from data to a mask."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

import oceanvar
from oceanvar.errors import ConfigError, MissingVariableError
from oceanvar.maps import Chain, Conv, SiLU
from oceanvar.network import VarNet
from oceanvar.observing import RandomFraction
from oceanvar.training import LossWeights, training_loss
from oceanvar.training.losses import Sample
from oceanvar.variational import (
    Assimilator,
    CovariateStart,
    GradientDescent,
    GreedyReduction,
    GumbelTopK,
    InterpolatedStart,
    LearnedStart,
    Observations,
    ObservationTerm,
    PenalisedBudget,
    PriorTerm,
    SamplingDesign,
    SoftBudget,
    StraightThrough,
    VariationalCost,
    two_scale_prior,
)
from oceanvar.variational.designs.budgets import project_on_budget, top_k

SHAPE = (1, 2, 4, 5)
F64 = torch.float64


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(4)


def budgets(n: int, value: float) -> torch.Tensor:
    return torch.full((n, 1), value, dtype=F64)


@pytest.mark.parametrize("budget", [0.0, 0.7, 3.0, 8.0])
def test_projection_is_the_nearest_point_within_the_budget(budget):
    """Feasible, no farther than any feasible point, and by its variational inequality the nearest one."""
    x = 2 * torch.randn(50, 8, dtype=F64)
    h = project_on_budget(x, budgets(50, budget))
    assert (h >= 0).all()
    assert (h <= 1).all()
    assert (h.sum(1) <= budget + 1e-12).all()
    others = torch.rand(200, 50, 8, dtype=F64)
    others = others * (budget / others.sum(2, keepdim=True)).clamp(max=1)
    assert (((x - h) * (others - h)).sum(2) <= 1e-9).all()
    torch.testing.assert_close(project_on_budget(h, budgets(50, budget)), h, rtol=0, atol=1e-12)


def test_gradient_of_the_projection_agrees_with_finite_differences():
    x = torch.randn(6, 9, dtype=F64, requires_grad=True)
    for budget in (0.5, 2.5, 9.0):
        assert torch.autograd.gradcheck(lambda x, b=budget: project_on_budget(x, budgets(6, b)), x)


def test_top_k_takes_the_best_and_never_the_impossible():
    scores = torch.tensor([[0.1, 3.0, -torch.inf, 2.0, -1.0], [0.0, 0.0, 0.0, -torch.inf, -torch.inf]])
    chosen = top_k(scores, torch.tensor([[2.9], [4.0]]))
    assert chosen.tolist() == [[0, 1, 0, 1, 0], [1, 1, 1, 0, 0]]


def test_straight_through_is_hard_forward_and_soft_backward():
    scores = torch.randn(3, 7, dtype=F64, requires_grad=True)
    cotangent = torch.randn(3, 7, dtype=F64)
    (soft,) = torch.autograd.grad((SoftBudget()(scores, budgets(3, 2.0)) * cotangent).sum(), scores)
    hard = StraightThrough()(scores, budgets(3, 2.0))
    (through,) = torch.autograd.grad((hard * cotangent).sum(), scores)
    torch.testing.assert_close(hard, top_k(scores, budgets(3, 2.0)))
    torch.testing.assert_close(through, soft)


def test_gumbel_samples_without_replacement_by_score():
    """One draw of one point has the probabilities of a softmax (Gumbel, 1954)."""
    scores = torch.tensor([[0.0, 1.0, 2.0, -torch.inf]], dtype=F64).expand(20_000, 4)
    frequency = GumbelTopK()(scores, budgets(20_000, 1.0)).mean(0)
    torch.testing.assert_close(frequency, scores[0].softmax(0), rtol=0, atol=0.02)
    pairs = GumbelTopK()(scores, budgets(20_000, 2.0))
    assert (pairs.sum(1).round() == 2).all()


def problem(relaxation=None, n_steps: int = 3, start=None) -> tuple[Assimilator, Sample]:
    network = Chain(Conv(2, 4, [1, 3, 3], bias=True), SiLU(), Conv(4, 1, [1, 1, 1]))
    design = SamplingDesign(network, ["previous"], 0.25, relaxation)
    cost = VariationalCost(ObservationTerm(), PriorTerm(two_scale_prior(1, 2, [1, 3, 3], [1, 2, 2])))
    start = start or CovariateStart(["previous"])
    model = Assimilator(cost, GradientDescent(15.0), n_steps, start, sampling=design).double()
    truth = torch.randn(3, *SHAPE, dtype=F64)
    previous = 0.5 * truth + 0.2 * torch.randn_like(truth)
    mask = (torch.rand_like(truth) > 0.2).double()
    obs = Observations(
        {"state": truth * mask}, {"state": mask, "previous": torch.ones_like(mask)}, {"previous": previous}
    )
    return model, Sample(truth, torch.ones_like(truth), obs)


@pytest.mark.parametrize("relaxation", [SoftBudget(), PenalisedBudget()], ids=["projected", "penalised"])
def test_gradient_through_the_mask_agrees_with_finite_differences(relaxation):
    """The derivative of the loss with respect to every part of the sampling network."""
    model, sample = problem(relaxation)
    weights = LossWeights(budget=0.3)

    def loss() -> torch.Tensor:
        return training_loss(model, sample, weights, 3)[0]

    loss().backward()
    for parameter in model.sampling.network.parameters():
        direction = torch.randn_like(parameter)
        slope = (parameter.grad * direction).sum().item()
        values = []
        for h in (1e-6, -2e-6):
            with torch.no_grad():
                parameter.add_(h * direction)
                values.append(loss().item())
        with torch.no_grad():
            parameter.add_(1e-6 * direction)
        assert abs(slope) > 1e-8
        assert (values[0] - values[1]) / 2e-6 == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize("relaxation", [None, SoftBudget(), GumbelTopK()])
def test_the_mask_keeps_its_budget_and_takes_only_what_there_is(relaxation):
    model, sample = problem(relaxation)
    for training in (True, False):
        mask = model.train(training).sampling.mask(sample.obs)
        assert mask.shape == (3, 1, *SHAPE[1:])
        assert (mask.flatten(3).sum(3) <= 0.25 * 20 + 1e-9).all()
        assert (mask[sample.obs.weights["state"] == 0] == 0).all()
    assert set(mask.unique().tolist()) == {0.0, 1.0}, "the choice is hard after training"


@pytest.mark.parametrize(
    "start",
    [None, InterpolatedStart(), LearnedStart(Conv(3, 1, [1, 3, 3], bias=True))],
    ids=["covariate", "interpolated", "learned"],
)
def test_values_that_were_not_chosen_cannot_leak(start):
    model, sample = problem(start=start)
    mask = model.sampling.mask(sample.obs)
    poisoned = {"state": sample.obs.values["state"].masked_fill(mask < 0.5, 1e6)}
    expected = model(model.sampling.sampled(sample.obs, mask))
    again = model(model.sampling.sampled(replace(sample.obs, values=poisoned), mask))
    torch.testing.assert_close(again, expected, rtol=0, atol=0)


def test_the_derivative_passes_a_learned_start():
    """That of the weight of a point is what the network makes of its value and of its mask."""
    start = LearnedStart(Conv(3, 1, [1, 1, 1])).double()
    values = torch.randn(2, 1, 1, 4, 5, dtype=F64)
    mask = top_k(torch.randn(2, 20, dtype=F64), budgets(2, 6.0)).view_as(values).requires_grad_()
    (found,) = torch.autograd.grad(start(Observations({"state": values}, {"state": mask})).sum(), mask)
    interpolated, value, seen = start.network.weight.flatten()
    torch.testing.assert_close(found, torch.where(mask > 0, interpolated + value, value) * values + seen)


def test_the_first_of_a_greedy_reduction_reduces_most():
    """The trace that one observation takes from a Gaussian error covariance, computed from the whole matrix."""
    log_variance, length = torch.randn(4, 1, 1, 6, 7), 1.7
    order = GreedyReduction(length, 5)(log_variance).flatten(1).argsort(1, descending=True)
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    at = torch.stack([y, x], -1).reshape(-1, 2)
    correlation = torch.exp(-(torch.cdist(at, at) ** 2) / 2 / length**2)
    for row, found in zip(log_variance.flatten(1), order, strict=True):
        spread = (row / 2).exp()
        covariance = spread[:, None] * correlation * spread
        taken = covariance.square().sum(1) / (covariance.diagonal() + 1)
        assert found[0] == taken.argmax()


def test_a_greedy_reduction_keeps_apart_and_any_budget_is_its_beginning():
    flat = torch.zeros(1, 1, 1, 12, 12)
    scores = GreedyReduction(1.5, 12)(flat).flatten(1)
    few, many = (top_k(scores, torch.tensor([[float(n)]])) for n in (5, 12))
    assert (few <= many).all()
    at = torch.nonzero(many.view(12, 12)).float()
    assert torch.pdist(at).min() >= 2
    alone = torch.randn(3, 1, 1, 4, 5)
    taken = top_k(GreedyReduction(0.01, 6)(alone).flatten(1), torch.full((3, 1), 6.0))
    assert (taken == top_k(alone.flatten(1), torch.full((3, 1), 6.0))).all()
    alone.requires_grad_()
    (gradient,) = torch.autograd.grad((GreedyReduction(1.5, 6)(alone) * alone.detach()).sum(), alone)
    torch.testing.assert_close(gradient, alone.detach())
    with pytest.raises(ValueError, match="must be positive"):
        GreedyReduction(0.0, 3)


def test_a_soft_mask_and_a_start_from_observations_are_refused():
    with pytest.raises(ConfigError, match="SoftBudget hands on masks between 0 and 1"):
        problem(SoftBudget(), start=InterpolatedStart())
    with pytest.raises(ValueError, match="share is the part"):
        SamplingDesign(Conv(2, 1, [1]), ["previous"], 1.5)


def test_excess_is_zero_within_the_budget():
    design = SamplingDesign(Conv(2, 1, [1]), ["previous"], 0.25)
    half = torch.full((2, 1, 3, 4, 5), 0.5)
    assert design.excess(half * 0.5) == 0
    assert design.excess(half).item() == pytest.approx(1.0)


def windy(n_times: int, seed: int) -> xr.Dataset:
    """Sea level with a spread that changes from place to place, and is known beforehand; a corner is land."""
    rng = np.random.default_rng(seed)
    shape = (n_times, 8, 10)
    spread = np.exp(rng.standard_normal(shape)).astype("float32")
    ssh = spread * rng.standard_normal(shape).astype("float32")
    spread[:, :2, :3] = np.nan
    coords = {"time": np.arange(n_times), "lat": np.arange(8.0), "lon": np.arange(10.0)}
    dims = ("time", "lat", "lon")
    return xr.Dataset({"ssh": (dims, ssh, {"units": "m"}), "spread": (dims, spread)}, coords)


@pytest.fixture(scope="module")
def designer() -> VarNet:
    """Trained to observe an eighth of the points; what it observes it copies, elsewhere it says 0."""
    torch.manual_seed(0)
    space = oceanvar.StateSpace(
        ("ssh",), ("time", "lat", "lon"), {"time": 1, "lat": 8, "lon": 10}, covariates=("spread",)
    )
    design = SamplingDesign(Conv(2, 1, [1, 1, 1]), ["spread"], 1 / 8, StraightThrough())
    cost = VariationalCost(ObservationTerm())
    model = VarNet(Assimilator(cost, GradientDescent(40.0), 1, sampling=design), space)
    model.assimilator.cost.terms[0].log_weight.requires_grad_(False)
    with torch.no_grad():
        design.network.weight.copy_(torch.tensor([-0.1, 0.0]).view(1, 2, 1, 1, 1))
    options = {"n_epochs": 3, "batch_size": 8, "learning_rate": 0.05, "n_warmup": 1, "device": "cpu"}
    windy(120, 0).varnet.fit(model, RandomFraction(1.0), **options)
    return model


def test_training_learns_where_to_observe(designer):
    """From a network that prefers the quiet places to one that chooses the restless ones."""
    ds = windy(50, 1)
    mask = ds.varnet.design(designer, budget=10)
    assert mask.name == "sampling"
    assert mask.dtype == bool
    assert (mask.sum(("lat", "lon")) == 10).all()
    for name in ("time", "lat", "lon"):
        xr.testing.assert_identical(mask[name].variable, ds[name].variable)
    spread = ds["spread"].fillna(-1).values
    tenth = np.sort(spread.reshape(50, -1), axis=1)[:, [-10]]
    assert (spread[mask.values].reshape(50, 10) >= tenth).all()
    random = ds.assign(
        spread=ds["spread"].copy(data=np.random.default_rng(0).permuted(ds["spread"].values, axis=0))
    )
    by_chance = random.fillna(0.0).varnet.design(designer, budget=10)
    seen, by_luck = (ds.assign(ssh=ds["ssh"].where(m).assign_attrs(units="m")) for m in (mask, by_chance))
    error, blind = (
        float(((each.varnet.assimilate(designer)["ssh"] - ds["ssh"]) ** 2).mean()) for each in (seen, by_luck)
    )
    assert error < 0.7 * blind


def test_a_design_survives_a_file(designer, tmp_path):
    designer.save(tmp_path / "d.varnet")
    ds = windy(3, 2)
    xr.testing.assert_identical(
        ds.varnet.design(str(tmp_path / "d.varnet"), budget=4), ds.varnet.design(designer, budget=4)
    )


def test_patches_of_a_larger_map_and_candidates(designer):
    ds = xr.concat([windy(2, 3), windy(2, 4).assign_coords(lat=np.arange(8.0, 16.0))], "lat")
    east = ds["lon"] > 4
    mask = ds.varnet.design(designer, budget=7, candidates=east)
    assert (mask.sum(("lat", "lon")) == 7).all()
    assert not mask.where(~east, False).any()
    assert not mask.where(ds["spread"].isnull(), False).any()
    with_members = ds.expand_dims(member=2)
    assert (with_members.varnet.design(designer, budget=7).sum(("lat", "lon")) == 7).all()


def test_design_errors(designer, model, obs):
    ds = windy(2, 3)
    with pytest.raises(ConfigError, match="has no learned sampling"):
        obs.varnet.design(model, budget=3)
    with pytest.raises(ConfigError, match="fewest candidates has 74: use 1 to 74"):
        ds.varnet.design(designer, budget=75)
    with pytest.raises(ConfigError, match="lazy"):
        ds.chunk().varnet.design(designer, budget=3)
    with pytest.raises(MissingVariableError, match="no variable 'spread'"):
        ds.drop_vars("spread").varnet.design(designer, budget=3)
