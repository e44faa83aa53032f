"""Scores and ratios of the rows of `scripts.ocean` for a page."""

from collections.abc import Mapping

import numpy as np

from oceanvar.metrics.tables import RATIOS


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
