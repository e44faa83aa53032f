"""Optimal interpolation whose covariance is inferred from the observations of each window."""

from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from oceanvar.registry import registered
from oceanvar.variational.observations import Observations, Reads
from oceanvar.variational.shapes import broadcast, per_window
from oceanvar.variational.starts.base import AbstractStart
from oceanvar.variational.starts.lag_covariances import lag_statistics, n_statistics
from oceanvar.variational.starts.waves import Root, coloured, interpolated, root_of, whitened

LENGTHS = (0.4, 80.0)
"""Shortest and longest correlation length, steps."""

UNKNOWN = 1.0
"""Weight of an observation of which nothing is known but that it was made: a mask."""

N_SCALES = 2
"""Of a covariance: eddies, and what is larger."""

_USUAL = (5.0, 4.0)  # Lengths before anything is learned, steps: along the first axis, and along the others.
_LARGER, _SHARE, _NOISE = (
    4.0,
    0.1,
    0.03,
)  # Of the second scale over the first; its variance, and that of the errors.
_STATED = 3  # Numbers of the stated errors among what the network sees.


class Covariance(NamedTuple):
    """Covariances of a batch of windows: sums over scales of s^2 exp(-sum_i d_i^2 / (2 L_i^2)), and errors.

    Attributes
    ----------
    variances : Tensor
        s^2 ``(B, 2)``.
    lengths : Tensor
        L ``(B, 2, axes)``, steps.
    weights : Tensor
        Inverse error variances of the observations ``(B, *axes)``, 0 where there are none.
    """

    variances: Tensor
    lengths: Tensor
    weights: Tensor

    def roots(self, window: int) -> list[Root]:
        """Square roots of the scales of one window."""
        found: list[Root] = []
        for variance, lengths in zip(self.variances[window], self.lengths[window], strict=True):
            first, *others = root_of(self.weights.shape[1:], lengths)
            found.append([variance.sqrt() * first, *others])
        return found

    def nearby(self) -> Tensor:
        """How much was observed around each point: the covariance times the weights, ``(B, *axes)``."""
        return torch.stack(
            [
                sum((coloured(root, whitened(root, weights)) for root in self.roots(window)), torch.zeros(()))
                for window, weights in enumerate(self.weights)
            ]
        )


class Interpolated(NamedTuple):
    """Interpolation of a batch of windows, with what a network would ask of it.

    Attributes
    ----------
    mean, variance : Tensor
        Of the observations of each window ``(B,)``.
    departures : Tensor
        Analysis less that mean, in standard deviations of the observations, ``(B, *axes)``.
    innovations : Tensor
        Observed less analysed, in the same units, 0 where nothing was observed.
    covariance : Covariance
        What it was interpolated with.
    """

    mean: Tensor
    variance: Tensor
    departures: Tensor
    innovations: Tensor
    covariance: Covariance


@registered
@final
class AdaptiveInterpolation(AbstractStart):
    """Optimal interpolation in two scales, with lengths, variances and errors that a network infers for each window.

    The network sees nothing but correlations by lag, numbers of pairs and the stated errors over the variance. So the
    first guess follows the observations exactly when they are multiplied, or a constant is added to all of them, and
    when the window is turned around along any axis.

    Parameters
    ----------
    n_axes : int
        Axes of a window, time included.
    n_hidden : int
        Width of the network.
    n_steps : int
        Iterations of conjugate gradients.
    name : str
        Which observations: they must be of the state itself. A weight of exactly 1 says that their error is not known;
        it is inferred then. Others are inverse variances of the errors in normalised units.
    """

    def __init__(self, n_axes: int = 3, n_hidden: int = 64, n_steps: int = 30, name: str = "state"):
        super().__init__()
        self.n_axes = n_axes
        self.n_steps = n_steps
        self.name = name
        last = nn.Linear(n_hidden, 1 + N_SCALES + N_SCALES * n_axes)
        with torch.no_grad():  # The usual numbers before anything is learned.
            last.weight.mul_(0.1)
            last.bias.zero_()
        first = nn.Linear(2 * n_statistics(n_axes) + _STATED, n_hidden)
        self.network = nn.Sequential(first, nn.SiLU(), nn.Linear(n_hidden, n_hidden), nn.SiLU(), last)
        usual = [_USUAL[0], *[_USUAL[1]] * (n_axes - 1)]
        self.usual: Tensor
        logs = torch.tensor([1.0, _SHARE, _NOISE, *usual, *[_LARGER] * n_axes]).log()
        self.register_buffer("usual", logs, persistent=False)

    @property
    def reads(self) -> Reads:
        """Observations of the state."""
        return Reads((self.name,))

    def forward(self, obs: Observations) -> Tensor:
        """First guess ``(B, V, T, *S)``, every variable by itself."""
        found = self.interpolate(obs)
        mean, scale = (broadcast(each, found.departures) for each in (found.mean, found.variance.sqrt()))
        return (mean + scale * found.departures).view(obs.values[self.name].shape)

    def interpolate(self, obs: Observations) -> Interpolated:
        """Interpolate every variable of every window; the batch is ``B * V``."""
        values, weights = (each.flatten(0, 1) for each in (obs.values[self.name], obs.weights[self.name]))
        mask = (weights > 0).to(values.dtype)
        tiny = torch.finfo(values.dtype).tiny
        mean = per_window(values * weights) / per_window(weights).clamp(min=tiny)
        values = (values - broadcast(mean, values)) * mask
        variance, statistics = lag_statistics(values, mask)
        scale = variance.clamp(min=tiny)
        # In standard deviations of the window, where numbers are far from the ends of their range.
        values = values / broadcast(scale.sqrt(), values)
        covariance = self._inferred(scale, statistics, weights)
        departures = torch.stack(
            [
                interpolated(covariance.roots(window), covariance.weights[window], each, self.n_steps)
                for window, each in enumerate(values)
            ]
        )
        return Interpolated(mean, variance, departures, (values - departures) * mask, covariance)

    def _inferred(self, scale: Tensor, statistics: Tensor, weights: Tensor) -> Covariance:
        """Covariance in units of the variance of the observations."""
        observed = weights > 0
        is_stated = observed & (weights != UNKNOWN)
        n_stated, n_observed = (per_window(each).to(scale.dtype) for each in (is_stated, observed))
        relative = torch.where(is_stated, weights, 1.0) * broadcast(scale, weights)
        stated = per_window(torch.where(is_stated, relative.log(), 0.0)) / n_stated.clamp(min=1)
        beside = [n_stated / n_observed.clamp(min=1), -stated / 5, n_observed.log1p() / 10]
        logs = self.network(torch.cat((statistics, torch.stack(beside, dim=1)), dim=1)).clamp(-5, 5)
        n_sizes = 1 + N_SCALES
        variances = (logs[:, :N_SCALES] + self.usual[:N_SCALES]).exp()
        # Errors that are stated are taken as they are but for a factor, for what is correlated in them.
        factor = logs[:, N_SCALES].exp()
        error = factor * self.usual[N_SCALES].exp()
        inverse = torch.where(
            is_stated, relative / broadcast(factor, relative), 1 / broadcast(error, relative)
        )
        lengths = (logs[:, n_sizes:] + self.usual[n_sizes:]).view(-1, N_SCALES, self.n_axes).cumsum(1)
        return Covariance(variances, lengths.exp().clamp(*LENGTHS), torch.where(observed, inverse, 0.0))
