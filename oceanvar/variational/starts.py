"""Where the iteration starts when no background is given."""

import abc
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractMap
from oceanvar.registry import registered
from oceanvar.variational.observations import Observations
from oceanvar.variational.operators.sensors import Calibration
from oceanvar.variational.operators.tracks import AtPositions


class AbstractStart(nn.Module, abc.ABC):
    """First guess x^(0) made from the observations."""

    @property
    def uses_observations(self) -> bool:
        """Whether observed values enter, as against covariates alone."""
        return True

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
    tracks : sequence of str
        Along-track observations of the same variables, averaged over the points round each sample.
    """

    def __init__(self, name: str = "state", tracks: Sequence[str] = ()):
        super().__init__()
        self.name = name
        self.tracks = list(tracks)

    def forward(self, obs: Observations) -> Tensor:
        """First guess ``(B, V, T, *S)``."""
        return interpolate_in_time(*on_grid(obs, self.name, self.tracks))


@registered
@final
class LearnedStart(AbstractStart):
    """A network's direct inversion as the first guess.

    With no iterations after it, this is direct inversion; with some, the solver corrects it.

    Parameters
    ----------
    network : AbstractMap
        Map from ``(B, 3 V + 2 C, T, *S)`` to the state ``(B, V, T, *S)``: the observations interpolated in time,
        their values and their mask, then the C covariates and their masks.
    residual : bool
        Whether the network gives the correction of the interpolated observations instead of the state.
    name : str
        Which observations: they must be of the state itself.
    tracks : sequence of str
        Along-track observations of the same variables, averaged over the points round each sample.
    covariates : sequence of str
        Covariates that the network sees.
    """

    def __init__(
        self,
        network: AbstractMap,
        residual: bool = False,
        name: str = "state",
        tracks: Sequence[str] = (),
        covariates: Sequence[str] = (),
    ):
        super().__init__()
        self.network = network
        self.residual = residual
        self.name = name
        self.tracks = list(tracks)
        self.covariates = list(covariates)

    def forward(self, obs: Observations) -> Tensor:
        """First guess ``(B, V, T, *S)``."""
        values, observed = on_grid(obs, self.name, self.tracks)
        # 1 where observed, with the derivative of the weight: a learned sampling learns through it.
        weights = obs.weights[self.name]
        mask = observed.to(values.dtype) + (weights - weights.detach())
        values = values * mask
        interpolated = interpolate_in_time(values, observed)
        seen = [interpolated, values, mask]
        masks = [obs.weights[name] for name in self.covariates]
        state = self.network(
            torch.cat([*seen, *(obs.covariates[name] for name in self.covariates), *masks], dim=1)
        )
        # Convolutions may compute in bfloat16; the state keeps the precision of the observations.
        return (interpolated + state if self.residual else state).to(values.dtype)


@registered
@final
class CovariateStart(AbstractStart):
    """A covariate as the first guess, as yesterday's analysis; 0 where it has a gap.

    A gain and a bias, learned with the rest from 1 and 0, bring it to the state's normalised units.

    Parameters
    ----------
    names : sequence of str
        One covariate for each variable of the state.
    """

    def __init__(self, names: Sequence[str]):
        super().__init__()
        self.names = list(names)
        self.calibration = Calibration(len(self.names))

    @property
    def uses_observations(self) -> bool:
        """False."""
        return False

    def forward(self, obs: Observations) -> Tensor:
        """First guess ``(B, V, T, *S)``."""
        mask = torch.cat([obs.weights[name] for name in self.names], dim=1)
        return self.calibration(torch.cat([obs.covariates[name] for name in self.names], dim=1)) * mask


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
