"""Map the sea level of a simulated ocean from four altimeters: learn on some oceans, score on others.

    python scripts/ocean_osse.py --out runs/ocean

Every ocean comes from `oceanvar.quasigeostrophic` with a seed of its own. The steps: simulate years to
learn from, train 4DVarNet on them, then simulate months that no method has seen, each from another seed,
observe them with four altimeters, and score 4DVarNet beside linear interpolation and optimal interpolation,
whose scales are chosen on training months. Each step leaves files in --out and is skipped where they are:
a run that was broken off goes on where it stopped. `--scale tiny` runs all of it in seconds.
"""

import dataclasses
import functools
import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import numpy as np
import torch
import xarray as xr

import oceanvar
from oceanvar.baselines.linear import interpolate_linear
from oceanvar.baselines.optimal import optimal_interpolation
from oceanvar.baselines.tuning import fit_lengths
from oceanvar.metrics.intervals import bootstrap_interval, bootstrap_ratio
from oceanvar.plots.panels import plot_comparison
from oceanvar.presets import fourdvarnet
from oceanvar.satellites import Nadirs
from oceanvar.training.losses import LossWeights

MISSIONS = ("jason", "sentinel3a", "sentinel3b", "altika")
NOISE = 0.02
START_SHARE = 0.82
MARGIN = 10  # days on both sides of a month that are mapped but not scored
FIRST_TRAINING_SEED, FIRST_VALIDATION_SEED, FIRST_TUNING_SEED, FIRST_TEST_SEED = 1000, 2000, 3000, 4000
OI, OURS = "optimal interpolation", "4DVarNet"
SCORES = ("mu", "sigma", "lambda_x", "lambda_t", "rmse", "r_score")


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large an experiment is."""

    resolution: float
    n_spinup: int
    n_years: int
    n_days: int
    n_month: int
    n_months: int
    patch: tuple[int, int]
    widths: tuple[int, ...]
    n_features: int
    n_epochs: int
    n_samples: int
    n_steps: int
    lengths_km: tuple[float, ...]
    lengths_days: tuple[float, ...]


SCALES = {
    "full": Scale(
        resolution=0.1, n_spinup=250, n_years=10, n_days=365, n_month=40, n_months=12, patch=(15, 64),
        widths=(48, 64, 96, 128), n_features=24, n_epochs=30, n_samples=800, n_steps=3,
        lengths_km=(30, 40, 50, 65, 85), lengths_days=(4, 6, 8, 11, 15),
    ),
    "tiny": Scale(
        resolution=0.3125, n_spinup=2, n_years=1, n_days=20, n_month=8, n_months=2, patch=(6, 16),
        widths=(8, 8), n_features=4, n_epochs=2, n_samples=4, n_steps=1,
        lengths_km=(50, 85), lengths_days=(8,),
    ),
}  # fmt: skip


def ocean(out: Path, scale: Scale, seed: int, n_days: int, start: str) -> xr.Dataset:
    """Sea level of one simulated ocean, kept in a file."""
    path = out / "oceans" / f"{seed}.nc"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        truth = oceanvar.quasigeostrophic(
            n_days, seed, resolution=scale.resolution, n_spinup=scale.n_spinup, start=start
        )
        partial = path.with_suffix(".part")
        truth.to_netcdf(partial)
        partial.rename(path)
    return xr.load_dataset(path)[["ssh"]]


def kept(path: Path, make: Callable[[], dict]) -> dict:
    """What `make` gives, from a file if an earlier run has come so far."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = json.dumps(make(), indent=1)
        partial = path.with_suffix(".part")
        partial.write_text(made)
        partial.rename(path)
    return json.loads(path.read_text())


def years(out: Path, scale: Scale, first_seed: int, n_years: int) -> xr.Dataset:
    """Years that begin at the same date, along a dimension ``trajectory``."""
    seeds = range(first_seed, first_seed + n_years)
    oceans = [ocean(out, scale, seed, scale.n_days, "2001-01-01") for seed in seeds]
    return xr.concat(oceans, "trajectory", combine_attrs="drop")


def month(out: Path, scale: Scale, seed: int, number: int) -> tuple[xr.Dataset, xr.Dataset]:
    """Truth and observations of a month and the margins around it; each begins at another date."""
    start = np.datetime64("2005-01-01") + 61 * number
    truth = ocean(out, scale, seed, scale.n_month + 2 * MARGIN, str(start))
    return truth, truth.varnet.observe(Nadirs(MISSIONS), noise_std=NOISE, seed=seed)


