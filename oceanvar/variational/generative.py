"""Distance to what a generator can make."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractMap
from oceanvar.maps.checks import require, shaped_like
from oceanvar.registry import registered
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.observations import Observations
from oceanvar.variational.shapes import per_window
from oceanvar.variational.solvers.base import advanced
from oceanvar.variational.solvers.lbfgs import LBFGS
from oceanvar.variational.terms.scalars import AbstractScalarTerm


@registered
@final
class GenerativeTerm(AbstractScalarTerm):
    """Soft constraint to the range of a generator (Duff, Campbell and Ehrhardt, 2023, J. Math. Imaging Vis. 66, 37-56).

    ``E(x) = min_z sum_p [s_p(z) + |x - G(z)|_p^2 exp(-s_p(z))] + strength |z|^2``, with s the logarithm of the
    variance of what G leaves out: 0, or learned like G, which tells where the generator is to be trusted. The state
    stays on its grid and may leave the range; for analyses that do not, see `oceanvar.variational.Latent`. The
    minimum over z is found anew at each state, and the gradient is that at the fixed z (envelope theorem).

    Parameters
    ----------
    generator : AbstractMap
        G, from ``(B, *latent)`` to ``(B, V, T, *S)``.
    latent : sequence of int
        Shape of z.
    strength : float
        Of the penalty of z, which is normal with variance 1 before anything is known.
    weight : float
        Weight of the term.
    n_inner : int
        Iterations of L-BFGS for z, from 0.
    log_variance : AbstractMap, optional
        s, from ``(B, *latent)`` to ``(B, V, T, *S)``. Default: 0.
    """

    exact_curvature = False

    def __init__(
        self,
        generator: AbstractMap,
        latent: Sequence[int],
        strength: float = 1.0,
        weight: float = 1.0,
        n_inner: int = 30,
        log_variance: AbstractMap | None = None,
    ):
        super().__init__(weight)
        require(generator, "the generator of GenerativeTerm", AbstractMap)
        if strength < 0 or n_inner < 1:
            raise ConfigError(
                f"strength must not be negative and n_inner at least 1, got {strength} and {n_inner}"
            )
        self.generator = generator
        self.latent = list(latent)
        self.strength = strength
        self.n_inner = n_inner
        self.log_variance = log_variance

    def energy(self, state: Tensor, obs: Observations) -> Tensor:
        """E(x)."""
        del obs
        return self.joint_energy(self.latent_of(state), state)

    @torch.no_grad()
    def latent_of(self, state: Tensor) -> Tensor:
        """The z that explains a state best, ``(B, *latent)``."""
        seen = Observations({"state": state.detach()}, {})
        cost, solver = VariationalCost(_OfLatent(self)), LBFGS()
        z = state.new_zeros(len(state), *self.latent)
        return advanced(solver, cost, seen, z, solver.init(cost, seen, z), self.n_inner)[0]

    def joint_energy(self, z: Tensor, state: Tensor) -> Tensor:
        """What is minimised over z, ``(B,)``."""
        departure = state - shaped_like(self.generator(z), state, "what the generator makes", "the state")
        squares = departure.square()
        if self.log_variance is not None:
            logarithm = self.log_variance(z)
            squares = logarithm + squares * torch.exp(-logarithm)
        return per_window(squares) + self.strength * per_window(z.square())


@final
class _OfLatent(AbstractScalarTerm):
    """A generative term as one of its latent variable, the state being given."""

    def __init__(self, term: GenerativeTerm):
        super().__init__()
        # Not a part of this module: its parameters are those of the term.
        self._term = (term,)

    def energy(self, state: Tensor, obs: Observations) -> Tensor:
        """E(x, z)."""
        (term,) = self._term
        return term.joint_energy(state, obs.values["state"])
