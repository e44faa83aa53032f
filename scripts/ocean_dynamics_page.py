"""What `ocean_dynamics.py` finds, for a page: scores, ratios, and how long a solver needs to be as good as another."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ocean_altimeters import OI, UNET
from ocean_tables import RATIOS, Month

from oceanvar.metrics.intervals import bootstrap_interval

STRONG, WEAK = "strong", "weak"
COLUMNS = {"mu": 1, "lambda_x": 1, "rmse": 100, "r_score": 1}
"""Scores of the page, and what they are multiplied by: rmse is in cm there."""


def title(constraint: str, name: str, n: int) -> str:
    """Name of a row."""
    return f"{constraint}-constraint 4D-Var from {name}, {n} iterations"


def ratios(n_iterations: Sequence[int]) -> dict[str, tuple[str, str]]:
    """Pairs of rows whose ratio is of interest."""
    last = n_iterations[-1]
    pairs = [(title(WEAK, name, last), title(STRONG, name, last)) for name in (OI, UNET)]
    for n in n_iterations[1:]:
        ours = title(STRONG, UNET, n)
        pairs += [(ours, UNET), (ours, title(STRONG, OI, n)), (ours, title(WEAK, OI, last))]
    pairs += [(title(WEAK, OI, last), OI), (title(STRONG, UNET, last), OI)]
    return {f"{ours} / {theirs}": (ours, theirs) for ours, theirs in pairs}


def races(months: Sequence[Month], seconds: Mapping[str, float], n_iterations: Sequence[int]) -> dict:
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
        cells = (_cell(scores.get(key, {}), "mean", factor) for key, factor in COLUMNS.items())
        lines.append(f"| {name} | {n} | {s} | {' | '.join(cells)} |")
    lines += ["", "| ratio | error variance | lambda_x | lambda_t |", "|---" * 4 + "|"]
    for name, row in result["ratios"].items():
        lines.append(f"| {name} | {' | '.join(_cell(row.get(key, {}), 'ratio') for key in RATIOS)} |")
    lines += [
        "",
        "| until as good as | ratio of iterations | ratio of seconds | months that get there |",
        "|---" * 4 + "|",
    ]
    for name, row in result["races"].items():
        cells = " | ".join(_cell(row[unit], "ratio") for unit in ("iterations", "seconds"))
        lines.append(f"| {name} | {cells} | {row['n_reached']} |")
    return "\n".join(lines)


def _cell(entry: Mapping, value: str, factor: float = 1.0) -> str:
    if entry.get(value) is None:
        return ""
    low, high = (factor * end for end in entry.get("interval", (np.nan, np.nan)))
    return f"{factor * entry[value]:#.3g} ({low:#.3g} to {high:#.3g})"
