"""What the pictures are made of: figures, colours, labels, and one field drawn on given axes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.labels.coordinates import LATITUDE, LONGITUDE, angles, is_time

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

UNOBSERVED = "0.93"
"""Light grey of sea without an observation, which white would confuse with a value of 0."""

LAND = "0.72"
"""Grey of land, and of any cell of a map without a value."""

Limits = tuple[float, float]


def colour_limits(*fields: xr.DataArray) -> Limits:
    """Second and 98th percentile of the fields together, made symmetric about 0 when they differ in sign."""
    values = np.concatenate([np.ravel(one.values) for one in fields])
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(one) for one in np.percentile(values, [2, 98]))
    if low < 0 < high:
        high = max(-low, high)
        return -high, high
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def axis_label(array: xr.DataArray) -> str:
    """Name and units of a variable or coordinate, as for the axis of a picture."""
    name = str(array.attrs.get("long_name", array.attrs.get("standard_name", array.name or ""))).replace(
        "_", " "
    )
    units = array.attrs.get("units", "")
    return textwrap.fill(f"{name} ({units})" if units not in ("", "1") else name, 44)


def draw_map(
    field: xr.DataArray,
    ax: Any,
    limits: Limits,
    land: xr.DataArray | None = None,
    *,
    left_labels: bool = True,
) -> QuadMesh:
    """Draw a map; cells without a value are grey, or with `land` only the cells where that is true."""
    import cartopy.crs as ccrs

    longitude, latitude = map_coordinates(field)
    dims = latitude.dims if latitude.ndim == 2 else (*latitude.dims, *longitude.dims)
    where: dict[str, Any] = {"transform": ccrs.PlateCarree(), "shading": "nearest"}
    mesh = ax.pcolormesh(
        longitude, latitude, field.transpose(*dims), cmap=_colours(limits), clim=limits, **where
    )
    ax.set_facecolor(LAND if land is None else UNOBSERVED)
    if land is not None:
        ax.pcolormesh(
            longitude, latitude, land.where(land).transpose(*dims), cmap=_plain_colour(LAND), **where
        )
    resolution = _coastline_on_disk()
    if resolution:
        ax.coastlines(resolution, linewidth=0.6)
    lines = ax.gridlines(draw_labels=True, linewidth=0.4, color="0.4", alpha=0.5)
    lines.top_labels = lines.right_labels = False
    lines.left_labels = left_labels
    lines.xlabel_style = lines.ylabel_style = {"size": 9}
    return mesh


def draw_time_site(field: xr.DataArray, ax: Axes, limits: Limits) -> QuadMesh:
    """Draw a field of time and one other dimension; its mesh carries the colours."""
    times = [dim for dim in field.dims if is_time(field[dim])]
    if field.ndim != 2 or len(times) != 1:
        raise ConfigError(
            f"cannot draw the dimensions {field.dims}: need a map, or a time and one other dimension"
        )
    (site,) = set(field.dims) - set(times)
    turned = field.transpose(site, times[0])
    mesh = ax.pcolormesh(
        turned[times[0]], turned[site], turned, cmap=_colours(limits), clim=limits, shading="nearest"
    )
    ax.set_facecolor(UNOBSERVED)
    ax.set_ylabel(axis_label(field[site]))
    time_axis(ax, field[times[0]])
    return mesh


def time_axis(ax: Axes, time: xr.DataArray) -> None:
    """Label the horizontal axis, with short dates where it holds dates."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    ax.set_xlabel(axis_label(time))
    if time.dtype.kind == "M":
        locator = AutoDateLocator(maxticks=7)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def is_map(field: xr.DataArray) -> bool:
    """Whether a field has latitudes and longitudes."""
    found = angles(field)
    return set(found) == {LATITUDE, LONGITUDE} and all(one.ndim for one in found.values())


def map_coordinates(field: xr.DataArray) -> Sequence[xr.DataArray]:
    """Longitude and latitude of a field that is a map, a ConfigError otherwise."""
    if field.ndim != 2 or not is_map(field):
        raise ConfigError(
            f"a map needs latitude and longitude alone, not {field.dims}: select along the other dimensions"
        )
    found = angles(field)
    return found[LONGITUDE], found[LATITUDE]


def map_size(field: xr.DataArray) -> tuple[float, float]:
    """Extent of a map in degrees, longitude first."""
    longitude, latitude = map_coordinates(field)
    return float(np.ptp(longitude.values)), float(np.ptp(latitude.values))


def projection(longitude: xr.DataArray) -> Any:
    """Plate carree, centred on the field where it crosses the date line."""
    import cartopy.crs as ccrs

    low, high = float(longitude.min()), float(longitude.max())
    return ccrs.PlateCarree(0.0 if low >= -180 and high <= 180 else round((low + high) / 2))


def _coastline_on_disk() -> str | None:
    """Finest resolution of the coastline that needs no download, if any."""
    from cartopy.io import Downloader

    for resolution in ("10m", "50m", "110m"):
        key = ("shapefiles", "natural_earth", resolution, "physical", "coastline")
        what = dict(zip(("resolution", "category", "name"), key[2:], strict=True))
        source = Downloader.from_config(key)
        if any(path is not None and path.exists() for path in _paths(source, what)):
            return resolution
    return None


def _paths(source: Any, what: dict[str, str]) -> list[Any]:
    import cartopy

    filled = {"config": cartopy.config, **what}
    return [source.pre_downloaded_path(filled), source.target_path(filled)]


def _colours(limits: Limits) -> str:
    return "RdBu_r" if limits[0] == -limits[1] else "viridis"


def _plain_colour(colour: str) -> Any:
    from matplotlib.colors import ListedColormap

    return ListedColormap([colour])


def add_colour_bar(mesh: QuadMesh, axes: Sequence[Axes], field: xr.DataArray, location: str) -> None:
    """Draw one colour bar for some panels, labelled by the field."""
    from matplotlib.ticker import MaxNLocator

    shape: dict[str, Any] = {"shrink": 0.8 if len(axes) < 3 else 0.5, "aspect": 30, "pad": 0.03}
    ticks = MaxNLocator(5, steps=[1, 2, 5, 10])
    label = axis_label(field)
    axes[0].figure.colorbar(
        mesh, ax=axes, location=location, label=label, extend="both", ticks=ticks, **shape
    )


def time_title(field: xr.DataArray) -> str:
    """Date of a field that was selected at one time, or nothing."""
    if "time" not in field.coords or field["time"].ndim or field["time"].dtype.kind != "M":
        return ""
    return str(np.datetime_as_string(field["time"].values.astype("datetime64[m]"), unit="m")).replace(
        "T00:00", ""
    )


def new_figure(width: float, height: float) -> Figure:
    """Figure of a size in inches, unknown to pyplot."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
