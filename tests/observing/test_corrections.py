"""Corrections added and subtracted: beside the values, or of a rate and a group of their own."""

import numpy as np
import pytest
import xarray as xr

import oceanvar
from oceanvar.errors import MendedWarning, MissingVariableError, StoreError
from oceanvar.observing.readers.corrections import interpolated
from tests.observing import deliveries
from tests.observing.deliveries import dac
from tests.observing.test_open_tracks import DAY, START, line, seconds, swath


@pytest.fixture
def gdr(tmp_path):
    """Thirty seconds of Sentinel-6."""
    return deliveries.sentinel6(tmp_path / "S6.nc", seconds(30), **line(30))


def expected(times, sign=1):
    """Heights of 20 Hz with the correction, by their times."""
    number = np.round((times - START) / np.timedelta64(50, "ms"))
    return 0.0001 * number + sign * dac(np.concatenate([[START], times]))[1:]


def test_corrections_of_1_hz_are_interpolated_to_values_of_20_hz(gdr):
    name = "data_20/ku/ssha"
    whole = oceanvar.open_tracks(gdr, name)
    # Of 600 values the last is missing, and the 19 after the last correction cannot have one.
    with pytest.warns(
        MendedWarning, match="of 599 values of 'ssha' are left out: 18 for want of a correction"
    ):
        undone = oceanvar.open_tracks(gdr, name, plus=["data_01/dac"])
    assert undone.sizes["sample"] == whole.sizes["sample"] - 18 == 581
    assert "1 of 600 values are missing; of 599 values" in undone.attrs["editing"]
    assert "18 for want of a correction" in undone.attrs["editing"]
    assert undone["ssha"].attrs == {"units": "m", "comment": "data_01/dac added"}
    np.testing.assert_allclose(undone["ssha"], expected(undone["time"].values), rtol=0, atol=1e-8)
    with pytest.warns(MendedWarning, match="18 for want"):
        applied = oceanvar.open_tracks(gdr, name, minus=["/data_01/dac"])
    np.testing.assert_allclose(applied["ssha"], expected(applied["time"].values, -1), rtol=0, atol=1e-8)
    with pytest.warns(MendedWarning, match="18 for want"):
        both = oceanvar.open_tracks(gdr, name, plus=["data_01/dac"], minus=["data_01/ku/iono_cor_alt"])
    np.testing.assert_allclose(both["ssha"], undone["ssha"] - 0.003, rtol=0, atol=1e-8)
    assert both["ssha"].attrs["comment"] == "data_01/dac added; data_01/ku/iono_cor_alt subtracted"


def test_a_region_and_a_time_cut_no_corrections_off(gdr):
    name, region = "data_20/ku/ssha", (301.1, 301.7, 31.2, 32.3)
    part = oceanvar.open_tracks(
        gdr, name, plus=["data_01/dac"], region=region, time=("2019-01-02T00:00:08", "2019-01-02T00:00:15")
    )
    assert part.sizes["sample"] > 100
    np.testing.assert_allclose(part["ssha"], expected(part["time"].values), rtol=0, atol=1e-8)
    with pytest.raises(StoreError, match="hold 0 values in the region"):
        oceanvar.open_tracks(gdr, name, plus=["data_01/dac"], region=(0, 1, 0, 1))


@pytest.mark.parametrize("units", ["m", "cm", "mm"])
def test_corrections_in_other_units_are_converted(tmp_path, units):
    file = deliveries.sentinel6(tmp_path / "S6.nc", seconds(30), **line(30), units=units)
    # The 1 Hz values: their group is above, or named.
    for name in ("dac", "data_01/dac"):
        tracks = oceanvar.open_tracks(file, plus=[name])
        np.testing.assert_allclose(
            tracks["ssha"], (0.0001 * np.arange(30) + dac(seconds(30)))[:29], atol=1e-8
        )
        assert tracks["ssha"].attrs["units"] == "m"


