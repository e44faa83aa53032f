"""Numbers that are no observations: packed ones, fill values, values outside the valid range."""

import warnings
from collections.abc import Iterable

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from oceanvar.errors import ConfigError, MendedWarning, UnitsMismatchError

MOST_STRANGE = 0.1
"""Share of the values that may be far from all that the model knows; where there are more, the units are wrong."""

FEW = 20
"""Values that say nothing of where others lie."""

VALID_RANGE = ("valid_min", "valid_max", "valid_range")
"""Attributes of the range outside which values are no observations."""

DEFAULT_FILL = 9.969209968386869e36
"""What netCDF writes where nobody wrote a real number."""

FAR = 100.0
"""Robust standard deviations from the median beyond which a value may be none..."""

GAP = 10.0
"""...if it also lies so many times as far away as all between: heavy tails (chlorophyll, rain) have no such gap."""

ROBUST = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

PACKING = ("scale_factor", "add_offset", "_FillValue", "missing_value")
"""Attributes of values as a file packs them."""


_DEFAULTS = (DEFAULT_FILL, -2147483647.0, -9223372036854775806.0, -9223372036854775808.0)
_NINES = (999.0, 9999.0, 99999.0, 32767.0, 32768.0)
USUAL_FILLS = (*_DEFAULTS, 1e20, 1e30, 1e35, 1e36, *_NINES, *(-n for n in _NINES))
"""Numbers that stand for what is missing in many files, whether or not these say so: netCDF's defaults, and others."""

MOST_RANGES = 10.0
"""How far a usual fill lies beyond all other values, in ranges of these, where it is one."""


def check_decoded(field: xr.DataArray, what: str) -> None:
    """Refuse values that still stand as a file packs them, and durations.

    Raises
    ------
    ConfigError
        If attributes say that the values are packed, or they are durations.
    """
    packed = [key for key in PACKING if key in field.attrs and not _is_nan(field.attrs[key])]
    if packed:
        raise ConfigError(
            f"{field.name!r} of {what} has the attribute {packed[0]!r}, which says that its values are packed or "
            "filled: open it with mask_and_scale=True, or use xr.decode_cf(ds)"
        )
    if field.dtype.kind in "mM":
        raise ConfigError(
            f"{field.name!r} of {what} was opened as times ({field.dtype}), because of its units: open it with "
            "decode_timedelta=False"
        )
    if field.dtype.kind not in "iufb":
        raise ConfigError(f"{field.name!r} of {what} holds {field.dtype}, no numbers: convert it")


def within_valid_range(ds: xr.Dataset, names: Iterable[str]) -> xr.Dataset:
    """Set NaN where values lie outside the range that their attributes call valid."""
    found = {}
    for name in names:
        if name not in ds:
            continue
        low, high = valid_range(ds[name])
        if low > -np.inf or high < np.inf:
            field = ds[name]
            found[name] = field.where((field >= low) & (field <= high))
    return ds.assign(found) if found else ds


def usable(field: xr.DataArray, what: str) -> xr.DataArray:
    """Values as observations where no model says which are plausible: NaN for those that are none.

    Not used, and told, are values outside of the valid range that attributes give, infinities, the fill value of
    netCDF, and values that lie far from all others (`is_no_value`). Of a lazy field each chunk is looked at by
    itself, when it is computed.

    Parameters
    ----------
    field : DataArray
        Of numbers, NaN where there is none.
    what : str
        Whose values they are, for messages: "the tracks".

    Raises
    ------
    ConfigError
        As `check_decoded`.
    """
    check_decoded(field, what)
    if field.dtype.kind == "b":
        return field
    low, high = valid_range(field)
    real = field if field.dtype.kind == "f" else field.astype(np.float64)
    return xr.apply_ufunc(
        _without_fills,
        real,
        kwargs={"low": low, "high": high, "what": f"{field.name!r} of {what}"},
        dask="parallelized",
        output_dtypes=[real.dtype],
    ).assign_attrs(field.attrs)


def is_no_value(values: np.ndarray) -> np.ndarray:
    """Where real numbers are infinite, netCDF's fill value, or a fill value of another kind: far from all others.

    Far is more than `FAR` robust standard deviations (by the median absolute deviation) from the median, and `GAP`
    times as far as any value between. Fewer than `FEW` values say nothing of that.
    """
    filled = np.asarray(DEFAULT_FILL, values.dtype)
    strange = np.isinf(values) | (np.abs(values) >= filled)
    values = values.astype(np.float64, copy=False)
    known = values[~strange & ~np.isnan(values)]
    centre, spread = _robust(known)
    if not spread:
        # More than half are one number: fill values of land, or the dry days of rain, as the others tell.
        centre, spread = _robust(known[known != centre])
    if not spread:
        return strange
    away = np.sort(np.abs(known - centre))
    is_gap = (away[1:] > FAR * spread) & (away[1:] > GAP * away[:-1])
    first = away[1:][is_gap][:1]
    return strange | (np.abs(values - centre) >= first[0]) if first.size else strange


def _robust(values: np.ndarray) -> tuple[float, float]:
    """Median and robust standard deviation; 0 of that where there are too few."""
    centre = float(np.median(values)) if values.size else 0.0
    if values.size < FEW:
        return centre, 0.0
    return centre, ROBUST * float(np.median(np.abs(values - centre)))


