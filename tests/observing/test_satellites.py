"""Ground tracks against published constants; samplers, along-track data and their errors."""

import math

import numpy as np
import pytest
import xarray as xr

from oceanvar.errors import ConfigError, MissingVariableError
from oceanvar.observing import (
    Nadirs,
    Orbit,
    Swath,
    Together,
    bin_tracks,
    ground_tracks,
    observe,
    observe_tracks,
)
from oceanvar.observing.orbits import MISSIONS, ORBIT_EPOCH, orbit_of
from oceanvar.observing.satellites import GROUND_SPEED, swath_distances

EARTH = 6371.0


def box(
    n_days: int, degrees: float = 10.0, step: float = 0.1, west: float = -65.0, south: float = 30.0
) -> xr.DataArray:
    time = np.datetime64("2012-03-01", "ns") + np.arange(n_days) * np.timedelta64(1, "D")
    n = round(degrees / step)
    coords = {
        "time": time,
        "latitude": south + step * (np.arange(n) + 0.5),
        "longitude": west + step * (np.arange(n) + 0.5),
    }
    return xr.DataArray(np.zeros((n_days, n, n), np.float32), coords, tuple(coords), "ssh", {"units": "m"})


def crossings(orbit: Orbit, n_cycles: float = 1.0) -> np.ndarray:
    """Longitudes of all northward crossings of the equator, from the track itself."""
    days = orbit.cycle_days / orbit.n_revolutions * np.arange(round(n_cycles * orbit.n_revolutions))
    longitude, latitude = orbit.track(days)
    np.testing.assert_allclose(latitude, 0, atol=1e-5)
    return longitude


@pytest.mark.parametrize(
    ("mission", "km"), [("jason", 315), ("sentinel3a", 104), ("altika", 80), ("cryosat2", 7.5), ("swot", 137)]
)
def test_tracks_are_as_far_apart_at_the_equator_as_published(mission: str, km: float) -> None:
    gaps = np.diff(np.sort(crossings(MISSIONS[mission]))) * 40_075 / 360
    assert gaps.min() == pytest.approx(km, rel=0.015)
    assert gaps.max() == pytest.approx(km, rel=0.015)


@pytest.mark.parametrize("mission", MISSIONS)
def test_the_track_repeats_after_a_cycle_and_stays_below_the_inclination(mission: str) -> None:
    orbit = MISSIONS[mission]
    days = np.linspace(0.3, 0.9, 2000)
    first, again = orbit.track(days), orbit.track(days + orbit.cycle_days)
    turned = (again[0] - first[0] + 180) % 360 - 180
    assert np.abs(turned).max() < 1e-5
    np.testing.assert_allclose(again[1], first[1], atol=1e-6)
    highest = min(orbit.inclination, 180 - orbit.inclination)
    geocentric = np.rad2deg(np.arctan(np.tan(np.deg2rad(first[1])) * (1 - 1 / 298.257) ** 2))
    assert geocentric.max() == pytest.approx(highest, abs=0.01)


def test_no_earlier_day_repeats_the_swot_track_and_cryosat_has_its_subcycle() -> None:
    swot = MISSIONS["swot"]
    per_day = swot.n_revolutions / swot.n_turns
    assert all(abs(per_day * n - round(per_day * n)) > 0.01 for n in range(1, 21))
    cryosat = MISSIONS["cryosat2"]
    shifts = [
        abs(cryosat.n_revolutions * n / cryosat.n_turns - round(cryosat.n_revolutions * n / cryosat.n_turns))
        for n in range(1, 60)
    ]
    assert 1 + int(np.argmin(shifts)) == 29  # published as about 30 days


