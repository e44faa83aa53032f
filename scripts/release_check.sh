#!/usr/bin/env bash
# Build wheel and source archive, install each in an empty environment of every Python found (or given as arguments), and
# run the fast tests with the oldest dependencies (constraints-min.txt).
#
#   bash scripts/release_check.sh                     # 3.11, 3.12 and 3.13, where they are
#   bash scripts/release_check.sh python3.12          # one of them
#
# Torch is 2.13.0, the oldest that is allowed, or TORCH=VERSION, in a build for processors where pip finds one (TORCH_INDEX=URL
# names another place to look). A Python for which there is only the build with CUDA, gigabytes of it, is left out and
# named; CUDA=1 takes it all the same. docs/install.md tells what has been checked.
set -euo pipefail
cd "$(dirname "$0")/.."
root="$PWD" work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 OMP_NUM_THREADS=1
unset PYTHONPATH
torch=("torch==${TORCH:-2.13.0}" ${TORCH_INDEX:+--index-url "$TORCH_INDEX"})

find_python() { # the interpreter of a version, on the path or of pyenv
    for each in "python$1" "$HOME"/.pyenv/versions/"$1".*/bin/python; do
        if "$each" -c "" 2>/dev/null; then echo "$each"; return; fi
    done
}

pythons=("$@")
if [ $# = 0 ]; then
    for version in 3.11 3.12 3.13; do
        found="$(find_python $version)"
        if [ -n "$found" ]; then pythons+=("$found"); else echo "no Python $version here: not checked"; fi
    done
fi

"${pythons[0]}" -m venv "$work/build"
"$work/build/bin/pip" install --quiet build
"$work/build/bin/python" -m build --outdir "$work/dist" "$root" > "$work/build.log" || { cat "$work/build.log"; exit 1; }
wheel="$(echo "$work"/dist/*.whl)" archive="$(echo "$work"/dist/*.tar.gz)"
echo "built $(basename "$wheel") ($(du -h "$wheel" | cut -f1)) and $(basename "$archive") ($(du -h "$archive" | cut -f1))"

can_have_torch() { # without CUDA, unless that is asked for
    [ -z "${CUDA:-}" ] || return 0
    "$1/bin/pip" install --quiet --dry-run --report "$work/report.json" "${torch[@]}" > /dev/null 2>&1
    ! grep -q '"name": *"nvidia' "$work/report.json"
}

install() { # what is given, in the environment $1, torch first
    local environment="$1"
    shift
    "$environment/bin/pip" install --quiet "${torch[@]}"
    "$environment/bin/pip" install --quiet "$@"
}

run_tests() { # with the installed package, in the environment $1
    (cd "$work/source" && "$1/bin/python" -m pytest -q -p no:cacheprovider -W default "${@:2}")
}

smoke() { # outside of the repository, in isolated mode: nothing of it is imported by chance
    "$1/bin/pip" check > /dev/null || { "$1/bin/pip" check; exit 1; }
    (cd "$work" && "$1/bin/python" -I "$root/scripts/release_smoke.py")
}

mkdir "$work/source"
tar -xzf "$archive" -C "$work/source" --strip-components 1
rm -r "$work/source/oceanvar" # the installed one is tested
oldest_python="$(sed -n 's/^requires-python = ">=\(.*\)"/\1/p' pyproject.toml)"

# One fast part for each library: labels (xarray, cf-xarray, pint), lazy arrays, pictures, files and archives (netCDF4, zarr,
# fsspec, filelock), model files (safetensors) and training (lightning-fabric). The smoke test goes through click.
of_libraries=(
    tests/labels tests/patching tests/files tests/plots tests/archive/test_records.py tests/archive/test_storage.py
    tests/metrics/test_errors.py tests/metrics/test_scores.py tests/network/test_varnet.py tests/training/test_saving.py
    tests/observing/test_open_tracks.py tests/test_mapping.py tests/test_accessor.py tests/test_options.py
)

for python in "${pythons[@]}"; do
    version="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    environment="$work/py$version"
    "$python" -m venv "$environment"
    if ! can_have_torch "$environment"; then
        echo "no build of torch for processors for $("$python" -V): not checked"
        continue
    fi
    install "$environment" "$wheel"
    echo "wheel: $(smoke "$environment")"
    "$environment/bin/pip" install --quiet --force-reinstall --no-deps "$archive"
    echo "source archive: $(smoke "$environment")"
    rm -rf "$environment"

    [ "$version" = "$oldest_python" ] || continue
    # Libraries of that age are for that Python. They warn of what has changed since: that is no error here.
    "$python" -m venv "$work/oldest"
    install "$work/oldest" "$wheel[distributed,land]" hypothesis pytest scikit-learn xrft --constraint constraints-min.txt
    echo "oldest dependencies: $(smoke "$work/oldest")"
    run_tests "$work/oldest" "${of_libraries[@]}"
    echo "the oldest dependencies will do"
done
