"""DINEOF of labelled fields: gaps filled by empirical orthogonal functions, `oceanvar.baselines.eofs` on grids."""

import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import xarray as xr

from oceanvar.baselines.eof_days import days_of
from oceanvar.baselines.eof_errors import ErrorModel, error_model
from oceanvar.baselines.eofs import Iteration, Modes
from oceanvar.baselines.fields import error_attrs
from oceanvar.baselines.gappy import Gappy
from oceanvar.baselines.inputs import VARIANCE
from oceanvar.baselines.matrices import N_ROWS, Columns, columns_of, scaled_matrix
from oceanvar.baselines.mode_numbers import Trial, chance, choose, ladder
from oceanvar.baselines.time_filter import TimeFilter
from oceanvar.baselines.withholding import error_factor
from oceanvar.errors import ConfigError, MendedWarning, MissingVariableError
from oceanvar.labels.alignment import check_mask
from oceanvar.labels.coordinates import coordinate_meant, numbers
from oceanvar.labels.masks import sea_of
from oceanvar.labels.samples import value_names
from oceanvar.labels.values import usable

_MODE, _OTHER = "_mode", "_other_mode"


class Fit(NamedTuple):
    """What was found of one matrix: modes, their errors, what these are multiplied by, and the trial behind it."""

    modes: Modes
    errors: ErrorModel
    factor: float
    trial: Trial | None


def dineof(
    obs: xr.Dataset | xr.DataArray,
    n_modes: int | None = None,
    *,
    max_modes: int = 40,
    smoothing: float | None = None,
    withhold: str = "clouds",
    fraction: float = 0.05,
    shrink: bool = True,
    together: bool = False,
    mean: float | xr.DataArray | None = None,
    mask: xr.DataArray | None = None,
    tolerance: float = 1e-3,
    max_iterations: int = 500,
    seed: int = 0,
    dim: str = "time",
) -> xr.Dataset:
    """Fill the gaps of fields by their empirical orthogonal functions (DINEOF), with the error that is expected.

    Gaps are filled by the leading modes, the modes are those of what is filled, and so on (Beckers and Rixen 2003);
    the number of modes is the one that comes nearest to withheld observations.

    Parameters
    ----------
    obs : Dataset or DataArray
        Fields over time and any other dimensions, NaN where nothing was observed. Cells that were never observed
        (land) stay NaN. Values that are none are not used, see `oceanvar.labels.values.usable`. Times may come in
        any order and with any spacing. A variable ``variance`` is not analysed.
    n_modes : int, optional
        Number of modes. Default: by cross-validation, up to `max_modes`. With a number too observations are withheld
        for the expected error, where that can be.
    max_modes : int
        Modes to try at most; fewer where times, cells or observations are too few.
    smoothing : float, optional
        Filter of the temporal covariance (Alvera-Azcarate et al. 2009), see `TimeFilter`: waves of so many days lose
        0.6 of their amplitude, slower ones less. Only with it is a time without observations interpolated
        between its neighbours; else it gets the mean. Default: none.
    withhold : {"clouds", "points"}
        What is withheld: the gaps of other days laid over days (Alvera-Azcarate et al. 2005), or single points, whose
        neighbours make any number of modes look good.
    fraction : float
        Share of the observations that is withheld.
    shrink : bool
        Take the noise off the singular values in each iteration (Josse and Husson 2012,
        https://doi.org/10.1016/j.csda.2012.05.018, with the factors of Gavish and Donoho 2017): noise does not
        grow under the gaps, and modes that it hides are left out. Without smoothing, times are interpolated
        optimally with the modes in the end (Beckers et al. 2006). False is DINEOF as published.
    together : bool
        Analyse all variables as one state, each divided by its standard deviation (Alvera-Azcarate et al. 2007),
        so that one tells of the others under their gaps. Default: each alone.
    mean : float or DataArray, optional
        Background that is taken off; a field lies on the grid of `obs`, of which it may lack dimensions. Default:
        the mean of the observations of the variable.
    mask : DataArray, optional
        Sea: booleans, or a mask as files have it (`oceanvar.labels.masks.sea_of`). Elsewhere nothing is used, and
        the analysis is NaN.
    tolerance : float
        Root mean square change of the analysis, in standard deviations of the observations, below which the
        iteration ends.
    max_iterations : int
        After so many it ends with a warning.
    seed : int
        Of what is withheld.
    dim : str
        Name of the time.

    Returns
    -------
    Dataset
        For each variable its analysis, everywhere, with the observed values smoothed too, and as ``<name>_std`` the
        standard deviation of its error: by optimal interpolation with the covariance of the modes (Beckers et
        al. 2006), with the errors of the modes themselves and the variance beyond them added
        (`oceanvar.baselines.eof_errors.ErrorModel`), and not less than what withheld observations tell. Each time
        counts by itself there: smoothing makes errors smaller than it says. Attributes ``n_modes`` and
        ``cross_validation_rmse``. The matrix of times and sea cells is in memory, 5 bytes an entry, and read twice
        chunk by chunk where `obs` is lazy; the result is lazy then, with the chunks of `obs` in time.

    Raises
    ------
    ConfigError
        When times, cells or observations are too few for the modes, options are out of range, values are packed,
        or the matrix does not fit into the memory.
    MissingVariableError
        When there is no time, or no variable has it.
    GridMismatchError
        When `mean` or `mask` lies on another grid.

    Warns
    -----
    MendedWarning
        Where values are not used, times have no observation and no smoothing, or the iteration does not converge.
    """
    _check(n_modes, max_modes, withhold, fraction, tolerance, max_iterations)
    fields, time = _fields(obs, dim)
    dim = str(time.dims[0])
    time_filter = None if smoothing is None else TimeFilter(numbers(time).values, smoothing)
    iteration = Iteration(tolerance, max_iterations, shrink, time_filter)
    analysed: dict[str, xr.DataArray] = {}
    for group in [list(fields)] if together else [[name] for name in fields]:
        chosen = [fields[name] for name in group]
        columns = columns_of(chosen, dim, mean, None if mask is None else _sea(mask, chosen, dim))
        matrix, stds = scaled_matrix(columns, dim, mean is None)
        _check_times(matrix.seen, smoothing, group)
        most = _most_modes(matrix.seen, n_modes, max_modes, group)
        fit = _fit(matrix, [most] if n_modes else ladder(most), iteration, (withhold, fraction, seed))
        if not fit.modes.converged:
            _tell(
                f"the modes of {group} still change after {max_iterations} iterations: raise max_iterations"
            )
        for each, std in zip(columns, stds, strict=True):
            analysed |= _labelled(fields[str(each.field.name)], each, std, fit, dim)
    return xr.Dataset(analysed, attrs=obs.attrs if isinstance(obs, xr.Dataset) else {})


