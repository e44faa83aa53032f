"""4D-Var in control space: the first state and the errors of the model, made white, decide a whole window.

The forcing formulation of Tremolet (2006, Q. J. R. Meteorol. Soc. 132, 2483-2504) with the change of variables of
Courtier (1997, J. Meteorol. Soc. Japan 75, 211-218): a control v makes the states

    x_0 = x^b_0 + B^{1/2} v_0,    x_t = M(x_(t-1)) + K (x^b_t - M(x_(t-1))) + Q^{1/2} v_t,

and U(x(v)) + |v|^2 / N is minimised, U being a cost of the states with weights that are inverse error variances. No
covariance has to be inverted, and the conditioning is that of the observations. Q = 0 is the strong constraint.
K = 0 but in windows with open borders: through these comes what no model of the window knows, and forecasts are drawn
toward the background there (Davies, 1976, Q. J. R. Meteorol. Soc. 102, 405-418), and a little everywhere.
"""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from oceanvar.maps.base import AbstractComposition, AbstractMap, Pullback, Pushforward
from oceanvar.maps.compositions import Chain, Identity, Shifted
from oceanvar.maps.spreads import ByDistance
from oceanvar.registry import registered
from oceanvar.variational.control_costs import of_control
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.observations import Observations
from oceanvar.variational.solvers.base import AbstractSolver
from oceanvar.variational.terms.backgrounds import given_background


