"""The ocean twin experiment runs from end to end on its smallest scale, and goes on where it stopped."""

import json
import runpy
from pathlib import Path

from click.testing import CliRunner

SCRIPT = Path(__file__).parents[1] / "scripts" / "ocean_osse.py"


def test_the_tiny_experiment_trains_scores_and_resumes(tmp_path: Path) -> None:
    main = runpy.run_path(str(SCRIPT))["main"]
    options = ["--scale", "tiny", "--out", str(tmp_path)]
    first = CliRunner().invoke(main, options, catch_exceptions=False)
    assert first.exit_code == 0, first.output
    result = json.loads((tmp_path / "scores.json").read_text())
    assert list(result["scores"]) == ["linear interpolation", "optimal interpolation", "4DVarNet"]
    for row in result["scores"].values():
        assert row["mu"]["n_months"] == len(result["months"]) == 2
        low, high = row["rmse"]["interval"]
        assert 0 < low <= row["rmse"]["mean"] <= high
    assert {path.name for path in tmp_path.iterdir()} >= {"maps.png", "history.nc", "ocean.varnet"}
    trained = (tmp_path / "ocean.varnet").stat().st_mtime_ns
    (tmp_path / "scores.json").unlink()
    second = CliRunner().invoke(main, options, catch_exceptions=False)
    assert second.exit_code == 0
    assert (tmp_path / "ocean.varnet").stat().st_mtime_ns == trained
    assert json.loads((tmp_path / "scores.json").read_text())["scores"] == result["scores"]
    other = CliRunner().invoke(main, [*options, "--seed", "1"])
    assert other.exit_code == 1
    assert "other settings" in other.output
