"""Train the packaged Lorenz models and write their cards.

    python scripts/train_lorenz.py lorenz63 --out oceanvar/models
    python scripts/train_lorenz.py lorenz96 --out oceanvar/models

Every window is cut from simulated trajectories at a random place, with a mask and noise of its own. Runs
log to standard error, keep checkpoints beside the model in runs/, and continue where they were broken off.
"""

import time
from datetime import date
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

import oceanvar
from oceanvar.dynamics.integrators import FlowStep
from oceanvar.dynamics.lorenz import Lorenz63, Lorenz96
from oceanvar.experiments import EXPERIMENTS, N_TIMES, NOISE_STD, r_scores
from oceanvar.metrics.intervals import bootstrap_interval
from oceanvar.training.losses import LossWeights
from oceanvar.variational.assimilators import Assimilator
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.priors.flow import FlowPrior, PhysicalUnits
from oceanvar.variational.priors.unet import unet
from oceanvar.variational.solvers.lstm import LSTMSolver
from oceanvar.variational.starts import LearnedStart
from oceanvar.variational.terms import ObservationTerm, PriorTerm

TRAINING_SEED, VALIDATION_SEED, TEST_SEED = 1, 2, 3


def lorenz63_model(n_steps: int) -> oceanvar.VarNet:
    """U-Net along time, then an LSTM solver on the cost with the true model as the prior."""
    prior = PhysicalUnits(FlowPrior(FlowStep(Lorenz63(), dt=0.01)), n_variables=3)
    start = LearnedStart(unet(9, 3, widths=(32, 48, 64, 96), kernel=[5]))
    assimilator = Assimilator(
        VariationalCost(ObservationTerm(), PriorTerm(prior)), LSTMSolver(3, 32, [5]), n_steps, start
    )
    space = oceanvar.StateSpace(("x", "y", "z"), ("time",), patch={"time": N_TIMES}, overlap={"time": 100})
    return oceanvar.VarNet(assimilator, space)


def lorenz96_model(n_steps: int) -> oceanvar.VarNet:
    """The same on the (time, site) image, sites on a ring."""
    prior = PhysicalUnits(FlowPrior(FlowStep(Lorenz96(), dt=0.05)), n_variables=1)
    start = LearnedStart(unet(3, 1, widths=(32, 64, 80), kernel=[3, 3], periodic=[False, True]))
    solver = LSTMSolver(1, 16, [3, 3], periodic=[False, True])
    assimilator = Assimilator(VariationalCost(ObservationTerm(), PriorTerm(prior)), solver, n_steps, start)
    space = oceanvar.StateSpace(
        ("x",), ("time", "site"), {"time": N_TIMES, "site": 40}, overlap={"time": 100}, periodic=("site",)
    )
    return oceanvar.VarNet(assimilator, space)


MODELS = {"lorenz63": lorenz63_model, "lorenz96": lorenz96_model}


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
    began = time.perf_counter()
    experiment = EXPERIMENTS[system]
    torch.manual_seed(int(options["seed"]))
    model = MODELS[system](int(options["n_steps"]))
    truth = experiment.simulate(2000, seed=TRAINING_SEED, n_trajectories=int(options["n_trajectories"]))
    validation = experiment.simulate(400, seed=VALIDATION_SEED, n_trajectories=64)
    n_epochs = int(options["n_epochs"])
    truth.varnet.fit(
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
    truth, obs = experiment.test_windows(n_test, TEST_SEED)
    scores = r_scores(obs.varnet.assimilate(model), truth, experiment.dims)
    low, high = bootstrap_interval(scores)
    card = {
        "command": f"python scripts/train_lorenz.py {system} "
        + " ".join(f"--{name.replace('_', '-')} {value}" for name, value in options.items()),
        "data": f"{options['n_trajectories']} trajectories of 2000 steps, seed {TRAINING_SEED}",
        "test": f"{n_test} windows of {N_TIMES} steps, each of a trajectory of its own, seed {TEST_SEED}",
        "r_score": f"{scores.mean():.3e} (95 % {low:.3e} to {high:.3e}), median {np.median(scores):.3e}",
        "date": date.today().isoformat(),
        "minutes": round((time.perf_counter() - began) / 60),
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
