import signal

import pytest
import torch
import xarray as xr

from oceanvar.network import VarNet, fourdvarnet
from oceanvar.state import StateSpace
from tests.labelled_fields import gappy

# The tests share two cores; more torch threads than that only fight each other.
torch.set_num_threads(1)

# A shell starts jobs in the background with interrupts ignored, and some tests interrupt themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)

DIMS = ("time", "lat", "lon")


@pytest.fixture
def space() -> StateSpace:
    return StateSpace(
        ("ssh",),
        DIMS,
        patch={"time": 4, "lat": 6, "lon": 8},
        overlap={"time": 2, "lat": 2, "lon": 3},
        mean={"ssh": 1.0},
        std={"ssh": 2.0},
        units={"ssh": "m"},
    )


@pytest.fixture
def model(space) -> VarNet:
    """A small untrained model."""
    return fourdvarnet(space, n_steps=2, n_features=3, n_hidden=4, start_widths=(4, 6))


@pytest.fixture
def obs() -> xr.Dataset:
    return gappy({"time": 9, "lat": 11, "lon": 13})
