"""Errors that are correlated along a track or a swath, made white.

An error with the covariance sigma_i sigma_j exp(-|s_i - s_j| / length) along a path s is a Markov chain, so it is
whitened exactly by each point and the last *observed* one before it, whatever the gaps and the spacing:
w_i = (e_i - rho_i e_j) / sqrt(1 - rho_i^2) with rho_i = exp(-(s_i - s_j) / length). Source of the process:
Uhlenbeck and Ornstein (1930), Phys. Rev. 36, 823-841.
"""

from typing import final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractMap, Pullback
from oceanvar.registry import registered
from oceanvar.variational.observations import Observations
from oceanvar.variational.operators.base import AbstractOperator

_APART = 50.0
"""Lengths between two passes: a correlation of 2e-22."""


@registered
@final
class SwathWhitening(AbstractOperator):
    """Whitening of errors correlated along one axis of gridded observations.

    Parameters
    ----------
    length : float
        Distance over which the correlation falls to 1 / e, in points.
    axis : int
        Axis of the observations ``(B, V, T, *S)`` along which errors are correlated: 2 is time.
    """

    def __init__(self, length: float, axis: int):
        super().__init__()
        _check(length)
        if axis < 2:
            raise ConfigError(f"axis must be 2 (time) or a space axis after it, got {axis}")
        self.length = length
        self.axis = axis

    def bind(self, obs: Observations, name: str) -> AbstractMap:
        """Whitening between the points observed."""
        observed = (obs.weights[name] > 0).movedim(self.axis, -1)
        path = torch.arange(observed.shape[-1], device=observed.device, dtype=torch.float64)
        return _Whitening(observed, path.expand(observed.shape), self.length, self.axis)


@registered
@final
class TrackWhitening(AbstractOperator):
    """Whitening of errors correlated along tracks.

    Samples are in the order of time, as `oceanvar.state.samples` gives them.

    Parameters
    ----------
    length : float
        Distance over which the correlation falls to 1 / e, in grid points along the track.
    pause : float
        A longer time between two samples, in time steps of the state, begins a new pass, whose errors are
        independent. The default is 86 s for daily maps.
    """

    def __init__(self, length: float, pause: float = 1e-3):
        super().__init__()
        _check(length)
        self.length = length
        self.pause = pause

    def bind(self, obs: Observations, name: str) -> AbstractMap:
        """Whitening between the samples of each pass."""
        observed, positions = obs.weights[name] > 0, obs.positions[name].double()
        steps = positions.diff(dim=1)
        distance = torch.linalg.vector_norm(steps[..., 1:], dim=-1)
        distance = torch.where(steps[..., 0].abs() > self.pause, _APART * self.length, distance)
        path = torch.nn.functional.pad(distance.cumsum(1), (1, 0))[:, None]
        return _Whitening(observed, path.expand(observed.shape), self.length, axis=2)


def _check(length: float) -> None:
    if length <= 0:
        raise ConfigError(f"length of the error correlation must be positive, got {length}")


@final
class _Whitening(AbstractMap):
    """C^{-1/2} of the observed points, 0 at the others; `observed` and `path` have the axis last."""

    def __init__(self, observed: Tensor, path: Tensor, length: float, axis: int):
        super().__init__()
        self.axis = axis
        index = torch.arange(observed.shape[-1], device=observed.device)
        seen = torch.where(observed, index, -1).cummax(dim=-1).values
        before = torch.nn.functional.pad(seen[..., :-1], (1, 0), value=-1)
        self.before = before.clamp(min=0)
        correlation = torch.exp(-(path - path.gather(-1, self.before)) / length)
        correlation = torch.where(before >= 0, correlation, 0.0)
        # Two samples at one place say nothing new about the error, and must not divide by zero.
        own = observed / torch.sqrt((1 - correlation**2).clamp(min=1e-6))
        self.own, self.other = own, own * correlation

    def forward(self, x: Tensor) -> Tensor:
        """Whitened errors, shaped like `x`."""
        x = x.movedim(self.axis, -1)
        white = self.own.to(x.dtype) * x - self.other.to(x.dtype) * x.gather(-1, self.before)
        return white.movedim(-1, self.axis)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: each point gives to itself and to the one before."""
        return self(x), self._transpose

    def _transpose(self, cotangent: Tensor) -> Tensor:
        r = cotangent.movedim(self.axis, -1)
        back = (self.own.to(r.dtype) * r).scatter_add(-1, self.before, -self.other.to(r.dtype) * r)
        return back.movedim(-1, self.axis)

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Whiten the tangent; the map is linear."""
        del x
        return self(tangent)
