"""Errors that the observations of one satellite pass have in common."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.labels.coordinates import coordinate_of

MINUTES_A_DAY = 1440.0


@dataclass(frozen=True)
class PassErrors:
    """Covariance of errors E E^T between observations of one pass, none between passes.

    A bias of variance b^2 is a column of E of b; a slope along the pass one of s times the position.

    Attributes
    ----------
    passes : array (m,)
        Number or name of the pass of each observation.
    columns : array (m, q)
        E, in the units of the observations.

    Raises
    ------
    ConfigError
        When the two do not fit together, or a column is not finite.
    """

    passes: np.ndarray
    columns: np.ndarray

    def __post_init__(self) -> None:
        if self.columns.ndim != 2 or self.columns.shape[:1] != self.passes.shape:
            raise ConfigError(
                f"the errors of passes of shape {self.passes.shape} need columns (m, q), not {self.columns.shape}"
            )
        if not np.isfinite(self.columns).all():
            raise ConfigError(f"{(~np.isfinite(self.columns)).sum()} of the errors of passes are not finite")

    @classmethod
    def of_orbits(
        cls, passes: np.ndarray, time_days: np.ndarray, bias_std: float, slope_std: float = 0.0
    ) -> "PassErrors":
        """Bias and slope of each pass, independent of each other.

        Parameters
        ----------
        passes : array (m,)
            Number or name of the pass of each observation.
        time_days : array (m,)
            Times of the observations.
        bias_std : float
            Standard deviation of the bias, in the units of the observations.
        slope_std : float
            Standard deviation of the slope, in their units per minute of flight (some 400 km) from the middle of
            the pass, which is the mean time of its observations.

        Raises
        ------
        ConfigError
            When a standard deviation is negative or not finite.
        """
        if not (0 <= bias_std < np.inf and 0 <= slope_std < np.inf):
            raise ConfigError(f"bias_std ({bias_std}) and slope_std ({slope_std}) must be finite, 0 or more")
        _, number, counts = np.unique(passes, return_inverse=True, return_counts=True)
        middle = np.bincount(number, time_days) / counts
        minutes = MINUTES_A_DAY * (time_days - middle[number])
        columns = np.stack([np.full(len(number), bias_std), slope_std * minutes], axis=-1)
        return cls(number, columns[:, [bias_std > 0, slope_std > 0]])

    def of_part(self, which: np.ndarray) -> "PassErrors":
        """Those of a part of the observations."""
        return PassErrors(self.passes[which], self.columns[which])

    def scaled(self, factor: float | np.ndarray) -> "PassErrors":
        """Errors multiplied by a factor, one or one for each observation."""
        return PassErrors(self.passes, self.columns * np.reshape(factor, (-1, 1)))

    def among(self, near: np.ndarray) -> np.ndarray:
        """Covariance (..., k, k) between the observations with the numbers `near` (..., k)."""
        columns, passes = self.columns[near], self.passes[near]
        shared = columns @ columns.swapaxes(-1, -2)
        shared *= passes[..., :, np.newaxis] == passes[..., np.newaxis, :]
        return shared


@dataclass(frozen=True)
class OrbitErrors:
    """Bias and slope that the samples of each pass have in common: of the orbit, say, or of a correction.

    Parameters
    ----------
    bias_std, slope_std : float
        As of `PassErrors.of_orbits`.
    passes : str
        Name of the coordinate that numbers the passes.
    """

    bias_std: float
    slope_std: float = 0.0
    passes: str = "track"

    def scaled(self, factor: float) -> "OrbitErrors":
        """Errors multiplied by a factor."""
        return OrbitErrors(self.bias_std * factor, self.slope_std * factor, self.passes)

    def of_samples(
        self, samples: xr.Dataset, times: Sequence[xr.DataArray], dims: Sequence[Hashable]
    ) -> PassErrors:
        """Errors of samples over `dims`, whose only time in days is `times`.

        Raises
        ------
        MissingVariableError
            When the samples do not have the coordinate of passes.
        ConfigError
            When there is not one time, or a standard deviation is impossible.
        """
        if len(times) != 1:
            raise ConfigError(f"errors of passes need a length along one time, and {len(times)} are given")
        layout = xr.broadcast(coordinate_of(samples, self.passes), *times)
        passes, days = (one.transpose(*dims).values.ravel() for one in layout)
        return PassErrors.of_orbits(passes, days, self.bias_std, self.slope_std)
