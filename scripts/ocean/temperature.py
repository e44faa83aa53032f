"""Row of `scripts.ocean`: one altimeter with the temperature that the currents stir, beside one altimeter alone."""

from pathlib import Path
from typing import Any

import xarray as xr

import oceanvar
from oceanvar.metrics import score_table
from oceanvar.observing import MovingClouds, Nadirs
from scripts.ocean.cases import (
    DIMS,
    FIRST_TEST_SEED,
    Scale,
    month,
    observed,
    over_months,
    scored,
    scores_of,
    seen_anywhere,
)
from scripts.ocean.models import direct_inversion, fitted_on_years

ONE = Nadirs(("jason",))
ALONE, BOTH = "1 nadir", "1 nadir + temperature"
CLOUDED = f"{BOTH} between clouds"
CLOUDS = MovingClouds(0.6, {"latitude": 8, "longitude": 8}, lifetime=2.0, drift={"longitude": 1.0})
KELVIN = 0.3
"""Standard deviation of the error of a temperature between clouds."""


def run(out: Path, scale: Scale, seed: int) -> dict:
    """Train all networks alike, and score them on every month."""
    sampler = seen_anywhere(scale, [ONE])
    n_epochs = scale.n_epochs_temperature

    def learned(folder: str, covariates: tuple[str, ...], **settings: Any) -> oceanvar.VarNet:
        model = direct_inversion(scale, seed, covariates)
        return fitted_on_years(model, out / folder, scale, sampler, seed, n_epochs=n_epochs, **settings)

    def cover(years: xr.Dataset) -> xr.Dataset:
        return clouded(years, seed=years.sizes["trajectory"])

    models = {
        ALONE: learned("alone", ()),
        BOTH: learned("with_temperature", ("sst",)),
        CLOUDED: learned("with_clouds", ("sst",), cover=cover),
    }

    def score(number: int) -> dict:
        truth = month(out, scale, FIRST_TEST_SEED + number, number)
        targets, clear = scored(truth["ssh"]), observed(truth, ONE).assign(sst=truth["sst"])
        seen = {ALONE: clear, BOTH: clear, CLOUDED: clouded(clear, seed=1000 + number)}
        return {
            name: scores_of(scored(seen[name].varnet.assimilate(model)["ssh"]), targets)
            for name, model in models.items()
        }

    months = over_months(out / "temperature", scale, score)
    pairs = {f"{each} / {ALONE}": (each, ALONE) for each in (BOTH, CLOUDED)}
    return {**score_table(months, pairs), "months": months}


def clouded(truth: xr.Dataset, seed: int) -> xr.Dataset:
    """The temperature as it is seen between clouds, with its error."""
    seen = truth[["sst"]].varnet.observe(CLOUDS, noise_std=KELVIN, seed=seed, dims=DIMS)
    return truth.assign(seen)
