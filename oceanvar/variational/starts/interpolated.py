"""Observations interpolated in time as the first guess."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.registry import registered
from oceanvar.variational.observations import Observations, Reads
from oceanvar.variational.operators.tracks import AtPositions
from oceanvar.variational.shapes import as_numbers
from oceanvar.variational.starts.base import AbstractStart

_MANY_POINTS = 1000
"""Values of one time of a window from which sweeps over the times are quicker on a CPU than gathers."""


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
    tracks : sequence of str
        Along-track observations of the same variables, averaged over the points round each sample.
    """

    def __init__(self, name: str = "state", tracks: Sequence[str] = ()):
        super().__init__()
        self.name = name
        self.tracks = list(tracks)

    @property
    def reads(self) -> Reads:
        """Observations of the state, and the tracks."""
        return Reads((self.name, *self.tracks))

    def forward(self, obs: Observations) -> Tensor:
        """First guess ``(B, V, T, *S)``."""
        return interpolate_in_time(*on_grid(obs, self.name, self.tracks))


def on_grid(obs: Observations, name: str, tracks: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Values ``(B, V, T, *S)`` on the grid and where there are any; along-track ones fill what is left.

    Raises
    ------
    ConfigError
        If a track does not observe all variables of the state.
    """
    values, observed = obs.values[name], obs.weights[name] > 0
    for track in tracks:
        if obs.values[track].shape[1] != values.shape[1]:
            raise ConfigError(
                f"the tracks {track!r} observe {obs.values[track].shape[1]} variables and the state has "
                f"{values.shape[1]}: leave them out of the start's tracks"
            )
        weights = obs.weights[track]
        scatter = AtPositions(obs.positions[track]).linearize(values)[1]
        share, total = scatter(weights), scatter(weights * obs.values[track])
        new = (share > 0) & ~observed
        values = torch.where(new, total / torch.where(new, share, 1.0), values)
        observed = observed | new
    return values, observed


def interpolate_in_time(values: Tensor, observed: Tensor) -> Tensor:
    """Interpolate ``(B, V, T, *S)`` linearly along T; nearest outside; 0 where never observed."""
    # By the size of one window: which others lie beside it must not matter.
    is_large = values[:1, :, 0].numel() >= _MANY_POINTS
    return (_swept if is_large and values.device.type == "cpu" else _gathered)(values, observed)


def _gathered(values: Tensor, observed: Tensor) -> Tensor:
    """Interpolate by a few operations on all times at once."""
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


def _swept(values: Tensor, observed: Tensor) -> Tensor:
    """Interpolate by a sweep from the last time to the first and one back: single times stay in the cache."""
    # Products with 0 and 1 take a third of the time of a choice.
    mask = as_numbers(observed, values.dtype)
    times = list(zip((values * mask).unbind(2), (1 - mask).unbind(2), strict=True))
    following = torch.zeros_like(values[:, :, 0])
    wait = torch.full_like(following, torch.finfo(values.dtype).max)
    ahead = []
    for value, gap in reversed(times):
        following, wait = torch.addcmul(value, gap, following), torch.addcmul(gap, gap, wait)
        ahead.append((following, wait))
    # Before its first observation a point has this one on both sides.
    latest, age = following, torch.zeros_like(wait)
    blended = []
    for (value, gap), (following, wait) in zip(times, reversed(ahead), strict=True):
        latest, age = torch.addcmul(value, gap, latest), torch.addcmul(gap, gap, age)
        blended.append(torch.lerp(latest, following, age / (age + wait).clamp(min=1)))
    return torch.stack(blended, dim=2)
