"""Derivatives of where a solve ends, instead of through the way there: memory does not grow with the iterations.

At a minimum x of U(x; theta), dx = -H^{-1} d(grad U), H the second derivatives; at a fixed point x = f(x; theta),
dx = (I - f')^{-1} df. Both are exact where the solve has converged, and off by about as much as it is not (Pedregosa,
2016, ICML, for the first; Bai, Kolter and Koltun, 2019, NeurIPS, for the second).
"""

import abc
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError, ConvergenceWarning
from oceanvar.maps.base import autograd_linearize
from oceanvar.registry import registered
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.observations import Observations
from oceanvar.variational.solvers.anderson import Pair, mixed
from oceanvar.variational.solvers.base import AbstractSolver, advanced
from oceanvar.variational.solvers.newton import conjugate_gradients

_MEMORY, _REGULARISATION = 10, 1e-10
"""Of the Anderson iterations for the derivative of a fixed point."""


class AbstractImplicit(abc.ABC):
    """Solve without a graph, and attach the derivatives of the end."""

    @final
    def run(
        self, solver: AbstractSolver, cost: VariationalCost, obs: Observations, state: Tensor, n_steps: int
    ) -> Tensor:
        """Iterate `n_steps` times from `state`; the result carries the graph of where that ends."""
        self.check(solver)
        if n_steps == 0:
            return state
        with torch.no_grad():
            found, _ = advanced(solver, cost, obs, state, solver.init(cost, obs, state), n_steps)
        return self.attached(solver, cost, obs, found.detach())

    @abc.abstractmethod
    def check(self, solver: AbstractSolver) -> None:
        """Refuse a solver that does not end where the derivatives are those of its end."""

    @abc.abstractmethod
    def attached(
        self, solver: AbstractSolver, cost: VariationalCost, obs: Observations, state: Tensor
    ) -> Tensor:
        """State with the graph of where a solve ends."""


@registered
@final
@dataclass
class ImplicitMinimum(AbstractImplicit):
    """Differentiate the minimum of the cost: bilevel learning, by conjugate gradients on its second derivatives.

    For solvers that minimise the cost and costs whose second derivatives are positive there: `LBFGS`, `GaussNewton`,
    `ConjugateGradients`, `GradientDescent`; not for learned ones. First guess and iterations have no part in the
    derivative.

    Parameters
    ----------
    n_inner : int
        Most conjugate gradient steps.
    tolerance : float
        Residual of the linear system, relative to the first, at which they end.
    """

    n_inner: int = 100
    tolerance: float = 1e-6

    def check(self, solver: AbstractSolver) -> None:
        """Refuse solvers that do not minimise.

        Raises
        ------
        ConfigError
            If the solver is learned, or goes to another fixed point.
        """
        if not solver.minimises:
            raise ConfigError(
                f"{type(solver).__name__} does not end where the gradient of the cost is 0, and ImplicitMinimum "
                "differentiates that: use Unroll(last=...), or ImplicitFixedPoint for a fixed point"
            )

    def attached(
        self, solver: AbstractSolver, cost: VariationalCost, obs: Observations, state: Tensor
    ) -> Tensor:
        """State whose derivatives are those of the minimum."""
        del solver
        check_curvature(cost)
        gradient = cost.gradient(state, obs)

        def solve(cotangent: Tensor) -> Tensor:
            _, product = autograd_linearize(lambda x: cost.gradient(x, obs), state)
            found = conjugate_gradients(product, cotangent, self.n_inner, self.tolerance, lambda x: x)
            if not found.isfinite().all():
                raise ConfigError(
                    "the minimum has no derivative: second derivatives of the cost are 0 somewhere, as where nothing "
                    "is observed; add a term of the state itself, MapTerm(Identity(), 0.01)"
                )
            _warn(product(found) - cotangent, cotangent, "conjugate gradients", self.n_inner)
            return -found

        return _Attached.apply(gradient, state, solve)


