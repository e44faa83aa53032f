#!/usr/bin/env bash
# The site, in build/docs: offline, warnings are errors. DOCS_EXECUTE=0 leaves the pages of the gallery as they are.
set -euo pipefail
source "$(dirname "$0")/environment.sh" docs
OMP_NUM_THREADS=1 PYTHONPATH=. python -m sphinx -W --keep-going -b html docs build/docs "$@"
