"""A picture of `ocean_sampling.py`: where two samplings look on one day, and what is left of the error."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from oceanvar.plots.canvas import new_figure


def draw(days: xr.Dataset, found: Mapping[str, xr.Dataset], day: int) -> Figure:
    """Yesterday's analysis with the cells of each sampling, and the error of today's analysis."""
    figure = new_figure(width=9.0, height=8.0)
    axes = figure.subplots(2, len(found), sharex=True, sharey=True)
    one = days.isel(trajectory=day, time=0)
    level = float(np.abs(one["previous"]).max())
    largest = max(
        float(np.abs(each["analysis"].isel(trajectory=day, time=0) - one["ssh"]).quantile(0.999))
        for each in found.values()
    )
    for (name, each), (above, below) in zip(found.items(), axes.T, strict=True):
        seen = each["is_seen"].isel(trajectory=day, time=0).stack(cell=("latitude", "longitude"))
        seen = seen[seen.values]
        error = each["analysis"].isel(trajectory=day, time=0) - one["ssh"]
        rms = 100 * float((error**2).mean() ** 0.5)
        for ax, field, limit, title in (
            (above, one["previous"], level, f"yesterday's analysis, m, and the cells: {name}"),
            (below, error, largest, f"error of today's analysis, m: {rms:.2f} cm rms"),
        ):
            mesh = ax.pcolormesh(
                field["longitude"], field["latitude"], field, cmap="RdBu_r", vmin=-limit, vmax=limit
            )
            ax.plot(seen["longitude"], seen["latitude"], "k.", markersize=3)
            ax.set_title(title, fontsize=10)
            figure.colorbar(mesh, ax=ax, shrink=0.8)
    return figure
