"""Row of `ocean_osse.py`: 4D-Var with the model of the ocean, from two first guesses."""

import functools
import time
from pathlib import Path

import numpy as np
import ocean_altimeters
import torch
import xarray as xr
from ocean_cases import (
    ALTIMETERS,
    FIRST_TEST_SEED,
    FIRST_TUNING_SEED,
    MARGIN,
    NOISE,
    Scale,
    kept,
    month,
    observed,
    scores_of,
)
from ocean_flow import CONTROL, Filtered, Forecast, OnGrid, Shifted, spread_of, strong_constraint_cost
from ocean_tables import table
from torch import Tensor

import oceanvar
from oceanvar.baselines.optimal import optimal_interpolation
from oceanvar.maps.compositions import Chain
from oceanvar.practice_ocean import one_day
from oceanvar.variational.observations import Observations
from oceanvar.variational.solvers.lbfgs import LBFGS

FEW = next(iter(ALTIMETERS))
OI, UNET = ocean_altimeters.OI, ocean_altimeters.UNET
PHYSICS = {"latitude": 35.0, "deformation_radius": 30.0, "surface": False}
BACKGROUND_WEIGHT = 0.5
"""The first guess has seen the observations that the cost brings a second time."""

N_EDGE = 2
"""Days at both ends of a window that are not scored."""


def run(out: Path, scale: Scale, seed: int) -> dict:
    """Minimise the cost of one window of every month from both first guesses, and score on the way."""
    model = ocean_altimeters.train(out, scale, seed)
    choose = functools.partial(ocean_altimeters.choose_scales, out, scale, ALTIMETERS[FEW])
    lengths = kept(out / "lengths" / f"{FEW}.json", choose)
    analyse = functools.partial(first_guesses, model=model, lengths=lengths, n_nearest=scale.n_nearest)
    truths = [month(out, scale, FIRST_TEST_SEED + n, n) for n in range(scale.n_months)]
    first = MARGIN + (scale.n_month - scale.n_window) // 2
    days = slice(first, first + scale.n_window)
    seen = [observed(truth, ALTIMETERS[FEW])["ssh"] for truth in truths]
    guesses = [analyse(truth["ssh"], obs, days) for truth, obs in zip(truths, seen, strict=True)]
    scored = [truth["ssh"][days, ::2, ::2][N_EDGE:-N_EDGE] for truth in truths]
    values = torch.tensor(np.stack([obs[days].values for obs in seen]))[:, None]
    months: list[dict] = [{} for _ in truths]
    seconds = {}
    for name in (OI, UNET):
        spread = spread_of(tuning_errors(out, scale, name, analyse))
        backgrounds = torch.tensor(np.stack([each[name][0].values for each in guesses]))[:, None, None]
        for rows, guess, target in zip(months, guesses, scored, strict=True):
            rows[name] = scores_of(guess[name][N_EDGE:-N_EDGE], target)
        for n, analysis, elapsed in minimised(values, backgrounds, spread, scale):
            row = f"4D-Var from {name}, {n} iterations"
            seconds[row] = elapsed / len(truths)
            for rows, field, target in zip(
                months, analysis[:, 0, N_EDGE:-N_EDGE, ::2, ::2], scored, strict=True
            ):
                rows[row] = scores_of(target.copy(data=field.numpy()), target)
            print(row, f"{seconds[row]:.1f} s", [round(rows[row]["rmse"], 4) for rows in months], flush=True)
    return {"seconds": seconds, **table(months, ratios(scale)), "months": months}


def first_guesses(
    truth: xr.DataArray,
    obs: xr.DataArray,
    days: slice,
    model: oceanvar.VarNet,
    lengths: ocean_altimeters.Lengths,
    n_nearest: int,
) -> dict[str, xr.DataArray]:
    """Analyses of both methods on some days and every second cell."""
    targets = truth[days, ::2, ::2]
    optimal = optimal_interpolation(obs, lengths, NOISE, mean=0.0, targets=targets, n_nearest=n_nearest)[
        "ssh"
    ]
    learned = obs.varnet.assimilate(model)[days, ::2, ::2]
    return {OI: optimal.transpose(*targets.dims), UNET: learned}


def tuning_errors(out: Path, scale: Scale, name: str, analyse: functools.partial) -> Tensor:
    """Errors of a first guess on days of two months that are not scored, on the grid of the model."""
    errors = []
    for number in range(2):
        truth = month(out, scale, FIRST_TUNING_SEED + number, number)
        days = slice(MARGIN, -MARGIN, 3)
        guess = analyse(truth["ssh"], observed(truth, ALTIMETERS[FEW])["ssh"], days)[name]
        errors.append((guess - truth["ssh"][days, ::2, ::2]).values)
    found = torch.tensor(np.concatenate(errors))
    return OnGrid(found.shape[-1], scale.n_flow)(found)


def minimised(values: Tensor, backgrounds: Tensor, spread: Tensor, scale: Scale):
    """Analyses of all windows after some numbers of iterations of L-BFGS, and seconds of the processor until then."""
    size = scale.resolution * values.shape[-1]
    day = one_day(scale.n_flow, size, PHYSICS)
    first = OnGrid(backgrounds.shape[-1], scale.n_flow)(backgrounds)
    onwards = Shifted(Chain(Forecast(day, values.shape[2]), OnGrid(scale.n_flow, values.shape[-1])), first)
    trajectory = Chain(Filtered(spread / BACKGROUND_WEIGHT**0.5), onwards)
    cost = strong_constraint_cost(trajectory, NOISE**2)
    control = torch.zeros_like(first)
    known = torch.isfinite(values)
    obs = Observations(
        {"state": torch.where(known, values, 0.0), CONTROL: control},
        {"state": known.to(values.dtype), CONTROL: torch.ones_like(control)},
    )
    solver = LBFGS()
    began = time.process_time()
    with torch.no_grad():
        carry = solver.init(cost, obs, control)
        for n in range(max(scale.n_iterations) + 1):
            if n in scale.n_iterations:
                yield n, trajectory(control), time.process_time() - began
            control, carry = solver.step(cost, obs, control, carry)


def ratios(scale: Scale) -> dict[str, tuple[str, str]]:
    """Pairs of rows whose ratio is of interest."""
    few, many = scale.n_iterations[1], scale.n_iterations[-1]
    ours, classical = f"4D-Var from {UNET}, {few} iterations", f"4D-Var from {OI}, {many} iterations"
    pairs = {f"{ours} / {each}": (ours, each) for each in (OI, UNET, classical)}
    return pairs | {f"{classical} / {OI}": (classical, OI), f"{UNET} / {OI}": (UNET, OI)}
