"""The classical ladder beside the packaged model in a Lorenz twin experiment.

    python scripts/lorenz_osse.py lorenz63 --n-windows 400
    python scripts/lorenz_osse.py lorenz96 --n-windows 100

Every method sees the same windows, each from a trajectory of its own, with a mask and noise of its own.
Climatologies come from other trajectories. Prints the R-score (mean square error over the mean square of
the truth) with a 95 % bootstrap interval over windows, its median, 2J/n_obs on the cost of weak-constraint
4D-Var (about 1 at the optimum), and processor time; writes the same, and the error by step, as JSON.
"""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch
import xarray as xr
from torch import Tensor

import oceanvar
from oceanvar.bridge import to_observations, to_tensor
from oceanvar.experiments import EXPERIMENTS, N_TIMES, NOISE_STD
from oceanvar.metrics.intervals import bootstrap_interval
from oceanvar.sampling import EveryNthStep
from oceanvar.variational.assimilators import Assimilator
from oceanvar.variational.climatology import ClimatologicalStart, FirstStateTerm
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.observations import Observations
from oceanvar.variational.posterior import health
from oceanvar.variational.solvers.block_tridiagonal import BlockTridiagonalGaussNewton
from oceanvar.variational.solvers.schedules import Annealed, Sequential
from oceanvar.variational.starts import interpolate_in_time
from oceanvar.variational.weak_constraint import weak_constraint_cost

MODEL_ERROR = {"lorenz63": 1e-5, "lorenz96": 30 * 1.5**-28}
CLIMATOLOGY_SEED = 7


def annealed(start: ClimatologicalStart, cost: VariationalCost, system: str) -> Assimilator:
    """Gauss-Newton from optimal interpolation; on Lorenz-96 with a model error that falls in 29 stages."""
    finish = BlockTridiagonalGaussNewton(tolerance=1e-5)
    if system == "lorenz63":
        return Assimilator(cost, finish, 30, start)
    stages = Annealed(BlockTridiagonalGaussNewton(tolerance=1e-4), [1.5**-k for k in range(28, -1, -1)], 3)
    solver = Sequential((stages, stages.n_steps), (finish, 6))
    return Assimilator(cost, solver, solver.n_steps, start)


@click.command()
@click.argument("system", type=click.Choice(sorted(EXPERIMENTS)))
@click.option("--n-windows", default=100, show_default=True)
@click.option("--all-steps", is_flag=True, help="Lorenz-63 observed at every 8th step, edges too.")
@click.option("--seed", default=20, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
def main(system: str, n_windows: int, all_steps: bool, seed: int, out: Path) -> None:
    """Score the ladder on SYSTEM."""
    if all_steps and system != "lorenz63":
        raise click.UsageError("--all-steps is for lorenz63: lorenz96 has no unobserved edges")
    torch.set_num_threads(1)
    experiment = EXPERIMENTS[system]
    model = oceanvar.load(system)
    space = model.state_space
    if all_steps:
        experiment = replace(experiment, sampler=EveryNthStep(8))
    truth, seen = experiment.test_windows(n_windows, seed)
    states, obs, cost, start = problem(system, space, truth, seen)
    learned = model.assimilator.solver.counts[0]
    methods: dict[str, Callable[[], Tensor]] = {
        "linear interpolation": lambda: interpolate_in_time(obs.values["state"], obs.weights["state"] > 0),
        "optimal interpolation": lambda: start(obs),
        "classical, annealed": lambda: annealed(start, cost, system).solve(obs),
        "learned alone": lambda: packaged(model, seen, learned),
        "learned + Gauss-Newton": lambda: packaged(model, seen, model.assimilator.n_steps),
    }
    mean, std = map(torch.from_numpy, space.scales(np.float64))
    mean_square = (states * std + mean).square().mean()
    rows = {}
    print(f"{'':24}{'R':>10}{'95 % interval':>22}{'median':>11}{'2J/n':>9}{'CPU s/window':>14}")
    for name, solve in methods.items():
        began = time.process_time()
        analysis = solve().double()
        seconds = (time.process_time() - began) / n_windows
        error = ((analysis - states) * std).square() / mean_square
        rows[name] = summary(error, health(cost, analysis, obs), seconds)
        row = rows[name]
        print(
            f"{name:24}{row['r']:10.3e}{row['low']:11.3e}{row['high']:11.3e}{row['median']:11.3e}"
            f"{row['health']:9.3g}{seconds:14.4f}",
            flush=True,
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / f"osse_{system}{'_all_steps' * all_steps}.json").write_text(
        json.dumps({"n_windows": n_windows, "seed": seed, **rows}, indent=1)
    )


def problem(
    system: str, space: oceanvar.StateSpace, truth: xr.Dataset, seen: xr.Dataset
) -> tuple[Tensor, Observations, VariationalCost, ClimatologicalStart]:
    """Truth and observations as tensors, the cost of weak-constraint 4D-Var, and its first guess."""
    past = EXPERIMENTS[system].simulate(4000, seed=CLIMATOLOGY_SEED, n_trajectories=32)
    climate = to_tensor(space.stack(oceanvar.windows(past, N_TIMES)).values, space, torch.float64)
    mean, std = ([getattr(space, key)[name] for name in space.variables] for key in ("mean", "std"))
    background = FirstStateTerm([climate.shape[1], *climate.shape[3:]]).double().fit_(climate)
    cost = weak_constraint_cost(
        EXPERIMENTS[system].step(),
        obs_variance=NOISE_STD**2,
        model_error_variance=MODEL_ERROR[system],
        mean=mean,
        std=std,
        background=background,
    )
    start = ClimatologicalStart(climate.shape[1:], [NOISE_STD**2 / s**2 for s in std]).double().fit_(climate)
    states = to_tensor(space.stack(truth).values, space, torch.float64)
    return states, to_observations(space.stack(seen).values, space, dtype=torch.float64), cost, start


def packaged(model: oceanvar.VarNet, seen: xr.Dataset, n_steps: int) -> Tensor:
    """Analysis of the packaged model after a number of its steps."""
    whole, model.assimilator.n_steps = model.assimilator.n_steps, n_steps
    analysis = seen.varnet.assimilate(model, batch_size=32)
    model.assimilator.n_steps = whole
    return to_tensor(model.state_space.stack(analysis).values, model.state_space, torch.float64)


def summary(error: Tensor, healths: Tensor, seconds: float) -> dict[str, object]:
    """Scores of one method from its squared errors ``(B, V, T, *S)``, in units of the mean square."""
    by_window = error.flatten(1).mean(1).numpy()
    low, high = bootstrap_interval(by_window)
    by_step = error.transpose(1, 2).flatten(2).mean((0, 2))
    return {
        "r": float(by_window.mean()),
        "low": low,
        "high": high,
        "median": float(np.median(by_window)),
        "health": float(healths.median()),
        "cpu_seconds_per_window": seconds,
        "by_step": by_step.tolist(),
    }


if __name__ == "__main__":
    main()
