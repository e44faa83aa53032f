"""What the steps of a grid are, so that data on another one can be told."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from oceanvar.errors import GridMismatchError
from oceanvar.labels.coordinates import (
    LATITUDE,
    LONGITUDE,
    MAX_UNEVEN,
    TIME,
    is_time,
    metric_name,
    numbers,
)

DEGREES, DAYS = "degrees", "days"
TOLERANCE = 0.1
"""By how much the step of data may differ from what a model learned on, as a share."""


@dataclass(frozen=True)
class Axis:
    """Step and direction of a dimension.

    Parameters
    ----------
    kind : str
        "time", "latitude", "longitude", or the name of another coordinate.
    step : float
        From one point to the next, negative where the coordinate falls, in `unit`.
    unit : str
        "days", "degrees", or the units of the coordinate.
    tolerance : float
        Share of the step by which that of other data may differ.
    calendar : str
        Of times, else empty.
    """

    kind: str
    step: float
    unit: str
    tolerance: float = TOLERANCE
    calendar: str = ""

    @classmethod
    def of(cls, coordinate: xr.DataArray) -> "Axis | None":
        """Axis of an even coordinate of at least two points; None where there is none."""
        if coordinate.size < 2 or coordinate.dtype.kind not in "iufmMO":
            return None
        try:
            steps = np.diff(numbers(coordinate).values)
        except GridMismatchError:
            return None
        step = float(np.median(steps))
        if not step or not np.abs(steps - step).max() <= MAX_UNEVEN * abs(step):
            return None
        kind, unit = kind_of(coordinate)
        return cls(kind, float(f"{step:.6g}"), unit, calendar=calendar_of(coordinate))

    def __str__(self) -> str:
        """One step, as ``0.1 degrees``."""
        return f"{self.step:g} {self.unit}".strip()


def kind_of(coordinate: xr.DataArray) -> tuple[str, str]:
    """What a coordinate measures, and in which unit `numbers` counts it."""
    if is_time(coordinate):
        return TIME, DAYS if coordinate.dtype.kind in "mMO" else str(coordinate.attrs.get("units", ""))
    kind = metric_name(coordinate)
    return kind, DEGREES if kind in (LATITUDE, LONGITUDE) else str(coordinate.attrs.get("units", ""))


def calendar_of(coordinate: xr.DataArray) -> str:
    """Calendar of times, empty for what is no date."""
    return str(coordinate.dt.calendar) if coordinate.dtype.kind in "MO" else ""
