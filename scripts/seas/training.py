"""Train a model of any sea: first the covariance that is inferred, then the network that refines what it gives."""

import copy
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import oceanvar
from oceanvar.maps import AbstractMap, InStretches
from oceanvar.variational import (
    AdaptiveInterpolation,
    Assimilator,
    GradientDescent,
    ObservationTerm,
    RefinedInterpolation,
    VariationalCost,
    unet,
)
from oceanvar.variational.starts.refined import CORRECTION, N_FIELDS, log_variance
from scripts.seas.data import Drawn, Interpolations, Scale, batches, relative_error

DIMS = ("time", "latitude", "longitude")
N_STEPS = 20
"""Iterations of the interpolation."""

STRETCH, AROUND = 5, 4
"""Days that the network corrects at once, and those that it sees before and after them."""

FLOOR = 1e-3
"""Relative error below which a window is not to count more than others."""

LIKELIHOOD = 0.1
"""Weight of the likelihood of what is left, beside the error over that of the interpolation."""

MOST_SQUARES = 40.0
"""Squared errors over their variance beyond which an outlier has no say."""

SAVE_EVERY = 50


def learn_covariance(
    path: Path, data: Drawn, validation: Drawn, scale: Scale, seed: int
) -> AdaptiveInterpolation:
    """Minimise the mean logarithm of the errors of the interpolation, through its iterations."""
    torch.manual_seed(seed)
    start = AdaptiveInterpolation(n_steps=N_STEPS)
    if path.exists():
        start.load_state_dict(torch.load(path, weights_only=True))
        return start
    rng, optimizer = np.random.default_rng(seed), torch.optim.Adam(start.parameters(), lr=2e-3)
    for step in range(scale.n_covariance):
        optimizer.param_groups[0]["lr"] = 2e-3 * _rate(step / scale.n_covariance) * min(1, (step + 1) / 30)
        sample = data.batch(rng.integers(0, len(data.truth), scale.batch_covariance), rng)
        loss = (relative_error(start(sample.obs), sample) + FLOOR).log().mean()
        _descend(loss, start, optimizer)
        if step % 100 == 99 or step == scale.n_covariance - 1:
            print(f"covariance {step + 1}: {_validation_error(start, validation):.4f}", flush=True)
    torch.save(start.state_dict(), path)
    return start


@torch.no_grad()
def _validation_error(start: AdaptiveInterpolation, data: Drawn) -> float:
    samples = [data.batch(index) for index in batches(len(data.truth), 16)]
    return float(torch.cat([relative_error(start(each.obs), each) for each in samples]).log().mean().exp())


def refining_network(scale: Scale) -> AbstractMap:
    """Network of a stretch of days, untrained: its first correction is small."""
    network = unet(N_FIELDS, 2, scale.widths, (3, 3), n_times_folded=STRETCH + 2 * AROUND)
    last = [each for each in network.modules() if type(each).__name__ == "Conv"][-1]
    with torch.no_grad():
        last.weight.mul_(CORRECTION)
    return InStretches(network.to(memory_format=torch.channels_last), STRETCH, AROUND)


