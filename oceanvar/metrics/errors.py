"""Pointwise error statistics as sums that can be added.

An archive is scored piece by piece: each piece gives an `ErrorSums`, the pieces are added, and the
statistics of the sum are those of the whole.
"""

import dataclasses
from collections.abc import Callable, Collection, Hashable
from typing import Self

import numpy as np
import xarray as xr

from oceanvar.errors import (
    ConfigError,
    GridMismatchError,
    MissingVariableError,
    ScoreError,
    UnitsMismatchError,
)
from oceanvar.labels.alignment import check_broadcasts, on_grid

# A variance below this part of the mean square is rounding of the two sums it is the difference of.
_ROUNDING = 1e-12


@dataclasses.dataclass(frozen=True)
class ErrorSums:
    """Sums over the cells where analysis and truth both have a value.

    All sums are float64 and lazy when they were made from dask arrays; `dask.compute(sums)` evaluates
    them together. The statistics are NaN where no cell was counted or where the truth (or analysis)
    they are divided by is zero or constant, and an error if no cell was counted at all.

    Attributes
    ----------
    n : xarray.DataArray
        Number of cells.
    error, squared_error : xarray.DataArray
        Sums of analysis - truth and of its square.
    truth, squared_truth, analysis, squared_analysis, product : xarray.DataArray
        Sums of the truth, the analysis, their squares and their product.

    Notes
    -----
    Variances are differences of sums, so they lose digits when the mean exceeds the standard deviation
    by a factor of 1e5 or more; a variance below 1e-12 of the mean square counts as zero.
    """

    n: xr.DataArray
    error: xr.DataArray
    squared_error: xr.DataArray
    truth: xr.DataArray
    squared_truth: xr.DataArray
    analysis: xr.DataArray
    squared_analysis: xr.DataArray
    product: xr.DataArray

    @classmethod
    def from_arrays(
        cls,
        analysis: xr.DataArray,
        truth: xr.DataArray,
        where: xr.DataArray | None = None,
        dims: str | Collection[Hashable] | None = None,
    ) -> Self:
        """Sums of one pair of fields; nothing is computed for dask arrays.

        Parameters
        ----------
        analysis, truth : xarray.DataArray
            Fields on the same grid; NaN marks cells that do not count.
        where : xarray.DataArray, optional
            Boolean, True where a cell counts; its dimensions are some or all of the truth's.
        dims : str or collection of hashable, optional
            Dimensions to sum over, all by default; the others stay.

        Raises
        ------
        GridMismatchError
            If dimensions, sizes or coordinates differ.
        MissingVariableError
            If the truth lacks one of `dims`.
        ConfigError
            If `where` is not boolean.
        """
        over = reduced_dims(truth, dims)
        bare = truth.reset_coords(drop=True).drop_attrs(deep=False).rename(None).astype(np.float64)
        x = on_grid(analysis, bare, "analysis and truth").astype(np.float64)
        valid = bare.notnull() & x.notnull()
        if where is not None:
            valid = valid & _checked_mask(where, truth)
        t, x = bare.where(valid, 0.0), x.where(valid, 0.0)
        e = x - t
        totals = (valid, e, e * e, t, t * t, x, x * x, t * x)
        return cls(*(total.sum(over, skipna=False) for total in totals))

    def __add__(self, other: "ErrorSums") -> "ErrorSums":
        if not isinstance(other, ErrorSums):
            return NotImplemented
        try:
            on_grid(self.n, other.n, "the two sums")
        except GridMismatchError as error:
            raise GridMismatchError(f"sums that keep different cells cannot be added: {error}") from error
        return ErrorSums(*(a + b for a, b in zip(_values(self), _values(other), strict=True)))

    def sum(self, dims: str | Collection[Hashable]) -> "ErrorSums":
        """Sums over dimensions that had been kept."""
        over = reduced_dims(self.n, dims)
        return self._map(lambda total: total.sum(over))

    def _map(self, function: Callable[[xr.DataArray], xr.DataArray]) -> "ErrorSums":
        return ErrorSums(*(function(total) for total in _values(self)))

    def _mean(self, total: xr.DataArray) -> xr.DataArray:
        # The check sits inside the graph, so that a lazy statistic cannot pass it by.
        return xr.apply_ufunc(
            _mean_of_counted, total, self.n, self.n.sum(), dask="parallelized", output_dtypes=[np.float64]
        )

    @property
    def mse(self) -> xr.DataArray:
        """Mean square error, in squared units of the variable."""
        return self._mean(self.squared_error)

    @property
    def rmse(self) -> xr.DataArray:
        """Root mean square error, in units of the variable."""
        return self.mse**0.5

    @property
    def bias(self) -> xr.DataArray:
        """Mean of analysis - truth, in units of the variable."""
        return self._mean(self.error)

    @property
    def truth_mean_square(self) -> xr.DataArray:
        """Mean of the squared truth, its mean not removed."""
        return self._mean(self.squared_truth)

    @property
    def truth_variance(self) -> xr.DataArray:
        """Variance of the truth about its mean (divided by n)."""
        return self._variance(self.truth, self.squared_truth)

    @property
    def correlation(self) -> xr.DataArray:
        """Pearson correlation of analysis and truth."""
        covariance = self._mean(self.product) - self._mean(self.analysis) * self._mean(self.truth)
        variances = self._variance(self.analysis, self.squared_analysis) * self.truth_variance
        return quotient(covariance, variances**0.5).clip(-1.0, 1.0)

    @property
    def normalised_error(self) -> xr.DataArray:
        """Mean square error divided by the mean square of the truth."""
        return quotient(self.mse, self.truth_mean_square)

    @property
    def variance_normalised_error(self) -> xr.DataArray:
        """Mean square error divided by the variance of the truth."""
        return quotient(self.mse, self.truth_variance)

    @property
    def rms_score(self) -> xr.DataArray:
        """One minus the ratio of the root mean squares of the error and of the truth."""
        return 1.0 - self.normalised_error**0.5

    def _variance(self, total: xr.DataArray, squares: xr.DataArray) -> xr.DataArray:
        mean_square = self._mean(squares)
        variance = mean_square - self._mean(total) ** 2
        return xr.where(variance <= _ROUNDING * mean_square, 0.0, variance)


