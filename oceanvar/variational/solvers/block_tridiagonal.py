"""Exact Gauss-Newton steps for weak-constraint 4D-Var with small states.

Observations and backgrounds that act on single points or on single times, and one term that ties each time
to the next, give a Gauss-Newton matrix that is block tridiagonal in time. Its block elimination is the
Kalman smoother in information form, and the iteration the iterated Kalman smoother (Bell, 1994, SIAM J.
Optim. 4, 626-636).
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractMap
from oceanvar.maps.compositions import Identity
from oceanvar.registry import registered
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.observations import Observations
from oceanvar.variational.priors.flow import FlowPrior
from oceanvar.variational.shapes import by_time, from_time
from oceanvar.variational.solvers.newton import AbstractGaussNewton
from oceanvar.variational.terms.backgrounds import BackgroundTerm
from oceanvar.variational.terms.base import AbstractTerm
from oceanvar.variational.terms.dynamics import DynamicsTerm, PriorTerm
from oceanvar.variational.terms.first_state import FirstStateTerm
from oceanvar.variational.terms.observations import ObservationTerm


@registered
@final
class BlockTridiagonalGaussNewton(AbstractGaussNewton):
    """Gauss-Newton whose systems are solved exactly, by elimination of one time after the other.

    For costs of one `DynamicsTerm` (or a `PriorTerm` of a `FlowPrior`), observations of the state itself,
    and backgrounds without correlation in time. The work is that of T factorisations of n x n matrices, n
    being the variables and points of one time: meant for n up to some hundred.

    Parameters
    ----------
    damping, tolerance : float
        See `AbstractGaussNewton`.
    """

    def __init__(self, damping: float = 1e-3, tolerance: float = 1e-6):
        super().__init__(damping, tolerance)

    def direction(
        self, cost: VariationalCost, obs: Observations, state: Tensor, gradient: Tensor, damping: Tensor
    ) -> Tensor:
        """Exact solution; computed in double precision."""
        blocks = normal_blocks(cost, state, obs)
        _on_diagonal(blocks.diagonal).add_(damping.double().view(-1, 1, 1))
        solution = solve(blocks, -by_time(gradient).double())
        return from_time(solution, state).to(state.dtype)


@dataclass(frozen=True)
class TridiagonalBlocks:
    """A symmetric block tridiagonal matrix for each window, in double precision.

    Attributes
    ----------
    diagonal : Tensor
        ``(B, T, n, n)``.
    lower : Tensor
        ``(B, T - 1, n, n)``: the block of time t + 1 (rows) and time t (columns).
    """

    diagonal: Tensor
    lower: Tensor


def _on_diagonal(matrices: Tensor) -> Tensor:
    return matrices.diagonal(dim1=-2, dim2=-1)


def normal_blocks(cost: VariationalCost, state: Tensor, obs: Observations) -> TridiagonalBlocks:
    """Gauss-Newton matrix of the cost at `state`.

    Raises
    ------
    ConfigError
        If the matrix of the cost is not block tridiagonal in a way known here.
    """
    steps = [_model_step(term) for term in cost.terms]
    if len(cost.terms) - steps.count(None) != 1:
        raise ConfigError(
            "block elimination needs exactly one term that ties each time to the next (DynamicsTerm, or "
            f"PriorTerm of a FlowPrior); this cost has {len(cost.terms) - steps.count(None)}: use GaussNewton"
        )
    (blocks,) = [_dynamics_blocks(t, m, state, obs) for t, m in zip(cost.terms, steps, strict=True) if m]
    for term, step in zip(cost.terms, steps, strict=True):
        if step is None:
            _add_own_blocks(blocks.diagonal, term, state, obs)
    return blocks


def _model_step(term: AbstractTerm) -> AbstractMap | None:
    if isinstance(term, DynamicsTerm):
        return term.step
    if isinstance(term, PriorTerm) and isinstance(term.prior, FlowPrior):
        return term.prior.step
    return None


def _dynamics_blocks(
    term: AbstractTerm, step: AbstractMap, state: Tensor, obs: Observations
) -> TridiagonalBlocks:
    """Blocks of r_t = x_t - M(x_(t-1)) with weights c: A^T c A at t - 1, c at t, -c A between."""
    points = state[:, :, :-1]
    jacobian = step_jacobian(step, points).double()
    # The residual of a FlowPrior is as long as the state; its first time depends on nothing.
    weights = by_time(term.curvature(state, obs)[:, :, -points.shape[2] :]).double()
    lower = -weights.unsqueeze(-1) * jacobian
    edge = jacobian.new_zeros(len(state), 1, *jacobian.shape[2:])
    diagonal = torch.cat((jacobian.mT @ lower, edge), dim=1).neg_()
    _on_diagonal(diagonal)[:, 1:].add_(weights)
    return TridiagonalBlocks(diagonal, lower)


def _acts_on_points(term: AbstractTerm) -> bool:
    """Whether the residual of each point depends on that point alone."""
    if isinstance(term, ObservationTerm):
        return isinstance(term.operator, Identity) and term.whitening is None
    return isinstance(term, BackgroundTerm) and isinstance(term.whitening, Identity)


def _add_own_blocks(diagonal: Tensor, term: AbstractTerm, state: Tensor, obs: Observations) -> None:
    """Add the blocks of a term that ties no two times."""
    if _acts_on_points(term):
        _on_diagonal(diagonal).add_(by_time(term.curvature(state, obs)).double())
    elif isinstance(term, FirstStateTerm):
        weights, whitening = term.curvature(state, obs).double(), term.whitening.double()
        diagonal[:, 0].add_((whitening.T * weights.unsqueeze(1)) @ whitening)
    else:
        raise ConfigError(
            f"block elimination cannot take {type(term).__name__} as it stands: it knows observations of the "
            "state itself, backgrounds without correlation in time and FirstStateTerm; use GaussNewton"
        )


def step_jacobian(step: AbstractMap, points: Tensor) -> Tensor:
    """Jacobian ``(B, T, n, n)`` of a model step that takes every time of `points` ``(B, V, T, *S)`` on its own."""
    one_time = points[0, :, 0]
    basis = torch.eye(one_time.numel(), dtype=points.dtype, device=points.device)
    # One column at a time, all windows and times at once: wider products fall out of the processor's cache.
    # They are put together as rows, which lie together in memory.
    columns = [
        by_time(step.jvp(points, vector.view_as(one_time).unsqueeze(1).expand_as(points))) for vector in basis
    ]
    return torch.stack(columns, dim=2).mT


@dataclass(frozen=True)
class Elimination:
    """Block Cholesky factor of a block tridiagonal matrix.

    Attributes
    ----------
    factors : list of Tensor
        T lower triangular factors L_t of the eliminated diagonal blocks, ``(B, n, n)``.
    couplings : list of Tensor
        T - 1 matrices L_t^-1 E_t^T, with E_t the block below the diagonal.
    targets : list of Tensor
        T right-hand sides L_t^-1 b_t, ``(B, n, 1)``.
    """

    factors: list[Tensor]
    couplings: list[Tensor]
    targets: list[Tensor]


def eliminate(blocks: TridiagonalBlocks, target: Tensor) -> Elimination:
    """Factorise from the first time to the last, with a right-hand side ``(B, T, n)``.

    A matrix that is not positive definite gives numbers that are not finite or of no use; the damped
    iteration refuses such a step.
    """
    n_times, n = blocks.diagonal.shape[1:3]
    factors: list[Tensor] = []
    couplings: list[Tensor] = []
    targets: list[Tensor] = []
    diagonal, rest = blocks.diagonal[:, 0], target[:, 0].unsqueeze(-1)
    for t in range(n_times):
        factors.append(torch.linalg.cholesky_ex(diagonal)[0])
        if t == n_times - 1:
            targets.append(torch.linalg.solve_triangular(factors[t], rest, upper=False))
            break
        # The right-hand side rides along as one more column.
        wide = torch.cat((blocks.lower[:, t].mT, rest), dim=-1)
        solved = torch.linalg.solve_triangular(factors[t], wide, upper=False)
        couplings.append(solved[..., :n])
        targets.append(solved[..., n:])
        update = couplings[t].mT @ solved
        diagonal = blocks.diagonal[:, t + 1] - update[..., :n]
        rest = target[:, t + 1].unsqueeze(-1) - update[..., n:]
    return Elimination(factors, couplings, targets)


def solve(blocks: TridiagonalBlocks, target: Tensor) -> Tensor:
    """Solution ``(B, T, n)`` for a right-hand side of that shape."""
    done = eliminate(blocks, target)
    solution = [torch.linalg.solve_triangular(done.factors[-1].mT, done.targets[-1], upper=True)]
    for t in reversed(range(len(done.couplings))):
        rest = done.targets[t] - done.couplings[t] @ solution[-1]
        solution.append(torch.linalg.solve_triangular(done.factors[t].mT, rest, upper=True))
    return torch.stack(solution[::-1], dim=1).squeeze(-1)


def inverse_diagonal(blocks: TridiagonalBlocks) -> Tensor:
    """Diagonal ``(B, T, n)`` of the inverse matrix, by the recursion of a smoother from the last time back."""
    done = eliminate(blocks, torch.zeros_like(blocks.diagonal[..., 0]))
    factors = torch.stack(done.factors, dim=1)
    eye = torch.eye(factors.shape[-1], dtype=factors.dtype, device=factors.device)
    inverses = torch.linalg.solve_triangular(factors, eye.expand_as(factors), upper=False)
    own = inverses.mT @ inverses
    covariance = own[:, -1]
    diagonals = [_on_diagonal(covariance)]
    for t in reversed(range(len(done.couplings))):
        gain = inverses[:, t].mT @ done.couplings[t]
        covariance = own[:, t] + gain @ covariance @ gain.mT
        diagonals.append(_on_diagonal(covariance))
    return torch.stack(diagonals[::-1], dim=1)
