"""Pictures of fields: maps, time against site, and a row of panels that compares fields with the truth.

Every function draws on the axes it is given, or on a figure of its own that pyplot does not know, so nothing
stays open behind it: ``plot_map(field).figure.savefig("map.png")``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.plots.canvas import (
    Limits,
    add_colour_bar,
    axis_label,
    colour_limits,
    draw_map,
    draw_time_site,
    is_map,
    map_coordinates,
    map_size,
    new_figure,
    projection,
    time_axis,
    time_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_map(
    field: xr.DataArray, ax: Axes | None = None, *, time: object = None, limits: Limits | None = None
) -> Axes:
    """Draw a field over latitude and longitude, with land in grey.

    Coastlines are drawn where the Natural Earth data already lie on this computer: nothing is downloaded.

    Parameters
    ----------
    field : DataArray
        Two-dimensional once `time` is selected, with latitude and longitude of one or two dimensions.
    ax : cartopy GeoAxes, optional
        Axes to draw on.
    time : date, str or number, optional
        Label of the time to draw.
    limits : (float, float), optional
        Range of the colours; the default is `colour_limits`.

    Returns
    -------
    Axes
        The axes with map, grid and colour bar; ``.figure`` is the figure.

    Raises
    ------
    ConfigError
        When the field is not a map.
    """
    if time is not None:
        field = field.sel(time=time).squeeze()  # "2005-06-15" selects one day, as a stretch of length 1
    longitude, _ = map_coordinates(field)
    if ax is None:
        width, height = map_size(field)
        wide = width > 1.6 * height
        figure = new_figure(width=8.0, height=1.3 + 8 * height / width if wide else 6.0)
        ax = figure.add_subplot(projection=projection(longitude))
    mesh = draw_map(field, ax, limits or colour_limits(field))
    wide = np.divide(*map_size(field)) > 1.6
    add_colour_bar(mesh, [ax], field, "bottom" if wide else "right")
    ax.set_title(time_title(field))
    return ax


def plot_time_site(field: xr.DataArray, ax: Axes | None = None, *, limits: Limits | None = None) -> Axes:
    """Draw a field of time and one other dimension, time to the right.

    Parameters
    ----------
    field : DataArray
        Two-dimensional, with a dimension "time" or one of dates.
    ax : Axes, optional
        Axes to draw on.
    limits : (float, float), optional
        Range of the colours; the default is `colour_limits`.

    Returns
    -------
    Axes
        The axes with image and colour bar; ``.figure`` is the figure.

    Raises
    ------
    ConfigError
        When the field has no time, or not two dimensions.
    """
    ax = new_figure(8.0, 4.0).add_subplot() if ax is None else ax
    mesh = draw_time_site(field, ax, limits or colour_limits(field))
    add_colour_bar(mesh, [ax], field, "right")
    return ax


def plot_comparison(fields: Mapping[str, xr.DataArray], truth: xr.DataArray | None = None) -> Figure:
    """Draw fields side by side on one colour scale, and their errors against the truth on another.

    Observations, known by their gaps, have no error panel. Series of one dimension share one panel, with
    their errors below.

    Parameters
    ----------
    fields : Mapping[str, DataArray]
        Title and field: maps, fields of time and site, or series, all of one kind.
    truth : DataArray, optional
        Drawn first; its missing values are land.

    Returns
    -------
    Figure
        One panel for each field and each error; one colour bar for each of the two scales.

    Raises
    ------
    ConfigError
        When there is nothing to draw, or a field is of no kind that can be drawn.
    """
    if not fields:
        raise ConfigError("nothing to compare: give at least one field")
    states = dict(fields) if truth is None else {"Truth": truth, **fields}
    errors = (
        {} if truth is None else {f"{title} - truth": _error(one, truth) for title, one in fields.items()}
    )
    errors = {
        title: one
        for title, one in errors.items()
        if truth is not None and one.notnull().equals(truth.notnull())
    }
    if all(one.ndim == 1 for one in states.values()):
        return _compare_series(states, errors)
    return _compare_panels(states, errors, None if truth is None else truth.isnull())


def _error(field: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    return (field.transpose(*truth.dims) - truth).assign_attrs(truth.attrs | {"long_name": "error"})


def _compare_panels(
    states: dict[str, xr.DataArray], errors: dict[str, xr.DataArray], land: xr.DataArray | None
) -> Figure:
    first = next(iter(states.values()))
    aspect = float(np.divide(*map_size(first))) if is_map(first) else 1.2
    n_panels = len(states) + len(errors)
    n_columns = min(n_panels, 2 if aspect > 1.6 else 4)
    n_rows = -(-n_panels // n_columns)
    width = 12.0 / n_columns if n_columns < 4 else 3.6
    figure = new_figure(n_columns * width, n_rows * (width / aspect + 0.4) + 0.9)
    kind = {"projection": projection(map_coordinates(first)[0])} if is_map(first) else None
    axes = figure.subplots(n_rows, n_columns, squeeze=False, subplot_kw=kind).ravel()
    for group, start in ((states, 0), (errors, len(states))):
        if group:
            _draw_group(
                group,
                list(axes[start : start + len(group)]),
                n_columns,
                start,
                land if is_map(first) else None,
            )
    for ax in axes[n_panels:]:
        ax.remove()
    return figure


def _draw_group(
    group: dict[str, xr.DataArray], axes: list[Axes], n_columns: int, start: int, land: xr.DataArray | None
) -> None:
    """Draw panels that share a colour scale, with its bar below those in the last row of them."""
    limits = colour_limits(*group.values())
    for number, (ax, (title, field)) in enumerate(zip(axes, group.items(), strict=True)):
        outer = (start + number) % n_columns == 0
        if is_map(field):
            mesh = draw_map(field, ax, limits, land, left_labels=outer)
        else:
            mesh = draw_time_site(field, ax, limits)
            ax.set_ylabel(ax.get_ylabel() if outer else "")
        ax.set_title(title)
    last = (start + len(group) - 1) // n_columns
    below = [ax for number, ax in enumerate(axes) if (start + number) // n_columns == last]
    add_colour_bar(mesh, below, next(iter(group.values())), "bottom")


def _compare_series(states: dict[str, xr.DataArray], errors: dict[str, xr.DataArray]) -> Figure:
    figure = new_figure(9.0, 5.5 if errors else 3.8)
    panels = figure.subplots(
        2 if errors else 1, 1, sharex=True, squeeze=False, height_ratios=[2, 1][: 1 + bool(errors)]
    )
    for number, (title, one) in enumerate(states.items()):
        gaps = bool(one.isnull().any())
        colour = "black" if title == "Truth" else f"C{number}"
        style: dict[str, Any] = {"ls": "none", "marker": "o", "ms": 4} if gaps else {"lw": 1.6}
        panels[0, 0].plot(one[one.dims[0]].values, one.values, label=title, color=colour, **style)
        if f"{title} - truth" in errors:
            error = errors[f"{title} - truth"]
            panels[1, 0].plot(error[error.dims[0]].values, error.values, color=colour, lw=1.6)
            panels[1, 0].set_ylabel(axis_label(error))
            panels[1, 0].axhline(0, color="0.6", lw=0.8, zorder=0)
    first = next(iter(states.values()))
    panels[0, 0].set_ylabel(axis_label(first))
    panels[0, 0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(states), frameon=False)
    time_axis(panels[-1, 0], first[first.dims[0]])
    return figure
