"""Choice of the lengths of optimal interpolation, on training data only."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from oceanvar.baselines.optimal import optimal_interpolation
from oceanvar.errors import ConfigError
from oceanvar.labels.alignment import check_broadcasts
from oceanvar.labels.coordinates import coordinate_of


def fit_lengths(
    obs: xr.DataArray,
    candidates: Sequence[Mapping[str, float]],
    noise_std: float,
    *,
    truth: xr.DataArray | None = None,
    fraction: float = 0.2,
    n_targets: int = 2000,
    std: float | None = None,
    mean: float | None = None,
    n_nearest: int = 150,
    periods: Mapping[str, float] | None = None,
    seed: int = 0,
) -> tuple[dict[str, float], xr.Dataset]:
    """Choose the lengths whose analysis comes nearest to withheld observations, or to a known truth.

    Give it training data only: lengths chosen on the data of the final score flatter the method. Neighbours
    of a withheld observation on the same satellite pass stay, so real tracks favour short lengths here.

    Parameters
    ----------
    obs : DataArray
        Observations about their background if that is a field, NaN where there are none; computed if lazy.
    candidates : sequence of mappings
        Lengths to try, see `optimal_interpolation`; all with the same names.
    noise_std, std, mean, n_nearest, periods
        See `optimal_interpolation`.
    truth : DataArray, optional
        Truth on the grid of `obs`, for a twin experiment; then nothing is withheld.
    fraction : float
        Fraction of the points with observations that is withheld, between 0 and 1.
    n_targets : int
        Score at this many points at most, drawn at random.
    seed : int
        Seed of the draw.

    Returns
    -------
    best : dict
        The candidate of smallest rmse.
    table : Dataset
        Lengths and ``rmse``, in the units of `obs`, along ``candidate``.

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
    obs = obs.compute()
    reference = obs if truth is None else truth.compute()
    check_broadcasts(reference, obs, "truth and observations")
    drawn = _draw(reference, dims, 1.0 if truth is not None else fraction, seed)
    if truth is None:
        held = np.zeros([obs.sizes[dim] for dim in dims], dtype=bool)
        held.flat[drawn] = True
        obs = obs.where(~xr.DataArray(held, dims=dims))
    scored = drawn[:n_targets]
    targets, expected = _points(coordinates, dims, scored), _flat(reference, dims, scored)

    def rmse(lengths: Mapping[str, float]) -> float:
        options: dict[str, Any] = {"std": std, "mean": mean, "n_nearest": n_nearest, "periods": periods}
        result = optimal_interpolation(obs.rename("obs"), lengths, noise_std, targets=targets, **options)
        return float(np.sqrt(((result["obs"].drop_vars(list(result.coords)) - expected) ** 2).mean()))

    scores = [rmse(lengths) for lengths in candidates]
    columns = {name: ("candidate", [float(one[name]) for one in candidates]) for name in coordinates}
    units = {key: obs.attrs[key] for key in ("units",) if key in obs.attrs}
    return dict(candidates[int(np.argmin(scores))]), xr.Dataset(
        {**columns, "rmse": ("candidate", scores, units)}
    )


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
