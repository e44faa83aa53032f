"""Solvers made of solvers: one after the other, under a schedule of weights, on another cost."""

from collections.abc import Sequence
from typing import Any, cast, final

from torch import Tensor, nn

from oceanvar.errors import ConfigError
from oceanvar.maps.checks import require
from oceanvar.registry import registered
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.observations import Observations
from oceanvar.variational.solvers.base import AbstractSolver

N_WARM, LOOSER = 3, 0.5
"""Stages of an annealing from a state close to the minimum, one step each, and a factor on the first of their weights.

Steps of full weight alone stay where they are: the forecast lies in a narrow curved valley of the cost. With two
stages, or without the factor, cycles on Lorenz-96 lose the track of observations now and then.
"""

Memory = tuple[int, Any]
"""Number of steps taken, and the carry of the solver at work."""


@registered
@final
class Sequential(AbstractSolver):
    """One solver after the other: a learned start and a classical finish, say.

    ``Sequential((LSTMSolver(...), 5), (GaussNewton(), 8))`` is meant for an assimilator of 13 steps
    (`n_steps`); steps beyond that are taken by the last solver.

    Parameters
    ----------
    *stages : (AbstractSolver, int)
        Solvers, each with its number of steps.
    """

    def __init__(self, *stages: tuple[AbstractSolver, int]):
        super().__init__()
        if not stages or any(n < 1 for _, n in stages):
            raise ConfigError("a sequence of solvers needs at least one, each with at least one step")
        for solver, _ in stages:
            require(solver, "a solver of Sequential", AbstractSolver)
        self.solvers = cast("list[AbstractSolver]", nn.ModuleList(solver for solver, _ in stages))
        self.counts = tuple(n for _, n in stages)

    @property
    def n_steps(self) -> int:
        """Steps of all solvers together."""
        return sum(self.counts)

    def init(self, cost: VariationalCost, obs: Observations, state: Tensor) -> Memory:
        """Carry of the first solver."""
        return 0, self.solvers[0].init(cost, obs, state)

    def step(
        self, cost: VariationalCost, obs: Observations, state: Tensor, carry: Memory
    ) -> tuple[Tensor, Memory]:
        """One step of the solver whose turn it is."""
        n_done, inner = carry
        stage, is_first = _stage(self.counts, n_done)
        solver = self.solvers[stage]
        if is_first and stage > 0:
            inner = solver.init(cost, obs, state)
        state, inner = solver.step(cost, obs, state, inner)
        return state, (n_done + 1, inner)

    def warm(self, n_steps: int) -> tuple[AbstractSolver, int]:
        """The last solver: those before lead to where it begins."""
        return self.solvers[-1].warm(max(1, n_steps - sum(self.counts[:-1])))

    def verdict(self, cost: VariationalCost, obs: Observations, state: Tensor, carry: Memory) -> Tensor:
        """That of the solver that took the last step."""
        n_done, inner = carry
        return self.solvers[_stage(self.counts, n_done - 1)[0]].verdict(cost, obs, state, inner)


def _stage(counts: Sequence[int], n_done: int) -> tuple[int, bool]:
    """Stage of the next step, and whether it is the first step of that stage."""
    for stage, count in enumerate(counts):
        if n_done < count:
            return stage, n_done == 0
        n_done -= count
    return len(counts) - 1, False


