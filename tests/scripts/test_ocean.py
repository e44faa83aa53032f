"""The ocean twin experiment runs from end to end on its smallest scale, and goes on where it stopped."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner

import oceanvar
from oceanvar.labels.coordinates import KM_PER_DEGREE
from oceanvar.truths.oceans import GRADIENT, MEAN_TEMPERATURE, one_day
from scripts.ocean import alone, cases, days, dynamics, models, sampling, temperature
from scripts.ocean.__main__ import main

METHODS = ["linear interpolation", "optimal interpolation", "U-Net, direct inversion"]


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
    first = CliRunner().invoke(main, options, catch_exceptions=False)
    assert first.exit_code == 0, first.output
    run = tmp_path / "run"
    result = json.loads((run / "altimeters.json").read_text())
    assert list(result["scores"]) == [f"{each}: {name}" for each in cases.ALTIMETERS for name in METHODS]
    for row in result["scores"].values():
        assert row["mu"]["n_units"] == len(result["months"]) == 2
        low, high = row["rmse"]["interval"]
        assert 0 < low <= row["rmse"]["mean"] <= high
    assert {path.name for path in run.iterdir()} >= {"maps_4_nadirs.png", "maps_4_nadirs_+_SWOT.png"}
    trained = (run / "unet" / "model.varnet").stat().st_mtime_ns
    (run / "altimeters.json").unlink()
    second = CliRunner().invoke(main, options, catch_exceptions=False)
    assert second.exit_code == 0
    assert (run / "unet" / "model.varnet").stat().st_mtime_ns == trained
    assert json.loads((run / "altimeters.json").read_text())["scores"] == result["scores"]
    other = CliRunner().invoke(main, [*options, "--seed", "1"])
    assert other.exit_code == 1
    assert "other settings" in other.output
    model = oceanvar.load(tmp_path / "models" / "ocean-2026.11.varnet")
    assert model.provenance["card"]["parameters"] > 0
    assert "rmse, 4 nadirs" in (tmp_path / "models" / "ocean-2026.11.md").read_text()

    run_dynamics = CliRunner().invoke(main, ["dynamics", *options[1:5]], catch_exceptions=False)
    assert run_dynamics.exit_code == 0, run_dynamics.output
    rows = json.loads((run / "dynamics.json").read_text())["scores"]
    assert len(rows) == 2 * (1 + 2 * 3)
    for name in ("optimal interpolation", "U-Net, direct inversion"):
        ended = []
        for constraint in ("strong", "weak"):
            title = f"{constraint}-constraint 4D-Var from {name}, {{}} iterations"
            begun, after = (rows[title.format(n)]["rmse"]["mean"] for n in (0, 4))
            assert after < begun
            ended.append(after)
        assert ended[0] != ended[1]
    assert "| weak, U-Net and 2 iterations | " in run_dynamics.output

    run_learned = CliRunner().invoke(main, ["learned", *options[1:5]], catch_exceptions=False)
    assert run_learned.exit_code == 0, run_learned.output
    result_learned = json.loads((run / "learned.json").read_text())
    assert len(result_learned["scores"]) == 2 + 2 * 3
    assert result_learned["scores"]["U-Net, direct inversion"] == rows["U-Net, direct inversion"]
    strong = "strong-constraint 4D-Var from U-Net, direct inversion, 4 iterations"
    assert set(result_learned["ratios"][f"{strong} / U-Net, direct inversion"]) >= {"r_score", "rmse"}

    opened = CliRunner().invoke(main, ["open", *options[1:]], catch_exceptions=False)
    assert opened.exit_code == 0, opened.output
    scores = json.loads((run / "open.json").read_text())["scores"]
    assert (
        scores["4 nadirs: U-Net, direct inversion"]["rmse"]
        == result["scores"][f"4 nadirs: {METHODS[2]}"]["rmse"]
    )
    packaged = oceanvar.load(tmp_path / "models" / "ocean.varnet")
    assert packaged.assimilator.n_steps == models.N_STEPS
    assert "rmse, 4 nadirs: U-Net and 4D-Var" in (tmp_path / "models" / "ocean.md").read_text()

    iterations = CliRunner().invoke(main, ["iterations", *options[1:5]], catch_exceptions=False)
    assert iterations.exit_code == 0, iterations.output
    before, after = (oceanvar.load(run / each / "model.varnet").assimilator for each in ("unet", "4dvarnet"))
    assert (before.n_steps, after.n_steps) == (0, 1)
    learned = after.start.state_dict()
    assert all((learned[name] == value).all() for name, value in before.start.state_dict().items())
    rows = json.loads((run / "iterations.json").read_text())["scores"]
    unet = "4 nadirs: U-Net, direct inversion"
    assert rows[unet]["rmse"] == result["scores"][unet]["rmse"]
    assert rows["4 nadirs: 4DVarNet"]["rmse"] != rows[unet]["rmse"]


def test_the_tiny_row_of_the_temperature(tmp_path: Path) -> None:
    options = ["temperature", "--scale", "tiny", "--out", str(tmp_path)]
    CliRunner().invoke(main, options, catch_exceptions=False)
    result = json.loads((tmp_path / "temperature.json").read_text())
    assert len({row["rmse"]["mean"] for row in result["scores"].values()}) == 3
    assert set(result["ratios"]["1 nadir + temperature / 1 nadir"]) >= {"r_score"}


def test_clouds_hide_the_share_of_the_temperature_that_they_should() -> None:
    coords = dict(zip(cases.DIMS, map(np.arange, (40, 60, 60)), strict=True))
    truth = xr.Dataset({"ssh": (cases.DIMS, np.zeros((40, 60, 60)))}, coords)
    seen = temperature.clouded(truth.assign(sst=truth["ssh"]), seed=1)
    assert float(seen["sst"].isnull().mean()) == pytest.approx(temperature.CLOUDS.fraction, abs=0.1)
    assert float(seen["sst"].std()) == pytest.approx(temperature.KELVIN, rel=0.05)
    assert seen["ssh"].notnull().all()


def test_the_tiny_row_of_the_sampling(tmp_path: Path) -> None:
    options = ["sampling", "--scale", "tiny", "--out", str(tmp_path)]
    CliRunner().invoke(main, options, catch_exceptions=False)
    result = json.loads((tmp_path / "sampling.json").read_text())
    assert len({row["rmse"]["mean"] for row in result["scores"].values()}) == 5
    assert set(result["ratios"]["learned / random"]) == {"rmse", "r_score"}
    assert (tmp_path / "sampling.png").exists()
    model = oceanvar.load(tmp_path / "sampling" / "learned" / "model.varnet")
    known = xr.load_dataset(tmp_path / "sampling" / "days" / "4000.nc")
    found = sampling.today(known, "learned", model, 0)
    assert (found["is_seen"].sum(("latitude", "longitude")) == int(0.06 * 16 * 16)).all()


def test_what_is_known_yesterday_says_nothing_of_today(tmp_path: Path) -> None:
    scale = cases.SCALES["tiny"]
    model = models.direct_inversion(scale, 0)
    model.normalise(dataclasses.replace(model.state_space, mean={"ssh": 0.0}, std={"ssh": 0.1}))
    truth = cases.month(tmp_path, scale, 4000, 0)
    every = days.days(truth, range(6, 20), scale, model)
    seen = (every["wait"] < 1).any(("time", *cases.BOX)).values
    number = int(np.flatnonzero(seen)[0])  # the first day with an observation
    changed = truth.copy(deep=True)
    changed["ssh"][6 + number :] = 9.0
    other = days.days(changed, range(6, 20), scale, model)
    for name in days.KNOWN:
        assert (other[name][number] == every[name][number]).all()
    assert (other["previous"][number + 1] != every["previous"][number + 1]).any()
    assert (other["ssh"][number] == 9.0).all()
    is_under = every["wait"][number].values < 1
    assert (every["age"][number + 1].values[is_under] == 0).all()
    assert (every["age"][number + 1].values[~is_under] > 0).all()


def test_a_mirrored_ocean_obeys_the_same_equation() -> None:
    """A day on from the mirror image is the mirror image of a day on, of sea level and of temperature."""
    truth = oceanvar.quasigeostrophic(2, seed=3, resolution=10 / 32, n_spinup=30)
    day = one_day(32, 10.0, {"latitude": 35.0, "deformation_radius": 30.0, "surface": False})
    mean = MEAN_TEMPERATURE + GRADIENT * KM_PER_DEGREE * (truth["latitude"] - 35.0)
    departures = truth.assign(sst=truth["sst"] - mean)
    for ds in (departures, cases.mirrored(departures)):
        states = torch.tensor(np.stack([ds["ssh"], ds["sst"]])[None], dtype=torch.float64)
        np.testing.assert_allclose(day(states[:, :, :1])[:, :, 0], states[:, :, 1], atol=1e-5)


def test_the_time_until_a_solver_is_as_good_as_another() -> None:
    """An error that halves with every second is at any of its values when it should be, and stays at its last one."""
    clock = [0.0, 1.0, 4.0]
    errors = [2.0**-t for t in clock]
    assert dynamics.until(errors, clock, 2.0**-2.5) == pytest.approx(2.5)
    assert dynamics.until(errors, clock, 2.0) == 0.0
    assert dynamics.until(errors, clock, 1e-9) == 4.0


def test_errors_by_their_distance_from_the_border() -> None:
    errors = torch.ones(2, 5, 6)
    errors[:, 1:-1, 1:-1] = 2.0
    errors[:, 2:-2, 2:-2] = 4.0
    assert models.by_distance(errors, 3) == pytest.approx([1.0, 2.0, 4.0])
    assert models.by_distance(errors, 2) == pytest.approx([1.0, ((10 * 4 + 2 * 16) / 12) ** 0.5])


def test_the_tiny_row_of_tracks_alone(tmp_path: Path) -> None:
    options = ["alone", "--scale", "tiny", "--out", str(tmp_path)]
    CliRunner().invoke(main, options, catch_exceptions=False)
    result = json.loads((tmp_path / "alone.json").read_text())
    assert set(result["ratios"][f"{alone.ALONE} / {alone.TRUTH}"]) >= {"r_score"}


def test_each_year_is_seen_along_other_tracks_and_its_mirror_image_along_theirs(tmp_path: Path) -> None:
    scale = dataclasses.replace(cases.SCALES["tiny"], n_days=8)
    seen = alone.seen_years(tmp_path, scale, 1, 2)["ssh"]
    tracks = seen.isel(latitude=slice(scale.n_points), longitude=slice(scale.n_points)).notnull()
    assert 0.005 < float(tracks.mean()) < 0.2
    first, mirrored, second, _ = tracks
    assert (first.values == mirrored.values[:, ::-1]).all()
    assert (first != second).any()
