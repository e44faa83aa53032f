"""Along-track files in the structures in which they are published, and what is read of them."""

import numpy as np
import pytest
import xarray as xr

import oceanvar
from oceanvar.errors import ConfigError, MendedWarning, StoreError
from oceanvar.observing import NoneOf, bin_tracks, withhold_passes
from tests.observing import deliveries

START = np.datetime64("2019-01-02", "ns")
SECOND, DAY = np.timedelta64(1, "s"), np.timedelta64(1, "D")


def seconds(n, start=START):
    return start + np.arange(n) * SECOND


def line(n, west=301.0, south=31.0):
    return {"longitude": west + 0.03 * np.arange(n), "latitude": south + 0.05 * np.arange(n)}


def swath(n=12, m=69):
    """Positions of a swath along a meridian, at the seam of 360 degrees, and heights."""
    latitude = np.broadcast_to(40 + 0.02 * np.arange(n)[:, np.newaxis], (n, m))
    longitude = np.broadcast_to(0.025 * (np.arange(m) - 34), (n, m))
    value = 0.001 * np.arange(n * m, dtype=float).reshape(n, m)
    value[:, 30:34] = value[:, 35:39] = np.nan
    return latitude, longitude, value


# --- Level 3 ----------------------------------------------------------------------------------------------


def test_level_3_is_unpacked_and_cut(tmp_path):
    deliveries.level3(tmp_path / "dt_global_j3_phy_l3_20190102.nc", seconds(20), **line(20), track=5)
    tracks = oceanvar.open_tracks(tmp_path)
    assert list(tracks.data_vars) == ["sla_filtered"]
    assert tracks["sla_filtered"].dims == ("sample",)
    np.testing.assert_allclose(tracks["sla_filtered"], 0.001 * np.arange(20), atol=1e-12)
    np.testing.assert_allclose(tracks["longitude"], line(20)["longitude"], atol=1e-9)
    np.testing.assert_allclose(tracks["latitude"], line(20)["latitude"], atol=1e-9)
    assert np.abs(tracks["time"].values - seconds(20)).max() < np.timedelta64(1, "ms")
    assert set(tracks["satellite"].values) == {"Jason-3"}
    assert tracks["sla_filtered"].attrs == {"units": "m"}
    assert tracks.attrs == {"editing": "0 of 20 values are missing"}
    region = (-58.9, -58.75, 31.15, 31.4)  # samples 4 to 8 by longitude, 3 to 8 by latitude
    part = oceanvar.open_tracks(tmp_path, region=region, time=("2019-01-02T00:00:05", "2019-01-02"))
    np.testing.assert_allclose(part["sla_filtered"], [0.005, 0.006, 0.007, 0.008], atol=1e-12)
    tracks.to_netcdf(tmp_path / "again.netcdf")


def test_level_3_with_corrections_and_heights_above_the_geoid(tmp_path):
    file = deliveries.level3(tmp_path / "a.nc", seconds(5), **line(5))
    absolute = oceanvar.open_tracks(file, "sla_unfiltered", plus=["mdt"], minus=["dac"])
    np.testing.assert_allclose(absolute["sla_unfiltered"], 0.001 * np.arange(5) + 0.5 + 0.7 + 0.02, atol=1e-9)
    assert float(oceanvar.open_tracks(file, error=0.03)["variance"].mean()) == pytest.approx(9e-4)


def test_satellites_and_versions_are_merged_each_sample_once(tmp_path):
    for folder in ("reprocessed", "near_real_time"):
        (tmp_path / folder).mkdir()
    deliveries.level3(tmp_path / "reprocessed/a.nc", seconds(20), **line(20), track=5)
    deliveries.level3(
        tmp_path / "reprocessed/b.nc", seconds(20), **line(20, 310.0), track=5, platform="SARAL"
    )
    later = {name: values[10:] for name, values in line(30).items()}
    deliveries.level3(tmp_path / "near_real_time/a.nc", seconds(30)[10:], **later, track=5, sla=np.ones(20))
    with pytest.warns(MendedWarning, match="10 there already"):
        tracks = oceanvar.open_tracks([tmp_path / "reprocessed", tmp_path / "near_real_time"])
    assert tracks.sizes["sample"] == 50
    jason = tracks.where(tracks["satellite"] == "Jason-3", drop=True)
    np.testing.assert_allclose(jason["sla_filtered"], [*0.001 * np.arange(20), *np.ones(10)], atol=1e-12)
    assert (np.diff(tracks["time"].values) >= np.timedelta64(0)).all()
    assert len(np.unique(tracks["track"])) == 2
    assert "10 there already" in tracks.attrs["editing"]
    kept, withheld = withhold_passes(tracks, 0.5)
    assert sorted([kept.sizes["sample"], withheld.sizes["sample"]]) == [20, 30]


