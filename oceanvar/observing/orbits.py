"""Ground tracks of circular, repeating orbits from three published numbers each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np

from oceanvar.errors import ConfigError
from oceanvar.labels import earth

ORBIT_EPOCH = "2000-01-01"
"""Day at whose start every orbit here crosses the equator northward."""

STRETCHES = (240.0, 30.0)
"""Stretches of a track, s: a search for a box looks at long ones, then at the short parts of those near it."""

Range = tuple[float, float]


class Positions(NamedTuple):
    """Points on the Earth, all of shape (n,).

    Attributes
    ----------
    longitude, latitude : ndarray
        Degrees east, counted on from the western border of the box, and geodetic degrees north.
    days : ndarray
        Days since `ORBIT_EPOCH`.
    passes : ndarray of int
        Number of the pass: half a revolution from one turning latitude to the other.
    cross_track : ndarray
        Distance to the ground track in km, positive to the right of the flight.
    """

    longitude: np.ndarray
    latitude: np.ndarray
    days: np.ndarray
    passes: np.ndarray
    cross_track: np.ndarray


@final
@dataclass(frozen=True)
class Orbit:
    """A circular orbit whose ground track repeats.

    The track departs by some 20 km from that of a real satellite, and the times of its crossings are not the real
    ones, so it is for simulations.

    Parameters
    ----------
    inclination : float
        Degrees; above 90 for retrograde orbits.
    n_revolutions : int
        In one cycle.
    n_turns : int
        Turns of the Earth below the orbital plane in one cycle.
    cycle_days : float
        Until the track repeats; not whole, as the orbital plane turns slowly too.
    node : float
        Longitude of the first northward crossing of the equator, degrees east.

    Raises
    ------
    ConfigError
        If the numbers describe no such orbit.
    """

    inclination: float
    n_revolutions: int
    n_turns: int
    cycle_days: float
    node: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.inclination < 180 or min(self.n_revolutions, self.n_turns, self.cycle_days) <= 0:
            raise ConfigError(
                "an orbit needs an inclination between 0 and 180 degrees, and a cycle of positive numbers of "
                f"revolutions, turns and days; got {self}"
            )

    def track(self, days: np.ndarray, cross_track: float | np.ndarray = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Longitude (0 to 360) and geodetic latitude in degrees, beside or on the ground track.

        Parameters
        ----------
        days : ndarray
            Days since `ORBIT_EPOCH`, any shape.
        cross_track : float or ndarray
            Distances to the right of the track, km; broadcast against `days`.
        """
        below = self._unit_vector(days)
        if np.any(cross_track):
            second = 1 / 86_400
            ahead = self._unit_vector(days + second) - self._unit_vector(days - second)
            right = np.cross(ahead, below, axis=0)
            right /= np.linalg.norm(right, axis=0)
            angle = np.asarray(cross_track) / earth.RADIUS
            below = np.cos(angle) * below + np.sin(angle) * right
        longitude = np.rad2deg(np.arctan2(below[1], below[0])) % 360
        # The vertical of the ellipsoid, on which latitudes are counted, does not point to its centre.
        height = below[2] / (1 - earth.FLATTENING) ** 2
        return longitude, np.rad2deg(np.arctan2(height, np.hypot(below[0], below[1])))

    def passes(self, days: np.ndarray) -> np.ndarray:
        """Number of the pass at `days` since `ORBIT_EPOCH`."""
        return np.floor(2 * self.n_revolutions * days / self.cycle_days + 0.5).astype(int)

    def over(
        self,
        longitude: Range,
        latitude: Range,
        days: Range,
        cross_track: Sequence[float] = (0.0,),
        step: float = 1.0,
    ) -> Positions:
        """Positions inside a box, ordered in time.

        Parameters
        ----------
        longitude, latitude : (float, float)
            Western and eastern, southern and northern border, degrees; the box may lie anywhere on the circle.
        days : (float, float)
            First and last time, days since `ORBIT_EPOCH`.
        cross_track : sequence of float
            Distances to the track, km.
        step : float
            Seconds between two positions along the track, at 6 to 7 km per second.
        """
        times = self._near(longitude, latitude, days, max(map(abs, cross_track)), step)
        distances = np.sort(np.asarray(cross_track, dtype=float))
        east, north = self.track(times[:, None], distances)
        east = longitude[0] + (east - longitude[0]) % 360
        inside = (east <= longitude[1]) & (north >= latitude[0]) & (north <= latitude[1])
        moments, places = np.nonzero(inside)
        seen = times[moments]
        return Positions(east[inside], north[inside], seen, self.passes(seen), distances[places])

    def _near(self, longitude: Range, latitude: Range, days: Range, widest: float, step: float) -> np.ndarray:
        """Times, `step` seconds apart, of stretches of the track that may see the box."""
        long, short = STRETCHES
        seconds = np.arange(np.floor(days[0] * 86_400 / long), np.ceil(days[1] * 86_400 / long)) * long
        for stretch, length in ((long, short), (short, step)):
            east, north = self.track((seconds + 0.5 * stretch) / 86_400)
            reach = (widest + 7.0 * stretch) / 111.0
            polar = np.minimum(np.abs(latitude).max() + reach, 89.0)
            wide = reach / np.cos(np.deg2rad(polar))
            near = (east - longitude[0] + wide) % 360 <= longitude[1] - longitude[0] + 2 * wide
            near &= (north >= latitude[0] - reach) & (north <= latitude[1] + reach)
            n_parts = max(1, round(stretch / length))
            seconds = (seconds[near, None] + np.arange(n_parts) * (stretch / n_parts)).ravel()
        times = seconds / 86_400
        return times[(times >= days[0]) & (times <= days[1])]

    def _unit_vector(self, days: np.ndarray) -> np.ndarray:
        """Point below the satellite, in a frame that turns with the Earth: x, y, z on the first axis."""
        turns = np.asarray(days) / self.cycle_days
        along = 2 * np.pi * self.n_revolutions * turns
        tilt = np.deg2rad(self.inclination)
        east = np.deg2rad(self.node) - 2 * np.pi * self.n_turns * turns
        x, y = np.cos(along), np.cos(tilt) * np.sin(along)
        return np.stack(
            [
                x * np.cos(east) - y * np.sin(east),
                x * np.sin(east) + y * np.cos(east),
                np.sin(tilt) * np.sin(along),
            ]
        )


