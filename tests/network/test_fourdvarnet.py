"""The standard 4DVarNet looks at every instrument of its state space."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.maps import Chain
from oceanvar.network import fourdvarnet
from oceanvar.state import Instrument, StateSpace
from oceanvar.variational import AlongTrack, Calibration, Select
from tests.labelled_fields import gappy
from tests.state.test_instruments import tracks_on

SMALL = {"n_steps": 2, "n_features": 3, "n_hidden": 4}
NADIR = Instrument(("ssh",), along_track=True)


@pytest.mark.parametrize("start_widths", [(), (4, 6)])
def test_samples_along_tracks_count(obs, space, start_widths):
    model = fourdvarnet(replace(space, instruments={"nadir": NADIR}), start_widths=start_widths, **SMALL)
    tracks = tracks_on(obs, n=60)
    seen = obs.varnet.assimilate(model, along_track={"nadir": tracks})
    empty = obs.varnet.assimilate(model, along_track={"nadir": tracks.isel(sample=slice(0))})
    assert float(abs(seen["ssh"] - empty["ssh"]).max()) > 1e-3
    # Also where the first guess is given, and so through the cost alone.
    guess = gappy(dict(obs.sizes), seed=3, fraction=1.0)
    seen = obs.varnet.assimilate(model, along_track={"nadir": tracks}, background=guess)
    empty = obs.varnet.assimilate(
        model, along_track={"nadir": tracks.isel(sample=slice(0))}, background=guess
    )
    assert float(abs(seen["ssh"] - empty["ssh"]).max()) > 1e-4


def test_an_instrument_reads_the_variables_of_its_scale():
    space = StateSpace(
        ("ssh", "sst"),
        ("time", "lat", "lon"),
        patch={"time": 4, "lat": 6, "lon": 8},
        instruments={
            "infrared": Instrument(("skin",), scaled_as=("sst",)),
            "nadir": Instrument(("adt",), scaled_as=("ssh",), along_track=True),
        },
    )
    model = fourdvarnet(space, **SMALL)
    state, infrared, nadir, _ = model.assimilator.cost.terms
    assert (state.name, infrared.name, nadir.name) == ("state", "infrared", "nadir")
    assert infrared.operator.channels == [1]
    assert isinstance(nadir.operator, AlongTrack)
    assert nadir.operator.field.channels == [0]
    assert model.assimilator.start.tracks == [], "a track of one variable is no first guess of two"


def test_operators_of_ones_own(space, obs):
    spaces = replace(space, instruments={"radar": Instrument(("raw",), scaled_as=("ssh",))})
    model = fourdvarnet(spaces, operators={"radar": Chain(Select([0]), Calibration(1))}, **SMALL)
    both = obs.assign(raw=xr.zeros_like(obs["ssh"]))
    assert np.isfinite(both.varnet.assimilate(model)["ssh"]).all()
    with pytest.raises(ConfigError, match="no instrument in operators 'rader'; did you mean 'radar'"):
        fourdvarnet(spaces, operators={"rader": Select([0])}, **SMALL)
    current = replace(space, instruments={"hf": Instrument(("u",), scaled_as=("u",))})
    with pytest.raises(ConfigError, match=r"'hf' observes \('u',\) in physical units"):
        fourdvarnet(current, **SMALL)
