"""Row of `scripts.ocean`: where should the observations of today go, given the analysis of yesterday."""

import copy
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure

import oceanvar
from oceanvar.maps import AbstractMap, Chain, Conv
from oceanvar.metrics import score_table
from oceanvar.observing import AbstractSampler, Lattice, RandomCells, RandomFraction
from oceanvar.plots.canvas import new_figure
from oceanvar.variational import (
    Assimilator,
    GradientDescent,
    GreedyReduction,
    LearnedStart,
    ObservationTerm,
    SamplingDesign,
    VariationalCost,
    unet,
)
from scripts.keeping import kept
from scripts.ocean import altimeters
from scripts.ocean.cases import (
    DIMS,
    FIRST_TRAINING_SEED,
    FIRST_VALIDATION_SEED,
    NOISE,
    Scale,
    over_months,
)
from scripts.ocean.days import KNOWN, days_of_month, year
from scripts.ocean.models import fitted

SHARE = 0.06
LENGTH = 2.0
"""Of the correlation of errors in the choice, cells."""

FLOOR = 1e-3
"""Smaller errors count as this in logarithms, m."""

LOG_SQUARE = 1.27
"""Logarithm of the variance of a normal variable less the mean logarithm of its square."""

N_SEEN = 3
"""Channels that a `LearnedStart` makes of the observations."""

NONE, RANDOM, REGULAR, NADIRS, LEARNED = "none", "random", "regular", "nadirs", "learned"
THROUGH = "learned through the mask"


def run(out: Path, scale: Scale, seed: int) -> dict:
    """Train a choice, and one network for what each sampling sees, and score them on every month."""
    data = training_days(out, scale, seed)
    models = trained(out / "sampling", data, scale, seed)
    ablation = kept(out / "sampling" / "ablation.json", lambda: variants(data[1], models))
    del models[THROUGH]
    analyses = altimeters.train(out, scale, seed)
    print(f"validation: {ablation}", flush=True)

    def score(number: int) -> dict:
        days = days_of_month(out, scale, number, analyses)
        found = {name: today(days, name, model, number) for name, model in models.items()}
        if number == 0:
            figure = draw(
                days, {each: found[each] for each in (REGULAR, LEARNED)}, days.sizes["trajectory"] // 2
            )
            figure.savefig(out / "sampling.png", dpi=80)
        return {name: errors_of(each, days) for name, each in found.items()}

    months = over_months(out / "sampling" / "scores", scale, score)
    pairs = {f"{LEARNED} / {each}": (LEARNED, each) for each in (RANDOM, REGULAR, NADIRS)}
    return {**score_table(months, pairs), "ablation": ablation, "months": months}


def today(days: xr.Dataset, name: str, model: oceanvar.VarNet, seed: int) -> xr.Dataset:
    """Observe today's sea level as one sampling has it, and map it.

    Returns
    -------
    Dataset
        ``analysis`` (m) and ``is_seen``.
    """
    n = n_cells(days)
    samplers = {NONE: RandomFraction(0.0), RANDOM: RandomCells(n, n), REGULAR: Lattice(n)}
    sampler = samplers.get(name, RandomFraction(1.0))
    obs = days[["departure"]].varnet.observe(sampler, noise_std=NOISE, seed=seed, dims=DIMS)
    if name not in samplers:
        obs = obs.where(days.varnet.design(model, budget=n))
    seen = obs["departure"].notnull()
    analysis = days["previous"] + days.assign(obs).varnet.assimilate(model)["departure"]
    return xr.Dataset({"analysis": analysis, "is_seen": seen})


def errors_of(found: xr.Dataset, days: xr.Dataset) -> dict[str, float]:
    """Scores of today's analyses over all cells."""
    scores = found["analysis"].rename("ssh").assign_attrs(units="m").varnet.score(days["ssh"])
    return {key: float(scores[key].squeeze()) for key in ("rmse", "r_score")}


