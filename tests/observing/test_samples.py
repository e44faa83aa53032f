"""Tracks as they come: any dimension, names, kinds of dates, and the samples that do not count."""

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from oceanvar.errors import ConfigError, GridMismatchError, MendedWarning, MissingVariableError
from oceanvar.labels.passes import passes_of
from oceanvar.observing import (
    ShuffledTracks,
    TrackPositions,
    as_samples,
    bin_tracks,
    bin_with_errors,
    observe_tracks,
    sample_field,
    withhold_passes,
)

START = np.datetime64("2019-01-02", "ns")
SECOND, DAY = np.timedelta64(1, "s"), np.timedelta64(1, "D")
NORTH = {"standard_name": "latitude", "units": "degrees_north"}
EAST = {"standard_name": "longitude", "units": "degrees_east"}


def level3(n: int = 20, start: np.datetime64 = START) -> xr.Dataset:
    """As CMEMS has it: along ``time``."""
    return xr.Dataset(
        {
            "sla_filtered": ("time", 0.01 * np.arange(n), {"units": "m"}),
            "track": ("time", np.arange(n, dtype="i2") // 5),
            "cycle": ("time", np.full(n, 7, "i2")),
        },
        {
            "time": start + np.arange(n) * SECOND,
            "longitude": ("time", np.linspace(301.0, 302.0, n), EAST),
            "latitude": ("time", np.linspace(31.0, 32.0, n), NORTH),
        },
        {"platform": "Jason-3"},
    )


def grid() -> xr.Dataset:
    return xr.Dataset(
        coords={
            "time": START + np.arange(3) * DAY,
            "lat": ("lat", np.arange(30, 34, 0.5), NORTH),
            "lon": ("lon", np.arange(-60, -56, 0.5), EAST),
        }
    )


def gdr() -> xr.Dataset:
    """1 Hz beside 20 Hz, whose positions have the same attributes."""
    ds = level3().rename(latitude="lat", longitude="lon", sla_filtered="ssha")
    high = np.repeat(ds["lat"].values[:, np.newaxis], 20, axis=1) + 0.0025 * np.arange(20)
    return ds.assign_coords(
        lat_20hz=(("time", "meas_ind"), high, NORTH), lon_20hz=(("time", "meas_ind"), high + 270, EAST)
    ).assign(ssha_20hz=(("time", "meas_ind"), high))


# --- what they are made -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        level3(),
        level3().reset_coords(["longitude", "latitude"]),
        level3().rename(longitude="x_of_track", latitude="y_of_track"),
        level3().rename_dims(time="obs").reset_index("time"),
        level3()["sla_filtered"],
        [level3().isel(time=slice(7)), level3().isel(time=slice(7, None))],
        [level3().isel(time=slice(7)), level3()["sla_filtered"].isel(time=slice(7, None))],
    ],
    ids=["dataset", "variables", "by attributes", "obs", "array", "list", "mixed list"],
)
def test_the_samples_are_the_same_however_they_come(given):
    samples, expected = as_samples(given), level3()
    assert samples["sla_filtered"].dims == samples["time"].dims == ("sample",)
    for name in ("sla_filtered", "longitude", "latitude", "time"):
        np.testing.assert_array_equal(samples[name], expected[name])
    assert {"longitude", "latitude", "time"} <= set(samples.coords)


def test_only_positions_along_the_values_count():
    for given in (gdr(), gdr().reset_coords(), gdr()["ssha"]):
        samples = as_samples(given, "ssha")
        np.testing.assert_array_equal(samples["latitude"], gdr()["lat"])
        np.testing.assert_array_equal(samples["longitude"], gdr()["lon"])
    high = as_samples(gdr(), "ssha_20hz")
    np.testing.assert_array_equal(high["latitude"], gdr()["lat_20hz"].values.ravel())
    np.testing.assert_array_equal(high["time"], np.repeat(gdr()["time"].values, 20))


def test_two_positions_of_one_meaning_are_told_apart_by_the_variable_or_refused():
    ds = (
        level3()
        .rename(latitude="lat_a", longitude="lon_a")
        .assign_coords(lat_b=("time", np.zeros(20), NORTH), lon_b=("time", np.zeros(20), EAST))
    )
    with pytest.raises(
        MissingVariableError, match=r"several coordinates that are the longitude, \['lon_a', 'lon_b'\]"
    ):
        as_samples(ds, "sla_filtered")
    ds["sla_filtered"].encoding["coordinates"] = "lon_b lat_b"
    assert float(as_samples(ds, "sla_filtered")["latitude"].max()) == 0.0


