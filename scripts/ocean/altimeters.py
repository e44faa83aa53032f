"""Row of `scripts.ocean`: four altimeters, without and with SWOT, by interpolation and by what has been learned."""

import functools
import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

import oceanvar
from oceanvar.baselines import fit_lengths, interpolate_linear, optimal_interpolation
from oceanvar.metrics import score_table
from oceanvar.observing import AbstractSampler
from oceanvar.plots import plot_comparison
from scripts.keeping import kept
from scripts.ocean.cases import (
    ALTIMETERS,
    FIRST_TEST_SEED,
    FIRST_TUNING_SEED,
    NOISE,
    Scale,
    month,
    observed,
    over_months,
    scored,
    scores_of,
    seen_anywhere,
)
from scripts.ocean.models import direct_inversion, fitted_on_years

LINEAR, OI, UNET = "linear interpolation", "optimal interpolation", "U-Net, direct inversion"
Lengths = Mapping[str, float]


def run(out: Path, scale: Scale, seed: int) -> dict:
    """Train, choose scales, and score on every month."""
    model = train(out, scale, seed)
    lengths = {}
    for altimeters, sampler in ALTIMETERS.items():
        path = out / "lengths" / f"{altimeters}.json"
        lengths[altimeters] = kept(path, functools.partial(choose_scales, out, scale, sampler))
        print(f"{altimeters}: optimal interpolation with {lengths[altimeters]}", flush=True)
    months = over_months(out / "altimeters", scale, lambda n: score_month(out, scale, n, model, lengths))
    return {"lengths": lengths, **score_table(months, ratios()), "months": months}


def train(out: Path, scale: Scale, seed: int) -> oceanvar.VarNet:
    """Train the U-Net on all altimeters, or load what an earlier run has trained."""
    sampler = seen_anywhere(scale, list(ALTIMETERS.values()))
    return fitted_on_years(
        direct_inversion(scale, seed), out / "unet", scale, sampler, seed, n_epochs=scale.n_epochs
    )


def choose_scales(out: Path, scale: Scale, sampler: AbstractSampler) -> dict[str, float]:
    """Lengths of optimal interpolation that suit two training months best."""
    candidates = [
        {"time": days, "latitude": km, "longitude": km}
        for km, days in itertools.product(scale.lengths_km, scale.lengths_days)
    ]
    errors = []
    for number in range(2):
        truth = month(out, scale, FIRST_TUNING_SEED + number, number)
        tested = fit_lengths(
            observed(truth, sampler)["ssh"], candidates, NOISE, truth=truth["ssh"], mean=0.0,
            n_nearest=scale.n_nearest, n_targets=1000,
        )[1]  # fmt: skip
        errors.append(tested["rmse"].values ** 2)
    return candidates[int(np.argmin(np.sum(errors, axis=0)))]


def analyses(
    truth: xr.Dataset, obs: xr.Dataset, model: oceanvar.VarNet, lengths: Lengths, n_nearest: int
) -> dict[str, xr.DataArray]:
    """Maps of every method on the days and cells that are scored."""
    targets = scored(truth["ssh"])
    optimal = optimal_interpolation(
        obs["ssh"], lengths, NOISE, mean=0.0, targets=targets, n_nearest=n_nearest
    )
    found = {
        LINEAR: scored(interpolate_linear(obs["ssh"], fill=0.0)),
        OI: optimal["ssh"],
        UNET: scored(obs["ssh"].varnet.assimilate(model)),
    }
    return {name: field.transpose(*targets.dims) for name, field in found.items()}


def score_month(
    out: Path, scale: Scale, number: int, model: oceanvar.VarNet, lengths: Mapping[str, Lengths]
) -> dict:
    """Scores of every method on one test month, from each set of altimeters."""
    truth = month(out, scale, FIRST_TEST_SEED + number, number)
    targets = scored(truth["ssh"])
    rows = {}
    for altimeters, sampler in ALTIMETERS.items():
        obs = observed(truth, sampler)
        found = analyses(truth, obs, model, lengths[altimeters], scale.n_nearest)
        if number == 0:
            middle = {"time": targets.time[len(targets.time) // 2]}
            seen = {"observations": scored(obs["ssh"]), **found}
            maps = {name: field.sel(middle) for name, field in seen.items()}
            figure = plot_comparison(maps, truth=targets.sel(middle))
            figure.savefig(out / f"maps_{altimeters.replace(' ', '_')}.png", dpi=100)
        rows |= {f"{altimeters}: {name}": scores_of(field, targets) for name, field in found.items()}
    return rows


def ratios() -> dict[str, tuple[str, str]]:
    """Pairs of rows whose ratio is of interest."""
    pairs = {f"{each}: {UNET} / {OI}": (f"{each}: {UNET}", f"{each}: {OI}") for each in ALTIMETERS}
    few, many = ALTIMETERS
    return pairs | {f"{name}: {many} / {few}": (f"{many}: {name}", f"{few}: {name}") for name in (OI, UNET)}
