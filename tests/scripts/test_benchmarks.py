"""The benchmarks run, and print ratios."""

import re
import sys
from pathlib import Path

import pytest
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


def test_a_graph_is_built_and_curves_are_drawn(tmp_path):
    done = CliRunner().invoke(main, ["graph", "--small"])
    assert done.exit_code == 0, done.output
    assert re.search(r"graph: \S+ s and \S+ MiB for \S+ tasks of 30 days of 72 x 144", done.output)
    assert re.search(r"import: \d", done.output)
    done = CliRunner().invoke(main, ["curves", "--small", "--out", str(tmp_path / "cost.png")])
    assert done.exit_code == 0, done.output
    assert done.output.count("exponent") == 3
    assert (tmp_path / "cost.png").stat().st_size > 1000


def test_an_index_costs_what_it_costs():
    done = CliRunner().invoke(main, ["index", "--files", "5", "--files", "10"])
    assert done.exit_code == 0, done.output
    assert re.search(
        r"index: 10 files in \S+ s \(processor \S+ s\), again in \S+ s .*, peak \d+ MiB", done.output
    )
    assert re.search(r"memory of 10 files over that of 5: [01]\.\d+", done.output)


def test_a_step_of_training_costs_what_it_costs():
    done = CliRunner().invoke(
        main, ["training", "--before", str(ROOT), "--case", "small LSTM", "--pairs", "3"]
    )
    assert done.exit_code == 0, done.output
    measured = re.fullmatch(
        r"small LSTM: (\S+) times faster \(\S+ to \S+\), peak memory (\S+) of that before \(\d+ MiB\)",
        done.output.splitlines()[1],
    )
    assert 0.2 < float(measured[1]) < 5
    assert 0.9 < float(measured[2]) < 1.1


def test_windows_are_drawn_beside_a_step():
    done = CliRunner().invoke(main, ["draws", "--small", "--pairs", "1"])
    assert done.exit_code == 0, done.output
    assert re.findall(r"^(\w+): \S+ times faster", done.output, re.M) == ["clouds", "points"]


def test_many_workers_are_modelled_by_the_plan_of_a_run():
    done = CliRunner().invoke(
        main, ["workers", "--days", "480", "--workers", "1", "--workers", "2", "--workers", "100"]
    )
    assert done.exit_code == 0, done.output
    faster = [float(each) for each in re.findall(r"workers: ([\d.]+) times", done.output)]
    assert faster[0] == 1
    assert 1.7 < faster[1] < 2 < faster[2] < 100
    assert "0% of the patches twice" in done.output.splitlines()[0]


def test_a_checkout_without_the_package_is_told(tmp_path):
    (tmp_path / "oceanvar.py").write_text("raise SystemExit(3)")
    done = CliRunner().invoke(main, ["patch", "--before", str(tmp_path), "--case", "small LSTM"])
    assert done.exit_code == 1
    assert "the worker ended with code 3" in done.output


@pytest.mark.parametrize(
    ("part", "texts"),
    [
        ("memory", ["memory: ", "wanted: at most 1.05"]),
        ("overhead", ["over the solver alone", "wanted: at most 10 %"]),
        ("stitching", ["GB/s of patches read", "wanted: at least 0.25"]),
        ("solves", ["solves: 1 a patch in one process"]),
        ("append", ["append: monthly: one day takes 1/", "wanted: at most 1/50"]),
    ],
)
def test_an_archive_costs_what_it_costs(part, texts):
    done = CliRunner().invoke(main, ["archive", "--small", "--part", part])
    assert done.exit_code == 0, done.output
    for text in (f"Python {sys.version.split()[0]}", "cores", *texts):
        assert text in done.output
