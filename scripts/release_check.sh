#!/usr/bin/env bash
# Build wheel and source archive, install each in an empty environment of every Python found (or given as arguments), and
# run the fast tests with the oldest dependencies (constraints-min.txt).
#
#   bash scripts/release_check.sh                     # 3.11, 3.12 and 3.13, where they are
#   bash scripts/release_check.sh python3.12          # one of them
#
# Torch is a build for processors where pip finds one (TORCH_INDEX=URL names another place to look). A Python for which
# there is only the build with CUDA, gigabytes of it, is left out and named; CUDA=1 takes it all the same.
set -euo pipefail
cd "$(dirname "$0")/.."
root="$PWD" work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 OMP_NUM_THREADS=1
unset PYTHONPATH
torch=("torch==2.13.0" ${TORCH_INDEX:+--index-url "$TORCH_INDEX"})

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

has_processor_build() { # whether torch brings no CUDA to this environment
    "$1/bin/pip" install --quiet --dry-run --report "$work/report.json" "${torch[@]}" > /dev/null 2>&1
    ! grep -q '"name": *"nvidia' "$work/report.json"
}

smoke() { # outside of the repository, in isolated mode: nothing of it is imported by chance
    "$1/bin/pip" check > /dev/null || { "$1/bin/pip" check; exit 1; }
    (cd "$work" && "$1/bin/python" -I "$root/scripts/release_smoke.py")
}

for python in "${pythons[@]}"; do
    environment="$work/$("$python" -c 'import sys; print("py%d%d" % sys.version_info[:2])')"
    "$python" -m venv "$environment"
    if [ -z "${CUDA:-}" ] && ! has_processor_build "$environment"; then
        echo "no build of torch for processors for $("$python" -V): not checked"
        continue
    fi
    "$environment/bin/pip" install --quiet "${torch[@]}"
    "$environment/bin/pip" install --quiet "$wheel"
    echo "wheel: $(smoke "$environment")"
    "$environment/bin/pip" install --quiet --force-reinstall --no-deps "$archive"
    echo "source archive: $(smoke "$environment")"
    rm -rf "$environment"
done

oldest="$work/oldest"
"${pythons[0]}" -m venv "$oldest"
if [ -z "${CUDA:-}" ] && ! has_processor_build "$oldest"; then exit 0; fi
"$oldest/bin/pip" install --quiet "${torch[@]}" --constraint constraints-min.txt
"$oldest/bin/pip" install --quiet "$wheel[distributed,land]" hypothesis pytest scikit-learn xrft --constraint constraints-min.txt
mkdir "$work/source"
tar -xzf "$archive" -C "$work/source" --strip-components 1
rm -r "$work/source/oceanvar" # the installed one is tested
# Old libraries warn of what has changed since: that is no error here.
(cd "$work/source" && "$oldest/bin/python" -m pytest -q -p no:cacheprovider -W default \
    tests/labels tests/patching tests/state tests/metrics tests/network tests/maps tests/variational tests/dynamics \
    tests/test_mapping.py tests/test_accessor.py tests/test_options.py)
echo "the oldest dependencies will do"
