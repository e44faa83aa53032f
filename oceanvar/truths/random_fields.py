"""Simulated fields with chosen scales: material to learn from where real fields are few."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy import fft

from oceanvar.errors import ConfigError
from oceanvar.labels.coordinates import LATITUDE, LONGITUDE, is_time, metric_name, spacing

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
        latitude and longitude (known by name or units; they share one draw), days for dates, else the
        coordinate's own units.
    """

    std: Range
    lengths: Mapping[str, Range]

    def __post_init__(self) -> None:
        for name, (low, high) in {"std": self.std, **self.lengths}.items():
            if not 0 < low <= high < np.inf:
                raise ConfigError(f"{name} needs a range with 0 < low <= high < inf, got ({low}, {high})")


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
    GridMismatchError
        If a coordinate is not evenly spaced.
    MissingVariableError
        If a longitude comes without a latitude.
    """
    dims = [str(dim) for dim in template.dims]
    for component in components:
        if set(component.lengths) != set(dims):
            raise ConfigError(f"lengths must be given for {dims}, got {sorted(component.lengths)}")
    axes = [
        _Axis(dim, n, spacing(template, dim), _is_angle(template[dim]))
        for dim, n in zip(dims, template.shape, strict=True)
    ]
    sea = template.notnull().any([dim for dim in dims if is_time(template[dim])], keepdims=True).values
    members = np.empty((n_members, *template.shape), np.float32)
    for i in range(n_members):
        rng = np.random.default_rng([seed, i])
        total = sum(_component(axes, each, rng) for each in components)
        members[i] = np.where(sea, total, np.float32(np.nan))
    coords = {dim: template[dim] for dim in dims if dim in template.coords}
    return xr.DataArray(members, coords, ("member", *dims), str(template.name), attrs=template.attrs)


class _Axis(NamedTuple):
    """One dimension of the grid."""

    dim: str
    size: int
    step: float
    is_angle: bool


def _is_angle(coordinate: xr.DataArray) -> bool:
    return metric_name(coordinate) in (LATITUDE, LONGITUDE)


def _component(axes: Sequence[_Axis], scales: GaussianScales, rng: np.random.Generator) -> np.ndarray:
    """One field with scales that are drawn."""
    horizontal = rng.random()
    lengths = []
    for axis in axes:
        low, high = scales.lengths[axis.dim]
        share = horizontal if axis.is_angle else rng.random()
        lengths.append(low * (high / low) ** share / axis.step)
    std = scales.std[0] * (scales.std[1] / scales.std[0]) ** rng.random()
    return std * gaussian_field([axis.size for axis in axes], lengths, rng)


def gaussian_field(shape: Sequence[int], lengths: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Draw one Gaussian random field of variance 1 with the covariance exp(-sum d_i^2 / (2 L_i^2)).

    Parameters
    ----------
    shape : sequence of int
        Points along each axis.
    lengths : sequence of float
        L along each of them, points.
    rng : Generator
        Source of the noise.

    Returns
    -------
    ndarray
        Float32, of the shape.
    """
    padded = [
        fft.next_fast_len(n + int(np.ceil(N_LENGTHS_APART * length)), real=True)
        for n, length in zip(shape, lengths, strict=True)
    ]
    spectrum = fft.rfftn(rng.standard_normal(padded, dtype=np.float32))
    for number, (n, length) in enumerate(zip(padded, lengths, strict=True)):
        last = number == len(padded) - 1
        frequency = fft.rfftfreq(n) if last else fft.fftfreq(n)
        # The square root of the spectrum of exp(-d^2 / (2 L^2)), scaled to unit variance.
        gain = np.exp(-((np.pi * frequency * length) ** 2))
        weight = np.where((frequency == 0) | (frequency == 0.5), 1.0, 2.0) if last else np.ones(n)
        gain /= np.sqrt((weight * gain**2).sum() / n)
        spectrum *= gain.astype(np.float32).reshape(-1, *[1] * (len(padded) - 1 - number))
    field: np.ndarray = fft.irfftn(spectrum, padded)[tuple(map(slice, shape))]
    return field.astype(np.float32)
