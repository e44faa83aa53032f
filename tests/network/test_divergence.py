"""A patch whose solve has diverged is told with its place and time, and is never handed out as an analysis."""

import logging

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import oceanvar
from oceanvar.archive import read_summary
from oceanvar.cli.commands import main
from oceanvar.errors import DivergenceError
from oceanvar.labels.extents import PatchPlaces
from oceanvar.network.handles import PatchSolver
from oceanvar.variational import (
    AbstractStart,
    Assimilator,
    GradientDescent,
    ObservationTerm,
    VariationalCost,
)

N = 8
WHERE = "time 2020-01-09 to 2020-01-16, site 0 to 3"
WRONG = slice(N, 2 * N)


def model_of(step_size: float, start: AbstractStart | None = None) -> oceanvar.VarNet:
    """Descent towards observations of error variance 1, in as many windows as the first guess is not there yet."""
    space = oceanvar.StateSpace(
        ("x",), ("time", "site"), {"time": N, "site": 4}, mean={"x": 1.0}, std={"x": 2.0}
    )
    cost = VariationalCost(ObservationTerm(variances=[1.0]))
    return oceanvar.VarNet(Assimilator(cost, GradientDescent(step_size), 20, start), space)


@pytest.fixture
def model() -> oceanvar.VarNet:
    return model_of(1e4)


@pytest.fixture
def obs() -> xr.Dataset:
    values = np.random.default_rng(0).standard_normal((3 * N, 4)).astype(np.float32)
    time = np.datetime64("2020-01-01", "ns") + np.arange(3 * N) * np.timedelta64(1, "D")
    return xr.Dataset({"x": (("time", "site"), values)}, {"time": time})


@pytest.fixture
def background(obs) -> xr.Dataset:
    """The observations, but for eight days: there the solve goes away from them."""
    guess = obs.copy(deep=True)
    guess["x"][WRONG] += 1
    return guess


def test_it_ends_the_call_and_says_where_and_when(model, obs, background):
    with pytest.raises(
        DivergenceError, match=rf"1 of 3 windows diverged \({WHERE}\).*on_divergence='fallback'"
    ):
        obs.varnet.assimilate(model, background=background)
    lazy = obs.chunk(time=N).varnet.assimilate(model, background=background.chunk(time=N))
    with pytest.raises(DivergenceError, match=WHERE):
        lazy.compute(scheduler="sync")


@pytest.mark.parametrize("chunks", [None, {"time": N}], ids=["eager", "lazy"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_or_leaves_the_first_guess_there_or_nothing(model, obs, background, chunks, batch_size, caplog):
    sound = background.drop_isel(time=range(N, 2 * N))
    given, guess = (each if chunks is None else each.chunk(chunks) for each in (obs, background))
    for what, expected in (
        ("fallback", background["x"][WRONG]),
        ("nan", xr.full_like(obs["x"][WRONG], np.nan)),
    ):
        caplog.clear()
        options = {"on_divergence": what, "background": guess, "batch_size": batch_size}
        with caplog.at_level(logging.WARNING, logger="oceanvar"):
            found = given.varnet.assimilate(model, **options).compute(scheduler="sync")
        np.testing.assert_allclose(found["x"][WRONG], expected, rtol=1e-6)
        np.testing.assert_allclose(found["x"].drop_isel(time=range(N, 2 * N)), sound["x"], rtol=1e-6)
        (message,) = caplog.messages
        assert f"windows diverged ({WHERE})" in message


def test_it_keeps_its_place_where_a_batch_is_solved_in_pieces(model, obs, background):
    solver = PatchSolver(model, "cpu", "float32", has_background=True)
    solver._copy("cpu").n_most = 2
    patches = np.stack([each["x"].values.reshape(3, N, 4) for each in (obs, background)], axis=1)[[0, 2, 1]]
    with pytest.raises(DivergenceError, match=r"1 of 1 windows diverged \(the third one\)"):
        solver(patches, place=["the first one", "the second one", "the third one"].__getitem__)


@pytest.mark.parametrize("what", ["fallback", "nan"])
def test_its_health_is_infinite_and_its_error_unknown(model, obs, background, what):
    found = obs.varnet.assimilate(model, background=background, on_divergence=what, diagnostics=True)
    is_there = np.zeros(3 * N, bool)
    is_there[WRONG] = True
    assert (np.isinf(found["health"]) == is_there[:, None]).all()
    assert (found["x_std"].isnull() == is_there[:, None]).all()


def test_a_first_guess_that_is_not_finite_is_no_fallback(obs):
    class Broken(AbstractStart):
        def forward(self, given):
            return given.values["state"] / 0

    with pytest.raises(DivergenceError, match="the first guess is not finite either: on_divergence='nan'"):
        obs.varnet.assimilate(model_of(1.0, Broken()), on_divergence="fallback")
    assert obs.varnet.assimilate(model_of(1.0, Broken()), on_divergence="nan")["x"].isnull().all()


def test_an_archive_ends_or_goes_on_and_counts_it(model, obs, background, tmp_path):
    obs.to_netcdf(tmp_path / "obs.nc")
    background.to_netcdf(tmp_path / "guess.nc")
    model.save(tmp_path / "m.varnet")
    names = [str(tmp_path / name) for name in ("obs.nc", "m.varnet", "a.zarr", "guess.nc")]
    line = [
        "assimilate",
        names[0],
        "-m",
        names[1],
        "-o",
        names[2],
        "--background",
        names[3],
        "--quiet",
        "--diagnostics",
    ]
    ended = CliRunner().invoke(main, line)
    assert ended.exit_code == 1
    assert WHERE in ended.output
    done = CliRunner().invoke(main, [*line, "--on-divergence", "fallback", "--overwrite"])
    assert done.exit_code == 0, done.output
    assert WHERE in done.output
    assert read_summary(tmp_path / "a.zarr")["n_unhealthy"] == 4 * N
    with xr.open_zarr(tmp_path / "a.zarr") as written:
        np.testing.assert_allclose(written["x"][WRONG], background["x"][WRONG], rtol=1e-6)


def test_places_are_read_off_the_coordinates_and_wrap():
    time = np.datetime64("2020-01-01T06", "ns") + np.arange(4) * np.timedelta64(1, "D")
    lon = np.arange(8, dtype=np.float32) / 10
    ds = xr.Dataset({"x": (("time", "y", "lon"), np.zeros((4, 3, 8)))}, {"time": time, "lon": lon})
    places = PatchPlaces.of(ds, {"time": 2, "y": 3, "lon": 4})
    expected = "time 2020-01-02T06:00:00 to 2020-01-03T06:00:00, y 0 to 2, lon 0.6 to 0.1"
    assert places((1, 0, 6)) == expected
