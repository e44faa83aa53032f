"""Multimodal terms: another physical variable helps through features that both share."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from oceanvar.maps.base import AbstractMap, Pullback, Pushforward
from oceanvar.registry import registered
from oceanvar.variational.observations import Observations, Reads
from oceanvar.variational.penalties import AbstractPenalty
from oceanvar.variational.terms.base import AbstractTerm


@registered
@final
class FeatureTerm(AbstractTerm):
    """Distance of features of the state to features of covariates: r = s(z) (G(x) - F(z)).

    The multimodal cost ``|G * x - F * z|^2`` of 4DVarNet with trainable observation operators; G = F = 0 would
    minimise it, so G, F and s are learned from the training loss alone, through the analysis. Nothing in a
    solve changes them. A point counts where all covariates are known.

    Parameters
    ----------
    state_features : AbstractMap
        G, from ``(B, V, T, *S)`` to ``(B, n, T, *S)``: a convolution, or a network.
    covariate_features : AbstractMap
        F, from ``(B, 2 C, T, *S)``, the C covariates (0 in gaps) and their masks, to ``(B, n, T, *S)``.
    names : sequence of str
        The covariates: keys of `Observations.covariates`.
    gate : AbstractMap, optional
        Map from ``(B, 2 C, T, *S)`` to ``(B, n, T, *S)`` or ``(B, 1, T, *S)``: s is its sigmoid, which lets the
        covariates say where they are to be trusted. Default: s = 1.
    weight : float
        Weight of the term.
    penalty : AbstractPenalty, optional
        rho. Default: squared.
    """

    def __init__(
        self,
        state_features: AbstractMap,
        covariate_features: AbstractMap,
        names: Sequence[str],
        gate: AbstractMap | None = None,
        weight: float = 1.0,
        penalty: AbstractPenalty | None = None,
    ):
        super().__init__(weight, penalty)
        self.state_features = state_features
        self.covariate_features = covariate_features
        self.names = list(names)
        self.gate = gate

    @property
    def reads(self) -> Reads:
        """Its covariates."""
        return Reads(covariates=tuple(self.names))

    def residual(self, state: Tensor, obs: Observations) -> Tensor:
        """s(z) (G(x) - F(z))."""
        target, gate = self._targets(obs)
        return gate * (self.state_features(state) - target)

    def linearize(self, state: Tensor, obs: Observations) -> tuple[Tensor, Pullback]:
        """Residual and G'^T s(z)."""
        target, gate = self._targets(obs)
        value, pullback = self.state_features.linearize(state)
        return gate * (value - target), lambda u: pullback(gate * u)

    def pushforward(self, state: Tensor, obs: Observations) -> Pushforward:
        """s(z) G' v."""
        gate, push = self._targets(obs)[1], self.state_features.pushforward(state)
        return lambda v: gate * push(v)

    def residual_weights(self, obs: Observations) -> Tensor:
        """1 where every covariate is known, else 0."""
        return torch.cat([obs.weights[name] for name in self.names], dim=1).amin(1, keepdim=True)

    def _targets(self, obs: Observations) -> tuple[Tensor, Tensor]:
        masks = torch.cat([obs.weights[name] for name in self.names], dim=1)
        values = torch.cat([obs.covariates[name] for name in self.names], dim=1) * masks
        seen = torch.cat((values, masks), dim=1)
        target = self.covariate_features(seen)
        gate = torch.ones_like(target) if self.gate is None else torch.sigmoid(self.gate(seen))
        return target, gate.expand_as(target)
