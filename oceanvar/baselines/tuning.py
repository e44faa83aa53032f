"""Choice of the parameters of optimal interpolation, on training data only."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from oceanvar.baselines.fields import observed_mean
from oceanvar.baselines.inputs import on_grid_of
from oceanvar.baselines.likelihood import fit_points
from oceanvar.baselines.optimal import Lengths, Problem, optimal_interpolation, scales_of
from oceanvar.baselines.pass_errors import OrbitErrors
from oceanvar.baselines.places import columns
from oceanvar.baselines.withholding import error_factor
from oceanvar.errors import ConfigError
from oceanvar.labels.alignment import check_broadcasts
from oceanvar.labels.coordinates import coordinate_of
from oceanvar.labels.values import usable


def fit_lengths(
    obs: xr.DataArray,
    candidates: Sequence[Mapping[str, float]],
    noise_std: float,
    *,
    truth: xr.DataArray | None = None,
    withheld: xr.DataArray | None = None,
    fraction: float = 0.2,
    n_targets: int = 2000,
    std: float | None = None,
    mean: float | None = None,
    n_nearest: int = 150,
    periods: Mapping[str, float] | None = None,
    kernel: str = "gaussian",
    seed: int = 0,
) -> tuple[dict[str, float], xr.Dataset]:
    """Choose the lengths whose analysis comes nearest to withheld observations, or to a known truth.

    Give it training data only: lengths chosen on the data of the final score flatter the method. The neighbours
    of a single point on the same satellite pass, or beside the same cloud, stay where it is withheld, which favours
    short lengths: withhold whole blocks (`oceanvar.baselines.withholding`).

    Parameters
    ----------
    obs : DataArray
        Observations about their background if that is a field, NaN where there are none; computed if lazy.
    candidates : sequence of mappings
        Lengths to try, see `optimal_interpolation`; all with the same names.
    noise_std : float
        Standard deviation of the errors, see `optimal_interpolation`, as for `std` to `kernel`.
    truth : DataArray, optional
        Truth on the grid of `obs`, for a twin experiment; then nothing is withheld.
    withheld : DataArray, optional
        True at the points to withhold, on the grid of `obs`, of which it may lack dimensions.
    fraction : float
        Fraction of the points with observations that is withheld else, between 0 and 1.
    n_targets : int
        Score at this many points at most, drawn at random.
    std : float, optional
        Standard deviation of the signal.
    mean : float, optional
        Mean of the signal.
    n_nearest : int
        Observations that each analysed point sees.
    periods : mapping of str to float, optional
        Periods of coordinates that wrap.
    kernel : str
        Correlation function.
    seed : int
        Seed of the draw.

    Returns
    -------
    best : dict
        The candidate of smallest rmse.
    table : Dataset
        Lengths, ``rmse``, in the units of `obs`, and ``error_factor`` along ``candidate``: by how much the errors
        there are larger than expected, see `oceanvar.baselines.withholding.error_factor`.

    Raises
    ------
    ConfigError
        When there is no candidate or nothing to score with, or `fraction` is not between 0 and 1.
    GridMismatchError
        When `truth` lies on another grid.
    """
    if not candidates or not 0 < fraction < 1:
        raise ConfigError(
            f"need a candidate (given {len(candidates)}) and 0 < fraction < 1 (given {fraction})"
        )
    coordinates = {name: coordinate_of(obs, name) for name in candidates[0]}
    dims = list(dict.fromkeys(dim for one in coordinates.values() for dim in one.dims))
    obs = usable(obs.compute(), "the observations")
    reference = obs if truth is None else truth.compute()
    check_broadcasts(reference, obs, "truth and observations")
    if withheld is not None:
        check_broadcasts(withheld, obs, "withheld and observations")
        reference = reference.where(withheld)
    drawn = _draw(reference, dims, fraction if truth is None and withheld is None else 1.0, seed)
    if truth is None:
        held = np.zeros([obs.sizes[dim] for dim in dims], dtype=bool)
        held.flat[drawn] = True
        obs = obs.where(~xr.DataArray(held, dims=dims))
    scored = drawn[:n_targets]
    targets, expected = _points(coordinates, dims, scored), _flat(reference, dims, scored)

    def score(lengths: Mapping[str, float]) -> tuple[float, float]:
        options: dict[str, Any] = {"std": std, "mean": mean, "n_nearest": n_nearest, "periods": periods}
        result = optimal_interpolation(
            obs.rename("obs"), lengths, noise_std, targets=targets, kernel=kernel, **options
        ).reset_coords(drop=True)
        residuals = (result["obs"] - expected).transpose(*result["obs"].dims).values
        known = np.isfinite(residuals)
        factor = error_factor(
            residuals[known], result["obs_error"].values[known], noise_std if truth is None else 0.0
        )
        return float(np.sqrt((residuals[known] ** 2).mean())), factor

    scores, factors = zip(*map(score, candidates), strict=True)
    tried = {name: ("candidate", [float(one[name]) for one in candidates]) for name in coordinates}
    units = {key: obs.attrs[key] for key in ("units",) if key in obs.attrs}
    return dict(candidates[int(np.argmin(scores))]), xr.Dataset(
        {
            **tried,
            "rmse": ("candidate", list(scores), units),
            "error_factor": ("candidate", list(factors)),
        }
    )


def fit_covariance(
    obs: xr.DataArray,
    lengths: Lengths,
    noise_std: float,
    *,
    std: float | None = None,
    mean: float | xr.DataArray | None = None,
    kernel: str | Sequence[str] = "gaussian",
    shares: Sequence[float] | None = None,
    periods: Mapping[str, float] | None = None,
    orbit_errors: OrbitErrors | None = None,
    n_nearest: int = 150,
    n_neighbourhoods: int = 40,
    seed: int = 0,
) -> tuple[dict[str, Any], float]:
    """Choose the lengths, standard deviation, noise and shares under which neighbouring observations are likeliest.

    Nothing is withheld. What is likely is not always what interpolates best: compare by `fit_lengths`, or score.

    Parameters
    ----------
    obs : DataArray
        Observations without further dimensions than those of the coordinates in `lengths`; computed if lazy.
    lengths : mapping of str to float or DataArray, or sequence of mappings
        Where the search for lengths starts, see `optimal_interpolation`, as for all that follows.
    noise_std : float
        Where that for the standard deviation of the errors starts.
    std : float, optional
        Where that for the standard deviation of the signal starts.
    mean : float or DataArray, optional
        Mean of the signal, which stays.
    kernel : str or sequence of str
        Correlation functions, which stay.
    shares : sequence of float, optional
        Where the search for the shares of several kernels starts.
    periods : mapping of str to float, optional
        Periods of coordinates that wrap, which stay.
    orbit_errors : OrbitErrors, optional
        Where that for the errors of passes starts.
    n_nearest : int
        Observations of a neighbourhood.
    n_neighbourhoods : int
        Neighbourhoods whose likelihood is summed, drawn at random.
    seed : int
        Of the draw.

    Returns
    -------
    best : dict
        Options of `optimal_interpolation`: ``optimal_interpolation(obs, **best)``.
    log_likelihood : float
        Mean over observations, to compare kernels by.

    Raises
    ------
    ConfigError, MissingVariableError, GridMismatchError
        As of `optimal_interpolation`, or when `obs` has further dimensions.
    """
    scales = scales_of(lengths)
    layout = usable(obs.rename("obs").compute(), "the observations").to_dataset()
    problem = Problem(layout, scales, periods or {}, kernel, shares, n_nearest, None, orbit_errors)
    if set(obs.dims) != set(problem.dims):
        raise ConfigError(
            f"observations over {list(obs.dims)} and lengths over {problem.dims}: select along the others first"
        )
    background = observed_mean(layout["obs"]) if mean is None else on_grid_of(layout["obs"], mean, "mean")
    anomaly = (layout["obs"] - background).transpose(*problem.dims).values.ravel()
    seen = ~np.isnan(anomaly)
    size = float(np.sqrt((anomaly[seen] ** 2).mean())) if std is None else std
    errors = problem.pass_errors and problem.pass_errors.of_part(seen)
    found = fit_points(
        columns(problem.places)[seen], anomaly[seen], noise_std, problem.correlation.scaled(size),
        n_nearest=n_nearest, n_neighbourhoods=n_neighbourhoods, pass_errors=errors, seed=seed,
    )  # fmt: skip
    rows = [dict(zip(scales[0], part.lengths.values(), strict=True)) for part in found.covariance.parts]
    best: dict[str, Any] = {
        "lengths": rows[0] if isinstance(lengths, Mapping) else rows,
        "noise_std": noise_std * found.noise_factor,
        "std": float(np.sqrt(found.covariance.variance)),
        "mean": mean if mean is not None else float(background),
        "kernel": kernel,
        "shares": [part.std**2 / found.covariance.variance for part in found.covariance.parts],
        "periods": periods,
        "n_nearest": n_nearest,
        "orbit_errors": orbit_errors and orbit_errors.scaled(found.pass_factor),
    }
    return best, found.log_likelihood


def _draw(reference: xr.DataArray, dims: list[Hashable], fraction: float, seed: int) -> np.ndarray:
    """Numbers of points along the flattened grid, a random fraction of those that are known somewhere."""
    others = [dim for dim in reference.dims if dim not in dims]
    known = np.flatnonzero(reference.notnull().any(others).transpose(*dims).values)
    drawn = np.random.default_rng(seed).permutation(known)[: int(fraction * known.size)]
    if drawn.size == 0:
        raise ConfigError(
            f"no point to score with: {known.size} points are known, a fraction of {fraction} is drawn"
        )
    return drawn


def _points(coordinates: Mapping[str, xr.DataArray], dims: list[Hashable], chosen: np.ndarray) -> xr.Dataset:
    """Coordinates of the chosen points."""
    plain = [one.drop_vars(list(one.coords)).rename(name) for name, one in coordinates.items()]
    grids = [_flat(one, dims, chosen) for one in xr.broadcast(*plain)]
    return xr.Dataset(coords={one.name: ("point", one.values) for one in grids})


def _flat(field: xr.DataArray, dims: list[Hashable], chosen: np.ndarray) -> xr.DataArray:
    """Values at the chosen points of the flattened grid, without coordinates."""
    plain = field.drop_vars(list(field.coords))
    return plain.stack(point=dims, create_index=False).isel(point=chosen)
