"""Rows of `scripts.ocean`: strong and weak-constraint 4D-Var with a model of the ocean, true or learned."""

import functools
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import oceanvar
from oceanvar.baselines import optimal_interpolation
from oceanvar.maps import AbstractMap, Filtered, OnGrid, spread_of
from oceanvar.metrics import bootstrap_interval, score_table
from oceanvar.metrics.tables import RATIOS, Scores
from oceanvar.truths.oceans import one_day
from oceanvar.variational import LBFGS, ForecastControl, Observations, ObservationTerm, VariationalCost
from oceanvar.variational.controls import of_control
from scripts.keeping import kept
from scripts.ocean import altimeters
from scripts.ocean.cases import (
    ALTIMETERS,
    FIRST_TEST_SEED,
    FIRST_TUNING_SEED,
    MARGIN,
    NOISE,
    Scale,
    month,
    observed,
    scores_of,
)
from scripts.ocean.models import BACKGROUND_WEIGHT, as_periodic, learned_step
from scripts.ocean.tables import cell

FEW = next(iter(ALTIMETERS))
OI, UNET = altimeters.OI, altimeters.UNET
PHYSICS = {"latitude": 35.0, "deformation_radius": 30.0, "surface": False}
STRONG, WEAK = "strong", "weak"
COLUMNS = {"mu": 1, "lambda_x": 1, "rmse": 100, "r_score": 1}
"""Scores of the page, and what they are multiplied by: rmse is in cm there."""

N_EDGE = 2
"""Days at both ends of a window that are not scored."""


@dataclass(frozen=True)
class Dynamics:
    """A model of the ocean.

    Parameters
    ----------
    name : str
        Of the row.
    step : AbstractMap
        A day of sea level in m on a periodic grid.
    n_points : int
        Points of the grid along latitude and longitude.
    """

    name: str
    step: AbstractMap
    n_points: int


def run(out: Path, scale: Scale, seed: int) -> dict:
    """With the equations of the truth, on a coarser grid, from both first guesses."""
    step = one_day(scale.n_flow, scale.resolution * scale.n_points, PHYSICS)
    return compared(out, scale, seed, Dynamics("dynamics", step, scale.n_flow), (OI, UNET))


def run_learned(out: Path, scale: Scale, seed: int) -> dict:
    """With a model that was learned from what days became, from the U-Net."""
    step = as_periodic(learned_step(out, scale, seed), scale)
    return compared(out, scale, seed, Dynamics("learned", step, scale.n_points), (UNET,))


def compared(out: Path, scale: Scale, seed: int, dynamics: Dynamics, names: Sequence[str]) -> dict:
    """Minimise both costs of one window of every month from first guesses, and score on the way."""
    model = altimeters.train(out, scale, seed)
    choose = functools.partial(altimeters.choose_scales, out, scale, ALTIMETERS[FEW])
    lengths = kept(out / "lengths" / f"{FEW}.json", choose)
    analyse = functools.partial(first_guesses, model=model, lengths=lengths, n_nearest=scale.n_nearest)
    spreads, forecast_errors = tuned(out, scale, analyse, dynamics)
    truths = [month(out, scale, FIRST_TEST_SEED + n, n) for n in range(scale.n_months)]
    first = MARGIN + (scale.n_month - scale.n_window) // 2
    days = slice(first, first + scale.n_window)
    seen = [observed(truth, ALTIMETERS[FEW])["ssh"] for truth in truths]
    guesses = [analyse(truth["ssh"], obs, days) for truth, obs in zip(truths, seen, strict=True)]
    scored = [truth["ssh"][days, ::2, ::2][N_EDGE:-N_EDGE] for truth in truths]
    values = torch.tensor(np.stack([obs[days].values for obs in seen]))[:, None]
    weak = spread_of(forecast_errors.flatten(0, 2))
    model_errors = {STRONG: torch.zeros_like(weak), WEAK: weak}
    months: list[dict] = [{} for _ in truths]
    seconds = {}
    for name in (OI, UNET):
        for rows, guess, target in zip(months, guesses, scored, strict=True):
            rows[name] = scores_of(guess[name][N_EDGE:-N_EDGE], target)
    for constraint, name in itertools.product(model_errors, names):
        backgrounds = torch.tensor(np.stack([each[name][0].values for each in guesses]))[:, None, None]
        costs = (spreads[name], model_errors[constraint])
        print(f"{constraint} constraint, from {name}", flush=True)
        make = functools.partial(followed, values, backgrounds, *costs, scored, scale, dynamics)
        for entry in kept(out / dynamics.name / f"{constraint}, {name}.json", make)["iterations"]:
            row = title(constraint, name, entry["n"])
            seconds[row] = entry["seconds"]
            for rows, found in zip(months, entry["scores"], strict=True):
                rows[row] = found
    return {
        "model_error": size_of(forecast_errors),
        "seconds": seconds,
        **score_table(months, ratios(scale.n_iterations, names)),
        "races": races(months, seconds, scale.n_iterations) if OI in names else {},
        "months": months,
    }


