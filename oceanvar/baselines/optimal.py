"""Optimal interpolation of labelled fields: `oceanvar.baselines.points` on grids, eager or lazy."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from oceanvar.baselines.covariance import Covariance, correlation_of
from oceanvar.baselines.fields import error_attrs, observed_mean, positive
from oceanvar.baselines.inputs import checked_inputs, on_grid_of
from oceanvar.baselines.pass_errors import OrbitErrors, PassErrors
from oceanvar.baselines.places import Places, columns, dims_of, like_goals, plain, sizes_of
from oceanvar.baselines.points import interpolate_points
from oceanvar.errors import ConfigError, MissingVariableError
from oceanvar.labels.alignment import check_broadcasts
from oceanvar.labels.coordinates import (
    LATITUDE,
    LONGITUDE,
    coordinate_meant,
    is_time,
    meaning_of,
    metric_name,
)
from oceanvar.labels.samples import Tracks

Lengths = Mapping[str, float | xr.DataArray] | Sequence[Mapping[str, float]]


def optimal_interpolation(
    obs: Tracks,
    lengths: Lengths,
    noise_std: float | xr.DataArray | None = None,
    *,
    std: float | xr.DataArray | None = None,
    mean: float | xr.DataArray | None = None,
    n_nearest: int = 150,
    targets: xr.DataArray | xr.Dataset | None = None,
    periods: Mapping[str, float] | None = None,
    kernel: str | Sequence[str] = "gaussian",
    shares: Sequence[float] | None = None,
    orbit_errors: OrbitErrors | None = None,
    error_factor: float = 1.0,
) -> xr.Dataset:
    """Analyse observations with gaps by optimal interpolation, with the error that it expects.

    Parameters
    ----------
    obs : DataArray, Dataset or sequence of these
        Observations, NaN where nothing was observed: on a grid, or samples with coordinates along a track, also
        in lists. Dimensions that no coordinate in `lengths` has ("window", say) are independent problems.
        Coordinates may be two-dimensional (a curvilinear grid). Values that are none are not used, see
        `oceanvar.labels.values.usable`; with `targets`, samples without a place are left out, and of those that
        are there twice the first one counts.
    lengths : Mapping[str, float] or sequence of them
        Length L of `Covariance` for each coordinate or dimension: km for latitude and longitude (known by name
        or units), days for times, else the units of the coordinate. Latitude, longitude and time are found by
        their meaning where no coordinate has the name. Several are the scales of a sum, on the
        same coordinates; the nearest observations are those in the lengths of the first. Its lengths may be
        fields where the analysis is wanted: around each point the signal is taken to be homogeneous with the lengths
        there, and further scales are stretched with the first.
    noise_std : float or DataArray, optional
        Standard deviation of the independent observation errors, in the units of `obs`: one, or one for every
        observation, on the grid of `obs`, of which it may lack dimensions. Default: the root of the variable
        ``variance``, which is never analysed; a value without one is not used.
    std : float or DataArray, optional
        Standard deviation of the signal about `mean`; default: that of the observations of the variable. As a
        field it lies on the grid of `obs`, and the correlations remain those of the lengths.
    mean : float or DataArray, optional
        Background; default: the mean of the observations of the variable. A field lies on the grid of `obs`;
        where it is NaN (land) observations are not used, and the analysis is NaN.
    n_nearest : int
        Number of observations used for each point, see `interpolate_points`.
    targets : DataArray or Dataset, optional
        Its coordinates named in `lengths` say where the analysis is wanted; default: everywhere on the grid.
        The background and `std` are then numbers.
    periods : Mapping[str, float], optional
        Period of the coordinates that wrap, in their units. Longitudes wrap by themselves.
    kernel : str or sequence of str
        Of `Covariance`, for all scales or for each.
    shares : sequence of float, optional
        Share of each scale in the variance, in any unit; default: equal ones.
    orbit_errors : OrbitErrors, optional
        Errors that the samples of a pass have in common.
    error_factor : float
        By how much errors are larger than expected, as `oceanvar.baselines.withholding` finds it: the expected
        ones are multiplied by it.

    Returns
    -------
    Dataset
        For each variable its analysis and, as ``<name>_error``, the standard deviation of the analysis error.
        Lazy if `obs` is: in blocks of the first coordinate of `lengths` that is a dimension and neither an
        angle on the sphere nor periodic (time, in general), as long as its chunks in `obs`. Each block also
        reads the reach of the covariance (5 lengths of a Gaussian) on both sides, beyond which no observation is
        used anyway, and joins the chunks of the other dimensions in `lengths`.

    Raises
    ------
    ConfigError
        When a length, std or noise is not positive, a default needs observations and there are none, or values
        are packed or durations.
    MissingVariableError
        When a coordinate named in `lengths` is missing, or no variable has it.
    GridMismatchError
        When `mean`, `std`, `noise_std` or a length lies on another grid.

    Warns
    -----
    MendedWarning
        Where values or samples are not used, with their number.
    """
    if not 0 < error_factor < np.inf or n_nearest < 1:
        raise ConfigError(
            f"error_factor ({error_factor}) must be positive and finite, n_nearest ({n_nearest}) at least 1"
        )
    fields, noise_std, scales = checked_inputs(obs, scales_of(lengths), noise_std, targets is not None)
    problem = Problem(fields, scales, periods or {}, kernel, shares, n_nearest, targets, orbit_errors)
    if targets is not None and any(isinstance(one, xr.DataArray) and one.ndim for one in (mean, std)):
        raise ConfigError(
            "a background field, or one of std, and targets do not go together: take it off obs first"
        )
    names = [name for name, one in fields.data_vars.items() if set(problem.dims) <= set(one.dims)]
    if not names:
        raise MissingVariableError(f"no variable has all of the dimensions {problem.dims} of the lengths")
    analysed: dict[str, xr.DataArray] = {}
    for name in map(str, names):
        analysis, error_std = problem.analyse(fields[name], noise_std, std, mean)
        error_std = (error_std * error_factor).assign_attrs(error_std.attrs)
        analysed[name], analysed[f"{name}_error"] = analysis, error_std
    return xr.Dataset(analysed, attrs=fields.attrs)


class Problem:
    """Where observations and targets lie and how to get from one to the other, for all variables."""

    def __init__(
        self,
        fields: xr.Dataset,
        scales: Sequence[Mapping[str, float | xr.DataArray]],
        periods: Mapping[str, float],
        kernel: str | Sequence[str],
        shares: Sequence[float] | None,
        n_nearest: int,
        targets: xr.DataArray | xr.Dataset | None,
        orbit_errors: OrbitErrors | None,
    ) -> None:
        found = {name: coordinate_meant(fields, name) for name in scales[0]}
        metric = {name: metric_name(coordinate) for name, coordinate in found.items()}
        origins = {name: coordinate[(0,) * coordinate.ndim] for name, coordinate in found.items()}
        self.targets = fields if targets is None else targets
        self.on_grid = targets is None
        self.places = {metric[name]: plain(found[name], origins[name]) for name in found}
        wanted = {name: coordinate_meant(self.targets, name, meaning_of(one)) for name, one in found.items()}
        self.goals = {metric[name]: plain(one, origins[name]) for name, one in wanted.items()}
        self.dims = dims_of(self.places)
        goal = self._goal_grid()
        self.stretch: Places = {}
        for name, length in scales[0].items():
            if isinstance(length, xr.DataArray) and length.ndim:
                self.stretch[metric[name]] = _stretch(length, goal, name)
        self.correlation = correlation_of(
            [
                {metric.get(name, name): float(_typical(length)) for name, length in one.items()}
                for one in scales
            ],
            {metric.get(name, name): float(period) for name, period in periods.items()},
            kernel,
            shares,
        )
        self.n_nearest = n_nearest
        self.pass_errors = None
        if orbit_errors:
            times = [self.places[metric[name]] for name, one in found.items() if is_time(one)]
            self.pass_errors = orbit_errors.of_samples(fields, times, self.dims)

    def _goal_grid(self) -> xr.DataArray:
        """Where the analysis is wanted, without values."""
        sizes = sizes_of(self.goals)
        labels = {dim: self.targets[dim] for dim in sizes if dim in self.targets.coords}
        return xr.DataArray(np.broadcast_to(0.0, tuple(sizes.values())), labels, list(sizes), name="analysis")

    def analyse(
        self,
        obs: xr.DataArray,
        noise_std: float | xr.DataArray,
        std: float | xr.DataArray | None,
        mean: float | xr.DataArray | None,
    ) -> tuple[xr.DataArray, xr.DataArray]:
        """Analysis of one variable and its error standard deviation."""
        background = observed_mean(obs) if mean is None else on_grid_of(obs, mean, "mean")
        anomaly = (obs - background).astype(np.float64).rename(obs.name)
        spread = observed_mean(anomaly**2) ** 0.5 if std is None else on_grid_of(obs, std, "std")
        spread, noise = positive(spread, "std"), on_grid_of(obs, noise_std, "noise_std")
        given = [
            one.broadcast_like(anomaly)
            .transpose(*anomaly.dims)
            .drop_vars(list(anomaly.coords), errors="ignore")
            for one in (anomaly, noise, spread)
        ]
        parts = [
            self._solve([one.isel(slab) for one in given], slab, goals, stretch)
            for slab, goals, stretch in self._blocks(obs)
        ]
        joined = [
            parts[0][i] if len(parts) == 1 else xr.concat([one[i] for one in parts], self._march())
            for i in (0, 1)
        ]
        increment, error_std = (self._label(one, obs) * spread for one in joined)
        order = self._label(joined[0], obs).dims
        analysis = (increment + background).transpose(*order).assign_attrs(obs.attrs)
        error_std = error_std.where(background.notnull()).transpose(*order).assign_attrs(error_attrs(obs))
        kind = obs.dtype if np.issubdtype(obs.dtype, np.floating) else np.dtype(np.float64)
        return analysis.astype(kind), error_std.astype(kind)

    def _march(self) -> str | None:
        """Coordinate to take in blocks when lazy: the first dimension neither an angle nor periodic."""
        for name in self.places:
            straight = name not in (LATITUDE, LONGITUDE) and name not in self.correlation.periods
            if (
                straight
                and self.pass_errors is None
                and self.places[name].dims == self.goals[name].dims == (name,)
            ):
                return name
        return None

    def _blocks(self, obs: xr.DataArray) -> Iterator[tuple[dict[str, slice], Places, Places]]:
        """Slab of the observations, and the targets that need no other, with the stretch of their lengths."""
        march = self._march()
        if obs.chunks is None or march is None:
            yield {}, self.goals, self.stretch
            return
        # A bit more than the reach, for the search centre is nudged and the distances are rounded.
        longest = max((float(one.max()) for one in self.stretch.values()), default=1.0)
        halo = 1.0001 * max(1.0, longest) * self.correlation.reach * self.correlation.lengths[march]
        place, goal = self.places[march].values, self.goals[march]
        n_block = max(obs.chunksizes[march])
        for start in range(0, goal.size, n_block):
            part = goal[start : start + n_block]
            near = np.flatnonzero((place >= part.values.min() - halo) & (place <= part.values.max() + halo))
            slab = slice(int(near.min()), int(near.max()) + 1) if near.size else slice(0, 1)
            here = {march: slice(start, start + n_block)}
            stretch = {name: one.isel(here, missing_dims="ignore") for name, one in self.stretch.items()}
            yield {march: slab}, {**self.goals, march: part}, stretch

    def _solve(
        self, given: Sequence[xr.DataArray], slab: dict[str, slice], goals: Places, stretch: Places
    ) -> tuple[xr.DataArray, xr.DataArray]:
        places = {name: one.isel(slab, missing_dims="ignore") for name, one in self.places.items()}
        return xr.apply_ufunc(
            _analyse_members,
            *(one if one.chunks is None else one.chunk(dict.fromkeys(self.dims, -1)) for one in given),
            input_core_dims=[self.dims, self.dims, self.dims],
            output_core_dims=[dims_of(goals), dims_of(goals)],
            exclude_dims=set(self.dims),
            kwargs={
                "places": places,
                "goals": goals,
                "correlation": self.correlation,
                "n_nearest": self.n_nearest,
                "pass_errors": self.pass_errors,
                "stretch": stretch,
            },
            dask="parallelized",
            output_dtypes=[np.float64, np.float64],
            dask_gufunc_kwargs={"output_sizes": sizes_of(goals)},
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
    noise: np.ndarray,
    spread: np.ndarray,
    *,
    places: Places,
    goals: Places,
    correlation: Covariance,
    n_nearest: int,
    pass_errors: PassErrors | None,
    stretch: Places,
) -> tuple[np.ndarray, np.ndarray]:
    """Solve the problem of every leading index of arrays (..., grid) by itself, in units of `spread`."""
    points, targets = columns(places), columns(goals)
    longer = columns(like_goals(stretch, goals)) if stretch else None
    leading = anomaly.shape[: anomaly.ndim - len(dims_of(places))]
    members = [one.reshape(*leading, -1) for one in (anomaly, noise, spread)]
    result = np.empty((2, *leading, len(targets)))
    for index in np.ndindex(leading):
        values, errors, units = (one[index] for one in members)
        seen = ~np.isnan(values / units)
        values, errors = values[seen] / units[seen], errors[seen] / units[seen]
        shared = None if pass_errors is None else pass_errors.of_part(seen).scaled(1 / units[seen])
        result[:, *index] = interpolate_points(
            targets, points[seen], values, errors, correlation, n_nearest, pass_errors=shared, stretch=longer
        )
    analysis, error_std = result.reshape(2, *leading, *sizes_of(goals).values())
    return analysis, error_std


def scales_of(lengths: Lengths) -> list[Mapping[str, Any]]:
    """Lengths of each scale.

    Raises
    ------
    ConfigError
        When there is none.
    """
    scales = [lengths] if isinstance(lengths, Mapping) else list(lengths)
    if not scales or not scales[0]:
        raise ConfigError("a covariance needs a length along one coordinate at least, and none is given")
    return scales


def _typical(length: float | xr.DataArray) -> float | xr.DataArray:
    return length.median() if isinstance(length, xr.DataArray) else length


def _stretch(length: xr.DataArray, goal: xr.DataArray, name: str) -> xr.DataArray:
    """Lengths of each point in typical ones, without coordinates."""
    check_broadcasts(length, goal, f"the lengths of {name!r} and the analysis")
    if not bool(((length > 0) & (length < np.inf)).all()):
        raise ConfigError(
            f"the lengths of {name!r} are not positive and finite everywhere: fill them over land too"
        )
    return (length / length.median()).drop_vars(list(length.coords)).compute()
