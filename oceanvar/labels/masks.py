"""Where the sea is: from masks as files have them, from coordinates, from the data."""

import functools
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError, MissingVariableError
from oceanvar.labels.coordinates import LATITUDE, LONGITUDE, angles, half_turned, metric_name
from oceanvar.labels.units import conversion

_SEA, _LAND = ("sea", "water", "ocean"), ("land", "coast", "inland", "lake", "river")
_SEA_NAMES = ("sea_binary_mask", "sea_area_fraction")
_LAND_NAMES = ("land_binary_mask", "land_area_fraction")


def sea_of(field: xr.DataArray, what: str) -> xr.DataArray:
    """Boolean mask, True over the sea, of a mask as files have it.

    Parameters
    ----------
    field : DataArray
        Booleans; flags with the CF attributes ``flag_values`` or ``flag_masks`` and ``flag_meanings``; a sea or land
        fraction or binary mask by its ``standard_name``; or zeros (land) and ones (sea), land also missing.
        Dimensions of one point are dropped, but not latitude and longitude.
    what : str
        Name of the mask, for messages.

    Raises
    ------
    ConfigError
        If the values are those of no mask.
    """
    places = [dim for dim in field.coords if metric_name(field[dim]) in (LATITUDE, LONGITUDE)]
    single = [dim for dim, n in field.sizes.items() if n == 1 and dim not in places]
    field = field.squeeze(single, drop=True)
    if field.dtype == bool:
        return field
    if "flag_meanings" in field.attrs:
        return _by_flags(field, what)
    name = field.attrs.get("standard_name", "")
    if name in (*_SEA_NAMES, *_LAND_NAMES):
        share = _share(field, what)
        return share >= 0.5 if name in _SEA_NAMES else share < 0.5
    values = np.unique(field.fillna(0).values)
    if not np.isin(values, (0, 1)).all():
        raise ConfigError(
            f"{what} has the values {values[:5].tolist()}..., and neither flag_meanings nor the standard_name of a "
            "mask: give booleans, or 1 over the sea and 0 over land"
        )
    called = f"{field.name} {field.attrs.get('long_name', '')}".lower()
    if any(word in called for word in _LAND[:2]) and not any(word in called for word in _SEA):
        raise ConfigError(
            f"{what} is called {called.strip()!r} and holds zeros and ones, and it does not say which are land: give "
            "booleans, mask == 0, say, or its standard_name, 'land_binary_mask'"
        )
    return field.fillna(0) == 1


def check_some_sea(mask: xr.DataArray, what: str) -> None:
    """Refuse a mask in memory that has no sea: the whole analysis would be missing."""
    if mask.chunks is None and not bool(mask.any()):
        raise ConfigError(f"{what} is land everywhere, and nothing would be mapped: is it True over land?")


def _share(field: xr.DataArray, what: str) -> xr.DataArray:
    """Values from 0 to 1 of a fraction in any units."""
    units = field.attrs.get("units", "1")
    factor = 0.01 if units == "%" else conversion(str(units), "1", what).factor
    most = float(field.max()) * factor
    if most > 1.5:
        raise ConfigError(
            f"{what} is a fraction in {units!r} that reaches {most:g}: set attrs['units'], '%' for percent"
        )
    return field * factor


def _by_flags(field: xr.DataArray, what: str) -> xr.DataArray:
    meanings = str(field.attrs["flag_meanings"]).split()
    by_bits = "flag_masks" in field.attrs
    numbers = np.atleast_1d(field.attrs.get("flag_masks" if by_bits else "flag_values", ()))
    sea = [n for n, is_sea in zip(numbers.tolist(), map(_is_sea, meanings), strict=False) if is_sea]
    if len(numbers) != len(meanings) or not sea or numbers.dtype.kind not in "iuf":
        raise ConfigError(
            f"{what} has the flags {meanings} for {numbers.tolist()}, and none of them is the sea: give booleans"
        )
    if not by_bits:
        return field.isin(sea)
    bits = field.fillna(0).astype(np.int64)
    land = [n for n, each in zip(numbers.tolist(), meanings, strict=False) if set(_words(each)) & set(_LAND)]
    return _has(bits, sea) & ~_has(bits, land)


def _is_sea(meaning: str) -> bool:
    """Whether a flag means the sea: ``ocean``, ``open_sea`` or ``not_land``, but not ``water_inland``."""
    words = _words(meaning)
    if words[0] == "not":
        return bool(set(words) & {"land"})
    return bool(set(words) & set(_SEA)) and not set(words) & set(_LAND)


def _words(meaning: str) -> list[str]:
    return re.split(r"[_\W]+", meaning.lower())


def _has(bits: xr.DataArray, flags: list[int]) -> xr.DataArray:
    found = xr.zeros_like(bits, bool)
    for flag in flags:
        found = found | ((bits & flag) != 0)
    return found


def sea_at(ds: xr.Dataset) -> xr.DataArray:
    """Boolean mask, True off the coasts of GSHHG and OpenStreetMap, as the package roaring-landmask has them.

    Raises
    ------
    ConfigError
        If that package is not installed.
    MissingVariableError
        If the data have no latitude and longitude.
    """
    coasts = _coasts()
    places = angles(ds)
    if set(places) != {LATITUDE, LONGITUDE}:
        raise MissingVariableError(
            f"mask='land' needs a latitude and a longitude; there are {sorted(map(str, ds.coords))}"
        )
    north, east = xr.broadcast(
        places[LATITUDE].reset_coords(drop=True), places[LONGITUDE].reset_coords(drop=True)
    )
    turned = half_turned(east.values.ravel().astype(float))
    land = coasts.contains_many(turned, north.values.ravel().astype(float))
    return north.copy(data=~np.asarray(land).reshape(north.shape)).rename("sea")


@functools.cache
def _coasts() -> Any:
    """All coasts, which take seconds to read."""
    try:
        from roaring_landmask import RoaringLandmask
    except ImportError as error:
        raise ConfigError("mask='land' needs coasts: pip install 'oceanvar[land]'") from error
    return RoaringLandmask.new()


def sea_observed(ds: xr.Dataset, names: Iterable[str], dims: Iterable[str]) -> xr.DataArray:
    """Boolean mask, True where any of the variables was ever observed; lazy where the data are.

    Parameters
    ----------
    ds : Dataset
        The data.
    names : iterable of str
        Its variables.
    dims : iterable of str
        Dimensions of the mask.
    """
    kept, found = set(dims), None
    for name in names:
        each = ds[name].notnull()
        each = each.any([dim for dim in each.dims if dim not in kept])
        found = each if found is None else found | each
    if found is None:
        raise ConfigError("a mask of what was observed needs at least one variable")
    return found.rename("sea")
