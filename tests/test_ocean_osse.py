"""The ocean twin experiment runs from end to end on its smallest scale, and goes on where it stopped."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import oceanvar
from oceanvar.coordinates import KM_PER_DEGREE
from oceanvar.practice_ocean import GRADIENT, MEAN_TEMPERATURE, _one_day

sys.path.append(str(Path(__file__).parents[1] / "scripts"))

import ocean_cases
import ocean_osse
import ocean_tables

METHODS = ["linear interpolation", "optimal interpolation", "U-Net, direct inversion", "4DVarNet"]


def test_the_tiny_experiment_trains_scores_packages_and_resumes(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    options = [
        "altimeters",
        "--scale",
        "tiny",
        "--out",
        str(tmp_path / "run"),
        "--package",
        str(tmp_path / "models"),
    ]
    first = CliRunner().invoke(ocean_osse.main, options, catch_exceptions=False)
    assert first.exit_code == 0, first.output
    run = tmp_path / "run"
    result = json.loads((run / "altimeters.json").read_text())
    assert list(result["scores"]) == [
        f"{each}: {name}" for each in ocean_cases.ALTIMETERS for name in METHODS
    ]
    for row in result["scores"].values():
        assert row["mu"]["n_months"] == len(result["months"]) == 2
        low, high = row["rmse"]["interval"]
        assert 0 < low <= row["rmse"]["mean"] <= high
    assert {path.name for path in run.iterdir()} >= {"maps_4_nadirs.png", "maps_4_nadirs_+_SWOT.png"}
    before, after = (oceanvar.load(run / each / "model.varnet").assimilator for each in ("unet", "4dvarnet"))
    assert before.n_steps == 0
    assert after.n_steps == 1
    learned = after.start.state_dict()
    assert all((learned[name] == value).all() for name, value in before.start.state_dict().items())
    trained = (run / "unet" / "model.varnet").stat().st_mtime_ns
    (run / "altimeters.json").unlink()
    second = CliRunner().invoke(ocean_osse.main, options, catch_exceptions=False)
    assert second.exit_code == 0
    assert (run / "unet" / "model.varnet").stat().st_mtime_ns == trained
    assert json.loads((run / "altimeters.json").read_text())["scores"] == result["scores"]
    other = CliRunner().invoke(ocean_osse.main, [*options, "--seed", "1"])
    assert other.exit_code == 1
    assert "other settings" in other.output
    model = oceanvar.load(tmp_path / "models" / "ocean.varnet")
    assert model.provenance["card"]["parameters"] > 0
    assert "rmse, 4 nadirs" in (tmp_path / "models" / "ocean.md").read_text()


def test_the_tiny_row_of_the_temperature(tmp_path: Path) -> None:
    options = ["temperature", "--scale", "tiny", "--out", str(tmp_path)]
    CliRunner().invoke(ocean_osse.main, options, catch_exceptions=False)
    result = json.loads((tmp_path / "temperature.json").read_text())
    alone, both = result["scores"].values()
    assert alone["rmse"]["mean"] != both["rmse"]["mean"]
    assert set(result["ratios"]["1 nadir + temperature / 1 nadir"]) >= {"r_score"}


def test_a_mirrored_ocean_obeys_the_same_equation() -> None:
    """A day on from the mirror image is the mirror image of a day on, of sea level and of temperature."""
    truth = oceanvar.quasigeostrophic(2, seed=3, resolution=10 / 32, n_spinup=30)
    day = _one_day(32, 10.0, {"latitude": 35.0, "deformation_radius": 30.0, "surface": False})
    mean = MEAN_TEMPERATURE + GRADIENT * KM_PER_DEGREE * (truth["latitude"] - 35.0)
    departures = truth.assign(sst=truth["sst"] - mean)
    for ds in (departures, ocean_cases.mirrored(departures)):
        states = torch.tensor(np.stack([ds["ssh"], ds["sst"]])[None], dtype=torch.float64)
        np.testing.assert_allclose(day(states[:, :, :1])[:, :, 0], states[:, :, 1], atol=1e-5)


def test_parts_of_a_calendar_are_what_was_seen() -> None:
    rng = np.random.default_rng(0)
    seen = rng.random((9, 8, 7)) < 0.3
    sizes = {"variable": 2, "time": 4, "latitude": 5, "longitude": 6}
    part = ocean_cases.AnyPart([seen]).mask(sizes, {}, rng)
    assert part.shape == (2, 4, 5, 6)
    windows = np.lib.stride_tricks.sliding_window_view(seen, (4, 5, 6))
    assert (windows == part[0]).all(axis=(-3, -2, -1)).any()


def test_ratios_pair_the_same_months() -> None:
    months = [
        {"a": {"r_score": 0.5 * each, "lambda_x": np.nan}, "b": {"r_score": each, "lambda_x": 1.0}}
        for each in (0.1, 0.4, 0.2)
    ]
    result = ocean_tables.table(months, {"a / b": ("a", "b")})
    ratio = result["ratios"]["a / b"]
    assert ratio["r_score"]["ratio"] == pytest.approx(0.5)
    assert ratio["r_score"]["interval"] == pytest.approx((0.5, 0.5))
    assert "lambda_x" not in ratio
    assert result["scores"]["a"]["lambda_x"]["mean"] is None
