"""Small files in exactly the structure in which agencies publish theirs: names, types, packing, fills, attributes."""

from pathlib import Path

import netCDF4
import numpy as np

EPOCH_1950, EPOCH_2000, EPOCH_1981 = (np.datetime64(f"{year}-01-01") for year in (1950, 2000, 1981))
NORTH = {"standard_name": "latitude", "units": "degrees_north"}
EAST = {"standard_name": "longitude", "units": "degrees_east"}

SURFACES = (
    "open_ocean land continental_water aquatic_vegetation continental_ice_snow floating_ice salted_basin"
)
"""Meanings of 0 to 6 in the surface classification of GDR-F."""

KARIN_BITS = {
    name: 1 << bit
    for bit, name in {
        0: "suspect_large_ssh_delta",
        1: "suspect_large_ssh_std",
        2: "suspect_large_ssh_window_std",
        3: "suspect_beam_used",
        4: "suspect_less_than_nine_beams",
        6: "suspect_ssb_out_of_range",
        7: "suspect_pixel_used",
        8: "suspect_num_pt_avg",
        9: "suspect_karin_telem",
        10: "suspect_orbit_control",
        11: "suspect_sc_event_flag",
        12: "suspect_tvp_qual",
        13: "suspect_volumetric_corr",
        15: "degraded_ssb_not_computable",
        16: "degraded_media_delays_missing",
        17: "degraded_beam_used",
        18: "degraded_large_attitude",
        19: "degraded_karin_ifft_overflow",
        24: "bad_karin_telem",
        25: "bad_very_large_attitude",
        26: "bad_tide_corrections_missing",
        29: "bad_outside_of_range",
        30: "degraded",
        31: "bad_not_usable",
    }.items()
}
"""Bits of the quality of KaRIn's sea surface heights."""


def put(
    group: netCDF4.Dataset,
    name: str,
    dtype: str,
    dims: tuple[str, ...],
    values: object,
    fill=None,
    **attrs: object,
) -> None:
    """A variable from physical values, packed by scale_factor and add_offset, masked where they are NaN."""
    variable = group.createVariable(name, dtype, dims, fill_value=fill)
    variable.setncatts(attrs)
    values = np.asarray(values)
    variable[...] = (
        np.ma.array(np.nan_to_num(values), mask=np.isnan(values)) if values.dtype.kind == "f" else values
    )


def days(times: np.ndarray, epoch: np.datetime64) -> np.ndarray:
    return (times - epoch) / np.timedelta64(1, "D")


def level3(path: Path, times, longitude, latitude, track=1, cycle=100, sla=None, platform="Jason-3") -> Path:
    """SEALEVEL_GLO_PHY_L3: integers of millimetres and microdegrees along ``time``."""
    n = len(times)
    with netCDF4.Dataset(path, "w") as file:
        file.setncatts({"Conventions": "CF-1.6", "platform": platform, "product_version": "vDec2021"})
        file.createDimension("time", n)
        put(
            file,
            "time",
            "f8",
            ("time",),
            days(times, EPOCH_1950),
            axis="T",
            calendar="gregorian",
            standard_name="time",
            units="days since 1950-01-01 00:00:00",
        )
        put(
            file,
            "longitude",
            "i4",
            ("time",),
            np.asarray(longitude) % 360,
            scale_factor=1e-6,
            add_offset=0.0,
            **EAST,
        )
        put(file, "latitude", "i4", ("time",), latitude, scale_factor=1e-6, add_offset=0.0, **NORTH)
        for name, value in (("cycle", cycle), ("track", track), ("flag", 0)):
            dtype = "i1" if name == "flag" else "i2"
            put(
                file,
                name,
                dtype,
                ("time",),
                np.broadcast_to(value, n).astype(dtype),
                units="1\n",
                coordinates="longitude latitude",
            )
        heights = 0.001 * np.arange(n) if sla is None else np.asarray(sla, float)
        columns = {
            "sla_filtered": heights,
            "sla_unfiltered": heights + 0.5,
            "mdt": heights * 0 + 0.7,
            "dac": heights * 0 - 0.02,
        }
        for name, value in columns.items():
            put(
                file,
                name,
                "i2",
                ("time",),
                value,
                32767,
                add_offset=0.0,
                scale_factor=0.001,
                units="m",
                coordinates="longitude latitude",
            )
    return path