def test_a_pass_goes_on_in_the_file_of_the_next_day(tmp_path):
    for day in range(2):
        part = {name: values[10 * day : 10 * day + 10] for name, values in line(20).items()}
        deliveries.level3(tmp_path / f"{day}.nc", seconds(20)[10 * day : 10 * day + 10], **part, track=5)
    assert len(np.unique(oceanvar.open_tracks(tmp_path)["track"])) == 1


def test_memory_holds_only_what_is_kept(tmp_path, monkeypatch):
    """Values of a file that lies elsewhere are never read, and of one that lies partly here only that part."""
    for day in range(3):
        deliveries.level3(tmp_path / f"{day}.nc", seconds(1000, START + day * DAY), **line(1000))
    read = []
    kept = xr.Dataset.load
    monkeypatch.setattr(
        xr.Dataset, "load", lambda ds, **kw: (read.append(ds.sizes["time"]), kept(ds, **kw))[1]
    )
    tracks = oceanvar.open_tracks(tmp_path, time=("2019-01-03T00:01", "2019-01-03T00:01"))
    assert tracks.sizes["sample"] == 60
    assert read == [0, 60, 0]


# --- Level 2 ----------------------------------------------------------------------------------------------


def test_groups_of_1_and_20_hz(tmp_path):
    file = deliveries.sentinel6(tmp_path / "S6.nc", seconds(5), **line(5))
    tracks = oceanvar.open_tracks(file)
    np.testing.assert_allclose(tracks["ssha"], 0.0001 * np.arange(4), atol=1e-12)  # the last one is missing
    np.testing.assert_allclose(tracks["latitude"], line(5)["latitude"][:4], atol=1e-9)
    assert np.abs(tracks["time"].values - seconds(4)).max() < np.timedelta64(1, "us")
    assert set(tracks["satellite"].values) == {"Sentinel-6A"}
    assert "1 of 5 values are missing" in tracks.attrs["editing"]
    fine = oceanvar.open_tracks(file, "data_20/ku/ssha")
    assert fine.sizes["sample"] == 99
    assert np.abs(fine["time"].values[:2] - [START, START + np.timedelta64(50, "ms")]).max() < np.timedelta64(
        1, "us"
    )
    with pytest.warns(MendedWarning, match="1 by flags"):
        ocean = oceanvar.open_tracks(file, keep={"surface_classification_flag": 0})
    np.testing.assert_allclose(ocean["ssha"], 0.0001 * np.array([0, 1, 3]), atol=1e-12)
    for wanted in ("open_ocean", ["open_ocean", "floating_ice"], NoneOf("land", "continental*")):
        with pytest.warns(MendedWarning, match="1 by flags"):
            chosen = oceanvar.open_tracks(file, keep={"surface_classification_flag": wanted})
        xr.testing.assert_identical(chosen, ocean)


def test_20_hz_as_a_second_dimension(tmp_path):
    file = deliveries.jason3(tmp_path / "JA3.nc", seconds(5), **line(5))
    tracks = oceanvar.open_tracks(file)
    np.testing.assert_allclose(tracks["latitude"], line(5)["latitude"], atol=1e-9)
    fine = oceanvar.open_tracks(file, "ssha_20hz")
    np.testing.assert_allclose(fine["ssha_20hz"], 0.001 * np.arange(100), atol=1e-12)
    expected = line(5)["latitude"][:, np.newaxis] + 0.003 * np.arange(20)
    np.testing.assert_allclose(fine["latitude"], expected.ravel(), atol=1e-9)
    assert np.abs(np.diff(fine["time"].values) - np.timedelta64(50, "ms")).max() < np.timedelta64(1, "us")


