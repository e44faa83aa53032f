"""Means, trends and seasonal cycles of each point, fitted from data with gaps and kept in the model file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dask
import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter

from oceanvar.errors import ConfigError, GridMismatchError
from oceanvar.labels.alignment import check_variables
from oceanvar.labels.coordinates import CIRCLE, LONGITUDE, coordinate_of, metric_name
from oceanvar.labels.values import check_decoded, usable

WIDTHS = (8.0, 4.0, 2.0, 1.0)
"""Of the surroundings that are fitted one after the other, in units of the smallest."""

N_PULL = 10.0
"""Observations that the fit of the wider surroundings counts for: it decides where there are fewer."""

WORST_CONDITION = 100.0
"""Condition of the normal equations beyond which dates do not tell the parts of a cycle from each other."""

_TERM, _PAIR = "_term", "_pair"
_DAYS_A_YEAR = 365.2425


@dataclass(frozen=True, eq=False)
class Climatology:
    """What is expected at a place and date before anything is observed: a mean, with a trend and a seasonal cycle.

    Parameters
    ----------
    dims : tuple of str
        Dimensions of the state, time first.
    coefficients : mapping of str to ndarray
        For each variable those of mean, trend (a year) and of the cosine and sine of each harmonic of the year,
        ``(terms, *space)``, in its units.
    coordinates : mapping of str to sequence of float
        Of the dimensions of space that have any.
    n_harmonics : int
        Harmonics of the year.
    year : float, optional
        In which the trend is 0. Default: there is no trend.
    units : mapping of str to str
        Of the variables, where known.
    """

    dims: tuple[str, ...]
    coefficients: Mapping[str, np.ndarray]
    coordinates: Mapping[str, Sequence[float]] = field(default_factory=dict)
    n_harmonics: int = 1
    year: float | None = None
    units: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dims", tuple(self.dims))
        arrays = {name: np.ascontiguousarray(each, np.float32) for name, each in self.coefficients.items()}
        object.__setattr__(self, "coefficients", arrays)
        n_terms = 1 + (self.year is not None) + 2 * self.n_harmonics
        for name, each in self.coefficients.items():
            if each.ndim != len(self.dims) or len(each) != n_terms or not np.isfinite(each).all():
                raise ConfigError(
                    f"the climatology of {name!r} has coefficients {each.shape} and needs finite ones, {n_terms} for "
                    f"each point of {self.dims[1:]}"
                )

    def __repr__(self) -> str:
        return (
            f"Climatology({list(self.coefficients)}, n_harmonics={self.n_harmonics}, year={self.year}, "
            f"coordinates of {list(self.coordinates)})"
        )

    def check(
        self, dims: Sequence[str], variables: Sequence[str], units: Mapping[str, str], strange: Sequence[str]
    ) -> None:
        """Demand that a state space is one that this can be taken off.

        Parameters
        ----------
        dims : sequence of str
            Dimensions of the state.
        variables : sequence of str
            Its variables.
        units : mapping of str to str
            Their units, where the state has any.
        strange : sequence of str
            Logarithms and instruments along tracks, off which nothing is taken.

        Raises
        ------
        ConfigError
            If it is not.
        """
        unknown = sorted(set(self.coefficients) - set(variables))
        if unknown or self.dims != tuple(dims):
            raise ConfigError(
                f"the climatology is one of {list(self.coefficients)} over {self.dims}, and the state has {variables} "
                f"over {tuple(dims)}: fit it to these, fit_climatology(obs[{list(variables)}], dims={tuple(dims)})"
            )
        if strange:
            raise ConfigError(
                f"no climatology is taken off {sorted(strange)}, logarithms or samples along tracks: take it off the "
                "data before"
            )
        other = {name: units[name] for name, each in self.units.items() if units[name] != each}
        if other:
            raise ConfigError(
                f"the climatology is in {dict(self.units)}, and the state in {other}: convert the data"
            )

    def at(self, name: str, places: xr.DataArray | xr.Dataset) -> xr.DataArray:
        """Give what is expected of a variable at the times and places of data, lazy where these are.

        Parameters
        ----------
        name : str
            Variable.
        places : DataArray or Dataset
            Has the dimensions of the state. Between the points of the climatology it is interpolated.

        Raises
        ------
        GridMismatchError
            If a point lies elsewhere than the climatology, by more than a step of its grid.
        """
        time, *space = self.dims
        maps = xr.DataArray(self.coefficients[name], dims=(_TERM, *space))
        for dim in space:
            maps = self._placed(maps, places, dim)
        terms = _terms(places, time, self.n_harmonics, self.year)
        chunks = {dim: sizes for dim, sizes in places.chunksizes.items() if dim in self.dims}
        if chunks:
            terms = terms.chunk({time: chunks.get(time, -1)})
            maps = maps.chunk({dim: sizes for dim, sizes in chunks.items() if dim != time})
        pairs = [terms.astype(maps.dtype).isel({_TERM: k}) * maps.isel({_TERM: k}) for k in range(len(maps))]
        labels = {dim: places[dim].variable for dim in self.dims if dim in places.coords}
        found = sum(pairs[1:], start=pairs[0]).assign_coords(labels)
        return found.transpose(*self.dims).assign_attrs(
            {"units": self.units[name]} if name in self.units else {}
        )

    def _placed(self, maps: xr.DataArray, places: xr.DataArray | xr.Dataset, dim: str) -> xr.DataArray:
        """Bring maps to the points of a dimension; without coordinates on either side these are counted."""
        if dim not in self.coordinates or dim not in places.coords:
            if maps.sizes[dim] != places.sizes[dim]:
                raise GridMismatchError(
                    f"the climatology has {maps.sizes[dim]} points along {dim!r} and the data {places.sizes[dim]}, and "
                    "not both have coordinates there"
                )
            return maps
        own, wanted = np.asarray(self.coordinates[dim], np.float64), places[dim].values.astype(np.float64)
        if metric_name(places[dim]) == LONGITUDE:
            middle = (own.min() + own.max()) / 2
            wanted = middle + np.mod(wanted - middle + CIRCLE / 2, CIRCLE) - CIRCLE / 2
        step = float(np.abs(np.diff(own)).max(initial=0.0))
        if (wanted < own.min() - 1.01 * step).any() or (wanted > own.max() + 1.01 * step).any():
            raise GridMismatchError(
                f"{dim!r} of the data reaches from {wanted.min():g} to {wanted.max():g}, and the climatology of the "
                f"model from {own.min():g} to {own.max():g}: select what lies within, or fit another climatology"
            )
        if len(own) == len(wanted) and np.allclose(own, wanted, rtol=0, atol=1e-3 * step):
            return maps
        if len(own) == 1:
            return maps.isel({dim: np.zeros(len(wanted), int)})
        inside = np.clip(wanted, own.min(), own.max())
        return maps.assign_coords({dim: own}).interp({dim: inside}).drop_vars(dim).astype(maps.dtype)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a model file, which has the coefficients beside them."""
        return {
            "dims": list(self.dims),
            "coordinates": {dim: list(map(float, points)) for dim, points in self.coordinates.items()},
            "n_harmonics": self.n_harmonics,
            "year": self.year,
            "units": dict(self.units),
        }


