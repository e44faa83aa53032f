"""The benchmark of archives runs, and prints a line for each thing it measures."""

import sys

import pytest
from click.testing import CliRunner

from scripts.benchmark_archive import main


@pytest.mark.parametrize(
    ("part", "texts"),
    [
        ("memory", ["memory: ", "wanted: at most 1.05"]),
        ("overhead", ["over the solver alone", "wanted: at most 10 %"]),
        ("stitching", ["GB/s of patches read", "wanted: at least 0.25"]),
        ("solves", ["solves: 1 a patch in one process"]),
    ],
)
def test_small_benchmarks_run(part, texts):
    done = CliRunner().invoke(main, ["--small", "--part", part])
    assert done.exit_code == 0, done.output
    for text in (f"Python {sys.version.split()[0]}", "cores", *texts):
        assert text in done.output