@pytest.mark.parametrize(
    "times",
    [
        level3()["time"].values.astype("datetime64[s]"),
        np.array([cftime.DatetimeGregorian(2019, 1, 2, 0, 0, i) for i in range(20)], object),
        pd.to_datetime(level3()["time"].values).to_pydatetime(),
        np.array([f"2019-01-02T00:00:{i:02d}Z" for i in range(20)]),
        np.array([f"2019-01-02 01:00:{i:02d}+01:00" for i in range(20)], object),
    ],
    ids=["seconds", "cftime", "python", "text", "text of a zone"],
)
def test_dates_of_any_kind(times):
    ds = level3().rename_dims(time="obs").reset_index("time").drop_vars("time")
    samples = as_samples(ds.assign_coords(time=("obs", times)))
    np.testing.assert_array_equal(samples["time"], level3()["time"])
    assert samples["time"].dtype == "datetime64[ns]"


def test_numbers_with_a_reference_are_dates_and_without_one_they_stay():
    ds = level3().rename_dims(time="obs").reset_index("time").drop_vars("time")
    days = 25203 + np.arange(20) / 86_400
    dated = ds.assign(time=("obs", days, {"units": "days since 1950-01-01 00:00:00"}))
    error = as_samples(dated)["time"].values - level3()["time"].values
    assert np.abs(error).max() <= np.timedelta64(1, "us")
    np.testing.assert_array_equal(as_samples(ds.assign(time=("obs", days)))["time"], days)


def test_samples_without_a_place_or_value_are_dropped_and_told():
    ds = level3()
    values, latitude = ds["sla_filtered"].values.copy(), ds["latitude"].values.copy()
    values[[1, 2]], values[3], latitude[4] = np.nan, np.inf, np.nan
    ds["sla_filtered"].data, ds["latitude"].data = values, latitude
    with (
        pytest.warns(MendedWarning, match="4 of 20 samples are without a place, a time or a value"),
        pytest.warns(
            MendedWarning, match="1 of 18 values of 'sla_filtered' of the tracks, inf, are infinite"
        ),
    ):
        samples = as_samples(ds)
    np.testing.assert_array_equal(
        samples["sla_filtered"], level3()["sla_filtered"].values[[0, *range(5, 20)]]
    )


@pytest.mark.parametrize("fill", [9.969209968386869e36, 32767.0, -999.0])
def test_fill_values_and_latitudes_that_are_no_angles_are_no_samples(fill):
    ds = level3(40)
    ds["sla_filtered"][7], ds["latitude"].values[9] = fill, -999
    with (
        pytest.warns(MendedWarning, match="1 of 40 values of 'sla_filtered'.* fill values"),
        pytest.warns(MendedWarning, match="2 of 40 samples are without a place"),
    ):
        samples = as_samples(ds)
    assert abs(samples["sla_filtered"]).max() < 1
    with pytest.warns(MendedWarning):
        assert abs(bin_tracks(ds, grid())).max() < 1


def test_whole_numbers_are_values_where_there_are_no_others():
    ds = level3()
    counted = (ds[["sla_filtered"]] * 0).astype(np.int16) + 3
    assert as_samples(counted)["sla_filtered"].dtype == np.float64
    assert bin_tracks(counted, grid()).max() == 3
    with pytest.raises(ConfigError, match="chunks is 'auto': give a whole number of times"):
        bin_tracks(counted, grid(), chunks="auto")


def test_the_same_sample_twice_counts_once_and_the_first_one():
    first, again = level3(), level3(30)
    shifted = again.assign(sla_filtered=again["sla_filtered"] + 1)
    # Other orbits and packing: a millisecond, ten metres, another turn.
    shifted = shifted.assign_coords(
        time=shifted["time"] + np.timedelta64(1, "ms"),
        latitude=shifted["latitude"] * 0 + np.linspace(31, 32, 30),
    )
    shifted["longitude"] = ("time", np.linspace(301, 302, 30) - 360)
    positions = np.linspace(31, 32, 20)
    shifted["latitude"][:20], shifted["longitude"][:20] = positions + 1e-4, positions + 270 - 360
    with pytest.warns(MendedWarning, match="20 of 50 samples are there already"):
        samples = as_samples([first, shifted])
    np.testing.assert_array_equal(samples["sla_filtered"][:20], first["sla_filtered"])
    np.testing.assert_array_equal(samples["sla_filtered"][20:], shifted["sla_filtered"][20:])
    apart = first.assign_coords(time=first["time"] + np.timedelta64(20, "ms"))
    assert as_samples([first, apart]).sizes["sample"] == 40


def test_lists_in_other_units_are_converted():
    cm = level3(5, START + DAY)
    cm["sla_filtered"] = (100 * cm["sla_filtered"]).assign_attrs(units="cm")
    samples = as_samples([level3(5), cm])
    np.testing.assert_allclose(samples["sla_filtered"][5:], level3(5)["sla_filtered"])
    assert samples["sla_filtered"].attrs == {"units": "m"}


