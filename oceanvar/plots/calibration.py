"""Picture of whether the error that an analysis states is that which it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from oceanvar.errors import MissingVariableError
from oceanvar.labels.coordinates import is_time
from oceanvar.metrics.laws import LEVELS, MEMBER, error_bars, is_ensemble, without_error_bars
from oceanvar.metrics.probabilistic import Blocks, pit_histogram, score_uncertainty, spread_skill
from oceanvar.plots.canvas import axis_label, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

N_BLOCKS = 20
"""Blocks of the bootstrap where none are given."""

_BARS, _MARK = "#9ecae1", "#08519c"
_ARMS: dict[str, Any] = {"elinewidth": 1.2, "capsize": 2.5}


def reliability(
    analysis: xr.Dataset | xr.DataArray, truth: xr.Dataset | xr.DataArray, *, blocks: Blocks | None = None
) -> Figure:
    """Draw whether the error that an analysis states is that which it has, one row for each variable.

    To the left the histogram of the probability integral transform, or of the ranks of the truth in an ensemble: flat
    if the stated law is right, a valley where errors are larger than stated, a hill where they are smaller, a slope
    where there is a bias. To the right the root mean square error of cells that state little to much error: on the
    diagonal if that is right. Bars are intervals at level 0.95, by a bootstrap over blocks.

    Parameters
    ----------
    analysis : Dataset or DataArray
        Variables with ``<variable>_std`` beside them, or ensembles along ``member``; others are not drawn.
    truth : Dataset or DataArray
        The same variables on the same grid; NaN where there is no value.
    blocks : mapping of str to int, optional
        As of `oceanvar.metrics.score_uncertainty`; choose them longer than errors are correlated. Default: twenty
        stretches of time, or of the first dimension.

    Returns
    -------
    Figure
        Two panels for each variable.

    Raises
    ------
    MissingVariableError
        When no variable of the analysis states its error, or the truth lacks one that does.
    ConfigError, GridMismatchError, UnitsMismatchError, ScoreError
        As of `oceanvar.metrics.score_uncertainty`.
    """
    pairs = _pairs(analysis, truth)
    figure = new_figure(9.6, 4.6 * len(pairs))
    rows = figure.subfigures(len(pairs), 1, squeeze=False)
    for row, (field, true, std) in zip(rows[:, 0], pairs, strict=True):
        left, right = row.subplots(1, 2, width_ratios=[1.25, 1])
        cut = _twenty(true) if blocks is None else blocks
        scores = score_uncertainty(field, true, std, blocks=cut)
        _draw_histogram(left, pit_histogram(field, true, std, blocks=cut), scores, is_rank=std is None)
        _draw_spread(right, spread_skill(field, true, std, blocks=cut), scores)
        row.suptitle(axis_label(true.assign_attrs(units="")))
    return figure


Pair = tuple[xr.DataArray, xr.DataArray, xr.DataArray | None]


def _pairs(analysis: xr.Dataset | xr.DataArray, truth: xr.Dataset | xr.DataArray) -> list[Pair]:
    """Analysis, truth and standard deviation, computed, of the variables that state their error."""
    label = next(
        (one.name for one in (truth, analysis) if isinstance(one, xr.DataArray) and one.name), "field"
    )
    given, true = (
        one.rename(label).to_dataset() if isinstance(one, xr.DataArray) else one for one in (analysis, truth)
    )
    bars, fields = error_bars(given, true), without_error_bars(given, true)
    stating = [name for name, field in fields.items() if name in bars or MEMBER in field.dims]
    missing = [name for name in stating if name not in true]
    if missing:
        raise MissingVariableError(f"variable {missing[0]!r} is not in the truth (variables: {list(true)})")
    pairs = [
        (fields[name].compute(), true[name].compute(), bars[name].compute() if name in bars else None)
        for name in stating
        if name in bars or is_ensemble(fields[name], true[name])
    ]
    if not pairs:
        raise MissingVariableError(
            f"none of the variables {list(given)} states its error: give <variable>_std beside one, or an ensemble "
            "along 'member'"
        )
    return pairs


def _twenty(truth: xr.DataArray) -> dict[str, int]:
    """Stretches of time, or of the first dimension."""
    times = [dim for dim in truth.dims if dim in truth.coords and is_time(truth[dim])]
    dim = str((times or truth.dims)[0])
    return {dim: -(-truth.sizes[dim] // N_BLOCKS)}


def _draw_histogram(ax: Axes, histogram: xr.Dataset, scores: xr.Dataset, *, is_rank: bool) -> None:
    density, interval = histogram["density"].values, histogram["density_interval"].values
    places = histogram["bin"].values
    ax.bar(places, density, width=1 / len(places), color=_BARS, edgecolor="white", linewidth=0.8)
    ax.errorbar(places, density, yerr=_arms(density, interval), fmt="none", ecolor=_MARK, **_ARMS)
    ax.axhline(1, color="black", ls="--", lw=1, label="as stated")
    ax.set(xlim=(0, 1), ylim=(0, 1.2 * max(1.2, density.max(), np.nanmax(interval, initial=0))))
    where = "rank of the truth in the ensemble" if is_rank else "probability integral transform of the truth"
    ax.set_xlabel(where)
    ax.set_ylabel("frequency / expected")
    inside = {level: scores[f"coverage_{level}"] for level in LEVELS if f"coverage_{level}" in scores}
    if inside:
        found = " / ".join(f"{100 * float(one):.0f}" for one in inside.values())
        ax.set_title(
            f"truths in the {' / '.join(map(str, inside))} % intervals: {found} %", loc="left", fontsize=10
        )
    ax.legend(frameon=False, loc="upper right")


def _draw_spread(ax: Axes, curve: xr.Dataset, scores: xr.Dataset) -> None:
    from matplotlib.ticker import MaxNLocator

    stated, rmse = curve["stated"].values, curve["rmse"].values
    interval = curve["rmse_interval"].values
    largest = 1.08 * max(stated.max(), rmse.max(), np.nanmax(interval, initial=0))
    ax.plot([0, largest], [0, largest], color="black", ls="--", lw=1, label="as stated")
    ax.errorbar(stated, rmse, yerr=_arms(rmse, interval), color=_MARK, marker="o", ms=4.5, lw=1.4, **_ARMS)
    ax.set(xlim=(0, largest), ylim=(0, largest), aspect="equal")
    for axis, name in ((ax.xaxis, "stated"), (ax.yaxis, "rmse")):
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axis.set_label_text(axis_label(curve[name]))
    low, high = scores["error_over_stated_interval"].values
    known = f"  ({low:.2f} to {high:.2f})" if np.isfinite(low) else ""
    ax.set_title(
        f"error over stated: {float(scores['error_over_stated']):.2f}{known}", loc="left", fontsize=10
    )
    ax.legend(frameon=False, loc="upper left")
    ax.grid(visible=True, alpha=0.3)


def _arms(values: np.ndarray, interval: np.ndarray) -> np.ndarray:
    """Lengths (2, n) of error bars from intervals (n, 2); 0 where these are not known."""
    return np.nan_to_num(np.maximum([values - interval[:, 0], interval[:, 1] - values], 0))
