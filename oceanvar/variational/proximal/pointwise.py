"""Proximal maps of single points, in closed form."""

from typing import final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractMap
from oceanvar.maps.checks import require, shaped_like
from oceanvar.registry import registered
from oceanvar.variational.acceleration import shrunk
from oceanvar.variational.observations import Observations
from oceanvar.variational.proximal.base import AbstractProximal, Dual


@registered
@final
class Box(AbstractProximal):
    """Bounds: g is 0 between them and infinite outside. The proximal point is the nearest one inside.

    Parameters
    ----------
    low, high : float
        Bounds, in normalised units: (0 - mean) / std of sea ice, which is 0 at least. Default: none.
    """

    def __init__(self, low: float = -torch.inf, high: float = torch.inf):
        super().__init__()
        if not low < high:
            raise ConfigError(f"low must lie below high, got {low} and {high}")
        self.low, self.high = low, high

    def prox(self, state: Tensor, step: Tensor, obs: Observations, dual: None) -> tuple[Tensor, None]:
        """Cut to the bounds."""
        del step, obs
        return state.clamp(self.low, self.high), dual


@registered
@final
class Sparse(AbstractProximal):
    """Sparsity: ``g(x) = weight sum_p |x_p| / N``. The proximal point is soft thresholding, as in ISTA.

    Parameters
    ----------
    weight : float
        Weight of the penalty.
    """

    def __init__(self, weight: float):
        super().__init__()
        if weight <= 0:
            raise ConfigError(f"weight must be positive, got {weight}")
        self.weight = weight

    def prox(self, state: Tensor, step: Tensor, obs: Observations, dual: None) -> tuple[Tensor, None]:
        """x shrunk towards 0 by the weight times the step."""
        del obs
        return shrunk(state, self.weight * step), dual


@registered
@final
class InBasis(AbstractProximal):
    """A proximal map of the coefficients in an orthonormal basis: prox(x) = W^T prox_g(W x).

    Parameters
    ----------
    basis : AbstractMap
        W, linear and orthonormal, W^T W = 1.
    proximal : AbstractProximal
        Proximal map of the coefficients.
    """

    def __init__(self, basis: AbstractMap, proximal: AbstractProximal):
        super().__init__()
        require(basis, "the basis of InBasis", AbstractMap)
        require(proximal, "the proximal map of InBasis", AbstractProximal)
        self.basis = basis
        self.proximal = proximal
        self.has_memory = proximal.has_memory

    def init(self, obs: Observations, state: Tensor) -> Dual:
        """Of the coefficients."""
        return self.proximal.init(obs, self.basis(state))

    def prox(self, state: Tensor, step: Tensor, obs: Observations, dual: Dual) -> tuple[Tensor, Dual]:
        """Through the coefficients."""
        coefficients, back = self.basis.linearize(state)
        found, dual = self.proximal.prox(coefficients, step, obs, dual)
        return back(found), dual


@registered
@final
class Denoiser(AbstractProximal):
    """A denoiser in the place of a proximal map: plug-and-play (Venkatakrishnan, Bouman and Wohlberg, 2013).

    Any map that `oceanvar` trains, whatever the sensors: the observation operator stays in the cost. Where it is the
    proximal map of something, that is what is minimised; what comes out of others is a fixed point, not a minimum.

    Parameters
    ----------
    denoiser : AbstractMap
        D, from ``(B, V, T, *S)`` to the same shape.
    relaxation : float
        Share of D(x) that is taken, the rest being x itself: a smaller one makes fixed points easier to reach.
    """

    def __init__(self, denoiser: AbstractMap, relaxation: float = 1.0):
        super().__init__()
        require(denoiser, "the denoiser of Denoiser", AbstractMap)
        if not 0 < relaxation <= 1:
            raise ConfigError(f"relaxation must lie in (0, 1], got {relaxation}")
        self.denoiser = denoiser
        self.relaxation = relaxation

    def prox(self, state: Tensor, step: Tensor, obs: Observations, dual: None) -> tuple[Tensor, None]:
        """D(x), or so much of it."""
        del step, obs
        denoised = shaped_like(self.denoiser(state), state, "what the denoiser makes", "the state")
        return torch.lerp(state, denoised, self.relaxation), dual
