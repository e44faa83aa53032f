"""The learned methods of `scripts.ocean`: direct inversion by a U-Net, and 4DVarNet that goes on from it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import xarray as xr

import oceanvar
from oceanvar.network import fourdvarnet
from oceanvar.observing import AbstractSampler
from oceanvar.variational import (
    Assimilator,
    GradientDescent,
    LearnedStart,
    ObservationTerm,
    VariationalCost,
    unet,
)
from scripts.keeping import kept_model
from scripts.ocean.cases import FIRST_TRAINING_SEED, FIRST_VALIDATION_SEED, NOISE, Scale, space, years


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

    return fitted(model, out, data, sampler, scale, seed, n_validation=192, learning_rate=2e-3, **settings)


def fitted(
    model: oceanvar.VarNet,
    folder: Path,
    data: Callable[[], tuple[xr.Dataset, xr.Dataset]],
    sampler: AbstractSampler,
    scale: Scale,
    seed: int,
    **settings: Any,
) -> oceanvar.VarNet:
    """Train on the first of the data and validate on the second, or load what an earlier run has trained."""

    def train() -> oceanvar.VarNet:
        learning, validation = data()
        history = learning.varnet.fit(
            model,
            sampler,
            noise_std=NOISE,
            validation=validation,
            n_samples=scale.n_samples,
            batch_size=16,
            precision="bfloat16",
            seed=seed,
            checkpoint=folder,
            resume=True,
            progress=True,
            **settings,
        )
        model.provenance["minutes of training"] = round(float(history["seconds"].sum()) / 60, 1)
        history.to_netcdf(folder / "history.nc")
        return model

    return kept_model(folder / "model.varnet", train)


def n_parameters(model: oceanvar.VarNet) -> int:
    """Learned numbers of a model."""
    return sum(p.numel() for p in model.assimilator.parameters())