def variants(days: xr.Dataset, models: Mapping[str, oceanvar.VarNet]) -> dict:
    """Scores of the validation year, also for what is left of the choice without one of its parts."""
    learned = models[LEARNED]
    place, errors, units, greedy = learned.sampling.network.maps
    ages, flat = copy.deepcopy(place), copy.deepcopy(units)
    with torch.no_grad():
        ages.weight[:, KNOWN.index("previous")] = 0
        flat.weight.zero_()
    others = {
        "not kept apart": Chain(place, errors, units),
        "kept apart alone": Chain(place, errors, flat, greedy),
        "from ages alone": Chain(ages, errors, units, greedy),
    }
    start, space = learned.assimilator.start, learned.state_space
    reduced = {
        name: oceanvar.VarNet(assimilator(start, SamplingDesign(each, KNOWN, SHARE)), space)
        for name, each in others.items()
    }
    return {name: errors_of(today(days, name, each, 0), days) for name, each in {**models, **reduced}.items()}


def n_cells(days: xr.Dataset) -> int:
    """Cells that may be observed a day."""
    return int(SHARE * days.sizes["latitude"] * days.sizes["longitude"])


def training_days(out: Path, scale: Scale, seed: int) -> tuple[xr.Dataset, xr.Dataset]:
    """Days of all training years and their mirror images, and of the validation year."""
    analyses = altimeters.train(out, scale, seed)
    years = [
        year(out, scale, each, analyses, is_mirrored)
        for each in range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + scale.n_years)
        for is_mirrored in (False, True)
    ]
    validation = year(out, scale, FIRST_VALIDATION_SEED, analyses, False)
    return xr.concat(years, "trajectory", join="override"), validation


def network(scale: Scale, n_in: int, seed: int) -> AbstractMap:
    """U-Net of half the width of that of the analyses."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        widths = [width // 2 for width in scale.widths[:3]]
        return unet(n_in, 1, widths, (3, 3), n_times_folded=1).to(memory_format=torch.channels_last)


def direct(
    scale: Scale, days: xr.Dataset, state: str, seed: int, sampling: SamplingDesign | None = None
) -> oceanvar.VarNet:
    """Direct inversion for whole maps of one day, from observations and what was known yesterday."""
    start = LearnedStart(network(scale, N_SEEN + 2 * len(KNOWN), seed), covariates=KNOWN)
    covariates = KNOWN if sampling is None else tuple(dict.fromkeys((*KNOWN, *sampling.covariates)))
    patch = {dim: days.sizes[dim] for dim in DIMS}
    space = oceanvar.StateSpace((state,), DIMS, patch, covariates=covariates)
    return oceanvar.VarNet(assimilator(start, sampling), space)


def assimilator(start: LearnedStart, sampling: SamplingDesign | None) -> Assimilator:
    """Direct inversion, with no iteration after it."""
    cost = VariationalCost(ObservationTerm())
    return Assimilator(cost, GradientDescent(1.0), 0, start, sampling=sampling)


def fitted_on_days(
    model: oceanvar.VarNet, folder: Path, data: tuple[xr.Dataset, xr.Dataset], *args: Any, **settings: Any
) -> oceanvar.VarNet:
    """Train on the days, validate on all of the others; the rest is as for `fitted`."""
    names = [*model.state_space.variables, *model.state_space.covariates]
    learning, validation = (each[names] for each in data)
    n_validation = validation.sizes["trajectory"]
    return fitted(model, folder, lambda: (learning, validation), *args, n_validation=n_validation, **settings)


def choice(errors: oceanvar.VarNet, n_cells: int) -> SamplingDesign:
    """Take the cells that reduce most of the error that a network expects, from the same covariates."""
    n = len(KNOWN)
    place = Conv(2 * n, N_SEEN + 2 * n, (1, 1, 1))
    units = Conv(1, 1, (1, 1, 1), bias=True)
    with torch.no_grad():
        place.weight.copy_(torch.eye(N_SEEN + 2 * n)[:, N_SEEN:].view_as(place.weight))
        units.weight.fill_(errors.state_space.std["log_error"])
        units.bias.fill_(errors.state_space.mean["log_error"] + LOG_SQUARE)
    learned = copy.deepcopy(errors.assimilator.start.network)
    expected = Chain(place, learned, units, GreedyReduction(LENGTH, n_cells))
    return SamplingDesign(expected.requires_grad_(False), KNOWN, SHARE)


def soonest() -> SamplingDesign:
    """Take the cells that a nadir sees soonest, from today on."""
    least = Conv(2, 1, (1, 1, 1))
    with torch.no_grad():
        least.weight.copy_(torch.tensor([-1.0, 0.0]).view_as(least.weight))
    return SamplingDesign(least.requires_grad_(False), ("wait",), SHARE)


def trained(
    folder: Path, data: tuple[xr.Dataset, xr.Dataset], scale: Scale, seed: int
) -> dict[str, oceanvar.VarNet]:
    """Networks for every sampling, all from one that has seen random cells, few or many, and trained alike."""
    days, nothing, everywhere = data[0], RandomFraction(0.0), RandomFraction(1.0)
    n, n_epochs = n_cells(days), scale.n_epochs_sampling
    fit = functools.partial(fitted_on_days, scale=scale, seed=seed)
    first = direct(scale, days, "departure", seed)
    any_cells = RandomCells(0, 2 * n)
    first = fit(first, folder / "any", data, any_cells, n_epochs=3 * n_epochs, learning_rate=2e-3)

    def gone_on(
        name: str, sampler: AbstractSampler, sampling: SamplingDesign | None = None
    ) -> oceanvar.VarNet:
        model = direct(scale, days, "departure", seed, sampling)
        model.assimilator.start.load_state_dict(first.assimilator.start.state_dict())
        return fit(model, folder / name, data, sampler, n_epochs=n_epochs, learning_rate=1e-3)

    models = {
        NONE: gone_on(NONE, nothing),
        RANDOM: gone_on(RANDOM, RandomCells(n, n)),
        REGULAR: gone_on(REGULAR, Lattice(n, shift=0.25)),
        NADIRS: gone_on(NADIRS, everywhere, soonest()),
    }
    left = (with_errors(data[0], models[NONE]), with_errors(data[1], models[NONE]))
    errors = direct(scale, days, "log_error", seed)
    errors = fit(errors, folder / "errors", left, nothing, n_epochs=2 * n_epochs, learning_rate=2e-3)
    models[LEARNED] = gone_on(LEARNED, everywhere, choice(errors, n))
    # The same choice, trained on by the derivative of the error of the analysis with respect to the mask.
    further = choice(errors, n)
    further.network.maps[1].requires_grad_(True)
    return models | {THROUGH: gone_on("through_the_mask", everywhere, further)}


def with_errors(days: xr.Dataset, model: oceanvar.VarNet) -> xr.Dataset:
    """Days with ``log_error``, the logarithm of the squared error before today's observations over theirs."""
    unseen = days.assign(departure=days["departure"].where(False))
    error = np.abs(unseen.varnet.assimilate(model)["departure"] - days["departure"])
    return days.assign(log_error=2 * np.log(np.maximum(error, FLOOR) / NOISE))


