"""The prior of a model on its own."""

from collections.abc import Callable

import numpy as np
import torch

from oceanvar.errors import ConfigError
from oceanvar.variational.assimilators import Assimilator
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.priors.eof import EOFPrior
from oceanvar.variational.solvers.descent import FixedPoint
from oceanvar.variational.terms.dynamics import PriorTerm
from oceanvar.variational.terms.observations import ObservationTerm


def as_projection(assimilator: Assimilator) -> Assimilator:
    """Assimilator whose analysis of no observations is Phi(background): one fixed-point step."""
    cost = VariationalCost(ObservationTerm(), PriorTerm(assimilator.cost.prior))
    return Assimilator(cost, FixedPoint(), 1)


def set_functions(assimilator: Assimilator, mean: np.ndarray, leading: Callable[[int], np.ndarray]) -> None:
    """Set the empirical orthogonal functions of the prior.

    Parameters
    ----------
    assimilator : Assimilator
        With an `EOFPrior`.
    mean : ndarray
        Of all points of a window.
    leading : callable
        Gives so many orthonormal functions, as columns.
    """
    prior = assimilator.cost.prior
    if not isinstance(prior, EOFPrior) or prior.mean.numel() != mean.size:
        raise ConfigError(
            f"the prior must be an EOFPrior of windows of {mean.size} values, and is a {type(prior).__name__}"
        )
    functions = leading(prior.functions.shape[1])
    with torch.no_grad():
        prior.mean.copy_(torch.from_numpy(mean))
        prior.functions.copy_(torch.from_numpy(functions))