def fit_climatology(
    obs: xr.Dataset,
    dims: Sequence[str] = ("time", "latitude", "longitude"),
    *,
    n_harmonics: int = 1,
    trend: bool = False,
    smoothing: float = 2.0,
) -> Climatology:
    """Fit means, trends and seasonal cycles by least squares to data with gaps.

    Each point is fitted with its surroundings, by Gaussian weights. Where these have few observations, wider ones
    decide, in the end the whole region: under clouds that stay, on land and along coasts all is finite and smooth.

    Parameters
    ----------
    obs : Dataset
        Variables with all of `dims`, NaN where nothing was observed, in memory or lazy: read twice, chunk by chunk.
        Further dimensions (members) are more observations. Values that are none are not used.
    dims : sequence of str
        Dimensions of the state, time first.
    n_harmonics : int
        Harmonics of the year: 1 for an annual wave, 2 with a semi-annual one, 0 for none.
    trend : bool
        Whether to fit a straight line in time too.
    smoothing : float
        Standard deviation of the Gaussian weights, points; 0 for every point alone, infinity for one mean, trend and
        cycle of the whole region.

    Returns
    -------
    Climatology
        For ``StateSpace(..., climatology=...)``.

    Raises
    ------
    ConfigError
        If the times are no dates, do not tell the parts from each other (half a year knows no seasons), or nothing
        was observed.
    MissingVariableError
        If there is no variable with these dimensions.
    """
    if n_harmonics < 0 or not smoothing >= 0:
        raise ConfigError(f"n_harmonics ({n_harmonics}) and smoothing ({smoothing}) must be at least 0")
    time, *space = dims = tuple(dims)
    names = [str(name) for name in obs.data_vars if set(dims) <= set(obs[name].dims)]
    check_variables(obs, names or list(map(str, obs.data_vars)), dims, "the data of a climatology")
    year = float(_years(coordinate_of(obs, time)).mean()) if trend else None
    terms = _terms(obs, time, n_harmonics, year)
    coefficients: dict[str, np.ndarray] = {}
    units: dict[str, str] = {}
    for name in names:
        check_decoded(obs[name], "the data of a climatology")
        values = usable(obs[name], "the data of a climatology")
        coefficients[name] = _fitted(values, terms, dims, smoothing)
        units |= {name: str(values.attrs["units"])} if "units" in values.attrs else {}
    coordinates = {dim: obs[dim].values.astype(float).tolist() for dim in space if dim in obs.coords}
    return Climatology(dims, coefficients, coordinates, n_harmonics, year, units)


