"""Gradients on the sphere, with land."""

import math
from typing import final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.labels import earth
from oceanvar.maps.base import AbstractMap
from oceanvar.maps.differences import Gradient, Scaled
from oceanvar.registry import registered
from oceanvar.variational.observations import Observations, Reads
from oceanvar.variational.operators.base import AbstractOperator

_KM_PER_DEGREE = math.radians(1) * earth.RADIUS


@registered
@final
class SphericalGradient(AbstractOperator):
    """Northward and eastward gradient of each variable, times a length: ``(B, V, T, y, x)`` to ``(B, 2 V, T, y, x)``.

    Forward differences over the distance between the points, on the sphere. No difference is taken across a coast or
    the border of a patch: it is 0 there. Latitude and longitude, in degrees, come as covariates, and so does the sea:
    name them in the state space, ``covariates=("latitude", "longitude", "sea")``.

    Parameters
    ----------
    length : float
        What gradients are multiplied by, km: the difference over that length, in the units of the state.
    sea : str, optional
        Covariate that is 1 on the sea and 0, or missing, on land. Default: there is no land.
    latitude, longitude : str
        Names of the covariates.
    """

    def __init__(
        self,
        length: float = 100.0,
        sea: str | None = None,
        latitude: str = "latitude",
        longitude: str = "longitude",
    ):
        super().__init__()
        if length <= 0:
            raise ConfigError(f"length must be positive, got {length}")
        self.length = length
        self.sea = sea
        self.latitude, self.longitude = latitude, longitude

    @property
    def reads(self) -> Reads:
        """Where the points lie."""
        return Reads(covariates=tuple(n for n in (self.latitude, self.longitude, self.sea) if n is not None))

    def bind(self, obs: Observations, name: str) -> AbstractMap:
        """Gradient on the grid of these windows."""
        del name
        latitude, longitude = obs.covariates[self.latitude], obs.covariates[self.longitude]
        gradient = Gradient([1, 2])
        north = gradient(latitude)[:, :1] * _KM_PER_DEGREE
        # Across the date line, or from 359 to 0, the difference is still the short way round.
        degrees = (gradient(longitude)[:, 1:] + 180) % 360 - 180
        east = degrees * _KM_PER_DEGREE * torch.cos(torch.deg2rad(latitude))
        distances = torch.cat((north, east), dim=1)
        # Where no next point is the difference is 0, whatever it is divided by.
        factors = self.length / torch.where(distances == 0, torch.ones_like(distances), distances)
        if self.sea is not None:
            is_sea = obs.covariates[self.sea] * obs.weights.get(self.sea, 1.0)
            # 0 from land to sea and back, and on land.
            factors = factors * _both(is_sea > 0.5)
        return Scaled(gradient, factors)


def _both(is_sea: Tensor) -> Tensor:
    """Whether a point and the next one are sea, along both axes, ``(B, 2, T, y, x)``."""
    numbers = is_sea.float()
    return torch.cat([numbers * numbers.roll(-1, axis) for axis in (-2, -1)], dim=1)
