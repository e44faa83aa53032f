"""The same model, as it is, on the months of `scripts.ocean` and on real passes over the Mediterranean."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import oceanvar
from oceanvar.metrics import bootstrap_interval, root_mean_square, squares_by_group
from oceanvar.observing import bin_tracks, sample_field
from scripts.mediterranean.cases import NOISE as PASS_NOISE
from scripts.mediterranean.cases import above_mean, choose_scales, daily_grid, interpolate, read
from scripts.ocean.altimeters import choose_scales as choose_lengths
from scripts.ocean.cases import ALTIMETERS, NOISE, SCALES, month, observed, scored

FLEET = "4 nadirs"


def months(out: Path, models: dict[str, oceanvar.VarNet]) -> dict[str, Any]:
    """Error variance over that of optimal interpolation, four nadirs; lengths of the latter from months of training."""
    scale, sampler = SCALES["full"], ALTIMETERS[FLEET]
    lengths = choose_lengths(out, scale, sampler)
    squares: dict[str, list[float]] = {name: [] for name in models}
    bars, reference = [], []
    for number in range(scale.n_months):
        truth = month(out, scale, 4000 + number, number)
        obs = observed(truth, sampler)
        by_oi = obs["ssh"].varnet.optimal_interpolation(lengths, noise_std=NOISE, n_nearest=scale.n_nearest)
        reference.append(_mean_square(by_oi["ssh"], truth))
        for name, model in models.items():
            knows = model.assimilator.start.knows_errors
            analysis = obs.varnet.assimilate(model, diagnostics=knows)
            squares[name].append(_mean_square(analysis["ssh"], truth))
            if knows:
                error, std = (
                    scored(each).values for each in (analysis["ssh"] - truth["ssh"], analysis["ssh_std"])
                )
                bars.append((error / std).ravel())
        print(number, {name: each[-1] / reference[-1] for name, each in squares.items()}, flush=True)
    ratios = {name: np.array(each) / np.array(reference) for name, each in squares.items()}
    return {
        "lengths": lengths,
        **{
            name: {"ratio": float(each.mean()), "interval": bootstrap_interval(each)}
            for name, each in ratios.items()
        },
        "bars": _bars(np.concatenate(bars)),
    }


def _mean_square(analysis: xr.DataArray, truth: xr.Dataset) -> float:
    return float(((scored(analysis) - scored(truth["ssh"])).astype(float) ** 2).mean())


def mediterranean(models: dict[str, oceanvar.VarNet]) -> dict[str, Any]:
    """Errors at real passes that are withheld, cm, beside optimal interpolation with lengths from other passes."""
    sea = read(None, None)
    seen, checks, _ = above_mean(sea)
    obs = bin_tracks(seen["adt"], daily_grid(sea, seen)).rename("ssh").to_dataset()
    obs["ssh"].attrs["units"] = "m"
    truth, passes = checks["adt"].values, checks["track"].values
    scales = choose_scales(seen, checks, float(seen["adt"].std()))
    found = {"optimal interpolation": interpolate(seen, checks, *scales, float(seen["adt"].std()))}
    bars = {}
    for name, model in models.items():
        knows = model.assimilator.start.knows_errors
        analysis = obs.varnet.assimilate(model, diagnostics=knows)
        found[name] = sample_field(analysis["ssh"], checks).values
        if knows:
            std = np.hypot(sample_field(analysis["ssh_std"], checks).values, PASS_NOISE)
            bars = _bars((found[name] - truth) / std)
    rows: dict[str, Any] = {
        "scales of optimal interpolation, chosen at the withheld passes": scales,
        "bars": bars,
    }
    for name, values in found.items():
        by_pass = squares_by_group(values - truth, passes)
        sums = 1e4 * np.array([each.sum() for each in by_pass]) / (len(truth) / len(by_pass))
        rmse, *interval = root_mean_square(sums)
        rows[name] = {"rmse_cm": rmse, "interval_cm": interval}
    return rows


def _bars(normalised: np.ndarray) -> dict[str, float]:
    return {
        "error_over_stated": float(np.sqrt((normalised**2).mean())),
        "coverage_90": float((np.abs(normalised) < 1.6449).mean()),
    }
