"""Map the sea level of a simulated ocean from satellites: learn on some oceans, score on others.

    python -m scripts.ocean altimeters --out runs/ocean --package oceanvar/models
    python -m scripts.ocean dynamics --out runs/ocean
    python -m scripts.ocean learned --out runs/ocean
    python -m scripts.ocean open --out runs/ocean --package oceanvar/models
    python -m scripts.ocean temperature --out runs/ocean
    python -m scripts.ocean iterations --out runs/ocean
    python -m scripts.ocean sampling --out runs/ocean
    python -m scripts.ocean alone --out runs/ocean

Every ocean comes from `oceanvar.quasigeostrophic` with a seed of its own. All methods are scored on months that none of
them has seen, each from another seed; intervals are over these months.

altimeters: a U-Net learns direct inversion from what four nadir altimeters see of simulated years with and without
SWOT; beside it linear and optimal interpolation, whose scales are chosen on two further months. `--package`
writes it as the model ``ocean-2026.11`` with its card.

iterations: a prior and an LSTM solver learn to go on from the analysis of that U-Net (4DVarNet).

dynamics: 4D-Var with the model of the ocean on a coarser grid, strong and weak constraint, minimised by L-BFGS in one
window of every month, from optimal interpolation and from the analysis of that U-Net.

learned: the same with a model of a day that was learned from what the days of the years became.

open: ten iterations of 4D-Var with that model behind the U-Net, in windows with open borders, as users have them;
`--package` writes it as the model ``ocean``.

sampling: a network learns which 6 % of the cells to observe today, given what was known yesterday; beside it the same
number of cells at random, on a lattice and under nadirs.

temperature: U-Nets of the same size learn to map what one nadir altimeter sees, alone, with the temperature
beside it, and with the temperature between clouds.

alone: a U-Net that has seen nothing but the tracks of four nadirs, beside one that learned from the truth.

Each step leaves files in --out and is skipped where they are: a run that was broken off goes on where it stopped.
`--scale tiny` runs all of it in seconds.
"""

import dataclasses
import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import click
import torch

import oceanvar
from scripts.keeping import claim
from scripts.ocean import alone, altimeters, dynamics, iterations, sampling, temperature
from scripts.ocean.cases import ALTIMETERS, NOISE, SCALES, Scale
from scripts.ocean.models import n_parameters
from scripts.ocean.tables import as_markdown

ROWS = {
    "altimeters": (altimeters.run, as_markdown),
    "dynamics": (dynamics.run, dynamics.as_markdown),
    "open": (iterations.run_dynamics, as_markdown),
    "learned": (dynamics.run_learned, dynamics.as_markdown),
    "iterations": (iterations.run, as_markdown),
    "sampling": (sampling.run, as_markdown),
    "temperature": (temperature.run, as_markdown),
    "alone": (alone.run, as_markdown),
}
"""What computes a row of the table, and what writes it for a page."""


DIRECT = "ocean-2026.11"
"""Packaged model without iterations."""


def package(row: str, out: Path, result: Mapping, folder: Path, scale: Scale, seed: int) -> None:
    """Write the U-Net, or that with 4D-Var behind it, and the card."""
    model = altimeters.train(out, scale, seed)
    name, method, about = DIRECT, altimeters.UNET, "learned on a simulated quasi-geostrophic ocean."
    if row == "open":
        model = iterations.open_model(out, scale, seed, model)
        name, method = "ocean", iterations.DYNAMICS
        about = f"by `{DIRECT}`, a U-Net, and ten iterations of 4D-Var with a day that was learned on the same oceans."
    card = {
        "command": f"python -m scripts.ocean {row} --package oceanvar/models --seed {seed}",
        "method": method,
        "data": f"{scale.n_years} simulated years of 10 x 10 degrees and their mirror images",
        "observed by": " or ".join(ALTIMETERS) + f", white noise of {NOISE} m",
        "test": f"{scale.n_months} months of {scale.n_month} days of other seeds, every second cell",
    }
    for fleet in ALTIMETERS:
        for each in dict.fromkeys((altimeters.UNET, method)):
            scores, of = result["scores"][f"{fleet}: {each}"], f"{fleet}: {each}"
            card[f"rmse, {of}"] = "{mean:.4f} m (95 % {interval[0]:.4f} to {interval[1]:.4f})".format(
                **scores["rmse"]
            )
            card[f"mu, {of}"] = "{mean:.3f} (95 % {interval[0]:.3f} to {interval[1]:.3f})".format(
                **scores["mu"]
            )
    card["date"] = date.today().isoformat()
    card["minutes of training"] = model.provenance.get("minutes of training", "those of its parts")
    card["parameters"] = n_parameters(model)
    model.provenance["card"] = card
    # The U-Net of both is one; where it was packaged before, it is written once.
    is_packaged = row == "open" and same_start(model, DIRECT)
    model.save(folder / f"{name}.varnet", half=True, borrowed={"start.": DIRECT} if is_packaged else None)
    lines = [f"# {name}", "", f"Sea level from altimeters, {about}", ""]
    lines += [f"- {key}: {value}" for key, value in card.items()]
    (folder / f"{name}.md").write_text("\n".join(lines) + "\n")


def same_start(model: oceanvar.VarNet, name: str) -> bool:
    """Whether a model begins as a packaged one does."""
    mine, theirs = (each.assimilator.start.state_dict() for each in (model, oceanvar.load(name)))
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


@click.command()
@click.argument("row", type=click.Choice(list(ROWS)))
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/ocean"), show_default=True)
@click.option("--scale", "name", type=click.Choice(list(SCALES)), default="full", show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the weights and of the training.")
@click.option("--n-threads", default=1, show_default=True)
@click.option(
    "--package", "folder", type=click.Path(path_type=Path, exists=True), help="Folder of the model."
)
def main(row: str, out: Path, name: str, seed: int, n_threads: int, folder: Path | None) -> None:
    """Train for one ROW of the table on simulated years, then score on months of other seeds."""
    if folder is not None and row not in ("altimeters", "open"):
        raise click.UsageError("the packaged models are those of the rows altimeters and open")
    torch.set_num_threads(n_threads)
    scale = SCALES[name]
    claim(out, {"scale": dataclasses.asdict(scale), "seed": seed})
    run, page = ROWS[row]
    result = run(out, scale, seed)
    (out / f"{row}.json").write_text(json.dumps(result, indent=1))
    print(page(result))
    if folder is not None:
        package(row, out, result, folder, scale, seed)


if __name__ == "__main__":
    main()
