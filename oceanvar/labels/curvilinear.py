"""Curvilinear grids: where places lie among points that have a latitude and a longitude each."""

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from oceanvar.errors import GridMismatchError, MissingVariableError
from oceanvar.labels.coordinates import CIRCLE, HALF_CELL, LATITUDE, LONGITUDE, metric_name, named_coordinates

JUMP = 10.0
"""A step so many times as long as one beside it on its line leads to a point that is none: a fill value."""

MOST_ALIKE = 4
"""Points of one grid that may share a place: seams and folds repeat some, fill values many."""

N_NEWTON = 12
"""Steps of Newton's method; it doubles the digits with each, so that four or five are usual."""

N_WALK = 3
"""Cells to go on to: the nearest point of a sheared cell may be none of its corners."""

CONVERGED = 1e-8
"""Last step of Newton's method, in cells."""


@dataclass(frozen=True, eq=False)
class Curvilinear:
    """Points of a grid on the sphere, and the cells of four of them in which places are found.

    Parameters
    ----------
    dims : tuple of hashable
        Names of the two dimensions.
    points : ndarray
        Unit vectors, ``(n, m, 3)``, NaN where a point has no place.
    is_cell : ndarray of bool
        ``(n - 1, m - 1)``, whether the points j, j + 1 and i, i + 1 are the corners of a cell.
    """

    dims: tuple[Hashable, Hashable]
    points: np.ndarray
    is_cell: np.ndarray

    @classmethod
    def of(cls, latitude: xr.DataArray, longitude: xr.DataArray) -> "Curvilinear":
        """Grid of points with two-dimensional coordinates in degrees.

        Land may have fill values: NaN, what is no angle, one place for many points, or a place far from the
        neighbours'. Such points have no cells.

        Raises
        ------
        GridMismatchError
            If no four neighbours have places.
        """
        north = latitude.values.astype(float)
        east = longitude.transpose(*latitude.dims).values.astype(float)
        points = unit_vectors(north, east)
        points[_is_repeated(north, east)] = np.nan
        is_cell = _cells(points)
        if not is_cell.any():
            n_known = int(np.isfinite(points).all(axis=-1).sum())
            raise GridMismatchError(
                f"no four neighbours of the grid {dict(latitude.sizes)} have a {latitude.name!r} and a "
                f"{longitude.name!r} ({n_known} of {latitude.size} points have): samples cannot be located in it"
            )
        first, second = latitude.dims
        return cls((first, second), points, is_cell)

    def index(self, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
        """Index coordinates of places: whole numbers at the points, bilinear between them.

        Between four points lie the places of the bilinear mixtures of their unit vectors. Along parallels and
        meridians that is the usual bilinear mixture of angles to a sixteenth of the cell's size in radians, of a
        cell. A place belongs to the grid up to half a cell beyond its cells.

        Parameters
        ----------
        latitude, longitude : ndarray
            ``(k,)``, in degrees, of any turn.

        Returns
        -------
        ndarray
            ``(k, 2)``, along `dims`; NaN outside of the grid and where a place is NaN.
        """
        places = unit_vectors(np.asarray(latitude, float), np.asarray(longitude, float))
        found, outside = np.full((len(places), 2), np.nan), np.full(len(places), np.inf)
        known = np.isfinite(places).all(axis=1)
        corners, tree = self._search
        _, nearest = tree.query(places[known])
        around = np.zeros((len(places), 2), int)
        around[known] = corners[nearest]
        for offset in itertools.product((-1, 0), repeat=2):
            self._improve(found, outside, places, around + offset)
        for _ in range(N_WALK):
            far = (np.isfinite(outside) & (outside > 0))[:, np.newaxis]
            leads_to = np.clip(np.floor(np.where(far, found, 0.0)), 0, np.array(self.is_cell.shape) - 1)
            self._improve(found, outside, places, np.where(far, leads_to, -1).astype(int))
        found[outside > HALF_CELL] = np.nan
        return found

    @cached_property
    def _search(self) -> tuple[np.ndarray, Any]:
        """Numbers ``(n, 2)`` of the points that are corners of cells, and the tree in which they are found."""
        from scipy.spatial import cKDTree

        corners = np.argwhere(_corners_of(self.is_cell))
        return corners, cKDTree(self.points[tuple(corners.T)])

    def _improve(self, found: np.ndarray, outside: np.ndarray, places: np.ndarray, cells: np.ndarray) -> None:
        """Put index coordinates by way of some cells, ``(k, 2)``, where places lie less outside of these."""
        last = np.array(self.is_cell.shape) - 1
        chosen = np.flatnonzero(((cells >= 0) & (cells <= last)).all(axis=1) & np.isfinite(places[:, 0]))
        chosen = chosen[self.is_cell[tuple(cells[chosen].T)]]
        j, i = cells[chosen].T
        corners = np.stack([self.points[j + a, i + b] for a, b in itertools.product((0, 1), repeat=2)], 1)
        share = _shares(corners, places[chosen])
        away = np.abs(share - 0.5).max(axis=1) - 0.5
        better = away < outside[chosen]
        found[chosen[better]] = cells[chosen[better]] + share[better]
        outside[chosen[better]] = away[better]


def curvilinear(
    grid: xr.Dataset | xr.DataArray, dims: Sequence[Hashable] | None = None
) -> Curvilinear | None:
    """The curvilinear grid of labelled data; None where they have no two-dimensional latitude and longitude.

    Where latitude or longitude is a dimension too, that one counts. Of several pairs (T and U points) the attribute
    ``coordinates`` of the variables decides.

    Parameters
    ----------
    grid : Dataset or DataArray
        With the coordinates.
    dims : sequence of hashable, optional
        Dimensions that the coordinates may have. Default: those of `grid`.

    Raises
    ------
    MissingVariableError
        If there are several latitudes or longitudes, and no attribute decides.
    GridMismatchError
        If both lie over different dimensions, or no points have places.
    """
    dims = tuple(grid.dims) if dims is None else dims
    angles = angles_of_points(grid, dims)
    return None if angles is None else Curvilinear.of(*angles)


def angles_of_points(
    grid: xr.Dataset | xr.DataArray, dims: Sequence[Hashable]
) -> tuple[xr.DataArray, xr.DataArray] | None:
    """Two-dimensional latitude and longitude of a curvilinear grid, see `curvilinear`; None where there are none."""
    if any(dim in grid.coords and metric_name(grid[dim]) in (LATITUDE, LONGITUDE) for dim in dims):
        return None
    latitude, longitude = (_two_dimensional(grid, dims, metric) for metric in (LATITUDE, LONGITUDE))
    if latitude is None or longitude is None:
        return None
    if set(latitude.dims) != set(longitude.dims):
        raise GridMismatchError(
            f"the grid has the latitude {latitude.name!r} over {latitude.dims} and the longitude {longitude.name!r} "
            f"over {longitude.dims}: give both over the same two dimensions"
        )
    return latitude, longitude


def unit_vectors(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Places on the unit sphere, with a last axis of three; NaN for what are no angles in degrees."""
    known = (np.abs(latitude) <= CIRCLE / 4) & np.isfinite(longitude)
    north, east = (
        np.deg2rad(np.where(known, latitude, np.nan)),
        np.deg2rad(np.where(known, longitude, np.nan)),
    )
    return np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=-1)


def _two_dimensional(
    grid: xr.Dataset | xr.DataArray, dims: Sequence[Hashable], metric: str
) -> xr.DataArray | None:
    """The coordinate over two of the dimensions that is the latitude or longitude."""
    alike = [
        str(name)
        for name, each in grid.coords.items()
        if each.ndim == 2 and set(each.dims) <= set(dims) and metric_name(each) == metric
    ]
    fields = grid.data_vars.values() if isinstance(grid, xr.Dataset) else [grid]
    named = {name for each in fields for name in named_coordinates(each)}
    best = [name for name in alike if name in named] or alike
    if len(best) > 1:
        raise MissingVariableError(
            f"the grid has several coordinates that are the {metric}, {sorted(best)}: name one in attrs['coordinates'] "
            "of the variable, or drop the others"
        )
    return grid[best[0]].reset_coords(drop=True) if best else None


def _is_repeated(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Whether more points than a seam or a fold repeats have exactly the angles of this one."""
    pairs = np.empty(latitude.shape, complex)
    pairs.real, pairs.imag = latitude, longitude
    _, number, counts = np.unique(pairs, return_inverse=True, return_counts=True)
    return counts[number.reshape(latitude.shape)] > MOST_ALIKE


def _cells(points: np.ndarray) -> np.ndarray:
    """Whether four neighbours have places, are neighbours on the sphere too, and have an area between them."""
    along, across = (np.linalg.norm(np.diff(points, axis=axis), axis=-1) for axis in (0, 1))
    sides = ~is_jump(along) & np.isfinite(along), ~is_jump(across.T).T & np.isfinite(across)
    diagonals = points[1:, 1:] - points[:-1, :-1], points[1:, :-1] - points[:-1, 1:]
    area = np.linalg.norm(np.cross(*diagonals), axis=-1)
    return sides[0][:, :-1] & sides[0][:, 1:] & sides[1][:-1] & sides[1][1:] & (area > 0)


def is_jump(steps: np.ndarray) -> np.ndarray:
    """Whether steps along the first axis are many times as long as one beside them."""
    lengths = np.where(steps > 0, steps, np.inf)
    framed = np.pad(lengths, ((1, 1), (0, 0)), constant_values=np.inf)
    return steps > JUMP * np.minimum(framed[:-2], framed[2:])


def _corners_of(is_cell: np.ndarray) -> np.ndarray:
    """Whether a point is the corner of a cell."""
    framed = np.pad(is_cell, 1)
    return framed[1:, 1:] | framed[:-1, 1:] | framed[1:, :-1] | framed[:-1, :-1]


def _shares(corners: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Shares ``(k, 2)`` at which mixtures of the corners ``(k, 4, 3)`` point to places ``(k, 3)``; infinite for none.

    The mixture of corners a, b, c, d is ``a + s (c - a) + t (b - a) + s t (a - b - c + d)``, and points to a place
    where it has no part in the plane that touches the sphere there.
    """
    helper = np.eye(3)[np.abs(places).argmin(axis=1)]
    one = np.cross(places, helper)
    plane = np.stack([one, np.cross(places, one)], axis=1)
    a, b, c, d = np.einsum("kcx,kpx->ckp", corners, plane)
    down, right, twist = c - a, b - a, a - b - c + d
    share, step = np.full((len(places), 2), 0.5), np.zeros((len(places), 2))
    # Places that are far away may have no solution: their steps grow beyond all bounds.
    with np.errstate(all="ignore"):
        for _ in range(N_NEWTON):
            s, t = share[:, :1], share[:, 1:]
            residual, by_s, by_t = (
                a + s * down + t * right + s * t * twist,
                down + t * twist,
                right + s * twist,
            )
            determinant = _cross(by_s, by_t)
            step = np.stack([_cross(residual, by_t), _cross(by_s, residual)], axis=1) / determinant[:, None]
            share = share - step
            if not (np.abs(step) > CONVERGED).any():
                break
    in_front = (corners.mean(axis=1) * places).sum(axis=1) > 0
    solved = (np.abs(step) <= CONVERGED).all(axis=1) & in_front
    return np.where(solved[:, np.newaxis], share, np.inf)


def _cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
