"""Observations at arbitrary positions and times: along the tracks of satellites, gliders, drifters."""

import itertools
from typing import final

import torch
from torch import Tensor

from oceanvar.maps.base import AbstractMap, Pullback
from oceanvar.maps.compositions import Chain, Identity
from oceanvar.registry import registered
from oceanvar.variational.observations import Observations
from oceanvar.variational.operators.base import AbstractOperator, Operator, bound


@registered
@final
class AlongTrack(AbstractOperator):
    """Values of a field at scattered positions: linear in time, bilinear in space.

    The positions come with the observations (`Observations.positions`).

    Parameters
    ----------
    field : AbstractMap or AbstractOperator, optional
        From the state to the field that is sampled, as ``BeamAverage`` or ``Select``. Default: the state.
    sensor : AbstractMap, optional
        From sampled values ``(B, V, n)`` to what the sensor reports, as ``Calibration``. Default: the same.
    """

    def __init__(self, field: Operator | None = None, sensor: AbstractMap | None = None):
        super().__init__()
        self.field = field or Identity()
        self.sensor = sensor or Identity()

    def bind(self, obs: Observations, name: str) -> AbstractMap:
        """Field, then its values at the positions of these observations, then the sensor."""
        field = bound(self.field, obs, name)
        return Chain(field, AtPositions(obs.positions[name]), self.sensor)


@final
class AtPositions(AbstractMap):
    """Multilinear interpolation of ``(B, V, T, *S)`` to ``(B, V, n)``.

    Parameters
    ----------
    positions : Tensor
        ``(B, n, 1 + len(S))``: index coordinates along time and each space axis, 0 at the first point. A
        position beyond a border is moved to it.
    """

    def __init__(self, positions: Tensor):
        super().__init__()
        self.positions = positions

    def forward(self, x: Tensor) -> Tensor:
        """Values at the positions."""
        return self._gather(x, *self._corners(x))

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: scatter what each position gives to its corners, and add up."""
        cells, shares = self._corners(x)

        def scatter(cotangent: Tensor) -> Tensor:
            pieces = (cotangent[:, :, None] * shares[:, None]).flatten(2)
            where = cells.flatten(1)[:, None].expand(-1, x.shape[1], -1)
            flat = torch.zeros_like(x, dtype=pieces.dtype).flatten(2)
            return flat.scatter_add(2, where, pieces).view_as(x)

        return self._gather(x, cells, shares), scatter

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Values of the tangent at the positions; the map is linear."""
        del x
        return self(tangent)

    @staticmethod
    def _gather(x: Tensor, cells: Tensor, shares: Tensor) -> Tensor:
        where = cells.flatten(1)[:, None].expand(-1, x.shape[1], -1)
        values = x.flatten(2).gather(2, where).unflatten(2, tuple(cells.shape[1:]))
        return (values * shares[:, None]).sum(2)

    def _corners(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Flat index and share of the corners round every position, both ``(B, 2^axes, n)``."""
        sizes = torch.tensor(x.shape[2:], device=x.device)
        positions = self.positions.clamp(min=0).minimum((sizes - 1).to(self.positions.dtype))
        low = positions.floor().long().minimum((sizes - 2).clamp(min=0))
        above = positions - low
        cells, shares = [], []
        for corner in itertools.product((0, 1), repeat=len(sizes)):
            step = torch.tensor(corner, device=x.device)
            place = (low + step).minimum(sizes - 1)
            cell = place[..., 0]
            for axis in range(1, len(sizes)):
                cell = cell * sizes[axis] + place[..., axis]
            cells.append(cell)
            shares.append(torch.where(step > 0, above, 1 - above).prod(-1))
        return torch.stack(cells, 1), torch.stack(shares, 1)
