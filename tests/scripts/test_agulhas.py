"""The experiment on an archive of currents runs from end to end on its smallest scale."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click import ClickException
from click.testing import CliRunner

import oceanvar
from scripts.agulhas import __main__ as agulhas
from scripts.agulhas import alone, scores

NAMES = ("eastward", "northward")
UNITS = "days since 1900-01-01"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Daily files of two components with land, whose times say their units where xarray does not look."""
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    latitude, longitude = np.linspace(-36, -34, 9), np.linspace(20, 22.75, 12)
    phase = rng.uniform(0, 6, 2)
    for day in range(45):
        date = np.datetime64("2002-01-01") + day
        waves = [np.sin(latitude[:, None] * 3 + longitude * 2 + day / 5 + p)[None] for p in phase]
        fields = {
            name: (("time", "lat", "lon"), np.where(longitude > 22.3, np.nan, wave), {"Unit": "m s-1"})
            for name, wave in zip(NAMES, waves, strict=True)
        }
        number = (date - np.datetime64("1900-01-01")).astype(float)
        coords = {
            "time": ("time", [number], {"Unit": "days since 1900-1-1"}),
            "lat": ("lat", latitude, {"Unit": "degrees"}),
            "lon": ("lon", longitude, {"Unit": "degrees"}),
        }
        xr.Dataset(fields, coords).to_netcdf(folder / f"{date}.nc")
    return folder


def test_simulated_currents_follow_the_contours_of_a_stream_function(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agulhas, "WINDS", [((1e-6, 1e-6), (1, 1), (400, 400))])
    days = agulhas.read(archive, list(NAMES), UNITS)
    east, north = agulhas.simulate(days, agulhas.SCALES["tiny"], np.random.default_rng(0)).values()
    assert east.dims == north.dims == ("member", *days["eastward"].dims)
    step = 0.25 * np.array([1, np.cos(np.deg2rad(35))])  # of latitude and longitude, in the same length
    inner = np.s_[..., 1:-1, 1:-1]  # centred differences commute but at the border
    divergence = np.gradient(east, step[1], axis=3) + np.gradient(north, step[0], axis=2)
    vorticity = np.gradient(north, step[1], axis=3) - np.gradient(east, step[0], axis=2)
    assert np.std(divergence[inner]) < 0.01 * np.std(vorticity[inner])


def test_outputs_that_differ_in_one_bit_are_found(tmp_path: Path) -> None:
    field = xr.Dataset({"u": ("time", np.ones(3, np.float32))}, {"time": np.arange(3.0)})
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        field.to_netcdf(tmp_path / folder / "analysis_1.nc")
        field["u"][1] = np.nextafter(np.float32(1), np.float32(2))
    with pytest.raises(ClickException, match="u of .*b differs"):
        agulhas.check_same_bits([tmp_path / "a", tmp_path / "b"])


def test_the_tiny_experiment_maps_an_archive_and_scores_what_was_withheld(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, commands = agulhas.oceanvar_command, []

    def without_workers(arguments: list[str], **options: bool) -> None:
        # Workers take seconds to start; tests/test_cluster.py shows that they change no bit.
        commands.append(arguments)
        command([each for each in arguments if each not in ("--workers", "2")], **options)

    monkeypatch.setattr(agulhas, "oceanvar_command", without_workers)
    out = tmp_path / "out"
    options = ["--data", archive, "--variables", ",".join(NAMES), "--out", out, "--scale", "tiny"]
    options += ["--train-months", "1-1", "--test-months", "2-2"]
    first = CliRunner().invoke(agulhas.main, list(map(str, options)), catch_exceptions=False)
    assert first.exit_code == 0, first.output
    assert "4 outputs hold the same bits" in first.output
    assert [each[-2:] == ["--workers", "2"] for each in commands] == [False, False, True, True]
    assert sorted(each.name for each in (out / "two" / "analysis").iterdir()) == [
        f"analysis_2002-0{month}.nc" for month in (1, 2)
    ]
    scores = json.loads((out / "scores.json").read_text())["scores"]
    assert list(scores) == list(NAMES)
    truth, obs = (agulhas.read(folder, list(NAMES), UNITS) for folder in (archive, out / "obs"))
    hidden = obs["eastward"].isnull() & truth["eastward"].notnull()
    assert abs(hidden.sum() / truth["eastward"].notnull().sum() - 0.6) < 0.2
    assert (obs["eastward"].isnull() == obs["northward"].isnull()).all()
    for variable, rows in scores.items():
        assert rows["n"] == {"weeks": 2, "cells": int(hidden[31:, ::2, ::2].sum())}
        for row in [row for name, row in rows.items() if name != "n"]:
            low, high = row["interval"]
            assert 0 < low <= row["rmse"] <= high
        error = (xr.open_zarr(out / "alone" / "analysis.zarr")[variable] - truth[variable]).where(hidden)[
            31:, ::2, ::2
        ]
        assert rows["4DVarNet"]["rmse"] == pytest.approx(float((error**2).mean() ** 0.5), rel=1e-5)
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.suffix in (".nc", ".varnet")}
    again = CliRunner().invoke(agulhas.main, list(map(str, options)), catch_exceptions=False)
    assert again.exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert json.loads((out / "scores.json").read_text())["scores"] == scores
    other = CliRunner().invoke(agulhas.main, [*map(str, options), "--seed", "1"])
    assert other.exit_code == 1
    assert "other settings" in other.output


def test_the_tiny_experiment_learns_from_clouded_days_alone(archive: Path, tmp_path: Path) -> None:
    options = [
        "--data",
        archive,
        "--variables",
        ",".join(NAMES),
        "--out",
        tmp_path / "out",
        "--scale",
        "tiny",
    ]
    options += ["--train-months", "1-1", "--test-months", "2-2"]
    CliRunner().invoke(alone.main, list(map(str, options)), catch_exceptions=False)
    found = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert list(found) == list(NAMES)
    model = oceanvar.load(tmp_path / "out" / "alone.varnet")
    # The mean of each point comes from the cells that were seen.
    obs = agulhas.read(tmp_path / "out" / "obs", list(NAMES), UNITS).isel(time=slice(31))
    mean = model.state_space.climatology.at("eastward", obs).mean()
    assert float(mean) == pytest.approx(float(obs["eastward"].mean()), abs=0.1)
    assert all(scores.OURS in rows for rows in found.values())
