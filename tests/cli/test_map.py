"""A map from files of points in one command."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner

from oceanvar.cli.commands import main
from oceanvar.maps import Identity
from oceanvar.network import VarNet
from oceanvar.state import Instrument, StateSpace
from oceanvar.variational import (
    AlongTrack,
    Assimilator,
    GradientDescent,
    ObservationTerm,
    PriorTerm,
    VariationalCost,
)

WHERE = ["--region=0,2,40,42", "--time", "2020-01-01,2020-01-04", "--grid", "0.5"]


def level(longitude, latitude, day):
    return 0.2 * np.sin(2 * longitude) * np.cos(3 * latitude) + 0.01 * day


@pytest.fixture
def points(tmp_path):
    """Twelve passes over four days, in a table."""
    rng = np.random.default_rng(0)
    parts = []
    for number in range(12):
        day, along = number / 3, np.linspace(0, 1, 40)
        longitude, latitude = 2 * along, 40 + 2 * np.abs(along - rng.random())
        time = pd.Timestamp("2020-01-01") + pd.to_timedelta(day + along / 1000, unit="D")
        value = level(longitude, latitude, day)
        parts.append(pd.DataFrame({"longitude": longitude, "latitude": latitude, "time": time, "sla": value}))
    pd.concat(parts).to_csv(tmp_path / "points.csv", index=False)
    return tmp_path / "points.csv"


def run(*arguments):
    return CliRunner().invoke(main, ["map", *map(str, arguments)])


def test_optimal_interpolation_maps_points_and_scores_withheld_passes(points, tmp_path):
    lengths = ["--lengths", "latitude=40,longitude=40,time=10", "--noise", "0.01"]
    arguments = [points, "--method", "oi", *WHERE, *lengths, "--withhold", "0.2", "-o", tmp_path / "map.nc"]
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == str(tmp_path / "map.nc")
    rmse, spread = (float(result.stderr.split()[i]) for i in (1, -1))
    assert rmse < 0.5 * spread
    with xr.open_dataset(tmp_path / "map.nc") as ds:
        assert dict(ds.sizes) == {"time": 4, "latitude": 5, "longitude": 5}
        assert set(ds.data_vars) == {"sla", "sla_error"}
        days = xr.DataArray(np.arange(4), dims="time")
        truth = level(ds["longitude"], ds["latitude"], days).transpose(*ds["sla"].dims)
        assert float(abs(ds["sla"] - truth).median()) < 0.05
    again = run(*arguments)
    assert again.exit_code == 1
    assert "exists: choose another name, or --overwrite" in again.stderr
    assert run(*arguments, "--overwrite").exit_code == 0


def space(**options) -> StateSpace:
    patch = {"time": 4, "latitude": 5, "longitude": 5}
    return StateSpace(("ssh",), tuple(patch), patch=patch, mean={"ssh": 0.0}, std={"ssh": 0.1}, **options)


def solver(term: ObservationTerm) -> Assimilator:
    return Assimilator(VariationalCost(term, PriorTerm(Identity())), GradientDescent(5.0), 2)


def test_a_model_maps_points_in_cells_or_along_their_tracks(points, tmp_path):
    cells = VarNet(
        Assimilator(VariationalCost(ObservationTerm(), PriorTerm(Identity())), GradientDescent(5.0), 2),
        space(),
    )
    nadir = {"nadir": Instrument(("ssh",), along_track=True)}
    term = ObservationTerm(AlongTrack(), "nadir")
    along = VarNet(
        Assimilator(VariationalCost(term, PriorTerm(Identity())), GradientDescent(5.0), 2),
        space(instruments=nadir),
    )
    found = []
    for name, model in (("cells", cells), ("along", along)):
        model.save(tmp_path / f"{name}.varnet")
        result = run(points, "-m", tmp_path / f"{name}.varnet", *WHERE, "-o", tmp_path / f"{name}.zarr")
        assert result.exit_code == 0, result.output
        with xr.open_zarr(tmp_path / f"{name}.zarr", consolidated=False) as ds:
            found.append(ds["ssh"].load())
    assert all(float(abs(each).max()) > 0.05 for each in found)
    assert float(abs(found[0] - found[1]).max()) > 1e-3


def test_what_cannot_be_is_told_before_any_work(points, tmp_path):
    out = ["-o", tmp_path / "map.nc"]
    assert run(points, *WHERE, *out).exit_code == 2
    assert run(points, "--method", "oi", "-m", "ocean", *WHERE, *out).exit_code == 2
    assert run(points, "--method", "oi", *WHERE, "-o", tmp_path / "map.tif").exit_code == 1
    backwards = run(points, "--method", "oi", "--region=2,0,40,42", *WHERE[1:], *out)
    assert backwards.exit_code == 1
    assert "no map fits into" in backwards.stderr
    several = run(points, "-m", "lorenz63", *WHERE, *out)
    assert several.exit_code == 1
    assert "the points hold 'sla' alone" in several.stderr
    assert sorted(each.name for each in tmp_path.iterdir()) == ["points.csv"]
