"""What an analysis says of its own error: a law of the truth at each cell, as standard deviation or as ensemble."""

import abc
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import xarray as xr
from scipy.special import ndtr, ndtri

from oceanvar.errors import ConfigError, GridMismatchError, ScoreError
from oceanvar.labels.alignment import check_same_grid, on_grid
from oceanvar.metrics.errors import quotient, require_same_units

MEMBER = "member"
"""Dimension of an ensemble."""

LEVELS = (50, 90, 95)
"""Of the central intervals, per cent."""

STATED_SCORES: dict[str, tuple[str, str | None]] = {
    "crps": ("continuous ranked probability score", None),
    "error_over_stated": ("root mean square error / root mean variance that is stated", "1"),
    **{
        f"coverage_{level}": (f"share of truths inside the stated central {level} % interval", "1")
        for level in LEVELS
    },
    "n_points_stated": ("number of scored cells with a stated error", "1"),
}
"""Name: (long_name, units), where None stands for the units of the variable."""

_HEALTH = "health"  # beside the standard deviations in what `assimilate(diagnostics=True)` writes


class AbstractLaw(abc.ABC):
    """Laws of the truth about the analysis, on the truth's grid, lazy where this is."""

    @property
    @abc.abstractmethod
    def known(self) -> xr.DataArray:
        """Where analysis, truth and stated error all have a value."""

    @abc.abstractmethod
    def _scores(self) -> dict[str, xr.DataArray]:
        """What the scores are means of, of any value where it is not known."""

    @abc.abstractmethod
    def ranks(self, n_bins: int, seed: int) -> tuple[np.ndarray, int]:
        """Bin of the truth in its law, from 0 at each cell, and the number of bins, all as likely as each other."""

    def cells(self) -> xr.Dataset:
        """What the scores are sums of, see `scores_of_sums`, float64: 0 where it is not known.

        ``crps``, ``squared_error`` and ``variance`` in (squared) units of the variable; ``within_50`` and so on, how
        far the truth lies inside the central interval, from 0 to 1; and ``n``, where it is known.
        """
        return xr.Dataset(self._scores()).where(self.known, 0.0).astype(np.float64).assign(n=self.known)


@final
@dataclass(frozen=True)
class GaussianLaw(AbstractLaw):
    """Normal laws.

    Parameters
    ----------
    departure : DataArray
        Truth minus analysis.
    std : DataArray
        Standard deviation that is stated, in the same units on the same grid; NaN where none is.
    """

    departure: xr.DataArray
    std: xr.DataArray

    @property
    def known(self) -> xr.DataArray:
        """Where analysis, truth and standard deviation all have a value."""
        return self.departure.notnull() & self.std.notnull()

    @property
    def checked_std(self) -> xr.DataArray:
        """Standard deviations, 1 where the law is not known; a ScoreError, inside the graph, if one is not positive."""
        std = self.std.where(self.known, 1.0)
        return xr.apply_ufunc(_positive, std, dask="parallelized", output_dtypes=[np.float64])

    @property
    def z(self) -> xr.DataArray:
        """Departure over standard deviation."""
        return self.departure / self.checked_std

    def _scores(self) -> dict[str, xr.DataArray]:
        std = self.checked_std
        z = self.departure / std
        density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        return {
            "crps": std * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi)),
            "squared_error": self.departure**2,
            "variance": std**2,
            **{f"within_{level}": abs(z) <= ndtri((100 + level) / 200) for level in LEVELS},
        }

    def ranks(self, n_bins: int, seed: int) -> tuple[np.ndarray, int]:
        """Of the probability integral transform, in equal bins."""
        transform = ndtr(self.z.where(self.known, 0.0).values)
        return np.minimum((transform * n_bins).astype(int), n_bins - 1), n_bins


@final
@dataclass(frozen=True)
class EnsembleLaw(AbstractLaw):
    """Laws of which at least two members are draws.

    Parameters
    ----------
    departures : DataArray
        Members minus truth, with the dimension ``member``. A cell where one is NaN does not count.
    """

    departures: xr.DataArray

    @property
    def known(self) -> xr.DataArray:
        """Where the truth and all members have a value."""
        return self.departures.notnull().all(MEMBER)

    def _scores(self) -> dict[str, xr.DataArray]:
        n_members = self.departures.sizes[MEMBER]
        levels = _stated_levels(n_members)
        names = ["crps", "squared_error", "variance", *(f"within_{level}" for level in levels)]
        whole = self.departures.chunk({MEMBER: -1}) if self.departures.chunks else self.departures
        found = xr.apply_ufunc(
            _scores_of_members,
            whole.where(self.known, 0.0),
            kwargs={"levels": levels},
            input_core_dims=[[MEMBER]],
            output_core_dims=[[]] * len(names),
            dask="parallelized",
            output_dtypes=[np.float64] * len(names),
        )
        return dict(zip(names, found, strict=True))

    def ranks(self, n_bins: int, seed: int) -> tuple[np.ndarray, int]:
        """Number of members below the truth, between equal ones drawn at random; a bin for each rank."""
        below, equal = (self.departures < 0).sum(MEMBER).values, (self.departures == 0).sum(MEMBER).values
        drawn = np.random.default_rng(seed).integers(0, equal, endpoint=True)
        return below + drawn, self.departures.sizes[MEMBER] + 1


