"""Every method of the papers' table 2 as a model on the same footing: interpolation, classical, learned.

Fablet, Drumetz and Rousseau (2020), arXiv 2006.03653, section 4.2, with the rows that their table lacks: a
weak-constraint 4D-Var that is really minimised, and learned solvers that finish with it.
"""

from dataclasses import dataclass

import numpy as np
import torch

from oceanvar.maps.units import in_physical_units
from oceanvar.network.bridge import to_tensor
from oceanvar.network.varnet import VarNet, load
from oceanvar.papers.experiments import EXPERIMENTS, N_TIMES, NOISE_STD
from oceanvar.state.spaces import StateSpace
from oceanvar.truths.lorenz import windows
from oceanvar.variational.assimilators import Assimilator
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.priors.flow import FlowPrior
from oceanvar.variational.solvers.block_tridiagonal import BlockTridiagonalGaussNewton
from oceanvar.variational.solvers.descent import GradientDescent
from oceanvar.variational.solvers.lbfgs import LBFGS
from oceanvar.variational.solvers.schedules import Annealed, Sequential
from oceanvar.variational.starts.base import AbstractStart
from oceanvar.variational.starts.climatological import ClimatologicalStart
from oceanvar.variational.starts.interpolated import InterpolatedStart
from oceanvar.variational.terms.dynamics import PriorTerm
from oceanvar.variational.terms.first_state import FirstStateTerm
from oceanvar.variational.terms.observations import ObservationTerm
from oceanvar.variational.weak_constraint import weak_constraint_cost

BATCH = 64
"""Windows solved at once."""

CLIMATE_SEED = 7
MODEL_ERROR_VARIANCE = {"lorenz63": 1e-5, "lorenz96": 30 * 1.5**-37}
"""Of one step; small against any other error, large enough for the minimum to be found."""

LEARNED = "U-Net + Gauss-Newton, learned model"
"""Row of the packaged ``<system>-learned``, where nothing knows the equations."""

