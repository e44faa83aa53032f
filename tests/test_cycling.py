"""Window after window: what a quadratic cost, a forecast and a Kalman recursion demand of a cycle."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner

import oceanvar
from oceanvar.cli.commands import main
from oceanvar.errors import ConfigError, GridMismatchError, MissingVariableError, PatchError
from oceanvar.maps import AbstractMap
from oceanvar.variational import (
    AlongTrack,
    Assimilator,
    BackgroundTerm,
    BlockTridiagonalGaussNewton,
    ClimateMean,
    DynamicsTerm,
    FlowPrior,
    GradientDescent,
    ObservationTerm,
    PriorTerm,
    VariationalCost,
)

N, SITES = 6, 4


class Carried(AbstractMap):
    """What lies at a site is at the next one a step later, and a little less of it."""

    def forward(self, x):
        return 0.9 * x.roll(1, -1)


def carried(field: np.ndarray, n: int) -> np.ndarray:
    """The same in physical units: mean 1, standard deviation 2."""
    return 1 + 0.9**n * np.roll(field - 1, n, axis=-1)


def model_of(cost: VariationalCost, n_steps: int = 2, window: int = N, solver=None) -> oceanvar.VarNet:
    space = oceanvar.StateSpace(
        ("x",), ("time", "site"), {"time": window, "site": SITES}, mean={"x": 1.0}, std={"x": 2.0}
    )
    solver = solver or BlockTridiagonalGaussNewton(damping=0.0, tolerance=0.0)
    return oceanvar.VarNet(Assimilator(cost, solver, n_steps, ClimateMean()), space)


@pytest.fixture
def model() -> oceanvar.VarNet:
    """Of a quadratic cost without background: any first guess leads to one minimum."""
    terms = [ObservationTerm(variances=[0.5]), DynamicsTerm(Carried(), variances=[0.1])]
    return model_of(VariationalCost(*terms))


@pytest.fixture
def obs() -> xr.Dataset:
    values = np.random.default_rng(0).standard_normal((15, SITES))
    time = np.datetime64("2020-01-01", "ns") + np.arange(15) * np.timedelta64(1, "D")
    site = ("site", np.arange(SITES), {"units": "1"})
    return xr.Dataset({"x": (("time", "site"), values, {"units": "K"})}, {"time": time, "site": site})


def test_where_the_minimum_is_one_each_window_is_that_of_its_own_solve(model, obs):
    found = model.cycle(obs, every=3, lag=2, precision="float64")
    assert found["x"].dims == ("time", "lead", "site")
    np.testing.assert_array_equal(found.time, obs.time[N - 1 :: 3])
    np.testing.assert_array_equal(found.lead, np.array([-2, 0]) * np.timedelta64(1, "D"))
    for i, stop in enumerate(range(N, 16, 3)):
        alone = obs.isel(time=slice(stop - N, stop)).varnet.assimilate(model, precision="float64")
        np.testing.assert_allclose(found["x"][i], alone["x"][[-3, -1]], rtol=1e-6, atol=1e-7)
    assert found["x"].attrs["units"] == "K"
    assert found.attrs["forecast"] == "by the dynamics of the model"


def test_forecasts_are_steps_of_the_model_and_shorter_or_longer_than_a_cycle(model, obs):
    for every, lead in ((4, 2), (1, 5)):
        found = model.cycle(obs, every=every, lead=lead, precision="float64")
        for n in range(lead + 1):
            expected = carried(found["x"].isel(lead=0).values, n)
            np.testing.assert_allclose(found["x"].isel(lead=n), expected, rtol=1e-6)


@pytest.mark.parametrize("has_dynamics", [True, False])
def test_a_background_makes_it_optimal_interpolation_of_forecasts(has_dynamics, obs):
    """Windows of one time with errors B of the background and R: x = (R x_b + B y) / (R + B), x_b the forecast."""
    b, r = 0.5, 0.25
    terms = [ObservationTerm(variances=[r]), BackgroundTerm(weight=1 / b)]
    terms += [PriorTerm(FlowPrior(Carried()))] if has_dynamics else []
    found = model_of(VariationalCost(*terms), window=1).cycle(obs, precision="float64")
    known, guess = [], np.full(SITES, 1.0)
    for y in obs["x"].values:
        known.append((r * guess + b * y) / (r + b))
        guess = carried(known[-1], 1) if has_dynamics else known[-1]
    np.testing.assert_allclose(found["x"].isel(lead=0), known, rtol=1e-6)
    assert found.attrs["forecast"] == ("by the dynamics of the model" if has_dynamics else "persistence")


def test_cycles_farther_apart_than_a_window_start_from_a_longer_forecast(obs):
    cost = VariationalCost(ObservationTerm(), BackgroundTerm(), PriorTerm(FlowPrior(Carried())))
    found = model_of(cost, 1, window=1, solver=GradientDescent(0.0)).cycle(obs, every=5, precision="float64")
    expected = [carried(np.full(SITES, 1.0), 5 * i) for i in range(3)]
    np.testing.assert_allclose(found["x"].isel(lead=0), expected, rtol=1e-6)


def test_a_start_alone_sees_each_window(obs):
    cost = VariationalCost(ObservationTerm())
    model = oceanvar.VarNet(Assimilator(cost, GradientDescent(1.0), 0), model_of(cost).state_space)
    found = model.cycle(obs, every=2)
    np.testing.assert_allclose(found["x"].isel(lead=0), obs["x"][N - 1 :: 2], rtol=1e-6)


def test_lazy_shuffled_gappy_ensembles_are_cycled_as_they_would_be_in_order(model, obs):
    both = xr.concat([obs, obs + 1], "member")
    expected = model.cycle(both, every=2, lead=1)
    one = model.cycle(obs + 1, every=2, lead=1)
    np.testing.assert_allclose(expected["x"].isel(member=1), one["x"], rtol=1e-6)
    lazy = model.cycle(both.chunk(time=2), every=2, lead=1)
    xr.testing.assert_equal(lazy, expected)
    with pytest.warns(oceanvar.MendedWarning):
        shuffled = model.cycle(both.isel(time=np.random.default_rng(0).permutation(15)), every=2, lead=1)
    xr.testing.assert_allclose(shuffled, expected)
    without = both.where(both.time != both.time[7])
    with pytest.warns(oceanvar.MendedWarning):
        filled = model.cycle(both.drop_isel(time=7), every=2, lead=1)
    xr.testing.assert_allclose(filled, model.cycle(without, every=2, lead=1))


def test_names_units_and_directions_come_back(model, obs):
    space = replace(model.state_space, units={"x": "K"}).labelled_by(obs)
    known = oceanvar.VarNet(model.assimilator, space)
    given = obs.isel(site=slice(None, None, -1)).rename(x="t")
    given["t"] = (given["t"] - 273.15).assign_attrs(units="degC")
    with pytest.warns(oceanvar.MendedWarning):
        found = known.cycle(given, every=3, lag=1, variables={"x": "t"}, precision="float64")
    expected = known.cycle(obs, every=3, lag=1, precision="float64")
    np.testing.assert_array_equal(found.site, given.site)
    np.testing.assert_allclose(
        found["t"].sel(site=obs.site) + 273.15, expected["x"].assign_coords(site=obs.site), atol=1e-4
    )


REFUSED = {
    "every": ({"every": 0}, "every must be a whole number of at least 1, got 0"),
    "text": ({"lead": "2"}, "lead must be a whole number of at least 0, got '2'"),
    "lag": ({"lag": N}, "lag is 6, and a window has 6 times: take a lag of at most 5"),
    "option": ({"mask": "land"}, "there is no option of a cycle 'mask'"),
    "patch": ({"patch": {"time": 3}}, "patch names 'time'.*use window="),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_cycle_can_take_is_refused(name, model, obs):
    options, message = REFUSED[name]
    with pytest.raises(ConfigError, match=message):
        model.cycle(obs, **options)


def test_records_that_no_window_fits_are_refused(model, obs):
    with pytest.raises(
        GridMismatchError, match="there are 5 times and a window has 6: give more, or window=5"
    ):
        model.cycle(obs.isel(time=slice(5)))
    with pytest.raises(MissingVariableError, match="no dimension 'time'"):
        model.cycle(obs.rename(time="t"))
    with pytest.raises(ConfigError, match="DataArray and must be an xarray Dataset"):
        oceanvar.cycle(obs["x"], model)
    with pytest.raises(ConfigError, match="have a 'lead' of their own"):
        model.cycle(obs.expand_dims(lead=2))
    nadir = {"nadir": oceanvar.Instrument(("x",), along_track=True)}
    cost = VariationalCost(ObservationTerm(), ObservationTerm(AlongTrack(), "nadir"))
    tracked = oceanvar.VarNet(
        Assimilator(cost, GradientDescent(1.0), 1), replace(model.state_space, instruments=nadir)
    )
    with pytest.raises(ConfigError, match=r"along-track instruments, \['nadir'\], and cycles know"):
        tracked.cycle(obs)
    with pytest.raises(PatchError, match="patch size 9 exceeds dimension 'site'"):
        model.cycle(obs, patch={"site": 9})


def test_the_accessor_shows_its_options():
    shown = inspect.signature(xr.Dataset().varnet.cycle).parameters
    assert list(shown) == ["model", "every", "lag", "lead", "window", "options"]


def test_the_shell_does_the_same(obs, tmp_path):
    torch.manual_seed(0)
    terms = [ObservationTerm(variances=[0.5]), BackgroundTerm()]
    model = model_of(VariationalCost(*terms))
    model.save(tmp_path / "m.varnet")
    obs[["x"]].rename(x="t").isel(time=slice(8)).to_netcdf(tmp_path / "obs_1.nc")
    obs[["x"]].rename(x="t").isel(time=slice(8, None)).to_netcdf(tmp_path / "obs_2.nc")
    line = [
        "cycle",
        str(tmp_path / "obs_*.nc"),
        "-m",
        str(tmp_path / "m.varnet"),
        "--every",
        "3",
        "--lead",
        "2",
    ]
    out = tmp_path / "cycles.nc"
    done = CliRunner().invoke(main, [*line, "-o", str(out), "--variable", "x=t"])
    assert done.exit_code == 0, done.output
    with xr.open_dataset(out) as written:
        np.testing.assert_allclose(written["t"], model.cycle(obs, every=3, lead=2)["x"], rtol=1e-6)
        assert written.lead.dtype.kind == "m"
    again = CliRunner().invoke(main, [*line, "-o", str(out), "--variable", "x=t"])
    assert again.exit_code == 1
    assert "exists" in again.output