def law_of(analysis: xr.DataArray, truth: xr.DataArray, std: xr.DataArray | None = None) -> AbstractLaw:
    """Law that an analysis states: normal with `std`, else of its members.

    Parameters
    ----------
    analysis, truth : DataArray
        On one grid, NaN where there is no value; an ensemble also has the dimension ``member``.
    std : DataArray, optional
        Standard deviation of the error of `analysis`, on the same grid.

    Raises
    ------
    ConfigError
        If the error is stated twice or not at all, or there is only one member.
    GridMismatchError
        If dimensions, sizes or coordinates differ.
    UnitsMismatchError
        If units differ.
    """
    for each in (analysis, truth if std is None else std):
        require_same_units(each, truth)
    bare = truth.reset_coords(drop=True).drop_attrs(deep=False).rename(None).astype(np.float64)
    if is_ensemble(analysis, truth) == (std is not None):
        stated = "twice" if std is not None else "nowhere"
        raise ConfigError(
            f"the error of {analysis.name!r} is stated {stated}: give either its standard deviation or an ensemble "
            f"with the dimension {MEMBER!r}"
        )
    if std is not None:
        departure = bare - on_grid(analysis, bare, "analysis and truth")
        return GaussianLaw(departure, on_grid(std, bare, "standard deviation and truth").astype(np.float64))
    n_members = analysis.sizes[MEMBER]
    if n_members < 2:
        raise ConfigError(f"an ensemble of {n_members} states no spread: give at least 2 members")
    if set(analysis.dims) - {MEMBER} != set(truth.dims):
        raise GridMismatchError(
            f"ensemble and truth have the dimensions {list(analysis.dims)} and {list(truth.dims)}: beside {MEMBER!r} "
            "they need the same ones"
        )
    check_same_grid(analysis, bare, bare.dims, "ensemble and truth")
    members = analysis.transpose(*bare.dims, MEMBER).astype(np.float64)
    return EnsembleLaw(xr.DataArray(members.data, dims=members.dims) - bare)


def is_ensemble(analysis: xr.DataArray, truth: xr.DataArray) -> bool:
    """Whether an analysis has members and the truth is one."""
    return MEMBER in analysis.dims and MEMBER not in truth.dims


def error_bars(analysis: xr.Dataset, truth: xr.Dataset) -> dict[Hashable, xr.DataArray]:
    """Standard deviations, ``<variable>_std``, of the variables of an analysis that have one beside them.

    Where the truth has a variable of that name too it is one like any other.
    """
    own = {name: f"{name}_std" for name in analysis.data_vars}
    return {name: analysis[std] for name, std in own.items() if std in analysis and std not in truth}


def without_error_bars(analysis: xr.Dataset, truth: xr.Dataset) -> xr.Dataset:
    """The variables themselves, without what `error_bars` finds, and without health and samples beside it."""
    bars = error_bars(analysis, truth)
    beside = [_HEALTH, *(f"{name}_sample" for name in bars)] if bars else []
    beside = [name for name in beside if name not in truth]
    return analysis.drop_vars([*(one.name for one in bars.values()), *beside], errors="ignore")


def scores_of_sums(sums: Mapping[Hashable, xr.DataArray]) -> dict[str, xr.DataArray]:
    """Scores from sums of `AbstractLaw.cells` over some cells, or of their means; NaN where there is none.

    ``error_over_stated`` is the root of the sum of squared errors over that of stated variances.
    """
    mean = {name: quotient(sums[name], sums["n"]) for name in sums if name != "n"}
    levels = [level for level in LEVELS if f"within_{level}" in mean]
    return {
        "crps": mean["crps"],
        "error_over_stated": quotient(mean["squared_error"], mean["variance"]) ** 0.5,
        **{f"coverage_{level}": mean[f"within_{level}"] for level in levels},
        "n_points_stated": sums["n"],
    }


def _positive(std: np.ndarray) -> np.ndarray:
    wrong = ~((std > 0) & (std < np.inf))
    if wrong.any():
        raise ScoreError(
            f"{int(wrong.sum())} standard deviations are no positive numbers, {std[wrong].flat[0]:.4g} for one: leave "
            "those cells out, std.where(std > 0)"
        )
    return std


def _stated_levels(n_members: int) -> tuple[int, ...]:
    """Central intervals whose ends lie within the range of so many members."""
    return tuple(level for level in LEVELS if (n_members + 1) * (100 - level) >= 200)


def _scores_of_members(departures: np.ndarray, levels: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """`AbstractLaw.cells` of members minus truth (..., m)."""
    m = departures.shape[-1]
    ordered = np.sort(departures, axis=-1)
    # Half the mean distance of two different members: the i-th smallest is the larger of i - 1 pairs.
    half_distance = ordered @ ((2 * np.arange(1, m + 1) - m - 1) / (m * (m - 1)))
    crps = np.abs(departures).mean(axis=-1) - half_distance
    variance = (1 + 1 / m) * departures.var(axis=-1, ddof=1)
    # A truth that is one more draw has each of m + 1 ranks with the same probability: with that of the truth it lies
    # somewhere between these two, evenly so.
    below = (departures < 0).sum(axis=-1) / (m + 1)
    above = 1 - (departures > 0).sum(axis=-1) / (m + 1)
    within = []
    for level in levels:
        low, high = (100 - level) / 200, (100 + level) / 200
        within.append(np.maximum(np.minimum(above, high) - np.maximum(below, low), 0) / (above - below))
    return crps, departures.mean(axis=-1) ** 2, variance, *within