def quotient(numerator: xr.DataArray, denominator: xr.DataArray) -> xr.DataArray:
    """Quotient that is NaN, without a warning, where the denominator is zero."""
    return numerator / denominator.where(denominator != 0)


def reduced_dims(field: xr.DataArray, dims: str | Collection[Hashable] | None) -> tuple[Hashable, ...]:
    """Dimensions to reduce over, all of the field's if None.

    Raises
    ------
    MissingVariableError
        If the field lacks one of them.
    """
    if dims is None:
        return tuple(field.dims)
    names = (dims,) if isinstance(dims, str) else tuple(dims)
    absent = [name for name in names if name not in field.dims]
    if absent:
        raise MissingVariableError(
            f"variable {field.name!r} has no dimension {absent[0]!r}: choose from {list(field.dims)}"
        )
    return names


def require_same_units(analysis: xr.DataArray, truth: xr.DataArray) -> None:
    """Demand that both have the same units, as far as they have any.

    Raises
    ------
    UnitsMismatchError
        If they have different ones.
    """
    ours, theirs = analysis.attrs.get("units"), truth.attrs.get("units")
    if ours is not None and theirs is not None and ours != theirs:
        raise UnitsMismatchError(
            f"variable {analysis.name!r} is in {ours!r} in the analysis and in {theirs!r} in the truth: "
            "convert one"
        )


def _values(sums: ErrorSums) -> list[xr.DataArray]:
    return [getattr(sums, field.name) for field in dataclasses.fields(sums)]


def _mean_of_counted(total: np.ndarray, n: np.ndarray, n_total: np.ndarray) -> np.ndarray:
    if not np.any(n_total):
        raise ScoreError(
            "0 cells are left to score: the analysis and the truth never have a value in the same cell that "
            "counts; check the NaN of both and the mask"
        )
    return total / np.where(n > 0, n, np.nan)


def _checked_mask(where: xr.DataArray, truth: xr.DataArray) -> xr.Variable:
    if where.dtype != np.bool_:
        raise ConfigError(
            f"where has dtype {where.dtype} and must be boolean: use for instance where=mask == 1"
        )
    check_broadcasts(where, truth, "where and truth")
    return xr.Variable(where.dims, where.data)