@registered
@final
class Annealed(AbstractSolver):
    """A solver under a schedule of the weight of one term.

    Chaotic dynamics held strongly from the start trap the state in a wrong minimum; letting the
    weight of the dynamics term (the inverse model-error variance) grow in stages leads around it (Pires,
    Vautard and Talagrand, 1996, Tellus A 48, 96-121, and Ye et al., 2015, Phys. Rev. E 92, 052901). The cost
    itself is never changed: the solver is given views of it.

    Parameters
    ----------
    solver : AbstractSolver
        What minimises each stage; it starts afresh there.
    factors : sequence of float
        Factor on the weight of the term in each stage, usually rising to 1.
    n_steps_each : int
        Steps in each stage; steps beyond the last stage are taken with its factor.
    term : int
        Position of the term in the cost.
    """

    def __init__(self, solver: AbstractSolver, factors: Sequence[float], n_steps_each: int, term: int = 1):
        super().__init__()
        if not factors or n_steps_each < 1:
            raise ConfigError("a schedule needs at least one factor and one step for each")
        require(solver, "the solver of Annealed", AbstractSolver)
        self.solver = solver
        self.factors = tuple(factors)
        self.n_steps_each = n_steps_each
        self.term = term

    @property
    def n_steps(self) -> int:
        """Steps of all stages together."""
        return len(self.factors) * self.n_steps_each

    def init(self, cost: VariationalCost, obs: Observations, state: Tensor) -> Memory:
        """Carry of the solver in the first stage."""
        return 0, self.solver.init(self._view(cost, 0), obs, state)

    def step(
        self, cost: VariationalCost, obs: Observations, state: Tensor, carry: Memory
    ) -> tuple[Tensor, Memory]:
        """One step on the cost of the present stage."""
        n_done, inner = carry
        stage, is_first = _stage([self.n_steps_each] * len(self.factors), n_done)
        view = self._view(cost, stage)
        if is_first and stage > 0:
            inner = self.solver.init(view, obs, state)
        state, inner = self.solver.step(view, obs, state, inner)
        return state, (n_done + 1, inner)

    def warm(self, n_steps: int) -> tuple[AbstractSolver, int]:
        """Nearly the same way from the first factor to the last, in `N_WARM` stages of one step."""
        del n_steps
        first, last = LOOSER * self.factors[0], self.factors[-1]
        factors = [first * (last / first) ** (stage / (N_WARM - 1)) for stage in range(N_WARM)]
        return Annealed(self.solver, factors, 1, self.term), N_WARM

    def verdict(self, cost: VariationalCost, obs: Observations, state: Tensor, carry: Memory) -> Tensor:
        """That of the solver, on the cost of the stage of the last step."""
        n_done, inner = carry
        stage, _ = _stage([self.n_steps_each] * len(self.factors), n_done - 1)
        return self.solver.verdict(self._view(cost, stage), obs, state, inner)

    def _view(self, cost: VariationalCost, stage: int) -> VariationalCost:
        return cost.reweighted({self.term: self.factors[stage]})


@registered
@final
class WithCost(AbstractSolver):
    """A solver with a cost of its own, in place of the assimilator's.

    For a finish by physics after a learned solver: ``Sequential((LSTMSolver(...), 5),
    (WithCost(weak_constraint_cost(...), BlockTridiagonalGaussNewton()), 8))``.

    Parameters
    ----------
    cost : VariationalCost
        What the solver minimises.
    solver : AbstractSolver
        How.
    """

    def __init__(self, cost: VariationalCost, solver: AbstractSolver):
        super().__init__()
        require(solver, "the solver of WithCost", AbstractSolver)
        self.cost = cost
        self.solver = solver

    def init(self, cost: VariationalCost, obs: Observations, state: Tensor) -> Any:
        """Carry of the solver on its own cost."""
        del cost
        return self.solver.init(self.cost, obs, state)

    def step(self, cost: VariationalCost, obs: Observations, state: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """One step of the solver on its own cost."""
        del cost
        return self.solver.step(self.cost, obs, state, carry)

    def warm(self, n_steps: int) -> tuple[AbstractSolver, int]:
        """The solver's, with its own cost."""
        solver, n_steps = self.solver.warm(n_steps)
        return WithCost(self.cost, solver), n_steps

    def verdict(self, cost: VariationalCost, obs: Observations, state: Tensor, carry: Any) -> Tensor:
        """That of the solver on its own cost."""
        del cost
        return self.solver.verdict(self.cost, obs, state, carry)
