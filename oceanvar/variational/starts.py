"""Where the iteration starts when no background is given."""

import abc
from typing import final

import torch
from torch import Tensor, nn

from oceanvar.maps.base import AbstractMap
from oceanvar.registry import registered
from oceanvar.variational.observations import Observations


class AbstractStart(nn.Module, abc.ABC):
    """First guess x^(0) made from the observations."""

    @abc.abstractmethod
    def forward(self, obs: Observations) -> Tensor:
        """First guess ``(B, V, T, *S)``."""


@registered
@final
class InterpolatedStart(AbstractStart):
    """Observations of the state interpolated linearly in time.

    Outside the first and last observation of a point the nearest one holds; a point that was never
    observed takes the climatological mean, 0 in normalised units.

    Parameters
    ----------
    name : str
        Which observations: they must be of the state itself.
    """

    def __init__(self, name: str = "state"):
        super().__init__()
        self.name = name

    def forward(self, obs: Observations) -> Tensor:
        """First guess ``(B, V, T, *S)``."""
        return interpolate_in_time(obs.values[self.name], obs.weights[self.name] > 0)


@registered
@final
class LearnedStart(AbstractStart):
    """A network's direct inversion as the first guess.

    With no iterations after it, this is direct inversion; with some, the solver corrects it.

    Parameters
    ----------
    network : AbstractMap
        Map from ``(B, 3 V, T, *S)``, the observations interpolated in time, their values and their
        mask, to the state ``(B, V, T, *S)``.
    residual : bool
        Whether the network gives the correction of the interpolated observations instead of the state.
    name : str
        Which observations: they must be of the state itself.
    """

    def __init__(self, network: AbstractMap, residual: bool = False, name: str = "state"):
        super().__init__()
        self.network = network
        self.residual = residual
        self.name = name

    def forward(self, obs: Observations) -> Tensor:
        """First guess ``(B, V, T, *S)``."""
        observed = obs.weights[self.name] > 0
        values = torch.where(observed, obs.values[self.name], 0.0)
        interpolated = interpolate_in_time(values, observed)
        state = self.network(torch.cat((interpolated, values, observed.to(values.dtype)), dim=1))
        return interpolated + state if self.residual else state


def interpolate_in_time(values: Tensor, observed: Tensor) -> Tensor:
    """Interpolate ``(B, V, T, *S)`` linearly along T; nearest outside; 0 where never observed."""
    n_times = values.shape[2]
    times = torch.arange(n_times, device=values.device).view(1, 1, -1, *[1] * (values.ndim - 3))
    before = torch.where(observed, times, -1).cummax(dim=2).values
    after = torch.where(observed, times, n_times).flip(2).cummin(dim=2).values.flip(2)
    # Where one side has no observation the other side's serves for both.
    left = torch.where(before >= 0, before, after)
    right = torch.where(after < n_times, after, left)
    left, right = left.clamp(max=n_times - 1), right.clamp(max=n_times - 1)
    distance = (right - left).clamp(min=1)
    share = ((times - left) / distance).clamp(0, 1).to(values.dtype)
    blended = values.gather(2, left) * (1 - share) + values.gather(2, right) * share
    return torch.where(observed.any(dim=2, keepdim=True), blended, 0.0)
