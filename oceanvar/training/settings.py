"""Choices of a training run."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from oceanvar.errors import ConfigError
from oceanvar.training.losses import LossWeights


def cosine(progress: float) -> float:
    """Learning-rate factor that falls from 1 to 0 as half a cosine; `progress` runs from 0 to 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def three_steps(progress: float) -> float:
    """Learning-rate factor 1, then 0.1 from 60 % of the run on, then 0.01 from 85 % on."""
    return 1.0 if progress < 0.6 else 0.1 if progress < 0.85 else 0.01


SCHEDULES: dict[str, Callable[[float], float]] = {"cosine": cosine, "three-steps": three_steps}


@dataclass(frozen=True)
class TrainingSettings:
    """Choices of a training run; every field has a default that works.

    Parameters
    ----------
    n_epochs : int
        Passes through the training samples.
    batch_size : int
        Windows per step (per process).
    learning_rate : float
        Of AdamW, at the start of the schedule.
    prior_rate : float
        Factor on the learning rate of Phi; the paper halves it.
    schedule : {"cosine", "three-steps"}
        How the learning rate falls.
    n_warmup : int
        Gradient steps over which the learning rate first rises.
    n_steps : mapping of int to int, optional
        Solver iterations from an epoch on, ``{0: 5, 10: 10, 30: 15}``. Default: the model's own.
    clip : float
        Largest norm of the gradient of the loss.
    patience : int, optional
        Stop after this many epochs with the final number of iterations without a better validation loss.
        Default: never.
    weights : LossWeights
        Weights of the parts of the loss.
    precision : {"32-true", "bf16-mixed"}
        Arithmetic of the convolutions.
    device : str
        "auto", "cpu" or "cuda".
    n_processes : int
        Processes (or GPUs) that share each step's batches.
    seed : int
        Of the samples and their order.
    """

    n_epochs: int = 50
    batch_size: int = 16
    learning_rate: float = 1e-3
    prior_rate: float = 0.5
    schedule: str = "cosine"
    n_warmup: int = 100
    n_steps: Mapping[int, int] = field(default_factory=dict)
    clip: float = 1.0
    patience: int | None = None
    weights: LossWeights = field(default_factory=LossWeights)
    precision: str = "32-true"
    device: str = "auto"
    n_processes: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_epochs", "batch_size", "learning_rate", "n_processes"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")
        if self.schedule not in SCHEDULES:
            raise ConfigError(f"schedule must be one of {sorted(SCHEDULES)}, got {self.schedule!r}")

    def solver_steps(self, epoch: int, default: int) -> int:
        """Solver iterations in an epoch."""
        begun = [first for first in self.n_steps if first <= epoch]
        return self.n_steps[max(begun)] if begun else default
