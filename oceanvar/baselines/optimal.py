"""Optimal interpolation of labelled fields: `oceanvar.baselines.points` on grids, eager or lazy."""

from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr

from oceanvar.baselines.covariance import GaussianCovariance
from oceanvar.baselines.fields import observed_mean
from oceanvar.baselines.points import interpolate_points
from oceanvar.errors import ConfigError, MissingVariableError
from oceanvar.labels.alignment import check_broadcasts
from oceanvar.labels.coordinates import LATITUDE, LONGITUDE, coordinate_of, metric_name, numbers

Places = dict[str, xr.DataArray]
"""Numerical coordinates, without coordinates of their own, by their name in a covariance."""


def optimal_interpolation(
    obs: xr.DataArray | xr.Dataset,
    lengths: Mapping[str, float],
    noise_std: float,
    *,
    std: float | None = None,
    mean: float | xr.DataArray | None = None,
    n_nearest: int = 150,
    targets: xr.DataArray | xr.Dataset | None = None,
    periods: Mapping[str, float] | None = None,
) -> xr.Dataset:
    """Analyse gridded observations with gaps by optimal interpolation, with the error that it expects.

    Parameters
    ----------
    obs : DataArray or Dataset
        Observations, NaN where nothing was observed. Dimensions that no coordinate in `lengths` has
        ("window", say) are independent problems. Coordinates may be two-dimensional (a curvilinear grid).
    lengths : Mapping[str, float]
        Length L of `GaussianCovariance` for each coordinate or dimension: km for latitude and longitude
        (known by name or units), days for times, else the units of the coordinate.
    noise_std : float
        Standard deviation of the observation errors, in the units of `obs`.
    std : float, optional
        Standard deviation of the signal about `mean`; default: that of the observations of the variable.
    mean : float or DataArray, optional
        Background; default: the mean of the observations of the variable. A field lies on the grid of `obs`;
        where it is NaN (land) observations are not used, and the analysis is NaN.
    n_nearest : int
        Number of observations used for each point, see `interpolate_points`.
    targets : DataArray or Dataset, optional
        Its coordinates named in `lengths` say where the analysis is wanted; default: everywhere on the grid.
        The background is then a number.
    periods : Mapping[str, float], optional
        Period of the coordinates that wrap, in their units. Longitudes wrap by themselves.

    Returns
    -------
    Dataset
        For each variable its analysis and, as ``<name>_error``, the standard deviation of the analysis error.
        Lazy if `obs` is: in blocks of the first coordinate of `lengths` that is a dimension and neither an
        angle on the sphere nor periodic (time, in general), as long as its chunks in `obs`. Each block also
        reads 5 lengths on both sides, beyond which no observation is used anyway, and joins the chunks of
        the other dimensions in `lengths`.

    Raises
    ------
    ConfigError
        When a length, std or noise is not positive, or a default needs observations and there are none.
    MissingVariableError
        When a coordinate named in `lengths` is missing, or no variable has it.
    GridMismatchError
        When `mean` lies on another grid.
    """
    fields = obs.to_dataset(name=obs.name or "analysis") if isinstance(obs, xr.DataArray) else obs
    problem = _Problem(fields, lengths, noise_std, n_nearest, targets, periods or {})
    if isinstance(mean, xr.DataArray) and mean.ndim and targets is not None:
        raise ConfigError(
            "a background field and targets do not go together: subtract the field from obs first"
        )
    names = [name for name, one in fields.data_vars.items() if set(problem.dims) <= set(one.dims)]
    if not names:
        raise MissingVariableError(f"no variable has all of the dimensions {problem.dims} of the lengths")
    analysed: dict[str, xr.DataArray] = {}
    for name in map(str, names):
        analysis, error_std = problem.analyse(fields[name], std, mean)
        analysed[name], analysed[f"{name}_error"] = analysis, error_std
    return xr.Dataset(analysed, attrs=fields.attrs)


