"""Sparse sums of learned atoms as a prior."""

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractMap, Pullback
from oceanvar.registry import registered
from oceanvar.variational.acceleration import ahead_of, shrunk


@registered
@final
class DictionaryPrior(AbstractMap):
    """Projection of each block of the state on a sum of few atoms: Phi(x) = D a(x) (Elad and Aharon, 2006).

    The coefficients a are those of orthogonal matching pursuit (Pati et al., 1993), `n_nonzero` of them, or of the
    lasso, ``argmin |x - D a|^2 / 2 + sparsity |a|_1``, by FISTA. Where the chosen atoms stay the same both are
    affine, and derivatives are the projection on them.

    Parameters
    ----------
    block : sequence of int
        Points of a block along time and the axes of space, which divide those of the state.
    n_channels : int
        V.
    n_atoms : int
        Columns of D.
    n_nonzero : int, optional
        Atoms in a sum.
    sparsity : float, optional
        Weight of the lasso, instead of a number of atoms.
    n_inner : int
        Iterations of FISTA.
    """

    def __init__(
        self,
        block: Sequence[int],
        n_channels: int,
        n_atoms: int,
        n_nonzero: int | None = None,
        sparsity: float | None = None,
        n_inner: int = 100,
    ):
        super().__init__()
        n_points = n_channels * math.prod(block)
        if (n_nonzero is None) == (sparsity is None):
            raise ConfigError("give n_nonzero or sparsity: the atoms in a sum, or the weight of the lasso")
        if n_nonzero is not None and not 0 < n_nonzero <= min(n_points, n_atoms):
            raise ConfigError(
                f"n_nonzero must lie between 1 and {min(n_points, n_atoms)}, the points of a block or the atoms, got "
                f"{n_nonzero}"
            )
        self.block = list(block)
        self.n_nonzero, self.sparsity, self.n_inner = n_nonzero, sparsity, n_inner
        self.atoms = nn.Parameter(torch.randn(n_points, n_atoms))

    @torch.no_grad()
    def fit_(self, states: Tensor, n_iterations: int = 20, seed: int = 0) -> "DictionaryPrior":
        """Learn the atoms from fields ``(N, V, T, *S)`` by the method of optimal directions; returns itself.

        Coefficients for given atoms and the best atoms for given coefficients take turns (Engan, Aase and Husoy, 1999);
        atoms that nothing uses become the block that is represented worst.
        """
        n_channels = self.atoms.shape[0] // math.prod(self.block)
        if states.shape[1] != n_channels or not states.isfinite().all():
            raise ConfigError(
                f"atoms are learned from complete states of {n_channels} channels, and these have {states.shape[1]} "
                f"and {int((~states.isfinite()).sum())} missing values"
            )
        blocks = self._blocks(states.to(self.atoms))
        if len(blocks) < self.atoms.shape[1]:
            raise ConfigError(
                f"{self.atoms.shape[1]} atoms need as many blocks, and the states have {len(blocks)}"
            )
        chosen = torch.randperm(len(blocks), generator=torch.Generator().manual_seed(seed))
        self.atoms.copy_(blocks[chosen[: self.atoms.shape[1]]].T)
        for _ in range(n_iterations):
            codes = self.codes(blocks)
            gram = codes.T @ codes
            scale = gram.diagonal().mean().clamp(min=torch.finfo(gram.dtype).tiny)
            eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
            self.atoms.copy_(torch.linalg.solve(gram + 1e-6 * scale * eye, codes.T @ blocks).T)
            unused = (codes != 0).sum(0) == 0
            errors = (blocks - codes @ self._unit.T).square().sum(1)
            worst = errors.topk(int(unused.sum())).indices
            self.atoms[:, unused] = blocks[worst].T
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Project ``(B, V, T, *S)``, block by block."""
        blocks = self._blocks(x)
        return self._state(self.codes(blocks) @ self._unit.T, x)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: the projection on the atoms in use, which is symmetric."""
        codes = self.codes(self._blocks(x))
        project = self._projection(codes)
        return self._state(codes @ self._unit.T, x), lambda r: self._state(project(self._blocks(r)), r)

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Project the tangent on the atoms in use."""
        project = self._projection(self.codes(self._blocks(x)))
        return self._state(project(self._blocks(tangent)), tangent)

    def codes(self, blocks: Tensor) -> Tensor:
        """Coefficients ``(n, n_atoms)`` of blocks ``(n, points)``."""
        return self._pursued(blocks) if self.n_nonzero is not None else self._shrunk(blocks)

    @property
    def _unit(self) -> Tensor:
        """Atoms of norm 1."""
        return self.atoms / self.atoms.norm(dim=0).clamp(min=torch.finfo(self.atoms.dtype).tiny)

    def _pursued(self, blocks: Tensor) -> Tensor:
        """Orthogonal matching pursuit: the atom that fits the residual best, then the best sum of those chosen."""
        atoms, residual = self._unit, blocks
        chosen: list[Tensor] = []
        coefficients = blocks.new_zeros(len(blocks), 0)
        for _ in range(self.n_nonzero or 0):
            fit = (residual.detach() @ atoms.detach()).abs()
            for each in chosen:
                fit = fit.scatter(1, each[:, None], -1.0)
            chosen.append(fit.argmax(1))
            taken = atoms.T[torch.stack(chosen, dim=1)]  # (n, k, points)
            coefficients = self._least_squares(taken, blocks)
            residual = blocks - torch.einsum("nk,nkp->np", coefficients, taken)
        return blocks.new_zeros(len(blocks), atoms.shape[1]).scatter(
            1, torch.stack(chosen, dim=1), coefficients
        )

    def _least_squares(self, taken: Tensor, blocks: Tensor) -> Tensor:
        eye = torch.eye(taken.shape[1], dtype=taken.dtype, device=taken.device)
        # Atoms have norm 1: with so little more two equal ones in a sum do no harm.
        gram = taken @ taken.mT + 100 * torch.finfo(taken.dtype).eps * eye
        return torch.linalg.solve(gram, torch.einsum("nkp,np->nk", taken, blocks))

    def _shrunk(self, blocks: Tensor) -> Tensor:
        """FISTA on the lasso."""
        atoms = self._unit
        step = 1 / torch.linalg.matrix_norm(atoms.detach(), 2) ** 2
        codes = ahead = blocks.new_zeros(len(blocks), atoms.shape[1])
        momentum = 1.0
        for _ in range(self.n_inner):
            moved = ahead + step * (blocks - ahead @ atoms.T) @ atoms
            following = shrunk(moved, step * (self.sparsity or 0.0))
            ahead, momentum = ahead_of(following, codes, momentum)
            codes = following
        return codes

    def _projection(self, codes: Tensor) -> Pullback:
        """Map of blocks to their projection on the atoms with a coefficient."""
        # An atom that is not in use takes part as 0: the ridge keeps its equation solvable.
        used = self._unit.T * (codes != 0).unsqueeze(2)
        return lambda blocks: torch.einsum("nk,nkp->np", self._least_squares(used, blocks), used)

    def _blocks(self, x: Tensor) -> Tensor:
        """``(B, V, T, *S)`` as blocks ``(n, V points)``."""
        shape = x.shape[2:]
        if len(shape) != len(self.block) or any(n % b for n, b in zip(shape, self.block, strict=True)):
            raise ConfigError(f"blocks of {self.block} points do not divide a state of {list(shape)}")
        for axis, size in enumerate(self.block):
            x = x.unflatten(2 + 2 * axis, (-1, size))
        n_axes = len(self.block)
        numbers, inside = range(2, 2 + 2 * n_axes, 2), range(3, 3 + 2 * n_axes, 2)
        return x.permute(0, *numbers, 1, *inside).reshape(-1, self.atoms.shape[0])

    def _state(self, blocks: Tensor, like: Tensor) -> Tensor:
        """Inverse of `_blocks`."""
        n_axes, shape = len(self.block), like.shape
        counts = [n // b for n, b in zip(shape[2:], self.block, strict=True)]
        x = blocks.reshape(shape[0], *counts, shape[1], *self.block)
        pairs = [axis for i in range(n_axes) for axis in (1 + i, 2 + n_axes + i)]
        return x.permute(0, 1 + n_axes, *pairs).reshape(shape)
