"""Standard models in one call."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from oceanvar.errors import ConfigError
from oceanvar.maps.compositions import Chain
from oceanvar.maps.fourier import Filtered, OnGrid, gaussian_spread
from oceanvar.maps.layers import Conv, SiLU
from oceanvar.maps.units import in_physical_units
from oceanvar.network.varnet import VarNet
from oceanvar.options import check_keys
from oceanvar.state.instruments import Instrument
from oceanvar.state.spaces import STATE, StateSpace
from oceanvar.truths.oceans import day_of_box
from oceanvar.variational.assimilators import Assimilator
from oceanvar.variational.controls import ControlSpace, ForecastControl
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.operators.base import Operator
from oceanvar.variational.operators.sensors import Select
from oceanvar.variational.operators.tracks import AlongTrack
from oceanvar.variational.priors.two_scale import two_scale_prior
from oceanvar.variational.priors.unet import unet
from oceanvar.variational.solvers.lbfgs import LBFGS
from oceanvar.variational.solvers.lstm import LSTMSolver
from oceanvar.variational.starts.base import AbstractStart
from oceanvar.variational.starts.climatological import ClimateMean
from oceanvar.variational.starts.interpolated import InterpolatedStart
from oceanvar.variational.starts.learned import LearnedStart
from oceanvar.variational.terms.dynamics import PriorTerm
from oceanvar.variational.terms.features import FeatureTerm
from oceanvar.variational.terms.observations import ObservationTerm
from oceanvar.variational.unrolling import Unroll


def fourdvarnet(
    space: StateSpace,
    *,
    n_steps: int = 10,
    n_features: int = 32,
    n_hidden: int = 32,
    kernel: int = 3,
    fold_time: bool = True,
    start_widths: Sequence[int] = (),
    covariates: Sequence[str] = (),
    operators: Mapping[str, Operator] | None = None,
    n_shared: int = 8,
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
    covariates : sequence of str
        Covariates of `space` that help the map: they enter the cost by a gated feature term, and the network
        of the first guess where there is one.
    operators : mapping of str to AbstractMap or AbstractOperator, optional
        Observation operators H by the name of the instrument, "state" for the state itself. Default: an
        instrument reads the variables whose scale it has, on the grid or along its track.
    n_shared : int
        Features that the state and the covariates share in that term.
    checkpoint_every : int, optional
        Save memory in training, see `oceanvar.variational.unrolling.Unroll`.
    seed : int
        Of the initial weights.

    Returns
    -------
    VarNet
        Model to be trained, by `oceanvar.fit`.

    Raises
    ------
    ConfigError
        If operators name no instrument of `space`, an instrument in physical units lacks one, or `fold_time` leaves no
        axis.
    """
    if fold_time and len(space.dims) == 1:
        raise ConfigError(
            f"with the times of a window as channels nothing is left to convolve along: the only dimension is "
            f"{space.dims[0]!r}; give fold_time=False"
        )
    axes = space.dims[1:] if fold_time else space.dims
    n_times = space.patch[space.dims[0]] if fold_time else None
    kernels, factors = [kernel] * len(axes), [2] * len(axes)
    periodic = [dim in space.periodic for dim in axes]
    n_variables = space.n_variables
    check_keys(operators or {}, space.observing, "instrument in operators")
    terms = [_observation_term(name, space, (operators or {}).get(name)) for name in space.observing]
    tracks = [name for name, each in space.tracked.items() if each.scales == space.variables]
    start: AbstractStart = InterpolatedStart(tracks=tracks)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        prior = two_scale_prior(n_variables, n_features, kernels, factors, periodic, n_times)
        solver = LSTMSolver(n_variables * (n_times or 1), n_hidden, kernels, periodic, fold_time)
        if start_widths:
            network = unet(
                3 * n_variables + 2 * len(covariates),
                n_variables,
                start_widths,
                kernels,
                periodic,
                n_times_folded=n_times,
            )
            start = LearnedStart(network, tracks=tracks, covariates=covariates)
        shared = [_shared_features(space, covariates, n_shared, kernel)] if covariates else []
    cost = VariationalCost(*terms, PriorTerm(prior), *shared)
    return VarNet(Assimilator(cost, solver, n_steps, start, Unroll(checkpoint_every)), space)


