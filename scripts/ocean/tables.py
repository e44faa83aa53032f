"""Scores of independent months as means with intervals, and ratios of two methods on the same months."""

from collections.abc import Mapping, Sequence

import numpy as np

from oceanvar.metrics.intervals import bootstrap_interval, bootstrap_ratio

Month = Mapping[str, Mapping[str, float]]
"""Row, then score."""

RATIOS = ("rmse", "r_score", "lambda_x", "lambda_t")


def table(months: Sequence[Month], pairs: Mapping[str, tuple[str, str]]) -> dict:
    """Mean of every score of every row over the months with a 95 % interval, and ratios of pairs of rows."""
    rows = {name: {key: _mean(_column(months, name, key)) for key in months[0][name]} for name in months[0]}
    ratios: dict = {}
    for title, (name, reference) in pairs.items():
        ratios[title] = {}
        for key in RATIOS:
            both = np.stack([_column(months, each, key) for each in (name, reference)])
            both = both[:, np.isfinite(both).all(axis=0)]
            if both.shape[1] > 1:
                ratio = float(both[0].mean() / both[1].mean())
                ratios[title][key] = {
                    "ratio": ratio,
                    "interval": bootstrap_ratio(*both),
                    "n_months": both.shape[1],
                }
    return {"scores": rows, "ratios": ratios}


def _column(months: Sequence[Month], name: str, key: str) -> np.ndarray:
    return np.array([one[name].get(key, np.nan) for one in months])


def _mean(values: np.ndarray) -> dict:
    known = values[np.isfinite(values)]
    row = {"mean": float(known.mean()) if known.size else None, "n_months": int(known.size)}
    return row | {"interval": bootstrap_interval(known)} if known.size > 1 else row


def as_markdown(result: Mapping) -> str:
    """Both parts as tables for a page."""
    scores, ratios = result["scores"], result["ratios"]
    keys = list(next(iter(scores.values())))
    lines = [f"| | {' | '.join(keys)} |", "|---" * (len(keys) + 1) + "|"]
    lines += [
        f"| {name} | {' | '.join(cell(row[key], 'mean') for key in keys)} |" for name, row in scores.items()
    ]
    lines += ["", f"| ratio | {' | '.join(RATIOS)} |", "|---" * (len(RATIOS) + 1) + "|"]
    for name, row in ratios.items():
        lines.append(f"| {name} | {' | '.join(cell(row.get(key, {}), 'ratio') for key in RATIOS)} |")
    return "\n".join(lines)


def cell(entry: Mapping, value: str, factor: float = 1.0) -> str:
    """A number and its interval, both times a factor; nothing where there is none."""
    if entry.get(value) is None:
        return ""
    low, high = (factor * end for end in entry.get("interval", (np.nan, np.nan)))
    return f"{factor * entry[value]:#.3g} ({low:#.3g} to {high:#.3g})"