@pytest.mark.parametrize(
    ("mission", "latitude"), [("jason", 0.0), ("jason", 40.0), ("swot", 35.0), ("sentinel3a", 20.0)]
)
def test_tracks_cross_at_the_angle_of_spherical_trigonometry(mission: str, latitude: float) -> None:
    orbit = MISSIONS[mission]
    tilt, c = math.radians(orbit.inclination), math.cos(math.radians(latitude))
    # Capderou (2005), Satellites: Orbits and Missions: angle of the track to the meridian.
    drift = orbit.n_turns / orbit.n_revolutions
    expected = math.atan((math.cos(tilt) - drift * c**2) / math.sqrt(c**2 - math.cos(tilt) ** 2))
    days = np.linspace(0, orbit.cycle_days / orbit.n_revolutions / 4, 200_000)
    east, north = orbit.track(days)
    geocentric = np.rad2deg(np.arctan(np.tan(np.deg2rad(north)) * (1 - 1 / 298.257) ** 2))
    i = int(np.argmin(np.abs(geocentric[:-1] - latitude)))
    di, dj = (np.diff(east)[i] + 180) % 360 - 180, np.diff(geocentric)[i]
    assert math.atan2(di * c, dj) == pytest.approx(expected, abs=2e-3)
    if (mission, latitude) == ("jason", 0.0):
        assert 2 * math.degrees(expected) == pytest.approx(39.5, abs=0.3)  # published for TOPEX/Poseidon


@pytest.mark.parametrize("distance", [60.0, -10.0])
def test_a_swath_point_lies_at_its_distance_to_the_right(distance: float) -> None:
    orbit, days = MISSIONS["swot"], np.linspace(0.01, 1.0, 500)
    ahead = orbit.track(days + 1 / 86_400)
    points = [np.deg2rad(np.stack(orbit.track(days, d))) for d in (0.0, distance)]
    (east, north), (other_east, other_north) = points
    angle = 2 * np.arcsin(
        np.sqrt(
            np.sin((other_north - north) / 2) ** 2
            + np.cos(north) * np.cos(other_north) * np.sin((other_east - east) / 2) ** 2
        )
    )
    np.testing.assert_allclose(angle * EARTH, abs(distance), rtol=0.01)
    forward = np.stack([(np.deg2rad(ahead[0]) - east) * np.cos(north), np.deg2rad(ahead[1]) - north])
    aside = np.stack([(other_east - east) * np.cos(north), other_north - north])
    usable = (np.abs(forward[0]) < 0.1) & (np.abs(aside[0]) < 0.1)
    turn = forward[0] * aside[1] - forward[1] * aside[0]
    assert np.all(np.sign(turn[usable]) == -np.sign(distance))


def test_a_box_gets_exactly_the_points_of_the_whole_track_that_lie_in_it() -> None:
    orbit = MISSIONS["altika"]
    found = orbit.over((-65.0, -55.0), (30.0, 40.0), (100.0, 110.0))
    days = np.arange(100 * 86_400, 110 * 86_400 + 1) / 86_400
    east, north = orbit.track(days)
    inside = (east >= 295) & (east <= 305) & (north >= 30) & (north <= 40)
    np.testing.assert_allclose(found.days, days[inside], atol=1e-9)
    np.testing.assert_allclose(found.longitude % 360, east[inside])
    assert len(np.unique(found.passes)) > 3
    assert found.longitude.min() >= -65


def test_positions_near_the_pole_and_across_the_date_line() -> None:
    orbit = MISSIONS["cryosat2"]
    for longitude, latitude in (((170.0, 190.0), (-5.0, 5.0)), ((40.0, 60.0), (80.0, 87.0))):
        found = orbit.over(longitude, latitude, (0.0, 15.0), step=2.0)
        days = np.arange(0, 15 * 43_200 + 1) / 43_200
        east, north = orbit.track(days)
        inside = ((east - longitude[0]) % 360 <= longitude[1] - longitude[0]) & (north >= latitude[0])
        assert len(found.days) == int((inside & (north <= latitude[1])).sum()) > 50


def test_nadirs_mask_a_grid_like_binned_tracks() -> None:
    grid = box(12, step=0.25)
    missions = ["jason", "sentinel3a"]
    observed = observe(grid, Nadirs(missions)).notnull()
    tracks = ground_tracks(missions, grid)
    binned = bin_tracks(observe_tracks(grid, tracks)["ssh"], grid.to_dataset()).notnull()
    inner = {
        dim: slice(1, -1) for dim in grid.dims
    }  # the borders of the outer cells lie outside the tracks' box
    xr.testing.assert_equal(observed[inner], binned[inner])
    assert 0.02 < float(observed.mean()) < 0.1


