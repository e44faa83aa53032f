"""A map from files of points in one command."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner

from oceanvar.cli import points as points_module
from oceanvar.cli.commands import main
from oceanvar.labels.axes import Axis
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


def test_modes_map_images_and_score_withheld_passes(tmp_path):
    """Swaths that drift over a wave and a half of standing waves, as a table."""
    rng, parts = np.random.default_rng(0), []
    for day in range(30):
        place = rng.uniform([0, 40], [2, 42], (60, 2))
        longitude, latitude = place[np.abs(place[:, 0] - 0.5 - day % 2) < 0.7].T
        value = 10 + np.sin(day / 3) * longitude + np.cos(day / 5) * (latitude - 41)
        time = pd.Timestamp("2020-01-01") + pd.Timedelta(days=day)
        parts.append(pd.DataFrame({"longitude": longitude, "latitude": latitude, "time": time, "sst": value}))
    pd.concat(parts).to_csv(tmp_path / "swaths.csv", index=False)
    where = ["--region=0,2,40,42", "--time", "2020-01-02,2020-01-29", "--grid", "0.5"]
    arguments = [tmp_path / "swaths.csv", "--method", "dineof", *where, "-o", tmp_path / "map.nc"]
    result = run(*arguments, "--modes", "2", "--smoothing", "2", "--withhold", "0.2")
    assert result.exit_code == 0, result.output
    rmse, spread = (float(result.stderr.split()[i]) for i in (1, -1))
    assert rmse < 0.6 * spread
    with xr.open_dataset(tmp_path / "map.nc") as ds:
        assert dict(ds.sizes) == {"time": 28, "latitude": 5, "longitude": 5}
        assert set(ds.data_vars) == {"sst", "sst_std"}
        assert "DINEOF, 2 modes, smoothing 2 days" in ds.attrs["history"]
        days = xr.DataArray(np.arange(1, 29), dims="time")
        truth = 10 + np.sin(days / 3) * ds["longitude"] + np.cos(days / 5) * (ds["latitude"] - 41)
        assert float(abs(ds["sst"] - truth).median()) < 0.3
    assert run(*arguments, "--overwrite", "--modes", "25").exit_code == 1


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


def table(path, *rows, **columns):
    """Samples of (day, value) at one place."""
    days, values = np.array(rows).T
    time = pd.Timestamp("2020-01-01") + pd.to_timedelta(days, unit="D")
    frame = pd.DataFrame({"longitude": 1.0, "latitude": 41.0, "time": time, "sla": values, **columns})
    frame.to_csv(path, index=False)
    return path


def averaging(n_days: int = 5) -> VarNet:
    """A daily model that keeps what was seen."""
    cost = VariationalCost(ObservationTerm(), PriorTerm(Identity()))
    daily = {"time": Axis("time", 1.0, "days", calendar="proleptic_gregorian")}
    patch = {"time": n_days, "latitude": 5, "longitude": 5}
    known = StateSpace(
        ("ssh",),
        tuple(patch),
        patch=patch,
        mean={"ssh": 0.0},
        std={"ssh": 0.1},
        units={"ssh": "m"},
        axes=daily,
    )
    return VarNet(Assimilator(cost, GradientDescent(5.0), 1), known)


def opened(path):
    with xr.open_dataset(path) as ds:
        return ds.load()


def test_the_first_and_the_last_day_are_whole(tmp_path):
    """Samples of the half steps around the first and the last map count."""
    points = table(tmp_path / "p.csv", (-0.4, 0.1), (3.4, 0.2), (3.45, 0.2))
    averaging().save(tmp_path / "m.varnet")
    for method in (["--method", "oi"], ["-m", tmp_path / "m.varnet"]):
        result = run(points, *method, *WHERE, "-o", tmp_path / "map.nc", "--overwrite")
        assert result.exit_code == 0, result.output
        ds = opened(tmp_path / "map.nc")
        assert [str(each)[:10] for each in ds["time"].values[[0, -1]]] == ["2020-01-01", "2020-01-04"]
        here = ds[next(iter(ds.data_vars))].sel(latitude=41, longitude=1)
        assert float(abs(here[-1])) > float(abs(here[0])) > 0


def test_maps_have_the_neighbours_that_the_window_of_a_model_reaches(tmp_path, monkeypatch):
    seen = []
    real = points_module.assimilate
    monkeypatch.setattr(points_module, "assimilate", lambda ds, *a, **k: seen.append(ds) or real(ds, *a, **k))
    averaging(5).save(tmp_path / "m.varnet")
    points = table(tmp_path / "p.csv", (-2, 0.1), (0, 0.2), (6, 0.1))
    result = run(points, "-m", tmp_path / "m.varnet", *WHERE, "-o", tmp_path / "map.nc")
    assert result.exit_code == 0, result.output
    assert [str(each)[:10] for each in seen[0]["time"].values[[0, -1]]] == ["2019-12-30", "2020-01-06"]
    assert seen[0]["ssh"].notnull().sum("time").sel(latitude=41, longitude=1) == 2
    ds = opened(tmp_path / "map.nc")
    assert ds.sizes["time"] == 4
    assert ds.attrs["time_coverage_end"] == "2020-01-04T00:00:00Z"


def test_maps_days_apart_are_chosen_among_those_of_a_daily_model(tmp_path):
    averaging(5).save(tmp_path / "m.varnet")
    points = table(tmp_path / "p.csv", (0, 0.1), (1, 0.2), (2, 0.3), (2.9, -0.3))
    for name, days in (("all", []), ("some", ["--days", "2"])):
        result = run(points, "-m", tmp_path / "m.varnet", *WHERE, *days, "-o", tmp_path / f"{name}.nc")
        assert result.exit_code == 0, result.output
    some = opened(tmp_path / "some.nc")
    xr.testing.assert_equal(some, opened(tmp_path / "all.nc").isel(time=[0, 2]))
    odd = run(points, "-m", tmp_path / "m.varnet", *WHERE, "--days", "1.5", "-o", tmp_path / "odd.nc")
    assert odd.exit_code == 1
    assert "maps every 1.5 days are wanted, and the model has steps of 1 days" in odd.stderr


def test_one_day_is_a_map(points, tmp_path):
    averaging(5).save(tmp_path / "m.varnet")
    where = [*WHERE[:2], "2020-01-02,2020-01-02", *WHERE[3:]]
    for method in (["--method", "oi"], ["-m", tmp_path / "m.varnet"]):
        out = ["-o", tmp_path / "map.nc", "--overwrite"]
        result = run(points, *method, *where, *out, "--withhold", "0.3")
        assert result.exit_code == 0, result.output
        assert opened(tmp_path / "map.nc").sizes["time"] == 1
        assert "nan" not in result.stderr


def test_both_methods_say_what_a_map_is(points, tmp_path):
    averaging(4).save(tmp_path / "m.varnet")
    for method, what in (("oi", "sla"), ("model", "ssh")):
        given = ["--method", "oi"] if method == "oi" else ["-m", tmp_path / "m.varnet"]
        result = run(points, *given, *WHERE, "-o", tmp_path / f"{method}.nc")
        assert result.exit_code == 0, result.output
        attrs = opened(tmp_path / f"{method}.nc").attrs
        assert attrs["title"].endswith(f"{what}: analysis of gappy observations")
        assert (attrs["Conventions"], attrs["processing_level"]) == ("CF-1.11", "L4")
        assert attrs["time_coverage_start"] == "2020-01-01T00:00:00Z"
        assert attrs["geospatial_lat_max"] == 42.0
        assert "oceanvar" in attrs["history"]


def test_tracks_in_other_units_give_the_same_map(points, tmp_path):
    frame = pd.read_csv(points, parse_dates=["time"])
    metres = frame.set_index("time").to_xarray()
    metres["sla"].attrs["units"] = "m"
    metres.to_netcdf(tmp_path / "m.nc")
    metres.assign(sla=(100 * metres["sla"]).assign_attrs(units="cm")).to_netcdf(tmp_path / "cm.nc")

    def mapped(file, *noise):
        result = run(
            tmp_path / file, "--method", "oi", *WHERE, *noise, "-o", tmp_path / "map.zarr", "--overwrite"
        )
        assert result.exit_code == 0, result.output
        with xr.open_zarr(tmp_path / "map.zarr", consolidated=False) as ds:
            return ds.load()

    for noise in ([], ["--noise", "3 cm"], ["--noise", "0.05 metre"]):
        one, other = mapped("m.nc", *noise), mapped("cm.nc", *noise)
        assert other["sla"].attrs["units"] == "cm"
        for name in ("sla", "sla_error"):
            np.testing.assert_allclose(other[name] / 100, one[name], atol=1e-5)
    xr.testing.assert_equal(mapped("cm.nc", "--noise", "2"), mapped("cm.nc"))
    kelvin = run(tmp_path / "m.nc", "--method", "oi", *WHERE, "--noise", "0.3 K", "-o", tmp_path / "k.nc")
    assert kelvin.exit_code == 1
    assert "the noise (0.3 K" in kelvin.stderr
    assert "is in 'K', which is no 'm'" in kelvin.stderr
    assert (
        run(tmp_path / "m.nc", "--method", "oi", *WHERE, "--noise", "much", "-o", tmp_path / "k.nc").exit_code
        == 2
    )