def first_guesses(
    truth: xr.DataArray,
    obs: xr.DataArray,
    days: slice,
    model: oceanvar.VarNet,
    lengths: altimeters.Lengths,
    n_nearest: int,
) -> dict[str, xr.DataArray]:
    """Analyses of both methods on some days and every second cell."""
    targets = truth[days, ::2, ::2]
    optimal = optimal_interpolation(obs, lengths, NOISE, mean=0.0, targets=targets, n_nearest=n_nearest)[
        "ssh"
    ]
    learned = obs.varnet.assimilate(model)[days, ::2, ::2]
    return {OI: optimal.transpose(*targets.dims), UNET: learned}


def tuned(
    out: Path, scale: Scale, analyse: functools.partial, dynamics: Dynamics
) -> tuple[dict[str, Tensor], Tensor]:
    """What two months that are not scored tell: spreads of the errors of first guesses, and errors of a day's forecast.

    The spreads are factors of `Filtered`; forecasts start from the truth on the grid of the model, ``(2, 1, T, n, n)``.
    """
    guessed: dict[str, list[np.ndarray]] = {OI: [], UNET: []}
    forecast = []
    for number in range(2):
        truth = month(out, scale, FIRST_TUNING_SEED + number, number)
        field, obs = truth["ssh"], observed(truth, ALTIMETERS[FEW])["ssh"]
        days = slice(MARGIN, -MARGIN, 3)
        for name, guess in analyse(field, obs, days).items():
            guessed[name].append((guess - field[days, ::2, ::2]).values)
        states = square_grids(field.shape[-1], dynamics.n_points)(torch.tensor(field.values))[None, None]
        with torch.no_grad():
            forecast.append(dynamics.step(states[:, :, :-1]) - states[:, :, 1:])
    spreads = {}
    for name, found in guessed.items():
        errors = torch.tensor(np.concatenate(found))
        spreads[name] = spread_of(square_grids(errors.shape[-1], dynamics.n_points)(errors))
    return spreads, torch.cat(forecast)


def size_of(errors: Tensor) -> dict[str, float]:
    """Root mean square of errors ``(B, 1, T, n, n)`` in m, and how much those of neighbouring days are alike."""
    power = errors.square().mean()
    together = (errors[:, :, 1:] * errors[:, :, :-1]).mean()
    return {"rmse": float(power.sqrt()), "correlation": float(together / power)}


def square_grids(n_from: int, n_to: int) -> OnGrid:
    """The way from one grid of the box to another, each with so many points along both axes."""
    return OnGrid((n_from, n_from), (n_to, n_to))


def followed(
    values: Tensor,
    backgrounds: Tensor,
    spread: Tensor,
    model_error: Tensor,
    scored: list[xr.DataArray],
    scale: Scale,
    dynamics: Dynamics,
) -> dict:
    """Scores of every window and seconds a window after some numbers of iterations."""
    entries = []
    for n, analysis, elapsed in minimised(values, backgrounds, spread, model_error, scale, dynamics):
        fields = analysis[:, 0, N_EDGE:-N_EDGE, ::2, ::2].numpy()
        scores = [
            scores_of(target.copy(data=field), target) for field, target in zip(fields, scored, strict=True)
        ]
        entries.append({"n": n, "seconds": elapsed / len(scored), "scores": scores})
        errors = [round(each["rmse"], 4) for each in scores]
        print(f"{n} iterations, {entries[-1]['seconds']:.1f} s: {errors}", flush=True)
    return {"iterations": entries}


def minimised(
    values: Tensor,
    backgrounds: Tensor,
    spread: Tensor,
    model_error: Tensor,
    scale: Scale,
    dynamics: Dynamics,
) -> Iterator[tuple[int, Tensor, float]]:
    """Analyses of all windows after some numbers of iterations of L-BFGS, and seconds of the processor until then.

    The control is the departure of the first day from the background and the model error of each later day, all
    white; a model error of spread 0 is the strong constraint.
    """
    n_days, n_points = values.shape[2], values.shape[-1]
    factors = torch.stack([spread / BACKGROUND_WEIGHT**0.5, *[model_error] * (n_days - 1)])
    forecasts = ForecastControl(
        dynamics.step,
        Filtered.of(factors),
        square_grids(backgrounds.shape[-1], dynamics.n_points),
        square_grids(dynamics.n_points, n_points),
    )
    trajectory, control = forecasts.trajectory(backgrounds.expand(-1, -1, n_days, -1, -1))
    cost = of_control(VariationalCost(ObservationTerm(variances=[NOISE**2])), trajectory)
    obs = Observations.from_nan(values)
    solver = LBFGS()
    with torch.no_grad():
        began = time.process_time()
        carry = solver.init(cost, obs, control)
        elapsed = time.process_time() - began
        for n in range(max(scale.n_iterations) + 1):
            if n in scale.n_iterations:
                yield n, trajectory(control), elapsed
            if n < max(scale.n_iterations):
                began = time.process_time()
                control, carry = solver.step(cost, obs, control, carry)
                elapsed += time.process_time() - began


