"""What the climatology of training windows says, as the first guess."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.registry import registered
from oceanvar.variational.observations import Observations, Reads
from oceanvar.variational.shapes import by_time, from_time
from oceanvar.variational.starts.base import AbstractStart


@registered
@final
class ClimateMean(AbstractStart):
    """The climatological mean as the first guess, 0 in normalised units.

    Smooth, as a background with smooth errors has to be; observations interpolated in time are not.
    """

    @property
    def uses_observations(self) -> bool:
        """False."""
        return False

    def forward(self, obs: Observations) -> Tensor:
        """0 where there are points of the state, ``(B, V, T, *S)``."""
        return torch.zeros_like(obs.values["state"])


@registered
@final
class ClimatologicalStart(AbstractStart):
    """Optimal interpolation in space and time as the first guess.

    x = m + C H^T (H C H^T + R)^{-1} (y - H m), with the mean m and the covariances C between times and
    points estimated from training windows, the same at all times (stationary). Each window solves one
    system as large as the number of its observations. Until `fit_` has seen fields, it is the mean 0.

    Parameters
    ----------
    shape : sequence of int
        Shape ``(V, T, *S)`` of a window; shorter windows may be solved too.
    variances : sequence of float
        Error variance of the observations of each variable, in normalised units; divided by the weights
        given with the observations.
    name : str
        Which observations: they must be of the state itself.
    """

    mean: Tensor
    covariances: Tensor

    def __init__(self, shape: Sequence[int], variances: Sequence[float], name: str = "state"):
        super().__init__()
        n_variables, n_times, *space = shape
        if len(variances) != n_variables or min(variances) <= 0:
            raise ConfigError(f"expected {n_variables} positive error variances, got {list(variances)}")
        self.n_points_of_variable = int(torch.Size(space).numel())
        self.variances = tuple(variances)
        self.name = name
        n_points = n_variables * self.n_points_of_variable
        self.register_buffer("mean", torch.zeros(n_points))
        self.register_buffer("covariances", torch.zeros(n_times, n_points, n_points))

    @property
    def reads(self) -> Reads:
        """Observations of the state."""
        return Reads((self.name,))

    @torch.no_grad()
    def fit_(self, windows: Tensor) -> "ClimatologicalStart":
        """Set mean and covariances from windows ``(N, V, T, *S)`` in normalised units; returns itself."""
        states = by_time(windows).double()
        if states.shape[1:] != self.covariances.shape[:2]:
            raise ConfigError(
                f"windows of shape {tuple(windows.shape[1:])} have {tuple(states.shape[1:])} times and points, "
                f"the start was made for {tuple(self.covariances.shape[:2])}"
            )
        mean = states.mean((0, 1))
        self.mean.copy_(mean)
        self.covariances.copy_(lag_covariances(states - mean))
        return self

    def forward(self, obs: Observations) -> Tensor:
        """First guess ``(B, V, T, *S)``."""
        values, weights = obs.values[self.name], obs.weights[self.name]
        if values.shape[2] > len(self.covariances):
            raise ConfigError(
                f"the covariances reach over {len(self.covariances)} times, the window has {values.shape[2]}"
            )
        y, w = by_time(values).double(), by_time(weights).double()
        pulls = torch.stack([self._pull(*window) for window in zip(y, w, strict=True)])
        guess = self.mean.double() + spread_in_time(self.covariances[: y.shape[1]].double(), pulls)
        return from_time(guess, values).to(values.dtype)

    def _pull(self, values: Tensor, weights: Tensor) -> Tensor:
        """(H C H^T + R)^{-1} (y - H m) of one window at its observations, 0 elsewhere; ``(T, n)``."""
        time, point = weights.nonzero(as_tuple=True)
        lag = time.unsqueeze(1) - time
        # C(-l) is the transpose of C(l).
        row = torch.where(lag >= 0, point.unsqueeze(1), point)
        column = torch.where(lag >= 0, point, point.unsqueeze(1))
        matrix = self.covariances.double()[lag.abs(), row, column]
        variances = torch.tensor(self.variances, dtype=values.dtype, device=values.device)
        noise = variances[point // self.n_points_of_variable] / weights[time, point]
        departure = values[time, point] - self.mean.double()[point]
        solved = torch.linalg.solve(matrix + noise.diag(), departure)
        return torch.zeros_like(values).index_put((time, point), solved)


def lag_covariances(anomalies: Tensor) -> Tensor:
    """Covariances C(l) = E[a(t + l) a(t)^T] of anomalies ``(N, T, n)`` for lags 0 to T - 1, ``(T, n, n)``.

    The estimates of single lags need not fit together: negative values of the spectrum they have as a
    whole are set to zero, so that every matrix put together from them is positive semidefinite.
    """
    n_windows, n_times = anomalies.shape[:2]
    waves = torch.fft.rfft(anomalies, n=2 * n_times, dim=1)
    sums = torch.fft.irfft(torch.einsum("bfi,bfj->fij", waves, waves.conj()), n=2 * n_times, dim=0)
    n_pairs = n_windows * torch.arange(n_times, 0, -1, dtype=sums.dtype, device=sums.device)
    spectrum = torch.fft.rfft(_periodic(sums[:n_times] / n_pairs.view(-1, 1, 1)), dim=0)
    powers, vectors = torch.linalg.eigh(spectrum)
    spectrum = (vectors * powers.clamp(min=0).unsqueeze(1)) @ vectors.mH
    return torch.fft.irfft(spectrum, n=2 * n_times, dim=0)[:n_times]


def _periodic(covariances: Tensor) -> Tensor:
    """Lags 0 to T - 1, an empty one, and the negative lags: one period of 2 T."""
    negative = covariances[1:].mT.flip(0)
    return torch.cat((covariances, torch.zeros_like(covariances[:1]), negative))


def spread_in_time(covariances: Tensor, pulls: Tensor) -> Tensor:
    """x(t) = sum_s C(t - s) z(s) for z of shape ``(B, T, n)``, by Fourier transform in time."""
    n_times = pulls.shape[1]
    spectrum = torch.fft.rfft(_periodic(covariances), dim=0)
    waves = torch.fft.rfft(pulls, n=2 * n_times, dim=1)
    return torch.fft.irfft(torch.einsum("fij,bfj->bfi", spectrum, waves), n=2 * n_times, dim=1)[:, :n_times]
