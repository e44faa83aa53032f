"""From labelled observations to a labelled field: laziness, invariances, labels, errors."""

from dataclasses import replace

import dask
import numpy as np
import pytest
import torch
import xarray as xr

import oceanvar
from oceanvar.errors import (
    ConfigError,
    GridMismatchError,
    MissingVariableError,
    PatchError,
    UnitsMismatchError,
)
from oceanvar.mapping import assimilate
from oceanvar.network import VarNet
from oceanvar.network.handles import PatchSolver
from tests.counters import count_solves
from tests.labelled_fields import gappy


def assert_same_field(a: xr.Dataset, b: xr.Dataset) -> None:
    np.testing.assert_allclose(a["ssh"].values, b["ssh"].values, rtol=1e-5, atol=1e-5)


def test_accessor_gives_a_complete_field_on_the_same_grid(model, obs):
    analysis = obs.varnet.assimilate(model)
    assert analysis["ssh"].dims == obs["ssh"].dims
    assert np.isfinite(analysis["ssh"]).all()
    for name, coord in obs.coords.items():
        xr.testing.assert_identical(analysis[name], coord)
    assert analysis["ssh"].dtype == np.float32


def test_lazy_equals_eager_and_nothing_is_computed_early(model, obs, monkeypatch):
    calls = count_solves(monkeypatch)
    lazy = obs.chunk(time=4, lat=6, lon=13).varnet.assimilate(model)
    assert dask.is_dask_collection(lazy)
    assert calls == []
    computed = lazy.compute(scheduler="sync")
    n_lazy = sum(calls)
    calls.clear()
    eager = obs.varnet.assimilate(model)
    assert sum(calls) == n_lazy, "each patch is solved exactly once, lazily and eagerly"
    assert_same_field(computed, eager)


def test_result_does_not_depend_on_batch_size_or_chunks(model, obs):
    expected = obs.varnet.assimilate(model, batch_size=1)
    assert_same_field(obs.varnet.assimilate(model, batch_size=7), expected)
    for chunks in ({"time": 3}, {"lat": 5, "lon": 4}, {"time": 9, "lat": 11, "lon": 13}):
        assert_same_field(obs.chunk(chunks).varnet.assimilate(model).compute(), expected)
    chosen = obs.chunk().varnet.assimilate(model, chunks={"time": 5, "lat": 11, "lon": 13})
    assert chosen.chunksizes["time"] == (5, 4)
    assert_same_field(chosen.compute(), expected)


@pytest.mark.parametrize("chunks", [{"time": 1}, {"time": (2, 4, 3), "lat": 4}])
def test_a_lazy_analysis_writes_itself_to_zarr(model, obs, tmp_path, chunks):
    """Daily files, or months of unequal length: a Zarr store takes only even chunks."""
    lazy = obs.chunk(chunks).varnet.assimilate(model)
    lazy.to_zarr(tmp_path / "a.zarr", consolidated=False)
    with xr.open_zarr(tmp_path / "a.zarr", consolidated=False) as back:
        assert_same_field(back, obs.varnet.assimilate(model))


def test_selection_computes_only_what_it_needs(model, monkeypatch):
    obs = gappy({"time": 40, "lat": 6, "lon": 8})
    calls = count_solves(monkeypatch)
    lazy = obs.chunk(time=4).varnet.assimilate(model)
    first = lazy.isel(time=0).compute(scheduler="sync")
    assert sum(calls) <= 4
    assert_same_field(first, obs.varnet.assimilate(model).isel(time=0))


def test_unknown_dimensions_are_carried_along_as_a_batch(model):
    obs = gappy({"member": 3, "time": 5, "lat": 7, "lon": 8})
    together = obs.varnet.assimilate(model)
    assert together["ssh"].dims == ("member", "time", "lat", "lon")
    for i in range(3):
        assert_same_field(together.isel(member=i), obs.isel(member=i).varnet.assimilate(model))


def test_any_order_of_dimensions(model, obs):
    turned = obs.transpose("lon", "time", "lat").varnet.assimilate(model)
    assert_same_field(turned.transpose("time", "lat", "lon"), obs.varnet.assimilate(model))


