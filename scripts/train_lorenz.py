"""Train the packaged Lorenz models and write their cards.

    python scripts/train_lorenz.py lorenz63 --out oceanvar/models
    python scripts/train_lorenz.py lorenz96 --out oceanvar/models

Each model alternates networks and Gauss-Newton steps; the networks are trained one after the other, each on
what the stages before it make of simulated observations. Every window is cut from simulated trajectories at
a random place, with a mask and noise of its own. Runs log to standard error, keep checkpoints in runs/, and
continue where they were broken off.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import click
import torch
import xarray as xr

import oceanvar
from oceanvar.bridge import to_tensor
from oceanvar.comparison import score
from oceanvar.experiments import EXPERIMENTS, N_TIMES, NOISE_STD
from oceanvar.ladder import Climate, stages_of
from oceanvar.maps.base import AbstractMap
from oceanvar.maps.padding import FoldSteps, PadToMultiple
from oceanvar.sampling import AbstractSampler, EveryNthStep, OneOf
from oceanvar.training.losses import LossWeights
from oceanvar.variational.assimilators import Assimilator
from oceanvar.variational.climatology import FirstStateTerm
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.priors.unet import unet
from oceanvar.variational.solvers.block_tridiagonal import BlockTridiagonalGaussNewton
from oceanvar.variational.solvers.corrections import LearnedCorrection
from oceanvar.variational.solvers.schedules import Annealed, Sequential
from oceanvar.variational.unrolling import Unroll
from oceanvar.variational.weak_constraint import weak_constraint_cost

TRAINING_SEED, VALIDATION_SEED, TEST_SEED = 1, 2, 3
N_FOLDED = 4


@dataclass(frozen=True)
class Recipe:
    """What the model of one system is made of, and how it is trained.

    A network makes a first analysis of the interpolated observations; Gauss-Newton steps, in stages of
    growing weight of the dynamics, pull it to the true model; a second network corrects what they get
    wrong; further steps finish.

    Parameters
    ----------
    space : StateSpace
        State and patch.
    sampler : AbstractSampler
        What the training observes.
    kernel, periodic
        Of the convolutions.
    widths, correction_widths : sequence of int
        Channels of the levels of the two networks.
    model_error_variance : float
        In the cost, for one step.
    coarse, finish : (sequence of float, int)
        Factors on the weight of the dynamics before and after the second network, and steps with each.
    training, correction_training : dict
        Settings for the two networks.
    """

    space: oceanvar.StateSpace
    sampler: AbstractSampler
    kernel: Sequence[int]
    widths: Sequence[int]
    correction_widths: Sequence[int]
    model_error_variance: float
    coarse: tuple[Sequence[float], int]
    finish: tuple[Sequence[float], int]
    training: dict[str, Any]
    correction_training: dict[str, Any]
    periodic: Sequence[bool] = ()

    def network(self, widths: Sequence[int]) -> AbstractMap:
        """U-Net on (stretches of times, sites), from state, values and mask to a correction."""
        n = self.space.n_variables
        net = unet(3 * n * N_FOLDED, n * N_FOLDED, widths, self.kernel, self.periodic)
        return PadToMultiple(FoldSteps(net, N_FOLDED), [N_FOLDED] + [1] * (len(self.kernel) - 1))


RECIPES = {
    "lorenz63": Recipe(
        oceanvar.StateSpace(("x", "y", "z"), ("time",), patch={"time": N_TIMES}, overlap={"time": 100}),
        OneOf([EXPERIMENTS["lorenz63"].sampler, EveryNthStep(8)]),
        kernel=[5],
        widths=(64, 96, 128),
        correction_widths=(32, 48, 64),
        model_error_variance=1e-5,
        coarse=((1.0,), 6),
        finish=((1.0,), 1),
        training={"n_samples": 12800, "n_epochs": 60, "batch_size": 64},
        correction_training={"n_samples": 6400, "n_epochs": 20, "batch_size": 64},
    ),
    "lorenz96": Recipe(
        oceanvar.StateSpace(
            ("x",), ("time", "site"), {"time": N_TIMES, "site": 40}, overlap={"time": 100}, periodic=("site",)
        ),
        EXPERIMENTS["lorenz96"].sampler,
        kernel=[3, 3],
        widths=(56, 80, 112),
        correction_widths=(40, 56, 72),
        model_error_variance=1e-4,
        coarse=((0.001, 0.01), 2),
        finish=((0.1, 1.0), 3),
        training={"n_samples": 3200, "n_epochs": 30, "batch_size": 16, "precision": "bf16-mixed"},
        correction_training={"n_samples": 640, "n_epochs": 12, "batch_size": 16, "precision": "bf16-mixed"},
        periodic=[False, True],
    ),
}


def physics(system: str, space: oceanvar.StateSpace, truth: xr.Dataset) -> VariationalCost:
    """Cost of weak-constraint 4D-Var with the climate of `truth` as the background of the first state."""
    states = to_tensor(space.stack(oceanvar.windows(truth, N_TIMES)).values, space)
    mean, std = ([getattr(space, key)[name] for name in space.variables] for key in ("mean", "std"))
    return weak_constraint_cost(
        EXPERIMENTS[system].step(),
        obs_variance=NOISE_STD**2,
        model_error_variance=RECIPES[system].model_error_variance,
        mean=mean,
        std=std,
        background=FirstStateTerm([states.shape[1], *states.shape[3:]]).fit_(states),
    )


def add_correction(model: oceanvar.VarNet, recipe: Recipe) -> None:
    """Let Gauss-Newton steps and a second network, untrained, follow the first one."""
    start, widths = model.assimilator.solver, recipe.correction_widths
    coarse = Annealed(BlockTridiagonalGaussNewton(tolerance=1e-3), *recipe.coarse)
    solver = Sequential((start, 1), (coarse, coarse.n_steps), (LearnedCorrection(recipe.network(widths)), 1))
    # The loss looks at the second network only: it learns to correct what it is given.
    model.assimilator = Assimilator(model.assimilator.cost, solver, solver.n_steps, unroll=Unroll(last=1))


def add_finish(model: oceanvar.VarNet, recipe: Recipe) -> None:
    """Let further Gauss-Newton steps follow."""
    before = model.assimilator.solver
    finish = Annealed(BlockTridiagonalGaussNewton(tolerance=1e-3), *recipe.finish)
    stages = [*zip(before.solvers, before.counts, strict=True), (finish, finish.n_steps)]
    solver = Sequential(*stages)
    model.assimilator = Assimilator(model.assimilator.cost, solver, solver.n_steps)


def train(model: oceanvar.VarNet, system: str, stage: str, truth: xr.Dataset, seed: int) -> float:
    """Train the network of a stage; returns the minutes it took."""
    recipe = RECIPES[system]
    history = truth.varnet.fit(
        model,
        recipe.sampler,
        noise_std=NOISE_STD,
        validation=EXPERIMENTS[system].simulate(400, seed=VALIDATION_SEED, n_trajectories=64),
        learning_rate=2e-3,
        weights=LossWeights(1.0, 0.0, 0.0),
        seed=seed,
        checkpoint=Path("runs") / system / stage,
        resume=True,
        progress=True,
        **(recipe.training if stage == "start" else recipe.correction_training),
    )
    return float(history["seconds"].sum()) / 60


@click.command()
@click.argument("system", type=click.Choice(sorted(RECIPES)))
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--n-test", default=400, show_default=True, help="Windows of the score.")
@click.option("--seed", default=0, show_default=True)
def main(system: str, out: Path, n_test: int, seed: int) -> None:
    """Train the model of SYSTEM, score it on fresh windows, save it and its card in OUT."""
    recipe = RECIPES[system]
    torch.manual_seed(seed)
    truth = EXPERIMENTS[system].simulate(2000, seed=TRAINING_SEED, n_trajectories=400)
    space = recipe.space.normalised_by(truth)
    start = LearnedCorrection(recipe.network(recipe.widths))
    model = oceanvar.VarNet(Assimilator(physics(system, space, truth), start, 1), space)
    minutes = train(model, system, "start", truth, seed)
    add_correction(model, recipe)
    minutes += train(model, system, "correction", truth, seed)
    add_finish(model, recipe)
    card = {
        "command": f"python scripts/train_lorenz.py {system} --seed {seed}",
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
    about = "U-Net, Gauss-Newton steps on the true model, a correcting U-Net, Gauss-Newton steps."
    lines = [f"# {system}", "", about, ""]
    lines += [f"- {name.replace('_', ' ')}: {value}" for name, value in card.items()]
    (out / f"{system}.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def scores(model: oceanvar.VarNet, system: str, n_windows: int) -> dict[str, str]:
    """R-score after each network and at the end, on fresh windows, with its interval."""
    climate = Climate.of(system, model.state_space)
    data = EXPERIMENTS[system].test_windows(n_windows, TEST_SEED)
    truth, seen = (model.state_space.stack(ds).values for ds in data)
    rows = {each.name: score(each, climate, truth, seen) for each in stages_of(model)}
    return {
        f"R, {name}": f"{float(row.r_score):.3e} (95 % {float(row.r_score_low):.3e} to "
        f"{float(row.r_score_high):.3e}), median {float(row['median']):.3e}"
        for name, row in rows.items()
    }


if __name__ == "__main__":
    main()
