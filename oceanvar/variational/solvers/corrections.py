"""A network that corrects the state in one step."""

from typing import final

import torch
from torch import Tensor

from oceanvar.maps.base import AbstractMap
from oceanvar.registry import registered
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.observations import Observations
from oceanvar.variational.solvers.base import AbstractSolver


@registered
@final
class LearnedCorrection(AbstractSolver):
    """x <- x + N(x, y, mask): direct inversion as a solver, which never looks at the cost.

    As the first stage of a `Sequential` it replaces the interpolation by a learned analysis; after
    Gauss-Newton steps it learns where these go wrong.

    Parameters
    ----------
    network : AbstractMap
        Map N from ``(B, 3 V, T, *S)``, the state, the observed values and their mask, to a correction
        ``(B, V, T, *S)``.
    name : str
        Which observations: they must be of the state itself.
    """

    def __init__(self, network: AbstractMap, name: str = "state"):
        super().__init__()
        self.network = network
        self.name = name

    def init(self, cost: VariationalCost, obs: Observations, state: Tensor) -> None:
        """No memory."""

    def step(
        self, cost: VariationalCost, obs: Observations, state: Tensor, carry: None
    ) -> tuple[Tensor, None]:
        """One correction."""
        del cost, carry
        observed = obs.weights[self.name] > 0
        values = torch.where(observed, obs.values[self.name], 0.0)
        correction = self.network(torch.cat((state, values, observed.to(values.dtype)), dim=1))
        return state + correction.to(state.dtype), None
