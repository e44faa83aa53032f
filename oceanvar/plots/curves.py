"""Pictures of a training and of spectra."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.metrics.spectra import RESOLVED, resolved_scales
from oceanvar.plots.canvas import axis_label, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_history(history: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the losses of a training against the epoch, and mark the best epoch.

    Parameters
    ----------
    history : Dataset
        ``loss`` and, if validated, ``validation_loss`` over ``epoch``; NaN where an epoch was not validated.
    ax : Axes, optional
        Axes to draw on.

    Returns
    -------
    Axes
        Both curves, on a logarithmic axis if all losses are positive. The best epoch is that of the smallest
        validation loss, or of the smallest training loss where nothing was validated.

    Raises
    ------
    ConfigError
        When the history holds no finite loss.
    """
    curves = {"training": history["loss"]}
    if "validation_loss" in history and history["validation_loss"].notnull().any():
        curves["validation"] = history["validation_loss"]
    kept = {title: one.dropna("epoch") for title, one in curves.items()}
    if kept["training"].size == 0:
        raise ConfigError("the history holds no finite loss: train for at least one epoch")
    ax = new_figure(7.0, 4.2).add_subplot() if ax is None else ax
    for (title, one), colour in zip(kept.items(), ("0.45", "C0"), strict=False):
        ax.plot(one["epoch"].values, one.values, color=colour, lw=1.8, marker="o", ms=3, label=title)
    judged = kept.get("validation", kept["training"])
    best = judged[int(judged.values.argmin())]
    epoch = int(best["epoch"])
    ax.axvline(epoch, color="C3", lw=1, ls=":")
    ax.plot(
        [epoch],
        [float(best)],
        ls="none",
        marker="*",
        ms=13,
        color="C3",
        label=f"best, epoch {epoch}: {float(best):.3g}",
    )
    if all(bool((one > 0).all()) for one in kept.values()):
        ax.set_yscale("log")
    ax.set_xlabel("epoch")
    ax.set_ylabel(axis_label(history["loss"]))
    ax.legend(frameon=False)
    ax.grid(visible=True, alpha=0.3)
    return ax


def plot_score(score: xr.DataArray, ax: Axes | None = None) -> Axes:
    """Draw a space-time spectral score, its contour of 0.5 and the scales that are resolved.

    Parameters
    ----------
    score : DataArray
        From `oceanvar.metrics.spectra.psd_score`, over ``period`` and ``wavelength``.
    ax : Axes, optional
        Axes to draw on.

    Returns
    -------
    Axes
        Large scales at the lower left, small ones at the upper right, both axes logarithmic.
    """
    ax = new_figure(6.6, 5.0).add_subplot() if ax is None else ax
    score = score.transpose("period", "wavelength")
    period, wavelength = score["period"], score["wavelength"]
    mesh = ax.pcolormesh(wavelength, period, score, cmap="RdYlBu", clim=(0, 1), shading="nearest")
    ax.figure.colorbar(mesh, ax=ax, label=axis_label(score), extend="min", aspect=30, pad=0.03)
    if float(score.min()) < RESOLVED < float(score.max()):
        ax.contour(wavelength, period, score, levels=[RESOLVED], colors="black", linewidths=1.8)
    scales = resolved_scales(score)
    for name, draw in (("lambda_x", ax.axvline), ("lambda_t", ax.axhline)):
        if np.isfinite(scales[name]):
            draw(
                float(scales[name]),
                color="black",
                ls="--",
                lw=1,
                label=rf"$\{name}$ = {_amount(scales[name])}",
            )
    _log_axis(ax, "x", wavelength)
    _log_axis(ax, "y", period)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    return ax


def plot_spectra(spectra: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw power spectra by wavelength, and mark where the error has half the power of the truth.

    Parameters
    ----------
    spectra : Dataset
        ``truth`` and ``error``, and ``analysis`` if there is one, over ``wavelength``; averaged over
        ``period`` where they have one. `oceanvar.metrics.spectra.error_spectra` makes the first two.
    ax : Axes, optional
        Axes to draw on.

    Returns
    -------
    Axes
        Long waves to the left, both axes logarithmic.
    """
    ax = new_figure(6.6, 4.4).add_subplot() if ax is None else ax
    colours = {"truth": "black", "analysis": "C0", "error": "C3"}
    power = {name: spectra[name] for name in colours if name in spectra}
    mean = {name: one.mean("period") if "period" in one.dims else one for name, one in power.items()}
    for name, one in mean.items():
        ax.plot(one["wavelength"], one, color=colours[name], lw=1.8, label=name)
    scale = _resolved_wavelength(mean["error"], mean["truth"])
    if np.isfinite(scale):
        ax.axvline(float(scale), color="0.4", ls="--", lw=1, label=f"resolved wavelength {_amount(scale)}")
    ax.set_yscale("log")
    _log_axis(ax, "x", spectra["wavelength"])
    ax.set_ylabel(axis_label(mean["truth"].rename("power")))
    ax.legend(frameon=False)
    ax.grid(visible=True, which="both", alpha=0.25)
    return ax


def _resolved_wavelength(error: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """Wavelength down from the longest at which the score first falls to 0.5; NaN if it starts below."""
    wavelength = error["wavelength"]
    score = (1.0 - error / truth).sortby("wavelength", ascending=False)
    below = np.flatnonzero(score.values < RESOLVED)
    attrs = {"units": wavelength.attrs.get("units", "")}
    if below.size == 0:
        return xr.DataArray(float(wavelength.min()), attrs=attrs)
    if below[0] == 0:
        return xr.DataArray(np.nan, attrs=attrs)
    around = score[below[0] - 1 : below[0] + 1]
    crossing = np.interp(RESOLVED, around.values[::-1], np.log(around["wavelength"].values[::-1]))
    return xr.DataArray(np.exp(crossing), attrs=attrs)


def _amount(scale: xr.DataArray) -> str:
    return f"{float(scale):.3g} {scale.attrs['units']}"


def _log_axis(ax: Axes, which: str, coordinate: xr.DataArray) -> None:
    """Logarithmic axis from the largest to the smallest scale, with plain numbers at 1, 2 and 5."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = ax.xaxis if which == "x" else ax.yaxis
    ax.set(**{f"{which}scale": "log", f"{which}label": axis_label(coordinate)})
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
    ax.set(**{f"{which}lim": (float(coordinate.max()), float(coordinate.min()))})
