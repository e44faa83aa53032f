"""The part of a file that lies in a region and a time, found from positions before values are read."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.labels.coordinates import LATITUDE, LONGITUDE, TIME

Region = Sequence[float]
Times = Sequence[Any]

_OPEN = np.datetime64("1678-01-01", "ns"), np.datetime64("2262-01-01", "ns")
"""Where an open time begins and ends: as far as nanoseconds reach."""


def check_cut(region: Region | None, time: Times | None) -> None:
    """Refuse what is no region and no time.

    Raises
    ------
    ConfigError
        If a region is not west, east, south, north, or a time not its first and last one, or None where it is open.
    """
    if region is not None and not _is_region(region):
        raise ConfigError(f"region is (west, east, south, north) in degrees, and not {region!r}")
    if time is None:
        return
    wrong = f"time is the first and the last one, ('2014-05-15', '2014-06-03'), None where it is open, and not {time!r}"
    try:
        ends = None if isinstance(time, str) else _ends(time)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{wrong}: {error}") from error
    if ends is None or ends[0] > ends[1]:
        raise ConfigError(wrong)


def _is_region(region: Region) -> bool:
    try:
        _, _, south, north = map(float, region)
    except (ValueError, TypeError):
        return False
    return bool(np.isfinite([float(each) for each in region]).all()) and south < north


def is_inside(places: Mapping[str, xr.DataArray], region: Region | None, time: Times | None) -> xr.DataArray:
    """Whether positions lie in a region, which may cross any seam, and in a time; the last day is whole.

    Parameters
    ----------
    places : mapping of str to DataArray
        Longitude, latitude and time, which may lie along different dimensions.
    region : sequence of float, optional
        West, east, south, north.
    time : sequence, optional
        First and last time: dates, or text of any precision; None where it is open.
    """
    inside = xr.DataArray(True)
    if region is not None:
        west, east, south, north = map(float, region)
        inside = inside & (places[LATITUDE] >= south) & (places[LATITUDE] <= north)
        if east - west < 360:
            inside = inside & ((places[LONGITUDE] - west) % 360 <= (east - west) % 360)
    if time is not None:
        first, last = _ends(time)
        inside = inside & (places[TIME] >= first) & (places[TIME] <= last)
    return inside


def hull(inside: xr.DataArray) -> dict[Hashable, slice]:
    """Smallest range of each dimension that holds all that is inside."""
    found = {}
    for dim in inside.dims:
        seen = np.flatnonzero(inside.any([other for other in inside.dims if other != dim]))
        found[dim] = slice(int(seen[0]), int(seen[-1]) + 1) if len(seen) else slice(0, 0)
    return found


def _ends(time: Times) -> tuple[np.datetime64, np.datetime64]:
    first, last = time
    first, last = (_OPEN[0] if first is None else first), (_OPEN[1] if last is None else last)
    # Older pandas take no string of numpy's.
    first, last = (str(each) if isinstance(each, str) else each for each in (first, last))
    last = pd.Period(last).end_time if isinstance(last, str) else pd.Timestamp(last)
    return np.datetime64(pd.Timestamp(first), "ns"), np.datetime64(last, "ns")
