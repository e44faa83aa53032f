"""Train the learned models by name within a budget, on a GPU where there is one, and score them on untouched data.

    python -m scripts.train_gpu --out runs/gpu --minutes 14
    python -m scripts.train_gpu --out runs/gpu --minutes 14 --model ocean --model ocean-iterated

Each model gets its share of the time that is left; what one leaves goes to the next. A run that is broken off goes on
from its checkpoints, and every best epoch is in OUT/<name>.varnet; the budget ends training in time with the weights
of the best epoch. OUT/scores.json has the scores, the seconds and the windows per second.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
import xarray as xr

import oceanvar
from oceanvar.observing import AbstractSampler
from oceanvar.papers.experiments import EXPERIMENTS, NOISE_STD
from oceanvar.training import LossWeights
from scripts.benchmarks import machine
from scripts.lorenz.table2 import build
from scripts.lorenz.train import TEST_SEED, TRAINING_SEED, VALIDATION_SEED
from scripts.ocean import cases
from scripts.ocean.models import direct_inversion, iterated

SEED = 0
ANALYSES = LossWeights(truth_projection=0.0, analysis_projection=0.0)


@dataclass(frozen=True)
class Recipe:
    """How one model is trained and scored.

    Parameters
    ----------
    share : float
        Of the time that is left when its turn comes, where all models are trained.
    model : callable
        Untrained, given the folder and whether all is tiny.
    data : callable
        Truth to learn from and to validate on, likewise.
    sampler : callable
        What is seen of a window, given whether all is tiny.
    noise_std : float
        Of what is seen.
    score : callable
        Scores of a trained model on data of other seeds.
    settings : mapping
        Of training.
    """

    share: float
    model: Callable[[Path, bool], oceanvar.VarNet]
    data: Callable[[Path, bool], tuple[xr.Dataset, xr.Dataset]]
    sampler: Callable[[bool], AbstractSampler]
    noise_std: float
    score: Callable[[oceanvar.VarNet, Path, bool], dict[str, float]]
    settings: dict[str, Any]


def scale(tiny: bool) -> cases.Scale:
    """Of the oceans."""
    return cases.SCALES["tiny" if tiny else "full"]


def lorenz(system: str, share: float) -> Recipe:
    """LSTM solver and two-scale CNN, learned alone: the papers' own method."""
    experiment = EXPERIMENTS[system]

    def data(out: Path, tiny: bool) -> tuple[xr.Dataset, xr.Dataset]:
        n_steps, n = (210, 2) if tiny else (2000, 400)
        return (
            experiment.simulate(n_steps, seed=TRAINING_SEED, n_trajectories=n),
            experiment.simulate(min(n_steps, 400), seed=VALIDATION_SEED, n_trajectories=min(n, 64)),
        )

    def score(model: oceanvar.VarNet, out: Path, tiny: bool) -> dict[str, float]:
        truth, seen = experiment.test_windows(2 if tiny else 200, TEST_SEED)
        found = seen.varnet.assimilate(model).varnet.score(truth)["r_score"]
        return {"r_score": float(found.mean())}

    settings = {"n_samples": 8000, "batch_size": 32, "learning_rate": 3e-3, "n_steps": {0: 5, 20: 10}}
    return Recipe(
        share,
        lambda out, tiny: build(system, "two-scale"),
        data,
        lambda tiny: experiment.sampler,
        NOISE_STD,
        score,
        settings,
    )


