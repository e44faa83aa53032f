"""How to train the papers' solver: one change at a time, equal processor time, equal numbers to learn, three seeds.

    python -m scripts.lorenz recipes --out runs/recipes

LSTM solver and two-scale CNN on Lorenz-63, as `table2` builds them and half as wide. Every variant changes one thing of
the usual recipe: iterations that double half-way, loss at the last iterate, Phi from random weights. Scores are on
validation windows, for choices are made by them. Each run leaves a file in --out and is skipped where it is.
"""

import copy
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

import oceanvar
from oceanvar.network.training_windows import TrainingWindows
from oceanvar.papers.experiments import EXPERIMENTS, NOISE_STD
from oceanvar.state import WindowSource
from oceanvar.training.losses import Sample, mean_square
from oceanvar.variational import (
    Assimilator,
    LearnedStart,
    ObservationTerm,
    PriorTerm,
    Unroll,
    VariationalCost,
    unet,
)
from scripts.keeping import claim, kept
from scripts.lorenz.table2 import SYSTEMS
from scripts.lorenz.train import TRAINING_SEED, VALIDATION_SEED

N_STEPS, BATCH, RATE, CLIP = 10, 16, 3e-3, 1.0
PROJECTION = 0.05
"""Weight of both projections in the loss, as in `table2`."""

DECAY = 0.99
"""Of the moving average of the weights, per step."""


