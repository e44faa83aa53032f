"""Clouded images on a tiny ocean: every method fills them, and nothing but clouded images is learned from."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

from scripts import clouds


def test_the_small_table_of_clouded_images(tmp_path: Path) -> None:
    run = CliRunner().invoke(clouds.main, ["--small", "--out", str(tmp_path)], catch_exceptions=False)
    assert run.exit_code == 0, run.output
    result = json.loads((tmp_path / "scores.json").read_text())
    assert len({row["hidden"][0] for row in result["scores"].values()}) == 6
    for name, row in result["scores"].items():
        assert f"| {name} | " in run.output
        for value, low, high in (row["hidden"], row["seen"]):
            assert 0 < low <= value <= high
    assert result["scores"][clouds.OI]["hidden"][0] < result["scores"][clouds.LINEAR]["hidden"][0]
    assert set(result["ratios"]) == {f"{one} / {of}" for one, of in clouds.WANTED}
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.nc")}
    again = CliRunner().invoke(clouds.main, ["--small", "--out", str(tmp_path)], catch_exceptions=False)
    assert again.exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_errors_are_of_hidden_cells_and_ratios_of_variances() -> None:
    coords = {"time": range(4), "latitude": range(6), "longitude": range(6)}
    truth = xr.DataArray(np.zeros((4, 6, 6)), coords)
    seen = truth.where(truth.latitude < 3)
    other = xr.Dataset({"sst": truth, "seen": seen})
    wrong = xr.where(truth.latitude < 3, 1.0, 2.0).broadcast_like(truth).transpose(*truth.dims)
    maps = {name: clouds.scored(wrong * size).assign_attrs(cpu_seconds=0.0) for name, size in SIZES.items()}
    result = clouds.table(maps, other, n_block=2)
    assert result["scores"][clouds.ALONE]["hidden"] == pytest.approx([2.0] * 3)
    assert result["scores"][clouds.ALONE]["seen"] == pytest.approx([1.0] * 3)
    assert result["ratios"][f"{clouds.ALONE} / {clouds.OI}"]["ratio"] == pytest.approx(0.25)


SIZES = {clouds.OI: 2.0, clouds.DINEOF: 3.0, clouds.SMOOTHED: 3.0, clouds.TRUTH: 1.0, clouds.ALONE: 1.0}