def dac(times) -> np.ndarray:
    """Linear in time, so that interpolation is exact: a centimetre more each second."""
    return 0.01 * (times - times.flat[0]) / np.timedelta64(1, "s") - 0.02


def correction(group, name, dims, values, scale=1e-4, **attrs) -> None:
    """Tenths of millimetres in 16 bits, as the corrections of GDRs are packed."""
    more = {"units": "m", "coordinates": "longitude latitude"} | attrs
    put(group, name, "i2", dims, values, 32767, scale_factor=scale, add_offset=0.0, **more)


def sentinel6(path: Path, times, longitude, latitude, missing=(), units="m") -> Path:
    """P4_1B/GDR-F: groups of 1 Hz and 20 Hz, the band below them, positions above, corrections of 1 Hz."""
    n = len(times)
    with netCDF4.Dataset(path, "w") as file:
        file.setncatts(
            {"mission_name": "Sentinel-6A", "cycle_number": np.int32(60), "pass_number": np.int32(33)}
        )
        for rate, repeat in (("data_01", 1), ("data_20", 20)):
            group = file.createGroup(rate)
            group.createDimension("time", n * repeat)
            fine = np.repeat(times, repeat) + np.tile(np.arange(repeat), n) * np.timedelta64(50, "ms")
            put(
                group,
                "time",
                "f8",
                ("time",),
                days(fine, EPOCH_2000) * 86_400,
                standard_name="time",
                units="seconds since 2000-01-01 00:00:00.0",
                calendar="gregorian",
            )
            put(
                group,
                "time_tai",
                "f8",
                ("time",),
                days(fine, EPOCH_2000) * 86_400 + 37,
                standard_name="time",
                units="seconds since 2000-01-01 00:00:00.0",
                calendar="gregorian",
            )
            step = np.tile(np.arange(repeat) * 0.003, n)
            for name, where, attrs in (("latitude", latitude, NORTH), ("longitude", longitude, EAST)):
                put(
                    group,
                    name,
                    "i4",
                    ("time",),
                    np.repeat(where, repeat) + step,
                    2147483647,
                    scale_factor=1e-6,
                    **attrs,
                )
            put(
                group,
                "surface_classification_flag",
                "i1",
                ("time",),
                (np.arange(n * repeat) == 2 * repeat).astype("i1"),
                127,
                flag_values=np.arange(7, dtype="i1"),
                flag_meanings=SURFACES,
            )
            ku = group.createGroup("ku")
            value = 0.0001 * np.arange(n * repeat)
            value[-1] = np.nan
            put(
                ku,
                "ssha",
                "i4",
                ("time",),
                value,
                2147483647,
                scale_factor=1e-4,
                units="m",
                coordinates="longitude latitude",
            )
            group.createGroup("c").createDimension("unused", 1)
            if rate == "data_01":
                size = {"m": 1, "cm": 100, "mm": 1000}[units]
                values = dac(times)
                values[list(missing)] = np.nan
                correction(group, "dac", ("time",), size * values, size * 1e-4, units=units)
                correction(ku, "iono_cor_alt", ("time",), values * 0 + 0.003)
    return path


