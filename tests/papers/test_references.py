"""Ensemble references of the papers' tables."""

import numpy as np
import pytest
import xarray as xr

import oceanvar
from oceanvar.errors import ConfigError
from oceanvar.papers import comparison, ensembles
from oceanvar.papers.experiments import EXPERIMENTS
from oceanvar.papers.ladder import Climate
from oceanvar.papers.references import first_members, step_of


@pytest.mark.parametrize("system", list(EXPERIMENTS))
def test_members_step_as_the_truth_does(system):
    truth = EXPERIMENTS[system].simulate(3, seed=2, n_trajectories=2)
    names = list(truth.data_vars)
    states = np.stack([truth[name].transpose("trajectory", "time", ...).values for name in names], 2)
    members = states.reshape(2, 3, -1)
    np.testing.assert_allclose(step_of(system)(members)[:, :2], members[:, 1:], atol=1e-10)


def test_first_members_are_states_of_the_climate_and_the_same_again():
    first = first_members("lorenz63", 30, 40)
    assert first.shape == (30, 40, 3)
    np.testing.assert_array_equal(first, first_members("lorenz63", 30, 40))
    truth = EXPERIMENTS["lorenz63"].simulate(2000, seed=1, n_trajectories=4)
    expected = [float(truth[name].std()) for name in truth.data_vars]
    np.testing.assert_allclose(first.reshape(-1, 3).std(0), expected, rtol=0.1)


def test_rows_are_there_on_request_and_a_smoother_beats_filters(monkeypatch):
    climate = Climate.of("lorenz63", oceanvar.load("lorenz63").state_space, n_steps=800, n_trajectories=16)
    monkeypatch.setattr(comparison, "climate_of", lambda _: climate)
    table = oceanvar.compare("lorenz63", keep_packaged=False, references=True, n_windows=6, seed=3)
    assert table["scheme"].values.tolist() == list(ensembles("lorenz63"))
    filters, smoother = table["r_score"].values[:2], table["r_score"].values[2]
    assert (filters < 0.05).all()
    assert smoother < 0.2 * filters.min()
    with pytest.raises(ConfigError, match="no experiment"):
        ensembles("lorenz64")


def test_sites_keep_their_places_and_labels():
    rows = ensembles("lorenz96")
    _, obs = EXPERIMENTS["lorenz96"].test_windows(2, seed=4)
    short = obs.isel(time=slice(13)).transpose("site", "time", "window")
    found = rows["LETKF, 20 members"](short)
    xr.testing.assert_identical(found.drop_vars("x"), short.drop_vars("x"))
    turned = rows["LETKF, 20 members"](obs.isel(time=slice(13)))
    np.testing.assert_array_equal(found["x"].transpose(*turned["x"].dims), turned["x"])
    seen = obs["x"].isel(time=12)
    misfit = (found["x"].isel(time=12) - seen).std()
    assert float(misfit) < 0.5 * float(seen.std())