def _years(times: xr.DataArray) -> xr.DataArray:
    """Dates as decimal years."""
    try:
        clock = times.dt
    except (AttributeError, TypeError) as error:
        raise ConfigError(
            f"a trend or a season needs dates, and {times.name!r} is of type {times.dtype}: decode the times, or give "
            "n_harmonics=0"
        ) from error
    days = clock.dayofyear - 1 + (clock.hour + clock.minute / 60) / 24
    return clock.year + days / _DAYS_A_YEAR


def _terms(
    places: xr.DataArray | xr.Dataset, time: str, n_harmonics: int, year: float | None
) -> xr.DataArray:
    """What the coefficients are multiplied by at each time, ``(time, terms)``."""
    columns = [np.ones(places.sizes[time])]
    if n_harmonics or year is not None:
        years = _years(coordinate_of(places, time)).values
        columns += [] if year is None else [years - year]
        for k in range(1, n_harmonics + 1):
            columns += [np.cos(2 * np.pi * k * years), np.sin(2 * np.pi * k * years)]
    return xr.DataArray(np.stack(columns, axis=1), dims=(time, _TERM))


def _fitted(values: xr.DataArray, terms: xr.DataArray, dims: tuple[str, ...], smoothing: float) -> np.ndarray:
    """Coefficients of a variable at each point, ``(terms, *space)``."""
    time, *space = dims
    values = values.reset_coords(drop=True).drop_vars(list(values.coords))
    n = terms.sizes[_TERM]
    first, second = np.triu_indices(n)
    # The mean goes first: sums of squares of Kelvin lose the tenths.
    with dask.config.set(scheduler="synchronous"):
        level = float(values.mean(dtype=np.float64))
        products = xr.DataArray(terms.values[:, first] * terms.values[:, second], dims=(time, _PAIR))
        along = [dim for dim in values.dims if dim not in space]
        matrix = xr.dot(products, values.notnull().astype(np.float32), dim=along)
        vector = xr.dot(terms, (values - level).fillna(0.0), dim=along)
        matrix, vector = dask.compute(matrix.transpose(_PAIR, *space), vector.transpose(_TERM, *space))
    sums, right = matrix.values.astype(np.float64), vector.values.astype(np.float64)
    n_all = sums[0].sum()
    if not n_all:
        raise ConfigError(f"nothing of {values.name!r} was observed: there is no climatology to fit")
    square = np.empty((n, n), int)
    square[first, second] = square[second, first] = np.arange(len(first))
    flat = len(sums[0].ravel())
    of_all = sums.reshape(-1, flat).sum(1)[square] / n_all
    _check_told(of_all, values, time)
    found = np.linalg.solve(of_all, right.reshape(n, flat).sum(1) / n_all)
    result = np.repeat(found[:, np.newaxis], flat, axis=1)
    for width in WIDTHS if np.isfinite(smoothing) else ():
        spread = [0.0, *[width * smoothing] * len(space)]
        near = gaussian_filter(sums, spread, mode="constant").reshape(-1, flat)[square].transpose(2, 0, 1)
        seen = gaussian_filter(right, spread, mode="constant").reshape(n, flat).T
        pulled = near + N_PULL * of_all
        result = np.linalg.solve(pulled, (seen + N_PULL * result.T @ of_all)[..., np.newaxis])[..., 0].T
    result[0] += level
    return result.reshape(n, *sums.shape[1:])


def _check_told(matrix: np.ndarray, values: xr.DataArray, time: str) -> None:
    """Demand dates by which the parts of a climatology can be told from each other."""
    size = np.sqrt(np.diag(matrix))
    condition = np.linalg.cond(matrix / np.outer(size, size)) if (size > 0).all() else np.inf
    if condition > WORST_CONDITION:
        raise ConfigError(
            f"the {values.sizes[time]} times of {values.name!r} do not tell its mean, trend and seasons from each "
            f"other (condition {condition:.3g}): give more of the year, trend=False or n_harmonics=0"
        )