def _without_fills(values: np.ndarray, low: float, high: float, what: str) -> np.ndarray:
    invalid = (values < low) | (values > high)
    inside = np.where(invalid, np.asarray(np.nan, values.dtype), values)
    strange = is_no_value(inside)
    reasons = {
        "lie outside of the valid range": invalid,
        "are infinite or fill values that are not declared": strange,
    }
    for why, wrong in reasons.items():
        if wrong.any():
            lowest, highest = values[wrong].min(), values[wrong].max()
            which = f"{lowest:.4g}" + (f" to {highest:.4g}" if highest > lowest else "")
            told = f"{int(wrong.sum())} of {int((~np.isnan(values)).sum())} values of {what}, {which}, {why}"
            warnings.warn(f"{told}: they are not used", MendedWarning, stacklevel=2)
    return np.where(strange, np.asarray(np.nan, values.dtype), inside)


def plausible(values: np.ndarray, low: ArrayLike, high: ArrayLike, what: str) -> np.ndarray:
    """Values with NaN for fill values and others that no such quantity can have.

    Parameters
    ----------
    values : ndarray
        Of any shape; NaN where there is none.
    low, high : float or ndarray
        Limits, of shapes that broadcast.
    what : str
        Whose values they are, for messages.

    Raises
    ------
    UnitsMismatchError
        If there are so many of them that the units must be wrong.
    """
    strange, text = strangers(values, low, high, what)
    if not text:
        return values
    warnings.warn(f"{text}: they are not used", MendedWarning, stacklevel=2)
    return np.where(strange, np.nan, values)


def strangers(values: np.ndarray, low: ArrayLike, high: ArrayLike, what: str) -> tuple[np.ndarray, str]:
    """Where values are infinite or outside of limits, and words for it, none where there are none; see `plausible`."""
    fills = np.isin(values, np.asarray(USUAL_FILLS, values.dtype)) | np.isinf(values)
    strange = (values < low) | (values > high)
    # Fills say nothing of units, however many there are. One within the limits is a value like any other.
    fills &= strange | np.isinf(values)
    strange |= fills
    n_strange, n_given = int(strange.sum()), int((~np.isnan(values)).sum())
    if not n_strange:
        return strange, ""
    text = (
        f"{n_strange} of {n_given} values of {what}, from {values[strange].min():.4g} to "
        f"{values[strange].max():.4g}, lie outside of {np.min(low):.4g} to {np.max(high):.4g}, far from all that the "
        "model has learned on"
    )
    n_fills = int(fills.sum())
    if n_strange - n_fills > MOST_STRANGE * (n_given - n_fills):
        raise UnitsMismatchError(f"{text}: they seem to be in other units, convert them")
    return strange, text


def check_no_fills(field: xr.DataArray, what: str) -> None:
    """Refuse a truth with infinities, or with numbers far beyond all others that usually stand for what is missing.

    Parameters
    ----------
    field : DataArray
        Real numbers, NaN where something is missing; may be lazy.
    what : str
        Whose values they are, for the message.

    Raises
    ------
    ConfigError
        With the number and how many there are.
    """
    numbers = sorted({float(np.asarray(fill, field.dtype)) for fill in USUAL_FILLS} | {np.inf, -np.inf})
    is_usual = field.isin(numbers)
    if not bool(is_usual.any()):
        return
    others = field.where(~is_usual)
    low, high = float(others.min()), float(others.max())
    far = MOST_RANGES * (high - low)
    for number in numbers:
        if low - far <= number <= high + far:
            continue
        n_found = int((field == number).sum())
        if n_found:
            raise ConfigError(
                f"{n_found} values of {what} are {number:g}, all others from {low:.4g} to {high:.4g}: they seem to "
                f"stand for what is missing; use ds.where(ds != {number:g}), or declare a _FillValue"
            )


def told_if_elsewhere(values: np.ndarray, low: float, high: float, what: str) -> None:
    """Warn where most values are none that a model has seen in training: absolute heights for anomalies, say."""
    n_given = np.count_nonzero(np.isfinite(values))
    n_seen = np.count_nonzero((values >= low) & (values <= high))
    if n_given >= FEW and n_seen < n_given / 2:
        warnings.warn(
            f"{n_given - n_seen} of {n_given} values of {what} lie outside of {low:.4g} to {high:.4g}, all that the "
            "model has seen in training: are they anomalies where it knows absolute values, or the other way round?",
            MendedWarning,
            stacklevel=2,
        )


def valid_range(field: xr.DataArray) -> tuple[float, float]:
    """Lowest and highest valid value of decoded data.

    Attributes of packed data are in packed units (CF conventions, section 2.5.1), and of the packed type.
    """
    both = field.attrs.get("valid_range", (-np.inf, np.inf))
    if np.shape(both) != (2,):
        raise ConfigError(f"valid_range of {field.name!r} is {both!r}, no two numbers: correct or delete it")
    low, high = both
    low, high = field.attrs.get("valid_min", low), field.attrs.get("valid_max", high)
    return _unpacked(low, field), _unpacked(high, field)


def _unpacked(limit: object, field: xr.DataArray) -> float:
    value = np.asarray(limit)
    if value.dtype.kind not in "iuf" or value.size != 1:
        raise ConfigError(
            f"valid_min, valid_max or valid_range of {field.name!r} is {limit!r}, no number: correct or delete it"
        )
    encoding = field.encoding
    if str(encoding.get("_Unsigned", "")).lower() == "true" and value.dtype.kind == "i":
        value = value.view(value.dtype.str.replace("i", "u"))
    value = value.reshape(())  # attributes of a Zarr store are lists
    is_packed = value.dtype.kind in "iu" and np.isfinite(value).all() and "scale_factor" in encoding
    if not is_packed:
        return float(value)
    return float(value) * float(encoding["scale_factor"]) + float(encoding.get("add_offset", 0.0))


def _is_nan(value: object) -> bool:
    array = np.asarray(value)
    return array.dtype.kind == "f" and bool(np.isnan(array).all())