@dataclass(frozen=True)
class Recipe:
    """One way to train.

    Parameters
    ----------
    n_steps : tuple of int
        Iterations in the first and in the second half of the time.
    over_all : bool
        Ask for the truth at every iterate, not at the last one alone.
    last : int, optional
        Differentiate through so many iterations at the end; those before are free.
    pretrained : float
        Share of the time in which Phi alone learns to project true states.
    start : bool
        A small U-Net makes the first guess, and learns with the rest.
    averaged : bool
        Take the moving average of the weights in the end.
    weight : float
        Of the observations at first, where a point of the state has 1.
    """

    n_steps: tuple[int, int] = (N_STEPS // 2, N_STEPS)
    over_all: bool = False
    last: int | None = None
    pretrained: float = 0.0
    start: bool = False
    averaged: bool = False
    weight: float = 8.0


RECIPES = {
    "usual": Recipe(),
    "10 iterations from the first step": Recipe(n_steps=(N_STEPS, N_STEPS)),
    "loss over all iterates": Recipe(over_all=True),
    "20 iterations, the last 5 differentiated": Recipe(n_steps=(N_STEPS, 2 * N_STEPS), last=5),
    "Phi learns alone for a fifth of the time": Recipe(pretrained=0.2),
    "a start that learns with the rest": Recipe(start=True),
    "moving average of the weights": Recipe(averaged=True),
    "observations weigh 1": Recipe(weight=1.0),
}


def build(recipe: Recipe, seed: int) -> oceanvar.VarNet:
    """Untrained model of a recipe, of about as many numbers as all others."""
    torch.manual_seed(seed)
    system = replace(SYSTEMS["lorenz63"], n_hidden=16, n_features=8 if recipe.start else 15)
    start = LearnedStart(unet(9, 3, (8, 10), (5,)), residual=True) if recipe.start else None
    cost = VariationalCost(ObservationTerm(weight=recipe.weight), PriorTerm(system.prior()))
    unroll = Unroll(last=recipe.last)
    return oceanvar.VarNet(Assimilator(cost, system.solver(), N_STEPS, start, unroll), system.space)


def windows(
    n_steps: int, n: int, seed: int, n_samples: int, space: oceanvar.StateSpace | None
) -> TrainingWindows:
    """Windows of trajectories of a seed; the first of them give the normalisation."""
    experiment = EXPERIMENTS["lorenz63"]
    truth = experiment.simulate(n_steps, seed=seed, n_trajectories=n)
    space = space or SYSTEMS["lorenz63"].space.normalised_by(truth, truth)
    source = WindowSource(truth, space, experiment.sampler, NOISE_STD)
    return TrainingWindows(source, space, n_samples, BATCH, seed, fixed=space is None)


def endless(source: TrainingWindows) -> Iterator[Sample]:
    """Batches, epoch after epoch."""
    epoch = 0
    while True:
        yield from source.batches(epoch, 0, 1)
        epoch += 1


def errors(assimilator: Assimilator, sample: Sample, recipe: Recipe, n_steps: int) -> Tensor:
    """Loss of a batch."""
    guess = assimilator.first_guess(sample.obs)
    if recipe.over_all:
        obs = replace(sample.obs, background=guess)
        state, carry, found = guess, assimilator.solver.init(assimilator.cost, obs, guess), []
        for _ in range(n_steps):
            state, carry = assimilator.solver.step(assimilator.cost, obs, state, carry)
            found.append(mean_square(state - sample.truth, sample.known))
        error = torch.stack(found).mean()
    else:
        state = assimilator.improve(guess, sample.obs, n_steps)
        error = mean_square(state - sample.truth, sample.known)
    if recipe.start:
        error = error + mean_square(guess - sample.truth, sample.known)
    prior = assimilator.cost.prior
    return error + PROJECTION * sum(mean_square(x - prior(x), sample.known) for x in (sample.truth, state))


def train(recipe: Recipe, assimilator: Assimilator, batches: Iterator[Sample], seconds: float) -> int:
    """Train for some processor seconds; returns the number of gradient steps."""
    optimizer = torch.optim.AdamW(assimilator.parameters(), RATE)
    average = copy.deepcopy(assimilator.state_dict()) if recipe.averaged else None
    began, n = time.process_time(), 0
    while (progress := (time.process_time() - began) / seconds) < 1:
        sample = next(batches)
        optimizer.param_groups[0]["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * progress))
        if progress < recipe.pretrained:
            loss = mean_square(sample.truth - assimilator.cost.prior(sample.truth), sample.known)
        else:
            loss = errors(assimilator, sample, recipe, recipe.n_steps[progress > 0.5])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(assimilator.parameters(), CLIP)
        optimizer.step()
        n += 1
        if average is not None:
            for name, value in assimilator.state_dict().items():
                average[name].lerp_(value, 1 - DECAY)
    if average is not None:
        assimilator.load_state_dict(average)
    return n


@torch.no_grad()
def r_score(assimilator: Assimilator, checking: TrainingWindows, n_steps: int) -> float:
    """Mean square error over the mean square of the truth, on windows that are only looked at."""
    mean, std = (torch.tensor(each).view(-1, 1) for each in checking.space.scales(np.float32, n_axes=0))
    found = []
    for sample in checking.batches(0, 0, 1):
        assimilator.n_steps = n_steps
        difference = (assimilator.solve(sample.obs).state - sample.truth) * std
        found.append((float(difference.square().mean()), float((sample.truth * std + mean).square().mean())))
    error, size = np.mean(found, axis=0)
    return float(error / size)


def experiment(seconds: float, n_trajectories: int, n_checked: int) -> Callable[[str, int], dict]:
    """Trains and scores a recipe with a seed."""
    learning = windows(2000, n_trajectories, TRAINING_SEED, 10_000, None)
    checking = windows(200, n_checked, VALIDATION_SEED, n_checked, learning.space)

    def score(name: str, seed: int) -> dict:
        recipe = RECIPES[name]
        model = build(recipe, seed)
        model.normalise(learning.space)
        drawn = TrainingWindows(learning.source, learning.space, learning.n_samples, BATCH, seed)
        n = train(recipe, model.assimilator, endless(drawn), seconds)
        n_parameters = sum(each.numel() for each in model.assimilator.parameters())
        r = r_score(model.assimilator.eval(), checking, recipe.n_steps[1])
        return {"r": r, "gradient_steps": n, "parameters": n_parameters}

    return score


def as_markdown(found: dict[str, list[dict]]) -> str:
    """Table for a page."""
    lines = [
        "| recipe | R, three seeds | mean over that of the usual | gradient steps | parameters |",
        "|---" * 5 + "|",
    ]
    usual = np.mean([each["r"] for each in found["usual"]])
    for name, runs in found.items():
        scores = ", ".join(f"{each['r']:.2e}" for each in runs)
        ratio = np.mean([each["r"] for each in runs]) / usual
        n = round(np.mean([each["gradient_steps"] for each in runs]))
        lines.append(f"| {name} | {scores} | {ratio:.2f} | {n:,} | {runs[0]['parameters']:,} |")
    return "\n".join(lines)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/recipes"), show_default=True)
@click.option("--seconds", default=120.0, show_default=True, help="Of the processor, for each run.")
@click.option("--n-seeds", default=3, show_default=True)
@click.option("--n-trajectories", default=400, show_default=True, help="To learn from.")
@click.option("--n-checked", default=512, show_default=True, help="Windows to score.")
def main(out: Path, seconds: float, n_seeds: int, n_trajectories: int, n_checked: int) -> None:
    """Train the papers' solver in several ways, for equal time each."""
    torch.set_num_threads(1)
    claim(out, {"seconds": seconds, "n_trajectories": n_trajectories, "n_checked": n_checked})
    score = experiment(seconds, n_trajectories, n_checked)
    found: dict[str, list[dict]] = {name: [] for name in RECIPES}
    # Seeds outside: what the machine does beside meets all recipes alike.
    for seed in range(n_seeds):
        for number, name in enumerate(RECIPES):
            path = out / f"{number}-{seed}.json"
            found[name].append(kept(path, lambda name=name, seed=seed: score(name, seed)))
            click.echo(f"{name}, seed {seed}: {found[name][-1]}", err=True)
    (out / "recipes.json").write_text(json.dumps(found, indent=1))
    print(as_markdown(found))
