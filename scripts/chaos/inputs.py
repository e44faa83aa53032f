"""Observations in files that come, and are replaced by others."""

import shutil
from pathlib import Path

import numpy as np
import xarray as xr

from oceanvar.network import VarNet, fourdvarnet
from oceanvar.state import StateSpace

DAYS = (0, 3, 6, 9, 12, 14, 15, 16, 18, 21)
"""First day of every file, and the end."""

N_VERSIONS = 3
State = tuple[int, ...]
"""Of every file that is there how often it was replaced."""


def small_model() -> VarNet:
    """An untrained model: what is asked is whether its bits come out."""
    space = StateSpace(
        ("ssh",),
        ("time", "lat", "lon"),
        patch={"time": 4, "lat": 6, "lon": 8},
        overlap={"time": 2, "lat": 2, "lon": 3},
        mean={"ssh": 1.0},
        std={"ssh": 2.0},
        units={"ssh": "m"},
    )
    return fourdvarnet(space, n_steps=1, n_features=2, n_hidden=2, start_widths=(4, 6))


class Inputs:
    """A folder of files, some of which are there.

    Parameters
    ----------
    folder : Path
        Where to keep all versions of all files, and the folder `obs` of those that are there.
    """

    def __init__(self, folder: Path) -> None:
        self.stock, self.obs = folder / "stock", folder / "obs"
        self.stock.mkdir(parents=True)
        rng = np.random.default_rng(0)
        shape = (DAYS[-1], 11, 13)
        coords = {
            "time": np.datetime64("2020-01-22", "ns") + np.arange(DAYS[-1]) * np.timedelta64(1, "D"),
            "lat": np.linspace(30.0, 35.0, 11),
            "lon": np.linspace(0.0, 6.0, 13),
        }
        for version in range(N_VERSIONS):
            values = np.where(rng.random(shape) < 0.3, rng.normal(1, 2, shape), np.nan).astype(np.float32)
            ds = xr.Dataset({"ssh": (("time", "lat", "lon"), values, {"units": "m"})}, coords)
            for number in range(len(DAYS) - 1):
                piece = ds.isel(time=slice(*DAYS[number : number + 2]))
                piece.to_netcdf(self._stocked(number, version), engine="netcdf4")
        self.state: State = ()

    def begin(self, n_files: int) -> None:
        """Have the first files there, all in their first version."""
        shutil.rmtree(self.obs, ignore_errors=True)
        self.obs.mkdir()
        self.state = ()
        for _ in range(n_files):
            self.add()

    @property
    def content(self) -> State:
        """What the files hold: the same for the same values."""
        return tuple(n % N_VERSIONS for n in self.state)

    def add(self) -> bool:
        """Add the next file; False where there is none left."""
        if len(self.state) == len(DAYS) - 1:
            return False
        self.state = (*self.state, 0)
        self._place(len(self.state) - 1)
        return True

    def replace(self, number: int) -> None:
        """Put the next version of a file in its place, as reprocessing does: another file under its name."""
        self.state = tuple(n + (each == number) for each, n in enumerate(self.state))
        self._place(number)

    def _stocked(self, number: int, version: int) -> Path:
        return self.stock / f"obs_{DAYS[number]:03}_{version}.nc"

    def _place(self, number: int) -> None:
        aside = self.obs / f"obs_{DAYS[number]:03}.nc.part"
        shutil.copyfile(self._stocked(number, self.state[number] % N_VERSIONS), aside)
        aside.rename(aside.with_suffix(""))
