# Sourced by the other scripts, with an extra of pyproject.toml to install or none: makes .venv where
# it is missing and installs oceanvar in it, again only when pyproject.toml has changed.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ -x .venv/bin/python ] || python3 -m venv .venv
export PATH="$PWD/.venv/bin:$PATH" PIP_DISABLE_PIP_VERSION_CHECK=1
extra="${1:+[$1]}"
installed=".venv/installed$extra"
if [ ! -e "$installed" ] || [ pyproject.toml -nt "$installed" ]; then
    # A bare torch brings gigabytes of CUDA; this is the version the project is tested with.
    python -c "import torch" 2>/dev/null || pip install --quiet torch==2.13.0
    pip install --quiet --editable ".$extra"
    touch "$installed"
fi
