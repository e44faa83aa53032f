#!/usr/bin/env bash
# The main job on simulated fields: an archive of gappy files in, a Zarr store, scores and a picture out.
set -euo pipefail
source "$(dirname "$0")/environment.sh" ""
rm -rf demo
# Fields this small gain nothing from a second thread, and lose much to it where another program needs the core.
OMP_NUM_THREADS=1 python scripts/demo.py simulate demo
oceanvar assimilate "demo/obs/*.nc" --model ocean --out demo/analysis.zarr
python scripts/demo.py report demo
OMP_NUM_THREADS=1 python scripts/demo.py sea demo
