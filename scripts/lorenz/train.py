"""Train the packaged Lorenz models and write their cards.

    python -m scripts.lorenz train lorenz63 --out oceanvar/models
    python -m scripts.lorenz train lorenz96 --out oceanvar/models

A network makes a first analysis of the observations. It is trained on windows cut from simulated trajectories at a
random place, each with a mask and noise of its own. Gauss-Newton steps on weak-constraint 4D-Var then start
from it, and take its first state, with the covariance of its errors, for their background. Runs log to standard
error, keep checkpoints in runs/, and continue where they were broken off.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import click
import torch
import xarray as xr
from torch import Tensor

import oceanvar
from oceanvar.maps import AbstractMap, FoldSteps, PadToMultiple
from oceanvar.network.bridge import to_observations, to_tensor
from oceanvar.observing import AbstractSampler, EveryNthStep, OneOf, RandomComponents
from oceanvar.papers.comparison import score
from oceanvar.papers.experiments import EXPERIMENTS, N_TIMES, NOISE_STD
from oceanvar.papers.ladder import Climate, stages_of
from oceanvar.training import LossWeights
from oceanvar.variational import (
    Annealed,
    Assimilator,
    BlockTridiagonalGaussNewton,
    FirstStateTerm,
    LearnedStart,
    Restarts,
    unet,
    weak_constraint_cost,
)

TRAINING_SEED, VALIDATION_SEED, TEST_SEED, ERROR_SEED = 1, 2, 3, 4
N_FOLDED = 4
BACKGROUND_WEIGHT = 0.5
"""The learned analysis has seen the observations that the cost brings a second time."""


@dataclass(frozen=True)
class Recipe:
    """What the model of one system is made of, and how it is trained.

    Parameters
    ----------
    space : StateSpace
        State and patch.
    sampler : AbstractSampler
        What the training observes.
    kernel, widths, periodic
        Kernel of the convolutions, channels of the levels, axes that wrap.
    model_error_variance : float
        In the cost, for one step.
    annealing : (sequence of float, int)
        Factors on the weight of the dynamics, and Gauss-Newton steps with each.
    training : dict
        Settings.
    restarts : Restarts, optional
        What is done with windows in a wrong minimum.
    further : (AbstractSampler, dict), optional
        What a second training observes, which goes on from the first, and its settings.
    """

    space: oceanvar.StateSpace
    sampler: AbstractSampler
    kernel: Sequence[int]
    widths: Sequence[int]
    model_error_variance: float
    annealing: tuple[Sequence[float], int]
    training: dict[str, Any]
    periodic: Sequence[bool] = ()
    restarts: Restarts | None = None
    further: tuple[AbstractSampler, dict[str, Any]] | None = None

    def network(self) -> AbstractMap:
        """U-Net on (stretches of times, sites), from interpolation, values and mask to a correction."""
        n = self.space.n_variables
        net = unet(3 * n * N_FOLDED, n * N_FOLDED, self.widths, self.kernel, self.periodic)
        return PadToMultiple(FoldSteps(net, N_FOLDED), [N_FOLDED] + [1] * (len(self.kernel) - 1))


OF_ANY_PHASE = OneOf([RandomComponents(20, every=4, start=start) for start in range(4)])
"""The papers' observations, that begin at any step: users cut their windows elsewhere."""

OF_ANY_KIND = OneOf(
    [
        RandomComponents(n, every=every, start=start)
        for every in range(2, 9)
        for start in range(every)
        for n in (4, 10, 20, 30, 40)
    ]
)
"""A tenth to all of the 40 sites, at every second to every eighth step."""

RECIPES = {
    "lorenz63": Recipe(
        oceanvar.StateSpace(("x", "y", "z"), ("time",), patch={"time": N_TIMES}, overlap={"time": 100}),
        OneOf([EXPERIMENTS["lorenz63"].sampler, EveryNthStep(8)]),
        kernel=[5],
        widths=(64, 96, 128),
        model_error_variance=1e-5,
        annealing=((1.0,), 4),
        training={"n_samples": 12800, "n_epochs": 60, "batch_size": 64},
    ),
    "lorenz96": Recipe(
        oceanvar.StateSpace(
            ("x",), ("time", "site"), {"time": N_TIMES, "site": 40}, overlap={"time": 100}, periodic=("site",)
        ),
        EXPERIMENTS["lorenz96"].sampler,
        kernel=[3, 3],
        widths=(56, 80, 112),
        model_error_variance=1e-5,
        annealing=((0.001, 0.01, 0.1, 1.0), 2),
        training={"n_samples": 3200, "n_epochs": 30, "batch_size": 16, "precision": "bfloat16"},
        periodic=[False, True],
        restarts=Restarts(12, jitter=0.3, n_sigma=5.0),
        further=(
            OneOf([EXPERIMENTS["lorenz96"].sampler, OF_ANY_PHASE, OF_ANY_KIND]),
            {
                "n_samples": 3200,
                "n_epochs": 60,
                "batch_size": 16,
                "precision": "bfloat16",
                "learning_rate": 1.5e-3,
            },
        ),
    ),
}