_JASON = (66.04, 127, 10, 9.9156)
_SENTINEL3 = (98.65, 385, 27, 27.0)

MISSIONS = {
    "jason": Orbit(*_JASON, node=99.92),
    # Half-way between the tracks of the orbit above.
    "jason_interleaved": Orbit(*_JASON, node=99.92 + 180 / 127),
    "sentinel3a": Orbit(*_SENTINEL3),
    "sentinel3b": Orbit(*_SENTINEL3, node=180 / 385),
    "altika": Orbit(98.55, 501, 35, 35.0),
    "cryosat2": Orbit(92.0, 5344, 369, 368.2396),
    "gfo": Orbit(108.04, 244, 17, 17.05),
    "hy2a": Orbit(99.34, 193, 14, 14.0),
    "swot": Orbit(77.6, 292, 21, 20.86455),
    "swot_calval": Orbit(77.6, 14, 1, 0.99349),
}
"""Altimeters: ``jason`` also for TOPEX/Poseidon, Jason-1 to 3 and Sentinel-6, ``altika`` also for ERS and Envisat."""


def orbit_of(mission: str | Orbit) -> Orbit:
    """Orbit of a mission by its name in `MISSIONS`, or the orbit itself.

    Raises
    ------
    ConfigError
        If the name is unknown.
    """
    if isinstance(mission, Orbit):
        return mission
    if mission not in MISSIONS:
        raise ConfigError(f"there is no mission {mission!r}; use one of {', '.join(MISSIONS)}, or an Orbit")
    return MISSIONS[mission]
