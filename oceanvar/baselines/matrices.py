"""Fields as a matrix of times and sea cells in memory, and matrices as fields."""

import os
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from oceanvar.baselines.fields import observed_mean
from oceanvar.baselines.gappy import Gappy
from oceanvar.baselines.inputs import on_grid_of
from oceanvar.errors import ConfigError
from oceanvar.labels.coordinates import LATITUDE, LONGITUDE, meant_dims

N_ROWS = 32
"""Times of fields in memory that are copied at once."""

N_BYTES = 5
"""Of each entry: a number and whether it was observed."""


@dataclass(frozen=True)
class Columns:
    """Where a variable lies in the matrix.

    Parameters
    ----------
    field : DataArray
        The variable, time first; lazy or not.
    background : DataArray
        What is taken off it, in memory, of some of its dimensions.
    sea : DataArray of bool
        Cells that are there, in memory.
    first : int
        Its first column.
    """

    field: xr.DataArray
    background: xr.DataArray
    sea: xr.DataArray
    first: int

    @property
    def part(self) -> slice:
        """Its columns."""
        return slice(self.first, self.first + int(self.sea.sum()))

    @property
    def space(self) -> tuple[Hashable, ...]:
        """Its dimensions but the time."""
        return self.sea.dims

    def grid(self, rows: np.ndarray, dim: str) -> xr.DataArray:
        """Rows over the columns of the matrix as fields without labels, NaN where there are no columns.

        Parameters
        ----------
        rows : array (k, m)
            For all variables.
        dim : str
            Name of the new first dimension.
        """
        here = rows[:, self.part]
        cells = np.full((len(here), self.sea.size), np.nan, here.dtype)
        cells[:, self.sea.values.ravel()] = here
        return xr.DataArray(cells.reshape(len(here), *self.sea.shape), dims=(dim, *self.space))

    def neighbours(self) -> np.ndarray:
        """Columns of cells side by side, (p, 2): along latitude and longitude, or all dimensions without these."""
        numbers = np.full(self.sea.shape, -1)
        numbers[self.sea.values] = np.arange(self.part.start, self.part.stop)
        meant = meant_dims(self.field)
        flat = [meant[name] for name in (LATITUDE, LONGITUDE) if name in meant] or list(self.space)
        found = [np.zeros((0, 2), int)]
        for axis in (self.space.index(dim) for dim in flat if dim in self.space):
            along = np.moveaxis(numbers, axis, 0)
            pairs = np.stack([along[:-1].ravel(), along[1:].ravel()], axis=1)
            found.append(pairs[(pairs >= 0).all(1)])
        return np.concatenate(found)


def columns_of(
    fields: Sequence[xr.DataArray],
    dim: Hashable,
    mean: float | xr.DataArray | None,
    mask: xr.DataArray | None,
) -> list[Columns]:
    """Lay variables side by side, without the cells that are land or were never observed.

    Parameters
    ----------
    fields : sequence of DataArray
        Lazy ones are read once.
    dim : hashable
        The time.
    mean : float or DataArray, optional
        Background of all of them, on their grid. Default: the mean of the observations of each.
    mask : DataArray of bool, optional
        True over the sea.

    Raises
    ------
    ConfigError
        If nothing is observed of a variable where there is a mean and sea.
    """
    statistics: dict[str, xr.DataArray] = {}
    for number, field in enumerate(fields):
        given = field if mask is None else field.where(mask)
        background = observed_mean(given) if mean is None else on_grid_of(field, mean, "mean")
        sea = (given.notnull() & background.notnull()).any([dim])
        statistics |= {f"background {number}": background, f"sea {number}": sea}
    found = xr.Dataset({key: one.drop_vars(list(one.coords)) for key, one in statistics.items()}).compute()
    columns: list[Columns] = []
    for number, field in enumerate(fields):
        space = [each for each in field.dims if each != dim]
        sea = found[f"sea {number}"].transpose(*space)
        if not sea.any():
            raise ConfigError(f"no observation of {field.name!r} has a mean below it and lies in the mask")
        first = columns[-1].part.stop if columns else 0
        columns.append(Columns(field.transpose(dim, *space), found[f"background {number}"], sea, first))
    return columns


def scaled_matrix(columns: Sequence[Columns], dim: Hashable, fits_mean: bool) -> tuple[Gappy, list[float]]:
    """Read the anomalies of variables block by block, and divide them by their standard deviation.

    Parameters
    ----------
    columns : sequence of Columns
        Where they lie.
    dim : hashable
        The time.
    fits_mean : bool
        Whether the mean of each variable is still to be fitted.

    Returns
    -------
    matrix : Gappy
        Anomalies in standard deviations, 0 where nothing was observed.
    stds : list of float
        Standard deviation of each variable.

    Raises
    ------
    ConfigError
        If they do not fit into the memory, or all observations of a variable are its mean.
    """
    shape = columns[0].field.sizes[dim], columns[-1].part.stop
    needed, there = N_BYTES * shape[0] * shape[1], memory_limit()
    if needed > there:
        raise ConfigError(
            f"{shape[0]} times of {shape[1]} sea cells are {needed / 2**30:.3g} GiB in memory, and there are "
            f"{there / 2**30:.3g} GiB: coarsen the grid, or take a region or a part of the times"
        )
    values, seen, stds = np.zeros(shape, np.float32), np.zeros(shape, bool), []
    for each in columns:
        is_sea, squares = each.sea.values.ravel(), 0.0
        for rows in _row_blocks(each.field, dim):
            anomaly = each.field.isel({dim: rows}) - each.background.isel({dim: rows}, missing_dims="ignore")
            block = anomaly.transpose(*each.field.dims).values.reshape(-1, is_sea.size)[:, is_sea]
            here = ~np.isnan(block)
            seen[rows, each.part] = here
            values[rows, each.part] = np.where(here, block, 0.0)
            squares += float((block[here].astype(np.float64) ** 2).sum())
        stds.append(float(np.sqrt(squares / max(int(np.count_nonzero(seen[:, each.part])), 1))))
        if not stds[-1] > 0:
            raise ConfigError(f"all observations of {each.field.name!r} are their mean: nothing varies")
        values[:, each.part] /= np.float32(stds[-1])
    neighbours = np.concatenate([each.neighbours() for each in columns])
    parts = tuple(each.part for each in columns) if fits_mean else ()
    return Gappy(values, seen, neighbours, parts), stds


def memory_limit() -> float:
    """Bytes of the machine's memory, as far as the system tells."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return np.inf


def _row_blocks(field: xr.DataArray, dim: Hashable) -> Iterator[slice]:
    n_times = field.sizes[dim]
    sizes = field.chunksizes[dim] if field.chunks is not None else [N_ROWS] * -(-n_times // N_ROWS)
    first = 0
    for size in sizes:
        yield slice(first, min(first + size, n_times))
        first += size