def jason3(path: Path, times, longitude, latitude) -> Path:
    """GDR-D: flat, 20 Hz as a second dimension; corrections of 1 Hz."""
    n = len(times)
    with netCDF4.Dataset(path, "w") as file:
        file.setncatts({"mission_name": "Jason-3", "cycle_number": np.int32(60), "pass_number": np.int32(33)})
        file.createDimension("time", n)
        file.createDimension("meas_ind", 20)
        units = "seconds since 2000-01-01 00:00:00.0"
        put(
            file, "time", "f8", ("time",), days(times, EPOCH_2000) * 86_400, standard_name="time", units=units
        )
        put(file, "meas_ind", "i1", ("meas_ind",), np.arange(20, dtype="i1"))
        high = (days(times, EPOCH_2000) * 86_400)[:, np.newaxis] + 0.05 * np.arange(20)
        put(
            file,
            "time_20hz",
            "f8",
            ("time", "meas_ind"),
            high,
            1.8446744073709552e19,
            standard_name="time",
            units=units,
        )
        for name, where, attrs in (("lat", latitude, NORTH), ("lon", longitude, EAST)):
            put(file, name, "i4", ("time",), where, 2147483647, scale_factor=1e-6, **attrs)
            fine = np.asarray(where)[:, np.newaxis] + 0.003 * np.arange(20)
            put(
                file, f"{name}_20hz", "i4", ("time", "meas_ind"), fine, 2147483647, scale_factor=1e-6, **attrs
            )
        put(
            file,
            "ssha",
            "i2",
            ("time",),
            0.001 * np.arange(n),
            32767,
            scale_factor=1e-3,
            units="m",
            coordinates="lon lat",
        )
        correction(file, "hf_fluctuations_corr", ("time",), dac(times), coordinates="lon lat")
        put(
            file,
            "ssha_20hz",
            "i2",
            ("time", "meas_ind"),
            0.001 * np.arange(20 * n).reshape(n, 20),
            32767,
            scale_factor=1e-3,
            units="m",
            coordinates="lon_20hz lat_20hz",
        )
    return path


def sentinel3(path: Path, times, longitude, latitude) -> Path:
    """SRAL, and CryoSat Baseline-D alike: a dimension for each rate, days and seconds beside the time."""
    n = len(times)
    with netCDF4.Dataset(path, "w") as file:
        file.setncatts(
            {"mission_name": "Sentinel 3A", "cycle_number": np.int32(40), "pass_number": np.int32(7)}
        )
        for rate, repeat in (("01", 1), ("20_ku", 20)):
            time = f"time_{rate}"
            file.createDimension(time, n * repeat)
            fine = np.repeat(times, repeat) + np.tile(np.arange(repeat), n) * np.timedelta64(50, "ms")
            units = "seconds since 2000-01-01 00:00:00.0"
            seconds = days(fine, EPOCH_2000) * 86_400
            put(file, time, "f8", (time,), seconds, standard_name="time", units=units, calendar="gregorian")
            utc = np.floor(days(fine, EPOCH_2000)).astype("i2")
            put(file, f"UTC_day_{rate}", "i2", (time,), utc, 32767, units="days since 2000-01-01 00:00:00.0")
            step = np.tile(np.arange(repeat) * 0.003, n)
            for name, where, attrs in (("lat", latitude, NORTH), ("lon", longitude, EAST)):
                fine_place = np.repeat(where, repeat) + step
                put(file, f"{name}_{rate}", "i4", (time,), fine_place, 2147483647, scale_factor=1e-6, **attrs)
        coordinates = "lon_01 lat_01"
        correction(file, "hf_fluct_cor_01", ("time_01",), dac(times), coordinates=coordinates)
        put(
            file,
            "ssha_01_ku",
            "i2",
            ("time_01",),
            0.001 * np.arange(n),
            32767,
            scale_factor=1e-3,
            units="m",
            coordinates=coordinates,
        )
        put(
            file,
            "ssha_20_ku",
            "i2",
            ("time_20_ku",),
            0.001 * np.arange(20 * n),
            32767,
            scale_factor=1e-3,
            units="m",
            coordinates="lon_20_ku lat_20_ku",
        )
    return path


