"""Cycling on Lorenz-96: the error at the newest observation and the cost of a cycle, beside cold whole windows.

    python -m scripts.lorenz cycle

20 of 40 sites at every fourth step, noise of variance 2, drawn anew each time. A cycle every four steps ends at an
observation. Cold windows of 197 steps, of which the last one is observed, are solved on their own at some of the same
times. Errors are of several trajectories, costs of one window at a time, in seconds of the processor.
"""

import time

import click
import numpy as np
import torch
import xarray as xr

import oceanvar
from oceanvar.metrics import bootstrap_interval
from oceanvar.observing import RandomComponents
from oceanvar.papers.experiments import N_TIMES, NOISE_STD

EVERY, LAG, LEAD = 4, 40, 8


@click.command()
@click.option("--n-trajectories", default=12, show_default=True)
@click.option("--n-cycles", default=100, show_default=True, help="Of each trajectory.")
@click.option("--windows", default="197,137,97", show_default=True, help="Steps of the windows of cycles.")
@click.option("--apart", default=5, show_default=True, help="Cycles from one cold window to the next.")
@click.option("--seed", default=101, show_default=True)
def main(n_trajectories: int, n_cycles: int, windows: str, apart: int, seed: int) -> None:
    """Score cycles with windows of several lengths, and cold windows."""
    torch.set_num_threads(1)
    model = oceanvar.load("lorenz96")
    n_times = N_TIMES - EVERY + 1 + EVERY * (n_cycles - 1)
    truth = oceanvar.lorenz96(n_times, seed=seed, n_trajectories=n_trajectories)
    sampler = RandomComponents(20, every=EVERY)
    obs = truth.varnet.observe(sampler, noise_std=NOISE_STD, seed=seed, dims=["time", "site"])
    cold, seconds = cold_windows(model, obs, apart)
    print("| method | rmse, newest observation | 95 % | median | rmse, lag 40 | s a window | of a cold one |")
    print("|---|---|---|---|---|---|---|")
    print(line("cold, 197 steps", cold, truth, seconds, seconds), flush=True)
    for window in map(int, windows.split(",")):
        given = obs.isel(time=slice(N_TIMES - EVERY + 1 - window, None))
        cycles = model.cycle(given, every=EVERY, lag=LAG, lead=LEAD, window=window)
        cost = seconds_each(model, given.isel(trajectory=[0]), window)
        print(
            line(f"cycle, {window} steps", cycles.isel(time=slice(1, None)), truth, cost, seconds), flush=True
        )
        if window == int(windows.split(",")[0]):
            scores = cycles.varnet.score_forecast(truth).sel(variable="x", lead=slice(0, None))
    print(scores[["rmse", "rmse_persistence", "anomaly_correlation"]].to_dataframe().round(3))


def cold_windows(model: oceanvar.VarNet, obs: xr.Dataset, apart: int) -> tuple[xr.Dataset, float]:
    """Newest states and those before of windows on their own, and the seconds that one takes."""
    n, found, spent = N_TIMES - EVERY + 1, [], []
    for stop in range(n + apart * EVERY, obs.sizes["time"] + 1, apart * EVERY):
        window = obs.isel(time=slice(stop - n, stop))
        analysis = window.varnet.assimilate(model, patch={"time": n}, overlap={"time": 0})
        parts = [analysis.isel(time=[-1 - lag]).assign_coords(time=analysis.time[[-1]]) for lag in (LAG, 0)]
        found.append(xr.concat(parts, xr.Variable("lead", [-LAG, 0])))
        began = time.process_time()
        window.isel(trajectory=[0]).varnet.assimilate(model, patch={"time": n}, overlap={"time": 0})
        spent.append(time.process_time() - began)
    return xr.concat(found, "time"), float(np.median(spent))


def seconds_each(model: oceanvar.VarNet, obs: xr.Dataset, window: int) -> float:
    """Seconds of a cycle: what more of them take, so that the first window does not count."""
    spent = {}
    for n in (6, 26):
        began = time.process_time()
        model.cycle(
            obs.isel(time=slice(window + EVERY * (n - 1))), every=EVERY, lag=LAG, lead=LEAD, window=window
        )
        spent[n] = time.process_time() - began
    return (spent[26] - spent[6]) / 20


def line(name: str, states: xr.Dataset, truth: xr.Dataset, seconds: float, cold: float) -> str:
    """Row of the table: errors with an interval over trajectories, and costs."""
    dt = float(truth.time[1] - truth.time[0])
    found = []
    for place, lag in ((1, 0), (0, LAG)):
        true = truth["x"].sel(time=states.time - lag * dt, method="nearest").assign_coords(time=states.time)
        error = (states["x"].isel(lead=place, drop=True) - true) ** 2
        found.append(error.mean("site").transpose("trajectory", "time").values)
    low, high = np.sqrt(bootstrap_interval(found[0].mean(axis=1)))
    newest, behind = (np.sqrt(each.mean()) for each in found)
    numbers = f"{low:.3f} to {high:.3f} | {np.sqrt(np.median(found[0])):.3f} | {behind:.3f} | {seconds:.3f}"
    return f"| {name} | {newest:.3f} | {numbers} | {seconds / cold:.2f} |"
