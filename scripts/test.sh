#!/usr/bin/env bash
# Everything that must hold: formatting, lint, types, tests (the README's code is among them).
set -euo pipefail
source "$(dirname "$0")/environment.sh" dev
ruff format --check .
ruff check .
mypy
OMP_NUM_THREADS=1 python -m pytest --numprocesses 2 "$@"
