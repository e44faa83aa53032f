"""Physical units: between a model that works in normalised units and laws that hold in physical ones."""

from collections.abc import Iterator, Sequence
from typing import final

import torch
from torch import Tensor, nn

from oceanvar.maps.base import AbstractMap, Pullback
from oceanvar.maps.compositions import Chain
from oceanvar.registry import registered


class Scaled(AbstractMap):
    """A map that knows the mean m and the standard deviation s of each variable.

    The model that owns the normalisation sets them (see `oceanvar.network.varnet.VarNet`).

    Parameters
    ----------
    n_variables : int
        V of the state.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, n_variables: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_variables))
        self.register_buffer("std", torch.ones(n_variables))

    @final
    def set_(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Set m and s, at the precision that the map has."""
        self.mean.copy_(torch.tensor(mean, dtype=torch.float64))
        self.std.copy_(torch.tensor(std, dtype=torch.float64))


@registered
@final
class ToPhysical(Scaled):
    """From normalised to physical units, s x + m, for an operator that is a law of physics.

    Parameters
    ----------
    n_variables : int
        V of the state.
    """

    def __init__(self, n_variables: int):
        super().__init__(n_variables)

    def forward(self, x: Tensor) -> Tensor:
        """s x + m."""
        return x * per_channel(self.std, x) + per_channel(self.mean, x)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: times s."""
        return self(x), lambda r: r * per_channel(self.std, r)

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Tangent times s."""
        del x
        return tangent * per_channel(self.std, tangent)


@registered
@final
class ToNormalised(Scaled):
    """From physical to normalised units, (x - m) / s: the inverse of `ToPhysical`.

    Parameters
    ----------
    n_variables : int
        V of the state.
    """

    def __init__(self, n_variables: int):
        super().__init__(n_variables)

    def forward(self, x: Tensor) -> Tensor:
        """(x - m) / s."""
        return (x - per_channel(self.mean, x)) / per_channel(self.std, x)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: divided by s."""
        return self(x), lambda r: r / per_channel(self.std, r)

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Tangent divided by s."""
        del x
        return tangent / per_channel(self.std, tangent)


def in_physical_units(inner: AbstractMap, n_variables: int) -> Chain:
    """Let a map that speaks physical units serve a cost that speaks normalised ones.

    Parameters
    ----------
    inner : AbstractMap
        Map on ``(B, V, T, *S)`` in physical units.
    n_variables : int
        V.

    Returns
    -------
    Chain
        x -> (inner(s x + m) - m) / s for each variable.
    """
    return Chain(ToPhysical(n_variables), inner, ToNormalised(n_variables))


def scaled_parts(module: nn.Module) -> Iterator[Scaled]:
    """Parts of a module that need to know the normalisation."""
    return (part for part in module.modules() if isinstance(part, Scaled))


def per_channel(values: Tensor, x: Tensor) -> Tensor:
    """Shape one value per channel ``(V,)`` to multiply ``x (B, V, ...)``."""
    return values.to(x.dtype).view(1, -1, *[1] * (x.ndim - 2))
