"""Small problems with known answers that tests of solvers share."""

import torch

from oceanvar.dynamics import FlowStep, Lorenz63
from oceanvar.dynamics.integrators import integrate
from oceanvar.maps import AbstractMap, Chain, Conv, SiLU
from oceanvar.variational import (
    BackgroundTerm,
    DynamicsTerm,
    FirstStateTerm,
    Observations,
    ObservationTerm,
    VariationalCost,
    weak_constraint_cost,
)

SHAPE = (2, 7, 3)  # variables, times, sites


class LinearStep(AbstractMap):
    """The same dense matrix for every time."""

    def __init__(self, n: int):
        super().__init__()
        self.matrix = torch.nn.Parameter(torch.randn(n, n) / n**0.5)

    def forward(self, x):
        flat = x.movedim(2, 1).flatten(2) @ self.matrix.T
        return flat.view(x.movedim(2, 1).shape).movedim(1, 2)


def observations(n: int = 3, fraction: float = 0.4) -> Observations:
    values = torch.randn(n, *SHAPE, dtype=torch.float64)
    values[torch.rand(n, *SHAPE) > fraction] = torch.nan
    return Observations.from_nan(values, background=torch.randn(n, *SHAPE, dtype=torch.float64))


def without_background(obs: Observations) -> Observations:
    return Observations(obs.values, obs.weights)


def linear_cost() -> VariationalCost:
    first = FirstStateTerm([2, 3], weight=0.8).double().fit_(torch.randn(50, *SHAPE))
    return VariationalCost(
        ObservationTerm(variances=[0.5, 0.2]),
        DynamicsTerm(LinearStep(6), weight=1.5, variances=[0.4, 0.1]),
        first,
        BackgroundTerm(weight=0.1),
    ).double()


def nonlinear_cost() -> VariationalCost:
    step = Chain(Conv(2, 2, [1, 3], [False, True]), SiLU())
    return VariationalCost(ObservationTerm(), DynamicsTerm(step, weight=4.0), FirstStateTerm([2, 3])).double()


def dense_solution(cost: VariationalCost, obs: Observations) -> tuple[torch.Tensor, torch.Tensor]:
    """Minimiser, and Hessian of each window, of a quadratic cost."""
    zero = torch.zeros_like(obs.values["state"])
    eye = torch.eye(zero[0].numel(), dtype=zero.dtype).view(-1, 1, *SHAPE)
    with torch.no_grad():
        columns = [cost.at(zero, obs).product(e.expand_as(zero)).flatten(1) for e in eye]
        hessian = torch.stack(columns, dim=2)
        minimiser = torch.linalg.solve(hessian, -cost.gradient(zero, obs).flatten(1))
    return minimiser.view_as(zero), hessian


def lorenz63_windows(n: int, n_times: int) -> torch.Tensor:
    """Independent windows on the attractor, ``(n, 3, T)``."""
    state = torch.tensor([0.0, 0.0, 25.0]).double() + 5 * torch.randn(n, 3, dtype=torch.float64)
    state = integrate(Lorenz63(), state, 0.01, 1000)[-1]
    return integrate(Lorenz63(), state, 0.01, n_times - 1).movedim(0, 2)


def lorenz63_problem(n: int = 40) -> tuple[VariationalCost, Observations, torch.Tensor, torch.Tensor]:
    """Cost, observations of every eighth step with noise of variance 2, normalised truth, scale."""
    training = lorenz63_windows(50, 200)
    mean, std = training.mean((0, 2)), training.std((0, 2))
    truth = (lorenz63_windows(n, 200) - mean.view(3, 1)) / std.view(3, 1)
    background = FirstStateTerm([3]).double().fit_((training - mean.view(3, 1)) / std.view(3, 1))
    cost = weak_constraint_cost(
        FlowStep(Lorenz63(), 0.01),
        obs_variance=2.0,
        model_error_variance=1e-4,
        mean=mean.tolist(),
        std=std.tolist(),
        background=background,
    )
    values = truth + 2**0.5 * torch.randn_like(truth) / std.view(3, 1)
    values[:, :, torch.arange(200) % 8 != 0] = torch.nan
    return cost, Observations.from_nan(values), truth, std