def swot_level3(path: Path, times, latitude, longitude, value, flag=None, nadir=34) -> Path:
    """SWOT_L3_LR_SSH: lines of 69 pixels, the nadir altimeter clipped in."""
    n, m = value.shape
    with netCDF4.Dataset(path, "w") as file:
        file.setncatts(
            {
                "Conventions": "CF-1.7",
                "platform": "SWOT",
                "cycle_number": np.int32(9),
                "pass_number": np.int32(17),
            }
        )
        for name, size in (("num_lines", n), ("num_pixels", m), ("num_nadir", n)):
            file.createDimension(name, size)
        swath = ("num_lines", "num_pixels")
        seconds = days(times, EPOCH_2000) * 86_400
        put(
            file,
            "time",
            "f8",
            ("num_lines",),
            seconds,
            1.8446744073709552e19,
            standard_name="time",
            units="seconds since 2000-01-01 00:00:00.0",
            calendar="gregorian",
        )
        put(file, "latitude", "i4", swath, latitude, 2147483647, scale_factor=1e-6, **NORTH)
        put(file, "longitude", "i4", swath, longitude % 360, 2147483647, scale_factor=1e-6, **EAST)
        put(file, "cross_track_distance", "f4", ("num_pixels",), 2.0 * (np.arange(m) - nadir), units="km")
        put(
            file,
            "quality_flag",
            "u1",
            swath,
            (np.zeros(value.shape) if flag is None else flag).astype("u1"),
            255,
            flag_values=np.array([0, 5, 102], "u1"),
            flag_meanings="good suspect bad",
            coordinates="longitude latitude",
        )
        for name in ("ssha_filtered", "ssha_unfiltered"):
            put(
                file,
                name,
                "i4",
                swath,
                value + (name == "ssha_unfiltered"),
                2147483647,
                scale_factor=1e-4,
                units="m",
                coordinates="longitude latitude",
            )
        put(file, "i_num_line", "i2", ("num_nadir",), np.arange(n, dtype="i2"))
        put(file, "i_num_pixel", "i2", ("num_nadir",), np.full(n, nadir, "i2"))
    return path


def swot_level2(path: Path, times, latitude, longitude, value, qual) -> Path:
    """SWOT_L2_LR_SSH Expert: quality in bits beside each variable, an uncertainty, and positions of the nadir."""
    with netCDF4.Dataset(path, "w") as file:
        file.setncatts({"mission_name": "SWOT", "cycle_number": np.int32(9), "pass_number": np.int32(17)})
        for name, size in (("num_lines", value.shape[0]), ("num_pixels", value.shape[1]), ("num_sides", 2)):
            file.createDimension(name, size)
        swath, lines = ("num_lines", "num_pixels"), ("num_lines",)
        units = "seconds since 2000-01-01 00:00:00.0"
        for name, more in (("time", 0), ("time_tai", 37)):
            put(
                file,
                name,
                "f8",
                lines,
                days(times, EPOCH_2000) * 86_400 + more,
                9.969209968386869e36,
                standard_name="time",
                units=units,
                calendar="gregorian",
            )
        put(file, "latitude", "i4", swath, latitude, 2147483647, scale_factor=1e-6, **NORTH)
        put(file, "longitude", "i4", swath, longitude % 360, 2147483647, scale_factor=1e-6, **EAST)
        put(file, "latitude_nadir", "i4", lines, latitude[:, 0], 2147483647, scale_factor=1e-6, **NORTH)
        put(
            file, "longitude_nadir", "i4", lines, longitude[:, 0] % 360, 2147483647, scale_factor=1e-6, **EAST
        )
        put(
            file,
            "ssha_karin_2",
            "i4",
            swath,
            value,
            2147483647,
            scale_factor=1e-4,
            units="m",
            coordinates="longitude latitude",
        )
        put(
            file,
            "ssha_karin_2_qual",
            "u4",
            swath,
            qual.astype("u4"),
            4294967295,
            flag_masks=np.array(list(KARIN_BITS.values()), "u4"),
            flag_meanings=" ".join(KARIN_BITS),
        )
        put(file, "ssh_karin_uncert", "u2", swath, value * 0 + 0.02, 65535, scale_factor=1e-4, units="m")
    return path


