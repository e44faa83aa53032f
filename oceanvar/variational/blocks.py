"""Matrices that are block tridiagonal in time, and their elimination one time after the other.

Residuals that act on single times, or tie each time to the next, give such a Gauss-Newton matrix. Its block
elimination is the Kalman smoother in information form.
"""

import functools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from oceanvar.maps.base import AbstractMap
from oceanvar.variational.shapes import by_time


@final
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

    def __add__(self, other: "TridiagonalBlocks") -> "TridiagonalBlocks":
        return TridiagonalBlocks(self.diagonal + other.diagonal, self.lower + other.lower)


@final
@dataclass(frozen=True)
class TermBlocks:
    """What one term adds to such a matrix, in double precision; what is None adds nothing.

    Attributes
    ----------
    points : Tensor, optional
        ``(B, T, n)``: onto the diagonals of the blocks on the diagonal.
    first : Tensor, optional
        ``(B, n, n)``: onto the block of the first time.
    tied : TridiagonalBlocks, optional
        Of a term that ties each time to the next.
    """

    points: Tensor | None = None
    first: Tensor | None = None
    tied: TridiagonalBlocks | None = None

    def add_own_to(self, diagonal: Tensor) -> None:
        """Add, in place, what ties no two times to the blocks on the diagonal."""
        if self.first is not None:
            diagonal[:, 0].add_(self.first)
        if self.points is not None:
            on_diagonal(diagonal).add_(self.points)


def assembled(parts: Sequence[TermBlocks], state: Tensor) -> TridiagonalBlocks:
    """Sum of what the terms add at a state ``(B, V, T, *S)``."""
    tied = [part.tied for part in parts if part.tied is not None]
    matrix = functools.reduce(operator.add, tied or [_zeros(by_time(state))])
    for part in parts:
        part.add_own_to(matrix.diagonal)
    return matrix


def _zeros(points: Tensor) -> TridiagonalBlocks:
    n_windows, n_times, n = points.shape
    shapes = [(n_windows, length, n, n) for length in (n_times, n_times - 1)]
    return TridiagonalBlocks(*(points.new_zeros(shape, dtype=torch.float64) for shape in shapes))


def step_blocks(step: AbstractMap, state: Tensor, weights: Tensor) -> TermBlocks:
    """Blocks of r_t = x_t - M(x_(t-1)) with weights c: M'^T c M' at t - 1, c at t, -c M' between.

    Parameters
    ----------
    step : AbstractMap
        M, which takes every time on its own.
    state : Tensor
        x, ``(B, V, T, *S)``.
    weights : Tensor
        c, ``(B, V, T - 1, *S)``.
    """
    jacobian = step_jacobian(step, state[:, :, :-1]).double()
    weights = by_time(weights).double()
    lower = -weights.unsqueeze(-1) * jacobian
    edge = jacobian.new_zeros(len(state), 1, *jacobian.shape[2:])
    diagonal = torch.cat((jacobian.mT @ lower, edge), dim=1).neg_()
    on_diagonal(diagonal)[:, 1:].add_(weights)
    return TermBlocks(tied=TridiagonalBlocks(diagonal, lower))


def step_jacobian(step: AbstractMap, points: Tensor) -> Tensor:
    """Jacobian ``(B, T, n, n)`` of a model step that takes every time of `points` ``(B, V, T, *S)`` on its own."""
    (_, n_variables, _, *sizes), push = points.shape, step.pushforward(points)
    basis = torch.eye(n_variables * math.prod(sizes), dtype=points.dtype, device=points.device)
    # One column at a time, all windows and times at once: wider products fall out of the processor's cache.
    # They are put together as rows, which lie together in memory.
    columns = [by_time(push(vector.view(n_variables, 1, *sizes).expand_as(points))) for vector in basis]
    return torch.stack(columns, dim=2).mT


def on_diagonal(matrices: Tensor) -> Tensor:
    """View of the diagonals ``(..., n)`` of matrices ``(..., n, n)``."""
    return matrices.diagonal(dim1=-2, dim2=-1)


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
        T right-hand sides L_t^-1 b_t, ``(B, n, columns)``.
    """

    factors: list[Tensor]
    couplings: list[Tensor]
    targets: list[Tensor]


def eliminate(blocks: TridiagonalBlocks, target: Tensor) -> Elimination:
    """Factorise from the first time to the last, with right-hand sides ``(B, T, n, columns)``.

    A matrix that is not positive definite gives numbers that are not finite or of no use; the damped
    iteration refuses such a step.
    """
    n_times, n = blocks.diagonal.shape[1:3]
    factors: list[Tensor] = []
    couplings: list[Tensor] = []
    targets: list[Tensor] = []
    diagonal, rest = blocks.diagonal[:, 0], target[:, 0]
    for t in range(n_times):
        factors.append(torch.linalg.cholesky_ex(diagonal)[0])
        if t == n_times - 1:
            targets.append(torch.linalg.solve_triangular(factors[t], rest, upper=False))
            break
        # The right-hand sides ride along as more columns.
        wide = torch.cat((blocks.lower[:, t].mT, rest), dim=-1)
        solved = torch.linalg.solve_triangular(factors[t], wide, upper=False)
        couplings.append(solved[..., :n])
        targets.append(solved[..., n:])
        update = couplings[t].mT @ solved
        diagonal = blocks.diagonal[:, t + 1] - update[..., :n]
        rest = target[:, t + 1] - update[..., n:]
    return Elimination(factors, couplings, targets)


def solve(blocks: TridiagonalBlocks, target: Tensor) -> Tensor:
    """Solution for a right-hand side ``(B, T, n)``, or for several of them ``(B, T, n, columns)``."""
    if target.ndim == blocks.diagonal.ndim - 1:
        return solve(blocks, target.unsqueeze(-1)).squeeze(-1)
    done = eliminate(blocks, target)
    solution = [torch.linalg.solve_triangular(done.factors[-1].mT, done.targets[-1], upper=True)]
    for t in reversed(range(len(done.couplings))):
        rest = done.targets[t] - done.couplings[t] @ solution[-1]
        solution.append(torch.linalg.solve_triangular(done.factors[t].mT, rest, upper=True))
    return torch.stack(solution[::-1], dim=1)


def inverse_diagonal(blocks: TridiagonalBlocks) -> Tensor:
    """Diagonal ``(B, T, n)`` of the inverse matrix, by the recursion of a smoother from the last time back."""
    done = eliminate(blocks, torch.zeros_like(blocks.diagonal[..., :0]))
    factors = torch.stack(done.factors, dim=1)
    eye = torch.eye(factors.shape[-1], dtype=factors.dtype, device=factors.device)
    inverses = torch.linalg.solve_triangular(factors, eye.expand_as(factors), upper=False)
    own = inverses.mT @ inverses
    covariance = own[:, -1]
    diagonals = [on_diagonal(covariance)]
    for t in reversed(range(len(done.couplings))):
        gain = inverses[:, t].mT @ done.couplings[t]
        covariance = own[:, t] + gain @ covariance @ gain.mT
        diagonals.append(on_diagonal(covariance))
    return torch.stack(diagonals[::-1], dim=1)