def test_what_are_no_tracks_is_refused():
    for wrong in (3, "file.nc", [], [np.zeros(3)]):
        with pytest.raises(ConfigError, match="a Dataset, a DataArray or a list"):
            as_samples(wrong)
    with pytest.raises(MissingVariableError, match="no variable 'adt'; there are"):
        as_samples(level3(), "adt")
    with pytest.raises(MissingVariableError, match="no coordinate 'latitude'"):
        as_samples(level3().drop_vars("latitude"))
    with pytest.raises(GridMismatchError, match="one, of samples"):
        as_samples(level3().expand_dims(member=2))
    with pytest.raises(ConfigError, match="scale_factor"):
        as_samples(level3()["sla_filtered"].assign_attrs(scale_factor=0.001))


# --- what is done with them -------------------------------------------------------------------------------


def test_they_are_binned_on_a_grid_of_other_names():
    binned = bin_tracks(level3()["sla_filtered"], grid())
    assert binned.dims == ("time", "lat", "lon")
    assert binned.name == "sla_filtered"
    counts = bin_with_errors(level3()[["sla_filtered"]], grid(), 0.1)["count"]
    # Longitudes 301 to 302 are -59 to -58, cells 2 to 4; the last half of each kilometre rounds up.
    np.testing.assert_array_equal(counts.isel(time=0).values[2:5, 2:5], np.diag([5, 10, 5]))
    assert int(counts.sum()) == 20
    for other in (level3()[["sla_filtered"]], [level3()["sla_filtered"]]):
        np.testing.assert_array_equal(bin_tracks(other, grid()), binned)
    with pytest.raises(MissingVariableError, match=r"one variable .* \['sla_filtered', 'mdt'\]"):
        bin_tracks(level3().assign(mdt=level3()["sla_filtered"]), grid())
    packed = level3()["sla_filtered"].astype("i2").assign_attrs(scale_factor=0.001)
    with pytest.raises(ConfigError, match="scale_factor"):
        bin_tracks(packed, grid())
    with pytest.raises(MissingVariableError, match="the grid has no dimension .* the latitude"):
        bin_tracks(level3()["sla_filtered"], grid().rename(lat="y_1").drop_vars("y_1"))


def test_samples_weigh_by_their_own_errors():
    """The best linear mean of independent errors: weights of one over the variance, variances that add as inverses."""
    variance = np.where(np.arange(20) % 2, 0.04, 0.01)
    variance[0] = np.nan
    tracks = level3()[["sla_filtered"]].assign(variance=("time", variance))
    binned = bin_with_errors(tracks, grid())
    middle = slice(5, 15)
    weights = 1 / variance[middle]
    at = binned.isel(time=0, lat=3, lon=3)
    assert int(at["count"]) == 10
    expected = (weights * level3()["sla_filtered"].values[middle]).sum() / weights.sum()
    assert float(at["sla_filtered"]) == pytest.approx(expected, rel=1e-6)
    assert float(at["variance"]) == pytest.approx(1 / weights.sum(), rel=1e-6)
    assert int(binned["count"].sum()) == 19
    with pytest.raises(MissingVariableError, match="no 'variance'.*give noise_std"):
        bin_with_errors(level3()["sla_filtered"], grid())


def test_fields_are_sampled_beside_the_given_samples():
    where = grid()
    field = (where["lat"] + 10 * where["lon"] + 0 * (where["time"] - START) / DAY).transpose(
        "time", "lat", "lon"
    )
    ds = level3()
    ds["latitude"][3] = np.nan
    expected = ds["latitude"].values + 10 * (ds["longitude"].values - 360)
    for tracks in (ds, ds["sla_filtered"]):
        found = sample_field(field, tracks)
        assert found.dims == ("time",)
        np.testing.assert_allclose(found, expected)
        assert (found - ds["sla_filtered"]).sizes == {"time": 20}
    assert sample_field(field, [ds, ds]).sizes == {"sample": 40}
    assert sample_field(field, gdr()).dims == ("time",)
    assert sample_field(field, level3().isel(time=slice(0))).sizes == {"time": 0}


def test_a_field_with_a_time_twice_is_refused():
    where = grid()
    field = xr.DataArray(np.zeros(tuple(where.sizes.values())), where.coords, tuple(where.sizes))
    twice = xr.concat([field, field.isel(time=[0])], "time")
    with pytest.raises(GridMismatchError, match=r"1 of .* points of 'time' .* drop_duplicates\('time'\)"):
        sample_field(twice, level3())


