"""Units as files spell them."""

import pytest

from oceanvar.errors import UnitsMismatchError
from oceanvar.labels.units import conversion


@pytest.mark.parametrize(
    ("given", "wanted", "factor", "offset"),
    [
        ("m", "m", 1, 0),
        ("metre", "m", 1, 0),
        ("meters", "m", 1, 0),
        ("cm", "m", 0.01, 0),
        ("m", "mm", 1000, 0),
        ("m/s", "m s-1", 1, 0),
        ("cm s^-1", "m s-1", 0.01, 0),
        ("degree_Celsius", "kelvin", 1, 273.15),
        ("degrees Celsius", "K", 1, 273.15),
        ("degrees_C", "K", 1, 273.15),
        ("celsius", "degC", 1, 0),
        ("Kelvin", "kelvin", 1, 0),
        ("K", "degree_Celsius", 1, -273.15),
        ("mg m-3", "kg m-3", 1e-6, 0),
        ("1", "dimensionless", 1, 0),
        ("percent", "1", 0.01, 0),
        ("1e-2", "1", 0.01, 0),
        ("10 cm", "m", 0.1, 0),
        ("m", "10 cm", 10, 0),
        ("0.01 m", "cm", 1, 0),
        ("1/s", "s-1", 1, 0),
        ("Meters", "m", 1, 0),
        ("CM", "m", 0.01, 0),
        ("unitless", "1", 1, 0),
        ("psu", "1e-3", 1, 0),
        ("PSU", "g kg-1", 1, 0),
    ],
)
def test_spellings_and_conversions(given, wanted, factor, offset):
    way = conversion(given, wanted, "it")
    assert way == pytest.approx((factor, offset), rel=1e-12)
    assert way.is_identity == ((factor, offset) == (1, 0))
    back = way.inverse
    assert back.factor * (way.factor * 7.0 + way.offset) + back.offset == pytest.approx(7.0)


@pytest.mark.parametrize(
    ("given", "wanted"), [("K", "m"), ("splines", "m"), ("log10(mg m-3)", "m"), ("m", "")]
)
def test_what_cannot_be_compared_is_refused(given, wanted):
    with pytest.raises(UnitsMismatchError, match="the level is in"):
        conversion(given, wanted, "the level")
