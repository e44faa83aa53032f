"""Forecasts with the dynamics that an assimilator knows or has learned."""

import torch
from torch import Tensor

from oceanvar.maps.base import AbstractMap
from oceanvar.maps.compositions import Identity
from oceanvar.variational.assimilators import Assimilator
from oceanvar.variational.controls import ForecastControl
from oceanvar.variational.terms.dynamics import DynamicsTerm, PriorTerm


@torch.no_grad()
def forecast(assimilator: Assimilator, state: Tensor, n_steps: int) -> Tensor:
    """States ``(B, V, n_steps, *S)`` that follow a state ``(B, V, 1, *S)``, normalised units.

    By the model step of its cost or of its control, known or learned; persistence where there is none.
    """
    to_model, step, to_state = _dynamics(assimilator)
    present, states = to_model(state), [state[:, :, :0]]
    for _ in range(n_steps):
        present = step(present)
        states.append(to_state(present))
    return torch.cat(states, dim=2)


def has_dynamics(assimilator: Assimilator) -> bool:
    """Whether forecasts are more than persistence."""
    return not isinstance(_dynamics(assimilator)[1], Identity)


def _dynamics(assimilator: Assimilator) -> tuple[AbstractMap, AbstractMap, AbstractMap]:
    """Map onto the grid of the model, model step there, and the way back."""
    for part in assimilator.modules():
        if isinstance(part, ForecastControl):
            return part.to_model, part.step, part.to_state
        if isinstance(part, DynamicsTerm):
            return Identity(), part.step, Identity()
        if isinstance(part, PriorTerm) and part.prior.one_step is not None:
            return Identity(), part.prior.one_step, Identity()
    return Identity(), Identity(), Identity()
