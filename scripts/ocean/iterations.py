"""Rows of `scripts.ocean`: iterations that go on from the U-Net's analysis, beside the U-Net alone.

A learned prior and solver (4DVarNet), and 4D-Var with a learned model of a day in windows with open borders, which is
the packaged model ``ocean``.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import oceanvar
from oceanvar.metrics import score_table
from oceanvar.network import measure_borders
from oceanvar.observing import OneOf
from oceanvar.state import WindowSource
from scripts.ocean import altimeters
from scripts.ocean.cases import (
    ALTIMETERS,
    BOX,
    FIRST_TEST_SEED,
    FIRST_TUNING_SEED,
    FIRST_VALIDATION_SEED,
    NOISE,
    Scale,
    month,
    observed,
    ocean,
    over_months,
    scored,
    scores_of,
    seen_anywhere,
    years,
)
from scripts.ocean.models import fitted_on_years, in_metres, iterated, learned_step, with_dynamics

OURS, DYNAMICS = "4DVarNet", "U-Net and 4D-Var with a learned model"

MOST_SOLVES = 300
"""Windows that are solved to see how errors depend on the borders of patches."""


def run(out: Path, scale: Scale, seed: int) -> dict:
    """Train the iterations of a 4DVarNet, and score both on every month."""
    start = altimeters.train(out, scale, seed)
    sampler = seen_anywhere(scale, list(ALTIMETERS.values()))
    model = iterated(scale, seed, start)
    model = fitted_on_years(model, out / "4dvarnet", scale, sampler, seed, n_epochs=scale.n_epochs_solver)
    return beside(out / "iterations", out, scale, {altimeters.UNET: start, OURS: model})


def run_dynamics(out: Path, scale: Scale, seed: int) -> dict:
    """Put 4D-Var with the learned model behind the U-Net, and score both on every month."""
    start = altimeters.train(out, scale, seed)
    models = {altimeters.UNET: start, DYNAMICS: open_model(out, scale, seed, start)}
    return beside(out / "open", out, scale, models)


def open_model(out: Path, scale: Scale, seed: int, start: oceanvar.VarNet) -> oceanvar.VarNet:
    """4D-Var in open windows, with errors of the model of a day from two months that are not scored."""
    path = out / "open" / "model.varnet"
    if path.exists():
        return oceanvar.load(path)
    step = learned_step(out, scale, seed)
    day = in_metres(step.assimilator.cost.prior.one_step, step.state_space)
    errors = []
    for number in range(2):
        truth = month(out, scale, FIRST_TUNING_SEED + number, number)["ssh"]
        fields = torch.tensor(truth.values)[None, None]
        with torch.no_grad():
            errors.append((day(fields[:, :, :-1]) - fields[:, :, 1:])[0, 0])
    model = with_dynamics(start, step, torch.cat(errors))
    source = WindowSource(placed(out, scale), model.state_space, OneOf(list(ALTIMETERS.values())), NOISE)
    borders = measure_borders(model, source, seed + 2, MOST_SOLVES)
    model.state_space = replace(model.state_space, borders=borders)
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)
    return model


def placed(out: Path, scale: Scale) -> xr.Dataset:
    """Validation year at places and dates, that altimeters may pass over more than the box."""
    truth = years(out, scale, FIRST_VALIDATION_SEED, 1)
    box = ocean(out, scale, FIRST_VALIDATION_SEED, scale.n_days, "2001-01-01")
    places = {dim: float(box[dim][0]) + scale.resolution * np.arange(truth.sizes[dim]) for dim in BOX}
    return truth.assign_coords({**places, "time": box["time"].values})


def beside(folder: Path, out: Path, scale: Scale, models: dict[str, oceanvar.VarNet]) -> dict:
    """Scores of two models on every month, and ratios of the second over the first."""

    def score(number: int) -> dict:
        truth = month(out, scale, FIRST_TEST_SEED + number, number)
        rows = {}
        for fleet, sampler in ALTIMETERS.items():
            obs = observed(truth, sampler)["ssh"]
            for name, each in models.items():
                rows[f"{fleet}: {name}"] = scores_of(
                    scored(obs.varnet.assimilate(each)), scored(truth["ssh"])
                )
        return rows

    pairs = {
        f"{fleet}: {' / '.join(reversed(models))}": tuple(f"{fleet}: {name}" for name in reversed(models))
        for fleet in ALTIMETERS
    }
    months = over_months(folder, scale, score)
    return {**score_table(months, pairs), "months": months}
