"""What a proximal map is."""

import abc
from typing import Any

from torch import Tensor, nn

from oceanvar.variational.observations import Observations, Reader

Dual = Any
"""What a proximal map remembers between its calls: tensors whose first axis is the batch, or None."""


class AbstractProximal(Reader, nn.Module, abc.ABC):
    """``prox_(s g)(x) = argmin_u g(u) + |u - x|^2 N / (2 s)``, for the g of the subclass, N points of the state.

    g is a cost of the window as all terms of the cost are, divided by N; so the s of a solver is that of its gradient
    step. Maps that need iterations begin them with what the last call ended with, which the solver carries along.
    """

    has_memory = False
    """Whether a call depends on the one before."""

    def init(self, obs: Observations, state: Tensor) -> Dual:
        """What to begin with; nothing by default."""
        del obs, state
        return None

    @abc.abstractmethod
    def prox(self, state: Tensor, step: Tensor, obs: Observations, dual: Dual) -> tuple[Tensor, Dual]:
        """Proximal point of each window.

        Parameters
        ----------
        state : Tensor
            x, ``(B, V, T, *S)``.
        step : Tensor
            s of each window divided by N, ``(B, 1, ...)``: g times N is what is penalised per point.
        obs : Observations
            What the cost is given.
        dual : tuple of Tensor or None
            What the last call remembered.
        """
