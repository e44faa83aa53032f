"""Separable Gaussian covariances on points of space and time."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from oceanvar.errors import ConfigError
from oceanvar.labels import earth
from oceanvar.labels.coordinates import KM_PER_DEGREE, LATITUDE, LONGITUDE


@dataclass(frozen=True)
class GaussianCovariance:
    r"""Covariance :math:`\sigma^2 \exp(-\sum_i d_i^2 / (2 L_i^2))` between two points of space and time.

    The length L is the standard deviation of the Gaussian: the correlation is 0.61 at L and 0.14 at 2 L.
    Divide by the square root of 2 the lengths of papers that write exp(-d^2 / L^2).

    Attributes
    ----------
    std : float
        Standard deviation of the signal, in the units of the variable.
    lengths : Mapping[str, float]
        Length L of each coordinate, in the order of the columns of the points. ``latitude`` and ``longitude``
        are in degrees and their lengths in km on the sphere; a longitude needs a latitude. Any other
        coordinate has the length in its own units.
    periods : Mapping[str, float]
        Period of the coordinates that wrap, in their units. Longitudes wrap by themselves.

    Raises
    ------
    ConfigError
        When a number is not positive or finite, or the names do not fit together.
    """

    std: float
    lengths: Mapping[str, float]
    periods: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = {"std": self.std, **self.lengths, **self.periods}
        wrong = {name: float(value) for name, value in numbers.items() if not 0 < value < np.inf}
        if wrong:
            raise ConfigError(f"a covariance needs positive finite std, lengths and periods, not {wrong}")
        if LONGITUDE in self.lengths and LATITUDE not in self.lengths:
            raise ConfigError(
                "a length along 'longitude' needs one along 'latitude': a degree has no size without it"
            )
        unknown = sorted(set(self.periods) - set(self.lengths) | set(self.periods) & {LATITUDE, LONGITUDE})
        if unknown:
            raise ConfigError(
                f"periods are for coordinates with a length that are not angles on the sphere, not {unknown}"
            )

    def offsets(self, points: np.ndarray, centre: np.ndarray) -> np.ndarray:
        """Points relative to `centre`, both (..., d), in lengths in a plane that touches the sphere there.

        x = R cos(latitude of the centre) dlon and y = R dlat: a Euclidean plane for each centre, so the
        covariance matrix of points around one centre is positive definite.
        """
        scaled = np.asarray(points - centre, dtype=np.float64)
        for column, (name, length) in enumerate(self.lengths.items()):
            period = 360.0 if name == LONGITUDE else self.periods.get(name)
            if period is not None:
                scaled[..., column] -= period * np.round(scaled[..., column] / period)
            scaled[..., column] *= self._unit(name) / length
            if name == LONGITUDE:
                scaled[..., column] *= np.cos(np.deg2rad(centre[..., self._column(LATITUDE)]))
        return scaled

    def correlation(self, squared_distance: np.ndarray) -> np.ndarray:
        """Correlation at a squared distance in lengths."""
        return np.exp(-0.5 * squared_distance)

    def embed(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Euclidean coordinates (n, D) in lengths for a neighbour search, and the period (0: none) of each.

        Positions on the sphere become three coordinates. Their distances are those of `offsets`, up to the
        curvature of the Earth, if the lengths along latitude and longitude agree; if not, the longer one
        counts for both: what is within reach stays so.
        """
        columns, periods = [], []
        for column, (name, length) in enumerate(self.lengths.items()):
            if name == LONGITUDE:
                continue
            unit = self._unit(name) / length
            if name == LATITUDE and LONGITUDE in self.lengths:
                columns += self._sphere(points)
                periods += [0.0, 0.0, 0.0]
                continue
            period = self.periods.get(name, 0.0)
            # The second modulo is for tiny negative numbers, whose remainder rounds to the period itself.
            wrapped = np.mod(np.mod(points[:, column], period), period) if period else points[:, column]
            columns.append(wrapped * unit)
            periods.append(period * unit)
        return np.stack(columns, axis=-1), np.array(periods)

    def _sphere(self, points: np.ndarray) -> list[np.ndarray]:
        latitude = np.deg2rad(points[:, self._column(LATITUDE)])
        longitude = np.deg2rad(points[:, self._column(LONGITUDE)])
        radius = earth.RADIUS / max(self.lengths[LATITUDE], self.lengths[LONGITUDE])
        return [
            radius * np.cos(latitude) * np.cos(longitude),
            radius * np.cos(latitude) * np.sin(longitude),
            radius * np.sin(latitude),
        ]

    def _column(self, name: str) -> int:
        return list(self.lengths).index(name)

    def _unit(self, name: str) -> float:
        """Units of the length in one unit of the coordinate: km in a degree, or 1."""
        return KM_PER_DEGREE if name in (LATITUDE, LONGITUDE) else 1.0
