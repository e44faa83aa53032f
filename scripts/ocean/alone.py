"""Row of `scripts.ocean`: a network that saw nothing but tracks of four nadirs, beside one that saw the truth."""

from pathlib import Path

import numpy as np
import xarray as xr

import oceanvar
from oceanvar.metrics import score_table
from oceanvar.observing import Nadirs
from scripts.ocean.cases import (
    BOX,
    FIRST_TEST_SEED,
    FIRST_TRAINING_SEED,
    FIRST_VALIDATION_SEED,
    MISSIONS,
    Scale,
    mirrored,
    month,
    observed,
    ocean,
    over_months,
    scored,
    scores_of,
    seen_anywhere,
)
from scripts.ocean.models import direct_inversion, fitted, fitted_on_years

NADIRS = Nadirs(MISSIONS)
ALONE, TRUTH = "4 nadirs: tracks alone", "4 nadirs: truth"


def run(out: Path, scale: Scale, seed: int) -> dict:
    """Train both networks for as many steps, and score them on every month."""
    models = {ALONE: from_tracks(out, scale, seed), TRUTH: from_truth(out, scale, seed)}

    def score(number: int) -> dict:
        truth = month(out, scale, FIRST_TEST_SEED + number, number)
        seen = observed(truth, NADIRS)
        return {
            name: scores_of(scored(seen.varnet.assimilate(model)["ssh"]), scored(truth["ssh"]))
            for name, model in models.items()
        }

    months = over_months(out / "alone" / "months", scale, score)
    return {**score_table(months, {f"{ALONE} / {TRUTH}": (ALONE, TRUTH)}), "months": months}


def from_truth(out: Path, scale: Scale, seed: int) -> oceanvar.VarNet:
    """Train on the true years, seen anew in every window."""
    return fitted_on_years(
        direct_inversion(scale, seed),
        out / "alone" / "truth",
        scale,
        seen_anywhere(scale, [NADIRS]),
        seed,
        n_epochs=scale.n_epochs_alone,
    )


def from_tracks(out: Path, scale: Scale, seed: int) -> oceanvar.VarNet:
    """Train on what was seen once of each of the years, and validate on what was seen of another one."""

    def data() -> tuple[xr.Dataset, xr.Dataset]:
        return (
            seen_years(out, scale, FIRST_TRAINING_SEED, scale.n_years),
            seen_years(out, scale, FIRST_VALIDATION_SEED, 1),
        )

    model, folder = direct_inversion(scale, seed), out / "alone" / "tracks"
    # No sampler: a part of what was seen is withheld and learned from.
    settings = {"n_epochs": scale.n_epochs_alone, "n_validation": 192, "learning_rate": 2e-3}
    return fitted(model, folder, data, None, scale, seed, **settings)


def seen_years(out: Path, scale: Scale, first_seed: int, n_years: int) -> xr.Dataset:
    """Tracks of some years and their mirror images, along ``trajectory``, continued as the truth of `years` is."""
    both: list[xr.Dataset] = []
    for number, seed in enumerate(range(first_seed, first_seed + n_years)):
        truth = ocean(out, scale, seed, scale.n_days, "2001-01-01")[["ssh"]]
        # No year is seen where another one was.
        dates = truth["time"] + np.timedelta64(number * scale.n_days, "D")
        seen = observed(truth.assign_coords(time=dates), NADIRS).drop_vars(["time", *BOX])
        both += [seen, mirrored(seen)]
    margin = dict.fromkeys(BOX, (0, scale.patch[1] - 1))
    return xr.concat(both, "trajectory", combine_attrs="drop").pad(margin, mode="wrap")
