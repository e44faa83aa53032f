"""Which values of a file count by the flags beside them: numbers, ranges, and meanings as CF attributes give them."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, final

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError

_TEXT = "SOUT"
"""Kinds of values that are characters: the flags of Argo, columns of text."""


@final
@dataclass(frozen=True, init=False)
class NoneOf:
    """For ``keep=`` of `oceanvar.open_tracks`: the flag is there, and is none of these.

    Of a flag of bits (CF attribute ``flag_masks``) none of the named ones may be set.

    Parameters
    ----------
    *values : str or int
        Meanings of the flag, or numbers. A name may be a pattern: ``NoneOf("degraded*", "bad*")``, ``NoneOf("*")``
        for all.

    Raises
    ------
    ConfigError
        If there are no values, or one of them is neither text nor a whole number.
    """

    values: tuple[str | int, ...]

    def __init__(self, *values: str | int) -> None:
        strange = [each for each in values if not isinstance(each, str | int | np.integer)]
        if strange or not values:
            raise ConfigError(
                f"NoneOf takes meanings of a flag or whole numbers, NoneOf('bad*'), and not {strange or 'nothing'}"
            )
        object.__setattr__(self, "values", values)


def usual_flags(ds: xr.Dataset, variable: str) -> dict[str, Any]:
    """Flags that publishers put beside a variable, and the values of good ones."""
    # Of the bits of SWOT ``_qual`` none may be set, not those of suspect values either.
    usual = {"quality_flag": 0, f"{variable}_qual": 0, f"{variable}_QC": [1, 2]}
    return {name: good for name, good in usual.items() if name in ds.variables}


def is_kept(flag: xr.DataArray, wanted: Any) -> xr.DataArray:
    """Whether a flag is as it is wanted; where it is missing it is not.

    Parameters
    ----------
    flag : DataArray
        Decoded, with its attributes.
    wanted : number, str, sequence of these, slice or NoneOf
        A value or meaning, one of several, a range, or what it may not be. Meanings are names of ``flag_meanings``,
        or patterns for them; of a flag that is text it is the text itself.

    Raises
    ------
    ConfigError
        If a meaning is not known, or the attributes do not say what flags mean.
    """
    if isinstance(wanted, slice):
        low = -np.inf if wanted.start is None else wanted.start
        high = np.inf if wanted.stop is None else wanted.stop
        return (flag >= low) & (flag <= high)
    if isinstance(wanted, NoneOf):
        return _is_known(flag) & ~_is_one_of(flag, wanted.values)
    single = isinstance(wanted, str) or np.ndim(wanted) == 0
    return _is_known(flag) & _is_one_of(flag, [wanted] if single else wanted)


def _is_known(flag: xr.DataArray) -> xr.DataArray:
    known = flag.notnull()
    return known & (flag.astype(str).str.strip() != "") if flag.dtype.kind in _TEXT else known


def _is_one_of(flag: xr.DataArray, values: Sequence[Any]) -> xr.DataArray:
    if flag.dtype.kind in _TEXT:
        return flag.astype(str).isin([str(each) for each in values])
    names = [each for each in values if isinstance(each, str)]
    found = flag.isin([each for each in values if not isinstance(each, str)])
    return found | _means(flag, names) if names else found


def _means(flag: xr.DataArray, names: Sequence[str]) -> xr.DataArray:
    """Whether a flag has one of some meanings (CF conventions, section 3.5)."""
    n_bits = _n_bits(flag)
    bits = _bits(flag.fillna(0), n_bits)
    found = xr.zeros_like(flag, bool)
    for mask, value in _meant(flag, names, n_bits):
        found = found | ((bits & mask) == value)
    return found


def _meant(flag: xr.DataArray, names: Sequence[str], n_bits: int) -> list[tuple[np.uint64, np.uint64]]:
    """Mask and value under it of each meaning that one of the names or patterns has."""
    meanings = str(flag.attrs.get("flag_meanings", "")).split()
    given = [key for key in ("flag_masks", "flag_values") if key in flag.attrs]
    if not meanings or not given:
        raise ConfigError(
            f"the flag {flag.name!r} has no flag_meanings with flag_values or flag_masks, so that {names[0]!r} cannot "
            f"be looked up: give numbers, keep={{{str(flag.name)!r}: 0}}; it has the attributes {sorted(flag.attrs)}"
        )
    unknown = [name for name in names if not any(fnmatchcase(each, name) for each in meanings)]
    if unknown:
        raise ConfigError(f"the flag {flag.name!r} has no meaning {unknown[0]!r}; there are {meanings}")
    # Bits by themselves mean something where they are set; with values, where they have these.
    masks = flag.attrs.get("flag_masks", np.full(len(meanings), -1))
    values = flag.attrs.get("flag_values", masks)
    for each in (masks, values):
        if np.size(each) != len(meanings) or np.asarray(each).dtype.kind not in "iuf":
            raise ConfigError(
                f"the flag {flag.name!r} has {len(meanings)} meanings {meanings}, and {np.size(each)} numbers {each!r} "
                f"for them in {given}: give numbers"
            )
    pairs = zip(meanings, _bits(masks, n_bits), _bits(values, n_bits), strict=True)
    return [(mask, value) for each, mask, value in pairs if any(fnmatchcase(each, name) for name in names)]


def _n_bits(flag: xr.DataArray) -> int:
    """Bits of a flag as its file has it: it is decoded to a real number where it has a fill value."""
    stored = np.dtype(flag.encoding.get("dtype", flag.dtype))
    if stored.kind not in "iu":
        stored = np.asarray(flag.attrs.get("flag_masks", flag.attrs.get("flag_values", 0))).dtype
    return min(8 * stored.itemsize, 64)


def _bits(values: Any, n_bits: int) -> Any:
    """Numbers as they stand in memory, without sign: what ``_Unsigned`` makes 128 may be -128 in attributes."""
    whole = values if isinstance(values, xr.DataArray) else np.atleast_1d(values)
    return whole.astype(np.int64).astype(np.uint64) & np.uint64(2**n_bits - 1)
