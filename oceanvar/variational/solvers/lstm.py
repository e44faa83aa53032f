"""The learned solver of 4DVarNet."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from oceanvar.maps.inference import inference_form
from oceanvar.maps.layers import Conv
from oceanvar.maps.layouts import inside
from oceanvar.registry import registered
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.observations import Observations
from oceanvar.variational.solvers.base import AbstractSolver
from oceanvar.variational.solvers.cells import remembered

Memory = tuple[Tensor, Tensor, Tensor]
"""Hidden state h, cell c, and the size of the first gradient of each window."""


FIRST_UPDATE = 0.1
"""Factor on the usual initial weights of the update: random steps are what the first hundred of training would undo."""


@registered
@final
class LSTMSolver(AbstractSolver):
    """Convolutional LSTM fed with the gradient of the cost.

    Equation 4 of Fablet, Drumetz and Rousseau (2020): g = LSTM[alpha grad U, h, c], x <- x - H(g), with H
    a pointwise convolution. alpha is one over the root mean square of the first gradient *of each
    window*, so that a window is solved alike in any batch.

    Parameters
    ----------
    n_channels : int
        Variables V of the state (times the window length if time is folded).
    n_hidden : int
        Channels of h and c.
    kernel : sequence of int
        Odd kernel of the gates, one size per convolution axis (time first, unless folded).
    periodic : sequence of bool, optional
        Convolution axes that wrap. Default: none.
    fold_time : bool
        Treat the times of a window as channels and convolve in space only.
    """

    def __init__(
        self,
        n_channels: int,
        n_hidden: int,
        kernel: Sequence[int],
        periodic: Sequence[bool] = (),
        fold_time: bool = False,
    ):
        super().__init__()
        self.n_hidden = n_hidden
        self.fold_time = fold_time
        self.gates = Conv(n_channels + n_hidden, 4 * n_hidden, kernel, periodic, bias=True)
        self.update = Conv(n_hidden, n_channels, [1] * len(kernel))
        with torch.no_grad():
            self.update.weight.mul_(FIRST_UPDATE)

    def init(self, cost: VariationalCost, obs: Observations, state: Tensor) -> None:
        """Nothing: the memory begins with the first step, which evaluates the gradient anyway."""
        del cost, obs, state

    def step(
        self, cost: VariationalCost, obs: Observations, state: Tensor, carry: Memory | None
    ) -> tuple[Tensor, Memory]:
        """One learned update."""
        gradient = self.fold(cost.gradient(state, obs))
        if carry is None:
            size = _size(gradient)
            # Where nothing is remembered yet, the channels of the memory are 0.
            gates = self.gates.of_first_channels(gradient / size)
            cell = torch.zeros_like(gates[:, : self.n_hidden], dtype=gradient.dtype)
        else:
            hidden, cell, size = carry
            gates = self.gates(torch.cat((gradient / size, hidden), dim=1))
        cell, hidden = remembered(gates, cell)
        return state - self.update(hidden).view_as(state), (hidden, cell, size)

    def fold(self, x: Tensor) -> Tensor:
        """A field ``(B, V, T, *S)`` as the convolutions see it."""
        return x.flatten(1, 2) if self.fold_time else x


def _size(gradient: Tensor) -> Tensor:
    """Root mean square of each window, ``(B, 1, ...)``."""
    size = gradient.flatten(1).square().mean(1).sqrt()
    # A window where nothing pulls keeps a zero gradient instead of dividing by zero.
    return torch.where(size > 0, size, 1.0).view(-1, *[1] * (gradient.ndim - 1))


@final
class LSTMInference(AbstractSolver):
    """The form of `LSTMSolver` for inference with two convolution axes: channels last, and a step overwrites its gates.

    Parameters
    ----------
    solver : LSTMSolver
        The solver; it is used up.
    """

    def __init__(self, solver: LSTMSolver):
        super().__init__()
        # tanh(x) = 2 sigmoid(2 x) - 1 to single precision: one quick function serves all gates.
        content = slice(3 * solver.n_hidden, None)
        with torch.no_grad():
            for parameter in solver.gates.parameters():
                parameter[content] *= 2
        solver.gates, solver.update = inference_form(solver.gates), inference_form(solver.update)
        self.solver = solver

    def init(self, cost: VariationalCost, obs: Observations, state: Tensor) -> None:
        """Nothing, see `LSTMSolver.init`."""
        del cost, obs, state

    def step(
        self, cost: VariationalCost, obs: Observations, state: Tensor, carry: Memory | None
    ) -> tuple[Tensor, Memory]:
        """One learned update."""
        gradient = self.solver.fold(cost.gradient(state, obs))
        if carry is None:
            size = _size(gradient)
            gates = self.solver.gates.of_first_channels(inside(gradient / size))
            cell = torch.zeros_like(gates[:, : self.solver.n_hidden])
        else:
            hidden, cell, size = carry
            gates = self.solver.gates(torch.cat((inside(gradient / size), hidden), dim=1))
        take, forget, give, content = gates.sigmoid_().chunk(4, dim=1)
        # What the last step remembers is never overwritten: whoever holds it may start from there again.
        cell = (forget * cell).addcmul_(take, content, value=2).sub_(take)
        hidden = (2 * cell).sigmoid_().mul_(2).sub_(1).mul_(give)
        update = self.solver.update(hidden).contiguous()
        return state - update.view_as(state), (hidden, cell, size)


@inference_form.register
def _(solver: LSTMSolver) -> AbstractSolver:
    return LSTMInference(solver) if solver.gates.weight.ndim == 4 else solver