def title(constraint: str, name: str, n: int) -> str:
    """Name of a row."""
    return f"{constraint}-constraint 4D-Var from {name}, {n} iterations"


def ratios(n_iterations: Sequence[int], names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Pairs of rows whose ratio is of interest."""
    last = n_iterations[-1]
    if OI not in names:
        ours = [title(constraint, UNET, n) for constraint in (STRONG, WEAK) for n in n_iterations[1:]]
        return {f"{each} / {theirs}": (each, theirs) for each in ours for theirs in (UNET, OI)}
    pairs = [(title(WEAK, name, last), title(STRONG, name, last)) for name in (OI, UNET)]
    for n in n_iterations[1:]:
        ours = title(STRONG, UNET, n)
        pairs += [(ours, UNET), (ours, title(STRONG, OI, n)), (ours, title(WEAK, OI, last))]
    pairs += [(title(WEAK, OI, last), OI), (title(STRONG, UNET, last), OI)]
    return {f"{ours} / {theirs}": (ours, theirs) for ours, theirs in pairs}


def races(months: Sequence[Scores], seconds: Mapping[str, float], n_iterations: Sequence[int]) -> dict:
    """How much longer the minimisation from optimal interpolation takes to the error of the one from the U-Net.

    A month in which it does not get there counts with its last iteration, so that the ratio is too small then.
    """
    found = {}
    for constraint in (STRONG, WEAK):
        rows = {name: [title(constraint, name, n) for n in n_iterations] for name in (OI, UNET)}
        clocks = {
            "iterations": {name: [float(n) for n in n_iterations] for name in rows},
            "seconds": {name: [seconds[row] for row in rows[name]] for name in rows},
        }
        for at, n in enumerate(n_iterations[1:-1], 1):
            goals = [one[rows[UNET][at]]["rmse"] for one in months]
            errors = [[one[row]["rmse"] for row in rows[OI]] for one in months]
            reached = sum(min(path) <= goal for path, goal in zip(errors, goals, strict=True))
            entry: dict[str, Any] = {"n_reached": reached}
            for unit, clock in clocks.items():
                needed = [
                    until(path, clock[OI], goal) / clock[UNET][at]
                    for path, goal in zip(errors, goals, strict=True)
                ]
                entry[unit] = {"ratio": float(np.mean(needed)), "interval": bootstrap_interval(needed)}
            found[f"{constraint}, U-Net and {n} iterations"] = entry
    return found


def until(errors: Sequence[float], clock: Sequence[float], goal: float) -> float:
    """Reading of a clock when the error is down at a goal, or the last one; errors fall exponentially in between."""
    falling = np.minimum.accumulate(errors)
    return float(np.interp(-np.log(goal), -np.log(falling), clock))


def as_markdown(result: Mapping) -> str:
    """Tables of the page."""
    error = result["model_error"]
    lines = [
        f"The model errs by {1000 * error['rmse']:.2f} mm in a day; errors of neighbouring days are correlated by "
        f"{error['correlation']:.2f}.",
        "",
        "| | iterations | s | mu | lambda_x, degrees | rmse, cm | error variance over variance |",
        "|---" * 7 + "|",
    ]
    for row, scores in result["scores"].items():
        name, _, n = (
            row.removesuffix(" iterations").rpartition(", ") if row in result["seconds"] else (row, "", "")
        )
        s = f"{result['seconds'][row]:.1f}" if n else ""
        cells = (cell(scores.get(key, {}), "mean", factor) for key, factor in COLUMNS.items())
        lines.append(f"| {name} | {n} | {s} | {' | '.join(cells)} |")
    lines += ["", f"| ratio | {' | '.join(RATIOS)} |", "|---" * (len(RATIOS) + 1) + "|"]
    for name, row in result["ratios"].items():
        lines.append(f"| {name} | {' | '.join(cell(row.get(key, {}), 'ratio') for key in RATIOS)} |")
    if not result["races"]:
        return "\n".join(lines)
    lines += [
        "",
        "| until as good as | ratio of iterations | ratio of seconds | months that get there |",
        "|---" * 4 + "|",
    ]
    for name, row in result["races"].items():
        cells = " | ".join(cell(row[unit], "ratio") for unit in ("iterations", "seconds"))
        lines.append(f"| {name} | {cells} | {row['n_reached']} |")
    return "\n".join(lines)
