"""Learn the equations of a Lorenz system from what its states became, and put them in place of the true ones.

    python -m scripts.lorenz learned lorenz63 --out oceanvar/models
    python -m scripts.lorenz learned lorenz96 --out oceanvar/models

The packaged model with everything as it is but the dynamics of its cost: these are a bilinear tendency with
the neighbourhood of a point, integrated by the steps of a Runge-Kutta scheme, whose coefficients are learned from
forecasts of one to four steps on true trajectories. So nothing in the model knows the equations.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import click
import torch

import oceanvar
from oceanvar.dynamics import FlowStep
from oceanvar.maps import AbstractMap
from oceanvar.observing import EveryNthStep
from oceanvar.papers.experiments import EXPERIMENTS, NOISE_STD
from oceanvar.training import LossWeights
from oceanvar.variational import (
    Assimilator,
    DynamicsTerm,
    FlowPrior,
    GradientDescent,
    ObservationTerm,
    PriorTerm,
    VariationalCost,
    bilinear_tendency,
)
from scripts.lorenz.train import RECIPES, TRAINING_SEED, VALIDATION_SEED, scores

N_LEADS = 4
"""Steps of the forecasts that are learned from."""


@dataclass(frozen=True)
class Equations:
    """What is assumed of the equations, how many features multiply and how far a point looks, and how long to learn."""

    n_features: int
    n_epochs: int
    kernel: tuple[int, ...] = ()

    def step(self, space: oceanvar.StateSpace, dt: float) -> FlowStep:
        """Model step on normalised states, not learned yet."""
        periodic = [dim in space.periodic for dim in space.dims[1:]]
        return FlowStep(bilinear_tendency(space.n_variables, self.n_features, self.kernel, periodic), dt)


EQUATIONS = {"lorenz63": Equations(8, 100), "lorenz96": Equations(5, 40, (5,))}


def learn(system: str, space: oceanvar.StateSpace, seed: int) -> tuple[AbstractMap, float]:
    """Model step on states normalised as in `space`, and its error in a step, in standard deviations."""
    torch.manual_seed(seed)
    experiment = EXPERIMENTS[system]
    step = EQUATIONS[system].step(space, experiment.dt)
    patch = {**space.patch, space.dims[0]: N_LEADS + 1}
    windows = oceanvar.StateSpace(
        space.variables,
        space.dims,
        patch,
        {space.dims[0]: 0},
        mean=space.mean,
        std=space.std,
        periodic=space.periodic,
    )
    cost = VariationalCost(ObservationTerm(), PriorTerm(FlowPrior(step)))
    history = experiment.simulate(500, seed=TRAINING_SEED, n_trajectories=100).varnet.fit(
        oceanvar.VarNet(Assimilator(cost, GradientDescent(1.0), 0), windows),
        EveryNthStep(1),
        noise_std=0.0,
        validation=experiment.simulate(100, seed=VALIDATION_SEED, n_trajectories=16),
        n_samples=4000,
        n_epochs=EQUATIONS[system].n_epochs,
        batch_size=32,
        learning_rate=1e-2,
        prior_rate=1.0,
        weights=LossWeights(0.0, 0.0, 0.0, forecasts=(1.0,) * N_LEADS),
        seed=seed,
        progress=True,
    )
    # Errors of single steps add up: those of 1, 2, ... of them have 1, 4, ... times the square.
    squares = sum(lead**2 for lead in range(1, N_LEADS + 1))
    return step, (float(history["validation_loss"].min()) / squares) ** 0.5


def in_place_of_the_true(model: oceanvar.VarNet, system: str, step: AbstractMap) -> oceanvar.VarNet:
    """The same model with another step in its cost."""
    space, whole = model.state_space, model.assimilator
    std = [space.std[name] for name in space.variables]
    variance = RECIPES[system].model_error_variance
    cost = VariationalCost(
        ObservationTerm(variances=[NOISE_STD**2 / s**2 for s in std]),
        DynamicsTerm(step, variances=[variance / s**2 for s in std]),
        whole.cost.terms[2],
    )
    parts = (whole.solver, whole.n_steps, whole.start, whole.unroll)
    return oceanvar.VarNet(Assimilator(cost, *parts, restarts=whole.restarts), space)


@click.command()
@click.argument("system", type=click.Choice(sorted(EQUATIONS)))
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--n-test", default=400, show_default=True, help="Windows of the score.")
@click.option("--seed", default=0, show_default=True)
def main(system: str, out: Path, n_test: int, seed: int) -> None:
    """Learn the equations of SYSTEM, score the packaged model with them on fresh windows, save it in OUT."""
    packaged = oceanvar.load(system)
    step, error = learn(system, packaged.state_space, seed)
    model = in_place_of_the_true(packaged, system, step)
    card = {
        "command": f"python -m scripts.lorenz learned {system} --seed {seed}",
        "method": "U-Net, then Gauss-Newton steps on weak-constraint 4D-Var with learned equations",
        "data": f"100 trajectories of 500 steps, seed {TRAINING_SEED}; the U-Net is that of {system}",
        "error of a step": f"{error:.2e} standard deviations",
        "learned numbers of the equations": sum(p.numel() for p in step.parameters()),
        **scores(model, system, n_test),
        "date": date.today().isoformat(),
    }
    model.provenance["card"] = card
    out.mkdir(parents=True, exist_ok=True)
    model.save(out / f"{system}-learned.varnet", half=True, borrowed={"start.": system})
    lines = [f"# {system}-learned", "", *(f"- {name}: {value}" for name, value in card.items())]
    (out / f"{system}-learned.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