def train(out: Path, scale: Scale, seed: int) -> oceanvar.VarNet:
    """Train on the years, observed afresh in every epoch, or load what an earlier run has trained."""
    learned = out / "ocean.varnet"
    if learned.exists():
        print(f"using {learned}; delete it to train anew")
        return oceanvar.load(learned)
    n_times, n_cells = scale.patch
    dims = ("time", "latitude", "longitude")
    patch = dict(zip(dims, (n_times, n_cells, n_cells), strict=True))
    overlap = dict(zip(dims, (n_times // 2, n_cells // 2, n_cells // 2), strict=True))
    model = fourdvarnet(
        oceanvar.StateSpace(("ssh",), dims, patch, overlap),
        n_steps=scale.n_steps,
        n_features=scale.n_features,
        start_widths=scale.widths,
        seed=seed,
    )
    validation = years(out, scale, FIRST_VALIDATION_SEED, 1)
    history = years(out, scale, FIRST_TRAINING_SEED, scale.n_years).varnet.fit(
        model,
        Nadirs(MISSIONS),
        noise_std=NOISE,
        validation=validation,
        n_samples=scale.n_samples,
        n_epochs=scale.n_epochs,
        batch_size=8,
        learning_rate=2e-3,
        n_steps={0: 0, max(1, round(START_SHARE * scale.n_epochs)): scale.n_steps},
        weights=LossWeights(1.0, 0.05, 0.05, start=0.5),
        precision="bf16-mixed",
        seed=seed,
        checkpoint=out / "checkpoints",
        resume=True,
        progress=True,
    )
    history.to_netcdf(out / "history.nc")
    model.save(learned)
    return model


def choose_scales(out: Path, scale: Scale) -> dict[str, float]:
    """Lengths of optimal interpolation that suit two training months best."""
    candidates = [
        {"time": days, "latitude": km, "longitude": km}
        for km, days in itertools.product(scale.lengths_km, scale.lengths_days)
    ]
    errors = []
    for number in range(2):
        truth, obs = month(out, scale, FIRST_TUNING_SEED + number, number)
        table = fit_lengths(obs["ssh"], candidates, NOISE, truth=truth["ssh"], mean=0.0, n_nearest=100)[1]
        errors.append(table["rmse"].values ** 2)
    return candidates[int(np.argmin(np.sum(errors, axis=0)))]


def scored(field: xr.DataArray) -> xr.DataArray:
    """Days and cells of a month that are scored: no margins, every second cell."""
    return field[MARGIN:-MARGIN, ::2, ::2]


def analyses(
    truth: xr.Dataset, obs: xr.Dataset, model: oceanvar.VarNet, lengths: Mapping[str, float]
) -> dict[str, xr.DataArray]:
    """Maps of every method on the days and cells that are scored."""
    targets = scored(truth["ssh"])
    methods: dict[str, Callable[[], xr.DataArray]] = {
        "linear interpolation": lambda: scored(interpolate_linear(obs["ssh"], fill=0.0)),
        OI: lambda: optimal_interpolation(
            obs["ssh"], lengths, NOISE, mean=0.0, targets=targets, n_nearest=100
        )["ssh"],
        OURS: lambda: scored(obs["ssh"].varnet.assimilate(model)),
    }
    return {name: method().transpose(*targets.dims) for name, method in methods.items()}


def score_month(out: Path, scale: Scale, number: int, model: oceanvar.VarNet, lengths: dict) -> dict:
    """Scores of every method on one test month."""
    truth, obs = month(out, scale, FIRST_TEST_SEED + number, number)
    found = analyses(truth, obs, model, lengths)
    targets = scored(truth["ssh"])
    if number == 0:
        middle = targets.time[len(targets.time) // 2]
        seen = {"observations": scored(obs["ssh"]), **found}
        maps = {name: field.sel(time=middle) for name, field in seen.items()}
        plot_comparison(maps, truth=targets.sel(time=middle)).savefig(out / "maps.png", dpi=120)
    rows = {}
    for name, field in found.items():
        scores = field.varnet.score(targets).isel(variable=0)
        rows[name] = {key: float(scores[key]) for key in SCORES if key in scores}
    return rows


def table(months: list[dict]) -> dict:
    """Mean of every score over the months with a 95 % interval, and ratios to optimal interpolation."""
    rows: dict = {}
    for name in months[0]:
        rows[name] = {}
        for key in months[0][name]:
            values = np.array([one[name][key] for one in months])
            known = values[np.isfinite(values)]
            row = {"mean": float(known.mean()) if known.size else None, "n_months": int(known.size)}
            if known.size > 1:
                row["interval"] = bootstrap_interval(known)
            rows[name][key] = row
    for key in ("r_score", "lambda_x", "lambda_t"):
        pairs = np.array([[one[name].get(key, np.nan) for name in (OURS, OI)] for one in months])
        pairs = pairs[np.isfinite(pairs).all(axis=1)]
        if len(pairs) > 1:
            ratio = float(pairs[:, 0].mean() / pairs[:, 1].mean())
            rows[OURS][f"{key}_over_oi"] = {"ratio": ratio, "interval": bootstrap_ratio(*pairs.T)}
    return rows


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/ocean"), show_default=True)
@click.option("--scale", "name", type=click.Choice(list(SCALES)), default="full", show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the weights and of the training.")
@click.option("--n-threads", default=1, show_default=True)
def main(out: Path, name: str, seed: int, n_threads: int) -> None:
    """Train on simulated years, then score on months of other seeds beside two interpolations."""
    torch.set_num_threads(n_threads)
    scale = SCALES[name]
    out.mkdir(parents=True, exist_ok=True)
    settings = json.dumps({"scale": dataclasses.asdict(scale), "seed": seed}, indent=1)
    written = out / "settings.json"
    if written.exists() and written.read_text() != settings:
        raise click.ClickException(f"{written} is of a run with other settings: choose another --out")
    written.write_text(settings)
    model = train(out, scale, seed)
    lengths = kept(out / "lengths.json", lambda: choose_scales(out, scale))
    print(f"optimal interpolation with {lengths}")
    months = []
    for number in range(scale.n_months):
        make = functools.partial(score_month, out, scale, number, model, lengths)
        months.append(kept(out / "months" / f"{number}.json", make))
        print(f"month {number + 1} of {scale.n_months}: {months[-1]}", flush=True)
    result = {"lengths": lengths, "scores": table(months), "months": months}
    (out / "scores.json").write_text(json.dumps(result, indent=1))
    print(json.dumps(result["scores"], indent=1))


if __name__ == "__main__":
    main()
