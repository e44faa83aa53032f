"""Forecasts of a model as arrays in physical units."""

import copy

import numpy as np
import torch

from oceanvar.network.bridge import to_array, to_tensor
from oceanvar.network.handles import resolve_device
from oceanvar.network.varnet import VarNet
from oceanvar.variational.forecasts import forecast


class Forecaster:
    """What follows a state, by the dynamics of a model.

    Parameters
    ----------
    model : VarNet
        Its dynamics may be known or learned; without any a state persists.
    device : str
        "auto", "cpu", "cuda" or "cuda:1".
    precision : {"float32", "float64", "bfloat16"}
        Of the arithmetic; bfloat16 is for convolutions and means float32 here.
    """

    def __init__(self, model: VarNet, device: str, precision: str) -> None:
        self._space = model.state_space
        self._device = resolve_device(device)
        self._dtype = torch.float64 if precision == "float64" else torch.float32
        self._assimilator = copy.deepcopy(model.assimilator).to(self._device, self._dtype).eval()

    def __call__(self, states: np.ndarray, n_steps: int) -> np.ndarray:
        """States ``(B, V, n_steps, *S)`` after states ``(B, V, 1, *S)``, physical units."""
        present = to_tensor(states, self._space, self._dtype).to(self._device)
        return to_array(forecast(self._assimilator, present, n_steps), self._space)
