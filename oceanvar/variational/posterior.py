"""What an analysis says about itself: its health and its uncertainty."""

from functools import partial

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.maps.compositions import total
from oceanvar.variational.blocks import assembled, inverse_diagonal, solve
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.draws import Draws
from oceanvar.variational.observations import Observations
from oceanvar.variational.shapes import by_time, from_time, per_window
from oceanvar.variational.starts.base import Assessment
from oceanvar.variational.terms.base import AbstractCostTerm, AbstractTerm, TermLinearization
from oceanvar.variational.terms.scalars import no_residuals


@torch.no_grad()
def health(cost: VariationalCost, state: Tensor, obs: Observations) -> Tensor:
    """Twice the cost per observation, 2 J / n_obs, ``(B,)``: known without the truth.

    At the minimum of a cost whose weights are inverse error variances, 2 J has as many degrees of freedom as
    there are observations, so the value is about 1 with a standard deviation of sqrt(2 / n_obs)
    (Talagrand, 1999, "A posteriori evaluation and verification of analysis and assimilation algorithms",
    ECMWF workshop on diagnosis of data assimilation systems). A window in a wrong minimum has more.

    Parameters
    ----------
    cost : VariationalCost
        Cost with calibrated weights: `oceanvar.variational.weak_constraint.weak_constraint_cost`. The weights
        of a learned cost are no inverse variances and say nothing here.
    state : Tensor
        Analysis ``(B, V, T, *S)``.
    obs : Observations
        What it was made from. A window without observations gives 2 J itself, close to 0.

    Returns
    -------
    Tensor
        One number for each window, ``(B,)``.
    """
    return _per_observation(cost(state, obs), cost, state, obs)


def _per_observation(value: Tensor, cost: VariationalCost, state: Tensor, obs: Observations) -> Tensor:
    return value * state[0].numel() / n_observations(cost, obs)


@torch.no_grad()
def misfit_per_observation(cost: VariationalCost, state: Tensor, obs: Observations) -> Tensor:
    """The part of `health` that the observations have, ``(B,)``."""
    return _per_observation(total(term.cost(state, obs) for term in cost.observed), cost, state, obs)


@torch.no_grad()
def is_trapped(cost: VariationalCost, state: Tensor, obs: Observations, n_sigma: float = 3.0) -> Tensor:
    """Whether the `health` of each window lies too far above 1 to be chance, ``(B,)``.

    Parameters
    ----------
    cost : VariationalCost
        See `health`.
    state : Tensor
        Analysis ``(B, V, T, *S)``.
    obs : Observations
        What it was made from.
    n_sigma : float
        Standard deviations sqrt(2 / n_obs) above 1 at which a window counts as caught in a wrong
        minimum: 1.13 for 1000 observations, 1.52 for 66.

    Returns
    -------
    Tensor
        One boolean for each window, ``(B,)``.
    """
    # Written so that a cost that is not a number counts as caught.
    return ~(health(cost, state, obs) <= 1 + n_sigma * (2 / n_observations(cost, obs)).sqrt())


def n_observations(cost: VariationalCost, obs: Observations) -> Tensor:
    """Observations of each window that the cost looks at, at least 1; ``(B,)``."""
    names = {term.name for term in cost.observed}
    return torch.stack([per_window(obs.weights[name] > 0) for name in names]).sum(0).clamp(min=1)


@torch.no_grad()
def posterior_variance(cost: VariationalCost, state: Tensor, obs: Observations) -> Tensor:
    """Variance of the error of each point of an analysis, ``(B, V, T, *S)``, normalised units squared.

    Laplace's approximation: the diagonal of the inverse of the Gauss-Newton matrix of J = N U / 2 at the
    minimum, exact for linear models, by block elimination. Each weight is multiplied by the `trust` in its term.

    Parameters
    ----------
    cost : VariationalCost
        Cost with calibrated weights, of the kind that
        `oceanvar.variational.solvers.block_tridiagonal.BlockTridiagonalGaussNewton` takes.
    state : Tensor
        Minimum of the cost for each window.
    obs : Observations
        What it was made from.

    Returns
    -------
    Tensor
        Variances ``(B, V, T, *S)``.

    Raises
    ------
    ConfigError
        If the Gauss-Newton matrix of the cost is not block tridiagonal.
    """
    variance = inverse_diagonal(cost.trusted.at(state, obs).blocks()) * (2 / state[0].numel())
    return from_time(variance, state).to(state.dtype)


@torch.no_grad()
def deviations(cost: VariationalCost, state: Tensor, obs: Observations, draws: Draws) -> Tensor:
    """Draw errors of an analysis from the law of which `posterior_variance` is the variance, ``(n, B, V, T, *S)``.

    Observations, model and background are disturbed by their errors, and the analysis answers (Bardsley, Solonen,
    Haario and Laine, 2014, SIAM J. Sci. Comput. 36, A1895-A1910, linearised at the minimum): windows that overlap see
    the same disturbances.

    Parameters
    ----------
    cost, state, obs
        As for `posterior_variance`.
    draws : Draws
        Which samples: noise that belongs to places.

    Raises
    ------
    ConfigError
        If the Gauss-Newton matrix of the cost is not block tridiagonal, or a term is no penalty of residuals.
    """
    points = [_linearized(term, state, obs) for term in cost.trusted.terms]
    forcing = [
        total(point.disturbed(partial(draws.white, (member, number))) for number, point in enumerate(points))
        for member in range(draws.n)
    ]
    columns = torch.stack([by_time(each) for each in forcing], dim=-1).double()
    answers = solve(assembled([point.blocks() for point in points], state), columns)
    found = torch.stack([from_time(each, state) for each in answers.unbind(-1)])
    return (found * (2 / state[0].numel()) ** 0.5).to(state.dtype)


def _linearized(term: AbstractCostTerm, state: Tensor, obs: Observations) -> TermLinearization:
    if not isinstance(term, AbstractTerm):
        raise ConfigError(no_residuals(term))
    return term.at(state, obs)


def assessed(assessment: Assessment, state: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Variance of the error as a start has learned it, and the weighted mean square misfit to observations ``(B,)``.

    The misfit is below 1 where observations were fitted: it has the degrees of freedom that they left.
    """
    n_observed = per_window(assessment.weights > 0).clamp(min=1)
    misfit = per_window(assessment.weights * (values - state).square()) / n_observed
    return assessment.variance, misfit
