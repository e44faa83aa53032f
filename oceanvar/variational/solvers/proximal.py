"""Solvers for what has no gradient everywhere: bounds, sparsity, total variation, denoisers."""

from typing import final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.maps.checks import require
from oceanvar.registry import registered
from oceanvar.variational.acceleration import ahead_of, shrunk
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.observations import Observations
from oceanvar.variational.proximal.base import AbstractProximal, Dual
from oceanvar.variational.solvers.base import AbstractSolver
from oceanvar.variational.solvers.descent import steepest_step

Memory = tuple[Tensor, Tensor, Tensor, Dual]
"""Point from which the next step goes, its momentum, step size of each window, and what the proximal map remembers."""


@registered
@final
class ProximalGradient(AbstractSolver):
    """Proximal gradients: x <- prox_(s g)(x - s grad U(x)), which minimises U + g.

    Forward-backward splitting; with momentum FISTA (Beck and Teboulle, 2009, SIAM J. Imaging Sci. 2, 183-202),
    which falls as 1 / k^2 for convex costs. A network as proximal map makes an unrolled one of it, to be trained
    by `fit` like any solver: learned ISTA (Gregor and LeCun, 2010); a denoiser that was trained before, plug-and-play.

    Parameters
    ----------
    proximal : AbstractProximal
        prox_g.
    step_size : float, optional
        s. Default: 1 over the largest curvature of U at the first guess, for each window.
    accelerated : bool
        With momentum.
    """

    adds_prior = True

    def __init__(self, proximal: AbstractProximal, step_size: float | None = None, accelerated: bool = True):
        super().__init__()
        require(proximal, "the proximal map of ProximalGradient", AbstractProximal)
        if step_size is not None and step_size <= 0:
            raise ConfigError(f"step_size must be positive, got {step_size}")
        self.proximal = proximal
        self.step_size = step_size
        self.accelerated = accelerated

    @property
    def iteration(self) -> "ProximalGradient | None":
        """Itself without momentum and without a memory of the proximal map."""
        return None if self.accelerated or self.proximal.has_memory else self

    def init(self, cost: VariationalCost, obs: Observations, state: Tensor) -> Memory:
        """First point without momentum, and the step size."""
        step = steepest_step(cost, obs, state, self.step_size)
        return state, torch.ones_like(step), step, self.proximal.init(obs, state)

    def step(
        self, cost: VariationalCost, obs: Observations, state: Tensor, carry: Memory
    ) -> tuple[Tensor, Memory]:
        """One proximal step, from the point ahead with momentum and from the state without."""
        ahead, momentum, step, dual = carry
        ahead, n = ahead if self.accelerated else state, state[0].numel()
        following, dual = self.proximal.prox(ahead - step * cost.gradient(ahead, obs), step / n, obs, dual)
        if not self.accelerated:
            return following, (following, momentum, step, dual)
        return following, (*ahead_of(following, state, momentum), step, dual)


@registered
@final
class LinearisedBregman(AbstractSolver):
    """Linearised Bregman iterations: v <- v - s grad U(x), x <- shrink(v, threshold) (Cai, Osher and Shen, 2009).

    Converges to the minimiser of U with the least ``threshold |x|_1 + |x|^2 / 2``; stopped early, to a sparse state
    whose large values have not been shrunk. With a threshold of 0 it is gradient descent, Landweber's iteration.

    Parameters
    ----------
    threshold : float
        Size of v, in normalised units, up to which x is 0.
    step_size : float, optional
        s. Default: 1 over the largest curvature of U at the first guess, for each window.
    """

    pauses = True
    adds_prior = True

    def __init__(self, threshold: float, step_size: float | None = None):
        super().__init__()
        if threshold < 0:
            raise ConfigError(f"threshold must not be negative, got {threshold}")
        self.threshold = threshold
        self.step_size = step_size

    def init(self, cost: VariationalCost, obs: Observations, state: Tensor) -> tuple[Tensor, Tensor]:
        """The v that makes the first guess, and the step size."""
        return state + self.threshold * state.sign(), steepest_step(cost, obs, state, self.step_size)

    def step(
        self, cost: VariationalCost, obs: Observations, state: Tensor, carry: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One step of v, and the state that it makes."""
        v, step = carry
        v = v - step * cost.gradient(state, obs)
        return shrunk(v, self.threshold), (v, step)
