"""Training a part of a model, without truth by the cost alone, and an energy from unpaired fields."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

import oceanvar
from oceanvar.errors import ConfigError, MissingVariableError
from oceanvar.maps import Chain, Conv, Gradient, InputConvex, SiLU, TotalOf
from oceanvar.observing import RandomFraction
from oceanvar.state import Instrument, StateSpace, Symmetries
from oceanvar.state.windows import WindowSource
from oceanvar.training.losses import LossWeights
from oceanvar.variational import (
    LBFGS,
    Assimilator,
    ConjugateGradients,
    EnergyTerm,
    LSTMSolver,
    MapTerm,
    ObservationTerm,
    VariationalCost,
)
from tests.training.test_training import QUICK, small, truth  # noqa: F401


def parts(model: oceanvar.VarNet) -> dict[str, torch.Tensor]:
    return {name: each.detach().clone() for name, each in model.assimilator.named_parameters()}


def test_frozen_parts_keep_their_weights_and_may_be_trained_again(truth):  # noqa: F811
    model = small()
    before = parts(model)
    truth.varnet.fit(model, RandomFraction(0.3), freeze=["cost.terms.1", "solver.update"], **QUICK)
    for name, each in parts(model).items():
        assert torch.equal(each, before[name]) == name.startswith(("cost.terms.1", "solver.update")), name
    assert all(each.requires_grad for each in model.assimilator.parameters())
    with pytest.raises(
        ConfigError, match=r"freeze names 'solver.up', and no weight begins so: there are cost"
    ):
        truth.varnet.fit(model, RandomFraction(0.3), freeze=["solver.up"], **QUICK)
    with pytest.raises(ConfigError, match="leaves nothing to train"):
        truth.varnet.fit(model, RandomFraction(0.3), freeze=["cost", "solver"], **QUICK)
    with pytest.raises(ConfigError, match=r"give \['cost'\]"):
        truth.varnet.fit(model, RandomFraction(0.3), freeze="cost", **QUICK)


def test_a_solver_that_is_trained_by_the_cost_alone_learns_to_minimise(truth):  # noqa: F811
    """No truth in the loss: the analyses come near those of conjugate gradients on the same quadratic cost."""
    torch.manual_seed(0)
    cost = VariationalCost(ObservationTerm(weight=3.0), MapTerm(Gradient([0, 1], [False, True])))
    space = replace(small().state_space, patch={"time": 8, "x": 16})
    model = oceanvar.VarNet(Assimilator(cost, LSTMSolver(1, 8, [3, 3], [False, True]), 5), space)
    obs = truth.varnet.observe(RandomFraction(0.3), seed=5)
    alone = LossWeights(reconstruction=0.0, truth_projection=0.0, analysis_projection=0.0, cost=1.0)

    def distance() -> float:
        exact = replace(model, assimilator=Assimilator(cost, ConjugateGradients(), 100))
        one, other = (obs.varnet.assimilate(each)["h"] for each in (model, exact))
        return float(((one - other) ** 2).mean() ** 0.5)

    model.normalise(space.normalised_by(truth))
    before = distance()
    truth.varnet.fit(
        model, RandomFraction(0.3), weights=alone, freeze=["cost"], n_epochs=15, batch_size=8, n_samples=64,
        learning_rate=1e-2, device="cpu",
    )  # fmt: skip
    assert distance() < 0.35 * before


def fields(n: int, shift: float, seed: int) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    values = rng.normal(shift, 1, (n, 4, 6)).astype(np.float32)
    return xr.Dataset(
        {"h": (("time", "y", "x"), values)}, {"time": np.arange(n), "y": range(4), "x": range(6)}
    )


def with_energy(energy_map) -> oceanvar.VarNet:
    space = StateSpace(
        ("h",), ("time", "y", "x"), {"time": 2, "y": 4, "x": 6}, mean={"h": 0.0}, std={"h": 1.0}
    )
    return oceanvar.VarNet(
        Assimilator(VariationalCost(ObservationTerm(), EnergyTerm(energy_map)), LBFGS(), 20), space
    )


def test_the_critic_of_shifted_fields_measures_the_shift():
    """The distance of Wasserstein between two distributions that differ by a shift is the shift (Villani, 2003)."""
    torch.manual_seed(0)
    model = with_energy(TotalOf(Chain(Conv(1, 6, [1, 3, 3], bias=True), SiLU(), Conv(6, 1, [1, 1, 1]))))
    history = oceanvar.fit_energy(
        model, fields(200, 0.0, 1), fields(200, 0.8, 2), n_steps=250, learning_rate=1e-2, penalty=30.0
    )
    assert float(history["distance"][-50:].mean()) == pytest.approx(0.8, rel=0.15)
    assert float(history["slope"][-50:].mean()) == pytest.approx(1, abs=0.15)


def test_a_learned_energy_draws_analyses_to_what_is_plausible():
    torch.manual_seed(0)
    model = with_energy(InputConvex(1, 6, [1, 3, 3], strength=0.1))
    oceanvar.fit_energy(model, fields(100, 0.0, 1), fields(100, 2.0, 2), n_steps=150, learning_rate=1e-2)
    seen = fields(4, 2.0, 3)
    # The same observations, once with the energy and once with next to none of it.
    analysis = seen.varnet.assimilate(model)["h"]
    weak = copy.deepcopy(model)
    with torch.no_grad():
        weak.assimilator.cost.terms[1].log_weight -= 14
    assert float(analysis.mean()) < float(seen.varnet.assimilate(weak)["h"].mean()) - 0.1


def test_what_is_no_energy_is_told():
    with pytest.raises(ConfigError, match="trains one EnergyTerm, and the cost of the model has 0"):
        oceanvar.fit_energy(small(), fields(10, 0, 1), fields(10, 0, 2))
    model = with_energy(TotalOf(Conv(1, 1, [1, 3, 3])))
    with pytest.raises(ConfigError, match="must be at least 1"):
        oceanvar.fit_energy(model, fields(10, 0, 1), fields(10, 0, 2), n_steps=-1)
    with pytest.raises(MissingVariableError, match="implausible fields"):
        oceanvar.fit_energy(model, fields(10, 0, 1), fields(10, 0, 2).rename(h="other"))


def test_windows_are_turned_with_what_was_observed_of_them():
    """Without noise, whatever is observed is the truth there; and a pseudoscalar comes in both signs."""
    values = 1 + np.random.default_rng(0).random((30, 4, 4)).astype(np.float32)
    ds = xr.Dataset({"q": (("time", "y", "x"), values)})
    space = StateSpace(
        ("q",), ("time", "y", "x"), {"time": 2, "y": 4, "x": 4}, mean={"q": 0.0}, std={"q": 1.0}
    )
    source = WindowSource(ds, space, RandomFraction(0.5), symmetries=Symmetries("all", pseudoscalars=["q"]))
    drawn = [source.draw(np.random.default_rng(i)) for i in range(20)]
    assert {float(np.sign(each.truth).mean()) for each in drawn} == {-1.0, 1.0}
    for each in drawn:
        seen = np.isfinite(each.inputs)
        assert 0 < seen.sum() < seen.size
        np.testing.assert_array_equal(each.inputs[seen], each.truth[seen])
    model = oceanvar.VarNet(
        Assimilator(
            VariationalCost(ObservationTerm(), MapTerm(Gradient([1, 2]))), LSTMSolver(1, 2, [3] * 3), 1
        ),
        space,
    )
    history = ds.varnet.fit(
        model, RandomFraction(0.5), symmetries=Symmetries("mirrors"), n_epochs=1, batch_size=4, n_samples=4
    )
    assert np.isfinite(history["loss"]).all()
    tracked = replace(space, instruments={"track": Instrument(("q",), along_track=True)})
    place = {name: ("n", np.zeros(1)) for name in ("time", "y", "x")}
    with pytest.raises(ConfigError, match="given along-track samples stay where they are"):
        WindowSource(
            ds.assign_coords({dim: np.arange(n) for dim, n in ds.sizes.items()}),
            tracked,
            RandomFraction(0.5),
            along_track={"track": xr.Dataset({"q": ("n", np.ones(1))}, place)},
            symmetries=Symmetries("mirrors"),
        )
