#!/usr/bin/env bash
# An integer variable in "seconds" (a wave period, sst_dtime) with a fill value is opened as int64 whose missing values
# are -9223372036854775808: no NaN, no duration, no warning, and isnull() says that all is there. The same values packed
# with a scale factor, or opened with decode_timedelta=False, are floats with NaN.
#
# Seen with xarray 2026.9.0 and netCDF4 1.7.5.1.post1 on Python 3.11:
#   default                int64    [8, -9223372036854775808, 9]   missing: 0
#   decode_timedelta=False float32  [8.0, nan, 9.0]                missing: 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet xarray==2026.9.0 netCDF4==1.7.5.1.post1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import xarray as xr

attrs = {"units": "seconds", "_FillValue": np.int16(-999)}
xr.Dataset({"period": ("x", np.array([8, -999, 9], "i2"), attrs)}).to_netcdf("waves.nc")
default = xr.load_dataset("waves.nc")["period"]
plain = xr.load_dataset("waves.nc", decode_timedelta=False)["period"]
for name, one in (("default", default), ("decode_timedelta=False", plain)):
    print(f"{name:22} {one.dtype!s:8} {one.values.tolist()}   missing: {int(one.isnull().sum())}")
assert default.dtype == np.int64
assert default.values.tolist() == [8, np.iinfo(np.int64).min, 9]
assert not default.isnull().any()
assert plain.dtype == np.float32
assert plain.isnull().values.tolist() == [False, True, False]
PY
