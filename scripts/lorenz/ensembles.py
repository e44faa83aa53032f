"""Ensemble filters and smoothers cycled over long runs, observed as in the papers' windows.

    python -m scripts.lorenz ensembles lorenz63
    python -m scripts.lorenz ensembles lorenz96 --n-runs 10 --n-steps 2000

Past observations help here, which no method of the table has: windows are on their own there. The first and last 200
steps are not scored; intervals are 95 % bootstraps over runs, each a trajectory of its own.
"""

from dataclasses import replace

import click
import numpy as np
import torch

from oceanvar.metrics import bootstrap_interval
from oceanvar.observing import observe
from oceanvar.papers import ensembles
from oceanvar.papers.experiments import EXPERIMENTS, NOISE_STD

N_MARGIN = 200


@click.command()
@click.argument("system", type=click.Choice(sorted(EXPERIMENTS)))
@click.option("--n-runs", default=20, show_default=True)
@click.option("--n-steps", default=4000, show_default=True)
@click.option("--seed", default=21, show_default=True)
@click.option("--members", type=click.IntRange(2), help="Instead of those of the table.")
def main(system: str, n_runs: int, n_steps: int, seed: int, members: int | None) -> None:
    """Score the ensemble rows of SYSTEM, cycled."""
    torch.set_num_threads(1)
    experiment = EXPERIMENTS[system]
    truth = experiment.simulate(n_steps, seed=seed, n_trajectories=n_runs).rename(trajectory="window")
    obs = observe(truth, experiment.sampler, noise_std=NOISE_STD, seed=seed, dims=experiment.dims)
    scored = {"time": slice(N_MARGIN, n_steps - N_MARGIN)}
    names = list(truth.data_vars)
    mean_square = np.mean([np.square(truth[name].isel(scored)).mean() for name in names])
    for name, method in ensembles(system).items():
        analysis = (method if members is None else replace(method, n_members=members))(obs)
        errors = [np.square(analysis[each] - truth[each]).isel(scored) for each in names]
        by_run = sum(each.mean([d for d in each.dims if d != "window"]) for each in errors) / len(names)
        low, high = bootstrap_interval(by_run / mean_square)
        print(
            f"{name:28} R {float(by_run.mean() / mean_square):.3e} (95 % {low:.3e} to {high:.3e})  "
            f"rmse {float(np.sqrt(by_run.mean())):.3f}",
            flush=True,
        )
