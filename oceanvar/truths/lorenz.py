"""Labelled truth from the Lorenz systems, and windows of it."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from oceanvar.dynamics.integrators import simulate
from oceanvar.dynamics.lorenz import Lorenz63, Lorenz96
from oceanvar.errors import ConfigError, GridMismatchError, MissingVariableError, PatchError


def lorenz63(
    n_steps: int,
    dt: float = 0.01,
    seed: int = 0,
    n_trajectories: int | None = None,
    n_spinup: int = 2000,
    sigma: float = 10.0,
    rho: float = 28.0,
    beta: float = 8 / 3,
) -> xr.Dataset:
    """Trajectories of the system of Lorenz (1963, J. Atmos. Sci. 20, 130-141, eqs. 25-27), labelled.

    Parameters
    ----------
    n_steps : int
        Number of states, `dt` apart.
    dt : float
        Step of the integration and of the output, in model time.
    seed : int
        Seed of the random initial states.
    n_trajectories : int, optional
        Number of independent trajectories; without it there is one, and no dimension for it.
    n_spinup : int
        Steps from the random initial state to the first state returned.
    sigma, rho, beta : float
        Parameters of the system.

    Returns
    -------
    xarray.Dataset
        Variables x, y, z with dimensions ([trajectory,] time); float64, dimensionless.

    Raises
    ------
    ConfigError
        If a number is out of range or the integration is unstable.

    Examples
    --------
    >>> dict(lorenz63(n_steps=5, n_trajectories=2).sizes)
    {'trajectory': 2, 'time': 5}
    """
    anomalies = _random_states(seed, n_trajectories, (3, 1))
    initial = np.array([0.0, 0.0, rho - 1])[:, None] + 5 * anomalies
    states = simulate(Lorenz63(sigma, rho, beta), initial, dt, n_steps, n_spinup)
    attrs = {"title": "Lorenz-63 system", "sigma": sigma, "rho": rho, "beta": beta}
    data = {name: states[:, :, i, 0] for i, name in enumerate("xyz")}
    return _labelled(data, (), n_trajectories, dt, {**attrs, "seed": seed, "n_spinup": n_spinup})


def lorenz96(
    n_steps: int,
    dt: float = 0.05,
    n_sites: int = 40,
    forcing: float = 8.0,
    seed: int = 0,
    n_trajectories: int | None = None,
    n_spinup: int = 500,
) -> xr.Dataset:
    """Trajectories of the system of Lorenz (1996, ECMWF Seminar on Predictability I, eq. 1), labelled.

    Parameters
    ----------
    n_steps : int
        Number of states, `dt` apart.
    dt : float
        Step of the integration and of the output, in model time.
    n_sites : int
        Number of sites on the circle, at least 4.
    forcing : float
        F of the equation.
    seed : int
        Seed of the random initial states.
    n_trajectories : int, optional
        Number of independent trajectories; without it there is one, and no dimension for it.
    n_spinup : int
        Steps from the random initial state to the first state returned.

    Returns
    -------
    xarray.Dataset
        Variable x with dimensions ([trajectory,] time, site); float64, dimensionless. The sites are periodic.

    Raises
    ------
    ConfigError
        If a number is out of range or the integration is unstable.
    """
    if n_sites < 4:
        raise ConfigError(f"the Lorenz-96 system needs at least 4 sites; got n_sites = {n_sites}")
    initial = forcing + _random_states(seed, n_trajectories, (1, 1, n_sites))
    states = simulate(Lorenz96(forcing), initial, dt, n_steps, n_spinup)
    attrs = {"title": "Lorenz-96 system", "forcing": forcing, "seed": seed, "n_spinup": n_spinup}
    ds = _labelled({"x": states[:, :, 0, 0]}, ("site",), n_trajectories, dt, attrs)
    return ds.assign_coords(site=("site", np.arange(n_sites), {"long_name": "site", "units": "1"}))


def windows(ds: xr.Dataset, size: int, stride: int | None = None, dim: str = "time") -> xr.Dataset:
    """Cut long trajectories into windows along a new first dimension ``"window"``.

    The coordinate of `dim` becomes relative to the start of the window, and the start itself is kept as the
    coordinate ``"<dim>_start"``. Where there is a dimension ``"trajectory"``, it is folded into ``"window"``,
    the windows of one trajectory following each other, and stays as a coordinate of it.

    Parameters
    ----------
    ds : Dataset
        Trajectories, evenly spaced along `dim`.
    size : int
        Number of points of a window.
    stride : int, optional
        Points from one start to the next; by default `size`, so that windows do not overlap. Points that
        fill no whole window are left out.
    dim : str
        Dimension to cut.

    Returns
    -------
    Dataset
        Dimensions (window, `dim`, ...) in place of ([trajectory,] `dim`, ...).

    Raises
    ------
    MissingVariableError
        If `dim` is missing.
    PatchError
        If `size` or `stride` does not fit.
    GridMismatchError
        If `dim` is not evenly spaced.

    Examples
    --------
    >>> dict(windows(lorenz63(n_steps=10, n_trajectories=2), size=4).sizes)
    {'time': 4, 'window': 4}
    """
    if dim not in ds.sizes:
        raise MissingVariableError(f"cannot cut windows along {dim!r}; the dataset has {tuple(ds.sizes)}")
    stride = size if stride is None else stride
    if not 1 <= size <= ds.sizes[dim] or stride < 1:
        raise PatchError(
            f"windows of size {size} and stride {stride} do not fit the dimension {dim!r} of size "
            f"{ds.sizes[dim]}; use 1 <= size <= {ds.sizes[dim]} and stride >= 1"
        )
    starts = np.arange(0, ds.sizes[dim] - size + 1, stride)
    index = xr.DataArray(starts[:, None] + np.arange(size), dims=("window", dim))
    cut = ds.drop_vars(dim, errors="ignore").isel({dim: index})
    if dim in ds.coords:
        cut = cut.assign_coords(_window_coords(ds[dim], index))
    if "trajectory" in cut.dims:
        cut = cut.rename(window="part").stack(window=("trajectory", "part"), create_index=False)
    return cut.transpose("window", dim, ...)


def _random_states(seed: int, n_trajectories: int | None, shape: tuple[int, ...]) -> np.ndarray:
    n_all = 1 if n_trajectories is None else n_trajectories
    if n_all < 1:
        raise ConfigError(f"n_trajectories is {n_trajectories}; use at least 1, or None for a single one")
    return np.random.default_rng(seed).standard_normal((n_all, *shape))


def _labelled(
    data: Mapping[str, np.ndarray],
    space: tuple[str, ...],
    n_trajectories: int | None,
    dt: float,
    attrs: Mapping[str, object],
) -> xr.Dataset:
    """Dataset from arrays of shape (time, trajectory, *space)."""
    variables = {}
    for name, values in data.items():
        by_trajectory = np.ascontiguousarray(np.moveaxis(values, 1, 0))
        about = {"long_name": f"{attrs['title']}, {name}", "units": "1"}
        variables[name] = (("trajectory", "time", *space), by_trajectory, about)
    integrator = "classical fourth-order Runge-Kutta, fixed step, double precision"
    ds = xr.Dataset(variables, attrs={**attrs, "dt": dt, "integrator": integrator})
    about = {"long_name": "model time", "units": "1"}
    ds = ds.assign_coords(time=("time", dt * np.arange(ds.sizes["time"]), about))
    if n_trajectories is None:
        return ds.isel(trajectory=0)
    about = {"long_name": "trajectory", "units": "1"}
    return ds.assign_coords(trajectory=("trajectory", np.arange(n_trajectories), about))


def _window_coords(coordinate: xr.DataArray, index: xr.DataArray) -> dict[str, xr.Variable]:
    dim, attrs = str(coordinate.name), coordinate.attrs
    values = coordinate.values[index.values]
    relative = values - values[:, :1]
    # A thousandth of the window is far above the rounding of model times and below any real gap.
    if not np.all(np.abs(relative - relative[0]) <= 1e-3 * np.abs(relative[0, -1])):
        raise GridMismatchError(f"the coordinate {dim!r} is not evenly spaced; interpolate it before cutting")
    start = xr.Variable("window", values[:, 0], attrs)
    return {dim: xr.Variable(dim, relative[0], attrs), f"{dim}_start": start}
