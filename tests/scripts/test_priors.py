"""The families of priors run on both problems."""

import re

import pytest
from click.testing import CliRunner

from scripts.priors.__main__ import main


@pytest.mark.parametrize("problem", ["clouds", "footprint"])
def test_families_are_scored_on_a_year_that_nothing_has_seen(problem):
    chosen = ["squared gradients", "total variation", "EOFs", "denoiser, plugged in"]
    options = [each for name in chosen for each in ("--family", name)]
    done = CliRunner().invoke(main, ["--small", "--problem", problem, *options])
    assert done.exit_code == 0, done.output
    rows = re.findall(r"^([^\d\n]+?)  +(?:nothing|fields)  +([\d.]+) +([\d.]+) +([\d.]+) ", done.output, re.M)
    assert [name for name, *_ in rows] == chosen
    for _, rmse, low, high in rows:
        assert 0 < float(low) <= float(rmse) <= float(high)
