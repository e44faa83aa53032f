"""Units as files spell them: which are one unit, and how to convert the others."""

import functools
import re
import tokenize
from typing import Any, NamedTuple

from oceanvar.errors import UnitsMismatchError

_SPELLINGS = (
    # Read word by word these are an angle times a temperature, and 20 degrees Celsius would be 0.35 K.
    (re.compile(r"deg(ree)?s?[ _]*c(elsius)?", re.IGNORECASE), "degree_Celsius"),
    (re.compile(r"(deg(ree)?s?[ _]*)?k(elvin)?s?", re.IGNORECASE), "kelvin"),
    (re.compile(r"celsius", re.IGNORECASE), "degree_Celsius"),
    (re.compile(r"unitless|dimensionless|none", re.IGNORECASE), "1"),
    # Practical salinity counts in thousandths, which is how CF writes it.
    (re.compile(r"psu|g[ /]kg(-1)?", re.IGNORECASE), "1e-3"),
)

_SCALED = re.compile(r"([+]?[0-9]*[.]?[0-9]+(?:e[+-]?[0-9]+)?)\s*([^\W\d_].*)?", re.IGNORECASE)
"""A number before a unit: ``10 cm``, ``1e-2``."""

_LOGARITHM = re.compile(r"lg\(re:? ?1 (.+)\)")

_NO_UNIT = (tokenize.TokenError, ArithmeticError, TypeError, ValueError, AttributeError, AssertionError)
"""Errors that text which is no unit ends in."""


class Conversion(NamedTuple):
    """From one unit to another: ``factor * value + offset``."""

    factor: float
    offset: float

    @property
    def is_identity(self) -> bool:
        """Whether both units are one."""
        return self == (1.0, 0.0)

    @property
    def inverse(self) -> "Conversion":
        """The way back."""
        return Conversion(1 / self.factor, -self.offset / self.factor)


@functools.cache
def conversion(given: str, wanted: str, what: str) -> Conversion:
    """Convert values in the units `given` to those `wanted`, by UDUNITS as cf-xarray and pint know them.

    Parameters
    ----------
    given, wanted : str
        Units.
    what : str
        What has them, for the message.

    Raises
    ------
    UnitsMismatchError
        If one is not known or they measure different things.
    """
    if given.strip() == wanted.strip():
        return Conversion(1.0, 0.0)
    from cf_xarray.units import units
    from pint.errors import DimensionalityError, PintError

    try:
        (scale, source), (target_scale, target) = (_unit(text, units) for text in (given, wanted))
        if (scale, source) == (target_scale, target):
            return Conversion(1.0, 0.0)
        zero, one = (
            float(units.Quantity(value, source).to(target).magnitude) / target_scale for value in (0.0, scale)
        )
    except DimensionalityError as error:
        raise UnitsMismatchError(f"{what} is in {given!r}, which is no {wanted!r}: {error}") from error
    # Text that is no unit ends in errors of many kinds.
    except (PintError, *_NO_UNIT) as error:
        raise UnitsMismatchError(
            f"{what} is in {given!r}, which cannot be compared with {wanted!r} ({error}): convert it and set its "
            f"attrs['units'] = {wanted!r}"
        ) from error
    return Conversion(_rounded(one - zero), _rounded(zero))


@functools.cache
def one_spelling(text: str) -> str:
    """The same text for all spellings of one unit: ``m``, ``metre``, ``meter``; text that is no unit stays."""
    from cf_xarray.units import units
    from pint.errors import PintError

    try:
        return str(units.Unit(_spelt(text)))
    except (PintError, *_NO_UNIT):
        return text


def of_logarithm(units: object) -> str | None:
    """Units of the values whose decimal logarithm is in these ones, UDUNITS' ``lg(re 1 mg m-3)``; else None."""
    found = _LOGARITHM.fullmatch(units.strip()) if isinstance(units, str) else None
    return found[1].strip() if found else None


def squared(units: str) -> str:
    """Units of a variance; that of temperatures is one of differences, in kelvin."""
    return f"({'kelvin' if _spelt(units) == 'degree_Celsius' else units})**2"


def _spelt(text: str) -> str:
    for spelling, unit in _SPELLINGS:
        if spelling.fullmatch(text.strip()):
            return unit
    return text.strip()


def _unit(text: str, units: Any) -> tuple[float, Any]:
    """Number and unit of a text; of one that is not known as it is written, without capitals."""
    scaled = _SCALED.fullmatch(_spelt(text))
    scale, name = (float(scaled[1]), scaled[2] or "1") if scaled else (1.0, _spelt(text))
    from pint.errors import UndefinedUnitError

    try:
        return scale, units.Unit(name)
    except UndefinedUnitError:
        if len(name) < 2 or name == name.lower():
            raise
        return scale, units.Unit(name.lower())


def _rounded(value: float) -> float:
    """Without the last digits, which are those of the difference."""
    return float(f"{value:.12g}")
