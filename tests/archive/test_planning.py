"""What a resumed run must share with the first: every option, or the two would mix in one output."""

from dataclasses import fields, replace

import numpy as np
import pytest
import xarray as xr

from oceanvar.archive.growth import Base, check_grown
from oceanvar.archive.manifest import Manifest
from oceanvar.archive.planning import DESCRIBED, plan_run
from oceanvar.archive.reading import Reading
from oceanvar.archive.slabs import index_archive
from oceanvar.archive.sources import find_files
from oceanvar.archive.storage import Storage
from oceanvar.errors import StoreError
from oceanvar.network import VarNet
from oceanvar.options import Options
from oceanvar.patching.borders import Border
from oceanvar.state import Instrument
from oceanvar.variational import AlongTrack, Assimilator, ConjugateGradients, ObservationTerm, VariationalCost
from tests.labelled_fields import gappy
from tests.state.test_instruments import tracks_on

SIZES = {"time": 12, "lat": 11, "lon": 13}
TRACKS = tracks_on(gappy(SIZES))

FIRST = {
    "patch": {"time": 4},
    "background": gappy(SIZES, seed=1, fraction=1.0),
    "mask": xr.DataArray(np.ones(11, bool), dims="lat"),
    "along_track": {"nadir": TRACKS},
}
CHANGED = {
    "patch": {"time": 5},
    "overlap": {"lat": 3},
    "background": gappy(SIZES, seed=2, fraction=1.0),
    "periodic": ("lon",),
    "taper": lambda n: np.full(n, 0.5),
    "batch_size": 3,
    "device": "cuda",
    "precision": "float64",
    "mask": xr.DataArray(np.arange(11) > 0, dims="lat"),
    "diagnostics": True,
    "n_samples": 2,
    "seed": 5,
    "along_track": {"nadir": TRACKS.isel(sample=slice(1, None))},
    "variables": {"ssh": "ssh"},
    "gaps": "refuse",
    "on_divergence": "nan",
}
WITHOUT = ("background", "mask")
"""Options that a second run may leave out."""


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("obs")
    gappy(SIZES).to_netcdf(folder / "obs.nc")
    return index_archive(find_files(folder / "obs.nc"), Reading(("ssh",)))


@pytest.fixture
def described(index, space, tmp_path):
    """Describes a run with some options."""
    nadir = {"nadir": Instrument(("ssh",), along_track=True)}
    terms = [
        ObservationTerm(variances=[1.0]),
        ObservationTerm(AlongTrack(), "nadir", variances=[1.0]),
    ]
    solver = Assimilator(VariationalCost(*terms), ConjugateGradients(), 2)
    model = VarNet(solver, replace(space, instruments=nadir))

    def describe(grows=False, **options):
        storage = Storage("month", grows=grows)
        return plan_run(index, model, tmp_path / "out", storage, bool, Options(**{**FIRST, **options}))[1]

    return describe


def test_every_option_is_described():
    assert set(DESCRIBED) == {each.name for each in fields(Options)} == set(CHANGED)


def test_equal_options_describe_one_run(described):
    copies = {name: FIRST[name].copy(deep=True) for name in ("background", "mask")}
    assert described(**copies, along_track={"nadir": TRACKS.copy(deep=True)}) == described()


@pytest.mark.parametrize("name", CHANGED)
def test_a_run_is_not_resumed_with_another_value_of_any_option(name, described, tmp_path):
    begun = Manifest.create(tmp_path / "manifest.jsonl", described(), "")
    begun.check_same(described(), "it")
    with pytest.raises(StoreError, match=rf"these differ:\n  {name.replace('_', ' ')}\b"):
        begun.check_same(described(**{name: CHANGED[name]}), "it")


@pytest.mark.parametrize("name", WITHOUT)
def test_nor_without_what_it_had(name, described, tmp_path):
    begun = Manifest.create(tmp_path / "manifest.jsonl", described(), "")
    with pytest.raises(StoreError, match=rf"these differ:\n  {name}: \w+ then, None now"):
        begun.check_same(described(**{name: None}), "it")


@pytest.mark.parametrize("name", CHANGED)
def test_an_output_is_not_extended_with_another_value_of_any_option(name, described, tmp_path):
    """What is given for each time may be another one at some times: these are found."""
    before, now = described(True), described(True, **{name: CHANGED[name]})
    base = Base(tmp_path, Manifest(tmp_path / "manifest.jsonl", before, ""), True)
    check_grown(base, before, "time")
    if name in ("background", "along_track"):
        key = name.replace("_", " ")
        assert before["values"][key] != now["values"][key]
        check_grown(base, now, "time")
        return
    with pytest.raises(StoreError, match=rf"these differ:\n  {name.replace('_', ' ')}\b"):
        check_grown(base, now, "time")


def test_patches_in_time_of_an_output_that_grows_do_not_grow(space, tmp_path):
    """Elsewhere a model whose larger patches are as good takes the whole record at once."""
    cost = VariationalCost(ObservationTerm(variances=[1.0]))
    borders = {"time": Border((1.5, 1.0, 1.0, 1.0), large=1.0)}
    model = VarNet(Assimilator(cost, ConjugateGradients(), 2), replace(space, borders=borders))
    found = {}
    for n in (12, 15):
        gappy({**SIZES, "time": n}).to_netcdf(tmp_path / f"{n}.nc")
        index = index_archive(find_files(tmp_path / f"{n}.nc"), Reading(("ssh",)))
        for grows in (False, True):
            storage = Storage(None, grows=grows)
            found[n, grows] = plan_run(index, model, tmp_path / "o.zarr", storage, bool, Options())[1]
    assert [found[n, False]["patch"]["time"] for n in (12, 15)] == [12, 15]
    for n in (12, 15):
        described = found[n, True]
        assert (described["patch"]["time"], described["overlap"]["time"]) == (4, 1)
        assert described["batch size"] == 6, "the patches of one start"
