"""How far the points of a curvilinear grid are apart, so that data on another one can be told."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from oceanvar.errors import GridMismatchError
from oceanvar.labels.axes import DEGREES, TOLERANCE, Axis
from oceanvar.labels.coordinates import KM_PER_DEGREE, LATITUDE, LONGITUDE
from oceanvar.labels.curvilinear import angles_of_points, is_jump, unit_vectors

KM = "km"

MOST_LINES = 50
"""Lines of a grid along which its steps are measured: they hardly differ from those between."""


@dataclass(frozen=True, eq=False)
class Spacing:
    """Steps of a grid along one of its dimensions.

    Parameters
    ----------
    kind : str
        "latitude" or "longitude", along which most of them lead.
    steps : ndarray
        Their lengths, km, positive.
    latitudes : ndarray
        Where they begin, degrees.
    is_falling : bool
        Whether most lead to the south, or to the west.
    """

    kind: str
    steps: np.ndarray
    latitudes: np.ndarray
    is_falling: bool

    def axis(self) -> Axis:
        """What a model learns of it; steps may differ as they do here."""
        median = float(np.median(self.steps))
        low, high = np.percentile(self.steps, (5, 95))
        tolerance = max(TOLERANCE, float((high - low) / 2 / median))
        return Axis(
            self.kind, float(f"{-median if self.is_falling else median:.4g}"), KM, float(f"{tolerance:.2g}")
        )

    def step(self, unit: str) -> float:
        """Median step, km or degrees."""
        if unit == KM:
            return float(np.median(self.steps))
        of_degree = KM_PER_DEGREE * (
            np.cos(np.deg2rad(self.latitudes)) if self.kind == LONGITUDE else np.ones(1)
        )
        return float(np.median(self.steps / of_degree))


def spacings(grid: xr.Dataset | xr.DataArray, dims: Sequence[Hashable]) -> dict[str, Spacing]:
    """Steps along the dimensions of a curvilinear grid; empty where there is none.

    A dimension with a coordinate of its own that has units, of a plane, is left out; one that only numbers its points
    is not.

    Parameters
    ----------
    grid : Dataset or DataArray
        With two-dimensional latitude and longitude; of several pairs the variables' attribute decides.
    dims : sequence of hashable
        Dimensions that the coordinates may have.
    """
    angles = angles_of_points(grid, dims)
    if angles is None:
        return {}
    north, east = (each.transpose(*angles[0].dims) for each in angles)
    found = {}
    for dim, other in (north.dims, north.dims[::-1]):
        if dim in grid.coords and grid[dim].attrs.get("units", "1") != "1":
            continue
        thinned = slice(None, None, max(1, north.sizes[other] // MOST_LINES))
        spacing = _along(
            *(each.isel({other: thinned}).transpose(dim, other).values for each in (north, east))
        )
        if spacing is not None:
            found[str(dim)] = spacing
    return found


def _along(latitude: np.ndarray, longitude: np.ndarray) -> Spacing | None:
    """Steps along the first axis between points that have places; None where there are none."""
    latitude, longitude = latitude.astype(float), longitude.astype(float)
    points = unit_vectors(latitude, longitude)
    moves = np.diff(points, axis=0)
    chords = np.linalg.norm(moves, axis=-1)
    known = (chords > 0) & ~is_jump(chords)
    if not known.any():
        return None
    east = np.deg2rad(longitude[:-1][known])
    eastward = np.stack([-np.sin(east), np.cos(east), np.zeros_like(east)], axis=-1)
    northward = np.cross(points[:-1][known], eastward)
    parts = {
        name: (moves[known] * way).sum(-1) / chords[known]
        for name, way in {LATITUDE: northward, LONGITUDE: eastward}.items()
    }
    kind = max(parts, key=lambda name: abs(float(np.median(parts[name]))))
    steps = 2 * np.arcsin(np.minimum(chords[known] / 2, 1)) * np.rad2deg(1) * KM_PER_DEGREE
    return Spacing(kind, steps, latitude[:-1][known], bool(np.median(parts[kind]) < 0))


def is_turned(spacing: Spacing, axis: Axis, name: str) -> bool:
    """Whether a dimension runs against the axis that a model learned.

    Parameters
    ----------
    spacing : Spacing
        Of the dimension.
    axis : Axis
        In degrees or km; of others nothing is known here.
    name : str
        What is measured, for messages: "dimension 'y' of the observations".

    Raises
    ------
    GridMismatchError
        If its steps are others than the model's, or lead along the other coordinate.
    """
    if axis.unit not in (KM, DEGREES) or axis.kind not in (LATITUDE, LONGITUDE):
        return False
    if axis.kind != spacing.kind:
        raise GridMismatchError(
            f"{name} runs along the {spacing.kind}, and the model learned it along the {axis.kind}: rename the "
            "dimensions"
        )
    found, expected = spacing.step(axis.unit), abs(axis.step)
    if abs(found - expected) > axis.tolerance * expected:
        raise GridMismatchError(
            f"{name} has points {found:.3g} {axis.unit} apart (the median), and the model learned on {expected:g} "
            f"{axis.unit}: interpolate to such a grid, or train on this one"
        )
    return spacing.is_falling != (axis.step < 0)
