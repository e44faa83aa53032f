"""A network's correction of an interpolation, and how large the error is that is left."""

from dataclasses import replace

import torch
from torch import Tensor

from oceanvar.maps.base import AbstractMap
from oceanvar.registry import registered
from oceanvar.variational.draws import Draws
from oceanvar.variational.observations import Observations, Reads
from oceanvar.variational.shapes import broadcast, per_window
from oceanvar.variational.starts.adaptive import AdaptiveInterpolation, Interpolated
from oceanvar.variational.starts.base import AbstractStart, Assessment
from oceanvar.variational.starts.conditional import deviations

N_FIELDS = 5
"""Fields that a network sees: the interpolation, its innovations, how well and how densely was observed, numbers."""

CORRECTION = 0.3
"""Usual error of an interpolation, in standard deviations of the observations: the unit of the network's correction."""

MOST = 15.0
"""Largest normalised innovation that a network sees: outliers are further away."""

N_DRAWN = 32
"""Fewest errors of an interpolation by which each of them is divided: they then have the variance 1 on average."""


@registered
class RefinedInterpolation(AbstractStart):
    """Adaptive interpolation and a network's correction of it, with the standard deviation of the error.

    All that the network sees and gives departs from the mean of the observations of the window, in their standard
    deviations, so that the first guess follows them exactly when they are multiplied, or a constant is added.

    Parameters
    ----------
    interpolation : AdaptiveInterpolation
        What is corrected.
    network : AbstractMap
        Map from ``(B, 5, T, *S)`` to ``(B, 2, T, *S)``: from the interpolation, the innovations over their errors, the
        share of the signal in what was observed, the logarithm of how much was observed nearby, and numbers of the
        window, to the correction and the logarithm of the error variance.
    spread : float
        Factor on the standard deviation, found on withheld data.
    """

    def __init__(self, interpolation: AdaptiveInterpolation, network: AbstractMap, spread: float = 1.0):
        super().__init__()
        self.interpolation = interpolation
        self.network = network
        self.spread = spread

    @property
    def reads(self) -> Reads:
        """Observations of the state."""
        return self.interpolation.reads

    def forward(self, obs: Observations) -> Tensor:
        """First guess ``(B, V, T, *S)``."""
        return self._refined(obs)[0]

    @property
    def knows_errors(self) -> bool:
        """True."""
        return True

    def assessed(self, obs: Observations) -> Assessment:
        """Variance of the error, as the network has learned it, and weights of the observations, as inferred."""
        return self._refined(obs)[1]

    @property
    def draws_errors(self) -> bool:
        """True."""
        return True

    def deviations(self, obs: Observations, draws: Draws) -> Tensor:
        """Draw errors of the first guess, ``(n, B, V, T, *S)``.

        They are correlated as those of the interpolation, which are drawn from the covariance that it infers, and
        have the variance that the network states: each is divided by the root mean square of `N_DRAWN` at least.
        """
        shape, assessment = obs.values[self.interpolation.name].shape, self.assessed(obs)
        covariance = self.interpolation.interpolate(obs).covariance
        drawn = deviations(covariance, replace(draws, n=max(draws.n, N_DRAWN)), self.interpolation.n_steps)
        size = drawn.square().mean(0).sqrt().clamp(min=torch.finfo(drawn.dtype).tiny)
        return (drawn[: draws.n] / size).view(-1, *shape) * assessment.variance.sqrt()

    def _refined(self, obs: Observations) -> tuple[Tensor, Assessment]:
        shape = obs.values[self.interpolation.name].shape
        found = self.interpolation.interpolate(obs)
        correction, logs = self.network(seen_of(found)).to(found.departures.dtype).unbind(1)
        scale = broadcast(found.variance, correction)
        departures = found.departures + CORRECTION * correction
        analysis = broadcast(found.mean, correction) + scale.sqrt() * departures
        variance = self.spread**2 * scale * log_variance(logs).exp()
        weights = found.covariance.weights / scale.clamp(min=torch.finfo(scale.dtype).tiny)
        return analysis.view(shape), Assessment(variance.view(shape), weights.view(shape))


def log_variance(output: Tensor) -> Tensor:
    """Logarithm of the error variance, in variances of the observations, from what the network gives."""
    return (3 * output - 3).clamp(-12, 4)


def seen_of(found: Interpolated) -> Tensor:
    """What the network sees of an interpolation: `N_FIELDS` fields ``(B, 5, *axes)``, whatever its amplitude."""
    signal = found.covariance.weights
    normalised = (found.innovations * signal.sqrt() / 2).clamp(-MOST, MOST)
    nearby = found.covariance.nearby().clamp(min=0).log1p() / 5
    return torch.stack((found.departures, normalised, signal / (1 + signal), nearby, _numbers(found)), dim=1)


def _numbers(found: Interpolated) -> Tensor:
    """Numbers of each window, one a time, over and over: a network that folds as many times into channels reads them.

    They are the logarithms of the lengths of eddies, and of the variances of larger scales and of errors over theirs.
    """
    covariance, fields = found.covariance, found.departures
    n_observed = per_window(covariance.weights > 0).clamp(min=1)
    errors = n_observed / per_window(covariance.weights).clamp(min=torch.finfo(fields.dtype).tiny)
    eddies, larger = covariance.variances.unbind(1)
    ratios = torch.stack((larger / eddies, errors / eddies), dim=1)
    numbers = torch.cat((covariance.lengths[:, 0], ratios), dim=1).log() / 2
    n_times = fields.shape[1]
    repeated = numbers.repeat(1, -(-n_times // numbers.shape[1]))[:, :n_times]
    return repeated.view(*repeated.shape, *[1] * (fields.ndim - 2)).expand_as(fields)
