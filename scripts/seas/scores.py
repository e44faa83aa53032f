"""Errors on seas of the test, beside optimal interpolation with the lengths that are best for each of them."""

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor

import oceanvar
from oceanvar.metrics import bootstrap_interval
from oceanvar.training.losses import Sample
from oceanvar.variational.starts.waves import interpolated, root_of
from scripts.seas.data import Drawn, batches, relative_error

LENGTHS_TIME, LENGTHS_SPACE = (2.0, 4.0, 7.0, 12.0, 22.0), (1.5, 2.5, 4.0, 6.0, 9.0, 14.0)
"""Of optimal interpolation, steps: all pairs are tried on each sea."""

N_STEPS = 40


def tuned_interpolation(sample: Sample) -> tuple[float, tuple[float, float]]:
    """Least relative error of interpolations of one sea with the true variances, and the lengths that it takes.

    Lengths are chosen on the truth, which nobody has: no tuning of these can do better.
    """
    seen, values = sample.obs.weights["state"][0, 0] > 0, sample.obs.values["state"][0, 0]
    noise = (values - sample.truth[0, 0])[seen & (sample.known[0, 0] > 0)].var()
    mean = values[seen].mean()
    signal = ((values[seen] - mean).square().mean() - noise).clamp(min=noise)
    weights = torch.where(seen, 1 / noise, 0.0)
    found = {}
    for days, points in itertools.product(LENGTHS_TIME, LENGTHS_SPACE):
        first, *others = root_of(values.shape, torch.tensor([days, points, points]))
        departures = interpolated(
            [[signal.sqrt() * first, *others]], weights, torch.where(seen, values - mean, 0.0), N_STEPS
        )
        found[days, points] = float(relative_error((departures + mean)[None, None], sample))
    best = min(found, key=lambda lengths: found[lengths])
    return found[best], best


@torch.no_grad()
def score(models: dict[str, oceanvar.VarNet], data: Drawn) -> dict[str, Any]:
    """Error variance of models over that of interpolation tuned to each sea, and how right their error bars are."""
    tuned, found = [], {name: [] for name in models}
    bars: dict[str, list[Tensor]] = {name: [] for name in models}
    for index in batches(len(data.truth), 1):
        sample = data.batch(index)
        tuned.append(tuned_interpolation(sample)[0])
        for name, model in models.items():
            start = model.assimilator.start
            guess = start(sample.obs)
            found[name].append(float(relative_error(guess, sample)))
            if start.knows_errors:
                bars[name].append(_normalised(guess, start.assessed(sample.obs).variance, sample))
    rows: dict[str, Any] = {"n_seas": len(tuned)}
    for name, errors in found.items():
        ratios = np.array(errors) / np.array(tuned)
        rows[name] = {
            "ratio": float(ratios.mean()),
            "interval": list(bootstrap_interval(ratios)),
            "largest": float(ratios.max()),
            "n_above_1": int((ratios > 1).sum()),
        }
        if bars[name]:
            squares = torch.cat(bars[name]).square()
            rows[name] |= {
                "error_over_stated": float(squares.mean().sqrt()),
                "coverage_90": float((squares < 1.6449**2).float().mean()),
            }
    return rows


def _normalised(guess: Tensor, variance: Tensor, sample: Sample) -> Tensor:
    """Errors over stated standard deviations, of every seventh cell: neighbours err alike."""
    return ((guess - sample.truth) / variance.sqrt())[sample.known > 0][::7]