@pytest.mark.parametrize("first", [5.0, -175.0])
@pytest.mark.parametrize("direction", [1, -1])
def test_a_global_field_has_no_seam(first, direction):
    longitude = np.arange(first, first + 360, 10.0)[::direction]
    field = xr.DataArray(
        np.cos(np.deg2rad(longitude)) * np.ones((3, 1)),
        {"lat": [-10.0, 0, 10], "lon": longitude},
        ("lat", "lon"),
    )
    at = np.arange(-720, 720, 2.5)
    samples = xr.Dataset(coords={"lat": ("sample", 0 * at), "lon": ("sample", at)})
    found = sample_field(field, samples)
    knots = np.deg2rad(np.arange(-725, 740, 10.0))
    np.testing.assert_allclose(found, np.interp(np.deg2rad(at), knots, np.cos(knots)), atol=1e-12)
    regional = sample_field(field.isel(lon=slice(0, 20)), samples)
    assert regional.isnull().any()


def test_passes_are_withheld_by_tracks_of_a_cycle_or_by_pauses_of_a_satellite():
    other = level3(start=START + DAY)
    other["cycle"] += 1
    kept, withheld = withhold_passes([level3(), other], 0.25)
    assert withheld.sizes["sample"] == 10
    pairs = [set(zip(each["cycle"].values, each["track"].values, strict=True)) for each in (kept, withheld)]
    assert len(pairs[1]) == 2
    assert not pairs[0] & pairs[1]
    bare = [each.drop_vars(["track", "cycle"]) for each in (level3(), other)]
    assert len(np.unique(passes_of(as_samples(bare)))) == 2
    # Two satellites at the same time, one of them with a pause.
    second = bare[0].assign_coords(
        time=bare[0]["time"] + np.where(np.arange(20) < 10, 0, 300) * SECOND,
        latitude=bare[0]["latitude"] - 20,
    )
    second.attrs["platform"] = "SARAL"
    number = passes_of(as_samples([bare[0], second]))
    assert len(np.unique(number)) == 3
    assert len(np.unique(number[:20])) == 1
    nameless = [each.assign_attrs(platform=1).drop_attrs() for each in (bare[0], second)]
    assert len(np.unique(passes_of(as_samples(nameless)))) == 3
    with pytest.raises(MissingVariableError, match="'time'"):
        withhold_passes(bare[0].reset_index("time").drop_vars("time"), 0.5)


def test_a_sample_that_is_there_twice_is_not_both_kept_and_withheld():
    reprocessed = xr.concat([level3(20, START + n * DAY) for n in range(6)], "time")
    real_time = reprocessed.assign(sla_filtered=reprocessed["sla_filtered"] + 0.01)
    with pytest.warns(MendedWarning, match="120 of 240 samples are there already"):
        kept, withheld = withhold_passes([reprocessed, real_time], 0.5, seed=1)
    assert kept.sizes["sample"] == withheld.sizes["sample"] == 60
    assert not set(kept["time"].values) & set(withheld["time"].values)
    for wrong in (-0.1, 1.5, np.nan):
        with pytest.raises(ConfigError, match="share of the passes"):
            withhold_passes(reprocessed, wrong)


def test_measurements_of_a_truth_along_real_tracks():
    where = grid()
    truth = (where["lat"] + 0 * where["lon"] + 0 * (where["time"] - START) / DAY).transpose(
        "time", "lat", "lon"
    )
    measured = observe_tracks(truth.rename("ssh"), level3(), correlated_std=0.1, correlated_km=1e12)
    # One error for each of the four passes of five samples.
    error = (measured["ssh"] - level3()["latitude"].values).values.reshape(4, 5)
    np.testing.assert_allclose(error, np.broadcast_to(error[:, :1], (4, 5)), atol=1e-5)
    assert len(np.unique(error[:, 0].round(3))) == 4
    exact = observe_tracks(truth.rename("ssh"), level3())
    np.testing.assert_allclose(exact["ssh"], level3()["latitude"])


def test_positions_with_dates_are_those_with_days():
    window = {"variable": 1, "time": 3, "latitude": 8, "longitude": 8}
    coords = {
        "time": START + np.arange(3) * DAY,
        "latitude": np.arange(30, 34, 0.5),
        "longitude": np.arange(-60, -56, 0.5),
    }
    days = (level3()["time"].values - np.datetime64("1950-01-01")) / DAY
    place = level3()["longitude"].values, level3()["latitude"].values
    rng = np.random.default_rng(0)
    expected = TrackPositions(*place, days).mask(window, coords, rng)
    assert expected.sum() == 3
    python = pd.to_datetime(level3()["time"].values).to_pydatetime()
    for positions in (
        TrackPositions(*place, level3()["time"].values),
        TrackPositions(*place, list(python)),
        TrackPositions.of(level3()),
    ):
        np.testing.assert_array_equal(positions.mask(window, coords, rng), expected)
        ShuffledTracks(positions, np.arange(20) // 5).mask(window, coords, rng)
