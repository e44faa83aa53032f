"""Learn to fill the archive of currents from its clouded days alone.

    python -m scripts.agulhas.alone --out runs/agulhas_alone

The archive, its clouds, the months and the scores of `scripts.agulhas`. Half a year is little to learn from: a U-Net
learns from simulated currents, as strong as those between the clouds, and then from the days from January to June as
the clouds left them, about the mean of each point that they show. No cell that a cloud hid is known to it; those that
were withheld from July to September are scored. Beside it stand interpolations whose scales were chosen by the truth
of the months for training.
"""

import dataclasses
import functools
import json
from pathlib import Path

import click
import numpy as np
import torch
import xarray as xr

import oceanvar
from oceanvar.network import fourdvarnet
from oceanvar.state import fit_climatology
from oceanvar.training import LossWeights
from scripts.agulhas import scores
from scripts.agulhas.__main__ import DATA, SCALES, VARIABLES, clouds, months, read, simulate, withhold, within
from scripts.keeping import claim, find_data, kept, kept_model

SETTINGS = {
    "batch_size": 8,
    "learning_rate": 2e-3,
    "precision": "bfloat16",
    "weights": LossWeights(truth_projection=0.0, analysis_projection=0.0),
    "progress": True,
}
N_SIMULATED = {"full": 40, "tiny": 2}
"""Epochs of simulated currents."""

PATCH = {"full": (32, 48), "tiny": (8, 8)}
"""Cells: with windows of the whole grid a network remembers the days that it has learned from."""

SIMULATED = "U-Net, simulated currents alone"
UNITS = "days since 1900-01-01"


def untrained(name: str, clouded: xr.Dataset, seed: int) -> oceanvar.VarNet:
    """Direct inversion about the mean of each point that the clouded days show."""
    scale, dims = SCALES[name], tuple(map(str, clouded[next(iter(clouded))].dims))
    space = oceanvar.StateSpace(
        tuple(map(str, clouded)),
        dims,
        patch=dict(zip(dims, (scale.n_times, *PATCH[name]), strict=True)),
        overlap=dict(zip(dims, (scale.overlap, *(n // 2 for n in PATCH[name])), strict=True)),
        climatology=fit_climatology(clouded, dims, n_harmonics=0),
    )
    model = fourdvarnet(space, n_steps=0, n_features=scale.n_features, start_widths=scale.widths, seed=seed)
    model.assimilator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def train(out: Path, name: str, clouded: xr.Dataset, seed: int) -> oceanvar.VarNet:
    """Train on simulated currents that are as strong as those between the clouds, and keep the model."""
    scale, model = SCALES[name], untrained(name, clouded, seed)
    sampler = clouds(scale, list(model.state_space.dims))
    larger = dataclasses.replace(scale, n_members=2 * scale.n_members)
    simulated = simulate(clouded, larger, np.random.default_rng(seed)) + clouded.mean("time")
    settings = {**SETTINGS, "n_epochs": N_SIMULATED[name], "n_samples": scale.n_samples, "seed": seed}
    simulated.varnet.fit(model, sampler, checkpoint=out / "simulated_training", resume=True, **settings)
    return model


def learn_on(model: oceanvar.VarNet, out: Path, name: str, clouded: xr.Dataset, seed: int) -> oceanvar.VarNet:
    """Train on with clouded days: further clouds are withheld, and the last days tell when it begins to remember."""
    scale = SCALES[name]
    settings = {**SETTINGS, "learning_rate": 5e-4, "n_epochs": scale.n_epochs, "n_samples": scale.n_samples}
    clouded.varnet.fit(
        model,
        validation=scale.n_validation / clouded.sizes["time"],
        checkpoint=out / "clouded_training",
        resume=True,
        seed=seed,
        **settings,
    )
    return model


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Folder of daily NetCDF files without gaps.")
@click.option("--variables", default=VARIABLES, show_default=True, help="Eastward,northward.")
@click.option("--train-months", "train_months", default="1-6", show_default=True, callback=months)
@click.option("--test-months", "test_months", default="7-9", show_default=True, callback=months)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/agulhas_alone"), show_default=True)
@click.option("--scale", "name", type=click.Choice(list(SCALES)), default="full", show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the clouds, the weights and the training.")
def main(
    data: Path | None, variables: str, out: Path, name: str, seed: int, **chosen: tuple[int, int]
) -> None:
    """Train on the clouded days of some months, and score the withheld cells of later ones."""
    torch.set_num_threads(1)
    data, scale = data or find_data(DATA, "a piece of public maps of currents", "--data"), SCALES[name]
    claim(out, {"scale": dataclasses.asdict(scale), "seed": seed, "variables": variables, **chosen})
    names = variables.split(",")
    truth = read(data, names, UNITS)
    if not (out / "obs").exists():
        withhold(data, out / "obs", truth, clouds(scale, list(truth[names[0]].dims)), seed)
    obs = read(out / "obs", names, UNITS)
    learning, test = (within(truth, *chosen[key]) for key in ("train_months", "test_months"))
    clouded = obs.isel(time=learning)
    first = kept_model(out / "simulated.varnet", lambda: train(out, name, clouded, seed))
    start = oceanvar.load(out / "simulated.varnet")
    model = kept_model(out / "alone.varnet", lambda: learn_on(start, out, name, clouded, seed))
    # Days before July are assimilated as the days after it are: an archive has them.
    analyses = {SIMULATED: obs.varnet.assimilate(first), scores.OURS: obs.varnet.assimilate(model)}
    found = {}
    for each in names:
        fields = (truth[each], obs[each])
        interpolate = functools.partial(scores.interpolate, *fields, learning, test, scale.candidates)
        maps = scores.by_method(kept(out / f"{each}.nc", interpolate)[each])
        maps |= {method: analysis[each][test] for method, analysis in analyses.items()}
        found[each] = scores.table(fields[0][test], fields[1][test], maps)
    (out / "scores.json").write_text(json.dumps(found, indent=1))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
