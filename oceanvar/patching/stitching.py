"""Overlapping patches back to one field: weighted sum divided by the sum of the weights."""

from typing import Self

import numpy as np
from numpy.typing import DTypeLike

from oceanvar.errors import PatchError
from oceanvar.patching.grids import Origin, PatchGrid, wrapped_boxes
from oceanvar.patching.tapers import Factors, outer, weight_sums


class Stitch:
    """A weighted mean of patches in the making.

    Patches may arrive in any order, and stitches of different patches of one grid can be added. The result
    depends on the order by rounding only. Memory: one field, whatever the number of patches.

    Parameters
    ----------
    grid
        Where the patches lie.
    factors
        Taper of each axis, from `taper_factors`.
    dtype
        Type of the sum and of the mean.

    Raises
    ------
    PatchError
        If the factors do not fit the patch.
    """

    def __init__(self, grid: PatchGrid, factors: Factors, dtype: DTypeLike = np.float32) -> None:
        self.grid = grid
        self.factors = factors
        self._sums = weight_sums(grid, factors)
        self._weights = outer(factors)
        self._dtype = np.dtype(dtype)
        self._total: np.ndarray | None = None
        self._added: set[Origin] = set()

    def add(self, origin: Origin, values: np.ndarray) -> None:
        """Add the patch that starts at `origin`.

        Parameters
        ----------
        origin
            Start indices, one of those the grid yields.
        values
            Shape (..., *grid.patch_shape); the leading axes are the same for every patch. A value that is not
            finite spreads to the cells it covers.

        Raises
        ------
        PatchError
            If the shape is wrong, no patch starts at `origin`, or its patch is there already.
        """
        self.grid.check_origin(origin)
        if origin in self._added:
            raise PatchError(f"the patch at {origin} was added before: add each patch once")
        n_carried = values.ndim - len(self.grid.shape)
        carried = values.shape[: max(n_carried, 0)] if self._total is None else self._carried
        if values.shape != (*carried, *self.grid.patch_shape):
            raise PatchError(
                f"the patch at {origin} has shape {values.shape} instead of "
                f"{(*carried, *self.grid.patch_shape)}: all patches share their leading axes"
            )
        if self._total is None:
            self._total = np.zeros((*carried, *self.grid.shape), self._dtype)
        weighted = np.multiply(values, self._weights, dtype=self._dtype, casting="same_kind")
        overlap_add(self._total, origin, weighted)
        self._added.add(origin)

    def __add__(self, other: Self) -> Self:
        if self.grid != other.grid or not all(map(np.array_equal, self.factors, other.factors)):
            raise PatchError("two stitches differ in their patch grid or taper: make both from the same ones")
        twice = sorted(self._added & other._added)
        if twice:
            raise PatchError(
                f"{len(twice)} patches, the first at {twice[0]}, are in both stitches: add each once"
            )
        if self._total is not None and other._total is not None and self._carried != other._carried:
            raise PatchError(
                f"two stitches have the leading axes {self._carried} and {other._carried}: use equal ones"
            )
        merged = type(self)(self.grid, self.factors, np.result_type(self._dtype, other._dtype))
        totals = [part for part in (self._total, other._total) if part is not None]
        if totals:
            merged._total = sum(totals[1:], totals[0].astype(merged._dtype))
        merged._added = self._added | other._added
        return merged

    def mean(self) -> np.ndarray:
        """Divide by the sum of the weights.

        Returns
        -------
        ndarray
            Shape (..., *grid.shape).

        Raises
        ------
        PatchError
            If patches are missing.
        """
        if self._total is None or len(self._added) < len(self.grid):
            missing = [origin for origin in self.grid if origin not in self._added]
            raise PatchError(
                f"{len(missing)} of {len(self.grid)} patches are missing, the first at {missing[0]}: "
                "add every patch of the grid before the mean"
            )
        field = self._total.copy()
        normalise(field, self._sums)
        return field

    @property
    def _carried(self) -> tuple[int, ...]:
        return () if self._total is None else self._total.shape[: -len(self.grid.shape)]


def overlap_add(total: np.ndarray, origin: Origin, values: np.ndarray) -> None:
    """Add a box of values to `total`, in place, going round the axes where the box runs past their end.

    Parameters
    ----------
    total
        Shape (..., *sizes).
    origin
        Start indices on the trailing axes.
    values
        Shape (..., *shape), already weighted.
    """
    n_axes = len(origin)
    for inside, where in wrapped_boxes(origin, values.shape[-n_axes:], total.shape[-n_axes:]):
        total[where] += values[inside]


def normalise(total: np.ndarray, sums: Factors, out: np.ndarray | None = None) -> np.ndarray:
    """Divide a weighted sum (..., *sizes) by the product of the weight sums of its axes.

    In place, unless `out` is given. Returns the array with the result.
    """
    out = total if out is None else out
    for axis, weight_sum in enumerate(reversed(sums)):
        total = np.divide(total, weight_sum.reshape(-1, *(1,) * axis), out=out)
    return out