class _Problem:
    """Where observations and targets lie and how to get from one to the other, for all variables."""

    def __init__(
        self,
        fields: xr.Dataset,
        lengths: Mapping[str, float],
        noise_std: float,
        n_nearest: int,
        targets: xr.DataArray | xr.Dataset | None,
        periods: Mapping[str, float],
    ) -> None:
        found = {name: coordinate_of(fields, name) for name in lengths}
        metric = {name: metric_name(coordinate) for name, coordinate in found.items()}
        origins = {name: coordinate[(0,) * coordinate.ndim] for name, coordinate in found.items()}
        self.targets = fields if targets is None else targets
        self.on_grid = targets is None
        self.places = {metric[name]: _plain(found[name], origins[name]) for name in lengths}
        self.goals = {
            metric[name]: _plain(coordinate_of(self.targets, name), origins[name]) for name in lengths
        }
        self.dims = _dims(self.places)
        self.correlation = GaussianCovariance(
            1.0,
            {metric[name]: float(length) for name, length in lengths.items()},
            {metric.get(name, name): float(period) for name, period in periods.items()},
        )
        self.noise_std, self.n_nearest = noise_std, n_nearest

    def analyse(
        self, obs: xr.DataArray, std: float | None, mean: float | xr.DataArray | None
    ) -> tuple[xr.DataArray, xr.DataArray]:
        """Analysis of one variable and its error standard deviation."""
        background = observed_mean(obs) if mean is None else xr.DataArray(mean)
        check_broadcasts(background, obs, f"mean and {obs.name!r}")
        anomaly = (obs - background).astype(np.float64).rename(obs.name)
        spread = observed_mean(anomaly**2) ** 0.5 if std is None else xr.DataArray(float(std))
        anomaly = anomaly.drop_vars(list(anomaly.coords))
        parts = [self._solve(anomaly.isel(slab), slab, goals, spread) for slab, goals in self._blocks(obs)]
        joined = [
            parts[0][i] if len(parts) == 1 else xr.concat([one[i] for one in parts], self._march())
            for i in (0, 1)
        ]
        increment, error_std = (self._label(one, obs) for one in joined)
        analysis = (increment + background).transpose(*increment.dims).assign_attrs(obs.attrs)
        error_std = (
            error_std.where(background.notnull()).transpose(*increment.dims).assign_attrs(_error_attrs(obs))
        )
        kind = obs.dtype if np.issubdtype(obs.dtype, np.floating) else np.dtype(np.float64)
        return analysis.astype(kind), error_std.astype(kind)

    def _march(self) -> str | None:
        """Coordinate to take in blocks when lazy: the first dimension neither an angle nor periodic."""
        for name in self.places:
            plain = name not in (LATITUDE, LONGITUDE) and name not in self.correlation.periods
            if plain and self.places[name].dims == self.goals[name].dims == (name,):
                return name
        return None

    def _blocks(self, obs: xr.DataArray) -> Iterator[tuple[dict[str, slice], Places]]:
        """Slab of the observations, and the targets that need no other."""
        march = self._march()
        if obs.chunks is None or march is None:
            yield {}, self.goals
            return
        # A bit more than the reach, for the search centre is nudged and the distances are rounded.
        halo = 1.0001 * self.correlation.reach * self.correlation.lengths[march]
        place, goal = self.places[march].values, self.goals[march]
        n_block = max(obs.chunksizes[march])
        for start in range(0, goal.size, n_block):
            part = goal[start : start + n_block]
            near = np.flatnonzero((place >= part.values.min() - halo) & (place <= part.values.max() + halo))
            slab = slice(int(near.min()), int(near.max()) + 1) if near.size else slice(0, 1)
            yield {march: slab}, {**self.goals, march: part}

    def _solve(
        self, anomaly: xr.DataArray, slab: dict[str, slice], goals: Places, spread: xr.DataArray
    ) -> tuple[xr.DataArray, xr.DataArray]:
        places = {name: one.isel(slab, missing_dims="ignore") for name, one in self.places.items()}
        sizes = {dim: size for one in goals.values() for dim, size in one.sizes.items()}
        return xr.apply_ufunc(
            _analyse_members,
            anomaly if anomaly.chunks is None else anomaly.chunk(dict.fromkeys(self.dims, -1)),
            spread,
            input_core_dims=[self.dims, []],
            output_core_dims=[_dims(goals), _dims(goals)],
            exclude_dims=set(self.dims),
            kwargs={
                "places": places,
                "goals": goals,
                "correlation": self.correlation,
                "noise_std": self.noise_std,
                "n_nearest": self.n_nearest,
            },
            dask="parallelized",
            output_dtypes=[np.float64, np.float64],
            dask_gufunc_kwargs={"output_sizes": sizes},
        )

    def _label(self, result: xr.DataArray, obs: xr.DataArray) -> xr.DataArray:
        kept = {name: one for name, one in obs.coords.items() if not set(one.dims) & set(self.dims)}
        for source in (kept, self.targets.coords):
            result = result.assign_coords(
                {k: one for k, one in source.items() if set(one.dims) <= set(result.dims)}
            )
        return result.transpose(*obs.dims) if self.on_grid else result


def _analyse_members(
    anomaly: np.ndarray,
    spread: np.ndarray,
    *,
    places: Places,
    goals: Places,
    correlation: GaussianCovariance,
    noise_std: float,
    n_nearest: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Solve the problem of every leading index of `anomaly` (..., grid) by itself."""
    points, targets = columns(places), columns(goals)
    n_grid = len(_dims(places))
    members = anomaly.reshape(*anomaly.shape[: anomaly.ndim - n_grid], -1)
    covariance = correlation.scaled(np.asarray(spread).item())
    result = np.empty((2, *members.shape[:-1], len(targets)))
    for index in np.ndindex(members.shape[:-1]):
        seen = ~np.isnan(members[index])
        pair = interpolate_points(
            targets, points[seen], members[index][seen], noise_std, covariance, n_nearest
        )
        result[:, *index] = pair
    sizes = {dim: size for one in goals.values() for dim, size in one.sizes.items()}
    shape = (*members.shape[:-1], *(sizes[dim] for dim in _dims(goals)))
    return result[0].reshape(shape), result[1].reshape(shape)


def columns(places: Places) -> np.ndarray:
    """Points (n, d) of a grid, one column for each coordinate, one row for each point."""
    return np.stack(
        [one.transpose(*_dims(places)).values.ravel() for one in xr.broadcast(*places.values())], axis=-1
    )


def _dims(places: Places) -> list[str]:
    return list(dict.fromkeys(str(dim) for one in places.values() for dim in one.dims))


def _plain(coordinate: xr.DataArray, origin: xr.DataArray) -> xr.DataArray:
    number = numbers(coordinate, origin)
    return number.drop_vars(list(number.coords))


def _error_attrs(obs: xr.DataArray) -> dict[str, str]:
    attrs = {
        "long_name": f"standard deviation of the analysis error of {obs.attrs.get('long_name', obs.name)}"
    }
    if "standard_name" in obs.attrs:
        attrs["standard_name"] = f"{obs.attrs['standard_name']} standard_error"
    return attrs | ({"units": obs.attrs["units"]} if "units" in obs.attrs else {})
