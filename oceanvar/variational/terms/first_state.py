"""Distance of the first time of a window to what is known of it before any observation."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.maps.base import Pullback, Pushforward
from oceanvar.registry import registered
from oceanvar.variational.blocks import TermBlocks
from oceanvar.variational.observations import Observations
from oceanvar.variational.penalties import AbstractPenalty
from oceanvar.variational.shapes import by_time
from oceanvar.variational.terms.backgrounds import given_background
from oceanvar.variational.terms.base import AbstractTerm


@registered
@final
class FirstStateTerm(AbstractTerm):
    """Distance of the first time of a window to the climatology: r = B^{-1/2} (x_0 - m).

    The background term of strong- and weak-constraint 4D-Var for a window on its own. Mean 0 and
    covariance 1 in normalised units until `fit_` has seen fields.

    Parameters
    ----------
    shape : sequence of int
        Shape ``(V, *S)`` of the state at one time.
    weight : float
        Weight of the term.
    penalty : AbstractPenalty, optional
        rho. Default: squared.
    of_background : bool
        Whether mean and covariance are those of the error of the background, x_0 - x^b_0, instead of the
        climate's. With a learned start, which knows more about the first state than a climate, the
        background is its analysis.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        weight: float = 1.0,
        penalty: AbstractPenalty | None = None,
        of_background: bool = False,
    ):
        super().__init__(weight, penalty)
        self.of_background = of_background
        n_points = int(torch.Size(shape).numel())
        self.register_buffer("mean", torch.zeros(n_points))
        self.register_buffer("whitening", torch.eye(n_points))

    @torch.no_grad()
    def fit_(self, windows: Tensor, diagonal: bool = False) -> "FirstStateTerm":
        """Set mean and covariance from all times of windows ``(N, V, T, *S)``; returns itself.

        Parameters
        ----------
        windows : Tensor
            States in normalised units, or errors of first states.
        diagonal : bool
            Keep variances only; for few states, or for states of many points.

        Raises
        ------
        ConfigError
            If the states are too few for their covariance to be positive definite.
        """
        states = by_time(windows).flatten(0, 1).double()
        if len(states) <= (1 if diagonal else len(self.mean)):
            raise ConfigError(
                f"{len(states)} states are too few for a covariance of {len(self.mean)} points: give more, or "
                "diagonal=True"
            )
        covariance = states.T.cov().view(len(self.mean), -1)
        if diagonal:
            covariance = covariance.diagonal().diag()
        factor, failed = torch.linalg.cholesky_ex(covariance)
        if failed:
            raise ConfigError(
                "the covariance of the states is singular (a point that never changes, or too few "
                "independent states): give more states, or diagonal=True"
            )
        self.mean.copy_(states.mean(0))
        eye = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
        self.whitening.copy_(torch.linalg.solve_triangular(factor, eye, upper=False))
        return self

    def residual(self, state: Tensor, obs: Observations) -> Tensor:
        """B^{-1/2} (x_0 - m), ``(B, n)``."""
        first = state[:, :, 0]
        if self.of_background:
            first = first - given_background(obs)[:, :, 0]
        return self._whiten(first.flatten(1) - self.mean.to(state.dtype))

    def linearize(self, state: Tensor, obs: Observations) -> tuple[Tensor, Pullback]:
        """Residual, and B^{-T/2} placed at the first time."""

        def pullback(cotangent: Tensor) -> Tensor:
            first = (cotangent @ self.whitening.to(cotangent.dtype)).view_as(state[:, :, 0]).unsqueeze(2)
            return torch.cat((first, torch.zeros_like(state[:, :, 1:])), dim=2)

        return self.residual(state, obs), pullback

    def pushforward(self, state: Tensor, obs: Observations) -> Pushforward:
        """B^{-1/2} v_0."""
        del state, obs
        return lambda v: self._whiten(v[:, :, 0].flatten(1))

    def blocks(self, state: Tensor, curvatures: Tensor) -> TermBlocks:
        """B^{-T/2} c B^{-1/2} at the first time, with c the weights."""
        del state
        weights, whitening = curvatures.double(), self.whitening.double()
        return TermBlocks(first=(whitening.T * weights.unsqueeze(1)) @ whitening)

    def _whiten(self, anomaly: Tensor) -> Tensor:
        return anomaly @ self.whitening.to(anomaly.dtype).T
