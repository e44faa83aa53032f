"""Covariances on points of space and time: one scale, or a sum of several."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from oceanvar.baselines.kernels import KERNELS
from oceanvar.errors import ConfigError
from oceanvar.labels import earth
from oceanvar.labels.coordinates import KM_PER_DEGREE, LATITUDE, LONGITUDE


@dataclass(frozen=True)
class Covariance:
    r"""Covariance :math:`\sigma^2 \rho(r)`, :math:`r^2 = \sum_i d_i^2 / L_i^2`, between two points, or a sum of such.

    `a + b` is the covariance of the sum of two independent signals, small eddies and large gyres, say.

    Gaussian, exp(-r^2 / 2): the correlation is 0.61 at L and 0.14 at 2 L. Divide by the square root of 2 the lengths
    of papers that write exp(-d^2 / L^2). The Matern functions have 0.37 (1/2), 0.48 (3/2) and 0.52 (5/2) at L.

    Parameters
    ----------
    std : float
        Standard deviation of the signal, in the units of the variable.
    lengths : Mapping[str, float]
        Length L of each coordinate, in the order of the columns of the points. ``latitude`` and ``longitude``
        are in degrees and their lengths in km on the sphere; a longitude needs a latitude. Any other
        coordinate has the length in its own units.
    periods : Mapping[str, float]
        Period of the coordinates that wrap, in their units. Longitudes wrap by themselves.
    kernel : str
        Correlation function: "gaussian", "matern12", "matern32" or "matern52".
    further : Covariance, optional
        What is added to this one, on the same coordinates.

    Raises
    ------
    ConfigError
        When a number is not positive or finite, the names do not fit together, or the kernel is unknown.
    """

    std: float
    lengths: Mapping[str, float]
    periods: Mapping[str, float] = field(default_factory=dict)
    kernel: str = "gaussian"
    further: "Covariance | None" = None

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
        if self.kernel not in KERNELS:
            raise ConfigError(f"there is no kernel {self.kernel!r}, only {list(KERNELS)}")
        if self.further and list(self.further.lengths) != list(self.lengths):
            raise ConfigError(
                f"covariances of {list(self.lengths)} and {list(self.further.lengths)} cannot be added: "
                "both need a length for every coordinate, in one order"
            )

    def __add__(self, other: "Covariance") -> "Covariance":
        """Sum of the two; the nearest observations remain those of the first."""
        return replace(self, further=other if self.further is None else self.further + other)

    @property
    def parts(self) -> "list[Covariance]":
        """The covariances of one scale that are added, this one first."""
        return [replace(self, further=None), *(self.further.parts if self.further else ())]

    @property
    def variance(self) -> float:
        """Variance of the signal, that of all parts."""
        return self.std**2 + (self.further.variance if self.further else 0.0)

    @property
    def reach(self) -> float:
        """Distance in lengths of the first part where every part has a negligible correlation."""
        return max(KERNELS[part.kernel].reach / float(self._ratios(part).min()) for part in self.parts)

    def scaled(self, factor: float) -> "Covariance":
        """The same for a signal that is `factor` times as large."""
        further = self.further and self.further.scaled(factor)
        return replace(self, std=self.std * factor, further=further)

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

    def with_centre(self, local: np.ndarray) -> np.ndarray:
        """Covariance (n, k) of points at `offsets` (n, k, d) of a centre with the centre."""
        return self._summed(lambda ratios: ((local * ratios) ** 2).sum(axis=-1))

    def between(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Covariance (n, k, l) of points at `offsets` (n, k, d) and (n, l, d) of a centre with each other."""
        return self._summed(lambda ratios: _squared_distances(rows * ratios, columns * ratios))

    def _summed(self, squared: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Sum over the parts, at squared distances for given lengths of this covariance in those of the part."""
        first, *others = (
            part.std**2 * KERNELS[part.kernel].correlation(squared(self._ratios(part))) for part in self.parts
        )
        return sum(others, start=first)

    def _ratios(self, part: "Covariance") -> np.ndarray:
        """Lengths of this covariance in those of a part."""
        return np.array([length / part.lengths[name] for name, length in self.lengths.items()])

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


def correlation_of(
    scales: Sequence[Mapping[str, float]],
    periods: Mapping[str, float],
    kernel: str | Sequence[str] = "gaussian",
    shares: Sequence[float] | None = None,
) -> Covariance:
    """Sum of scales whose variances add up to one.

    Parameters
    ----------
    scales : sequence of Mapping[str, float]
        Lengths of each scale.
    periods : Mapping[str, float]
        Of `Covariance`.
    kernel : str or sequence of str
        For all scales or for each.
    shares : sequence of float, optional
        Share of each scale in the variance, in any unit; default: equal ones.

    Raises
    ------
    ConfigError
        As of `Covariance`, or when there are not as many kernels or shares as scales, or one is not positive.
    """
    kernels = [kernel] * len(scales) if isinstance(kernel, str) else list(kernel)
    weights = np.ones(len(scales)) if shares is None else np.asarray(shares, dtype=np.float64)
    if not len(scales) == len(kernels) == len(weights):
        raise ConfigError(
            f"{len(scales)} scales of lengths need as many kernels ({len(kernels)}) and shares ({len(weights)})"
        )
    if not (weights > 0).all():
        raise ConfigError(f"the shares of scales must be positive, not {weights.tolist()}")
    stds = np.sqrt(weights / weights.sum())
    first, *others = (
        Covariance(float(std), lengths, periods, name)
        for std, lengths, name in zip(stds, scales, kernels, strict=True)
    )
    return sum(others, start=first)


def _squared_distances(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    squares = rows @ (-2.0 * columns.swapaxes(-1, -2))
    squares += np.einsum("nkd,nkd->nk", rows, rows)[:, :, np.newaxis]
    squares += np.einsum("nkd,nkd->nk", columns, columns)[:, np.newaxis, :]
    return np.maximum(squares, 0.0, out=squares)