def _observation_term(name: str, space: StateSpace, operator: Operator | None) -> ObservationTerm:
    """Misfit to one instrument."""
    instrument = space.observing[name]
    if operator is None and instrument.scales != space.variables:
        if not set(instrument.scales) <= set(space.variables):
            raise ConfigError(
                f"the instrument {name!r} observes {instrument.variables} in physical units, which {space.variables} "
                f"do not say by themselves: give operators={{{name!r}: ...}}"
            )
        operator = Select([space.variables.index(each) for each in instrument.scales])
    if instrument.along_track and not isinstance(operator, AlongTrack):
        operator = AlongTrack(operator)
    return ObservationTerm(operator, name)


def _shared_features(space: StateSpace, covariates: Sequence[str], n_shared: int, kernel: int) -> FeatureTerm:
    """G a convolution in space, F a small network, and a gate; each time on its own."""
    kernels = [1, *[kernel] * (len(space.dims) - 1)]
    periodic = [dim in space.periodic for dim in space.dims]
    n_inputs = 2 * len(covariates)
    return FeatureTerm(
        Conv(space.n_variables, n_shared, kernels, periodic),
        Chain(
            Conv(n_inputs, 2 * n_shared, kernels, periodic, bias=True),
            SiLU(),
            Conv(2 * n_shared, n_shared, kernels, periodic),
        ),
        covariates,
        gate=Conv(n_inputs, n_shared, kernels, periodic, bias=True),
    )


def quasigeostrophic_4dvar(
    space: StateSpace,
    lengths: Sequence[float],
    *,
    obs_variance: float | str,
    background_std: float,
    correlation: float,
    model_error_std: float = 0.0,
    n_steps: int = 20,
    shape: Sequence[int] | None = None,
    latitude: float = 35.0,
    deformation_radius: float = 30.0,
    surface: bool = False,
) -> VarNet:
    """4D-Var of daily sea level with a quasi-geostrophic model in a box that is periodic in both directions.

    Nothing is learned. L-BFGS minimises over the first day of a window and the errors of the model on the later
    ones (`oceanvar.variational.controls`). The first day of the first guess is the background: the mean, or that of
    ``background=`` of `assimilate`, an optimal interpolation say.

    Parameters
    ----------
    space : StateSpace
        One variable, sea level in m, with its `mean` and `std`; a patch is the whole box, and as many days as
        make a window.
    lengths : (float, float)
        Size of the box along latitude and longitude, km.
    obs_variance : float or str
        Error variance of the observations, m^2, or the variable that holds it.
    background_std : float
        Standard deviation of the error of the background, m; that of the sea level itself where it is the mean.
    correlation : float
        Length of the Gaussian covariances of that error and of the model's, km.
    model_error_std : float
        Standard deviation of what the model gets wrong in a day, m. Default: none, the strong constraint.
    n_steps : int
        Iterations.
    shape : (int, int), optional
        Points of the model along latitude and longitude. Default: those of the patch.
    latitude : float
        Of the middle of the box, degrees, as for `oceanvar.quasigeostrophic`.
    deformation_radius : float
        Of the model, km.
    surface : bool
        Surface quasi-geostrophic flow: smaller eddies and sharper fronts.

    Returns
    -------
    VarNet
        Model with nothing to train.

    Raises
    ------
    ConfigError
        If the space is not one of sea level alone with its normalisation, or a number is out of range.
    """
    others = space.instruments or space.covariates
    if space.n_variables != 1 or len(space.dims) != 3 or others or space.std is None:
        raise ConfigError(
            "quasi-geostrophic 4D-Var maps one variable over time, latitude and longitude, from its own "
            f"observations, with mean= and std= known beforehand; got {space}"
        )
    n_times, *box = (space.patch[dim] for dim in space.dims)
    grid = tuple(shape or box)
    std = space.std[space.variables[0]]
    physics = {"latitude": latitude, "deformation_radius": deformation_radius, "surface": surface}
    stds = [background_std / std, *[model_error_std / std] * (n_times - 1)]
    spread = torch.stack([gaussian_spread(grid, lengths, each, correlation) for each in stds])
    control = ForecastControl(
        in_physical_units(day_of_box(grid, lengths, physics), 1),
        Filtered.of(spread.float()),
        OnGrid(box, grid),
        OnGrid(grid, box),
    )
    space = replace(space, instruments={STATE: Instrument(space.variables, variance=obs_variance)})
    cost = VariationalCost(ObservationTerm())
    return VarNet(Assimilator(cost, ControlSpace(LBFGS(), control), n_steps, ClimateMean()), space)
