"""What training minimises."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from oceanvar.maps.base import AbstractMap
from oceanvar.variational.assimilators import Assimilator
from oceanvar.variational.observations import Observations
from oceanvar.variational.terms.dynamics import PriorTerm

OF_STATE = "state"
"""Name of the observations of the state itself, on the grid."""


class Sample(NamedTuple):
    """A batch of training windows.

    `truth` is ``(B, V, T, *S)``, normalised, 0 where `known` is 0 (land, gaps of the truth). Elsewhere `known` is 1, or
    the weight of what is known with errors: 1 / (error variance).
    """

    truth: Tensor
    known: Tensor
    obs: Observations


@dataclass(frozen=True)
class LossWeights:
    """Weights nu of the training loss, equation 5 of Fablet, Drumetz and Rousseau (2020).

    Parameters
    ----------
    reconstruction : float
        nu_1, of the analysis error ``|x^a - x^t|^2``.
    truth_projection : float
        nu_2, of ``|x^t - Phi(x^t)|^2``.
    analysis_projection : float
        nu_3, of ``|x^a - Phi(x^a)|^2``.
    start : float
        Of the error of the first guess, for a learned start; not in the paper.
    budget : float
        Of what a learned sampling exceeds its budget by, for `PenalisedBudget`.
    cost : float
        Of the variational cost of the analysis: with all other weights 0 a solver learns, without truth, to
        minimise. Freeze the cost then: by this alone its own weights would learn to be 0.
    forecasts : sequence of float
        Of the errors of forecasts over 1, 2, ... steps, each from what the one before has made, for priors that are
        one (`FlowPrior`); not in the paper. They start from the truth, with the noise of the observations where there
        are any: a model that has never seen noise lets it grow. With all other weights 0 nothing is assimilated
        in training, and the error of the forecasts is the loss of validation too.
    """

    reconstruction: float = 1.0
    truth_projection: float = 0.05
    analysis_projection: float = 0.05
    start: float = 0.0
    budget: float = 0.0
    cost: float = 0.0
    forecasts: tuple[float, ...] = ()

    @property
    def are_of_analyses(self) -> bool:
        """Whether anything has to be assimilated."""
        return any((self.reconstruction, self.analysis_projection, self.start, self.budget, self.cost))


def training_loss(
    assimilator: Assimilator, sample: Sample, weights: LossWeights, n_steps: int
) -> tuple[Tensor, Tensor]:
    """Loss to differentiate and the mean square error in it, both scalars.

    Parameters
    ----------
    assimilator : Assimilator
        Model in training.
    sample : Sample
        Batch of windows.
    weights : LossWeights
        nu.
    n_steps : int
        Iterations of the solver.
    """
    of_truth = _loss_of_truth(assimilator, sample, weights)
    if not weights.are_of_analyses:
        return of_truth, of_truth.detach()
    obs, excess = _sampled(assimilator, sample.obs)
    guess = assimilator.first_guess(obs)
    analysis = assimilator.improve(guess, obs, n_steps)
    error = mean_square(analysis - sample.truth, sample.known)
    loss = weights.reconstruction * error + weights.budget * excess + of_truth
    if weights.start:
        loss = loss + weights.start * mean_square(guess - sample.truth, sample.known)
    if weights.cost:
        loss = loss + weights.cost * assimilator.cost(analysis, replace(obs, background=guess)).mean()
    if weights.analysis_projection:
        for term in assimilator.cost.priors:
            loss = loss + weights.analysis_projection * _projection(term, analysis, sample)
    return loss, error.detach()


def validation_sums(assimilator: Assimilator, sample: Sample, weights: LossWeights, n_steps: int) -> Tensor:
    """Sums from which errors over many batches follow.

    Returns
    -------
    Tensor
        ``(2, 1 + V)``: squares and their weights, of the error that is the loss of validation, then of that of each
        variable, where every known point has the weight 1. ``(2, 1)`` where nothing is assimilated in training.
    """
    if not weights.are_of_analyses:
        error = training_loss(assimilator, sample, weights, n_steps)[1].double()
        return torch.stack((error, torch.ones_like(error)))[:, None]
    obs, _ = _sampled(assimilator, sample.obs)
    squares = (assimilator(obs, n_steps) - sample.truth).square().double()
    known = sample.known.double()
    others = [axis for axis in range(squares.ndim) if axis != 1]
    each = torch.stack(((squares * (known > 0)).sum(others), (known > 0).sum(others)))
    return torch.cat((torch.stack(((squares * known).sum(), known.sum()))[:, None], each), dim=1)


def _loss_of_truth(assimilator: Assimilator, sample: Sample, weights: LossWeights) -> Tensor:
    """Part of the loss that asks of the priors what they make of true states."""
    loss = sample.truth.new_zeros(())
    for term in assimilator.cost.priors:
        if weights.truth_projection:
            loss = loss + weights.truth_projection * _projection(term, sample.truth, sample)
        if weights.forecasts and term.prior.one_step is not None:
            loss = loss + _forecast_errors(term.prior.one_step, sample, weights.forecasts)
    return loss


def _forecast_errors(step: AbstractMap, sample: Sample, weights: Sequence[float]) -> Tensor:
    """Weighted mean square errors of forecasts from every time of the truth, as noisy as it was observed."""
    loss, states = sample.truth.new_zeros(()), sample.truth
    if OF_STATE in sample.obs.values:
        observed = sample.obs.weights[OF_STATE] > 0
        states = torch.where(observed, sample.obs.values[OF_STATE].to(states.dtype), states)
    for lead, weight in enumerate(weights, start=1):
        states = step(states[:, :, :-1])
        known = sample.known[:, :, lead:] * sample.known[:, :, :-lead]
        loss = loss + weight * mean_square(states - sample.truth[:, :, lead:], known)
    return loss


def _sampled(assimilator: Assimilator, obs: Observations) -> tuple[Observations, Tensor | float]:
    """Observations that a learned sampling lets through, and by how much it exceeds its budget."""
    design = assimilator.sampling
    if design is None:
        return obs, 0.0
    mask = design.mask(obs)
    return design.sampled(obs, mask), design.excess(mask)


def _projection(term: PriorTerm, state: Tensor, sample: Sample) -> Tensor:
    return mean_square(state - term.prior(state), sample.known)


def mean_square(x: Tensor, known: Tensor) -> Tensor:
    """Weighted mean of squares over the known points of a batch; 0 where there are none."""
    return (x.square() * known).sum() / known.sum().clamp(min=torch.finfo(known.dtype).tiny)
