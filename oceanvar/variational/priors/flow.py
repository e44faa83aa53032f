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

    @property
    def one_step(self) -> AbstractMap:
        """M."""
        return self.step

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
