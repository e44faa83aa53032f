"""Two problems on one simulated ocean: temperature under clouds, and temperature seen through a coarse footprint."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

import oceanvar
from oceanvar.observing import MovingClouds
from oceanvar.state import Instrument, StateSpace
from oceanvar.variational import BeamAverage, ObservationTerm

DIMS = ("time", "latitude", "longitude")
FOOTPRINT = 2.0
"""Standard deviation of the microwave beam, in grid points: about 50 km from side to side at half its height."""
CLOUDS = MovingClouds(0.6, {"latitude": 8, "longitude": 8}, lifetime=3.0)
CLOUDS_NOISE, FOOTPRINT_NOISE = 0.3, 0.1


@dataclass(frozen=True)
class Scale:
    """How large the experiment is."""

    n_days: int
    n_points: int
    n_spinup: int
    patch: Mapping[str, int]
    n_epochs: int
    n_samples: int
    n_energy_steps: int


FULL = Scale(400, 48, 250, {"time": 5, "latitude": 48, "longitude": 48}, 25, 1000, 600)
SMALL = Scale(80, 16, 10, {"time": 5, "latitude": 16, "longitude": 16}, 1, 16, 4)


@dataclass(frozen=True)
class Problem:
    """What is observed of the truth, and the term of the cost that says so.

    Parameters
    ----------
    name : str
        Of the problem.
    learning, validation, test : Dataset
        True fields of other years each.
    space : StateSpace
        Of the models, with the instrument.
    variance : float
        Error variance of the observations, normalised units.
    """

    name: str
    learning: xr.Dataset
    validation: xr.Dataset
    test: xr.Dataset
    space: StateSpace
    variance: float

    def term(self) -> ObservationTerm:
        """Misfit to the observations, over their error variance."""
        if self.name == "clouds":
            return ObservationTerm(variances=[self.variance])
        beam = BeamAverage([0.0, FOOTPRINT, FOOTPRINT])
        beam.requires_grad_(False)
        return ObservationTerm(beam, "microwave", variances=[self.variance])

    def observed(self, truth: xr.Dataset, seed: int) -> xr.Dataset:
        """Observations of a year, on its grid."""
        rng = np.random.default_rng(seed)
        if self.name == "clouds":
            return truth.varnet.observe(CLOUDS, noise_std=CLOUDS_NOISE, seed=seed)
        values = torch.from_numpy(truth["sst"].values)[None, None]
        with torch.no_grad():
            blurred = BeamAverage([0.0, FOOTPRINT, FOOTPRINT])(values)[0, 0].numpy()
        beam = truth["sst"].copy(data=blurred + FOOTPRINT_NOISE * rng.standard_normal(blurred.shape))
        return xr.Dataset({"sst": xr.full_like(truth["sst"], np.nan), "beam": beam.astype(np.float32)})


def problems(scale: Scale) -> list[Problem]:
    """Both problems, on the same ocean."""
    years = [
        oceanvar.quasigeostrophic(n, seed, size=scale.n_points / 10, resolution=0.1, n_spinup=scale.n_spinup)[
            ["sst"]
        ].astype(np.float32)
        for seed, n in enumerate([scale.n_days, scale.n_days // 10, scale.n_days // 5])
    ]
    learning = years[0]
    mean, std = float(learning["sst"].mean()), float(learning["sst"].std())
    found = []
    for name, noise in (("clouds", CLOUDS_NOISE), ("footprint", FOOTPRINT_NOISE)):
        instruments = {} if name == "clouds" else {"microwave": Instrument(("beam",), ("sst",))}
        space = StateSpace(
            ("sst",), DIMS, scale.patch, {}, mean={"sst": mean}, std={"sst": std}, instruments=instruments
        )
        found.append(Problem(name, *years, space, (noise / std) ** 2))
    return found