@registered
@final
@dataclass
class ImplicitFixedPoint(AbstractImplicit):
    """Differentiate the fixed point of an iteration: a deep equilibrium, with Anderson iterations for the derivative.

    For solvers whose step carries no history: `ProximalGradient` with a network and without momentum, `FixedPoint`,
    `GradientDescent`, and `Anderson` around them.

    Parameters
    ----------
    n_inner : int
        Most iterations for the derivative.
    tolerance : float
        Residual of the linear system, relative to the first, at which they end.
    """

    n_inner: int = 50
    tolerance: float = 1e-5

    def check(self, solver: AbstractSolver) -> None:
        """Refuse solvers whose step depends on those before.

        Raises
        ------
        ConfigError
            If the solver has no iteration of its own.
        """
        if solver.iteration is None:
            raise ConfigError(
                f"a step of {type(solver).__name__} depends on the steps before it, so it has no fixed point to "
                "differentiate: use Unroll(last=...), ImplicitMinimum for minima, or "
                "ProximalGradient(..., accelerated=False)"
            )

    def attached(
        self, solver: AbstractSolver, cost: VariationalCost, obs: Observations, state: Tensor
    ) -> Tensor:
        """State whose derivatives are those of the fixed point."""
        iteration = solver.iteration
        assert iteration is not None
        with torch.no_grad():
            carry = iteration.init(cost, obs, state)

        def step(x: Tensor) -> Tensor:
            return iteration.step(cost, obs, x, carry)[0]

        def solve(cotangent: Tensor) -> Tensor:
            _, pullback = autograd_linearize(step, state)
            found, residual = self._fixed_point(lambda u: cotangent + pullback(u), cotangent)
            _warn(residual, cotangent, "Anderson iterations", self.n_inner)
            return found

        return _Attached.apply(step(state), state, solve)

    def _fixed_point(self, function: Callable[[Tensor], Tensor], first: Tensor) -> tuple[Tensor, Tensor]:
        """Fixed point of a linear function, and what is left of its residual."""
        x, size = first, first.flatten(1).norm(dim=1)
        pairs: tuple[Pair, ...] = ()
        for _ in range(self.n_inner):
            result = function(x)
            residual = result - x
            if (residual.flatten(1).norm(dim=1) <= self.tolerance * size).all():
                break
            pairs = (*pairs, (result, residual))[-_MEMORY:]
            x = mixed(pairs, _REGULARISATION)
        return x, function(x) - x


def check_curvature(cost: VariationalCost) -> None:
    """Refuse costs whose gradient has other derivatives than its second ones.

    Raises
    ------
    ConfigError
        If there is such a term.
    """
    for term in cost.terms:
        if not term.exact_curvature:
            raise ConfigError(
                f"{type(term).__name__} minimises inside, and its gradient does not tell how that minimum moves: "
                "differentiate the iterations, Unroll()"
            )


class _Attached(torch.autograd.Function):
    """A state found without a graph; what flows back is solved for, and goes on through what it depends on."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, state: Tensor, solve: Callable[[Tensor], Tensor]) -> Tensor:
        del anchor
        ctx.solve = solve
        return state.clone()

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, None, None]:
        return ctx.solve(cotangents[0]), None, None


def _warn(residual: Tensor, cotangent: Tensor, how: str, n: int) -> None:
    """Say that a derivative is not to be trusted."""
    size, left = cotangent.flatten(1).norm(dim=1), residual.flatten(1).norm(dim=1)
    worst = float((left / size.clamp(min=torch.finfo(size.dtype).tiny)).max())
    if not worst <= 0.1:
        warnings.warn(
            f"after {n} {how} the equation of the derivative is met to {worst:.0%} only: make more of them (n_inner), "
            "let the solve converge, or regularise the cost",
            ConvergenceWarning,
            stacklevel=2,
        )
