"""Train the packaged Lorenz models, give them a classical finish, and write their cards.

    python scripts/train_lorenz.py lorenz63 --out oceanvar/models
    python scripts/train_lorenz.py lorenz96 --out oceanvar/models

Every window is cut from simulated trajectories at a random place, with a mask and noise of its own. Runs
log to standard error, keep checkpoints beside the model in runs/, and continue where they were broken off.
"""

from datetime import date
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import xarray as xr

import oceanvar
from oceanvar.bridge import to_tensor
from oceanvar.experiments import EXPERIMENTS, N_TIMES, NOISE_STD, r_scores
from oceanvar.metrics.intervals import bootstrap_interval
from oceanvar.training.losses import LossWeights
from oceanvar.variational.assimilators import Assimilator
from oceanvar.variational.climatology import FirstStateTerm
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.priors.flow import FlowPrior, PhysicalUnits
from oceanvar.variational.priors.unet import unet
from oceanvar.variational.solvers.block_tridiagonal import BlockTridiagonalGaussNewton
from oceanvar.variational.solvers.lstm import LSTMSolver
from oceanvar.variational.solvers.schedules import Annealed, Sequential, WithCost
from oceanvar.variational.starts import LearnedStart
from oceanvar.variational.terms import ObservationTerm, PriorTerm
from oceanvar.variational.weak_constraint import weak_constraint_cost

TRAINING_SEED, VALIDATION_SEED, TEST_SEED = 1, 2, 3


def lorenz63_model(n_steps: int) -> oceanvar.VarNet:
    """U-Net along time, then an LSTM solver on the cost with the true model as the prior."""
    prior = PhysicalUnits(FlowPrior(EXPERIMENTS["lorenz63"].step()), n_variables=3)
    start = LearnedStart(unet(9, 3, widths=(32, 48, 64, 96), kernel=[5]))
    assimilator = Assimilator(
        VariationalCost(ObservationTerm(), PriorTerm(prior)), LSTMSolver(3, 32, [5]), n_steps, start
    )
    space = oceanvar.StateSpace(("x", "y", "z"), ("time",), patch={"time": N_TIMES}, overlap={"time": 100})
    return oceanvar.VarNet(assimilator, space)


def lorenz96_model(n_steps: int) -> oceanvar.VarNet:
    """U-Net on the (time, site) image with sites on a ring, then an LSTM solver as for lorenz63."""
    prior = PhysicalUnits(FlowPrior(EXPERIMENTS["lorenz96"].step()), n_variables=1)
    start = LearnedStart(unet(3, 1, widths=(32, 64, 80), kernel=[3, 3], periodic=[False, True]))
    solver = LSTMSolver(1, 16, [3, 3], periodic=[False, True])
    assimilator = Assimilator(VariationalCost(ObservationTerm(), PriorTerm(prior)), solver, n_steps, start)
    space = oceanvar.StateSpace(
        ("x",), ("time", "site"), {"time": N_TIMES, "site": 40}, overlap={"time": 100}, periodic=("site",)
    )
    return oceanvar.VarNet(assimilator, space)


MODELS = {"lorenz63": lorenz63_model, "lorenz96": lorenz96_model}
# Variance of the model error in the finish, per step, and the stages in which it falls to that.
MODEL_ERROR = {"lorenz63": 1e-5, "lorenz96": 1e-4}
STAGES = {"lorenz63": (1.0,), "lorenz96": (0.001, 0.01, 0.1, 1.0)}
N_STEPS_EACH = {"lorenz63": 6, "lorenz96": 3}


def add_finish(model: oceanvar.VarNet, system: str, truth: xr.Dataset) -> None:
    """Let Gauss-Newton steps on the cost of weak-constraint 4D-Var follow the learned solver."""
    space = model.state_space
    states = to_tensor(space.stack(oceanvar.windows(truth, N_TIMES)).values, space, torch.float64)
    cost = weak_constraint_cost(
        EXPERIMENTS[system].step(),
        obs_variance=NOISE_STD**2,
        model_error_variance=MODEL_ERROR[system],
        mean=[space.mean[name] for name in space.variables],
        std=[space.std[name] for name in space.variables],
        background=FirstStateTerm([states.shape[1], *states.shape[3:]]).fit_(states.float()),
    )
    newton = Annealed(BlockTridiagonalGaussNewton(tolerance=1e-3), STAGES[system], N_STEPS_EACH[system])
    learned, n_learned = model.assimilator.solver, model.assimilator.n_steps
    model.assimilator.solver = Sequential((learned, n_learned), (WithCost(cost, newton), newton.n_steps))
    model.assimilator.n_steps = n_learned + newton.n_steps


