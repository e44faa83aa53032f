"""What one mapping chooses: one object, refused in one voice, before any work."""

import inspect
from dataclasses import fields

import numpy as np
import pytest
import xarray as xr

import oceanvar
from oceanvar.archive import assimilate_archive
from oceanvar.errors import ConfigError
from oceanvar.mapping import assimilate
from oceanvar.network.handles import resolve_device
from oceanvar.options import Options
from oceanvar.training import TrainingSettings
from tests.labelled_fields import gappy


def test_assimilate_shows_every_option_with_its_default():
    shown = inspect.signature(assimilate).parameters
    for each in fields(Options):
        default = getattr(Options(), each.name)
        # "auto" chooses no number, as None does.
        empty = "auto" if each.name in ("patch", "overlap") else None
        assert shown[each.name].default == (empty if default == {} else default)
    assert Options(patch="auto", overlap=None).patch == {} == Options(overlap="auto").overlap


REFUSED = {
    "periodic": ("lon", r"periodic is the text 'lon': use periodic=\('lon',\)"),
    "patch": (16, r"patch is 16: give a mapping, \{'time': 15\}"),
    "overlap": ("time", "overlap is 'time': give a mapping"),
    "background": (xr.DataArray(0.0), r"background is a DataArray .*\.to_dataset"),
    "mask": (xr.Dataset(), "mask is a Dataset and must be a DataArray"),
    "along_track": ({"nadir": 3}, r"along_track\['nadir'\] is a int and must be a Dataset"),
    "batch_size": ("all", "batch_size must be 'auto' or a whole number of at least 1, got 'all'"),
    "device": ("gpu", "device must be 'auto', 'cpu', 'cuda' or 'cuda:1', say; got 'gpu'"),
    "precision": ("bf17", "precision must be one of 'float32', 'float64', 'bfloat16', got 'bf17'"),
    "diagnostics": ("yes", "diagnostics is 'yes': give True or False"),
    "n_samples": (2.5, "n_samples must be a whole number of at least 0, got 2.5"),
    "seed": (-1, "seed must be a whole number of at least 0, got -1"),
    "variables": ("sla", "variables is 'sla': give a mapping"),
    "gaps": ("guess", "gaps must be one of 'fill', 'refuse', got 'guess'"),
    "on_divergence": ("ignore", "on_divergence must be one of 'error', 'fallback', 'nan', got 'ignore'"),
    "taper": ("round", "taper 'round' of dimension 'time' is unknown"),
}


def test_every_option_has_a_value_that_is_refused():
    assert set(REFUSED) == {each.name for each in fields(Options)}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
def test_what_no_mapping_can_take_is_refused_before_any_work(name, lazy, obs, model):
    value, message = REFUSED[name]
    with pytest.raises(oceanvar.OceanVarError, match=message):
        (obs.chunk(time=3) if lazy else obs).varnet.assimilate(model, **{name: value})


@pytest.mark.parametrize("name", REFUSED)
def test_archives_refuse_the_same_and_begin_nothing(name, model, tmp_path):
    gappy({"time": 9, "lat": 11, "lon": 13}).to_netcdf(tmp_path / "obs.nc")
    value, message = REFUSED[name]
    with pytest.raises(oceanvar.OceanVarError, match=message):
        assimilate_archive(tmp_path / "obs.nc", model, tmp_path / "out.zarr", **{name: value})
    assert not list(tmp_path.rglob("*.zarr"))


@pytest.mark.parametrize("size", [0, -2, 2.5, True, None, np.float32(3)])
def test_batch_sizes_are_whole_and_positive(size):
    with pytest.raises(ConfigError, match="batch_size must be"):
        Options(batch_size=size)


def test_whole_numbers_of_numpy_are_batch_sizes():
    assert Options(batch_size=np.int64(3)).batch_size == 3


@pytest.mark.parametrize(
    ("given", "meant"), [("bach_size", "batch_size"), ("overwirte", "overwrite"), ("maks", "mask")]
)
def test_a_misspelt_option_of_an_archive_is_told_with_the_nearest(given, meant, model, tmp_path):
    with pytest.raises(ConfigError, match=f"no option '{given}'; did you mean '{meant}'"):
        assimilate_archive(tmp_path / "obs.nc", model, tmp_path / "out.zarr", **{given: 4})


def test_diagnostics_of_a_learned_cost_are_refused_before_any_work(obs, model, monkeypatch):
    monkeypatch.setattr("oceanvar.network.varnet.VarNet.solve_and_diagnose", None)
    for each in (obs, obs.chunk(time=3)):
        with pytest.raises(ConfigError, match="diagnostics need a cost whose weights are error variances"):
            each.varnet.assimilate(model, diagnostics=True)


def test_a_device_that_is_not_there_is_refused(obs, model, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert resolve_device("cuda") == "cuda"
    assert resolve_device("cuda:0") == "cuda:0"
    with pytest.raises(ConfigError, match=r"device is 'cuda:1', but torch sees 1 GPU"):
        obs.varnet.assimilate(model, device="cuda:1")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(ConfigError, match=r"device is 'cuda', but torch sees no GPU"):
        obs.chunk(time=3).varnet.assimilate(model, device="cuda").load(scheduler="synchronous")


def test_a_bar_for_lazy_data_is_refused(obs, model):
    with pytest.raises(ConfigError, match=r"dask\.diagnostics\.ProgressBar"):
        obs.chunk(time=3).varnet.assimilate(model, progress=True)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n_epochs", 0, "n_epochs must be a whole number of at least 1"),
        ("batch_size", 2.5, "batch_size must be a whole number"),
        ("n_warmup", 0, "n_warmup must be a whole number of at least 1"),
        ("n_processes", "two", "n_processes must be a whole number"),
        ("seed", -1, "seed must be a whole number of at least 0"),
        ("patience", 0, "patience must be a whole number of at least 1"),
        ("learning_rate", 0.0, "learning_rate must be above 0"),
        ("learning_rate", float("nan"), "learning_rate must be above 0"),
        ("prior_rate", -0.5, "prior_rate must be at least 0"),
        ("clip", 0.0, "clip must be above 0"),
        ("n_steps", {0: -1}, "n_steps from epoch 0 on must be a whole number"),
        ("schedule", "linear", "schedule must be one of 'cosine', 'three-steps'"),
        ("precision", "float64", "precision must be one of 'float32', 'bfloat16'"),
        ("device", "gpu9", "device must be 'auto', 'cpu'"),
    ],
)
def test_settings_of_a_training_check_what_they_hold(name, value, message):
    with pytest.raises(ConfigError, match=message):
        TrainingSettings(**{name: value})
