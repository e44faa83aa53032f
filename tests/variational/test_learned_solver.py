"""Training through the learned solver has the gradients of its equations, written out for automatic differentiation."""

import pytest
import torch
from torch.nn import functional

from oceanvar.variational import (
    Assimilator,
    LSTMSolver,
    Observations,
    ObservationTerm,
    PriorTerm,
    Unroll,
    VariationalCost,
    two_scale_prior,
    unet,
)
from oceanvar.variational.solvers.cells import remembered
from oceanvar.variational.solvers.lstm import FIRST_UPDATE

AXES = {"sites": (6,), "plane": (6, 7)}
PRIORS = {
    "two scales": lambda n_axes: two_scale_prior(1, 3, [3] * n_axes, [2] * n_axes, n_times_folded=4),
    "U-Net": lambda n_axes: unet(1, 1, (3, 4), [3] * n_axes, n_times_folded=4),
}


@pytest.fixture(params=[(axes, prior) for axes in AXES for prior in PRIORS], ids="-".join)
def assimilator(request) -> Assimilator:
    torch.manual_seed(0)
    axes, prior = request.param
    n_axes = len(AXES[axes])
    cost = VariationalCost(ObservationTerm(), PriorTerm(PRIORS[prior](n_axes), weight=0.7))
    solver = LSTMSolver(4, 5, [3] * n_axes, fold_time=True)
    with torch.no_grad():
        solver.update.weight /= FIRST_UPDATE  # as large as after some training: small gradients round more
    return Assimilator(cost, solver, 4)


def seen(assimilator: Assimilator, dtype: torch.dtype) -> Observations:
    axes = (6, 7)[: assimilator.solver.gates.weight.ndim - 2]
    values = torch.randn(2, 1, 4, *axes, dtype=dtype)
    values[torch.rand(values.shape) < 0.5] = torch.nan
    return Observations.from_nan(values)


def written_out(assimilator: Assimilator, obs: Observations) -> torch.Tensor:
    """The analysis by plain operations, the gradient of the cost by automatic differentiation."""
    solver, cost = assimilator.solver, assimilator.cost
    convolve = functional.conv2d if solver.gates.weight.ndim == 4 else functional.conv1d
    state = assimilator.first_guess(obs)
    hidden = cell = state.new_zeros(len(state), solver.n_hidden, *state.shape[3:])
    size = None
    for _ in range(assimilator.n_steps):
        point = state if state.requires_grad else state.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(cost(point, obs).sum(), point, create_graph=True)
        gradient = gradient.flatten(1, 2)
        if size is None:
            size = gradient.flatten(1).square().mean(1).sqrt().view(-1, *[1] * (gradient.ndim - 1))
        joint = torch.cat((gradient / size, hidden), dim=1)
        gates = convolve(joint, solver.gates.weight, solver.gates.bias, padding=1)
        take, forget, give, content = gates.chunk(4, dim=1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(take) * torch.tanh(content)
        hidden = torch.sigmoid(give) * torch.tanh(cell)
        state = state - convolve(hidden, solver.update.weight).view_as(state)
    return state


def gradients(assimilator: Assimilator, analysis: torch.Tensor) -> list[torch.Tensor]:
    truth = torch.linspace(-1, 1, analysis.numel(), dtype=analysis.dtype).view_as(analysis)
    return list(torch.autograd.grad((analysis - truth).square().mean(), list(assimilator.parameters())))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("checkpoint_every", [None, 3])
def test_gradients_of_training_are_those_of_the_equations(assimilator, dtype, tolerance, checkpoint_every):
    assimilator.unroll = Unroll(checkpoint_every)
    obs = seen(assimilator.double(), torch.float64)
    wanted = gradients(assimilator, written_out(assimilator, obs))
    given = gradients(assimilator.to(dtype), assimilator(obs.to(dtype)))
    for one, other in zip(given, wanted, strict=True):
        assert float((one.double() - other).norm() / other.norm()) < tolerance


def test_the_adjoint_of_the_memory_is_that_of_finite_differences():
    torch.manual_seed(0)
    gates = torch.randn(2, 8, 3, 4, dtype=torch.float64, requires_grad=True)
    cell = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(remembered, (gates, cell))


def test_training_keeps_the_gates_once():
    """Of the memory itself: the four gates opened, and the cell before and after."""
    gates, cell = torch.randn(2, 20, 6, 7, requires_grad=True), torch.randn(2, 5, 6, 7, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        remembered(gates, cell)
    assert sum(kept) == gates.numel() + 2 * cell.numel()
