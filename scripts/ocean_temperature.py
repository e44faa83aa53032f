"""Row of `ocean_osse.py`: one altimeter with the temperature that the currents stir, beside one altimeter alone."""

from pathlib import Path

from ocean_cases import FIRST_TEST_SEED, Scale, month, observed, over_months, scored, scores_of, seen_anywhere
from ocean_models import direct_inversion, fitted
from ocean_tables import table

from oceanvar.satellites import Nadirs

ONE = Nadirs(("jason",))
ALONE, BOTH = "1 nadir", "1 nadir + temperature"


def run(out: Path, scale: Scale, seed: int) -> dict:
    """Train both networks alike, and score them on every month."""
    sampler = seen_anywhere(scale, [ONE])
    settings = {"n_epochs": scale.n_epochs_temperature}
    models = {
        name: fitted(
            direct_inversion(scale, seed, covariates), out / folder, scale, sampler, seed, **settings
        )
        for name, folder, covariates in ((ALONE, "alone", ()), (BOTH, "with_temperature", ("sst",)))
    }

    def score(number: int) -> dict:
        truth = month(out, scale, FIRST_TEST_SEED + number, number)
        obs, targets = observed(truth, ONE).assign(sst=truth["sst"]), scored(truth["ssh"])
        return {
            name: scores_of(scored(obs.varnet.assimilate(model)["ssh"]), targets)
            for name, model in models.items()
        }

    months = over_months(out / "temperature", scale, score)
    return {**table(months, {f"{BOTH} / {ALONE}": (BOTH, ALONE)}), "months": months}
