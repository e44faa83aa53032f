import signal

import numpy as np
import pytest
import torch
import xarray as xr

from oceanvar.network.presets import fourdvarnet
from oceanvar.network.varnet import VarNet
from oceanvar.state.spaces import StateSpace

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


def gappy(sizes: dict[str, int], seed: int = 0, fraction: float = 0.4, name: str = "ssh") -> xr.Dataset:
    """Random observations with NaN gaps on a labelled grid."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(tuple(sizes.values())).astype(np.float32)
    values[rng.random(values.shape) > fraction] = np.nan
    coords = {dim: (dim, np.arange(n) / 4.0) for dim, n in sizes.items() if dim in ("lat", "lon")}
    if "time" in sizes:
        coords["time"] = (
            "time",
            np.datetime64("2020-01-01", "ns") + np.arange(sizes["time"]) * np.timedelta64(1, "D"),
        )
    return xr.Dataset({name: (tuple(sizes), values, {"units": "m", "long_name": "sea level"})}, coords)


@pytest.fixture
def obs() -> xr.Dataset:
    return gappy({"time": 9, "lat": 11, "lon": 13})
