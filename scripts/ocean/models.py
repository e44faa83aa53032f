"""The learned methods of `scripts.ocean`: direct inversion by a U-Net, and 4DVarNet that goes on from it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch import Tensor

import oceanvar
from oceanvar.maps import (
    AbstractMap,
    ByDistance,
    Chain,
    FirstAndLater,
    GaussianFilter,
    ToNormalised,
    ToPhysical,
    in_physical_units,
)
from oceanvar.maps.units import scaled_parts
from oceanvar.network import fourdvarnet
from oceanvar.observing import AbstractSampler, EveryNthStep
from oceanvar.training import LossWeights
from oceanvar.variational import (
    LBFGS,
    Assimilator,
    ControlSpace,
    FlowPrior,
    ForecastControl,
    GradientDescent,
    LearnedStart,
    ObservationTerm,
    PriorTerm,
    VariationalCost,
    residual_step,
    unet,
)
from scripts.keeping import kept_model
from scripts.ocean.cases import (
    BOX,
    DIMS,
    FIRST_TRAINING_SEED,
    FIRST_VALIDATION_SEED,
    NOISE,
    Scale,
    space,
    years,
)

N_STEPS = 10
"""Iterations of 4D-Var behind the direct inversion."""

RELAXED, N_BORDER = 0.1, 8
"""Share by which a forecast of a day is drawn to the first guess, and the cells in which it grows to 1 at a border."""

FIRST_ERROR, FIRST_LENGTH = 0.017, 2.7
"""Standard deviation of the error of the first guess, m, and its correlation length, cells."""

MODEL_ERROR, MODEL_LENGTH, BORDER_ERROR = 6.0, 2.7, 0.04
"""What the errors of the learned day are multiplied by, for they are alike from day to day; their length, cells; and
the error of what comes in through the border, m."""

BACKGROUND_WEIGHT = 0.5
"""The first guess has seen the observations that the cost brings a second time."""

LEADS = 5
"""Days of the forecasts that a step learns from in the end."""

STEP_NOISE = 0.003
"""Standard deviation of what is added there to the first day, m: else errors of small scales grow in forecasts."""


def direct_inversion(scale: Scale, seed: int, covariates: Sequence[str] = ()) -> oceanvar.VarNet:
    """U-Net from observations and covariates to the state, untrained; no iteration follows."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = unet(3 + 2 * len(covariates), 1, scale.widths, (3, 3), n_times_folded=scale.patch[0])
    # Convolutions in half precision are a third faster with the channels innermost.
    network = network.to(memory_format=torch.channels_last)
    start = LearnedStart(network, covariates=covariates)
    cost = VariationalCost(ObservationTerm())
    return oceanvar.VarNet(Assimilator(cost, GradientDescent(1.0), 0, start), space(scale, covariates))


def iterated(scale: Scale, seed: int, start: oceanvar.VarNet) -> oceanvar.VarNet:
    """4DVarNet from a trained direct inversion, which stays as it is: its prior and solver are untrained."""
    model = fourdvarnet(
        space(scale), n_steps=scale.n_steps, n_features=scale.n_features, start_widths=scale.widths, seed=seed
    )
    model.assimilator.start.load_state_dict(start.assimilator.start.state_dict())
    model.assimilator.start.requires_grad_(False)
    model.assimilator.to(memory_format=torch.channels_last)
    return model


def fitted_on_years(
    model: oceanvar.VarNet,
    out: Path,
    scale: Scale,
    sampler: AbstractSampler,
    seed: int,
    cover: Callable[[xr.Dataset], xr.Dataset] = lambda years: years,
    **settings: Any,
) -> oceanvar.VarNet:
    """Train on the years, observed afresh in every epoch; `cover` hides what is not seen of the covariates."""
    names = ("ssh", *model.state_space.covariates)

    def data() -> tuple[xr.Dataset, xr.Dataset]:
        return (
            cover(years(out.parent, scale, FIRST_TRAINING_SEED, scale.n_years, names)),
            cover(years(out.parent, scale, FIRST_VALIDATION_SEED, 1, names)),
        )

    usual = {"n_validation": 192, "learning_rate": 2e-3}
    return fitted(model, out, data, sampler, scale, seed, **{**usual, **settings})


def fitted(
    model: oceanvar.VarNet,
    folder: Path,
    data: Callable[[], tuple[xr.Dataset, xr.Dataset]],
    sampler: AbstractSampler | None,
    scale: Scale,
    seed: int,
    **settings: Any,
) -> oceanvar.VarNet:
    """Train on the first of the data and validate on the second, or load what an earlier run has trained."""
    usual = {"noise_std": NOISE, "n_samples": scale.n_samples, "batch_size": 16, "precision": "bfloat16"}

    def train() -> oceanvar.VarNet:
        learning, validation = data()
        history = learning.varnet.fit(
            model,
            sampler,
            validation=validation,
            seed=seed,
            checkpoint=folder,
            resume=True,
            progress=True,
            **{**usual, **settings},
        )
        model.provenance["minutes of training"] = round(float(history["seconds"].sum()) / 60, 1)
        history.to_netcdf(folder / "history.nc")
        return model

    return kept_model(folder / "model.varnet", train)


