"""Dates from what files have for them: numbers with and without units, text, other calendars."""

import re
import warnings

import numpy as np
import pandas as pd
import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.labels.coordinates import TIME

DIGITS = "yyyymmdd"
"""Units of dates that are written as numbers, 20190131."""

_LAYOUTS = {4: "%Y", 6: "%Y%m", 8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}

_MONTHS = re.compile(r"months? since (\d{4})-(\d{1,2})(-0?1)?([ T]0?0:00(:00)?)?", re.IGNORECASE)

_STANDARD = {"standard", "gregorian", "proleptic_gregorian"}


def dates(times: xr.Variable) -> xr.Variable:
    """Times as datetime64, where they are dates of the standard calendar.

    Raises
    ------
    ConfigError
        If text is no date, or may be several, or units are not understood.
    """
    values, kind = times.values, times.dtype.kind
    if kind in "iuf" and " since " in str(times.attrs.get("units", "")):
        return dates(decoded(times, times.attrs["units"], times.attrs.get("calendar", "standard")))
    if kind == "O" and len(values) and hasattr(values[0], "calendar"):
        if values[0].calendar in _STANDARD:
            values = xr.CFTimeIndex(values).to_datetimeindex(time_unit="ns").values
            return xr.Variable(times.dims, values, times.attrs)
        return times
    if kind in "OUST":
        return xr.Variable(times.dims, _of_text(pd.Series(values)), times.attrs)
    return times.astype("datetime64[ns]") if kind == "M" else times


def decoded(times: xr.Variable, units: str, calendar: str = "standard") -> xr.Variable:
    """Numbers as dates.

    Parameters
    ----------
    times : Variable
        Numbers; where one is NaN there is no date.
    units : str
        As in CF, "days since 1900-01-01"; "months since 1993-01", of the calendar; or "yyyymmdd" for dates written as
        numbers, 20190131.
    calendar : str
        As in CF.

    Raises
    ------
    ConfigError
        If the units are not understood, or numbers are no dates in them.
    """
    months = _MONTHS.fullmatch(units.strip())
    if not months and not is_digits(units):
        numbers = xr.Variable(times.dims, times.values, {"units": units, "calendar": calendar})
        try:
            return xr.decode_cf(xr.Dataset({TIME: numbers}), decode_timedelta=False)[TIME].variable
        except (ValueError, OverflowError) as error:
            raise ConfigError(f"the time units {units!r} are not understood: {error}") from error
    known = np.isfinite(times.values)
    whole = _whole(times.values[known], units)
    if months:
        moments = np.datetime64(f"{months[1]}-{int(months[2]):02d}", "M") + whole
    else:
        moments = np.array([moment(f"{each:08d}") for each in whole], "datetime64[ns]")
    found = np.full(times.shape, np.datetime64("NaT", "ns"))
    found[known] = moments.astype("datetime64[ns]")
    return xr.Variable(times.dims, found)


def is_digits(units: str) -> bool:
    """Whether these are the units of dates written as numbers."""
    return units.strip().lower() == DIGITS


def moment(text: str) -> np.datetime64:
    """Time from the digits of year, month, day and so on, with anything between them.

    Raises
    ------
    ConfigError
        If they are none.
    """
    digits = "".join(re.findall(r"\d", text))[:14]
    try:
        return np.datetime64(pd.to_datetime(digits, format=_LAYOUTS[len(digits)]), "ns")
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"{text!r} is no time: digits of year, month, day and so on are expected"
        ) from error


def _whole(values: np.ndarray, units: str) -> np.ndarray:
    if (np.mod(values, 1) != 0).any():
        raise ConfigError(
            f"times in {units!r} must be whole numbers, and there is {values[np.mod(values, 1) != 0][0]}"
        )
    return values.astype(np.int64)


def _of_text(times: pd.Series) -> np.ndarray:
    """Dates of ISO 8601, or of one other format that can be read in one way only."""
    standard = _read(times, format="ISO8601")
    if standard is not None:
        return standard
    iso = pd.to_datetime(times, utc=True, format="ISO8601", errors="coerce")
    example = times[iso.isna() & times.notna()].iloc[0]
    readings = [_read(times, dayfirst=dayfirst) for dayfirst in (False, True)]
    found = [each for each in readings if each is not None]
    cure = "write dates as 2019-01-31T12:00:00 (ISO 8601)"
    if not found:
        raise ConfigError(f"the times, {example!r} say, are no dates, or of several formats: {cure}")
    if len(found) == 2 and not np.array_equal(found[0], found[1], equal_nan=True):
        raise ConfigError(
            f"times like {example!r} can be read with the day or the month first, and nothing tells which: {cure}"
        )
    return found[0]


def _read(times: pd.Series, **options: object) -> np.ndarray | None:
    """All times by one format; None where there is none."""
    with warnings.catch_warnings():
        # Read one by one each would get a format of its own.
        warnings.filterwarnings("error", message="Could not infer format")
        warnings.filterwarnings("ignore", message="Parsing dates in")
        try:
            found = pd.to_datetime(times, utc=True, **options)
        except (ValueError, TypeError, OverflowError, UserWarning):
            return None
    return np.asarray(found.dt.tz_localize(None).to_numpy("datetime64[ns]"))