def test_periodic_axis_follows_a_shift(model, obs):
    here = obs.varnet.assimilate(model, periodic=("lon",), overlap={"lon": 7}, patch={"lon": 8})
    # With one patch start per point (overlap = patch - 1), a ring has no beginning.
    rolled = obs.assign(ssh=obs["ssh"].roll(lon=5))
    there = rolled.varnet.assimilate(model, periodic=("lon",), overlap={"lon": 7}, patch={"lon": 8})
    np.testing.assert_allclose(there["ssh"].values, here["ssh"].roll(lon=5).values, rtol=1e-4, atol=1e-4)


def test_a_missing_observation_is_nan_and_nothing_else(model, obs):
    """Values under the mask cannot leak: 1e6 turned to NaN changes nothing, bit for bit."""
    poisoned = obs["ssh"].fillna(1e6)
    again = obs.assign(ssh=poisoned.where(obs["ssh"].notnull()).assign_attrs(obs["ssh"].attrs))
    xr.testing.assert_equal(again.varnet.assimilate(model), obs.varnet.assimilate(model))


def test_all_land_and_empty_patches_are_finite(model, obs):
    empty = obs.where(obs["lat"] > 1.5)
    assert np.isfinite(empty.varnet.assimilate(model)["ssh"]).all()


def test_background_is_used_and_must_share_the_grid(model, obs):
    background = xr.full_like(obs, 3.0)
    model.assimilator.n_steps = 0
    np.testing.assert_allclose(obs.varnet.assimilate(model, background=background)["ssh"], 3.0, rtol=1e-6)
    lazy = obs.chunk().varnet.assimilate(model, background=background.chunk())
    np.testing.assert_allclose(lazy["ssh"], 3.0, rtol=1e-6)
    single = background.assign_coords(lat=(background["lat"] + 0.1).astype("float32"))
    with pytest.raises(GridMismatchError, match=r"'lat'.*differs by up to 0\.1.*float32"):
        obs.varnet.assimilate(model, background=single)
    with pytest.raises(GridMismatchError, match="differ in size along 'time': 9 and 8"):
        obs.varnet.assimilate(model, background=background.isel(time=slice(8)))


def test_mask_keeps_the_sea_and_may_change_in_time(model, obs):
    mask = xr.DataArray(np.ones((9, 11, 13), bool), dims=("time", "lat", "lon"))
    mask[3, :, 4] = False
    analysis = obs.varnet.assimilate(model, mask=mask)
    np.testing.assert_array_equal(np.isnan(analysis["ssh"]), ~mask)
    with pytest.raises(ConfigError, match="boolean"):  # NaN over land would count as sea
        obs.varnet.assimilate(model, mask=2.5 * mask)


def test_attributes_and_encoding(model, obs):
    obs["ssh"].attrs |= {"standard_name": "sea_surface_height", "valid_max": 3}
    obs["ssh"].encoding = {"dtype": "int16", "scale_factor": 0.001, "chunksizes": (1, 11, 13)}
    obs["time"].encoding = {"units": "days since 1950-01-01"}
    obs.attrs["history"] = "made by hand"
    analysis = obs.varnet.assimilate(model)
    attrs = analysis["ssh"].attrs
    assert attrs == {"units": "m", "long_name": "sea level", "standard_name": "sea_surface_height"}
    assert analysis["ssh"].encoding == {}
    assert analysis["time"].encoding == {"units": "days since 1950-01-01"}
    assert analysis.attrs["Conventions"].startswith("CF-")
    assert analysis.attrs["history"].endswith("made by hand")
    assert model.digest[:16] in analysis.attrs["history"]


def test_two_dimensional_coordinates_travel_along(model, obs):
    curved = obs.assign_coords(latitude=(("lat", "lon"), np.zeros((11, 13))))
    assert "latitude" in curved.varnet.assimilate(model).coords


def test_data_array_accessor(model, obs):
    analysis = obs["ssh"].varnet.assimilate(model, background=obs["ssh"].fillna(0.0))
    assert analysis.name == "ssh"
    assert np.isfinite(analysis).all()