def learned_step(out: Path, scale: Scale, seed: int) -> oceanvar.VarNet:
    """Model of a day, learned from single days of the years, then from forecasts with noise on their first day."""
    stages = {
        "days": (1, {"n_samples": 3 * scale.n_samples, "learning_rate": 3e-3, "noise_std": 0.0}),
        "forecasts": (LEADS, {"learning_rate": 1e-3, "noise_std": STEP_NOISE}),
    }
    model = stepping(scale, seed, 2)
    for n_epochs, (name, (n_leads, settings)) in zip(scale.n_epochs_step, stages.items(), strict=True):
        before, model = model, stepping(scale, seed, n_leads)
        model.assimilator.load_state_dict(before.assimilator.state_dict())
        weights = LossWeights(0.0, 0.0, 0.0, forecasts=(1.0,) * n_leads)
        usual = {
            "n_epochs": n_epochs,
            "weights": weights,
            "prior_rate": 1.0,
            "batch_size": 8,
            "n_validation": 96,
        }
        folder = out / "step" / name
        model = fitted_on_years(model, folder, scale, EveryNthStep(1), seed, **usual, **settings)
    return model


def stepping(scale: Scale, seed: int, n_leads: int) -> oceanvar.VarNet:
    """Model whose prior is a forecast of a day, with windows for forecasts of `n_leads` days; untrained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        step = residual_step(1, scale.step_widths, (3, 3)).to(memory_format=torch.channels_last)
    # Two forecasts of a window are the least.
    n_days = max(n_leads + 1, 3)
    patch = dict(zip(DIMS, (n_days, scale.patch[1], scale.patch[1]), strict=True))
    windows = oceanvar.StateSpace(("ssh",), DIMS, patch, dict.fromkeys(DIMS, 0))
    cost = VariationalCost(ObservationTerm(), PriorTerm(FlowPrior(step)))
    return oceanvar.VarNet(Assimilator(cost, GradientDescent(1.0), 0), windows)


def as_periodic(model: oceanvar.VarNet, scale: Scale) -> AbstractMap:
    """Model of a day of sea level in m for the periodic box, from one that has learned in open windows."""
    step = residual_step(1, scale.step_widths, (3, 3), [True] * len(BOX))
    step.load_state_dict(model.assimilator.cost.prior.one_step.state_dict())
    return in_metres(step, model.state_space)


def in_metres(step: AbstractMap, space: oceanvar.StateSpace) -> AbstractMap:
    """Step of sea level in m, from one of normalised states."""
    scales = ToNormalised(1), ToPhysical(1)
    for each in scales:
        each.set_([space.mean["ssh"]], [space.std["ssh"]])
    return Chain(scales[0], step.requires_grad_(False), scales[1])


def with_dynamics(start: oceanvar.VarNet, step: oceanvar.VarNet, errors: Tensor) -> oceanvar.VarNet:
    """4D-Var behind a learned first guess, with a learned model of a day, in windows with open borders.

    Parameters
    ----------
    start : VarNet
        Direct inversion; its analysis is the first guess and the background.
    step : VarNet
        From `learned_step`.
    errors : Tensor
        Of forecasts of a day from the truth in windows with open borders, m, ``(N, n, n)``.
    """
    space = start.state_space
    mean, std = space.mean["ssh"], space.std["ssh"]
    day = in_physical_units(in_metres(step.assimilator.cost.prior.one_step, step.state_space), 1)
    for units in scaled_parts(day):
        units.set_([mean], [std])
    relaxation = [max(RELAXED, (1 - away / N_BORDER) ** 2) for away in range(N_BORDER + 1)]
    later = [
        math.hypot(MODEL_ERROR * error, share * BORDER_ERROR) / std
        for share, error in zip(relaxation, by_distance(errors, N_BORDER + 1), strict=True)
    ]
    first = FIRST_ERROR / BACKGROUND_WEIGHT**0.5 / std
    spread = FirstAndLater(
        Chain(GaussianFilter([FIRST_LENGTH] * 2), ByDistance([first])),
        Chain(GaussianFilter([MODEL_LENGTH] * 2), ByDistance(later)),
    )
    control = ForecastControl(day, spread, relaxation=relaxation)
    cost = VariationalCost(ObservationTerm(variances=[(NOISE / std) ** 2]))
    solver = ControlSpace(LBFGS(), control)
    # How errors depend on borders is to be measured anew.
    return oceanvar.VarNet(
        Assimilator(cost, solver, N_STEPS, start.assimilator.start), replace(space, borders={})
    )


def by_distance(errors: Tensor, n: int) -> list[float]:
    """Root mean squares of errors ``(N, n, n)`` by the distance of points from the border; of all further ones last."""
    found = []
    for away in range(n):
        inside = errors[:, away : errors.shape[1] - away, away : errors.shape[2] - away].square()
        ring = inside.clone()
        if away < n - 1:
            ring[:, 1:-1, 1:-1] = torch.nan
        found.append(float(ring.nanmean().sqrt()))
    return found


def n_parameters(model: oceanvar.VarNet) -> int:
    """Learned numbers of a model."""
    return sum(p.numel() for p in model.assimilator.parameters())
