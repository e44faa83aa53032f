"""Families of priors: how each makes a model of a problem, with one number to choose on validation fields."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

import oceanvar
from oceanvar.baselines import interpolate_linear
from oceanvar.maps import AbstractMap, Gradient, InputConvex
from oceanvar.observing import RandomFraction
from oceanvar.training.losses import LossWeights
from oceanvar.variational import (
    LBFGS,
    Assimilator,
    ClimateMean,
    ConjugateGradients,
    ControlSpace,
    Denoiser,
    DenoisingTerm,
    DictionaryPrior,
    EnergyTerm,
    EOFPrior,
    GenerativeTerm,
    GradientDescent,
    Grouped,
    Huber,
    Latent,
    LearnedStart,
    MapTerm,
    ObservationTerm,
    PriorTerm,
    ProximalGradient,
    SeparableSpread,
    TotalGeneralisedVariation,
    TotalVariation,
    VariationalCost,
    autoencoder_prior,
    generator_of,
    unet,
)
from scripts.priors.problems import CLOUDS, CLOUDS_NOISE, Problem, Scale

DENOISED_STD = 0.5
"""Of the noise that the denoiser learns to take off, normalised."""

N_LATENT = 40

ANALYSES = LossWeights(truth_projection=0.0, analysis_projection=0.0)


@dataclass(frozen=True)
class Family:
    """One family.

    Parameters
    ----------
    name : str
        As the table names it.
    needs : str
        What it learns from.
    prepare : callable
        Learns what there is to learn from a problem; what it gives is handed to `model`.
    model : callable
        Model of a problem, given what was prepared and the number.
    choices : sequence of float
        Numbers to choose from.
    """

    name: str
    needs: str
    prepare: Callable[[Problem, Scale], Any]
    model: Callable[[Problem, Any, float], Assimilator]
    choices: Sequence[float]


def nothing(problem: Problem, scale: Scale) -> None:
    """No learning."""
    del problem, scale


def shape_of(problem: Problem) -> tuple[int, ...]:
    """Shape of a state."""
    return (1, *problem.space.patch.values())


def states(problem: Problem, scale: Scale) -> torch.Tensor:
    """All windows of the learning year, normalised, ``(N, V, T, *S)``."""
    values = (problem.learning["sst"].values - problem.space.mean["sst"]) / problem.space.std["sst"]
    return (
        torch.from_numpy(values)
        .unfold(0, problem.space.patch["time"], 1)
        .movedim(-1, 1)[:, None]
        .contiguous()
    )


def quadratic(penalised: Callable[[float], MapTerm]) -> Callable[..., Assimilator]:
    """Conjugate gradients on a cost with one squared term."""

    def model(problem: Problem, prepared: AbstractMap | None, number: float) -> Assimilator:
        cost = VariationalCost(problem.term(), penalised(number))
        return Assimilator(cost, ConjugateGradients(), 80, ClimateMean())

    return model


def smooth(number: float) -> MapTerm:
    """Squared gradients in space and time."""
    return MapTerm(Gradient([0, 1, 2]), weight=number)


def edge_preserving(problem: Problem, prepared: None, number: float) -> Assimilator:
    """Huber's penalty of gradients."""
    gradient = MapTerm(Gradient([0, 1, 2]), number, Grouped(Huber(0.1)))
    return Assimilator(VariationalCost(problem.term(), gradient), LBFGS(), 150, ClimateMean())


def proximal(kind: Callable[..., TotalVariation | TotalGeneralisedVariation]) -> Callable[..., Assimilator]:
    """Accelerated proximal gradients."""

    def model(problem: Problem, prepared: None, number: float) -> Assimilator:
        solver = ProximalGradient(kind(number, gradient=Gradient([0, 1, 2]), n_inner=5))
        return Assimilator(VariationalCost(problem.term()), solver, 80, ClimateMean())

    return model


