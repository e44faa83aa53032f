"""What a resumed run must share with the first: every option, or the two would mix in one output."""

from dataclasses import fields, replace

import numpy as np
import pytest
import xarray as xr

from oceanvar.archive.manifest import Manifest
from oceanvar.archive.planning import DESCRIBED, plan_run
from oceanvar.archive.reading import Reading
from oceanvar.archive.slabs import index_archive
from oceanvar.archive.sources import find_files
from oceanvar.archive.storage import Storage
from oceanvar.errors import StoreError
from oceanvar.network import VarNet
from oceanvar.options import Options
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
    "along_track": {"nadir": TRACKS.isel(sample=slice(1, None))},
    "variables": {"ssh": "ssh"},
    "gaps": "refuse",
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

    def describe(**options):
        storage = Storage("month")
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
