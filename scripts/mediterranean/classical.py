"""The best optimal interpolation of real altimeter passes, beside the plain one.

    python -m scripts.mediterranean classical --score

The tracks, the withheld passes and the subtracted mean are those of `scripts.mediterranean.maps`. The plain one has a
Gaussian of one length, 2 cm of noise and the standard deviation of the observations. The better one is the sum of two
scales; lengths and standard deviations, beside 2 cm of noise, are those whose analysis comes nearest to whole passes,
withheld a fifth at a time from the assimilated ones, and the expected errors are multiplied by the factor found there.
With --score both are scored, once, at the passes that are kept from everything.
"""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import xarray as xr
from scipy.optimize import minimize

from oceanvar.baselines import error_factor, optimal_interpolation
from oceanvar.metrics import bootstrap_difference, root_mean_square, squares_by_group
from oceanvar.observing import withhold_passes
from scripts.mediterranean.cases import NOISE, above_mean, choose_scales, read

N_FOLDS = 5
KERNELS = ("gaussian", "matern52")
"""Tried for the smaller scale; the larger one is Gaussian."""

START = {"std": 0.03, "km": 50.0, "days": 20.0, "std_larger": 0.02, "km_larger": 200.0, "days_larger": 6.0}
N_TRIES = 100
EVERY = 3
"""One in so many samples is scored in the search, from the nearest `N_NEAREST`; all of them, from 150, after it."""

N_NEAREST = 80
PLAIN, BETTER = "plain optimal interpolation", "two scales"


def plain(scales: tuple[float, float], std: float) -> dict[str, Any]:
    """Options of optimal interpolation with one Gaussian."""
    return {"lengths": _lengths(*scales), "noise_std": NOISE, "std": std, "mean": 0.0}


def two_scales(numbers: np.ndarray, kernel: str) -> dict[str, Any]:
    """Options of optimal interpolation from numbers in the order of `START`."""
    std, km, days, std_larger, km_larger, days_larger = map(float, numbers)
    return {
        "lengths": [_lengths(km, days), _lengths(km_larger, days_larger)],
        "noise_std": NOISE,
        "std": float(np.hypot(std, std_larger)),
        "mean": 0.0,
        "kernel": [kernel, "gaussian"],
        "shares": [std**2, std_larger**2],
    }


def _lengths(km: float, days: float) -> dict[str, float]:
    return {"time": days, "latitude": km, "longitude": km}


def cross_validated(passes: xr.Dataset, options: dict[str, Any], every: int = 1) -> xr.Dataset:
    """Analysis and expected error at the samples of each fifth of the passes, from the others."""
    numbers = np.random.default_rng(11).permutation(np.unique(passes["track"]))
    found = []
    for fold in np.array_split(numbers, N_FOLDS):
        withheld = np.isin(passes["track"], fold)
        targets = passes.isel(sample=withheld).isel(sample=slice(None, None, every))
        found.append(analysed(passes.isel(sample=~withheld), targets, options))
    return xr.concat(found, "sample")


def analysed(obs: xr.Dataset, targets: xr.Dataset, options: dict[str, Any]) -> xr.Dataset:
    """Analysis and expected error at samples, beside what was measured there."""
    result = optimal_interpolation(obs["adt"], targets=targets, **options)
    return result.assign(measured=targets["adt"])


def mean_square(result: xr.Dataset) -> float:
    """Mean square error, m^2."""
    return float(((result["adt"] - result["measured"]) ** 2).mean())


def tuned(passes: xr.Dataset, kernel: str) -> dict[str, Any]:
    """Options of two scales that come nearest to withheld passes."""
    start = np.log(list(START.values()))

    def cost(logs: np.ndarray) -> float:
        options = two_scales(np.exp(logs), kernel) | {"n_nearest": N_NEAREST}
        return mean_square(cross_validated(passes, options, EVERY))

    simplex = np.vstack([start, start + 0.35 * np.eye(start.size)])
    best = minimize(
        cost, start, method="Nelder-Mead", options={"maxfev": N_TRIES, "initial_simplex": simplex}
    )
    return two_scales(np.exp(best.x), kernel)


def rows(results: dict[str, xr.Dataset]) -> dict[str, Any]:
    """RMSE in cm with a 95 % interval over passes, error over expected, and the paired difference."""
    table: dict[str, Any] = {}
    squares = {}
    for name, result in results.items():
        residuals = (result["adt"] - result["measured"]).values
        by_pass = squares_by_group(residuals, result["track"].values)
        squares[name] = 1e4 * np.array([each.sum() for each in by_pass]) / (len(residuals) / len(by_pass))
        rmse, *interval = root_mean_square(squares[name])
        expected = np.sqrt((result["adt_error"] ** 2 + NOISE**2).mean())
        table[name] = {
            "rmse_cm": rmse,
            "interval_cm": interval,
            "error_over_expected": float(np.sqrt((residuals**2).mean()) / expected),
        }
    pair = squares[BETTER], squares[PLAIN]
    table[f"{BETTER} minus {PLAIN}"] = {
        "mse_cm2": float((pair[0] - pair[1]).mean()),
        "interval_cm2": list(bootstrap_difference(*pair)),
    }
    table["n"] = {"passes": len(pair[0]), "samples": results[PLAIN].sizes["sample"]}
    return table


@click.command()
@click.option("--maps", type=click.Path(path_type=Path), help="As of the command maps.")
@click.option("--tracks", type=click.Path(path_type=Path), help="As of the command maps.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/mediterranean_classical"), show_default=True
)
@click.option("--score", is_flag=True, help="Also score at the passes that are withheld from all choices.")
def main(maps: Path, tracks: Path, out: Path, score: bool) -> None:
    """Tune optimal interpolation on assimilated passes; print scores beside the plain one."""
    out.mkdir(parents=True, exist_ok=True)
    obs, checks, _ = above_mean(read(maps, tracks))
    std = float(obs["adt"].std())
    tuning, tuning_checks = withhold_passes(obs, 0.2, seed=1)
    scales = choose_scales(tuning, tuning_checks, float(tuning["adt"].std()))
    candidates = {kernel: tuned(obs, kernel) for kernel in KERNELS}
    tried = {kernel: cross_validated(obs, options) for kernel, options in candidates.items()}
    kernel = min(tried, key=lambda name: mean_square(tried[name]))
    options = {PLAIN: plain(scales, std), BETTER: candidates[kernel]}
    results = {PLAIN: cross_validated(obs, options[PLAIN]), BETTER: tried[kernel]}
    for name, result in results.items():
        residuals = (result["adt"] - result["measured"]).values
        factor = error_factor(residuals, result["adt_error"].values, NOISE)
        options[name]["error_factor"] = factor
        result["adt_error"] = result["adt_error"] * factor
    found: dict[str, Any] = {
        "cross-validated": rows(results),
        "other kernels, cm": {name: 100 * mean_square(each) ** 0.5 for name, each in tried.items()},
        "options": options,
    }
    if score:
        found["withheld"] = rows({name: analysed(obs, checks, each) for name, each in options.items()})
    (out / "scores.json").write_text(json.dumps(found, indent=1))
    print(json.dumps(found, indent=1))
