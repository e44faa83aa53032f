"""An ocean to practise on: simulated sea level and a temperature stirred by it, labelled."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from oceanvar.dynamics.integrators import FlowStep, iterate
from oceanvar.dynamics.quasigeostrophic import QuasiGeostrophic, shortest_scale
from oceanvar.errors import ConfigError
from oceanvar.labels.coordinates import KM_PER_DEGREE

KM_PER_DAY = 86.4
"""One metre per second."""

GRADIENT = -8e-3
"""Of the mean temperature to the north, K/km."""

FASTEST = 2.0
"""Speed in m/s up to which the time step is stable, five times the root mean square of the currents."""

STABLE = 2.7
"""Largest frequency times time step of the fourth-order Runge-Kutta scheme, with a little to spare."""

MEAN_TEMPERATURE = 18.0
"""Of the middle of the box, degrees Celsius."""

_FRICTION, _SURFACE_FRICTION = 1e-3, 6e-4  # 1/km; such that both variants have eddies of a usual height
_RESOLVED = 3.0  # largest wavenumber of the grid of the spin-up, in deformation radii: eddies grow below 1.8
_N_SETTLING = 20  # days on the fine grid, for the scales that the coarse one lacks
_FIRST_RMS = 0.1  # m
_ATTRS = {
    "ssh": {"standard_name": "sea_surface_height_above_geoid", "long_name": "sea level", "units": "m"},
    "sst": {
        "standard_name": "sea_surface_temperature",
        "long_name": "temperature stirred by the geostrophic currents",
        "units": "degree_Celsius",
    },
    "latitude": {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
    "longitude": {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
    "time": {"standard_name": "time", "axis": "T"},
}


def quasigeostrophic(
    n_days: int,
    seed: int | Sequence[int] = 0,
    *,
    resolution: float = 0.1,
    size: float = 10.0,
    latitude: float = 35.0,
    longitude: float = -60.0,
    deformation_radius: float = 30.0,
    surface: bool = False,
    start: str = "2000-01-01",
    n_spinup: int = 250,
) -> xr.Dataset:
    """Sea level and temperature of a simulated ocean full of eddies, every day.

    The flow is that of `oceanvar.dynamics.quasigeostrophic.QuasiGeostrophic` in a box that is periodic in both
    directions, in a statistically steady state: with the defaults about 0.14 m of sea level and 0.45 m/s of
    current (root mean squares), eddies 100 to 200 km wide that last for weeks. Temperature departs from a mean
    that falls to the north by 0.9 degrees per degree of latitude, to which it is relaxed; only its departure is
    periodic. A year takes about half a minute of one core.

    Parameters
    ----------
    n_days : int
        Days to return.
    seed : int or sequence of int
        Of the random initial state; each seed is an independent ocean. A sequence gives a dimension ``trajectory``
        of which every entry is the ocean that its seed gives alone.
    resolution : float
        Distance of the grid points in degrees, 1/20 to 1/10; `size` is a multiple of it. Where it is more than
        about half the deformation radius, eddies fade away.
    size : float
        Of the box along latitude and longitude, degrees.
    latitude, longitude : float
        Centre of the box.
    deformation_radius : float
        25 to 40 km at middle latitudes; the sea level is higher (0.09 to 0.18 m) and the eddies wider with it.
    surface : bool
        Surface quasi-geostrophic flow: smaller eddies and sharper fronts.
    start : str
        First day.
    n_spinup : int
        Days between the random state and the first one returned, most of them on a coarser grid.

    Returns
    -------
    Dataset
        ``ssh`` in m, of zero mean at every time, and ``sst`` in degrees Celsius; float32 over
        ([trajectory,] time, latitude, longitude).

    Raises
    ------
    ConfigError
        If a number is out of range or the integration is unstable.
    """
    n_points = round(size / resolution)
    seeds = [int(each) for each in np.atleast_1d(seed)]
    if (
        not seeds
        or n_days < 1
        or n_spinup < 0
        or n_points < 16
        or abs(n_points * resolution - size) > 1e-6 * size
    ):
        raise ConfigError(
            f"an ocean needs a seed, n_days >= 1, n_spinup >= 0 and at least 16 whole steps of the resolution; got "
            f"{seeds}, {n_days}, {n_spinup} and {size} / {resolution} = {size / resolution:.6g}"
        )
    physics = {"latitude": latitude, "deformation_radius": deformation_radius, "surface": surface}
    states = np.stack([_simulated(n_days, n_spinup, n_points, size, each, physics) for each in seeds])
    days = np.datetime64(start, "ns") + np.arange(n_days) * np.timedelta64(1, "D")
    offsets = resolution * (np.arange(n_points) - (n_points - 1) / 2)
    axes = {"time": days, "latitude": latitude + offsets, "longitude": longitude + offsets}
    # The mean temperature is added here: the box wraps only without it.
    mean = MEAN_TEMPERATURE + GRADIENT * KM_PER_DEGREE * offsets
    states[:, 1] += mean[:, None].astype(np.float32)
    attrs = {**physics, "surface": int(surface), "n_spinup": n_spinup, "seed": seeds}
    ds = _labelled(states, axes, attrs)
    if np.ndim(seed) == 0:
        return ds.isel(trajectory=0).assign_attrs(seed=seeds[0])
    about = {"long_name": "seed of the trajectory", "units": "1"}
    return ds.assign_coords(trajectory=("trajectory", seeds, about))


def _labelled(states: np.ndarray, axes: Mapping[str, np.ndarray], attrs: Mapping[str, object]) -> xr.Dataset:
    """Dataset from an array (trajectory, variable, time, latitude, longitude)."""
    dims = ("trajectory", *axes)
    variables = {name: (dims, states[:, i], _ATTRS[name]) for i, name in enumerate(("ssh", "sst"))}
    coords = {name: (name, values, _ATTRS[name]) for name, values in axes.items()}
    return xr.Dataset(
        variables, coords, {"title": "Simulated quasi-geostrophic ocean", "Conventions": "CF-1.11", **attrs}
    )


def _simulated(
    n_days: int, n_spinup: int, n_points: int, size: float, seed: int, physics: Mapping[str, Any]
) -> np.ndarray:
    """Daily sea level and departure of temperature of one ocean, (variable, time, latitude, longitude)."""
    n_coarse = min(n_points, _n_resolving(size, physics["deformation_radius"]))
    n_settling = min(_N_SETTLING, n_spinup)
    coarse = one_day(n_coarse, size, physics)
    state = iterate(coarse, _random_state(n_coarse, seed), n_spinup - n_settling + 1)[-1]
    fine = one_day(n_points, size, physics)
    days = iterate(fine, _refined(state, n_points), n_settling + n_days)[n_settling:]
    return np.moveaxis(days[:, 0, :, 0], 0, 1)


def one_day(n_points: int, size: float, physics: Mapping[str, Any]) -> FlowStep:
    """Model step of a day in a box of `size` degrees, as `day_of_box`."""
    north = size * KM_PER_DEGREE
    lengths = (north, north * math.cos(math.radians(physics["latitude"])))
    return day_of_box((n_points, n_points), lengths, physics)


def day_of_box(shape: Sequence[int], lengths: Sequence[float], physics: Mapping[str, Any]) -> FlowStep:
    """Model step of a day, in as many Runge-Kutta steps as the fastest current needs.

    Parameters
    ----------
    shape : (int, int)
        Points along latitude and longitude.
    lengths : (float, float)
        Size of the periodic box along both, km.
    physics : mapping
        ``latitude``, ``deformation_radius`` and ``surface``, as for `quasigeostrophic`.
    """
    friction = _SURFACE_FRICTION if physics["surface"] else _FRICTION
    tendency = QuasiGeostrophic(shape, lengths, friction=friction, gradient=GRADIENT, **physics)
    frequency = FASTEST * KM_PER_DAY * shortest_scale(shape, lengths)
    return FlowStep(tendency, dt=1.0, n_substeps=math.ceil(frequency / STABLE))


def _n_resolving(size: float, deformation_radius: float) -> int:
    """Points of a coarse grid on which eddies still grow: `shortest_scale` the other way round."""
    return math.ceil(_RESOLVED * 3 * size * KM_PER_DEGREE / (2 * math.pi * deformation_radius))


def _random_state(n_points: int, seed: int) -> np.ndarray:
    """Smooth random sea level of unit batch and time, and no departure of temperature."""
    noise = np.random.default_rng(seed).standard_normal((n_points, n_points))
    cycles = np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(n_points, 1 / n_points)]))
    field = np.fft.ifft2(np.fft.fft2(noise) * (cycles > 0) * np.exp(-(((cycles - 5) / 2) ** 2))).real
    state = np.zeros((1, 2, 1, n_points, n_points), np.float32)
    state[0, 0, 0] = _FIRST_RMS * field / field.std()
    return state


def _refined(fields: np.ndarray, n_points: int) -> np.ndarray:
    """The same waves on a finer grid."""
    n_coarse = fields.shape[-1]
    number = np.fft.fftfreq(n_coarse, 1 / n_coarse).astype(int)
    spectrum = np.zeros((*fields.shape[:-2], n_points, n_points), complex)
    spectrum[..., number[:, None], number] = np.fft.fft2(fields)
    return (np.fft.ifft2(spectrum).real * (n_points / n_coarse) ** 2).astype(fields.dtype)
