"""The better optimal interpolation of the Mediterranean, on made-up passes."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from scripts.mediterranean import classical as script
from scripts.mediterranean.cases import NOISE
from tests.scripts.test_mediterranean import simulated_sea  # noqa: F401 - a fixture


def test_both_are_tuned_on_assimilated_passes_and_scored_at_withheld_ones(
    simulated_sea,  # noqa: F811 - the fixture
    tmp_path,
    monkeypatch,
):
    monkeypatch.setattr(script, "N_TRIES", 12)
    monkeypatch.setattr(script, "N_NEAREST", 20)
    arguments = [*simulated_sea, "--out", str(tmp_path)]
    done = CliRunner().invoke(script.main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    without = json.loads((tmp_path / "scores.json").read_text())
    assert "withheld" not in without
    CliRunner().invoke(script.main, [*arguments, "--score"], catch_exceptions=False)
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["options"] == without["options"], "what is withheld plays no part in the choices"
    for part, n in (("cross-validated", 32), ("withheld", 8)):
        rows = scores[part]
        assert rows["n"]["passes"] == n
        better, plain = (rows[name]["rmse_cm"] for name in (script.BETTER, script.PLAIN))
        difference = rows[f"{script.BETTER} minus {script.PLAIN}"]["mse_cm2"]
        assert difference == pytest.approx(better**2 - plain**2, rel=1e-6)
    options = scores["options"][script.BETTER]
    assert options["noise_std"] == NOISE
    assert len(options["lengths"]) == 2
    assert np.isfinite(scores["cross-validated"][script.BETTER]["error_over_expected"])