def argo(path: Path, times, longitude, latitude, pressure, temperature, qc) -> Path:
    """Argo multi-profile: characters of quality, levels."""
    n, levels = temperature.shape
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("N_PROF", n)
        file.createDimension("N_LEVELS", levels)
        file.createDimension("STRING8", 8)
        put(
            file,
            "JULD",
            "f8",
            ("N_PROF",),
            days(times, EPOCH_1950),
            999999.0,
            standard_name="time",
            units="days since 1950-01-01 00:00:00 UTC",
            axis="T",
        )
        put(
            file,
            "JULD_LOCATION",
            "f8",
            ("N_PROF",),
            days(times, EPOCH_1950) + 0.1,
            999999.0,
            units="days since 1950-01-01 00:00:00 UTC",
        )
        put(
            file,
            "LATITUDE",
            "f8",
            ("N_PROF",),
            latitude,
            99999.0,
            valid_min=-90.0,
            valid_max=90.0,
            axis="Y",
            **{**NORTH, "units": "degree_north"},
        )
        put(
            file,
            "LONGITUDE",
            "f8",
            ("N_PROF",),
            longitude,
            99999.0,
            valid_min=-180.0,
            valid_max=180.0,
            axis="X",
            **{**EAST, "units": "degree_east"},
        )
        put(
            file,
            "PRES",
            "f4",
            ("N_PROF", "N_LEVELS"),
            pressure,
            99999.0,
            standard_name="sea_water_pressure",
            units="decibar",
        )
        put(
            file,
            "TEMP",
            "f4",
            ("N_PROF", "N_LEVELS"),
            temperature,
            99999.0,
            standard_name="sea_water_temperature",
            units="degree_Celsius",
            valid_min=np.float32(-2.5),
            valid_max=np.float32(40.0),
        )
        put(file, "TEMP_QC", "S1", ("N_PROF", "N_LEVELS"), qc.astype("S1"), b" ", long_name="quality flag")
    return path


def drifters(path: Path, times, longitude, latitude, rows: list[int]) -> Path:
    """Global Drifter Program: a contiguous ragged array."""
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("traj", len(rows))
        file.createDimension("obs", len(times))
        put(file, "ID", "i8", ("traj",), np.arange(len(rows)) + 101, cf_role="trajectory_id")
        put(file, "rowsize", "i8", ("traj",), np.array(rows), sample_dimension="obs")
        put(
            file,
            "time",
            "i8",
            ("obs",),
            np.round(days(times, np.datetime64("1970-01-01")) * 86_400).astype(int),
            units="seconds since 1970-01-01 00:00:00",
        )
        put(file, "latitude", "f4", ("obs",), latitude, **NORTH)
        put(file, "longitude", "f4", ("obs",), longitude, **EAST)
        put(file, "sst", "f4", ("obs",), 290.0 + np.arange(len(times)), -1e34, units="Kelvin")
    return path


def ghrsst(path: Path, time, latitude, longitude, kelvin, quality, dtime, swath=False) -> Path:
    """GDS 2.0 Level 3 (grid) or 2P (swath): packed, with sses, quality and time differences in seconds."""
    dims = ("time", "nj", "ni") if swath else ("time", "lat", "lon")
    with netCDF4.Dataset(path, "w") as file:
        file.setncatts(
            {
                "Conventions": "CF-1.6, ACDD-1.3",
                "gds_version_id": "2.0",
                "platform": "Metop-B",
                "processing_level": "L2P" if swath else "L3C",
            }
        )
        for name, size in zip(dims, (1, *np.shape(kelvin)), strict=True):
            file.createDimension(name, size)
        seconds = np.round(days(np.array([time]), EPOCH_1981) * 86_400).astype("i4")
        put(
            file,
            "time",
            "i4",
            ("time",),
            seconds,
            standard_name="time",
            units="seconds since 1981-01-01 00:00:00",
            axis="T",
        )
        put(file, "lat", "f4", dims[1:] if swath else ("lat",), latitude, **NORTH)
        put(file, "lon", "f4", dims[1:] if swath else ("lon",), longitude, **EAST)
        for name, dtype, value, fill, attrs in (
            (
                "sea_surface_temperature",
                "i2",
                kelvin,
                -32768,
                {
                    "scale_factor": 0.01,
                    "add_offset": 273.15,
                    "units": "kelvin",
                    "valid_min": np.int16(-300),
                    "valid_max": np.int16(4500),
                },
            ),
            ("sst_dtime", "i2", dtime, -32768, {"scale_factor": 1.0, "add_offset": 0.0, "units": "seconds"}),
            (
                "sses_bias",
                "i1",
                np.full_like(kelvin, 0.1),
                -128,
                {"scale_factor": 0.01, "add_offset": 0.0, "units": "kelvin"},
            ),
            (
                "sses_standard_deviation",
                "i1",
                np.full_like(kelvin, 0.4),
                -128,
                {"scale_factor": 0.01, "add_offset": 1.0, "units": "kelvin"},
            ),
        ):
            put(
                file,
                name,
                dtype,
                dims,
                np.asarray(value, float)[np.newaxis],
                fill,
                coordinates="lon lat",
                **attrs,
            )
        put(
            file,
            "quality_level",
            "i1",
            dims,
            quality[np.newaxis].astype("i1"),
            -128,
            valid_min=np.int8(0),
            valid_max=np.int8(5),
            flag_values=np.arange(6, dtype="i1"),
            flag_meanings="no_data bad_data worst_quality low_quality acceptable_quality best_quality",
        )
    return path