def test_four_nadirs_and_a_swath_cover_as_much_as_they_should() -> None:
    grid = box(21)
    four = observe(grid, Nadirs(["jason", "sentinel3a", "sentinel3b", "altika"])).notnull()
    swath = Swath("swot", nadir=False)
    swot = observe(grid, swath).notnull()
    # A pass sweeps width / cos(angle to the meridian) of each circle of latitude, twice per revolution.
    c, tilt = math.cos(math.radians(35)), math.radians(77.6)
    angle = math.atan((math.cos(tilt) - 21 / 292 * c**2) / math.sqrt(c**2 - math.cos(tilt) ** 2))
    swept = 2 * 292 * 100.0 / math.cos(angle) / (2 * math.pi * EARTH * c)
    assert float(swot.mean()) * 21 == pytest.approx(swept, rel=0.1)
    assert float(swot.any("time").mean()) > 0.9
    together = observe(grid, Together([Nadirs(["jason"]), swath])).notnull()
    assert bool(((together | swot) == together).all())
    assert 0.02 < float(four.mean()) < 0.06


def test_the_swath_has_its_gap_and_its_width() -> None:
    distances = np.array(swath_distances())
    assert (distances.min(), distances.max()) == (-60, 60)
    assert np.abs(distances).min() == 10
    grid = box(21, degrees=2.0, step=0.02, south=0.0)
    day = observe(grid, Swath("swot", nadir=False)).notnull()
    counts = day.isel(latitude=50).sum("longitude")
    width = float(counts.max()) * 0.02 * 111.2
    slant = math.cos(math.radians(12.4 + 4))
    assert 80 / slant < width < 110 / slant


def test_numbers_count_days_since_the_epoch_and_mistakes_are_named() -> None:
    dated = box(5)
    numbered = dated.assign_coords(
        time=(dated.time.values - np.datetime64(ORBIT_EPOCH)) / np.timedelta64(1, "D")
    )
    sampler = Nadirs(("altika",))
    np.testing.assert_array_equal(observe(dated, sampler).notnull(), observe(numbered, sampler).notnull())
    with pytest.raises(ConfigError, match="no mission 'seasat'"):
        Nadirs(["jason", "seasat"])
    with pytest.raises(ConfigError, match="list of missions"):
        Nadirs("jason")
    with pytest.raises(ConfigError, match="nearest < farthest"):
        Swath(nearest=60, farthest=10)
    with pytest.raises(ConfigError, match="inclination"):
        Orbit(190.0, 14, 1, 1.0)
    with pytest.raises(MissingVariableError, match="'time'"):
        observe(dated.drop_vars("time"), sampler)
    with pytest.raises(ConfigError, match="correlated_km"):
        observe_tracks(dated, ground_tracks(["jason"], dated), correlated_km=0)
    assert orbit_of(MISSIONS["swot"]) is MISSIONS["swot"]


def test_along_track_errors_have_their_variance_and_their_length() -> None:
    grid = box(100)
    tracks = ground_tracks(["altika", "sentinel3a"], grid)
    measured = observe_tracks(grid, tracks, correlated_std=0.03, correlated_km=300.0, seed=1)["ssh"]
    assert float(measured.std()) == pytest.approx(0.03, rel=0.15)
    again = observe_tracks(grid, tracks, correlated_std=0.03, correlated_km=300.0, seed=1)["ssh"]
    xr.testing.assert_identical(measured, again)
    by_pass = [one.sortby("time").values for _, one in measured.groupby("track") if one.size > 100]
    lag = round(200 / GROUND_SPEED)
    products = np.concatenate([one[lag:] * one[:-lag] for one in by_pass])
    assert products.mean() / 0.03**2 == pytest.approx(math.exp(-200 / 300), abs=0.12)
    white = observe_tracks(grid, tracks, noise_std=0.02, seed=1)["ssh"]
    assert float(white.std()) == pytest.approx(0.02, rel=0.05)
    assert abs(np.corrcoef(white[1:], white[:-1])[0, 1]) < 0.05


def test_the_points_of_a_swath_share_their_error() -> None:
    grid = box(21)
    tracks = ground_tracks(["swot"], grid, cross_track=swath_distances(spacing=10.0), step=5.0)
    measured = observe_tracks(grid, tracks, correlated_std=0.03, seed=1)["ssh"]
    spread = measured.groupby("time").std()
    assert tracks.cross_track.min() == -60
    assert float(spread.max()) < 1e-7
