"""Real tracks in a learned model, on made-up ones and at a small fraction of the size."""

import json

import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner

from scripts.mediterranean import tracks as script


@pytest.fixture
def simulated_sea(tmp_path) -> list[str]:
    """Maps with land, and passes over them eight days long in another year, as files."""
    rng = np.random.default_rng(0)
    coords = {
        "time": np.datetime64("2005-04-01", "ns") + np.arange(12) * np.timedelta64(1, "D"),
        "latitude": 35 + 0.125 * np.arange(24),
        "longitude": 0.125 * np.arange(24),
    }
    t, y, x = np.meshgrid(*(np.arange(len(values)) for values in coords.values()), indexing="ij")
    waves = sum(0.05 * np.sin(x / 4 + k * y / 5 + t / 6 + k) for k in range(3)).astype(np.float32)
    adt = xr.DataArray(
        np.where((x < 3) & (y < 9), np.nan, waves), coords, tuple(coords), attrs={"units": "m"}
    )
    adt.to_dataset(name="adt").to_netcdf(tmp_path / "maps.nc")
    number = np.repeat(np.arange(40), 20)
    along = np.tile(np.arange(20), 40)
    lat, lon = 35.2 + 0.12 * along, rng.uniform(0.1, 2.5, 40)[number] + 0.01 * along
    days = 23_500.1 + 0.19 * number + 1e-5 * along
    level = 0.1 * np.sin(6 * lat) + 0.05 * np.cos(5 * lon) + 0.02 * rng.standard_normal(len(lat))
    np.savetxt(tmp_path / "tracks.txt", np.column_stack([lon, lat, days, level]), fmt="%.7f")
    return ["--maps", str(tmp_path / "maps.nc"), "--tracks", str(tmp_path / "tracks.txt")]


def test_binned_and_along_track_learned_models_share_their_start_and_are_scored(
    simulated_sea, tmp_path, monkeypatch
):
    sizes = script.Sizes(4, 4, ((2e-3, 1), (1e-3, 1)), 8, 1, 4, 2, 3, (4, 6))
    monkeypatch.setattr(script, "SIZES", sizes)
    monkeypatch.setattr(script, "PATCH", {"time": 8, "latitude": 16, "longitude": 16})
    monkeypatch.setattr(script, "OVERLAP", {"time": 4, "latitude": 8, "longitude": 8})
    arguments = [*simulated_sea, "--out", str(tmp_path), "--score"]
    first = CliRunner().invoke(script.main, arguments, catch_exceptions=False)
    assert first.exit_code == 0, first.output
    scores = json.loads((tmp_path / "scores.json").read_text())
    for part, n in (("tuning", 6), ("withheld", 8)):
        rows = scores[part]
        assert rows["n"]["passes"] == n
        errors = {rows[name]["rmse_cm"] for name in ("mean map", script.OI, script.ALONE, *script.OPERATORS)}
        assert len(errors) == 5, "every method has an analysis of its own"
        by_squares = rows[script.ALONG]["rmse_cm"] ** 2 - rows[script.BINNED]["rmse_cm"] ** 2
        difference = rows[f"{script.ALONG} minus {script.BINNED}"]
        assert difference["mse_cm2"] == pytest.approx(by_squares, rel=1e-6)
    weights = torch.load(tmp_path / "weights.pt", weights_only=True)
    of_start = [
        {k: v for k, v in weights[name].items() if k.startswith("start.")} for name in script.OPERATORS
    ]
    assert all(torch.equal(of_start[0][key], of_start[1][key]) for key in of_start[0])
    written = (tmp_path / "weights.pt").stat().st_mtime_ns
    CliRunner().invoke(script.main, arguments, catch_exceptions=False)
    assert (tmp_path / "weights.pt").stat().st_mtime_ns == written
    rescored = json.loads((tmp_path / "scores.json").read_text())
    for name in script.OPERATORS:
        assert rescored["withheld"][name]["rmse_cm"] == pytest.approx(scores["withheld"][name]["rmse_cm"])