def test_a_dimension_for_each_rate(tmp_path):
    file = deliveries.sentinel3(tmp_path / "S3A.nc", seconds(5), **line(5))
    tracks = oceanvar.open_tracks(file)
    np.testing.assert_allclose(tracks["ssha_01_ku"], 0.001 * np.arange(5), atol=1e-12)
    np.testing.assert_allclose(tracks["longitude"], line(5)["longitude"], atol=1e-9)
    assert np.abs(tracks["time"].values - seconds(5)).max() < np.timedelta64(1, "us")
    fine = oceanvar.open_tracks(file, "ssha_20_ku")
    expected = line(5)["latitude"][:, np.newaxis] + 0.003 * np.arange(20)
    np.testing.assert_allclose(fine["latitude"], expected.ravel(), atol=1e-9)


# --- swaths -----------------------------------------------------------------------------------------------


def test_a_swath_and_its_nadir_are_two_instruments(tmp_path):
    latitude, longitude, value = swath()
    flag = np.zeros(value.shape)
    flag[3, 10] = 102
    deliveries.swot_level3(tmp_path / "SWOT.nc", seconds(12), latitude, longitude, value, flag)
    with pytest.warns(MendedWarning, match="1 by flags"):
        tracks = oceanvar.open_tracks(tmp_path)
    nadir = tracks.where(tracks["satellite"] == "SWOT nadir", drop=True)
    np.testing.assert_allclose(nadir["ssha_filtered"], value[:, 34], atol=1e-9)
    np.testing.assert_allclose(nadir["latitude"], latitude[:, 34], atol=1e-9)
    karin = tracks.where(tracks["satellite"] == "SWOT", drop=True)
    seen = np.isfinite(value) & (flag == 0)
    seen[:, 34] = False
    np.testing.assert_allclose(karin["ssha_filtered"], value[seen], atol=1e-9)
    np.testing.assert_allclose(karin["longitude"], longitude[seen] % 360, atol=1e-9)
    assert np.abs(karin["time"].values - seconds(12)[np.nonzero(seen)[0]]).max() < np.timedelta64(1, "us")
    assert len(np.unique(tracks["track"])) == 2


def test_a_swath_is_thinned_by_means_over_blocks(tmp_path):
    latitude, longitude, value = swath()
    deliveries.swot_level3(tmp_path / "SWOT.nc", seconds(12), latitude, longitude, value)
    tracks = oceanvar.open_tracks(tmp_path, block=6, error=0.3)
    karin = tracks.where(tracks["satellite"] == "SWOT", drop=True)
    value[:, 34] = np.nan
    for i, j in ((0, 0), (1, 4), (0, 6), (1, 11)):
        cells = np.s_[6 * i : 6 * i + 6, 6 * j : 6 * j + 6]
        seen = np.isfinite(value[cells])
        at = np.argmin(np.abs(karin["ssha_filtered"].values - np.nanmean(value[cells])))
        one = karin.isel(sample=at)
        assert float(one["ssha_filtered"]) == pytest.approx(np.nanmean(value[cells]), abs=1e-9)
        assert float(one["latitude"]) == pytest.approx(latitude[cells][seen].mean(), abs=1e-6)
        assert (float(one["longitude"]) - longitude[cells][seen].mean() + 180) % 360 - 180 == pytest.approx(
            0, abs=1e-6
        )
        assert float(one["variance"]) == pytest.approx(0.09 / seen.sum())
    # Twelve blocks along each of two lines of blocks, of which the pixels 30 to 38 are the gap.
    assert karin.sizes["sample"] == 2 * 11
    assert int((tracks["satellite"] == "SWOT nadir").sum()) == 12
    deliveries.level3(tmp_path / "a.nc", seconds(5), **line(5))
    with pytest.raises(StoreError, match="block=6 is for swaths"):
        oceanvar.open_tracks(tmp_path / "a.nc", block=6)


