"""Learn to fill the archive of currents from its clouded days alone.

    python -m scripts.agulhas.alone --out runs/agulhas_alone

The archive, its clouds, the months and the scores of `scripts.agulhas`. A U-Net learns from the days from January to
June as the clouds left them, about the mean of each point that they show, and from nothing else; the cells that were
withheld from July to September are scored. Beside it stand interpolations whose scales were chosen by the truth of
the months for training.
"""

import dataclasses
import functools
import json
from pathlib import Path

import click
import torch
import xarray as xr

import oceanvar
from oceanvar.network import fourdvarnet
from oceanvar.state import fit_climatology
from oceanvar.training import LossWeights
from scripts.agulhas import scores
from scripts.agulhas.__main__ import DATA, SCALES, VARIABLES, clouds, months, read, withhold, within
from scripts.keeping import claim, find_data, kept, kept_model

N_EPOCHS = {"full": 60, "tiny": 2}
UNITS = "days since 1900-01-01"


def train(out: Path, name: str, clouded: xr.Dataset, seed: int) -> oceanvar.VarNet:
    """Train direct inversion on clouded days; further clouds are withheld and learned from."""
    scale, dims = SCALES[name], tuple(map(str, clouded[next(iter(clouded))].dims))
    space = oceanvar.StateSpace(
        tuple(map(str, clouded)),
        dims,
        patch={**{dim: clouded.sizes[dim] for dim in dims}, "time": scale.n_times},
        overlap={"time": scale.overlap},
        climatology=fit_climatology(clouded, dims, n_harmonics=0),
    )
    model = fourdvarnet(space, n_steps=0, n_features=scale.n_features, start_widths=scale.widths, seed=seed)
    model.assimilator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    clouded.varnet.fit(
        model,
        n_epochs=N_EPOCHS[name],
        n_samples=scale.n_samples,
        batch_size=8,
        learning_rate=2e-3,
        precision="bfloat16",
        weights=LossWeights(truth_projection=0.0, analysis_projection=0.0),
        seed=seed,
        checkpoint=out / "alone_training",
        resume=True,
        progress=True,
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
    model = kept_model(out / "alone.varnet", lambda: train(out, name, obs.isel(time=learning), seed))
    # Days before July are assimilated as the days after it are: an archive has them.
    analysis = obs.varnet.assimilate(model)
    found = {}
    for each in names:
        fields = (truth[each], obs[each])
        interpolate = functools.partial(scores.interpolate, *fields, learning, test, scale.candidates)
        maps = scores.by_method(kept(out / f"{each}.nc", interpolate)[each]) | {
            scores.OURS: analysis[each][test]
        }
        found[each] = scores.table(fields[0][test], fields[1][test], maps)
    (out / "scores.json").write_text(json.dumps(found, indent=1))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