def test_double_precision(model, obs):
    single = obs.varnet.assimilate(model)
    double = obs.varnet.assimilate(model, precision="float64")
    assert double["ssh"].dtype == np.float64
    np.testing.assert_allclose(single["ssh"], double["ssh"], rtol=1e-3, atol=1e-4)


def test_bfloat16(model, obs):
    half = obs.varnet.assimilate(model, precision="bfloat16")
    assert half["ssh"].dtype == np.float32
    np.testing.assert_allclose(half["ssh"], obs.varnet.assimilate(model)["ssh"], atol=0.1)


def test_progress_counts_patches(model, obs, capsys):
    obs.varnet.assimilate(model, progress=True)
    # 4 starts in time (0, 2, 4, 5), 3 in lat (0, 4, 5), 2 in lon (0, 5)
    assert "24/24" in capsys.readouterr().err


def test_the_handle_is_small_and_shares_one_model_per_process(model, obs):
    import pickle

    solver = PatchSolver(model, "cpu", "float32", False)
    copy = pickle.loads(pickle.dumps(solver))
    assert dask.base.tokenize(solver) == dask.base.tokenize(copy)
    patches = np.full((1, 1, 4, 6, 8), np.nan, np.float32)
    np.testing.assert_array_equal(solver(patches), copy(patches))
    from oceanvar.network import handles

    assert sum(key == (solver.digest, "cpu", "float32") for key in handles._COPIES) == 1


def test_a_solve_does_not_change_with_the_model_trained_on(model, obs):
    """A lazy result keeps the weights of the moment it was made."""
    lazy = obs.chunk().varnet.assimilate(model)
    expected = obs.varnet.assimilate(model)
    with torch.no_grad():
        for parameter in model.assimilator.parameters():
            parameter.add_(0.1)
    assert_same_field(lazy.compute(), expected)
    assert not np.allclose(obs.varnet.assimilate(model)["ssh"], expected["ssh"])


def test_units_are_those_of_the_observations_or_of_the_model(model, obs):
    assert obs.varnet.assimilate(model)["ssh"].attrs["units"] == "m"
    del obs["ssh"].attrs["units"]
    assert obs.varnet.assimilate(model)["ssh"].attrs["units"] == "m"
    unknown = VarNet(model.assimilator, replace(model.state_space, units={}))
    assert "units" not in obs.varnet.assimilate(unknown)["ssh"].attrs


def test_errors_say_what_is_wrong_and_what_to_do(model, obs):
    with pytest.raises(MissingVariableError, match=r"no variable 'ssh'; there are \['sla'\]"):
        obs.rename(ssh="sla").varnet.assimilate(model)
    with pytest.raises(MissingVariableError, match="lacks dimension 'lat'"):
        obs.rename(lat="row").varnet.assimilate(model)
    with pytest.raises(PatchError, match="patch size 6 exceeds dimension 'lat' of size 5"):
        obs.isel(lat=slice(5)).varnet.assimilate(model, patch={"lat": 6})
    with pytest.raises(PatchError, match="'depth'"):
        obs.varnet.assimilate(model, patch={"depth": 3})
    obs["ssh"].attrs["units"] = "K"
    with pytest.raises(UnitsMismatchError, match="'K'.*'m'"):
        obs.varnet.assimilate(model)
    obs["ssh"].attrs["units"] = "m"
    with pytest.raises(ConfigError, match="precision must be one of"):
        assimilate(obs, model, precision="float16")
    with pytest.raises(oceanvar.OceanVarError, match="no model file 'nowhere'"):
        obs.varnet.assimilate("nowhere")


def test_a_grid_smaller_than_a_patch_is_one_patch(model, obs):
    """A model that takes patches of any size is given what there is, no advice to choose that size by hand."""
    small = obs.isel(lat=slice(5), lon=slice(4))
    chosen = small.varnet.assimilate(model, patch={"lat": 5, "lon": 4}, overlap={"lat": 0, "lon": 0})
    assert_same_field(small.varnet.assimilate(model), chosen)
