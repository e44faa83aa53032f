"""The rows of Table 1 for `scripts.mnist`, and how the learned ones are trained."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import oceanvar
from oceanvar.training import LossWeights
from oceanvar.variational import Assimilator
from scripts.keeping import kept_model
from scripts.mnist import methods
from scripts.mnist.methods import HOLES, Task

N_VALIDATION = 512


@dataclass(frozen=True)
class Stage:
    """One run of training, at full size; `settings` are those of `TrainingSettings`.

    What is `fixed`, the "prior" or the "start", keeps its weights.
    """

    n_epochs: int
    n_samples: int
    settings: dict[str, Any] = field(default_factory=dict)
    fixed: str | None = None


@dataclass(frozen=True)
class Row:
    """A method: its Phi and its solver in words, how it is made, and its training.

    `further` is the training for the second kind of noise, from the weights for the first. `prior_of` names
    the row whose trained Phi it starts from.
    """

    prior: str
    solver: str
    make: Callable[[Task], Assimilator]
    stages: tuple[Stage, ...] = ()
    further: tuple[Stage, ...] = ()
    prior_of: str | None = None
    precision: str = "float32"


PROJECTION_ONLY = LossWeights(0.0, 1.0, 0.0)
START_ONLY = LossWeights(1.0, 0.0, 0.0)
DENSE = {"batch_size": 256, "learning_rate": 2e-3}
LSTM = {"batch_size": 32, "learning_rate": 5e-3}
CONVOLUTIONS = {"precision": "bfloat16", "batch_size": 32, "learning_rate": 2e-3}
TWO_SCALE_LSTM = {**CONVOLUTIONS, "batch_size": 16}
START = {**CONVOLUTIONS, "batch_size": 64, "n_steps": {0: 0}, "weights": START_ONLY}

ROWS = {
    "x0": Row("-", "none: x0", methods.x0),
    "oi": Row("covariance", "linear estimate", methods.optimal_interpolation),
    "dict-omp": Row("dictionary", "OMP", methods.omp),
    "dict-lasso": Row("dictionary", "Lasso", methods.lasso),
    "pca-fsgd": Row("PCA", "gradient descent", methods.pca_fsgd),
    "pca-minimum": Row("PCA", "conjugate gradients", methods.pca_minimum),
    "pca-lstm": Row(
        "PCA",
        "LSTM",
        lambda task: methods.learned_solver(task.eofs, 10),
        (Stage(4, 2_500, LSTM, fixed="prior"),),
        (Stage(1, 2_500, LSTM, fixed="prior"),),
    ),
    "ae-fp": Row(
        "auto-encoder, joint",
        "FP(1)",
        lambda task: methods.fixed_point(methods.autoencoder(task)),
        (Stage(2, 58_000, DENSE),),
        (Stage(1, 58_000, DENSE),),
    ),
    "ae-lstm": Row(
        "auto-encoder",
        "LSTM",
        lambda task: methods.learned_solver(methods.autoencoder(task), 10),
        (
            Stage(2, 58_000, {**DENSE, "weights": PROJECTION_ONLY, "n_steps": {0: 0}}),
            Stage(4, 2_500, LSTM, fixed="prior"),
        ),
        (Stage(1, 2_500, LSTM, fixed="prior"),),
    ),
    "2s-fp": Row(
        "two-scale CNN, joint",
        "FP(1)",
        lambda task: methods.fixed_point(methods.two_scale()),
        (Stage(4, 5_000, CONVOLUTIONS),),
        (Stage(1, 5_000, CONVOLUTIONS),),
        precision="bfloat16",
    ),
    "2s-lstm": Row(
        "two-scale CNN, joint",
        "LSTM",
        lambda task: methods.learned_solver(methods.two_scale(), 3),
        (Stage(4, 1_000, TWO_SCALE_LSTM),),
        (Stage(1, 1_000, TWO_SCALE_LSTM),),
        prior_of="2s-fp",
        precision="bfloat16",
    ),
    "unet-lstm": Row(
        "two-scale CNN, joint",
        "U-Net start, LSTM",
        methods.unet_start,
        (Stage(10, 50_000, START), Stage(2, 5_000, CONVOLUTIONS, fixed="start")),
        (Stage(1, 50_000, START), Stage(1, 5_000, CONVOLUTIONS, fixed="start")),
        precision="bfloat16",
    ),
}


def trained(
    name: str, tasks: Sequence[Task], folders: Sequence[Path], log: Callable[[str], None]
) -> oceanvar.VarNet:
    """Model of a row for the last of the tasks, trained for one after the other, each in its folder."""
    row, task, folder = ROWS[name], tasks[-1], folders[-1]

    def make() -> oceanvar.VarNet:
        torch.manual_seed(task.seed)
        stages = row.stages
        if len(tasks) > 1 and row.further:
            model, stages = trained(name, tasks[:-1], folders[:-1], log), row.further
        else:
            model = oceanvar.VarNet(row.make(task), task.space)
            if row.prior_of:
                source = trained(row.prior_of, tasks, folders, log).assimilator.cost.prior
                model.assimilator.cost.prior.load_state_dict(source.state_dict())
        # The faster layout for convolutions of few channels; the values are the same.
        model.assimilator.to(memory_format=torch.channels_last)
        for number, stage in enumerate(stages):
            log(f"{name}: {train(model, stage, task, folder / name / str(number))}")
        return model

    return kept_model(folder / f"{name}.varnet", make) if row.stages else make()


def train(model: oceanvar.VarNet, stage: Stage, task: Task, folder: Path) -> str:
    """Train by one stage; returns what came out, in words."""
    model.assimilator.cost.prior.requires_grad_(stage.fixed != "prior")
    model.assimilator.start.requires_grad_(stage.fixed != "start")
    history = task.learn.varnet.fit(
        model,
        HOLES,
        noise_std=task.noise_std,
        validation=task.held,
        n_validation=N_VALIDATION,
        n_samples=max(2, round(stage.n_samples * task.scale * task.effort)),
        n_epochs=stage.n_epochs,
        seed=task.seed,
        checkpoint=folder,
        resume=True,
        progress=True,
        **stage.settings,
    )
    folder.mkdir(parents=True, exist_ok=True)
    history.to_netcdf(folder / "history.nc")
    losses = history["validation_loss"].values
    return (
        f"{len(losses)} epochs in {float(history['seconds'].sum()):.0f} s, "
        f"mean square error on held-out images {losses[-1]:.4f}, best {losses.min():.4f}"
    )
