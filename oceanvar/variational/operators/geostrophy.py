"""Currents in geostrophic balance with sea level, and their speed and direction."""

import math
from typing import final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.labels import earth
from oceanvar.maps.base import AbstractMap, Pullback
from oceanvar.maps.compositions import Chain, Identity
from oceanvar.maps.units import ToPhysical
from oceanvar.registry import registered
from oceanvar.variational.observations import Observations, Reads
from oceanvar.variational.operators.base import AbstractOperator
from oceanvar.variational.operators.sensors import Select

_METRES_PER_DEGREE = math.radians(1) * (1000 * earth.RADIUS)


@registered
@final
class GeostrophicCurrents(AbstractOperator):
    """Geostrophic currents of a sea level: u = -(g / f) d eta / dy, v = (g / f) d eta / dx, in m/s.

    f = 2 Omega sin(latitude) (Gill, 1982, Atmosphere-Ocean Dynamics, section 7.6). Gradients are central
    differences, one-sided at the borders of a patch. Latitude and longitude, in degrees, come as covariates:
    name the two coordinates in the state space, ``covariates=("latitude", "longitude")``.

    Parameters
    ----------
    n_variables : int
        V of the state, the last two axes of which are latitude and longitude.
    variable : int
        Which of them is the sea level, in m.
    then : AbstractMap, optional
        From the currents to what is observed of them, as `SpeedAndDirection`. Default: u and v.
    latitude, longitude : str
        Names of the covariates.
    min_latitude : float
        Nearer to the equator than this, in degrees, f is that of this latitude: leave out observations there.
    """

    def __init__(
        self,
        n_variables: int = 1,
        variable: int = 0,
        then: AbstractMap | None = None,
        latitude: str = "latitude",
        longitude: str = "longitude",
        min_latitude: float = 5.0,
    ):
        super().__init__()
        self.level = Chain(ToPhysical(n_variables), Select([variable]))
        self.then = then or Identity()
        self.latitude, self.longitude = latitude, longitude
        self.min_latitude = min_latitude

    @property
    def reads(self) -> Reads:
        """Where the points lie."""
        return Reads(covariates=(self.latitude, self.longitude))

    def bind(self, obs: Observations, name: str) -> AbstractMap:
        """Currents on the grid of these windows."""
        del name
        latitude, longitude = obs.covariates[self.latitude], obs.covariates[self.longitude]
        north = _METRES_PER_DEGREE * _difference(latitude, -2)
        # Across the date line, or from 359 to 0, the difference is still the short way round.
        degrees = (_difference(longitude, -1) + 180) % 360 - 180
        east = _METRES_PER_DEGREE * torch.cos(torch.deg2rad(latitude)) * degrees
        size = latitude.abs().clamp(min=self.min_latitude)
        coriolis = 2 * earth.ROTATION * torch.sin(torch.deg2rad(size)) * torch.where(latitude < 0, -1, 1)
        factor = earth.GRAVITY / coriolis
        return Chain(self.level, _Rotated(-factor / north, factor / east), self.then)


@final
class _Rotated(AbstractMap):
    """(a_y d_y eta, a_x d_x eta) of ``(B, 1, T, y, x)``, with differences d and given factors a."""

    def __init__(self, per_row: Tensor, per_column: Tensor):
        super().__init__()
        self.factors = ((-2, per_row), (-1, per_column))

    def forward(self, x: Tensor) -> Tensor:
        """Both components ``(B, 2, T, y, x)``."""
        return torch.cat([factor.to(x.dtype) * _difference(x, axis) for axis, factor in self.factors], dim=1)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: the differences transposed."""

        def pullback(cotangent: Tensor) -> Tensor:
            parts = zip(cotangent.split(1, dim=1), self.factors, strict=True)
            to_u, to_v = (_difference_transposed(r * f.to(r.dtype), axis) for r, (axis, f) in parts)
            return to_u + to_v

        return self(x), pullback

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Currents of the tangent; the map is linear."""
        del x
        return self(tangent)


def _neighbours(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    points = torch.arange(n, device=device)
    return (points + 1).clamp(max=n - 1), (points - 1).clamp(min=0)


def _difference(x: Tensor, axis: int) -> Tensor:
    """Next minus previous point; at a border the point itself takes the place of the missing one."""
    above, below = _neighbours(x.shape[axis], x.device)
    return x.index_select(axis, above) - x.index_select(axis, below)


def _difference_transposed(r: Tensor, axis: int) -> Tensor:
    above, below = _neighbours(r.shape[axis], r.device)
    return torch.zeros_like(r).index_add(axis, above, r).index_add(axis, below, -r)


@registered
@final
class SpeedAndDirection(AbstractMap):
    """Speed and direction of currents: (u, v) to (s, u / s, v / s) with s = sqrt(u^2 + v^2 + eps^2).

    The direction is a vector of length one: unlike an angle it has no jump, and a misfit of it is
    2 sin(angle / 2).

    Parameters
    ----------
    eps : float
        Speed below which the direction fades, in the units of u and v.
    """

    def __init__(self, eps: float = 1e-3):
        super().__init__()
        if eps <= 0:
            raise ConfigError(f"eps must be positive, got {eps}")
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Speed, eastward and northward part of the direction, ``(B, 3, ...)``."""
        speed, direction = self._parts(x)
        return torch.cat((speed, direction), dim=1)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back."""
        speed, direction = self._parts(x)

        def pullback(cotangent: Tensor) -> Tensor:
            to_speed, to_direction = cotangent[:, :1], cotangent[:, 1:]
            along = (to_direction * direction).sum(1, keepdim=True)
            return to_direction / speed + direction * (to_speed - along / speed)

        return torch.cat((speed, direction), dim=1), pullback

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Push the tangent forward."""
        speed, direction = self._parts(x)
        faster = (direction * tangent).sum(1, keepdim=True)
        return torch.cat((faster, (tangent - direction * faster) / speed), dim=1)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        speed = torch.sqrt(x.square().sum(1, keepdim=True) + self.eps**2)
        return speed, x / speed
