#!/usr/bin/env bash
# "degrees Celsius", as many files spell it, is an angle times a temperature to cf-xarray's unit registry (pint):
# 20 of them are 0.349 kelvin, without a warning. The CF spelling with an underscore is right: 293.15.
#
# Seen with cf-xarray 0.11.3 and pint 0.25.3 on Python 3.11:
#   degree_Celsius   20 -> 293.15 K
#   degrees Celsius  20 -> 0.349066 K    (20 * pi / 180: "degrees" is read as the angle)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet cf-xarray==0.11.3 pint==0.25.3 xarray==2026.9.0
"$folder/venv/bin/python" - <<'PY'
import math

from cf_xarray.units import units

for text in ("degree_Celsius", "degrees Celsius"):
    value = units.Quantity(20.0, units.Unit(text)).to("kelvin").magnitude
    print(f"{text:16} 20 -> {value:.6g} K")
    expected = 293.15 if "_" in text else math.radians(20.0)
    assert math.isclose(value, expected, rel_tol=1e-9), value
PY