def correlated(problem: Problem, prepared: None, number: float) -> Assimilator:
    """A background with correlations in space and time: optimal interpolation, window by window."""
    spread = SeparableSpread([6.0, number, number], "matern32")
    solver = ControlSpace(ConjugateGradients(), Latent(spread, shape_of(problem)))
    return Assimilator(VariationalCost(problem.term()), solver, 60, ClimateMean())


def eofs(problem: Problem, scale: Scale) -> AbstractMap:
    """Functions of windows."""
    found = states(problem, scale)
    return EOFPrior(shape_of(problem), min(60, len(found) - 1)).fit_(found)


def dictionary(problem: Problem, scale: Scale) -> AbstractMap:
    """Atoms of blocks of one day."""
    found = states(problem, scale)
    return DictionaryPrior([1, 8, 8], 1, 128, n_nonzero=6).fit_(found[:: max(1, len(found) // 100)])


def with_prior(solver: Callable[[], object], n_steps: int) -> Callable[..., Assimilator]:
    """|x - Phi(x)|^2 with a weight."""

    def model(problem: Problem, prepared: AbstractMap, number: float) -> Assimilator:
        cost = VariationalCost(problem.term(), PriorTerm(prepared, number))
        return Assimilator(cost, solver(), n_steps, ClimateMean())  # type: ignore[arg-type]

    return model


def denoiser(problem: Problem, scale: Scale) -> AbstractMap:
    """U-Net that takes white noise off true fields; it never sees a cloud or a footprint."""
    network = unet(3, 1, (24, 48), (3, 3), n_times_folded=scale.patch["time"])
    start = LearnedStart(network)
    space = replace(problem.space, instruments={})
    model = oceanvar.VarNet(Assimilator(VariationalCost(ObservationTerm()), LBFGS(), 0, start), space)
    noise = DENOISED_STD * problem.space.std["sst"]
    problem.learning.varnet.fit(
        model,
        RandomFraction(1.0),
        noise_std=noise,
        n_epochs=scale.n_epochs,
        n_samples=scale.n_samples,
        batch_size=16,
        weights=ANALYSES,
    )
    return _AsMap(start)


class _AsMap(AbstractMap):
    """A learned start as a map of complete fields."""

    def __init__(self, start: LearnedStart):
        super().__init__()
        self.start = start

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What it makes of a field that is seen everywhere."""
        return self.start(oceanvar.variational.Observations({"state": x}, {"state": torch.ones_like(x)}))


def plugged(problem: Problem, prepared: AbstractMap, number: float) -> Assimilator:
    """The denoiser in the place of a proximal map; the number is the step, in units of 1 / curvature."""
    cost = VariationalCost(problem.term())
    n = int(np.prod(shape_of(problem)))
    step = number * n * problem.variance / 2
    solver = ProximalGradient(Denoiser(prepared, relaxation=0.5), step_size=step, accelerated=False)
    return Assimilator(cost, solver, 60, ClimateMean())


def by_denoising(problem: Problem, prepared: AbstractMap, number: float) -> Assimilator:
    """The energy of the denoiser."""
    cost = VariationalCost(problem.term(), DenoisingTerm(prepared, number))
    return Assimilator(cost, LBFGS(), 60, ClimateMean())


def contrasted(problem: Problem, scale: Scale) -> AbstractMap:
    """A convex energy, low for true fields and high for interpolations of another year's observations."""
    energy = InputConvex(1, 12, [3, 5, 5], n_layers=2, strength=0.3)
    cost = VariationalCost(ObservationTerm(), EnergyTerm(energy))
    space = replace(problem.space, instruments={})
    model = oceanvar.VarNet(Assimilator(cost, LBFGS(), 60, ClimateMean()), space)
    other = problem.validation
    if problem.name == "clouds":
        poor = interpolate_linear(problem.observed(other, 9)).fillna(space.mean["sst"])[["sst"]]
    else:
        poor = problem.observed(other, 9)[["beam"]].rename(beam="sst")
    oceanvar.fit_energy(model, problem.learning, poor, n_steps=scale.n_energy_steps, batch_size=8)
    return energy


def with_energy(problem: Problem, prepared: AbstractMap, number: float) -> Assimilator:
    """The learned energy, with a weight."""
    cost = VariationalCost(problem.term(), EnergyTerm(prepared, number))
    return Assimilator(cost, LBFGS(), 60, ClimateMean())


def generator(problem: Problem, scale: Scale) -> AbstractMap:
    """Decoder of a dense auto-encoder, trained on true fields."""
    shape = shape_of(problem)
    prior = autoencoder_prior(shape, (300, N_LATENT), (300,))
    found, optimizer = states(problem, scale), torch.optim.Adam(prior.parameters(), lr=1e-3)
    rng = np.random.default_rng(0)
    for _ in range(60 * scale.n_epochs):
        batch = found[rng.integers(len(found), size=32)]
        latent = prior.inner.maps[0](batch.flatten(1))
        loss = (prior(batch) - batch).square().mean() + 1e-3 * latent.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return generator_of(prior, shape)


def in_range(problem: Problem, prepared: AbstractMap, number: float) -> Assimilator:
    """Analyses that the generator can make; the number multiplies the weight of the observations."""
    cost = VariationalCost(problem.term())
    with torch.no_grad():
        cost.terms[0].log_weight += np.log(number)
    return Assimilator(cost, ControlSpace(LBFGS(), Latent(prepared, [N_LATENT])), 60, ClimateMean())


def near_range(problem: Problem, prepared: AbstractMap, number: float) -> Assimilator:
    """Analyses near what the generator can make."""
    term = GenerativeTerm(prepared, [N_LATENT], strength=0.1, weight=number, n_inner=10)
    return Assimilator(VariationalCost(problem.term(), term), LBFGS(), 20, ClimateMean())


def direct(problem: Problem, scale: Scale) -> LearnedStart:
    """A U-Net that learns the way from these observations to the truth."""
    start = LearnedStart(unet(3, 1, (24, 48), (3, 3), n_times_folded=scale.patch["time"]))
    model = oceanvar.VarNet(Assimilator(VariationalCost(problem.term()), LBFGS(), 0, start), problem.space)
    problem.learning.varnet.fit(
        model,
        CLOUDS,
        noise_std=CLOUDS_NOISE,
        n_epochs=scale.n_epochs,
        n_samples=scale.n_samples,
        batch_size=16,
        weights=ANALYSES,
    )
    return start


def started(problem: Problem, prepared: LearnedStart, number: float) -> Assimilator:
    """What the U-Net says."""
    return Assimilator(VariationalCost(problem.term()), LBFGS(), 0, prepared)


FAMILIES = [
    Family("squared gradients", "nothing", nothing, quadratic(smooth), (0.1, 0.3, 1.0, 3.0, 10.0)),
    Family("correlated background", "nothing", nothing, correlated, (3.0, 4.5, 6.0, 9.0)),
    Family("Huber of gradients", "nothing", nothing, edge_preserving, (1.0, 3.0, 10.0, 30.0, 100.0)),
    Family("total variation", "nothing", nothing, proximal(TotalVariation), (1.0, 3.0, 10.0, 30.0)),
    Family("generalised variation", "nothing", nothing, proximal(TotalGeneralisedVariation), (3.0, 10.0)),
    Family("EOFs", "fields", eofs, with_prior(ConjugateGradients, 80), (0.1, 1.0, 10.0, 100.0)),
    Family("dictionary", "fields", dictionary, with_prior(GradientDescent, 40), (1.0, 10.0)),
    Family("generator, range", "fields", generator, in_range, (0.01, 0.1, 1.0)),
    Family("generator, near range", "fields", generator, near_range, (0.3, 3.0)),
    Family("denoiser, plugged in", "fields", denoiser, plugged, (0.3, 1.0, 3.0)),
    Family("denoiser, energy", "fields", denoiser, by_denoising, (0.03, 0.1, 0.3)),
    Family("convex energy", "fields, unpaired maps", contrasted, with_energy, (0.03, 0.3, 3.0)),
    Family("U-Net", "fields and their observations", direct, started, (1.0,)),
]
