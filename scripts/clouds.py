"""Fill simulated temperature under moving clouds, by methods that have seen nothing but clouded images.

    python -m scripts.clouds --out runs/clouds

A simulated ocean is seen under clouds that hide 60 % of the cells, with errors of 0.3 K, for a number of days; on
another ocean under other clouds all methods are scored, at hidden and at seen cells. That one is used for nothing
else, but for its clouded images, which are filled: DINEOF has its modes from these. What is learned from:

- linear interpolation in time: nothing;
- optimal interpolation, of means of 2 x 2 cells: lengths from withheld clouds of the first ocean;
- DINEOF, without and with smoothing in time: nothing;
- a U-Net trained on the clouded images of the first ocean;
- the same trained for as many steps on the truth of the first ocean, under fresh clouds and errors at each.

The mean temperature, which falls to the north, is known to all. Intervals are over blocks of days. Each step leaves a
file in --out and is skipped where it is: a run that was broken off goes on where it stopped. `--small` takes seconds.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path

import click
import numpy as np
import torch
import xarray as xr

import oceanvar
from oceanvar.baselines import (
    average_pixels,
    dineof,
    fit_lengths,
    interpolate_linear,
    optimal_interpolation,
    withhold_clouds,
)
from oceanvar.metrics import bootstrap_ratio, root_mean_square
from oceanvar.network import fourdvarnet
from oceanvar.observing import MovingClouds
from oceanvar.training import LossWeights
from scripts.keeping import claim, kept

DIMS = ("time", "latitude", "longitude")
KELVIN = 0.3
"""Standard deviation of the error of a temperature."""

CLOUDS = MovingClouds(0.6, {"latitude": 8, "longitude": 8}, lifetime=2.0, drift={"longitude": 1.0})
LEARNING, SCORED = 1, 4
"""Seeds of the two oceans and of their clouds."""

STRIDE = 3
"""Of the cells that are scored, along latitude and longitude."""

LINEAR, OI = "linear in time", "optimal interpolation"
DINEOF, SMOOTHED = "DINEOF", "DINEOF, smoothed in time"
ALONE, TRUTH = "U-Net, clouded images alone", "U-Net, truth"
WANTED = {(ALONE, TRUTH): 1.15, (ALONE, DINEOF): 0.4, (ALONE, SMOOTHED): 0.4, (ALONE, OI): 0.8}
"""Largest ratios of the error variances at hidden cells that are aimed at."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large an experiment is; `patch` and `overlap` are days and cells, a block of the bootstrap is days."""

    size: float
    n_spinup: int
    n_learning: int
    n_days: int
    n_block: int
    patch: tuple[int, int]
    overlap: tuple[int, int]
    widths: tuple[int, ...]
    n_epochs: int
    n_samples: int
    days: tuple[float, ...]
    km: tuple[float, ...]
    n_nearest: int
    max_modes: int
    smoothing: float


FULL = Scale(
    size=6.0, n_spinup=250, n_learning=730, n_days=300, n_block=15,
    patch=(11, 40), overlap=(8, 20), widths=(32, 48, 64), n_epochs=40, n_samples=2000,
    days=(2, 3, 5, 8), km=(15, 25, 35, 50), n_nearest=60, max_modes=60, smoothing=2.0,
)  # fmt: skip
SMALL = Scale(
    size=3.2, n_spinup=20, n_learning=60, n_days=45, n_block=15,
    patch=(5, 16), overlap=(2, 0), widths=(4, 4), n_epochs=2, n_samples=8,
    days=(5,), km=(25, 50), n_nearest=20, max_modes=3, smoothing=2.0,
)  # fmt: skip


def ocean(scale: Scale, seed: int, n_days: int) -> xr.Dataset:
    """Departure of the temperature of a simulated ocean from its mean, and what is seen of it."""
    truth = oceanvar.quasigeostrophic(n_days, seed, size=scale.size, n_spinup=scale.n_spinup)[["sst"]]
    departure = truth["sst"] - truth["sst"].mean(("time", "longitude"))
    truth = truth.assign(sst=departure.assign_attrs(units="K"))
    seen = truth.varnet.observe(CLOUDS, noise_std=KELVIN, seed=seed, dims=DIMS)
    return truth.assign(seen=seen["sst"])


def scored(field: xr.DataArray) -> xr.DataArray:
    """Cells that are scored."""
    return field[:, ::STRIDE, ::STRIDE]


def interpolate(scale: Scale, first: xr.Dataset, other: xr.Dataset) -> xr.DataArray:
    """Optimal interpolation of means of 2 x 2 cells, with the lengths that are best under withheld clouds."""
    boxes = {"latitude": 2, "longitude": 2}
    means = average_pixels(first["seen"], boxes, KELVIN)
    candidates = [
        {"time": days, "latitude": km, "longitude": km} for days, km in product(scale.days, scale.km)
    ]
    noise = float(means["noise_std"].median())
    withheld = withhold_clouds(means["seen"], 0.1, n_days=3)
    lengths, table = fit_lengths(
        means["seen"], candidates, noise, withheld=withheld, n_nearest=scale.n_nearest
    )
    click.echo(f"lengths {lengths}, {float(table['rmse'].min()):.3f} K at withheld means", err=True)
    means = average_pixels(other["seen"], boxes, KELVIN)
    goal = scored(other["sst"])
    errors = means["noise_std"].fillna(KELVIN)
    found = optimal_interpolation(means["seen"], lengths, errors, targets=goal, n_nearest=scale.n_nearest)
    return found["seen"]


