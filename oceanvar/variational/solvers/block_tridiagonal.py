"""Exact Gauss-Newton steps for weak-constraint 4D-Var with small states.

Observations and backgrounds that act on single points or on single times, and terms that tie each time to the
next, give a Gauss-Newton matrix that is block tridiagonal in time. Its block elimination is the
Kalman smoother in information form, and the iteration the iterated Kalman smoother (Bell, 1994, SIAM J.
Optim. 4, 626-636).
"""

from typing import final

from torch import Tensor

from oceanvar.registry import registered
from oceanvar.variational.blocks import on_diagonal, solve
from oceanvar.variational.linearizations import Linearization
from oceanvar.variational.shapes import by_time, from_time
from oceanvar.variational.solvers.newton import AbstractGaussNewton


@registered
@final
class BlockTridiagonalGaussNewton(AbstractGaussNewton):
    """Gauss-Newton whose systems are solved exactly, by elimination of one time after the other.

    For costs of `DynamicsTerm` (or a `PriorTerm` of a `FlowPrior`), observations of the state itself, and
    backgrounds without correlation in time: a term says itself what it is (`AbstractTerm.blocks`). The work is
    that of T factorisations of n x n matrices, n being the variables and points of one time: meant for n up
    to some hundred.

    Parameters
    ----------
    damping, tolerance : float
        See `AbstractGaussNewton`.
    """

    def __init__(self, damping: float = 1e-3, tolerance: float = 1e-6):
        super().__init__(damping, tolerance)

    def direction(self, point: Linearization, damping: Tensor) -> Tensor:
        """Exact solution; computed in double precision."""
        blocks = point.blocks()
        on_diagonal(blocks.diagonal).add_(damping.double().view(-1, 1, 1))
        solution = solve(blocks, -by_time(point.gradient).double())
        return from_time(solution, point.state).to(point.state.dtype)