def _check(
    n_modes: int | None, max_modes: int, withhold: str, fraction: float, tolerance: float, max_iterations: int
) -> None:
    if (n_modes is not None and n_modes < 1) or max_modes < 1 or max_iterations < 1:
        raise ConfigError(
            f"n_modes ({n_modes}), max_modes ({max_modes}) and max_iterations ({max_iterations}) must be at least 1"
        )
    if withhold not in ("clouds", "points") or not 0 < fraction < 1 or not 0 < tolerance < 1:
        raise ConfigError(
            f"withhold is 'clouds' or 'points' (given {withhold!r}), and fraction ({fraction}) and tolerance "
            f"({tolerance}) lie between 0 and 1"
        )


def _fields(obs: xr.Dataset | xr.DataArray, dim: str) -> tuple[dict[str, xr.DataArray], xr.DataArray]:
    """Variables to analyse, values that are some, and their time."""
    if isinstance(obs, xr.DataArray):
        obs = obs.to_dataset(name=obs.name or "analysis")
    if not isinstance(obs, xr.Dataset):
        raise ConfigError(
            f"fields are a Dataset or a DataArray, and not a {type(obs).__name__}: see bin_tracks for tracks"
        )
    time = coordinate_meant(obs, dim)
    if time.ndim != 1:
        raise ConfigError(f"the time {dim!r} has the dimensions {list(time.dims)}, and one is needed")
    (along,) = time.dims
    names = [name for name in value_names(obs) if name != VARIANCE and along in obs[name].dims]
    if not names:
        raise MissingVariableError(f"no variable of {list(obs.data_vars)} has the dimension {along!r}")
    return {name: usable(obs[name], "the observations") for name in names}, time


def _sea(mask: xr.DataArray, fields: Sequence[xr.DataArray], dim: str) -> xr.DataArray:
    sea = sea_of(mask, "the mask")
    for field in fields:
        check_mask(sea, field.to_dataset(), [each for each in field.dims if each != dim])
    return sea.reset_coords(drop=True)


def _check_times(seen: np.ndarray, smoothing: float | None, group: list[str]) -> None:
    n_empty = np.count_nonzero(~seen.any(1))
    if n_empty and smoothing is None:
        _tell(
            f"{n_empty} of {len(seen)} times have no observation of {group}: the analysis is the mean there; "
            "smoothing= interpolates them in time"
        )


def _most_modes(seen: np.ndarray, n_modes: int | None, max_modes: int, group: list[str]) -> int:
    """Number of modes, or the largest to try."""
    n_times, n_cells, n_seen = np.count_nonzero(seen.any(1)), seen.shape[1], np.count_nonzero(seen)
    several = np.arange(1, min(n_times, n_cells))
    known = several[several * (n_times + n_cells - several) < n_seen]
    if known.size < (n_modes or 1):
        raise ConfigError(
            f"{n_seen} observations of {group} at {n_times} times and {n_cells} cells tell {known.size} modes at most, "
            f"and {n_modes or 1} or more are wanted"
        )
    return n_modes or min(max_modes, int(known.size))


