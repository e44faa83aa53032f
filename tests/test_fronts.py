"""The whole chain on a moving front under gaps and noise: accessor, cost, proximal solver, stitching."""

import numpy as np
import pytest
import xarray as xr

import oceanvar
from oceanvar.maps import AbstractMap, Gradient, Identity
from oceanvar.state import Instrument, StateSpace
from oceanvar.variational import (
    LBFGS,
    Assimilator,
    ConjugateGradients,
    Discrepancy,
    GradientDescent,
    MapTerm,
    ObservationTerm,
    ProximalGradient,
    TotalVariation,
    VariationalCost,
)

SHAPE, NOISE = (4, 48, 48), 0.3
SPACE = StateSpace(
    ("sst",),
    ("time", "y", "x"),
    dict(zip(("time", "y", "x"), SHAPE, strict=True)),
    mean={"sst": 0.0},
    std={"sst": 1.0},
)


@pytest.fixture(scope="module")
def front() -> tuple[xr.Dataset, xr.Dataset]:
    """Two water masses, 2 K apart, whose border moves and meanders; 30 % seen, noise 0.3 K."""
    t, y, x = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    values = np.where(x + 4 * np.sin(2 * np.pi * y / 48) > 20 + 3 * t, 1.0, -1.0)
    truth = xr.Dataset({"sst": (("time", "y", "x"), values)})
    rng = np.random.default_rng(0)
    seen = truth + NOISE * rng.normal(size=SHAPE)
    return truth, seen.where(rng.random(SHAPE) < 0.3)


def error(obs: xr.Dataset, truth: xr.Dataset, cost: VariationalCost, solver, n_steps: int, **more) -> float:
    model = oceanvar.VarNet(Assimilator(cost, solver, n_steps, **more), SPACE)
    return float(((obs.varnet.assimilate(model) - truth) ** 2)["sst"].mean() ** 0.5)


def test_total_variation_keeps_the_front_that_squared_gradients_blur(front):
    truth, obs = front
    term = ObservationTerm(weight=1 / NOISE**2)
    squared = min(
        error(obs, truth, VariationalCost(term, MapTerm(Gradient([1, 2]), weight)), ConjugateGradients(), 100)
        for weight in (2.0, 4.0, 8.0)
    )
    kept = min(
        error(obs, truth, VariationalCost(term), ProximalGradient(TotalVariation(weight)), 100)
        for weight in (4.0, 8.0)
    )
    assert squared < 0.3
    assert kept < 0.7 * squared


def test_landweber_stops_when_the_observations_are_fitted_as_closely_as_their_errors(front):
    truth, obs = front
    term = ObservationTerm(variances=[NOISE**2])
    tenth = GradientDescent(0.1 * np.prod(SHAPE) * NOISE**2 / 2)
    model = oceanvar.VarNet(Assimilator(VariationalCost(term), tenth, 200, stop=Discrepancy()), SPACE)
    analysis = obs.varnet.assimilate(model, background=xr.zeros_like(truth))
    misfit = float(((analysis - obs) ** 2)["sst"].mean()) / NOISE**2
    assert 0.5 < misfit <= 1.05**2


class Constant(AbstractMap):
    """Mean over the window of the second variable, at every point: an offset of the window."""

    def forward(self, x):
        return x[:, 1:].mean(dim=(2, 3, 4), keepdim=True).expand_as(x[:, 1:])


class WithOffset(AbstractMap):
    """An instrument that reads the first variable and an offset that is one number per window."""

    def __init__(self):
        super().__init__()
        self.offset = Constant()

    def forward(self, x):
        return x[:, :1] + self.offset(x)


def test_an_unknown_offset_of_an_instrument_is_found_with_the_field(front):
    """Joint identification: a parameter of H for each window is a variable of the state whose mean counts."""
    truth, obs = front
    offset = 0.7
    space = StateSpace(
        ("sst", "offset"),
        ("time", "y", "x"),
        SPACE.patch,
        mean={"sst": 0.0, "offset": 0.0},
        std={"sst": 1.0, "offset": 1.0},
        instruments={"state": Instrument(("sst", "offset")), "other": Instrument(("biased",), ("sst",))},
    )
    rng = np.random.default_rng(1)
    biased = truth["sst"] + offset + NOISE * rng.normal(size=SHAPE)
    given = obs.assign(offset=xr.full_like(truth["sst"], np.nan), biased=biased)
    cost = VariationalCost(
        ObservationTerm(),
        ObservationTerm(WithOffset(), "other"),
        MapTerm(Gradient([0, 1, 2]), 0.2),
        MapTerm(Identity(), 1e-3),
    )
    analysis = given.varnet.assimilate(oceanvar.VarNet(Assimilator(cost, LBFGS(), 100), space))
    assert float(analysis["offset"].mean()) == pytest.approx(offset, abs=0.03)
    errors = ((analysis["sst"] - truth["sst"]) ** 2).mean() ** 0.5
    without = VariationalCost(ObservationTerm(), MapTerm(Gradient([0, 1, 2]), 0.2))
    assert float(errors) < 0.8 * error(obs, truth, without, LBFGS(), 100)
