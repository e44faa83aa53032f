"""One-dimensional weights of a patch in stitching, strictly positive everywhere.

A weight of a patch is the product of one factor per axis. A factor that reached zero would leave cells at the
border of the grid, which only one patch covers, without any weight.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from oceanvar.errors import PatchError
from oceanvar.patching.grids import PatchGrid

TaperFunction = Callable[[int], np.ndarray]
Taper = str | TaperFunction
Factors = tuple[np.ndarray, ...]


def triangle(n: int) -> np.ndarray:
    """Weights that fall linearly from the middle and would reach zero one point outside the patch."""
    rising = np.arange(1, n + 1)
    return (np.minimum(rising, rising[::-1]) * (2 / (n + 1))).astype(np.float32)


def hann(n: int) -> np.ndarray:
    """Squared sine at cell centres: positive, and patches that overlap by half add up to 1."""
    return (np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2).astype(np.float32)


def boxcar(n: int) -> np.ndarray:
    """Equal weights: the plain mean of the patches that cover a cell."""
    return np.ones(n, np.float32)


TAPERS: dict[str, TaperFunction] = {"triangle": triangle, "hann": hann, "boxcar": boxcar}


def taper_factors(taper: Taper | Mapping[str, Taper], grid: PatchGrid) -> Factors:
    """Make the factor of each axis of a patch.

    Parameters
    ----------
    taper
        A name of `TAPERS`, a function from a number of points to that many weights, or a mapping from every
        dimension of the grid to either.
    grid
        The patches to be stitched.

    Returns
    -------
    tuple of ndarray
        float32, one array of length ``grid.patch[dim]`` per dimension.

    Raises
    ------
    PatchError
        If a name or a dimension is unknown or missing, a factor has the wrong length, is not finite and
        positive, or the product of the factors leaves the range of float32.
    """
    tapers = _by_dimension(taper, grid)
    factors = tuple(_factor(dim, tapers[dim], n) for dim, n in grid.patch.items())
    lowest, highest = (math.prod(float(f(factor)) for factor in factors) for f in (np.min, np.max))
    limits = np.finfo(np.float32)
    if lowest < limits.tiny or highest > limits.max:
        raise PatchError(
            f"the product of the tapers runs from {lowest:.3g} to {highest:.3g}, beyond float32: "
            "use a taper between 0.001 and 1"
        )
    return factors


def weight_sums(grid: PatchGrid, factors: Factors) -> Factors:
    """Add up the factors of all patches along each axis; the sum of the weights at a cell is the product.

    Parameters
    ----------
    grid
        The patches.
    factors
        One array of length ``grid.patch[dim]`` per dimension.

    Returns
    -------
    tuple of ndarray
        float32, one array of length ``grid.sizes[dim]`` per dimension, positive everywhere.

    Raises
    ------
    PatchError
        If the factors do not have the lengths of the patch.
    """
    shape = tuple(len(factor) for factor in factors)
    if shape != grid.patch_shape:
        raise PatchError(
            f"taper factors of lengths {shape} do not fit a patch of shape {grid.patch_shape}: "
            "make them with taper_factors"
        )
    return tuple(_axis_sum(grid, dim, factor) for dim, factor in zip(grid.dims, factors, strict=True))


def outer(factors: Factors) -> np.ndarray:
    """Multiply one-dimensional factors out to the weights of a whole patch, shape (n_1, ..., n_d)."""
    weights = np.ones((), np.float64)
    for factor in factors:
        weights = np.multiply.outer(weights, factor)
    return weights.astype(np.float32)


def _by_dimension(taper: Taper | Mapping[str, Taper], grid: PatchGrid) -> Mapping[str, Taper]:
    if not isinstance(taper, Mapping):
        return dict.fromkeys(grid.dims, taper)
    if set(taper) != set(grid.dims):
        raise PatchError(
            f"taper is given for the dimensions {list(taper)}, but the grid has {list(grid.dims)}: "
            "name each of them once"
        )
    return taper


def _factor(dim: str, taper: Taper, n: int) -> np.ndarray:
    if isinstance(taper, str):
        if taper not in TAPERS:
            raise PatchError(f"taper {taper!r} of dimension {dim!r} is unknown: use one of {list(TAPERS)}")
        taper = TAPERS[taper]
    # A weight beyond float32 becomes inf or 0 here, and the checks below report it.
    with np.errstate(over="ignore", under="ignore"):
        factor = np.asarray(taper(n), np.float32)
    if factor.shape != (n,):
        raise PatchError(
            f"the taper of dimension {dim!r} has shape {factor.shape} for {n} points: return shape ({n},)"
        )
    if not (np.isfinite(factor).all() and (factor > 0).all()):
        raise PatchError(
            f"the taper of dimension {dim!r} runs from {factor.min()} to {factor.max()}: "
            "all weights must be finite and greater than 0"
        )
    return factor


def _axis_sum(grid: PatchGrid, dim: str, factor: np.ndarray) -> np.ndarray:
    total = np.zeros(grid.sizes[dim])
    points = np.arange(len(factor))
    for start in grid.starts[dim]:
        total[(start + points) % grid.sizes[dim]] += factor
    return total.astype(np.float32)