def test_a_missing_correction_makes_values_missing_up_to_its_neighbours(tmp_path):
    file = deliveries.sentinel6(tmp_path / "S6.nc", seconds(30), **line(30), missing=[10])
    with pytest.warns(MendedWarning, match="of 599 .*: 57 for want of a correction"):
        tracks = oceanvar.open_tracks(file, "data_20/ku/ssha", plus=["data_01/dac"])
    since = (tracks["time"].values - START) / np.timedelta64(1, "s")
    assert not ((since > 9.01) & (since < 10.99)).any()
    assert {9, 11} <= set(np.round(since[np.abs(since - np.round(since)) < 0.01]))
    for name in ("dac", "data_01/dac"):
        with pytest.warns(MendedWarning, match="of 29 .*: 1 for want of a correction"):
            slow = oceanvar.open_tracks(file, plus=[name])
        assert slow.sizes["sample"] == 28


def test_a_pause_of_the_corrections_is_not_bridged(tmp_path):
    times = seconds(30) + np.where(np.arange(30) < 15, 0, 2) * np.timedelta64(1, "s")
    file = deliveries.sentinel6(tmp_path / "S6.nc", times, **line(30))
    with pytest.warns(MendedWarning, match="of 599 .*: 37 for want of a correction"):
        tracks = oceanvar.open_tracks(file, "data_20/ku/ssha", plus=["data_01/dac"])
    assert tracks.sizes["sample"] == 599 - 37


def test_20_hz_as_a_second_dimension_has_times_of_its_own(tmp_path):
    file = deliveries.jason3(tmp_path / "JA3.nc", seconds(30), **line(30))
    with pytest.warns(MendedWarning, match="19 for want"):
        fine = oceanvar.open_tracks(file, "ssha_20hz", plus=["hf_fluctuations_corr"])
    times = fine["time"].values
    number = np.round((times - START) / np.timedelta64(50, "ms"))
    correction = dac(np.concatenate([[START], times]))[1:]
    np.testing.assert_allclose(fine["ssha_20hz"], 0.001 * number + correction, rtol=0, atol=1e-8)
    slow = oceanvar.open_tracks(file, plus=["hf_fluctuations_corr"])
    np.testing.assert_allclose(slow["ssha"], 0.001 * np.arange(30) + dac(seconds(30)), atol=1e-8)
    # The other way round, values of 1 Hz with a field of 20 Hz.
    mixed = oceanvar.open_tracks(file, "ssha", minus=["ssha_20hz"])
    np.testing.assert_allclose(mixed["ssha"], (0.001 - 0.02) * np.arange(30), rtol=0, atol=1e-8)


def test_a_dimension_for_each_rate_has_its_own_times(tmp_path):
    file = deliveries.sentinel3(tmp_path / "S3A.nc", seconds(30), **line(30))
    with pytest.warns(MendedWarning, match="19 for want"):
        fine = oceanvar.open_tracks(file, "ssha_20_ku", minus=["hf_fluct_cor_01"])
    times = fine["time"].values
    number = np.round((times - START) / np.timedelta64(50, "ms"))
    correction = dac(np.concatenate([[START], times]))[1:]
    np.testing.assert_allclose(fine["ssha_20_ku"], 0.001 * number - correction, rtol=0, atol=1e-8)


