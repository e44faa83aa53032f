"""Train one model that maps any sea, and score it on seas that it has not seen.

    python -m scripts.seas train --out runs/seas --minutes 70
    python -m scripts.seas score --out runs/seas --package oceanvar/models
    python -m scripts.seas months --oceans runs/ocean
    python -m scripts.seas mediterranean

Seas are drawn by `oceanvar.oceans.Seas`, kept on disk and mirrored in training. First a small network learns to infer
the covariance of each window from its observations, through the iterations of the interpolation that follows. Then,
with that held, a U-Net learns what the interpolation misses in stretches of days, and how large the error is that is
left. Runs go on where they were broken off. The factor on error bars is found on the seas of validation. `score` sets
the interpolation and the whole model beside optimal interpolation whose lengths are the best of thirty pairs for each
sea, judged by the truth; with `--package` it writes the model ``seas`` and its card. `months` and `mediterranean` score
the packaged model, as it is, on the months of `scripts.ocean` and on real passes.
"""

import dataclasses
import json
from datetime import date
from pathlib import Path
from typing import Any

import click
import torch

import oceanvar
from oceanvar.variational import (
    AdaptiveInterpolation,
    Assimilator,
    GradientDescent,
    ObservationTerm,
    VariationalCost,
)
from scripts.keeping import claim
from scripts.seas.data import SCALES, TEST_SEED, TRAINING_SEED, VALIDATION_SEED, Scale, drawn, interpolations
from scripts.seas.elsewhere import mediterranean, months
from scripts.seas.scores import score
from scripts.seas.training import as_model, calibrated, learn_covariance, learn_refinement, validated

INTERPOLATED, REFINED = "inferred covariance", "and a network"


def trained(
    out: Path, scale: Scale, minutes: float, seed: int
) -> tuple[oceanvar.VarNet, AdaptiveInterpolation]:
    """Train, or take up what earlier runs have trained."""
    training, validation = (
        drawn(out / name, scale, of)
        for name, of in (("training", TRAINING_SEED), ("validation", VALIDATION_SEED))
    )
    start = learn_covariance(out / "covariance.pt", training, validation, scale, seed)
    seen, checked = (
        interpolations(out / f"{name}-interpolated", data, start)
        for name, data in (("training", training), ("validation", validation))
    )
    network = learn_refinement(out / "refinement.pt", seen, checked, scale, minutes, seed)
    print(f"refined: {validated(network, checked)}", flush=True)
    spread = calibrated(lambda factor: as_model(start, network, scale, factor), validation)
    return as_model(start, network, scale, spread), start


def both(model: oceanvar.VarNet, start: AdaptiveInterpolation) -> dict[str, oceanvar.VarNet]:
    """Interpolation by itself, and the whole model."""
    alone = Assimilator(VariationalCost(ObservationTerm()), GradientDescent(1.0), 0, start)
    return {INTERPOLATED: oceanvar.VarNet(alone, model.state_space), REFINED: model}


def package(model: oceanvar.VarNet, result: dict[str, Any], folder: Path, minutes: float, seed: int) -> None:
    """Write the model and its card."""
    rows = {
        f"error variance over that of optimal interpolation tuned to each of {result['n_seas']} seas, {name}": (
            "{ratio:.3f} (95 % {interval[0]:.3f} to {interval[1]:.3f}), at most {largest:.2f}".format(
                **result[name]
            )
        )
        for name in (INTERPOLATED, REFINED)
    }
    card = {
        "command": f"python -m scripts.seas score --package oceanvar/models --minutes {minutes:g} --seed {seed}",
        "method": "optimal interpolation with a covariance that a network infers, and a U-Net behind it",
        "data": "12,000 seas of oceanvar.oceans.Seas and their mirror images",
        **rows,
        "error over stated": f"{result[REFINED]['error_over_stated']:.2f}",
        "coverage of 90 % intervals": f"{result[REFINED]['coverage_90']:.3f}",
        "date": date.today().isoformat(),
        "parameters": sum(each.numel() for each in model.assimilator.parameters()),
    }
    model.provenance["card"] = card
    model.save(folder / "seas.varnet", half=True)
    lines = ["# seas", "", "Sea level of any sea from whatever was observed, with its error.", ""]
    lines += [f"- {key}: {value}" for key, value in card.items()]
    (folder / "seas.md").write_text("\n".join(lines) + "\n")


@click.command()
@click.argument("step", type=click.Choice(["train", "score", "months", "mediterranean"]))
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/seas"), show_default=True)
@click.option(
    "--oceans",
    type=click.Path(path_type=Path),
    default=Path("runs/ocean"),
    show_default=True,
    help="Of `scripts.ocean`.",
)
@click.option("--scale", "name", type=click.Choice(list(SCALES)), default="full", show_default=True)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=70.0,
    show_default=True,
    help="Of the training of the network.",
)
@click.option("--seed", default=0, show_default=True, help="Of the weights and of the training.")
@click.option("--n-threads", default=1, show_default=True)
@click.option(
    "--package", "folder", type=click.Path(path_type=Path, exists=True), help="Folder of the model."
)
def main(
    step: str,
    out: Path,
    oceans: Path,
    name: str,
    minutes: float,
    seed: int,
    n_threads: int,
    folder: Path | None,
) -> None:
    """Train on seas that are drawn, score what was trained and package it, or score the packaged model elsewhere."""
    torch.set_num_threads(n_threads)
    if step in ("months", "mediterranean"):
        model = oceanvar.load("seas")
        models = both(model, model.assimilator.start.interpolation)
        print(json.dumps(months(oceans, models) if step == "months" else mediterranean(models), indent=1))
        return
    scale = SCALES[name]
    claim(out, {"scale": dataclasses.asdict(scale), "seed": seed})
    model, start = trained(out, scale, minutes, seed)
    if step == "train":
        model.save(out / "seas.varnet")
        return
    result = score(both(model, start), drawn(out / "test", scale, TEST_SEED))
    (out / "scores.json").write_text(json.dumps(result, indent=1))
    print(json.dumps(result, indent=1))
    if folder is not None:
        package(model, result, folder, minutes, seed)


if __name__ == "__main__":
    main()
