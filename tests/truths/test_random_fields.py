"""Simulated fields: size and correlation are those asked for, land is land."""

import numpy as np
import pytest
import xarray as xr

from oceanvar.errors import ConfigError, GridMismatchError, MissingVariableError
from oceanvar.labels.coordinates import KM_PER_DEGREE
from oceanvar.truths import GaussianScales, gaussian_fields

LATITUDE = 60.0


def template(names: tuple[str, str, str] = ("time", "latitude", "longitude")) -> xr.DataArray:
    """40 half days, 36 x 72 points: 1/4 degree, at 60 degrees north."""
    sizes = (40, 36, 72)
    values = (
        np.datetime64("2005-01-01", "ns") + np.arange(sizes[0]) * np.timedelta64(12, "h"),
        LATITUDE + 0.25 * (np.arange(sizes[1]) - 17.5),
        5 + 0.25 * np.arange(sizes[2]),
    )
    return xr.DataArray(np.zeros(sizes), dict(zip(names, values, strict=True)), names, "ssh")


def fixed(std: float = 0.1, time: float = 2.0, km: float = 100.0) -> GaussianScales:
    """Scales without a choice."""
    return GaussianScales((std, std), {"time": (time, time), "latitude": (km, km), "longitude": (km, km)})


def correlation(field: xr.DataArray, dim: str, lag: int) -> float:
    """Correlation of points that lie `lag` apart, over all members, about the known mean of 0."""
    n = field.sizes[dim]
    first, second = (field.isel({dim: part}).values for part in (slice(n - lag), slice(lag, n)))
    return float((first * second).mean() / (field.values**2).mean())


def test_standard_deviation_and_correlations_are_those_asked_for() -> None:
    # Lengths of whole steps: 4 half days, 2 steps of latitude, 4 of longitude, which are half as long here.
    km = 2 * 0.25 * KM_PER_DEGREE
    field = gaussian_fields(template(), [fixed(0.1, 2.0, km)], 12)
    # Some 2 lengths decorrelate: 12 members hold about 12 * 40/8 * 36/4 * 72/8 = 5000 free values, so the
    # standard errors of a standard deviation and of a correlation are about 1 and 1.4 %.
    assert float(field.std()) == pytest.approx(0.1, rel=0.05)
    assert abs(float(field.mean())) < 0.1 * 0.05
    for dim, length in (("time", 4), ("latitude", 2), ("longitude", 4)):
        for lag in (length, 2 * length):
            expected = np.exp(-0.5 * (lag / length) ** 2)
            assert correlation(field, dim, lag) == pytest.approx(expected, abs=0.06)


def test_components_add_up() -> None:
    both = gaussian_fields(template(), [fixed(0.3, 1.0, 40.0), fixed(0.4, 2.0, 60.0)], 6)
    assert float(both.std()) == pytest.approx(0.5, rel=0.05)


def test_names_of_the_angles_do_not_matter() -> None:
    names = {"latitude": "lat", "longitude": "x"}
    spread = GaussianScales((0.1, 0.2), {"time": (1, 3), "latitude": (30, 200), "longitude": (30, 200)})
    renamed = GaussianScales((0.1, 0.2), {names.get(dim, dim): one for dim, one in spread.lengths.items()})
    other = template().rename(names)
    other["x"].attrs["units"] = "degrees_east"
    found = gaussian_fields(other, [renamed], 2, seed=3)
    assert found.dims == ("member", "time", "lat", "x")
    np.testing.assert_array_equal(found, gaussian_fields(template(), [spread], 2, seed=3))


def test_the_two_angles_share_one_draw() -> None:
    # Lengths of 1 or 1e4 km along both: were they drawn apart, most members would have one of each.
    spread = GaussianScales((1, 1), {"time": (1, 1), "lat": (1, 1e3), "lon": (1, 1e3)})
    land = template(("time", "lat", "lon"))[:2, :, ::2]
    fields = gaussian_fields(land, [spread], 30)
    along = [correlation(one, "lat", 1) for one in fields], [correlation(one, "lon", 1) for one in fields]
    # Steps of 28 km both: the correlations agree, and run from none to one over the members.
    np.testing.assert_allclose(*along, atol=0.2)
    assert min(along[0]) < 0.2
    assert max(along[0]) > 0.9


def test_what_is_missing_at_every_time_stays_missing() -> None:
    land = template()
    land[:, 3, 4] = np.nan
    land[5, 7] = np.nan  # a gap in time is not land
    fields = gaussian_fields(land, [fixed()], 2)
    expected = np.zeros((36, 72), dtype=bool)
    expected[3, 4] = True
    assert (fields.isnull().values == expected).all()
    turned = gaussian_fields(land.transpose("latitude", "longitude", "time"), [fixed()], 1)
    assert (turned.isnull() == xr.DataArray(expected, dims=("latitude", "longitude"))).all()
    km_only = GaussianScales((1, 1), {"latitude": (50, 50), "longitude": (50, 50)})
    chart = land.isel(time=0, drop=True)
    assert (gaussian_fields(chart, [km_only], 1)[0].isnull().values == expected).all()


def test_fields_are_labelled_and_follow_the_seed() -> None:
    start = template().assign_attrs(units="m")
    fields = gaussian_fields(start, [fixed()], 3, seed=1)
    assert fields.dims == ("member", *start.dims)
    assert fields.dtype == np.float32
    assert fields.name == "ssh"
    assert fields.attrs == {"units": "m"}
    assert set(fields.coords) == set(start.dims)
    np.testing.assert_array_equal(fields[:2], gaussian_fields(start, [fixed()], 2, seed=1))
    assert (fields != gaussian_fields(start, [fixed()], 3, seed=2)).any()
    assert (fields[0] != fields[1]).any()


def test_impossible_requests_are_named() -> None:
    for low, high in ((0.0, 1.0), (2.0, 1.0), (-1.0, 1.0), (1.0, np.inf), (np.nan, 1.0)):
        with pytest.raises(ConfigError, match="std needs a range"):
            GaussianScales((low, high), {})
        with pytest.raises(ConfigError, match="time needs a range"):
            GaussianScales((1, 1), {"time": (low, high)})
    with pytest.raises(
        ConfigError, match=r"\['time', 'lat', 'lon'\], got \['latitude', 'longitude', 'time'\]"
    ):
        gaussian_fields(template(("time", "lat", "lon")), [fixed()], 1)
    with pytest.raises(GridMismatchError, match=r"'time' has steps from 0\.5 to 1"):
        gaussian_fields(template().isel(time=[0, 1, 3]), [fixed()], 1)
    alone = template().isel(latitude=0, drop=True)
    with pytest.raises(MissingVariableError, match="without a latitude"):
        gaussian_fields(alone, [GaussianScales((1, 1), {"time": (1, 1), "longitude": (50, 50)})], 1)
