"""Priors made from a model of one time step."""

from typing import final

import torch
from torch import Tensor

from oceanvar.maps.base import AbstractComposition, AbstractMap, Pullback, Pushforward
from oceanvar.registry import registered


@registered
@final
class FlowPrior(AbstractComposition):
    """One-step forecast as a prior: Phi(x)(t + dt) = M(x(t)).

    Section 3.1 of Fablet, Drumetz and Rousseau (2020). The first time has no past: it is copied,
    so that its residual is zero.

    Parameters
    ----------
    step : AbstractMap
        Model M of one time step on ``(B, V, T, *S)``, every time on its own: known
        (`oceanvar.dynamics.integrators.FlowStep`) or learned.
    """

    def __init__(self, step: AbstractMap):
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        """Forecast every time of ``(B, V, T, *S)`` from the one before."""
        return torch.cat((x[:, :, :1], self.step(x[:, :, :-1])), dim=2)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: a cotangent moves one time back."""
        forecast, step_pullback = self.step.linearize(x[:, :, :-1])

        def pullback(cotangent: Tensor) -> Tensor:
            back = step_pullback(cotangent[:, :, 1:])
            head = back[:, :, :1] + cotangent[:, :, :1]
            return torch.cat((head, back[:, :, 1:], torch.zeros_like(cotangent[:, :, :1])), dim=2)

        return torch.cat((x[:, :, :1], forecast), dim=2), pullback

    def pushforward(self, x: Tensor) -> Pushforward:
        """Forecast the tangent."""
        push = self.step.pushforward(x[:, :, :-1])
        return lambda v: torch.cat((v[:, :, :1], push(v[:, :, :-1])), dim=2)


@registered
@final
class PhysicalUnits(AbstractMap):
    """Let a map that speaks physical units serve a cost that speaks normalised ones.

    Phi(x) = (inner(s x + m) - m) / s per variable. The model that owns the normalisation sets `mean`
    and `std` (see `oceanvar.network.varnet.VarNet`).

    Parameters
    ----------
    inner : AbstractMap
        Map on ``(B, V, T, *S)`` in physical units.
    n_variables : int
        V.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, inner: AbstractMap, n_variables: int):
        super().__init__()
        self.inner = inner
        self.register_buffer("mean", torch.zeros(n_variables))
        self.register_buffer("std", torch.ones(n_variables))

    def _scales(self, x: Tensor) -> tuple[Tensor, Tensor]:
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return self.mean.to(x.dtype).view(shape), self.std.to(x.dtype).view(shape)

    def forward(self, x: Tensor) -> Tensor:
        """Value in normalised units."""
        mean, std = self._scales(x)
        return (self.inner(x * std + mean) - mean) / std

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back."""
        mean, std = self._scales(x)
        value, pullback = self.inner.linearize(x * std + mean)
        return (value - mean) / std, lambda r: pullback(r / std) * std

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Push the tangent forward."""
        mean, std = self._scales(x)
        return self.inner.jvp(x * std + mean, tangent * std) / std
