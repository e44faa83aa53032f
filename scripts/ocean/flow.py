"""4D-Var in the periodic box of `scripts.ocean`: the first day and the errors of the model decide the others."""

from typing import final

import torch
from torch import Tensor

from oceanvar.maps.base import AbstractMap, Pullback
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.terms.observations import ObservationTerm

CONTROL = "control"
"""Name of the observation of the control vector as 0: the background term."""


@final
class Filtered(AbstractMap):
    """Linear map of periodic fields ``(..., n, n)`` that multiplies each wave by a real, even factor.

    Parameters
    ----------
    factors : Tensor
        Of the waves of ``torch.fft.rfft2``; axes before these are those of the fields, or 1.
    """

    def __init__(self, factors: Tensor):
        super().__init__()
        self.factors = factors

    def forward(self, x: Tensor) -> Tensor:
        """Filtered fields."""
        return torch.fft.irfft2(self.factors * torch.fft.rfft2(x), s=x.shape[-2:])

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: the map is symmetric."""
        return self(x), self

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Filter the tangent."""
        del x
        return self(tangent)


@final
class OnGrid(AbstractMap):
    """The waves that two periodic grids share, on the other grid.

    Parameters
    ----------
    n_from, n_to : int
        Points along both axes; the shortest wave of the coarser grid is left out.
    """

    def __init__(self, n_from: int, n_to: int):
        super().__init__()
        self.n_from, self.n_to = n_from, n_to

    def forward(self, x: Tensor) -> Tensor:
        """Fields ``(..., n_to, n_to)`` of the same waves."""
        return self._moved(x, self.n_to) * (self.n_to / self.n_from)

    def _moved(self, x: Tensor, n: int) -> Tensor:
        half = (min(self.n_from, self.n_to) - 1) // 2
        waves = torch.fft.rfft2(x, norm="ortho")
        moved = waves.new_zeros(*x.shape[:-2], n, n // 2 + 1)
        moved[..., : half + 1, : half + 1] = waves[..., : half + 1, : half + 1]
        moved[..., -half:, : half + 1] = waves[..., -half:, : half + 1]
        return torch.fft.irfft2(moved, s=(n, n), norm="ortho")

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: the way back, for the waves are an orthogonal basis."""
        return self(x), lambda r: self._moved(r, self.n_from) * (self.n_to / self.n_from)

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Move the tangent."""
        del x
        return self(tangent)


@final
class Forecast(AbstractMap):
    """All days of a window from its first and the errors of the model: ``x_t = M(x_(t-1)) + eta_t``.

    The forcing formulation of weak-constraint 4D-Var (Tremolet, 2006, Q. J. R. Meteorol. Soc. 132, 2483-2504).

    Parameters
    ----------
    day : AbstractMap
        Model step M of a day.
    """

    def __init__(self, day: AbstractMap):
        super().__init__()
        self.day = day

    def forward(self, x: Tensor) -> Tensor:
        """Days ``(B, 1, T, *S)`` from ``(B, 1, T, *S)``: the first day, then the error of every later one."""
        state, *errors = x.split(1, dim=2)
        days = [state]
        for error in errors:
            days.append(self.day(days[-1]) + error)
        return torch.cat(days, dim=2)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: the adjoint model, from the last day to the first."""
        state, *errors = x.split(1, dim=2)
        days, pullbacks = [state], []
        for error in errors:
            tomorrow, pullback = self.day.linearize(days[-1])
            days.append(tomorrow + error)
            pullbacks.append(pullback)

        def adjoint(cotangent: Tensor) -> Tensor:
            *earlier, last = cotangent.split(1, dim=2)
            totals = [last]
            for pullback, on_day in zip(reversed(pullbacks), reversed(earlier), strict=True):
                totals.append(pullback(totals[-1]) + on_day)
            return torch.cat(totals[::-1], dim=2)

        return torch.cat(days, dim=2), adjoint

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Tangent-linear forecast."""
        states, errors = self(x).split(1, dim=2), tangent.split(1, dim=2)
        tangents = [errors[0]]
        for state, error in zip(states, errors[1:], strict=False):
            tangents.append(self.day.jvp(state, tangents[-1]) + error)
        return torch.cat(tangents, dim=2)


@final
class Shifted(AbstractMap):
    """A map of the departure from a given state: ``Shifted(f, b)(x) = f(x + b)``, ``b`` for each window."""

    def __init__(self, inner: AbstractMap, state: Tensor):
        super().__init__()
        self.inner = inner
        self.state = state

    def forward(self, x: Tensor) -> Tensor:
        """Value."""
        return self.inner(x + self.state)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back of the inner map at ``x + b``."""
        return self.inner.linearize(x + self.state)

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Tangent of the inner map at ``x + b``."""
        return self.inner.jvp(x + self.state, tangent)


def whitened_cost(trajectory: AbstractMap, obs_variance: float) -> VariationalCost:
    """Cost of a whitened control: |control|^2 + |trajectory(control) - y|^2 / R, over the points of the control."""
    return VariationalCost(
        ObservationTerm(trajectory, variances=[obs_variance]), ObservationTerm(name=CONTROL)
    )


def spread_of(errors: Tensor) -> Tensor:
    """Factors of a `Filtered` that gives white noise the mean power of errors ``(N, n, n)`` at each wavelength."""
    n = errors.shape[-1]
    power = torch.fft.rfft2(errors, norm="ortho").abs().square().mean(0)
    cycles = torch.fft.fftfreq(n, 1 / n)[:, None].hypot(torch.fft.rfftfreq(n, 1 / n)[None])
    ring = cycles.round().long()
    totals = torch.zeros(int(ring.max()) + 1).index_add(0, ring.flatten(), power.flatten())
    return (totals / ring.flatten().bincount().clamp(min=1))[ring].sqrt()
