"""Climatologies against least squares, and models that depart from one against models of departures."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

import oceanvar
from oceanvar.archive import open_archive
from oceanvar.baselines import interpolate_linear
from oceanvar.errors import ConfigError, GridMismatchError, MissingVariableError
from oceanvar.maps import ToPhysical
from oceanvar.network import VarNet, fourdvarnet
from oceanvar.state import Climatology, StateSpace, fit_climatology
from oceanvar.variational import (
    Assimilator,
    BeamAverage,
    ConjugateGradients,
    ObservationTerm,
    PriorTerm,
    VariationalCost,
)
from tests.archive.archives import write_files

DIMS = ("time", "latitude", "longitude")


def decimal(time: xr.DataArray) -> np.ndarray:
    return time.dt.year.values + (time.dt.dayofyear.values - 1) / 365.2425


def seasons(n_days=900, hidden=0.6, noise=0.0, n=(7, 6), slope=0.0, first="2001-03-05"):
    """Kelvin with a cycle and a trend, the same everywhere but for a slope of the mean, and what is seen of it."""
    rng = np.random.default_rng(1)
    time = np.datetime64(first, "ns") + np.arange(n_days) * np.timedelta64(1, "D")
    coords = {"time": time, "latitude": 30 + 0.5 * np.arange(n[0]), "longitude": -1 + 0.5 * np.arange(n[1])}
    years = decimal(xr.DataArray(time, dims="time"))
    cycle = 290 + 0.05 * (years - years.mean()) + 3 * np.cos(2 * np.pi * years) + np.sin(2 * np.pi * years)
    values = cycle[:, None, None] + slope * np.arange(n[0])[:, None] + np.zeros((n_days, *n))
    truth = xr.DataArray(values, coords, DIMS, "sst", {"units": "K"})
    seen = truth + noise * rng.standard_normal(truth.shape)
    return truth.to_dataset(), seen.where(rng.random(truth.shape) >= hidden).assign_attrs(
        units="K"
    ).to_dataset()


def test_a_cycle_and_a_trend_are_found_under_gaps():
    truth, seen = seasons()
    seen["sst"][:, 2, 2] = np.nan  # land, or clouds that never move
    found = fit_climatology(seen, trend=True).at("sst", truth)
    assert float(abs(found - truth["sst"]).max()) < 5e-3
    assert found.attrs["units"] == "K"
    single = fit_climatology(seen.astype(np.float32), trend=True, smoothing=0.0).at("sst", truth)
    assert float(abs(single - truth["sst"]).max()) < 5e-3


def test_the_region_as_a_whole_is_fitted_by_least_squares():
    _, seen = seasons(noise=1.0, slope=0.3)
    found = fit_climatology(seen, n_harmonics=2, smoothing=np.inf)
    values = seen["sst"].values
    years = decimal(seen.time)
    waves = [wave(2 * np.pi * k * years) for k in (1, 2) for wave in (np.cos, np.sin)]
    terms = np.broadcast_to(np.stack([np.ones_like(years), *waves], 1)[:, None, None], (*values.shape, 5))
    known = np.isfinite(values)
    expected = np.linalg.lstsq(terms[known], values[known])[0]
    np.testing.assert_allclose(found.coefficients["sst"][:, 3, 3], expected, rtol=1e-4, atol=1e-3)
    assert np.ptp(found.coefficients["sst"], axis=(1, 2)).max() == 0


def test_points_are_fitted_by_their_own_data_and_by_those_around_where_these_are_few():
    truth, seen = seasons(n_days=730, noise=0.1, slope=1.0, n=(12, 12))
    seen["sst"][20:, 5, 5] = np.nan
    errors = {
        smoothing: abs(fit_climatology(seen, smoothing=smoothing).at("sst", truth) - truth["sst"]).max("time")
        for smoothing in (0.0, 1.0)
    }
    assert errors[0.0].drop_isel(latitude=5, longitude=5).max() < 0.3
    assert errors[1.0][5, 5] < 0.5
    assert errors[1.0][5, 5] < errors[0.0][5, 5]


def test_lazy_data_have_the_same_climatology_and_keep_their_chunks():
    _, seen = seasons(n_days=500)
    lazy = seen.chunk(time=90, latitude=4)
    found, expected = fit_climatology(lazy), fit_climatology(seen)
    np.testing.assert_allclose(found.coefficients["sst"], expected.coefficients["sst"], rtol=1e-4, atol=1e-4)
    at = expected.at("sst", lazy)
    assert at.chunksizes == lazy["sst"].chunksizes
    xr.testing.assert_allclose(at.compute(), expected.at("sst", seen))
    members = xr.concat([seen, seen], "member")
    again = fit_climatology(members)
    np.testing.assert_allclose(again.coefficients["sst"], expected.coefficients["sst"], rtol=1e-3, atol=1e-2)


def test_a_climatology_is_interpolated_and_not_extrapolated():
    truth, seen = seasons(slope=1.0, hidden=0.0, noise=0.0)
    found = fit_climatology(seen, smoothing=0.0)
    whole = found.at("sst", truth)
    finer = truth.isel(time=[3], latitude=[1, 2], longitude=[1, 2])
    finer = finer.assign_coords(latitude=[30.25, 31.0], longitude=[359.25, 0.0])
    between = found.at("sst", finer)
    expected = whole.isel(time=[3]).interp(latitude=[30.25, 31.0], longitude=[-0.75, 0.0])
    np.testing.assert_allclose(between, expected, rtol=1e-6)
    with pytest.raises(GridMismatchError, match="'latitude' of the data reaches from 20 to 23"):
        found.at("sst", truth.assign_coords(latitude=20 + 0.5 * np.arange(7)))
    with pytest.raises(GridMismatchError, match="7 points along 'latitude' and the data 3"):
        found.at("sst", truth.isel(latitude=slice(3)).drop_vars("latitude"))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda ds: ds.assign_coords(time=np.arange(400.0)), {}, "needs dates"),
        (lambda ds: ds.isel(time=slice(60)), {}, "do not tell its mean"),
        (lambda ds: ds.where(False), {}, "nothing of 'sst' was observed"),
        (lambda ds: ds, {"n_harmonics": -1}, "must be at least 0"),
        (lambda ds: ds, {"smoothing": np.nan}, "must be at least 0"),
    ],
)
def test_what_cannot_be_fitted_is_refused(change, options, message):
    _, seen = seasons(n_days=400)
    with pytest.raises(ConfigError, match=message):
        fit_climatology(change(seen), **options)


def test_a_mean_needs_no_dates_and_some_dimensions_are_needed():
    _, seen = seasons(n_days=40)
    bare = seen.drop_vars(["time", "latitude", "longitude"]).assign_coords(time=np.arange(40.0))
    found = fit_climatology(bare, n_harmonics=0, smoothing=0.0)
    assert found.at("sst", bare).shape == seen["sst"].shape
    with pytest.raises(MissingVariableError):
        fit_climatology(seen.isel(longitude=0))


def smoother(climatology=None, **options) -> VarNet:
    """A linear model, so that its analysis of departures is known."""
    space = StateSpace(
        ("sst",), DIMS, {"time": 5, "latitude": 5, "longitude": 4}, {"time": 2, "latitude": 2, "longitude": 1},
        mean={"sst": 0.0}, std={"sst": 1.0}, climatology=climatology, **options,
    )  # fmt: skip
    cost = VariationalCost(ObservationTerm(), PriorTerm(BeamAverage([1.0, 1.5, 0.7]), weight=2.0))
    return VarNet(Assimilator(cost, ConjugateGradients(), 6), space)


@pytest.fixture(scope="module")
def case():
    """Observations with a climatology, their departures from it, and the model of both."""
    _, seen = seasons(n_days=400, noise=0.5, slope=0.5)
    climatology = fit_climatology(seen)
    return seen.isel(time=slice(100, 112)), climatology


def off(ds: xr.Dataset, climatology: Climatology) -> xr.Dataset:
    return ds.assign(sst=(ds["sst"] - climatology.at("sst", ds)).assign_attrs(units="K"))


def test_the_analysis_is_that_of_the_departures_with_the_climatology(case, tmp_path):
    obs, climatology = case
    path = tmp_path / "sst.varnet"
    smoother(climatology).save(path)
    model = oceanvar.load(path)
    expected = off(obs, climatology).varnet.assimilate(smoother()) + climatology.at("sst", obs)
    analysis = obs.varnet.assimilate(model)
    assert analysis["sst"].attrs["units"] == "K"
    np.testing.assert_allclose(analysis["sst"], expected["sst"], atol=2e-4)
    lazy = obs.chunk(time=8).varnet.assimilate(model)
    assert lazy.chunks
    np.testing.assert_allclose(lazy["sst"].compute(), analysis["sst"], atol=2e-4)
    celsius = obs.assign(sst=(obs["sst"] - 273.15).assign_attrs(units="degree_Celsius"))
    flipped = celsius.isel(latitude=slice(None, None, -1))
    with pytest.warns(oceanvar.MendedWarning):
        mended = flipped.varnet.assimilate(replace(model, state_space=model.state_space.labelled_by(obs)))
    np.testing.assert_allclose(
        mended["sst"].isel(latitude=slice(None, None, -1)) + 273.15, analysis["sst"], atol=3e-4
    )
    guess = interpolate_linear(obs)
    with_guess = obs.varnet.assimilate(model, background=guess)
    plain = off(obs, climatology).varnet.assimilate(smoother(), background=off(guess, climatology))
    np.testing.assert_allclose(with_guess["sst"], plain["sst"] + climatology.at("sst", obs), atol=2e-4)


@pytest.mark.parametrize("name", ["out.zarr", "out"])
def test_archives_are_mapped_with_the_climatology(case, tmp_path, name):
    obs, climatology = case
    model = smoother(climatology)
    files = write_files(obs, tmp_path / "obs", days=8)
    oceanvar.assimilate_archive(files, model, tmp_path / name)
    with open_archive(tmp_path / name) as found:
        np.testing.assert_allclose(found["sst"].values, obs.varnet.assimilate(model)["sst"], atol=2e-4)


@pytest.mark.parametrize("validation", [0.45, None])
def test_training_is_that_on_the_departures(case, validation):
    obs, climatology = case
    settings = {"n_epochs": 2, "n_samples": 8, "batch_size": 4, "validation": validation}
    models, losses = [], []
    for ds, given in ((obs, climatology), (off(obs, climatology), None)):
        space = StateSpace(("sst",), DIMS, {"time": 5, "latitude": 7, "longitude": 6}, climatology=given)
        models.append(fourdvarnet(space, n_steps=1, n_features=2, n_hidden=2))
        losses.append(ds.varnet.fit(models[-1], **settings)["validation_loss"].values)
    np.testing.assert_allclose(*losses, rtol=1e-3)
    first, second = models
    assert first.state_space.std["sst"] == pytest.approx(second.state_space.std["sst"], rel=1e-4)
    for one, other in zip(first.assimilator.parameters(), second.assimilator.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_a_model_file_holds_it_exactly_and_one_without_it_says_nothing(case, tmp_path):
    _, climatology = case
    model = smoother(climatology)
    model.save(tmp_path / "m.varnet", half=True)
    loaded = oceanvar.load(tmp_path / "m.varnet")
    assert loaded.digest == model.digest
    kept = loaded.state_space.climatology
    np.testing.assert_array_equal(kept.coefficients["sst"], climatology.coefficients["sst"])
    assert (kept.coordinates, kept.year, kept.n_harmonics) == (climatology.coordinates, None, 1)
    assert "climatology" not in smoother().state_space.to_json()
    other = {name: each + 1 for name, each in climatology.coefficients.items()}
    assert smoother(replace(climatology, coefficients=other)).digest != model.digest


def test_models_that_cannot_depart_from_a_climatology_are_refused(case):
    obs, climatology = case
    with pytest.raises(ConfigError, match=r"one of \['sst'\] over"):
        StateSpace(("ssh",), DIMS, dict.fromkeys(DIMS, 4), climatology=climatology)
    with pytest.raises(ConfigError, match=r"no climatology is taken off \['sst'\]"):
        smoother(climatology, transform={"sst": "log10"})
    with pytest.raises(ConfigError, match="in {'sst': 'degree_Celsius'}"):
        smoother(climatology, units={"sst": "degree_Celsius"})
    with pytest.raises(ConfigError, match="needs finite ones, 3 for"):
        replace(climatology, coefficients={"sst": np.full((3, 7, 6), np.nan)})
    model = smoother()
    model.assimilator.cost.terms[1].prior = ToPhysical(1)
    with pytest.raises(ConfigError, match="physical units"):
        model.normalise(replace(model.state_space, climatology=climatology))
    with pytest.raises(ConfigError, match="is not cycled"):
        obs.varnet.cycle(smoother(climatology))
