#!/usr/bin/env bash
# Dataset.map puts the attributes of the given variables back over those that the mapped function has set: units
# that a conversion writes are lost, and centimetres are called metres. Assigning by name keeps them.
#
# Seen with xarray 2026.9.0 on Python 3.11 (keep_attrs is True by default there; in 2025.1.2, where it was False, the
# function's attributes stay):
#   2026.9.0  map: {'units': 'm'} for the value 150.0   assign: {'units': 'cm'}
#   2025.1.2  map: {'units': 'cm'} for the value 150.0  assign: {'units': 'cm'}
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 2026.9.0 2025.1.2; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install --quiet "xarray==$version"
    "$folder/$version/bin/python" - <<'PY'
import xarray as xr


def in_cm(level):
    return (100 * level).assign_attrs(units="cm")


ds = xr.Dataset({"level": ((), 1.5, {"units": "m"})})
mapped, assigned = ds.map(in_cm)["level"], ds.assign(level=in_cm(ds["level"]))["level"]
print(f"{xr.__version__}  map: {mapped.attrs} for the value {float(mapped)}  assign: {assigned.attrs}")
assert mapped.attrs == {"units": "m" if xr.__version__ == "2026.9.0" else "cm"}
assert assigned.attrs == {"units": "cm"}
assert float(mapped) == 150.0
PY
done