def test_corrections_of_lines_and_of_pixels_hold_for_a_swath(tmp_path):
    latitude, longitude, value = swath(6)
    n, m = value.shape
    plain = xr.Dataset(
        {
            "ssha": (("num_lines", "num_pixels"), value, {"units": "m", "comment": "as measured"}),
            "of_lines": ("num_lines", 0.1 * np.arange(n), {"units": "m"}),
            "of_pixels": ("num_pixels", np.arange(m) / 10, {"units": "cm"}),
            "of_all": ("num_sides", np.zeros(2)),
            "bias": ((), 3.0),
        },
        {
            "latitude": (("num_lines", "num_pixels"), latitude, deliveries.NORTH),
            "longitude": (("num_lines", "num_pixels"), longitude + 20, deliveries.EAST),
            "time": ("num_lines", seconds(n)),
            "reference_time": ((), START - DAY),
        },
    )
    plain.to_netcdf(tmp_path / "a.nc")
    tracks = oceanvar.open_tracks(tmp_path / "a.nc", "ssha", plus=["of_lines", "bias"], minus=["of_pixels"])
    whole = value + 0.1 * np.arange(n)[:, np.newaxis] - 0.001 * np.arange(m) + 3
    np.testing.assert_allclose(tracks["ssha"], whole[np.isfinite(whole)], atol=1e-9)
    assert tracks["ssha"].attrs["comment"] == "as measured; of_lines added; bias added; of_pixels subtracted"
    with pytest.raises(StoreError, match=r"'of_all' lies along \('num_sides',\) .* no times over"):
        oceanvar.open_tracks(tmp_path / "a.nc", "ssha", plus=["of_all"])


def test_the_valid_range_of_a_packed_correction_counts(tmp_path):
    file = deliveries.level3(tmp_path / "a.nc", seconds(5), **line(5))
    with xr.open_dataset(file, mask_and_scale=False) as ds:
        ds = ds.load()
    ds["dac"].attrs |= {"valid_min": np.int16(-15), "valid_max": np.int16(100)}  # -0.020 m lies below
    ds["dac"].values[1:] = 10
    ds.to_netcdf(tmp_path / "b.nc")
    with pytest.warns(MendedWarning, match="1 for want of a correction"):
        tracks = oceanvar.open_tracks(tmp_path / "b.nc", plus=["dac"])
    np.testing.assert_allclose(tracks["sla_filtered"], 0.001 * np.arange(1, 5) + 0.01, atol=1e-9)
    fine = deliveries.jason3(tmp_path / "c.nc", seconds(30), **line(30))
    with xr.open_dataset(fine, mask_and_scale=False) as ds:
        ds = ds.load()
    ds["hf_fluctuations_corr"].attrs |= {"valid_min": np.int16(-200), "valid_max": np.int16(3000)}
    ds["hf_fluctuations_corr"].values[[3, 20]] = -250, 3050  # packed, as the limits are
    ds.to_netcdf(tmp_path / "d.nc")
    with pytest.warns(MendedWarning, match="97 for want of a correction"):
        oceanvar.open_tracks(tmp_path / "d.nc", "ssha_20hz", plus=["hf_fluctuations_corr"])


def test_values_that_are_flagged_too_are_counted_once(tmp_path):
    file = deliveries.sentinel6(tmp_path / "S6.nc", seconds(30), **line(30), missing=[2])
    with pytest.warns(MendedWarning, match="of 599 .*: 1 by flags; 56 for want of a correction"):
        tracks = oceanvar.open_tracks(
            file, "data_20/ku/ssha", plus=["data_01/dac"], keep={"surface_classification_flag": "open_ocean"}
        )
    assert tracks.sizes["sample"] == 599 - 57


def test_a_flat_file_has_corrections_in_a_group_and_text_in_a_column_with_a_stroke(tmp_path):
    file = deliveries.level3(tmp_path / "a.nc", seconds(5), **line(5))
    aux = xr.Dataset({"bias": ("time", np.arange(5.0), {"units": "cm"})}, {"time": seconds(5)[::-1]})
    aux.to_netcdf(file, mode="a", group="aux")
    for name in (None, "sla_filtered"):
        tracks = oceanvar.open_tracks(file, name, plus=["aux/bias", "mdt"])
        np.testing.assert_allclose(tracks["sla_filtered"], 0.74 - 0.009 * np.arange(5), atol=1e-9)
    rows = "\n".join(f"{301 + i},31,2019-01-02T00:00:0{i},0.5,0.1" for i in range(3))
    (tmp_path / "t.csv").write_text(f"lon,lat,time,height,tide/load\n{rows}\n")
    tracks = oceanvar.open_tracks(tmp_path / "t.csv", "height", minus=["tide/load"])
    np.testing.assert_allclose(tracks["height"], 0.4)


