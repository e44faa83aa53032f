"""Simulated fields with chosen scales: material to learn from where real fields are few."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy import fft

from oceanvar.baselines.covariance import EARTH_RADIUS, LATITUDE, LONGITUDE
from oceanvar.baselines.fields import coordinate_of, metric_name, numeric_coordinate
from oceanvar.errors import ConfigError, GridMismatchError

N_LENGTHS_APART = 3.0
"""Margin, in lengths, after which two points of the periodic simulation are far apart."""

Range = tuple[float, float]


@dataclass(frozen=True)
class GaussianScales:
    """Ranges from which one component of a simulated field draws its size and its scales.

    Parameters
    ----------
    std : (float, float)
        Least and greatest standard deviation, in the units of the field.
    lengths : mapping of str to (float, float)
        Least and greatest length L of the covariance exp(-d^2 / (2 L^2)) for each dimension: km for
        latitude and longitude (which share one draw), days for dates, else the coordinate's own units.
    """

    std: Range
    lengths: Mapping[str, Range]

    def __post_init__(self) -> None:
        for name, (low, high) in {"std": self.std, **self.lengths}.items():
            if not 0 < low <= high:
                raise ConfigError(f"{name} needs a range with 0 < low <= high, got ({low}, {high})")


def gaussian_fields(
    template: xr.DataArray, components: Sequence[GaussianScales], n_members: int, seed: int = 0
) -> xr.DataArray:
    """Draw Gaussian random fields on the grid of a template.

    Each member is a sum of components whose sizes and lengths are drawn log-uniformly, so that a
    network trained on them meets every mixture of scales. The grid is taken as regular, with the
    spacing at its middle latitude.

    Parameters
    ----------
    template : DataArray
        Grid and land mask: a cell that is NaN at every time is NaN in the result.
    components : sequence of GaussianScales
        What is added up; each names every dimension of the template.
    n_members : int
        Fields to draw.
    seed : int
        Of the draws.

    Returns
    -------
    DataArray
        Float32, dimension ``member`` and those of the template.

    Raises
    ------
    ConfigError
        If a component lacks a dimension of the template.
    """
    dims = [str(dim) for dim in template.dims]
    for component in components:
        if set(component.lengths) != set(dims):
            raise ConfigError(f"lengths must be given for {dims}, got {sorted(component.lengths)}")
    spacing = {dim: _spacing(template, dim) for dim in dims}
    sea = template.notnull().any(dims[0]).values if len(dims) > 1 else np.True_
    members = np.empty((n_members, *template.shape), np.float32)
    for i in range(n_members):
        rng = np.random.default_rng([seed, i])
        total = sum(_component(template.shape, spacing, each, rng) for each in components)
        members[i] = np.where(sea, total, np.float32(np.nan))
    coords = {dim: template[dim] for dim in dims if dim in template.coords}
    return xr.DataArray(members, coords, ("member", *dims), str(template.name), attrs=template.attrs)


def _component(
    shape: tuple[int, ...], spacing: Mapping[str, float], scales: GaussianScales, rng: np.random.Generator
) -> np.ndarray:
    """Filter white noise on a periodic grid, larger than asked for by some lengths, and cut."""
    horizontal = rng.random()
    lengths = []
    for dim, step in spacing.items():
        low, high = scales.lengths[dim]
        share = horizontal if dim in (LATITUDE, LONGITUDE) else rng.random()
        lengths.append(low * (high / low) ** share / step)
    std = scales.std[0] * (scales.std[1] / scales.std[0]) ** rng.random()
    padded = [
        fft.next_fast_len(n + int(np.ceil(N_LENGTHS_APART * length)), real=True)
        for n, length in zip(shape, lengths, strict=True)
    ]
    spectrum = fft.rfftn(rng.standard_normal(padded, dtype=np.float32))
    for axis, (n, length) in enumerate(zip(padded, lengths, strict=True)):
        last = axis == len(padded) - 1
        frequency = fft.rfftfreq(n) if last else fft.fftfreq(n)
        # The square root of the spectrum of exp(-d^2 / (2 L^2)), scaled to unit variance.
        gain = np.exp(-((np.pi * frequency * length) ** 2))
        weight = np.where((frequency == 0) | (frequency == 0.5), 1.0, 2.0) if last else np.ones(n)
        gain /= np.sqrt((weight * gain**2).sum() / n)
        spectrum *= gain.astype(np.float32).reshape(-1, *[1] * (len(padded) - 1 - axis))
    field = fft.irfftn(spectrum, padded)
    return (std * field[tuple(slice(n) for n in shape)]).astype(np.float32)


def _spacing(template: xr.DataArray, dim: str) -> float:
    """Distance of neighbouring points: km for latitude and longitude, days for dates."""
    coordinate = coordinate_of(template, dim)
    values = numeric_coordinate(coordinate, coordinate[0]).values
    steps = np.abs(np.diff(values))
    if len(steps) == 0 or steps.max() - steps.min() > 0.01 * steps.mean():
        raise GridMismatchError(
            f"simulated fields need an evenly spaced coordinate {dim!r} of at least two points"
        )
    kilometres = EARTH_RADIUS * np.pi / 180
    metric = metric_name(coordinate)
    if metric == LONGITUDE and LATITUDE in template.coords:
        kilometres *= np.cos(np.deg2rad(float(template[LATITUDE].mean())))
    return float(steps.mean()) * (kilometres if metric in (LATITUDE, LONGITUDE) else 1.0)
