"""Row of `scripts.ocean`: a learned prior and solver that go on from the U-Net's analysis, beside the U-Net alone."""

from pathlib import Path

from oceanvar.metrics import score_table
from scripts.ocean import altimeters
from scripts.ocean.cases import (
    ALTIMETERS,
    FIRST_TEST_SEED,
    Scale,
    month,
    observed,
    over_months,
    scored,
    scores_of,
    seen_anywhere,
)
from scripts.ocean.models import fitted_on_years, iterated

OURS = "4DVarNet"


def run(out: Path, scale: Scale, seed: int) -> dict:
    """Train the iterations, and score both on every month."""
    start = altimeters.train(out, scale, seed)
    sampler = seen_anywhere(scale, list(ALTIMETERS.values()))
    model = iterated(scale, seed, start)
    model = fitted_on_years(model, out / "4dvarnet", scale, sampler, seed, n_epochs=scale.n_epochs_solver)
    models = {altimeters.UNET: start, OURS: model}

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
        f"{each}: {OURS} / {altimeters.UNET}": tuple(f"{each}: {name}" for name in reversed(models))
        for each in ALTIMETERS
    }
    months = over_months(out / "iterations", scale, score)
    return {**score_table(months, pairs), "months": months}