def untrained(system: str, space: oceanvar.StateSpace) -> oceanvar.VarNet:
    """Put the network and the cost of weak-constraint 4D-Var together; no iteration yet."""
    recipe = RECIPES[system]
    mean, std = ([getattr(space, key)[name] for name in space.variables] for key in ("mean", "std"))
    shape = [space.n_variables, *(space.patch[dim] for dim in space.dims[1:])]
    cost = weak_constraint_cost(
        EXPERIMENTS[system].step(),
        obs_variance=NOISE_STD**2,
        model_error_variance=recipe.model_error_variance,
        mean=mean,
        std=std,
        background=FirstStateTerm(shape, BACKGROUND_WEIGHT, of_background=True),
    )
    solver = Annealed(BlockTridiagonalGaussNewton(tolerance=1e-3), *recipe.annealing)
    start = LearnedStart(recipe.network(), residual=True)
    return oceanvar.VarNet(Assimilator(cost, solver, 0, start), space)


def train(model: oceanvar.VarNet, system: str, truth: xr.Dataset, seed: int) -> float:
    """Train the network; returns the minutes it took."""
    recipe, minutes = RECIPES[system], 0.0
    stages = {system: (recipe.sampler, recipe.training)}
    if recipe.further is not None:
        stages[f"{system}_further"] = recipe.further
    for name, (sampler, settings) in stages.items():
        history = truth.varnet.fit(
            model,
            sampler,
            noise_std=NOISE_STD,
            validation=EXPERIMENTS[system].simulate(400, seed=VALIDATION_SEED, n_trajectories=64),
            weights=LossWeights(1.0, 0.0, 0.0),
            seed=seed,
            checkpoint=Path("runs") / name,
            resume=True,
            progress=True,
            **{"learning_rate": 2e-3, **settings},
        )
        minutes += float(history["seconds"].sum()) / 60
    return minutes


def finish(model: oceanvar.VarNet, system: str, n_windows: int = 2000) -> None:
    """Measure the errors of the learned first state on windows of their own, and add the iterations."""
    errors = first_errors(model, system, n_windows)
    for term in model.assimilator.cost.terms:
        if isinstance(term, FirstStateTerm):
            term.fit_(errors)
    model.assimilator.n_steps = model.assimilator.solver.n_steps
    model.assimilator.restarts = RECIPES[system].restarts


def first_errors(model: oceanvar.VarNet, system: str, n_windows: int) -> Tensor:
    """Truth minus learned analysis at the first time of windows, ``(n, V, 1, *S)``, normalised units."""
    space, experiment = model.state_space, EXPERIMENTS[system]
    truth = oceanvar.windows(experiment.simulate(N_TIMES, seed=ERROR_SEED, n_trajectories=n_windows), N_TIMES)
    seen = truth.varnet.observe(
        RECIPES[system].sampler, noise_std=NOISE_STD, seed=ERROR_SEED, dims=experiment.dims
    )
    values, states = space.stack(seen).values, to_tensor(space.stack(truth).values, space)
    guesses = [
        model.assimilator.solve(to_observations(values[first : first + 64], space)).state[:, :, :1]
        for first in range(0, n_windows, 64)
    ]
    return states[:, :, :1] - torch.cat(guesses)


@click.command()
@click.argument("system", type=click.Choice(sorted(RECIPES)))
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--n-test", default=400, show_default=True, help="Windows of the score.")
@click.option("--seed", default=0, show_default=True)
def main(system: str, out: Path, n_test: int, seed: int) -> None:
    """Train the model of SYSTEM, score it on fresh windows, save it and its card in OUT."""
    torch.manual_seed(seed)
    truth = EXPERIMENTS[system].simulate(2000, seed=TRAINING_SEED, n_trajectories=400)
    model = untrained(system, RECIPES[system].space.normalised_by(truth))
    minutes = train(model, system, truth, seed)
    finish(model, system)
    card = {
        "command": f"python -m scripts.lorenz train {system} --seed {seed}",
        "data": f"400 trajectories of 2000 steps, seed {TRAINING_SEED}",
        "test": f"{n_test} windows of {N_TIMES} steps, each of a trajectory of its own, seed {TEST_SEED}",
        **scores(model, system, n_test),
        "date": date.today().isoformat(),
        "minutes_of_training": round(minutes),
        "parameters": sum(p.numel() for p in model.assimilator.parameters()),
    }
    model.provenance["card"] = card
    out.mkdir(parents=True, exist_ok=True)
    model.save(out / f"{system}.varnet", half=True)
    about = "U-Net, then Gauss-Newton steps on weak-constraint 4D-Var with the true model."
    lines = [f"# {system}", "", about, ""]
    lines += [f"- {name.replace('_', ' ')}: {value}" for name, value in card.items()]
    (out / f"{system}.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def scores(model: oceanvar.VarNet, system: str, n_windows: int) -> dict[str, str]:
    """R-score of the network and at the end, on fresh windows, with its interval."""
    climate = Climate.of(system, model.state_space)
    data = EXPERIMENTS[system].test_windows(n_windows, TEST_SEED)
    truth, seen = (model.state_space.stack(ds).values for ds in data)
    rows = {each.name: score(each, climate, truth, seen) for each in stages_of(model)}
    return {
        f"R, {name}": f"{float(row.r_score):.3e} (95 % {float(row.r_score_low):.3e} to "
        f"{float(row.r_score_high):.3e}), median {float(row['median']):.3e}"
        for name, row in rows.items()
    }
