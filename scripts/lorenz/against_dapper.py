"""Ensemble filters and smoothers of `oceanvar.baselines` beside those of DAPPER, on its truths and observations.

    pip install 'oceanvar[oracles]'                      # DAPPER 1.8, on Python 3.12 or later
    python -m scripts.lorenz.against_dapper --n-cycles 4000

DAPPER's own set-ups and settings: `mods/Lorenz63/sakov2012.py` and `mods/Lorenz96/sakov2008.py`. Both see the same
observations; random numbers (first members, perturbations, rotations) are each side's own. The rmse is the mean over
observation times of the root mean square over components, of the analysis (of the smoothed state for iEnKS), after the
set-up's spin-up; intervals are 95 % bootstraps over blocks of 50 times, that of the ratio paired.
"""

import warnings
from collections.abc import Callable
from typing import Any

import click
import numpy as np
import torch

from oceanvar.baselines import enkf, gaspari_cohn, ienks, letkf
from oceanvar.dynamics import FlowStep, Lorenz63, Lorenz96
from oceanvar.metrics import bootstrap_interval, bootstrap_ratio

BLOCK = 50
"""Observation times of a block."""


def tapers(radius: float) -> np.ndarray:
    """Those of Gaspari and Cohn on the circle of Lorenz-96, as DAPPER scales them: 1.82 times the radius."""
    apart = np.abs(np.arange(40)[:, None] - np.arange(40))
    return gaspari_cohn(np.minimum(apart, 40 - apart), radius * 1.82 / np.sqrt(10 / 3))


def cases() -> dict[tuple[str, str], tuple[Callable[[Any], Any], Callable[..., Any], dict[str, Any], int]]:
    """DAPPER's method, ours, its options and members, by set-up and name."""
    from dapper import da_methods as dapper

    return {
        ("lorenz63", "EnKF N=10"): (
            lambda: dapper.EnKF("PertObs", N=10, infl=1.04),
            enkf,
            {"inflation": 1.04},
            10,
        ),
        ("lorenz63", "EnKF N=100"): (
            lambda: dapper.EnKF("PertObs", N=100, infl=1.01),
            enkf,
            {"inflation": 1.01},
            100,
        ),
        ("lorenz63", "ETKF N=10"): (
            lambda: dapper.EnKF("Sqrt", N=10, infl=1.02, rot=True),
            letkf,
            {"inflation": 1.02},
            10,
        ),
        ("lorenz63", "iEnKS N=10 Lag=1"): (
            lambda: dapper.iEnKS("Sqrt", N=10, infl=1.02, rot=True, Lag=1, nIter=10),
            ienks,
            {"inflation": 1.02, "lag": 1},
            10,
        ),
        ("lorenz96", "EnKF N=40"): (
            lambda: dapper.EnKF("PertObs", N=40, infl=1.06),
            enkf,
            {"inflation": 1.06},
            40,
        ),
        ("lorenz96", "ETKF N=24"): (
            lambda: dapper.EnKF("Sqrt", N=24, infl=1.013, rot=True),
            letkf,
            {"inflation": 1.013},
            24,
        ),
        ("lorenz96", "LETKF N=7"): (
            lambda: dapper.LETKF(N=7, rot=True, infl=1.04, loc_rad=4),
            letkf,
            {"inflation": 1.04, "tapers": tapers(4.0)},
            7,
        ),
        ("lorenz96", "iEnKS N=25 Lag=10"): (
            lambda: dapper.iEnKS("Sqrt", N=25, infl=1.01, rot=True, Lag=10, nIter=3),
            ienks,
            {"inflation": 1.01, "lag": 10, "n_iterations": 3},
            25,
        ),
    }


def set_up(system: str, n_cycles: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """DAPPER's experiment, with its truth and observations."""
    import dapper
    from dapper.mods.Lorenz63 import sakov2012
    from dapper.mods.Lorenz96 import sakov2008

    experiment = {"lorenz63": sakov2012, "lorenz96": sakov2008}[system].HMM
    experiment.tseq.Ko = n_cycles
    dapper.set_seed(3000)
    truth, seen = experiment.simulate()
    return experiment, truth, np.array(list(seen))


def step_of(system: str) -> Callable[[np.ndarray], np.ndarray]:
    """Model of one step on members ``(B, N, n)``."""
    flow = FlowStep(*{"lorenz63": (Lorenz63(), 0.01), "lorenz96": (Lorenz96(), 0.05)}[system])

    def step(members: np.ndarray) -> np.ndarray:
        rows = torch.from_numpy(members.reshape(-1, members.shape[-1]))
        with torch.inference_mode():
            moved = flow(rows[:, :, None] if system == "lorenz63" else rows[:, None, None])
        return moved.numpy().reshape(members.shape)

    return step


def ours(
    experiment: Any,
    system: str,
    method: Callable[..., Any],
    options: dict[str, Any],
    n_members: int,
    seen: np.ndarray,
) -> np.ndarray:
    """Means ``(K, n)`` at the observation times."""
    every = experiment.tseq.dko
    obs = np.full((1, every * len(seen) + 1, seen.shape[1]), np.nan)
    obs[0, every::every] = seen
    first = experiment.X0.sample(n_members)[None]
    std = float(np.sqrt(experiment.Obs(0).noise.C.full[0, 0]))
    return method(obs, step_of(system), first, std, **options).mean[0, every::every]


def blocks(mean: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean rmse of each block of times."""
    errors = np.sqrt(np.square(mean - truth).mean(-1))
    n = len(errors) // BLOCK
    return errors[: n * BLOCK].reshape(n, BLOCK).mean(1)


@click.command()
@click.option("--n-cycles", default=4000, show_default=True, help="Observation times.")
def main(n_cycles: int) -> None:
    """Print one line for each method."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(f"{'':30} {'oceanvar':>8} {'95 %':17} {'DAPPER':>8} {'95 %':17} {'ratio':>6} 95 %")
    for (system, name), (theirs, method, options, n_members) in cases().items():
        experiment, truth, seen = set_up(system, n_cycles)
        used = experiment.tseq.masko
        at = truth[experiment.tseq.dko :: experiment.tseq.dko]
        run = theirs()
        run.assimilate(experiment, truth, seen)
        which = "s" if method is ienks else "a"
        other = blocks(np.asarray(getattr(run.stats.mu, which))[used], at[used])
        own = blocks(ours(experiment, system, method, options, n_members, seen)[used], at[used])
        (low, high), (low_other, high_other) = map(bootstrap_interval, (own, other))
        ratio = bootstrap_ratio(own, other)
        print(
            f"{system + ' ' + name:30} {own.mean():8.4f} {low:.4f} to {high:.4f}  {other.mean():8.4f} "
            f"{low_other:.4f} to {high_other:.4f}  {own.mean() / other.mean():6.3f} {ratio[0]:.3f} to {ratio[1]:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
