"""Choices of a training run."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta

import pandas as pd

from oceanvar.errors import ConfigError
from oceanvar.options import check_choice, check_device
from oceanvar.training.losses import LossWeights


def cosine(progress: float) -> float:
    """Learning-rate factor that falls from 1 to 0 as half a cosine; `progress` runs from 0 to 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def three_steps(progress: float) -> float:
    """Learning-rate factor 1, then 0.1 from 60 % of the run on, then 0.01 from 85 % on."""
    return 1.0 if progress < 0.6 else 0.1 if progress < 0.85 else 0.01


FABRIC_PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed"}
"""Arithmetic that training knows, and what lightning-fabric calls it."""

SCHEDULES: dict[str, Callable[[float], float]] = {"cosine": cosine, "three-steps": three_steps}


@dataclass(frozen=True)
class TrainingSettings:
    """Choices of a training run; every field has a default that works.

    Parameters
    ----------
    n_epochs : int
        Passes through the training samples; with a budget, at most.
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
    budget : str or timedelta, optional
        Time that training may take, as pandas writes it: "20min", "1.5h". No epoch begins that would end later, by
        the time that the one before took, and the learning rate has fallen by then. Default: no limit.
    weights : LossWeights
        Weights of the parts of the loss.
    precision : {"float32", "bfloat16"}
        Arithmetic of the convolutions; weights and state stay float32.
    device : str
        "auto", "cpu", "cuda" or "cuda:1".
    n_processes : int
        Processes (or GPUs) that share each step's batches.
    seed : int
        Of the samples and their order.
    freeze : sequence of str
        Parts of the assimilator that keep their weights, by the beginnings of their names: ``("cost", "start")``, or
        ``("cost.terms.1.prior",)``.

    Raises
    ------
    ConfigError
        If a choice is of a kind that no training can take.
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
    budget: str | timedelta | None = None
    weights: LossWeights = field(default_factory=LossWeights)
    precision: str = "float32"
    device: str = "auto"
    n_processes: int = 1
    seed: int = 0
    freeze: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name, least in {
            "n_epochs": 1,
            "batch_size": 1,
            "n_warmup": 1,
            "n_processes": 1,
            "seed": 0,
        }.items():
            _check_whole(name, getattr(self, name), least)
        if self.patience is not None:
            _check_whole("patience", self.patience, 1)
        if self.budget is not None:
            object.__setattr__(self, "budget", _duration(self.budget))
        for name in ("learning_rate", "clip"):
            _check_number(name, getattr(self, name), above=0.0)
        _check_number("prior_rate", self.prior_rate)
        for name, nu in asdict(self.weights).items():
            for each in nu if isinstance(nu, tuple | list) else [nu]:
                _check_number(f"the weight {name} of the loss", each)
        for epoch, n in self.n_steps.items():
            _check_whole("an epoch of n_steps", epoch, 0)
            _check_whole(f"n_steps from epoch {epoch} on", n, 0)
        if isinstance(self.freeze, str):
            raise ConfigError(
                f"freeze must be a sequence of names, got {self.freeze!r}: give [{self.freeze!r}]"
            )
        object.__setattr__(self, "freeze", tuple(self.freeze))
        check_choice("schedule", self.schedule, sorted(SCHEDULES))
        check_choice("precision", self.precision, list(FABRIC_PRECISIONS))
        check_device(self.device)
        if self.n_processes > 1 and ":" in self.device:
            raise ConfigError(f"{self.n_processes} processes cannot share {self.device!r}: use device='cuda'")

    def is_spent(self, seconds: Sequence[float]) -> bool:
        """Whether one more epoch exceeds the budget, after epochs that took so long."""
        limit = self._limit
        return limit is not None and bool(seconds) and sum(seconds) + seconds[-1] > limit

    def progress(self, epoch: int, seconds: Sequence[float]) -> tuple[float, float]:
        """Progress of the schedule at the beginning and the end of an epoch, after epochs that took so long."""
        begin, end, limit = epoch / self.n_epochs, (epoch + 1) / self.n_epochs, self._limit
        if limit is None:
            return begin, end
        spent, coming = sum(seconds), seconds[-1] if seconds else 0.0
        return max(begin, min(1.0, spent / limit)), max(end, min(1.0, (spent + coming) / limit))

    @property
    def _limit(self) -> float | None:
        return self.budget.total_seconds() if isinstance(self.budget, timedelta) else None

    def solver_steps(self, epoch: int, default: int) -> int:
        """Solver iterations in an epoch."""
        begun = [first for first in self.n_steps if first <= epoch]
        return self.n_steps[max(begun)] if begun else default


def _duration(budget: object) -> timedelta:
    try:
        # Pandas takes a number without unit for nanoseconds.
        has_unit = isinstance(budget, timedelta) or any(each.isalpha() or each == ":" for each in str(budget))
        seconds = pd.Timedelta(budget).total_seconds() if has_unit else 0.0
    except (ValueError, TypeError):
        seconds = 0.0
    if not seconds > 0:
        raise ConfigError(
            f'budget must be a time above 0 with its unit, as "20min" or "1.5h", got {budget!r}'
        )
    return timedelta(seconds=seconds)


def _check_whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}, got {value!r}")


def _check_number(name: str, value: object, above: float | None = None) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or value < 0 or value == above:  # type: ignore[operator]
        raise ConfigError(f"{name} must be {'at least' if above is None else 'above'} 0, got {value!r}")