def test_level_2_swaths_with_quality_and_uncertainty(tmp_path):
    latitude, longitude, value = swath(6)
    qual = np.zeros(value.shape, int)
    qual[0, :5] = 64
    file = deliveries.swot_level2(tmp_path / "SWOT_L2.nc", seconds(6), latitude, longitude + 20, value, qual)
    with pytest.warns(MendedWarning, match="5 by flags"):
        tracks = oceanvar.open_tracks(file, error="ssh_karin_uncert")
    assert tracks.sizes["sample"] == np.isfinite(value).sum() - 5
    np.testing.assert_allclose(tracks["variance"], 4e-4, atol=1e-9)
    everything = oceanvar.open_tracks(file, keep={}, region=(20.0, 21.0, 40.0, 40.05))
    inside = np.isfinite(value) & (longitude >= 0) & (latitude <= 40.05)
    np.testing.assert_allclose(np.sort(everything["ssha_karin_2"]), np.sort(value[inside]), atol=1e-9)


def test_bits_of_quality_are_chosen_by_name(tmp_path):
    """Suspect values may count, degraded and bad ones not; the last bit of 32, and a missing flag, are no exception."""
    latitude, longitude, value = swath(6)
    bits = deliveries.KARIN_BITS
    qual = np.zeros(value.shape, np.uint32)
    qual[0, :5] = bits["suspect_beam_used"]
    qual[1, :4] = bits["suspect_beam_used"] | bits["degraded_beam_used"]
    qual[2, :3] = bits["bad_not_usable"]
    qual[3, :2] = bits["degraded"]
    qual[4, :1] = 4294967295  # the fill value
    file = deliveries.swot_level2(tmp_path / "SWOT_L2.nc", seconds(6), latitude, longitude + 20, value, qual)
    n = int(np.isfinite(value).sum())
    name = "ssha_karin_2_qual"
    for keep, n_flagged in (
        (None, 15),
        ({name: NoneOf("*")}, 15),
        ({name: NoneOf("degraded*", "bad*")}, 10),
        ({name: NoneOf("bad_not_usable", "degraded")}, 6),
        ({name: "suspect_beam_used"}, n - 9),
        ({name: ["degraded", "bad_*"]}, n - 5),
        ({name: 0}, 15),
    ):
        with pytest.warns(MendedWarning, match=f"of {n} values .* left out: {n_flagged} by flags"):
            tracks = oceanvar.open_tracks(file, keep=keep)
        assert tracks.sizes["sample"] == n - n_flagged
    with pytest.raises(
        StoreError, match=r"no meaning 'bad_unusable'; there are \['suspect_large_ssh_delta', "
    ):
        oceanvar.open_tracks(file, keep={name: NoneOf("bad_unusable")})


def test_swaths_of_temperature_have_a_time_for_each_pixel(tmp_path):
    latitude, longitude = (each[:, :8] for each in swath(6)[:2])
    kelvin, quality, dtime = np.full((6, 8), 290.0), np.full((6, 8), 5), 60.0 * np.arange(48).reshape(6, 8)
    quality[0, 0] = 3
    deliveries.ghrsst(tmp_path / "l2p.nc", START, latitude, longitude, kelvin, quality, dtime, swath=True)
    tracks = oceanvar.open_tracks(tmp_path)
    assert tracks.sizes["sample"] == 47
    np.testing.assert_allclose(tracks["sea_surface_temperature"], 289.9, atol=1e-4)
    np.testing.assert_allclose(tracks["variance"], 0.16, atol=1e-6)
    np.testing.assert_array_equal(tracks["time"], START + dtime.ravel()[1:].astype(int) * SECOND)
    some = oceanvar.open_tracks(tmp_path, time=("2019-01-02T00:40", "2019-01-02T00:44:00"))
    np.testing.assert_array_equal(some["time"], START + np.arange(40, 45) * 60 * SECOND)


# --- points and text --------------------------------------------------------------------------------------


def test_profiles_are_averaged_over_the_chosen_levels(tmp_path):
    pressure = np.array([[5.0, 9.0, 50.0]] * 4)
    temperature = np.array([[20.0, 19.0, 12.0]] * 4) + np.arange(4)[:, np.newaxis]
    qc = np.array([["1", "1", "1"], ["1", "4", "1"], ["4", "4", "1"], ["2", "1", "1"]])
    file = deliveries.argo(
        tmp_path / "p.nc",
        START + np.arange(4) * DAY,
        [-5.0, -6, -7, -8],
        [30.0, 31, 32, 33],
        pressure,
        temperature,
        qc,
    )
    with pytest.warns(MendedWarning, match="of 12 values of 'TEMP' are left out: 7 by flags"):
        points = oceanvar.open_tracks(file, "TEMP", keep={"PRES": slice(0, 10), "TEMP_QC": [1, 2]})
    np.testing.assert_allclose(points["TEMP"], [19.5, 21.0, 22.5])
    np.testing.assert_array_equal(points["time"], START + np.array([0, 1, 3]) * DAY)
    np.testing.assert_array_equal(points["latitude"], [30, 31, 33])


