"""What a model says of the error of its analyses, and which models do."""

from dataclasses import replace

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.state.spaces import STATE
from oceanvar.variational.assimilators import Assimilator
from oceanvar.variational.draws import Draws
from oceanvar.variational.observations import Observations
from oceanvar.variational.posterior import assessed, deviations, health, posterior_variance
from oceanvar.variational.terms.scalars import no_residuals


def check_diagnosable(assimilator: Assimilator, draws: bool = False) -> None:
    """Demand a cost, or a start, that says how far an analysis can be trusted.

    Parameters
    ----------
    assimilator : Assimilator
        Cost, solver and start.
    draws : bool
        Whether samples are to be drawn too.

    Raises
    ------
    ConfigError
        If the weights of the cost are no error variances, what is known of the state is in no term of it, or a term is
        no penalty of residuals; and no errors were learned. If those are to be drawn and nothing says how they are
        correlated.
    """
    start = assimilator.start
    if start.knows_errors:
        if draws and not (start.draws_errors or assimilator.cost.is_calibrated):
            raise ConfigError(
                f"samples need to know how errors are correlated, and {type(start).__name__} knows how large they are: "
                "leave n_samples out, or use a start that infers a covariance (RefinedInterpolation, as in 'seas') "
                "or a cost whose weights are error variances (weak_constraint_cost)"
            )
        return
    cost, solver = assimilator.cost, assimilator.solver
    for term in cost.terms:
        if not term.is_residual:
            raise ConfigError(no_residuals(term))
    if solver.adds_prior:
        raise ConfigError(
            f"diagnostics tell errors by the cost, and what {type(solver).__name__} knows of the state besides "
            "is in no term of it: leave them out, or put it into terms (BackgroundTerm, MapTerm)"
        )
    if not cost.is_calibrated:
        raise ConfigError(
            f"{'samples' if draws else 'diagnostics'} need a cost whose weights are error variances "
            "(weak_constraint_cost), or a start that has learned its errors (RefinedInterpolation, as in 'seas'); the "
            "weights of this model's cost are learned"
        )


@torch.no_grad()
def told(
    assimilator: Assimilator, state: Tensor, obs: Observations, draws: Draws | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Variance of the error of an analysis, misfit for each observation ``(B,)``, and errors ``(n, B, V, T, *S)``."""
    cost, start = assimilator.cost, assimilator.start
    nothing = state.new_empty((0, *state.shape))
    if not cost.is_calibrated:
        errors = nothing if draws is None else start.deviations(obs, draws)
        return *assessed(start.assessed(obs), state, obs.values[STATE]), errors
    obs = replace(obs, background=assimilator.first_guess(obs))
    errors = nothing if draws is None else deviations(cost, state, obs, draws)
    return posterior_variance(cost, state, obs), health(cost, state, obs), errors