def describe_score(scores: np.ndarray) -> str:
    """Mean with its 95 % bootstrap interval over windows, and median."""
    low, high = bootstrap_interval(scores)
    return f"{scores.mean():.3e} (95 % {low:.3e} to {high:.3e}), median {np.median(scores):.3e}"


@click.command()
@click.argument("system", type=click.Choice(sorted(MODELS)))
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--n-epochs", default=60, show_default=True)
@click.option("--n-samples", default=3200, show_default=True, help="Windows per epoch.")
@click.option("--n-trajectories", default=400, show_default=True, help="Simulated for training.")
@click.option("--n-steps", default=5, show_default=True, help="Solver iterations.")
@click.option(
    "--start-share", default=0.7, show_default=True, help="Share of the epochs for the start alone."
)
@click.option("--batch-size", default=32, show_default=True)
@click.option("--learning-rate", default=2e-3, show_default=True)
@click.option("--precision", default="32-true", show_default=True, help="Or bf16-mixed.")
@click.option("--n-test", default=400, show_default=True, help="Windows of the score.")
@click.option("--seed", default=0, show_default=True)
def main(system: str, out: Path, n_test: int, **options: Any) -> None:
    """Train the model of SYSTEM, score it on fresh windows, save it and its card in OUT."""
    experiment = EXPERIMENTS[system]
    torch.manual_seed(int(options["seed"]))
    model = MODELS[system](int(options["n_steps"]))
    truth = experiment.simulate(2000, seed=TRAINING_SEED, n_trajectories=int(options["n_trajectories"]))
    validation = experiment.simulate(400, seed=VALIDATION_SEED, n_trajectories=64)
    n_epochs = int(options["n_epochs"])
    history = truth.varnet.fit(
        model,
        experiment.sampler,
        noise_std=NOISE_STD,
        validation=validation,
        n_samples=int(options["n_samples"]),
        n_epochs=n_epochs,
        batch_size=int(options["batch_size"]),
        learning_rate=options["learning_rate"],
        n_steps={0: 0, round(options["start_share"] * n_epochs): int(options["n_steps"])},
        weights=LossWeights(1.0, 0.0, 0.0, start=0.2),
        precision=str(options["precision"]),
        seed=int(options["seed"]),
        checkpoint=Path("runs") / system,
        resume=True,
        progress=True,
    )
    test, obs = experiment.test_windows(n_test, TEST_SEED)
    learned = describe_score(r_scores(obs.varnet.assimilate(model), test, experiment.dims))
    add_finish(model, system, truth)
    finished = describe_score(r_scores(obs.varnet.assimilate(model), test, experiment.dims))
    card = {
        "command": f"python scripts/train_lorenz.py {system} "
        + " ".join(f"--{name.replace('_', '-')} {value}" for name, value in options.items()),
        "data": f"{options['n_trajectories']} trajectories of 2000 steps, seed {TRAINING_SEED}",
        "test": f"{n_test} windows of {N_TIMES} steps, each of a trajectory of its own, seed {TEST_SEED}",
        "r_score": finished,
        "r_score_of_the_learned_part": learned,
        "date": date.today().isoformat(),
        "minutes_of_training": round(float(history["seconds"].sum()) / 60),
        "parameters": sum(p.numel() for p in model.assimilator.parameters()),
    }
    model.provenance["card"] = card
    out.mkdir(parents=True, exist_ok=True)
    model.save(out / f"{system}.varnet")
    lines = [f"# {system}", "", (MODELS[system].__doc__ or "").strip(), ""]
    lines += [f"- {name.replace('_', ' ')}: {value}" for name, value in card.items()]
    (out / f"{system}.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