def test_drifters_have_a_pass_each(tmp_path):
    times = START + np.arange(6) * np.timedelta64(6, "h")
    deliveries.drifters(tmp_path / "gdp.nc", times, 10 + 0.1 * np.arange(6), 30 + 0.1 * np.arange(6), [4, 2])
    points = oceanvar.open_tracks(tmp_path, "sst")
    np.testing.assert_array_equal(points["track"], [0, 0, 0, 0, 1, 1])
    np.testing.assert_allclose(points["sst"], 290 + np.arange(6))
    assert points["time"].values.tolist() == times.tolist()


def test_text_with_and_without_a_header(tmp_path):
    rows = [(301.0 + i, 31.0, f"2019-01-02T00:00:0{i}Z", 0.1 * i, "a" if i < 3 else "b") for i in range(5)]
    lines = "\n".join(",".join(map(str, row)) for row in rows)
    (tmp_path / "t.csv").write_text(f"lon,lat,time,height,satellite\n{lines}\n")
    tracks = oceanvar.open_tracks(tmp_path / "t.csv")
    np.testing.assert_allclose(tracks["height"], 0.1 * np.arange(5))
    np.testing.assert_array_equal(tracks["time"], seconds(5))
    assert tracks["satellite"].values.tolist() == list("aaabb")
    days = (seconds(5) - np.datetime64("1950-01-01")) / DAY
    np.savetxt(
        tmp_path / "t.txt",
        np.column_stack([301 + np.arange(5.0), np.full(5, 31), days, 0.1 * np.arange(5), np.zeros(5)]),
        header="lon lat",
    )
    columns = ("longitude", "latitude", "time", "sla")
    plain = oceanvar.open_tracks(tmp_path / "t.txt", columns=columns, time_units="days since 1950-01-01")
    np.testing.assert_allclose(plain["sla"], tracks["height"])
    assert np.abs(plain["time"].values - seconds(5)).max() < np.timedelta64(1, "ms")
    with pytest.raises(StoreError, match="time_units='days since"):
        oceanvar.open_tracks(tmp_path / "t.txt", columns=columns)


