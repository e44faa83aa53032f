"""What training gains when the windows of the next steps are drawn beside a step."""

import time

import click
import numpy as np
import torch
import xarray as xr

import oceanvar
from oceanvar.allocation import keep_freed_memory
from oceanvar.network.training_windows import TrainingWindows
from oceanvar.observing import MovingClouds, RandomFraction
from oceanvar.state.windows import WindowSource
from oceanvar.training import loop
from oceanvar.training.losses import LossWeights
from oceanvar.training.settings import TrainingSettings
from scripts.benchmarks import machine
from scripts.benchmarks.patch import PAIRS

SAMPLERS = {
    "clouds": MovingClouds(0.6, {"latitude": 8, "longitude": 8}, lifetime=3.0),
    "points": RandomFraction(0.1),
}
PATCH = {"time": 25, "latitude": 64, "longitude": 64}
SMALL = {"time": 3, "latitude": 8, "longitude": 8}


@click.command()
@PAIRS
@click.option("--small", is_flag=True, help="Small windows: to try the command.")
def draws(pairs: int, small: bool) -> None:
    """Seconds of an epoch whose steps wait for their windows over those with windows drawn ahead, one torch thread.

    Wall time: what is gained is a second core. A U-Net as first guess, 4 windows a step.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    patch = SMALL if small else PATCH
    space = oceanvar.StateSpace(("ssh",), tuple(patch), patch=patch, mean={"ssh": 0.0}, std={"ssh": 1.0})
    sizes = [2 * n for n in patch.values()]
    values = np.random.default_rng(0).normal(size=sizes).astype(np.float32)
    truth = xr.Dataset({"ssh": (space.dims, values)}, {dim: np.arange(2 * n) for dim, n in patch.items()})
    settings = TrainingSettings(
        n_epochs=1, batch_size=4, weights=LossWeights(truth_projection=0.0, analysis_projection=0.0)
    )
    model = oceanvar.presets.fourdvarnet(space, n_steps=0, start_widths=(32, 48, 64))
    click.echo(f"{machine.described()}; medians of {pairs} pairs, and quartiles")
    for name, sampler in SAMPLERS.items():
        windows = TrainingWindows(WindowSource(truth, space, sampler, 0.1), space, 8 if small else 48, 4, 0)
        ratios = []
        for _ in range(pairs):
            ahead = _seconds(loop.drawn_ahead, model, windows, settings)
            ratios.append(_seconds(iter, model, windows, settings) / ahead)
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        click.echo(f"{name}: {middle:.2f} times faster ({low:.2f} to {high:.2f})")


def _seconds(drawing, model, windows, settings) -> float:
    """Wall time of an epoch whose batches come through `drawing`."""
    usual, loop.drawn_ahead = loop.drawn_ahead, drawing
    try:
        began = time.perf_counter()
        loop.train(model.assimilator, windows, None, settings)
        return time.perf_counter() - began
    finally:
        loop.drawn_ahead = usual
