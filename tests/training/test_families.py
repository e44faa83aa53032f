"""Families of the lectures are trained by `fit`, saved, loaded and used like any other model."""

import numpy as np
import pytest
import xarray as xr

import oceanvar
from oceanvar.maps import Chain, Conv, GroupAverage, SiLU
from oceanvar.observing import RandomFraction
from oceanvar.state import StateSpace
from oceanvar.training import LossWeights
from oceanvar.variational import (
    LBFGS,
    Assimilator,
    Denoiser,
    GradientDescent,
    Huber,
    ImplicitFixedPoint,
    ImplicitMinimum,
    MapTerm,
    ObservationTerm,
    PerChannel,
    ProximalGradient,
    SmoothedL1,
    VariationalCost,
)

SPACE = StateSpace(
    ("h",), ("time", "y", "x"), {"time": 2, "y": 8, "x": 8}, {"time": 0}, mean={"h": 0.0}, std={"h": 1.0}
)
ANALYSES = LossWeights(truth_projection=0.0, analysis_projection=0.0)


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    y, x = np.mgrid[:8, :8] * 2 * np.pi / 8
    phases = np.random.default_rng(0).random((60, 2)) * 2 * np.pi
    fields = [np.sqrt(2) * (np.sin(y + p) + np.cos(x + q)) / np.sqrt(2) for p, q in phases]
    return xr.Dataset({"h": (("time", "y", "x"), np.array(fields, np.float32))})


def network() -> Chain:
    return Chain(Conv(1, 8, [1, 5, 5], bias=True), SiLU(), Conv(8, 1, [1, 5, 5]))


def experts() -> MapTerm:
    """Filters, each with a penalty whose size is learned."""
    penalties = PerChannel(
        Huber(0.3, trainable=True), SmoothedL1(0.3, trainable=True), Huber(0.3, trainable=True)
    )
    return MapTerm(Conv(1, 3, [1, 3, 3]), 0.3, penalties)


FAMILIES = {
    "learned proximal gradients": lambda: Assimilator(
        VariationalCost(ObservationTerm()), ProximalGradient(Denoiser(network()), accelerated=False), 6
    ),
    "deep equilibrium": lambda: Assimilator(
        VariationalCost(ObservationTerm()),
        ProximalGradient(Denoiser(network(), relaxation=0.3), accelerated=False),
        25,
        unroll=ImplicitFixedPoint(tolerance=1e-3),
    ),
    "Fields of Experts, bilevel": lambda: Assimilator(
        VariationalCost(ObservationTerm(), experts()), LBFGS(), 25, unroll=ImplicitMinimum(tolerance=1e-3)
    ),
    "variational network": lambda: Assimilator(
        VariationalCost(ObservationTerm(), experts()), GradientDescent(40.0), 8
    ),
    "equivariant": lambda: Assimilator(
        VariationalCost(ObservationTerm()),
        ProximalGradient(Denoiser(GroupAverage(network(), "rotations")), accelerated=False),
        4,
    ),
}


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_family_learns_is_saved_and_maps(name, truth, tmp_path):
    model = oceanvar.VarNet(FAMILIES[name](), SPACE)
    # A denoiser that learns quickly is soon no contraction, and its fixed point ill-conditioned, which is told.
    rate = 2e-3 if name == "deep equilibrium" else 1e-2
    history = truth.varnet.fit(
        model, RandomFraction(0.5), noise_std=0.3, n_epochs=6, n_samples=32, batch_size=8, learning_rate=rate,
        n_warmup=5, weights=ANALYSES, validation=0.2, device="cpu",
    )  # fmt: skip
    losses = history["validation_loss"].values
    assert np.isfinite(losses).all()
    assert losses.min() < 0.95 * losses[0]
    model.save(tmp_path / "model.varnet")
    obs = truth.isel(time=slice(8)).varnet.observe(RandomFraction(0.5), noise_std=0.3, seed=1)
    again = oceanvar.load(tmp_path / "model.varnet")
    xr.testing.assert_allclose(obs.varnet.assimilate(again), obs.varnet.assimilate(model), atol=1e-5)