def text(path, rows, header="time,longitude,latitude,sla"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_fills_of_text_and_latitudes_that_are_none_are_left_out(tmp_path):
    rows = [f"2019-01-01T00:00:{i:02d},300.{i},31,{0.01 * i}" for i in range(40)]
    rows[3] = "2019-01-01T00:00:03,300.3,31,-999"
    rows[4] = "2019-01-01T00:00:04,300.4,-88888,0.1"
    rows[5] = "2019-01-01T00:00:05,300.5,95,0.1"
    rows[6] = "2019-01-01T00:00:06,300.6,31,32767"
    with pytest.warns(MendedWarning, match="of 39 .* 1 as fill values .*; 2 without a time or a place"):
        tracks = oceanvar.open_tracks(text(tmp_path / "a.csv", rows))
    assert tracks.attrs["editing"].startswith("1 of 40 values are missing")
    assert tracks.sizes["sample"] == 36
    assert float(tracks["sla"].max()) < 1


@pytest.mark.parametrize("fill", [9.969209968386869e36, np.inf, 32.767])
def test_fill_values_that_no_file_declares_are_left_out(fill, tmp_path):
    heights = 0.01 * np.arange(40)
    heights[7] = fill
    ds = xr.Dataset({"sla": ("time", heights, {"units": "m"})}, {"time": seconds(40)})
    places = {name: ("time", values) for name, values in line(40).items()}
    ds.assign_coords(places).to_netcdf(tmp_path / "a.nc")
    with pytest.warns(MendedWarning, match="of 40 values of 'sla' are left out: 1 as fill values"):
        assert oceanvar.open_tracks(tmp_path / "a.nc").sizes["sample"] == 39


def test_dates_of_text_are_read_in_one_way_or_refused(tmp_path):
    def times(*given, **options):
        rows = [f"{each},30{i},31,0.{i}" for i, each in enumerate(given)]
        read = oceanvar.open_tracks(text(tmp_path / "a.csv", rows), **options)["time"]
        return [str(each)[:10] for each in read.values]

    assert times("13/01/2019", "14/01/2019") == ["2019-01-13", "2019-01-14"]
    assert times("2019-01-03T00:00:00Z", "2019-01-04") == ["2019-01-03", "2019-01-04"]
    assert times("20190103", "20190213", time_units="yyyymmdd") == ["2019-01-03", "2019-02-13"]
    assert times("0", "2", time_units="months since 2019-01") == ["2019-01-01", "2019-03-01"]
    for wrong, message in {
        ("03/01/2019", "04/01/2019"): "'03/01/2019' can be read with the day or the month first",
        ("13/01/2019", "01/14/2019"): "'13/01/2019' say, are no dates, or of several formats",
        ("2019-01-03", "soon"): "'soon' say, are no dates.*ISO 8601",
    }.items():
        with pytest.raises(StoreError, match=message):
            times(*wrong)
    with pytest.raises(StoreError, match="leave time_units out"):
        times("2019-01-03", time_units="yyyymmdd")
    with pytest.raises(StoreError, match="'fortnights since 2019' are not understood"):
        times("1", time_units="fortnights since 2019")
    with pytest.raises(StoreError, match=r"decimal commas \('300,5'\)"):
        oceanvar.open_tracks(text(tmp_path / "b.csv", ["2019-01-01;300,5;31,2;0,1"], "time;lon;lat;sla"))
    with pytest.raises(StoreError, match="no rows"):
        oceanvar.open_tracks(text(tmp_path / "c.csv", []))


def test_errors_of_tracks_in_other_units_are_joined(tmp_path):
    for day, (units, scale) in enumerate({"m": 1.0, "cm": 100.0}.items()):
        along = {name: ("time", values) for name, values in line(30).items()}
        heights = xr.Dataset(coords={"time": seconds(30) + day * DAY}).assign_coords(along)
        for name, values in (("sla", 0.01 * np.arange(30)), ("sla_error", np.full(30, 0.03))):
            heights[name] = ("time", scale * values, {"units": units})
        heights.to_netcdf(tmp_path / f"{day}.nc")
    for error in ("sla_error", 0.03):
        tracks = oceanvar.open_tracks(tmp_path, "sla", error=error)
        np.testing.assert_allclose(tracks["sla"], np.tile(0.01 * np.arange(30), 2))
        np.testing.assert_allclose(tracks["variance"], 0.03**2)
        assert tracks["variance"].attrs["units"] == "(m)**2"


# --- editing and errors -----------------------------------------------------------------------------------


def test_spikes_stand_out_from_their_pass(tmp_path):
    rng = np.random.default_rng(0)
    smooth = 0.2 * np.sin(np.arange(400) / 40) + 0.005 * rng.standard_normal(400)
    wrong = smooth.copy()
    wrong[[50, 200, 201]] += 0.3
    file = deliveries.level3(tmp_path / "a.nc", seconds(400), **line(400), sla=wrong)
    with pytest.warns(MendedWarning, match="of 400 values of 'sla_filtered' are left out: 3 as spikes"):
        tracks = oceanvar.open_tracks(file, spikes=8.0)
    np.testing.assert_allclose(tracks["sla_filtered"], np.delete(smooth, [50, 200, 201]), atol=6e-4)
    clean = deliveries.level3(tmp_path / "b.nc", seconds(400), **line(400), sla=smooth)
    assert oceanvar.open_tracks(clean, spikes=8.0).sizes["sample"] == 400


def test_all_that_is_wrong_with_files_is_one_error(tmp_path):
    (tmp_path / "damaged.nc").write_bytes(b"CDF nothing")
    deliveries.level3(tmp_path / "good.nc", seconds(5), **line(5))
    xr.Dataset({"chl": ("x", np.zeros(3))}).to_netcdf(tmp_path / "other.nc")
    with pytest.raises(StoreError) as error:
        oceanvar.open_tracks(tmp_path, "sla_filtered")
    for part in (
        "2 of 3 files cannot be used",
        "damaged.nc",
        r"other.nc: no variable 'sla_filtered'; there are \['chl'\]",
    ):
        assert error.match(part)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match=r"no files are found at .*empty; .*missing.nc"):
        oceanvar.open_tracks([tmp_path / "empty", tmp_path / "good.nc", tmp_path / "missing.nc"])
    with pytest.raises(StoreError, match=r"an empty list"):
        oceanvar.open_tracks([])
    with pytest.raises(StoreError, match="1 files hold 0 values in the region"):
        oceanvar.open_tracks(tmp_path / "good.nc", region=(0, 1, 0, 1))
    with pytest.raises(StoreError, match="no variable 'ice_flag'"):
        oceanvar.open_tracks(tmp_path / "good.nc", keep={"ice_flag": 0})
    for wrong in (
        {"region": (0, 1, 2)},
        {"region": (0, 2, 5, 1)},
        {"time": "2019"},
        {"time": ("2020", "2019")},
        {"time": ("foo", "bar")},
        {"time": slice("2019", "2020")},
        {"time": 2019},
        {"region": ("a", 1, 2, 3)},
        {"region": 3},
    ):
        with pytest.raises(ConfigError, match="region is|time is"):
            oceanvar.open_tracks(tmp_path / "good.nc", **wrong)
    for wrong in ({"keep": [0]}, {"error": 0.0}, {"block": 2.5}):
        with pytest.raises(ConfigError, match="keep is|error is|block is"):
            oceanvar.open_tracks(tmp_path / "good.nc", **wrong)
    with pytest.raises(ConfigError, match="block is at least 1"):
        oceanvar.open_tracks(tmp_path / "good.nc", block=0)
    deliveries.swot_level3(tmp_path / "swot.nc", seconds(12), *swath())
    with pytest.raises(StoreError, match=r"different variables, \['sla_filtered', 'ssha_filtered'\]"):
        oceanvar.open_tracks([tmp_path / "good.nc", tmp_path / "swot.nc"])
    several = xr.Dataset({name: ("time", np.zeros(3)) for name in ("one", "two")}, {"time": seconds(3)})
    several.to_netcdf(tmp_path / "several.nc")
    with pytest.raises(
        StoreError, match=r"no variable that is the only one to choose; there are \['one', 'two'\]"
    ):
        oceanvar.open_tracks(tmp_path / "several.nc")


