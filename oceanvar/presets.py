"""Standard models in one call."""

from collections.abc import Sequence

import torch

from oceanvar.state_space import StateSpace
from oceanvar.variational.assimilators import Assimilator
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.priors.two_scale import two_scale_prior
from oceanvar.variational.priors.unet import unet
from oceanvar.variational.solvers.lstm import LSTMSolver
from oceanvar.variational.starts import AbstractStart, InterpolatedStart, LearnedStart
from oceanvar.variational.terms import ObservationTerm, PriorTerm
from oceanvar.variational.unrolling import Unroll
from oceanvar.varnet import VarNet


def fourdvarnet(
    space: StateSpace,
    *,
    n_steps: int = 10,
    n_features: int = 32,
    n_hidden: int = 32,
    kernel: int = 3,
    fold_time: bool = True,
    start_widths: Sequence[int] = (),
    checkpoint_every: int | None = None,
    seed: int = 0,
) -> VarNet:
    """4DVarNet with a two-scale prior and a convolutional LSTM solver, untrained.

    Parameters
    ----------
    space : StateSpace
        Variables, dimensions and patch.
    n_steps : int
        Iterations of the solver.
    n_features : int
        Features of the prior's bilinear blocks.
    n_hidden : int
        Hidden channels of the LSTM.
    kernel : int
        Odd size of the convolutions along every axis.
    fold_time : bool
        Treat the times of a window as channels, with convolutions in space: the window's length is then
        fixed. Otherwise time is a convolution axis like the others.
    start_widths : sequence of int
        Channels of the levels of a U-Net that makes the first guess. Default: none, the
        observations interpolated in time.
    checkpoint_every : int, optional
        Save memory in training, see `oceanvar.variational.unrolling.Unroll`.
    seed : int
        Of the initial weights.
    """
    axes = space.dims[1:] if fold_time else space.dims
    n_times = space.patch[space.dims[0]] if fold_time else None
    kernels, factors = [kernel] * len(axes), [2] * len(axes)
    periodic = [dim in space.periodic for dim in axes]
    n_variables = space.n_variables
    start: AbstractStart = InterpolatedStart()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        prior = two_scale_prior(n_variables, n_features, kernels, factors, periodic, n_times)
        solver = LSTMSolver(n_variables * (n_times or 1), n_hidden, kernels, periodic, fold_time)
        if start_widths:
            network = unet(
                3 * n_variables, n_variables, start_widths, kernels, periodic, n_times_folded=n_times
            )
            start = LearnedStart(network)
    cost = VariationalCost(ObservationTerm(), PriorTerm(prior))
    return VarNet(Assimilator(cost, solver, n_steps, start, Unroll(checkpoint_every)), space)
