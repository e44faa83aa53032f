"""First guesses that are learned."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from oceanvar.maps.base import AbstractMap
from oceanvar.registry import registered
from oceanvar.variational.observations import Observations, Reads
from oceanvar.variational.operators.sensors import Calibration
from oceanvar.variational.shapes import as_numbers
from oceanvar.variational.starts.base import AbstractStart
from oceanvar.variational.starts.interpolated import interpolate_in_time, on_grid


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

    @property
    def reads(self) -> Reads:
        """Observations of the state, the tracks and the covariates."""
        return Reads((self.name, *self.tracks), tuple(self.covariates))

    def forward(self, obs: Observations) -> Tensor:
        """First guess ``(B, V, T, *S)``."""
        values, observed = on_grid(obs, self.name, self.tracks)
        mask, weights = as_numbers(observed, values.dtype), obs.weights[self.name]
        if weights.requires_grad:
            # 1 where observed, with the derivative of the weight: a learned sampling learns through it.
            mask = mask + (weights - weights.detach())
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
    def reads(self) -> Reads:
        """Its covariates."""
        return Reads(covariates=tuple(self.names))

    @property
    def uses_observations(self) -> bool:
        """False."""
        return False

    def forward(self, obs: Observations) -> Tensor:
        """First guess ``(B, V, T, *S)``."""
        mask = torch.cat([obs.weights[name] for name in self.names], dim=1)
        return self.calibration(torch.cat([obs.covariates[name] for name in self.names], dim=1)) * mask