class _Run:
    """State of a training that may be broken off: weights, their running mean, optimiser, seconds and steps."""

    def __init__(self, network: AbstractMap, path: Path):
        self.network, self.mean = network, copy.deepcopy(network)
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-4)
        self.path, self.seconds, self.n_steps = path, 0.0, 0
        if path.exists():
            content = torch.load(path, weights_only=True)
            for name in ("network", "mean", "optimizer"):
                getattr(self, name).load_state_dict(content[name])
            self.seconds, self.n_steps = content["seconds"], content["n_steps"]

    def save(self) -> None:
        states = {name: getattr(self, name).state_dict() for name in ("network", "mean", "optimizer")}
        torch.save({**states, "seconds": self.seconds, "n_steps": self.n_steps}, self.path)

    @torch.no_grad()
    def follow(self) -> None:
        """Let the mean of the weights follow them."""
        share = max(2e-3, 1 / (self.n_steps / 10 + 2))
        for mean, weight in zip(self.mean.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(weight, share)


def learn_refinement(
    path: Path, data: Interpolations, validation: Interpolations, scale: Scale, minutes: float, seed: int
) -> AbstractMap:
    """Minimise error over that of the interpolation, and the likelihood of what is left, for so many minutes."""
    torch.manual_seed(seed)
    run = _Run(refining_network(scale), path)
    rng = np.random.default_rng([seed, run.n_steps])
    while run.seconds < 60 * minutes or run.n_steps == 0:
        began = time.monotonic()
        rate = 2e-3 * _rate(min(1.0, run.seconds / (60 * minutes))) * min(1, (run.n_steps + 1) / 100)
        run.optimizer.param_groups[0]["lr"] = rate
        seen, missed = _stretches(data, rng.integers(0, len(data.seen), scale.batch), rng)
        error, before, likelihood, _ = _terms(run.network, seen, missed)
        loss = ((error + FLOOR) / (before + FLOOR)).mean() + LIKELIHOOD * likelihood.mean()
        _descend(loss, run.network, run.optimizer)
        run.follow()
        run.n_steps, run.seconds = run.n_steps + 1, run.seconds + time.monotonic() - began
        if run.n_steps % SAVE_EVERY == 0:
            run.save()
        if run.n_steps % (40 * SAVE_EVERY) == 0:
            print(
                f"refinement {run.n_steps}, {run.seconds / 60:.0f} min: {validated(run.mean, validation)}",
                flush=True,
            )
    run.save()
    return run.mean


def validated(network: AbstractMap, data: Interpolations) -> dict[str, float]:
    """Error over that of the interpolation, and of its square over the variance that the network states."""
    rng = np.random.default_rng(0)
    with torch.no_grad():
        terms = [_terms(network, *_stretches(data, index, rng)) for index in batches(len(data.seen), 16)]
    error, before, _, normalised = (torch.cat(each) for each in zip(*terms, strict=True))
    ratio = (error + FLOOR) / (before + FLOOR)
    return {"ratio": float(ratio.mean()), "normalised": float(normalised.mean())}


def _stretches(data: Interpolations, index: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Stretches of windows, every second one mirrored: what is seen of 13 days, what was missed of the middle ones."""
    n_times = data.missed.shape[1] // STRETCH * STRETCH
    pairs = []
    for number in index:
        first = STRETCH * int(rng.integers(n_times // STRETCH))
        low, high = max(first - AROUND, 0), min(first + STRETCH + AROUND, data.missed.shape[1])
        seen = np.zeros((N_FIELDS, STRETCH + 2 * AROUND, *data.missed.shape[2:]), np.float32)
        seen[:, low - first + AROUND : high - first + AROUND] = data.seen[number, :, low:high]
        missed = data.missed[number, first : first + STRETCH].astype(np.float32)
        if rng.random() < 0.5:
            seen, missed = seen[:, :, ::-1].copy(), -missed[:, ::-1]
            seen[:2] *= -1
        pairs.append((seen, missed))
    return tuple(torch.from_numpy(np.stack(each)) for each in zip(*pairs, strict=True))  # type: ignore[return-value]


def _terms(network: AbstractMap, seen: Tensor, missed: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean squares of each stretch after and before the correction, likelihood, and squares over stated variance."""
    known = missed.isfinite().float()
    missed = missed.nan_to_num(0)
    with torch.autocast("cpu", torch.bfloat16):
        output = network.inner(seen)
    correction, logs = output.float()[:, :, AROUND : AROUND + STRETCH].unbind(1)
    left = CORRECTION * correction - missed
    logs = log_variance(logs)
    # The mean is not to be drawn to where the variance is small.
    normalised = (left.detach().square() * (-logs).exp()).clamp(max=MOST_SQUARES)

    def mean(x: Tensor) -> Tensor:
        return (x * known).flatten(1).sum(1) / known.flatten(1).sum(1).clamp(min=1)

    return mean(left.square()), mean(missed.square()), mean(0.5 * (logs + normalised)), mean(normalised)


def _descend(loss: Tensor, part: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(part.parameters(), 1.0)
    optimizer.step()


def _rate(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress)) + 1e-3


def as_model(
    start: AdaptiveInterpolation, network: AbstractMap, scale: Scale, spread: float
) -> oceanvar.VarNet:
    """Model of sea level in metres on any grid, its error bars multiplied by a factor."""
    patch = dict(zip(DIMS, scale.shape, strict=True))
    overlap = {dim: n * 3 // 4 if dim == "time" else n // 2 for dim, n in patch.items()}
    space = oceanvar.StateSpace(
        ("ssh",), DIMS, patch, overlap, mean={"ssh": 0.0}, std={"ssh": 1.0}, units={"ssh": "m"}
    )
    refined = RefinedInterpolation(start, network, spread)
    return oceanvar.VarNet(
        Assimilator(VariationalCost(ObservationTerm()), GradientDescent(1.0), 0, refined), space
    )


def calibrated(model: Callable[[float], oceanvar.VarNet], data: Drawn) -> float:
    """Factor on the error bars with which nine in ten of the errors on some seas lie inside of 90 % intervals."""
    start, ratios = model(1.0).assimilator.start, []
    for index in batches(len(data.truth), 8):
        sample = data.batch(index)
        with torch.no_grad():
            guess, errors = start(sample.obs), start.assessed(sample.obs)
        known = sample.known > 0
        ratios.append(((guess - sample.truth).abs() / errors.variance.sqrt())[known][::7])
    return float(torch.cat(ratios).quantile(0.9, interpolation="nearest")) / 1.6449 if ratios else 1.0
