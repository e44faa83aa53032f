#!/usr/bin/env bash
# A table of scores along a dimension called "method" cannot be selected from by keyword: sel(method="ours") takes the
# name for its own option, how inexact labels are looked up, selects nothing and returns the whole table, without a
# word. A label that does not exist gives no error either. sel({"method": "ours"}) selects.
#
# Seen with xarray 2026.9.0 and numpy 2.4.6 on Python 3.11:
#   sel(method="ours")        shape (3,)
#   sel(method="nobody's")    shape (3,)
#   sel({"method": "ours"})   shape ()
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet xarray==2026.9.0 numpy==2.4.6
"$folder/venv/bin/python" -W error - <<'PY'
import xarray as xr

rmse = xr.DataArray([3.2, 3.1, 2.9], {"method": ["nearest point", "optimal", "ours"]}, "method")
for label in ("ours", "nobody's"):
    found = rmse.sel(method=label)
    print(f"sel(method={label!r:12}) shape {found.shape}")
    assert found.identical(rmse), found
found = rmse.sel({"method": "ours"})
print(f"sel({{'method': 'ours'}}) shape {found.shape}")
assert float(found) == 2.9, found
PY
