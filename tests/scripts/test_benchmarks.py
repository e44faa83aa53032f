"""The benchmarks run, and print ratios."""

import re
import sys
from pathlib import Path

from click.testing import CliRunner

from scripts.benchmarks.__main__ import main

ROOT = Path(__file__).parents[2]


def test_a_patch_costs_what_it_costs():
    arguments = ["patch", "--before", str(ROOT), "--pairs", "3"]
    done = CliRunner().invoke(main, [*arguments, "--case", "small LSTM", "--case", "small year"])
    assert done.exit_code == 0, done.output
    first, ratio, year = done.output.splitlines()
    assert re.fullmatch(r"small year: \S+ times faster \(\S+ to \S+\), error 1.0000 of that before", year)
    assert f"Python {sys.version.split()[0]}" in first
    assert 0.2 < float(re.fullmatch(r"small LSTM: (\S+) times faster \(\S+ to \S+\)", ratio)[1]) < 5


def test_a_checkout_without_the_package_is_told(tmp_path):
    (tmp_path / "oceanvar.py").write_text("raise SystemExit(3)")
    done = CliRunner().invoke(main, ["patch", "--before", str(tmp_path), "--case", "small LSTM"])
    assert done.exit_code == 1
    assert "the worker ended with code 3" in done.output