def test_one_fault_of_many_files_is_one_line_and_folders_say_what_they_hold(tmp_path):
    for number in range(20):
        xr.Dataset({"chl": ("x", np.zeros(3))}).to_netcdf(tmp_path / f"{number:02d}.nc")
        (tmp_path / f"{number:02d}.csv").write_text("")
    with pytest.raises(StoreError) as error:
        oceanvar.open_tracks(tmp_path, "sla")
    assert error.match("40 of 40 files cannot be used: .*20 files, .*00.nc to 19.nc: no variable 'sla'")
    assert len(str(error.value)) < 500
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "readme.md").write_text("")
    with pytest.raises(StoreError, match=r"other \(it holds readme.md\)"):
        oceanvar.open_tracks(tmp_path / "other")


def test_times_are_open_and_one_name_is_enough(tmp_path):
    for day in range(3):
        deliveries.level3(tmp_path / f"{day}.nc", seconds(5, START + day * DAY), **line(5))
    second = np.datetime_as_string(START + DAY, "D")
    assert oceanvar.open_tracks(tmp_path, time=(None, second)).sizes["sample"] == 10
    assert oceanvar.open_tracks(tmp_path, time=(second, None)).sizes["sample"] == 10
    one, listed = (oceanvar.open_tracks(tmp_path, plus=plus) for plus in ("mdt", ["mdt"]))
    xr.testing.assert_identical(one, listed)


def test_what_is_read_is_what_everything_else_takes(tmp_path):
    deliveries.level3(tmp_path / "a.nc", seconds(20), **line(20))
    coords = {
        "time": START + np.arange(2) * DAY,
        "lat": np.arange(30, 34, 0.5),
        "lon": np.arange(-60, -56, 0.5),
    }
    binned = bin_tracks(oceanvar.open_tracks(tmp_path, error=0.1), xr.Dataset(coords=coords))
    assert int(binned.count()) == 4