def analysis(path: Path, time, latitude, longitude, kelvin) -> Path:
    """GHRSST Level 4."""
    dims = ("time", "lat", "lon")
    with netCDF4.Dataset(path, "w") as file:
        for name, size in zip(dims, (1, *np.shape(kelvin)), strict=True):
            file.createDimension(name, size)
        seconds = np.round(days(np.array([time]), EPOCH_1981) * 86_400).astype("i4")
        put(
            file,
            "time",
            "i4",
            ("time",),
            seconds,
            standard_name="time",
            units="seconds since 1981-01-01 00:00:00 UTC",
        )
        put(file, "lat", "f4", ("lat",), latitude, **NORTH)
        put(file, "lon", "f4", ("lon",), longitude, **EAST)
        put(
            file,
            "analysed_sst",
            "i2",
            dims,
            kelvin[np.newaxis],
            -32768,
            scale_factor=0.001,
            add_offset=298.15,
            units="kelvin",
            valid_min=np.int16(-32767),
            valid_max=np.int16(32767),
            coordinates="lon lat",
        )
        put(
            file,
            "analysis_error",
            "i2",
            dims,
            np.full_like(kelvin, 0.37)[np.newaxis],
            -32768,
            scale_factor=0.01,
            add_offset=0.0,
            units="kelvin",
        )
        put(
            file,
            "mask",
            "i1",
            dims,
            np.ones((1, *kelvin.shape), "i1"),
            -128,
            flag_values=np.array([1, 2], "i1"),
            flag_meanings="open-sea land",
        )
    return path


def colour(path: Path, time, latitude, longitude, chlorophyll, cci=False) -> Path:
    """Copernicus Marine Level 3 with an uncertainty in per cent, or OC-CCI with errors of the logarithm."""
    names = ("time", "lat", "lon") if cci else ("time", "latitude", "longitude")
    with netCDF4.Dataset(path, "w") as file:
        for name, size in zip(names, (1, *chlorophyll.shape), strict=True):
            file.createDimension(name, size)
        put(
            file,
            "time",
            "i4",
            names[:1],
            days(np.array([time]), np.datetime64("1970-01-01")).astype("i4"),
            standard_name="time",
            units="days since 1970-01-01",
            axis="T",
        )
        put(file, names[1], "f4", names[1:2], latitude, **NORTH)
        put(file, names[2], "f4", names[2:], longitude, **EAST)
        attrs = {
            "standard_name": "mass_concentration_of_chlorophyll_a_in_sea_water",
            "units": "milligram m-3",
            "long_name": "Chlorophyll-a concentration",
        }
        put(
            file,
            "chlor_a" if cci else "CHL",
            "f4",
            names,
            chlorophyll[np.newaxis],
            9.96921e36 if cci else -999.0,
            **attrs,
        )
        whole = np.ones((1, *chlorophyll.shape))
        if cci:
            put(file, "chlor_a_log10_bias", "f4", names, 0.1 * whole, 9.96921e36)
            put(file, "chlor_a_log10_rmsd", "f4", names, 0.3 * whole, 9.96921e36)
        else:
            put(file, "CHL_uncertainty", "i2", names, 30.0 * whole, -32767, scale_factor=0.01, units="%")
    return path
