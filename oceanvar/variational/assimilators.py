"""Cost + solver = assimilator."""

from collections.abc import Iterator
from dataclasses import replace
from typing import final

import torch
from torch import Tensor, nn

from oceanvar.errors import ConfigError
from oceanvar.maps.checks import require
from oceanvar.registry import registered
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.designs.sampling import SamplingDesign
from oceanvar.variational.observations import Observations
from oceanvar.variational.restarts import ColdStart, Restarts
from oceanvar.variational.solvers.base import AbstractSolver, steps
from oceanvar.variational.solving import solved
from oceanvar.variational.starts.base import AbstractStart
from oceanvar.variational.starts.interpolated import InterpolatedStart
from oceanvar.variational.stopping import AbstractStop, SmallGradient, Standstill, solve_until
from oceanvar.variational.unrolling import Unroll
from oceanvar.variational.verdicts import Analysis


@registered
@final
class Assimilator(nn.Module):
    """Minimise a variational cost with an iterative solver.

    Parameters
    ----------
    cost : VariationalCost
        What is minimised.
    solver : AbstractSolver
        How.
    n_steps : int
        Iterations K.
    start : AbstractStart, optional
        First guess where no background is given. Default: observations interpolated in time.
    unroll : Unroll, optional
        How training differentiates through the iterations. Default: through all of them.
    sampling : SamplingDesign, optional
        Chooses in training which of the observations given everywhere are seen, and learns to choose. A solve
        takes observations as they are given. Default: all are seen.
    restarts : Restarts or ColdStart, optional
        What a solve does with windows that end in a wrong minimum; training leaves them. Default: nothing.
    stop : AbstractStop, optional
        Ends the solve of a window before all iterations are made; training makes them all. Default: nothing does.

    Raises
    ------
    ConfigError
        If the sampling is soft in training and the start is made from observations: a weight close to 0 would
        show it the whole value.
    """

    def __init__(
        self,
        cost: VariationalCost,
        solver: AbstractSolver,
        n_steps: int,
        start: AbstractStart | None = None,
        unroll: Unroll | None = None,
        sampling: SamplingDesign | None = None,
        restarts: Restarts | ColdStart | None = None,
        stop: AbstractStop | None = None,
    ):
        super().__init__()
        require(solver, "the solver of an Assimilator", AbstractSolver)
        if n_steps < 0:
            raise ConfigError(f"n_steps must be at least 0, got {n_steps}")
        self.cost = cost
        self.solver = solver
        self.n_steps = n_steps
        self.start = start or InterpolatedStart()
        require(self.start, "the start of an Assimilator", AbstractStart)
        self.unroll = unroll or Unroll()
        self.sampling = sampling
        self.restarts = restarts
        self.stop = stop
        if isinstance(stop, SmallGradient) and not solver.minimises:
            raise ConfigError(
                f"{type(solver).__name__} does not end where the gradient of the cost is 0, for which SmallGradient "
                "waits: use Standstill or Discrepancy"
            )
        if isinstance(stop, Standstill) and solver.pauses:
            raise ConfigError(
                f"a state of {type(solver).__name__} stands still for a while before it moves: use Discrepancy, or "
                "n_steps alone"
            )
        if sampling is not None and sampling.relaxation.is_soft and self.start.uses_observations:
            raise ConfigError(
                f"{type(sampling.relaxation).__name__} hands on masks between 0 and 1, and a start made from "
                "observations would see values that are hardly observed: use start=CovariateStart(...), or "
                "StraightThrough()"
            )

    def forward(self, obs: Observations, n_steps: int | None = None) -> Tensor:
        """Analysis x^a ``(B, V, T, *S)`` with the graph that training needs.

        Parameters
        ----------
        obs : Observations
            Observations of a batch of windows.
        n_steps : int, optional
            Iterations; default: the assimilator's own.
        """
        return self.improve(self.first_guess(obs), obs, n_steps)

    def improve(self, state: Tensor, obs: Observations, n_steps: int | None = None) -> Tensor:
        """Analysis from a given first guess; otherwise as `forward`."""
        n_steps = self.n_steps if n_steps is None else n_steps
        obs = replace(obs, background=state)
        return self.unroll.run(self.solver, self.cost, obs, state, n_steps)

    @torch.no_grad()
    def solve(self, obs: Observations) -> Analysis:
        """Analysis x^a ``(B, V, T, *S)`` and the verdict on each window, no graph kept: for inference."""
        guess = self.first_guess(obs)
        obs = replace(obs, background=guess)
        analysis = self._solve_from(guess, obs)
        if self.restarts is None:
            return analysis
        return self.restarts.run(self.cost, self.start, self._solve_from, obs, analysis)

    def _solve_from(self, state: Tensor, obs: Observations) -> Analysis:
        """Solve from a state; the background stays that of the observations."""
        if self.stop is not None:
            return solve_until(self.stop, self.solver, self.cost, obs, state, self.n_steps)
        return solved(self.cost, self.solver, self.n_steps, state, obs)

    def warm(self) -> "Assimilator":
        """The same for windows whose background is nearly their analysis already: with fewer steps where these do.

        A window that loses the track of its observations is solved again without its background, as this one would.
        """
        solver, n_steps = self.solver.warm(self.n_steps)
        cold = ColdStart(self.solver, self.n_steps, self.restarts)
        return Assimilator(self.cost, solver, n_steps, self.start, self.unroll, restarts=cold, stop=self.stop)

    @torch.no_grad()
    def iterates(self, obs: Observations) -> Iterator[Tensor]:
        """Every iterate from the first guess to the analysis, without graphs: K + 1 states."""
        state = self.first_guess(obs)
        obs = replace(obs, background=state)
        carry = self.solver.init(self.cost, obs, state)
        for iterate, _ in steps(self.solver, self.cost, obs, state, carry, self.n_steps):
            yield iterate

    def first_guess(self, obs: Observations) -> Tensor:
        """Background if there is one, else the start made from the observations; it is the cost's background."""
        return self.start(obs) if obs.background is None else obs.background
