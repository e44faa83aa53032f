"""Leave wrong minima: windows whose cost is too high to be chance start again from elsewhere."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import final

import torch
from torch import Tensor, nn

from oceanvar.errors import ConfigError
from oceanvar.registry import registered
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.observations import Observations
from oceanvar.variational.posterior import is_trapped, misfit_per_observation, n_observations
from oceanvar.variational.solvers.base import AbstractSolver
from oceanvar.variational.solving import solved
from oceanvar.variational.starts.base import AbstractStart
from oceanvar.variational.verdicts import Analysis, Verdict

logger = logging.getLogger(__name__)


@registered
@final
class Restarts:
    """Solve trapped windows again, each time from the first guess that noisier observations give.

    A learned start that leads to a wrong minimum seldom does so again when its input is a little different, and the
    right minimum tells itself by its cost (`oceanvar.variational.posterior.is_trapped`). The cost itself is not
    changed, and the noise is the same for every window, so that an analysis does not depend on its batch.

    For costs whose weights are inverse error variances; the weights of a learned cost say nothing about chance.

    Parameters
    ----------
    n : int
        Restarts at most.
    jitter : float
        Standard deviation of the noise on the observed values, normalised units. About that of the errors of the
        observations does well.
    n_sigma : float
        Standard deviations of the cost above its expectation at which a window counts as trapped.
    """

    def __init__(self, n: int, jitter: float, n_sigma: float = 3.0):
        if n < 1 or jitter <= 0:
            raise ConfigError(f"restarts need n of at least 1 and jitter above 0, got {n} and {jitter}")
        self.n = n
        self.jitter = jitter
        self.n_sigma = n_sigma

    @torch.no_grad()
    def run(
        self,
        cost: VariationalCost,
        start: AbstractStart,
        solve: Callable[[Tensor, Observations], Analysis],
        obs: Observations,
        analysis: Analysis,
    ) -> Analysis:
        """Analysis with the lowest cost of all that were tried; where that is too high, the verdict says so.

        Parameters
        ----------
        cost : VariationalCost
            What tells a wrong minimum.
        start : AbstractStart
            Makes a first guess from noisier observations.
        solve : callable
            Goes from a first guess to an analysis, given the observations.
        obs : Observations
            Observations with the background of the analysis.
        analysis : Analysis
            What the solve has found.
        """
        best, verdict = analysis.state.clone(), analysis.verdict.clone()
        trapped = torch.arange(len(best), device=best.device)
        improved, n_tried = torch.zeros_like(verdict, dtype=torch.bool), 0
        for seed in range(self.n + 1):
            trapped = trapped[is_trapped(cost, best[trapped], obs[trapped], self.n_sigma)]
            if seed == self.n or not len(trapped):
                break
            given = obs[trapped]
            guess = start(replace(self._noisier(given, seed), background=None))
            again = solve(guess, given)
            before = cost(best[trapped], given).nan_to_num(nan=torch.inf)
            is_better = cost(again.state, given) < before
            better = trapped[is_better]
            best[better], verdict[better] = again.state[is_better], again.verdict[is_better]
            improved[better], n_tried = True, n_tried or len(trapped)
        verdict[trapped] = torch.where(
            verdict[trapped] == Verdict.DIVERGED, verdict[trapped], Verdict.TRAPPED
        )
        if n_tried:
            n_improved = int(improved.sum())
            logger.info("%d of %d windows were restarted, %d improved", n_tried, len(best), n_improved)
        return Analysis(best, verdict)

    def _noisier(self, obs: Observations, seed: int) -> Observations:
        """Add the same noise to every window, where something was observed."""
        generator = torch.Generator().manual_seed(seed)
        values = {}
        for name, given in obs.values.items():
            noise = self.jitter * torch.randn(given.shape[1:], generator=generator, dtype=torch.float64)
            values[name] = given + noise.to(given) * (obs.weights[name] > 0)
        return replace(obs, values=values)


@registered
@final
class ColdStart(nn.Module):
    """Solve windows that have lost the track of their observations again, from a first guess of the start.

    For windows whose background is a forecast (`Assimilator.warm`): in chaos an error that no observation has held
    grows until the forecast leads nowhere. Told by the misfit to the observations alone, for few steps may leave terms
    of large weights unbalanced; where weights are no error variances, only what diverges is told.

    Parameters
    ----------
    solver : AbstractSolver
        Solver from a first guess of the start.
    n_steps : int
        Its steps.
    restarts : Restarts or ColdStart, optional
        What it does with wrong minima.
    n_sigma : float
        Standard deviations sqrt(2 / n_obs) of the misfit above 1 at which a window counts as lost; at the minimum it
        is below 1, by the degrees of freedom that observations have decided.
    """

    def __init__(
        self,
        solver: AbstractSolver,
        n_steps: int,
        restarts: "Restarts | ColdStart | None" = None,
        n_sigma: float = 2.0,
    ):
        super().__init__()
        self.solver = solver
        self.n_steps = n_steps
        self.restarts = restarts
        self.n_sigma = n_sigma

    @torch.no_grad()
    def run(
        self,
        cost: VariationalCost,
        start: AbstractStart,
        solve: Callable[[Tensor, Observations], Analysis],
        obs: Observations,
        analysis: Analysis,
    ) -> Analysis:
        """The analysis, and one without background where that is lost and this one is nearer to the observations.

        Parameters
        ----------
        cost, start, solve, obs, analysis
            As of `Restarts.run`; `solve` is not used.
        """
        del solve
        misfit, n_seen = misfit_per_observation(cost, analysis.state, obs), n_observations(cost, obs)
        is_lost = analysis.verdict == Verdict.DIVERGED
        if cost.is_calibrated:
            is_lost = is_lost | ~(misfit <= 1 + self.n_sigma * (2 / n_seen).sqrt())
        lost = is_lost.nonzero().squeeze(1)
        if not len(lost):
            return analysis
        guess = start(replace(obs[lost], background=None))
        given = replace(obs[lost], background=guess)
        again = solved(cost, self.solver, self.n_steps, guess, given)
        if self.restarts is not None:
            from_guess = partial(solved, cost, self.solver, self.n_steps)
            again = self.restarts.run(cost, start, from_guess, given, again)
        is_nearer = misfit_per_observation(cost, again.state, given) < misfit[lost].nan_to_num(nan=torch.inf)
        nearer = lost[is_nearer]
        state, verdict = analysis.state.clone(), analysis.verdict.clone()
        state[nearer], verdict[nearer] = again.state[is_nearer], again.verdict[is_nearer]
        logger.info("%d of %d windows were lost and solved without background", len(lost), len(state))
        return Analysis(state, verdict)