@registered
@final
class Forecast(AbstractComposition):
    """All times of a window from its first one and the errors of the model: ``x_t = M(x_(t-1)) + eta_t``.

    Parameters
    ----------
    step : AbstractMap
        Model step M of one time on ``(B, V, 1, *S)``.
    """

    def __init__(self, step: AbstractMap):
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        """States ``(B, V, T, *S)`` from ``(B, V, T, *S)``: the first state, then the error at every later time."""
        state, *errors = x.split(1, dim=2)
        states = [state]
        for error in errors:
            states.append(self.step(states[-1]) + error)
        return torch.cat(states, dim=2)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: the adjoint model, from the last time to the first."""
        state, *errors = x.split(1, dim=2)
        states, pullbacks = [state], []
        for error in errors:
            following, pullback = self.step.linearize(states[-1])
            states.append(following + error)
            pullbacks.append(pullback)

        def adjoint(cotangent: Tensor) -> Tensor:
            *earlier, last = cotangent.split(1, dim=2)
            totals = [last]
            for pullback, of_time in zip(reversed(pullbacks), reversed(earlier), strict=True):
                totals.append(pullback(totals[-1]) + of_time)
            return torch.cat(totals[::-1], dim=2)

        return torch.cat(states, dim=2), adjoint

    def pushforward(self, x: Tensor) -> Pushforward:
        """Tangent-linear forecast along the states of a window."""
        *states, _ = self(x).split(1, dim=2)
        pushes = [self.step.pushforward(state) for state in states]

        def tangent_linear(tangent: Tensor) -> Tensor:
            first, *errors = tangent.split(1, dim=2)
            tangents = [first]
            for push, error in zip(pushes, errors, strict=True):
                tangents.append(push(tangents[-1]) + error)
            return torch.cat(tangents, dim=2)

        return tangent_linear


@registered
@final
class ForecastControl(nn.Module):
    """What a control makes: forecasts from about a background, with errors of the model on their way.

    Parameters
    ----------
    step : AbstractMap
        Model step M on its own grid, in the units of the state.
    spread : AbstractMap
        Linear map of a control ``(B, V, T, *S')``: B^{1/2} at its first time, Q^{1/2} at the others.
    to_model, to_state : AbstractMap, optional
        From the grid of the background to that of the model, S to S', and from there to that of the state. Default:
        one grid serves all.
    relaxation : sequence of float
        K at points by their distance from the border of the window along the last two axes, see
        `oceanvar.maps.spreads.ByDistance`. Default: none.
    """

    def __init__(
        self,
        step: AbstractMap,
        spread: AbstractMap,
        to_model: AbstractMap | None = None,
        to_state: AbstractMap | None = None,
        relaxation: Sequence[float] = (),
    ):
        super().__init__()
        self.step = step
        self.relaxation = tuple(relaxation)
        self.spread = spread
        self.to_model = to_model or Identity()
        self.to_state = to_state or Identity()

    def trajectory(self, background: Tensor) -> tuple[AbstractMap, Tensor]:
        """Map from controls to states about a background.

        Parameters
        ----------
        background : Tensor
            ``(B, V, T, *S)``; of its values only those of the first time matter, where nothing is relaxed.

        Returns
        -------
        trajectory : AbstractMap
            From ``(B, V, T, *S')`` to ``(B, V, T, *S)``.
        control : Tensor
            The control 0, of which it makes the forecast from the background.
        """
        first, step = self.to_model(background[:, :, :1]), self.step
        if self.relaxation:
            drawn = ByDistance(self.relaxation)(self.to_model(background[:, :, 1:]))
            undisturbed = torch.cat((first, drawn), dim=2)
            step = Chain(step, ByDistance([1 - share for share in self.relaxation]))
        else:
            undisturbed = functional.pad(first, (0, 0) * (first.ndim - 3) + (0, background.shape[2] - 1))
        forecast = Chain(Forecast(step), self.to_state)
        return Chain(self.spread, Shifted(forecast, undisturbed)), torch.zeros_like(undisturbed)


@registered
@final
class Latent(nn.Module):
    """A control that is the latent variable of a generator: x = G(z), z normal with variance 1 (Bora et al., 2017).

    The analysis lies in the range of G; for one that may leave it see `oceanvar.variational.GenerativeTerm`. The
    background has no part in it.

    Parameters
    ----------
    generator : AbstractMap
        G, from ``(B, *latent)`` to ``(B, V, T, *S)``.
    latent : sequence of int
        Shape of z.
    """

    def __init__(self, generator: AbstractMap, latent: Sequence[int]):
        super().__init__()
        self.generator = generator
        self.latent = list(latent)

    def trajectory(self, background: Tensor) -> tuple[AbstractMap, Tensor]:
        """The generator, and the latent variable 0 for each window."""
        return self.generator, background.new_zeros(len(background), *self.latent)


@registered
@final
class ControlSpace(AbstractSolver):
    """Another solver, put to minimise over a control instead of the state.

    The control may live on another grid than the state, so it cannot be the state of an `Assimilator`, whose
    result goes straight back to the labelled grid. Here it stays in the carry of the solver: cost, first guess
    and every iterate are of the state, and nothing else has to know of a control. What this costs is one forecast
    an iteration, to show the iterate.

    It begins at the control 0 about the background of the observations, whatever the state that it is given; an
    `Assimilator` gives its first guess as both.

    Parameters
    ----------
    solver : AbstractSolver
        What minimises: `LBFGS` or `GaussNewton`, say.
    control : ForecastControl or Latent
        How a control makes the states.
    """

    adds_prior = True

    def __init__(self, solver: AbstractSolver, control: ForecastControl | Latent):
        super().__init__()
        self.solver = solver
        self.control = control

    def init(self, cost: VariationalCost, obs: Observations, state: Tensor) -> tuple[Tensor, Any]:
        """The control 0, and the carry of the inner solver there."""
        del state
        trajectory, control = self.control.trajectory(given_background(obs))
        return control, self.solver.init(of_control(cost, trajectory), obs, control)

    def step(
        self, cost: VariationalCost, obs: Observations, state: Tensor, carry: tuple[Tensor, Any]
    ) -> tuple[Tensor, tuple[Tensor, Any]]:
        """One iteration on the control, and the states that it makes."""
        del state
        control, inner = carry
        trajectory, _ = self.control.trajectory(given_background(obs))
        control, inner = self.solver.step(of_control(cost, trajectory), obs, control, inner)
        return trajectory(control), (control, inner)

    def warm(self, n_steps: int) -> tuple[AbstractSolver, int]:
        """The inner solver's, in this control space."""
        solver, n_steps = self.solver.warm(n_steps)
        return ControlSpace(solver, self.control), n_steps

    def verdict(
        self, cost: VariationalCost, obs: Observations, state: Tensor, carry: tuple[Tensor, Any]
    ) -> Tensor:
        """That of the inner solver on the control."""
        del state
        control, inner = carry
        trajectory, _ = self.control.trajectory(given_background(obs))
        return self.solver.verdict(of_control(cost, trajectory), obs, control, inner)