def ocean(share: float, model: Callable[[Path, bool], oceanvar.VarNet], **settings: Any) -> Recipe:
    """Sea level under four nadirs."""

    def data(out: Path, tiny: bool) -> tuple[xr.Dataset, xr.Dataset]:
        return (
            cases.years(out, scale(tiny), cases.FIRST_TRAINING_SEED, scale(tiny).n_years),
            cases.years(out, scale(tiny), cases.FIRST_VALIDATION_SEED, 1),
        )

    def score(model: oceanvar.VarNet, out: Path, tiny: bool) -> dict[str, float]:
        errors, spread = 0.0, 0.0
        for number in range(1 if tiny else 3):
            truth = cases.month(out, scale(tiny), cases.FIRST_TEST_SEED + number, number)
            seen = cases.observed(truth, cases.ALTIMETERS["4 nadirs"])
            field, target = (cases.scored(each["ssh"]) for each in (seen.varnet.assimilate(model), truth))
            errors, spread = errors + float(((field - target) ** 2).mean()), spread + float(target.var())
        return {"error_variance_over_variance": errors / spread}

    usual = {"n_samples": 2000, "batch_size": 32, "learning_rate": 2e-3, "precision": "bfloat16"}
    return Recipe(
        share,
        model,
        data,
        lambda tiny: cases.seen_anywhere(scale(tiny), [cases.ALTIMETERS["4 nadirs"]]),
        cases.NOISE,
        score,
        {**usual, "weights": ANALYSES, **settings},
    )


def behind_the_ocean(out: Path, tiny: bool) -> oceanvar.VarNet:
    """4DVarNet behind the direct inversion that was trained before."""
    start = out / "ocean.varnet"
    if not start.exists():
        raise click.ClickException(f"there is no {start}: train --model ocean first")
    return iterated(scale(tiny), SEED, oceanvar.load(start))


RECIPES = {
    "ocean": ocean(0.4, lambda out, tiny: direct_inversion(scale(tiny), SEED)),
    "ocean-iterated": ocean(0.4, behind_the_ocean, n_samples=1000, weights=LossWeights()),
    "lorenz63": lorenz("lorenz63", 0.5),
    "lorenz96": lorenz("lorenz96", 1.0),
}


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--minutes", default=14.0, show_default=True, help="For training, all models together.")
@click.option("--model", "names", multiple=True, type=click.Choice(list(RECIPES)), default=list(RECIPES))
@click.option("--tiny", is_flag=True, help="To try the command.")
def main(out: Path, minutes: float, names: tuple[str, ...], tiny: bool) -> None:
    """Train, score, and say how fast."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    click.echo(f"{machine.described()}; device {device}")
    out.mkdir(parents=True, exist_ok=True)
    end, scores = time.monotonic() + 60 * minutes, out / "scores.json"
    for i, name in enumerate(names):
        share = RECIPES[name].share if len(names) == len(RECIPES) else 1 / (len(names) - i)
        data = RECIPES[name].data(out, tiny)
        row = trained(name, out, data, share * (end - time.monotonic()), tiny)
        known = json.loads(scores.read_text()) if scores.exists() else {}
        scores.write_text(json.dumps({**known, name: {**row, "device": device}}, indent=1))
        click.echo(f"{name}: {row}")


def trained(
    name: str, out: Path, data: tuple[xr.Dataset, xr.Dataset], seconds: float, tiny: bool
) -> dict[str, float]:
    """Train one model for so long, and score it."""
    recipe = RECIPES[name]
    model = recipe.model(out, tiny)
    settings = {**recipe.settings, **({"n_samples": 4, "batch_size": 2, "n_epochs": 2} if tiny else {})}
    history = data[0].varnet.fit(
        model,
        recipe.sampler(tiny),
        noise_std=recipe.noise_std,
        validation=data[1],
        budget=f"{max(seconds, 1):.0f}s",
        save=out / f"{name}.varnet",
        checkpoint=out / name,
        resume=True,
        seed=SEED,
        **settings,
    )
    spent = float(history["seconds"].sum())
    n_windows = settings["n_samples"] * history.sizes["epoch"]
    return {
        "n_epochs": history.sizes["epoch"],
        "seconds": round(spent, 1),
        "windows_per_second": round(n_windows / spent, 2),
        "validation_loss": float(history["validation_loss"].min()),
        **recipe.score(model, out, tiny),
    }


if __name__ == "__main__":
    main()