def test_times_of_corrections_in_any_order_with_gaps_and_dimensions():
    nat = np.datetime64("NaT", "ns")
    slow = seconds(8).reshape(2, 4)
    ds = xr.Dataset(
        {
            "value": ("time_20", np.zeros(41)),
            "of_blocks": (
                ("place", "block"),
                np.arange(8.0).reshape(2, 4).T,
                {"units": "m", "valid_max": 99.0},
            ),
            "of_bands": (("time_01", "band"), np.zeros((8, 2))),
            "slow": ("time_01", np.arange(8.0)[::-1]),
        },
        {
            "time_20": seconds(1) + np.arange(41) * np.timedelta64(250, "ms"),
            "time_of_blocks": (("block", "place"), slow, {"standard_name": "time"}),
            "time_01": np.where(np.arange(8) == 3, nat, seconds(8))[::-1],
        },
    )
    found = interpolated(ds, "value", "of_blocks", ds["time_20"])
    at = 0.25 * np.arange(41)
    np.testing.assert_allclose(found.values, np.where(at <= 7, at, np.nan), atol=1e-9)
    assert found.attrs == {"units": "m"}
    # Where a time is missing the neighbours of that sample are two seconds apart.
    np.testing.assert_allclose(
        interpolated(ds, "value", "slow", ds["time_20"]).values, found.values, atol=1e-9
    )
    assert np.isnan(interpolated(ds, "value", "slow", ds["time_20"] + DAY).values).all()
    for nothing in (ds.assign_coords(time_01=np.full(8, nat)), ds.isel(time_01=slice(0))):
        assert np.isnan(interpolated(nothing, "value", "slow", ds["time_20"]).values).all()
    (alone,) = np.flatnonzero(~np.isnan(interpolated(ds.isel(time_01=[2]), "value", "slow", ds["time_20"])))
    assert alone == 20  # a lone sample is known at its own time only
    with pytest.raises(MissingVariableError, match=r"'of_bands' lies along \('time_01', 'band'\)"):
        interpolated(ds, "value", "of_bands", ds["time_20"])


def test_what_cannot_be_added_is_told(gdr, tmp_path):
    with pytest.raises(StoreError, match=r"no variable 'data_01/tide'; there are \['data_01/dac', "):
        oceanvar.open_tracks(gdr, "data_20/ku/ssha", plus=["data_01/tide"])
    with pytest.raises(StoreError, match="no variable 'data_02/dac'; there are"):
        oceanvar.open_tracks(gdr, "data_20/ku/ssha", minus=["data_02/dac"])
    with xr.open_dataset(deliveries.level3(tmp_path / "a.nc", seconds(5), **line(5))) as ds:
        ds = ds.load().drop_encoding()
    ds.assign(wind=ds["dac"].assign_attrs(units="m/s")).to_netcdf(tmp_path / "b.nc")
    with pytest.raises(StoreError, match="the correction 'wind' is in 'm/s', which is no 'm'"):
        oceanvar.open_tracks(tmp_path / "b.nc", plus=["wind"])
    late = xr.open_dataset(gdr, group="data_01").load()
    late = late.assign_coords(time=late["time"] + DAY)
    late.to_netcdf(tmp_path / "late.nc", group="data_01")
    for group in ("data_20", "data_20/ku"):
        xr.open_dataset(gdr, group=group).load().to_netcdf(tmp_path / "late.nc", group=group, mode="a")
    with pytest.raises(
        StoreError, match="1 are missing, 599 are left out for want of a correction: nothing is left"
    ):
        oceanvar.open_tracks(tmp_path / "late.nc", "data_20/ku/ssha", plus=["data_01/dac"])