COMPARISON = {
    "lstm": "LSTM solver, true model",
    "fixed-point": "fixed point, two-scale CNN",
    "two-scale": "LSTM solver, two-scale CNN",
}
"""The papers' learned methods, packaged as ``<system>-<key>``."""


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Parameters
    ----------
    name : str
        Of the row.
    model : VarNet
        How a window is solved.
    precision : str
        Of the arithmetic: iterations to convergence want "float64".
    is_slow : bool
        Whether a window takes seconds.
    is_learned : bool
        Whether its numbers come from training.
    """

    name: str
    model: VarNet
    precision: str = "float32"
    is_slow: bool = False
    is_learned: bool = True

    @property
    def n_parameters(self) -> float:
        """Numbers that were learned, weights of terms among them."""
        return sum(p.numel() for p in self.model.assimilator.parameters()) if self.is_learned else 0

    def solve(self, seen: np.ndarray) -> np.ndarray:
        """Analysis of observations ``(n, V, T, *S)``, a batch at a time."""
        self.model.assimilator.to(torch.float64 if self.precision == "float64" else torch.float32)
        parts = [
            self.model.solve(seen[first : first + BATCH], precision=self.precision)
            for first in range(0, len(seen), BATCH)
        ]
        return np.concatenate(parts)


@dataclass(frozen=True, eq=False)
class Climate:
    """What classical methods know of a system: its model, and the statistics of other trajectories.

    Parameters
    ----------
    system : str
        Name of the experiment.
    space : StateSpace
        State with the normalisation to work in.
    cost : VariationalCost
        Weak-constraint 4D-Var, with the climate as the background of the first state.
    start : ClimatologicalStart
        Optimal interpolation with the covariances of the climate.
    """

    system: str
    space: StateSpace
    cost: VariationalCost
    start: ClimatologicalStart

    @classmethod
    def of(cls, system: str, space: StateSpace, n_steps: int = 4000, n_trajectories: int = 32) -> "Climate":
        """Estimate the climate from trajectories that serve nothing else."""
        past = EXPERIMENTS[system].simulate(n_steps, seed=CLIMATE_SEED, n_trajectories=n_trajectories)
        states = to_tensor(space.stack(windows(past, N_TIMES)).values, space, torch.float64)
        mean, std = ([getattr(space, key)[name] for name in space.variables] for key in ("mean", "std"))
        cost = weak_constraint_cost(
            EXPERIMENTS[system].step(),
            obs_variance=NOISE_STD**2,
            model_error_variance=MODEL_ERROR_VARIANCE[system],
            mean=mean,
            std=std,
            background=FirstStateTerm([states.shape[1], *states.shape[3:]]).fit_(states),
        )
        start = ClimatologicalStart(states.shape[1:], [NOISE_STD**2 / s**2 for s in std]).fit_(states)
        return cls(system, space, cost, start)

    def model(self, solver: Sequential) -> VarNet:
        """Put a classical solver behind optimal interpolation."""
        return VarNet(Assimilator(self.cost, solver, solver.n_steps, self.start), self.space)


def interpolations(climate: Climate) -> list[Method]:
    """Linear interpolation in time, and optimal interpolation with the covariances of the climate."""

    def guess(start: AbstractStart) -> VarNet:
        return VarNet(Assimilator(climate.cost, GradientDescent(1.0), 0, start), climate.space)

    return [
        Method("linear interpolation", guess(InterpolatedStart()), "float64", is_learned=False),
        Method("optimal interpolation", guess(climate.start), "float64", is_learned=False),
    ]


N_DESCENT_STEPS = {"lorenz63": 20_000, "lorenz96": 5_000}

DESCENT_WEIGHTS = {"lorenz63": 0.01, "lorenz96": 0.1}
"""Of the observations, one minus it of the prior: the best of 0.01 to 0.3 on windows of seed 6."""


def gradient_descent(climate: Climate, n_steps: int | None = None) -> Method:
    """FSGD of the papers: fixed steps on equation 2 with the true model as the prior."""
    n_steps = N_DESCENT_STEPS[climate.system] if n_steps is None else n_steps
    space = climate.space
    prior = in_physical_units(FlowPrior(EXPERIMENTS[climate.system].step()), space.n_variables)
    weight = DESCENT_WEIGHTS[climate.system]
    cost = VariationalCost(ObservationTerm(weight=weight), PriorTerm(prior, weight=1 - weight))
    n_points = space.n_variables * torch.Size(space.patch.values()).numel()
    # The Hessian of N U has eigenvalues up to about 2 (weight + (1 - weight) (1 + |M|)^2) < 10.
    assimilator = Assimilator(cost, GradientDescent(0.2 * n_points), n_steps)
    return Method("gradient descent, true model", VarNet(assimilator, space), is_slow=True, is_learned=False)


def annealed(climate: Climate) -> list[Method]:
    """4D-Var to its minimum: the model error falls in stages, on Lorenz-96 from 30 in 38 of them."""
    rough, finish = (BlockTridiagonalGaussNewton(tolerance=tolerance) for tolerance in (1e-4, 1e-5))
    if climate.system == "lorenz63":
        newton = Sequential((finish, 30))
        quasi = Sequential((Annealed(LBFGS(), [1e-4, 1e-2, 1.0], 300), 900))
    else:
        stages = Annealed(rough, [1.5**-k for k in range(37, -1, -1)], 3)
        newton = Sequential((stages, stages.n_steps), (finish, 6))
        quasi = Sequential((Annealed(LBFGS(), [1.5 ** (-3.7 * k) for k in range(10, -1, -1)], 100), 1100))
    return [
        Method("4D-Var, annealed L-BFGS", climate.model(quasi), "float64", True, is_learned=False),
        Method(
            "4D-Var, annealed Gauss-Newton",
            climate.model(newton),
            "float64",
            climate.system != "lorenz63",
            is_learned=False,
        ),
    ]


def stages_of(model: VarNet) -> list[Method]:
    """A packaged model before its Gauss-Newton steps, its network alone, and whole."""
    whole = model.assimilator
    network = VarNet(Assimilator(whole.cost, whole.solver, 0, whole.start), model.state_space)
    return [Method("U-Net, direct inversion", network), Method("U-Net + Gauss-Newton", model)]


def climate_of(system: str) -> Climate:
    """Climate of a system, in the normalisation of its packaged model."""
    return Climate.of(system, load(system).state_space)


def methods(system: str) -> tuple[Climate, list[Method]]:
    """All rows for a system, in the order of the table.

    Parameters
    ----------
    system : {"lorenz63", "lorenz96"}
        Experiment.

    Returns
    -------
    climate : Climate
        What classical methods know of the system.
    rows : list of Method
        The methods.
    """
    climate = climate_of(system)
    learned = [Method(name, load(f"{system}-{key}")) for key, name in COMPARISON.items()]
    equations = Method(LEARNED, load(f"{system}-learned"), is_slow=system == "lorenz96")
    classical = [*interpolations(climate), gradient_descent(climate), *annealed(climate)]
    return climate, [*classical, *learned, equations, *stages_of(load(system))]
