"""A twin experiment on Lorenz-63 with weak-constraint 4D-Var, for tests of what an analysis says of its errors."""

import xarray as xr

import oceanvar
from oceanvar.network.bridge import to_tensor
from oceanvar.observing import EveryNthStep
from oceanvar.papers.experiments import EXPERIMENTS, NOISE_STD
from oceanvar.variational import (
    Assimilator,
    BlockTridiagonalGaussNewton,
    FirstStateTerm,
    weak_constraint_cost,
)

LORENZ = EXPERIMENTS["lorenz63"]


def weak_constraint_model(n_times: int, overlap: int) -> oceanvar.VarNet:
    """4D-Var with the true equations, on windows of some steps."""
    climate = LORENZ.simulate(1000, seed=1, n_trajectories=4)
    space = oceanvar.StateSpace(("x", "y", "z"), ("time",), {"time": n_times}, {"time": overlap})
    space = space.normalised_by(climate)
    states = to_tensor(space.stack(oceanvar.windows(climate, n_times)).values, space)
    cost = weak_constraint_cost(
        LORENZ.step(),
        obs_variance=NOISE_STD**2,
        model_error_variance=1e-5,
        mean=[space.mean[name] for name in space.variables],
        std=[space.std[name] for name in space.variables],
        background=FirstStateTerm([3]).fit_(states),
    )
    return oceanvar.VarNet(Assimilator(cost, BlockTridiagonalGaussNewton(), 12), space)


def sixty_windows(n_times: int) -> tuple[xr.Dataset, xr.Dataset]:
    """Truth, and what is seen of it at every eighth step."""
    truth = oceanvar.windows(LORENZ.simulate(n_times, seed=2, n_trajectories=60), n_times)
    return truth, truth.varnet.observe(EveryNthStep(8), noise_std=NOISE_STD, seed=3, dims=["time"])
