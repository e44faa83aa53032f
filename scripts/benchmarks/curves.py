"""How the time of a map grows with its length and region, and with the patch: on log axes, with exponents."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import xarray as xr

from scripts.benchmarks import machine

N_TIMES = 3


def observations(n_days: int, n: int) -> xr.Dataset:
    """Noise at one point of ten, on the grid of the packaged ocean."""
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.1, (n_days, n, n)).astype(np.float32)
    values[rng.random(values.shape) < 0.9] = np.nan
    coords = {
        "time": np.datetime64("2020-01-01", "ns") + np.arange(n_days) * np.timedelta64(1, "D"),
        "latitude": 30 + 0.1 * np.arange(n),
        "longitude": 0.1 * np.arange(n),
    }
    return xr.Dataset({"ssh": (tuple(coords), values)}, coords)


def seconds(obs: xr.Dataset, options: Mapping[str, Any]) -> float:
    """Processor time of a map, the median of some."""
    found = []
    for _ in range(N_TIMES):
        start = time.process_time()
        obs.varnet.assimilate("ocean-2026.11", **options)
        found.append(time.process_time() - start)
    return float(np.median(found))


def in_length(n_days: int) -> float:
    """Of a box of 64 x 64 cells."""
    return seconds(observations(n_days, 64), {})


def in_region(n: int) -> float:
    """Of 25 days."""
    return seconds(observations(25, n), {})


def in_patch(n: int) -> float:
    """Of a box of 192 x 192 cells in patches that do not overlap."""
    return seconds(observations(25, 192), {"patch": dict.fromkeys(BOX, n), "overlap": dict.fromkeys(BOX, 0)})


BOX = ("latitude", "longitude")
CURVES: dict[str, tuple[Callable[[int], float], tuple[int, ...]]] = {
    "days": (in_length, (25, 50, 100, 200, 400)),
    "cells along each side of the region": (in_region, (24, 48, 96, 192, 384)),
    "cells along each side of a patch": (in_patch, (16, 32, 64, 96, 192)),
}


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="Picture to draw.")
@click.option("--small", is_flag=True, help="Only to see that it works: the first two points of each curve.")
def curves(out: Path | None, small: bool) -> None:
    """Processor time against length, region and patch, with exponents fitted on log axes."""
    torch.set_num_threads(1)
    click.echo(machine.described())
    found = {}
    for name, (measure, numbers) in CURVES.items():
        chosen = numbers[:2] if small else numbers
        found[name] = chosen, [measure(n) for n in chosen]
        exponent = np.polyfit(*np.log(found[name]), 1)[0]
        points = ", ".join(f"{n}: {each:.3g} s" for n, each in zip(*found[name], strict=True))
        click.echo(f"{name}, exponent {exponent:.2f}: {points}")
    if out is not None:
        draw(found, out)


def draw(found: Mapping[str, tuple[tuple[int, ...], list[float]]], out: Path) -> None:
    """Draw the curves beside each other."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(found), figsize=(4 * len(found), 3.4), layout="constrained")
    for ax, (name, (numbers, times)) in zip(axes, found.items(), strict=True):
        exponent = np.polyfit(np.log(numbers), np.log(times), 1)[0]
        ax.loglog(numbers, times, "o-", label=f"exponent {exponent:.2f}")
        ax.minorticks_off()
        ax.set_xticks(numbers, labels=map(str, numbers))
        ax.set(xlabel=name, ylabel="processor time, s", ylim=(min(times) / 2, max(times) * 2))
        ax.legend(frameon=False)
    figure.savefig(out, dpi=100)
    plt.close(figure)
