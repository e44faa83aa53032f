"""The variational cost: a sum of terms."""

from collections.abc import Mapping
from typing import cast, final

from torch import Tensor, nn

from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractMap
from oceanvar.maps.checks import require
from oceanvar.maps.compositions import total
from oceanvar.registry import registered
from oceanvar.variational.linearizations import Linearization
from oceanvar.variational.observations import Observations
from oceanvar.variational.terms.base import AbstractCostTerm, AbstractTerm
from oceanvar.variational.terms.dynamics import PriorTerm
from oceanvar.variational.terms.observations import ObservationTerm
from oceanvar.variational.terms.scalars import AbstractScalarTerm, EnergyTerm


@registered
@final
class VariationalCost(nn.Module):
    """U(x) = sum_i lambda_i sum_p w_ip rho_i(r_i(x)_p) / N, and terms that are no sum over residuals.

    Generalises equation 2 of Fablet, Drumetz and Rousseau (2020), which is
    ``VariationalCost(ObservationTerm(), PriorTerm(prior))``.

    Parameters
    ----------
    *terms : AbstractCostTerm
        Terms to add up: `AbstractTerm` or `AbstractScalarTerm`.
    """

    def __init__(self, *terms: AbstractCostTerm):
        super().__init__()
        if not terms:
            raise ConfigError("a variational cost needs at least one term")
        for term in terms:
            require(term, "a term of VariationalCost", AbstractTerm, AbstractScalarTerm)
        self.terms = cast("list[AbstractCostTerm]", nn.ModuleList(terms))

    def forward(self, state: Tensor, obs: Observations) -> Tensor:
        """Cost of each window, ``(B,)``."""
        return total(term.cost(state, obs) for term in self.terms)

    def at(self, state: Tensor, obs: Observations) -> Linearization:
        """Cost, gradient and Gauss-Newton matrix at a state; products there never linearise again."""
        return Linearization(state, [term.at(state, obs) for term in self.terms])

    def cost_and_gradient(self, state: Tensor, obs: Observations) -> tuple[Tensor, Tensor]:
        """Cost ``(B,)`` and its gradient, shaped like the state."""
        point = self.at(state, obs)
        return point.value, point.gradient

    def gradient(self, state: Tensor, obs: Observations) -> Tensor:
        """Gradient of the cost of each window, shaped like the state."""
        # One term after the other: what the first one keeps is gone before the next one is linearised.
        return total(term.at(state, obs).gradient for term in self.terms)

    def reweighted(self, factors: Mapping[int, float]) -> "VariationalCost":
        """View of this cost with the weights of some terms multiplied; shares all parameters.

        Parameters
        ----------
        factors : mapping of int to float
            Positive factor by the position of the term.

        Raises
        ------
        ConfigError
            If there is no term at a position, or a factor is not positive.
        """
        for index, factor in factors.items():
            if not 0 <= index < len(self.terms) or factor <= 0:
                raise ConfigError(
                    f"cannot multiply the weight of term {index} by {factor}: the cost has terms 0 to "
                    f"{len(self.terms) - 1}, and factors are positive"
                )
        terms = [term.reweighted(factors.get(index, 1.0)) for index, term in enumerate(self.terms)]
        return VariationalCost(*terms)

    @property
    def trusted(self) -> "VariationalCost":
        """View of this cost whose curvature tells the error of an analysis: each weight times the trust in its term."""
        return self.reweighted({index: term.trust for index, term in enumerate(self.terms)})

    @property
    def is_calibrated(self) -> bool:
        """Whether the weights of all observations are inverse error variances, so that costs can be judged."""
        return bool(self.observed) and all(term.precision is not None for term in self.observed)

    @property
    def observed(self) -> list[ObservationTerm]:
        """Terms that look at observations."""
        return [term for term in self.terms if isinstance(term, ObservationTerm)]

    @property
    def priors(self) -> list[PriorTerm]:
        """Terms that compare the state with its own projection."""
        return [term for term in self.terms if isinstance(term, PriorTerm)]

    @property
    def energies(self) -> list[EnergyTerm]:
        """Terms with an energy that may be learned."""
        return [term for term in self.terms if isinstance(term, EnergyTerm)]

    @property
    def prior(self) -> AbstractMap:
        """The one prior Phi of the cost.

        Raises
        ------
        ConfigError
            If the cost has no prior term, or several.
        """
        if len(self.priors) != 1:
            raise ConfigError(f"expected exactly one prior term in the cost, found {len(self.priors)}")
        return self.priors[0].prior