def _fit(matrix: Gappy, numbers: list[int], iteration: Iteration, drawing: tuple[str, float, int]) -> Fit:
    """Modes of a matrix: as many of the numbers as come nearest to what (how, fraction, seed) withhold."""
    trial = None
    try:
        trial = choose(matrix, numbers, iteration, *drawing)
    except ConfigError:  # Nothing to withhold: only a number that is not given needs it.
        if len(numbers) > 1:
            raise
    modes = iteration.fit(matrix, *((trial.number, trial.modes.times) if trial else numbers))
    noise_factor = trial.factor if trial else 1.0
    if iteration.interpolates:
        modes = replace(modes, times=days_of(matrix, modes).times(noise_factor))
    return Fit(modes, error_model(matrix, modes, noise_factor), _factor(trial) if trial else 1.0, trial)


def _factor(trial: Trial) -> float:
    """By how much errors are larger than expected at withheld observations, beyond what chance explains.

    What the modes leave is not white, which makes larger errors of them than the theory knows, and never smaller ones.
    """
    errors = error_model(trial.matrix, trial.modes, trial.factor)
    own = np.sqrt(errors.at(trial.modes, *np.nonzero(trial.withheld)))
    spanned = own > 0
    if not spanned.any():  # noise hides all modes
        return 1.0
    residuals = trial.residuals[spanned] * np.sqrt(max(1 - chance(trial.residuals.size), 0.0))
    return max(1.0, error_factor(residuals, own[spanned], np.sqrt(errors.noise)))


def _labelled(
    field: xr.DataArray, columns: Columns, std: float, fit: Fit, dim: str
) -> dict[str, xr.DataArray]:
    """Analysis and error of one variable, lazy if it is."""
    errors, space, name = fit.errors, columns.space, str(field.name)
    kind = field.dtype if field.dtype.kind == "f" else np.dtype(np.float64)
    # Fields in memory too are made in blocks of time: they need many arrays of their size on the way.
    chunks = {dim: field.chunksizes.get(dim, N_ROWS)}
    times = xr.DataArray(fit.modes.times, dims=(dim, _MODE)).chunk(chunks)
    roots = xr.DataArray(errors.roots, dims=(dim, _OTHER, _MODE)).chunk(chunks)
    noise = xr.DataArray((errors.noise * errors.leverage).astype(np.float32), dims=dim).chunk(chunks)
    maps = columns.grid(fit.modes.maps, _MODE)
    mean = columns.background + std * float(fit.modes.level[columns.first])
    analysis = _over_grids(_products, times, [_MODE], maps, space) * std + mean
    spanned = _over_grids(_squared_norms, roots, [_OTHER, _MODE], maps, space)
    spanned = spanned + noise * columns.grid(errors.rareness[np.newaxis], _MODE).isel({_MODE: 0})
    signal = (maps**2).sum(_MODE, skipna=False) / len(fit.modes.times)
    hidden = np.minimum(spanned * fit.factor**2, np.maximum(spanned, signal))
    seen = (field.notnull() & columns.background.notnull()).drop_vars(list(field.coords))
    variance = xr.where(seen, spanned + errors.beyond_seen, hidden + errors.beyond)
    attrs: dict[str, float] = {"n_modes": fit.modes.number}
    if fit.trial is not None and np.isfinite(fit.trial.rmse_of(columns.part)):
        attrs["cross_validation_rmse"] = fit.trial.rmse_of(columns.part) * std
    found = {name: (analysis, field.attrs | attrs), f"{name}_std": (variance**0.5 * std, error_attrs(field))}
    labelled = {}
    for key, (one, more) in found.items():
        data = one.where(columns.sea).transpose(*field.dims).astype(kind).data
        if field.chunks is None:
            data = data.compute(scheduler="synchronous")
        labelled[key] = xr.DataArray(data, field.coords, field.dims, key, more)
    return labelled


def _over_grids(
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
    rows: xr.DataArray,
    core: list[str],
    maps: xr.DataArray,
    space: Sequence[Hashable],
) -> xr.DataArray:
    return xr.apply_ufunc(
        function,
        rows,
        maps,
        input_core_dims=[core, [_MODE, *space]],
        output_core_dims=[space],
        dask="parallelized",
        output_dtypes=[np.float32],
    )


def _products(times: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Fields (n, *space) of arrays (n, k) and (k, *space)."""
    return np.tensordot(times, maps, 1)


def _squared_norms(roots: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Squared norms of ``roots[t] @ maps[:, i]``, (n, *space), of arrays (n, k, k) and (k, *space)."""
    flat = maps.reshape(len(maps), -1)
    found = np.empty((len(roots), flat.shape[1]), np.float32)
    for row, root in zip(found, roots, strict=True):
        np.square(root @ flat).sum(0, out=row)
    return found.reshape(-1, *maps.shape[1:])


def _tell(what: str) -> None:
    warnings.warn(what, MendedWarning, stacklevel=4)