def draw(days: xr.Dataset, found: Mapping[str, xr.Dataset], day: int) -> Figure:
    """Yesterday's analysis with the cells of each sampling, and the error of today's analysis."""
    figure = new_figure(width=9.0, height=8.0)
    axes = figure.subplots(2, len(found), sharex=True, sharey=True)
    one = days.isel(trajectory=day, time=0)
    level = float(np.abs(one["previous"]).max())
    largest = max(
        float(np.abs(each["analysis"].isel(trajectory=day, time=0) - one["ssh"]).quantile(0.999))
        for each in found.values()
    )
    for (name, each), (above, below) in zip(found.items(), axes.T, strict=True):
        seen = each["is_seen"].isel(trajectory=day, time=0).stack(cell=("latitude", "longitude"))
        seen = seen[seen.values]
        error = each["analysis"].isel(trajectory=day, time=0) - one["ssh"]
        rms = 100 * float((error**2).mean() ** 0.5)
        for ax, field, limit, title in (
            (above, one["previous"], level, f"yesterday's analysis, m, and the cells: {name}"),
            (below, error, largest, f"error of today's analysis, m: {rms:.2f} cm rms"),
        ):
            mesh = ax.pcolormesh(
                field["longitude"], field["latitude"], field, cmap="RdBu_r", vmin=-limit, vmax=limit
            )
            ax.plot(seen["longitude"], seen["latitude"], "k.", markersize=3)
            ax.set_title(title, fontsize=10)
            figure.colorbar(mesh, ax=ax, shrink=0.8)
    return figure