def network(scale: Scale) -> oceanvar.VarNet:
    """U-Net that makes a map of some days of clouded images."""
    patch, overlap = (dict(zip(DIMS, (n[0], n[1], n[1]), strict=True)) for n in (scale.patch, scale.overlap))
    space = oceanvar.StateSpace(("sst",), DIMS, patch, overlap)
    return fourdvarnet(space, n_steps=0, n_features=4, n_hidden=4, start_widths=scale.widths)


def learned(scale: Scale, first: xr.Dataset, other: xr.Dataset, *, from_truth: bool) -> xr.DataArray:
    """Maps of a U-Net that learned from the truth or from clouded images alone."""
    model = network(scale)
    settings = {
        "n_epochs": scale.n_epochs, "n_samples": scale.n_samples, "batch_size": 8, "learning_rate": 2e-3,
        "weights": LossWeights(truth_projection=0.0, analysis_projection=0.0),
    }  # fmt: skip
    seen = first[["seen"]].rename(seen="sst")
    if from_truth:
        history = first[["sst"]].varnet.fit(model, CLOUDS, noise_std=KELVIN, **settings)
    else:
        history = seen.varnet.fit(model, noise_std=KELVIN, **settings)
    click.echo(f"errors of validation: {np.round(history['sst_error'].values, 3)} K", err=True)
    # Both alike: only one of them has measured which patches are cheapest.
    space = model.state_space
    analysis = (
        other[["seen"]]
        .rename(seen="sst")
        .varnet.assimilate(model, patch=dict(space.patch), overlap=dict(space.overlap))
    )
    return scored(analysis["sst"])


def methods(scale: Scale, first: xr.Dataset, other: xr.Dataset) -> dict[str, Callable[[], xr.DataArray]]:
    """What makes the maps of each method."""
    seen = other["seen"]

    def by_modes(smoothing: float | None) -> xr.DataArray:
        return scored(dineof(seen, max_modes=scale.max_modes, smoothing=smoothing)["seen"])

    return {
        LINEAR: lambda: scored(interpolate_linear(seen)),
        OI: lambda: interpolate(scale, first, other),
        DINEOF: lambda: by_modes(None),
        SMOOTHED: lambda: by_modes(scale.smoothing),
        ALONE: lambda: learned(scale, first, other, from_truth=False),
        TRUTH: lambda: learned(scale, first, other, from_truth=True),
    }


def timed(make: Callable[[], xr.DataArray]) -> xr.DataArray:
    """Maps with the seconds of the processor that they took."""
    start = time.process_time()
    maps = make()
    seconds = time.process_time() - start
    return maps.reset_coords(drop=True).rename("sst").assign_attrs(cpu_seconds=seconds)


def block_squares(maps: xr.DataArray, other: xr.Dataset, hidden: bool, n_block: int) -> np.ndarray:
    """Mean square error of each block of days at hidden or at seen cells, K^2."""
    truth, is_hidden = scored(other["sst"]), scored(other["seen"]).isnull()
    squares = ((maps - truth) ** 2).where(is_hidden if hidden else ~is_hidden)
    return squares.coarsen(time=n_block).mean().mean(DIMS[1:]).values


def table(found: Mapping[str, xr.DataArray], other: xr.Dataset, n_block: int) -> dict:
    """Errors of each method with their intervals, and ratios of error variances at hidden cells."""
    hidden = {name: block_squares(maps, other, True, n_block) for name, maps in found.items()}
    rows = {}
    for name, maps in found.items():
        squares = {"hidden": hidden[name], "seen": block_squares(maps, other, False, n_block)}
        rows[name] = {key: root_mean_square(each) for key, each in squares.items()}
        rows[name]["cpu_seconds"] = maps.attrs["cpu_seconds"]
    ratios = {}
    for (one, of), wanted in WANTED.items():
        ratio = float(hidden[one].mean() / hidden[of].mean())
        interval = bootstrap_ratio(hidden[one], hidden[of])
        ratios[f"{one} / {of}"] = {"ratio": ratio, "interval": interval, "wanted": wanted}
    return {"scores": rows, "ratios": ratios}


def as_markdown(result: Mapping) -> str:
    """Table for a page."""
    lines = ["| | hidden cells, K | seen cells, K | CPU s |", "|---|---|---|---|"]
    for name, row in result["scores"].items():
        cells = ["{:.3f} ({:.3f} to {:.3f})".format(*row[key]) for key in ("hidden", "seen")]
        lines.append(f"| {name} | {' | '.join(cells)} | {row['cpu_seconds']:.0f} |")
    lines += ["", "| error variance at hidden cells | found | wanted, at most |", "|---|---|---|"]
    for name, row in result["ratios"].items():
        low, high = row["interval"]
        lines.append(f"| {name} | {row['ratio']:.2f} ({low:.2f} to {high:.2f}) | {row['wanted']} |")
    return "\n".join(lines)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/clouds"), show_default=True)
@click.option("--small", is_flag=True, help="All of it in seconds.")
def main(out: Path, small: bool) -> None:
    """Fill the clouded images of an ocean by every method, and score them."""
    torch.set_num_threads(1)
    scale = SMALL if small else FULL
    claim(out, dataclasses.asdict(scale))
    days = {LEARNING: scale.n_learning, SCORED: scale.n_days}
    first, other = (
        kept(out / f"{seed}.nc", lambda seed=seed: ocean(scale, seed, days[seed])) for seed in days
    )
    found = {}
    for number, (name, make) in enumerate(methods(scale, first, other).items()):
        click.echo(name, err=True)
        found[name] = kept(out / f"maps{number}.nc", lambda make=make: timed(make))["sst"]
    result = table(found, other, scale.n_block)
    (out / "scores.json").write_text(json.dumps(result, indent=1))
    print(as_markdown(result))


if __name__ == "__main__":
    main()
