"""A model of any sea is trained from end to end at its smallest size, and goes on where it stopped."""

import json
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from click.testing import CliRunner

import oceanvar
from scripts.seas.__main__ import main
from scripts.seas.data import SCALES, TEST_SEED, VALIDATION_SEED, drawn, seas
from scripts.seas.scores import tuned_interpolation


def test_the_tiny_training_packages_a_model_of_any_sea(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    options = ["--scale", "tiny", "--out", str(tmp_path / "run"), "--minutes", "0.001"]
    first = CliRunner().invoke(main, ["train", *options], catch_exceptions=False)
    assert first.exit_code == 0, first.output
    weights = (tmp_path / "run" / "refinement.pt").read_bytes()
    second = CliRunner().invoke(
        main, ["score", *options, "--package", str(tmp_path / "models")], catch_exceptions=False
    )
    assert second.exit_code == 0, second.output
    # What was trained for as many minutes is trained no more.
    assert (tmp_path / "run" / "refinement.pt").read_bytes() == weights
    result = json.loads((tmp_path / "run" / "scores.json").read_text())
    for name in ("inferred covariance", "and a network"):
        low, high = result[name]["interval"]
        assert 0 < low <= result[name]["ratio"] <= high
    assert 0 < result["and a network"]["coverage_90"] <= 1
    model = oceanvar.load(tmp_path / "models" / "seas.varnet")
    assert "- coverage of 90 % intervals" in (tmp_path / "models" / "seas.md").read_text()

    sea = next(seas(SCALES["tiny"], TEST_SEED)(1, TEST_SEED))
    obs = sea[["ssh_observed"]].rename(ssh_observed="ssh")
    longer = xr.concat([obs, obs.assign_coords(time=obs["time"] + 10 * np.diff(obs["time"])[0])], "time")
    analysis = longer.varnet.assimilate(model, diagnostics=True)
    assert analysis["ssh"].sizes == longer["ssh"].sizes
    assert bool((analysis["ssh_std"] > 0).all())


def test_tuned_interpolation_is_the_best_of_its_lengths(tmp_path: Path) -> None:
    data = drawn(tmp_path, SCALES["tiny"], VALIDATION_SEED)
    sample = data.batch(np.array([0]))
    error, lengths = tuned_interpolation(sample)
    variance = float(((sample.truth - sample.truth[sample.known > 0].mean()) * sample.known).square().mean())
    assert 0 < error < 1.5 * variance / float(sample.known.mean())
    assert len(lengths) == 2
    # Read again what was drawn: the same numbers, and nothing is drawn anew.
    torch.testing.assert_close(
        drawn(tmp_path, SCALES["tiny"], VALIDATION_SEED).batch(np.array([0])).truth, sample.truth
    )
