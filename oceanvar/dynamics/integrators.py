"""Integration of dx/dt = f(x): Runge-Kutta steps, and the flow as a differentiable map."""

from typing import final

import numpy as np
import torch
from torch import Tensor

from oceanvar.dynamics.tableaus import EULER, RK4, Tendency, linearize_step, push_step, step
from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractComposition, AbstractMap, Pullback, Pushforward
from oceanvar.registry import registered

_SCHEMES = {"euler": EULER, "rk4": RK4}


def rk4_step(tendency: Tendency, state: Tensor, dt: float) -> Tensor:
    """State after one step of length `dt` of the classical Runge-Kutta scheme; order 4."""
    return step(RK4, tendency, state, dt)


def integrate(tendency: Tendency, state: Tensor, dt: float, n_steps: int) -> Tensor:
    """Trajectory of `n_steps` fixed steps of the classical fourth-order Runge-Kutta scheme.

    Parameters
    ----------
    tendency : callable
        f of dx/dt = f(x), for tensors shaped like `state`.
    state : Tensor
        Initial state, any shape.
    dt : float
        Length of a step, in the time unit of the tendency.
    n_steps : int
        Number of steps.

    Returns
    -------
    Tensor
        Shape ``(n_steps + 1, *state.shape)``: time is a new first axis, the initial state
        its first entry.
    """
    states = [state]
    for _ in range(n_steps):
        states.append(rk4_step(tendency, states[-1], dt))
    return torch.stack(states)


def simulate(
    tendency: Tendency, initial: np.ndarray, dt: float, n_states: int, n_spinup: int = 0
) -> np.ndarray:
    """Trajectory from an array to an array, after a spin-up that is thrown away.

    Parameters
    ----------
    tendency : callable
        f of dx/dt = f(x) for tensors; no gradients are recorded.
    initial : ndarray
        State before the spin-up; its dtype is the precision of the integration.
    dt : float
        Length of a step of the classical fourth-order Runge-Kutta scheme.
    n_states : int
        Number of states to return, one per step.
    n_spinup : int
        Number of steps between `initial` and the first state returned.

    Returns
    -------
    ndarray
        Shape ``(n_states, *initial.shape)``.

    Raises
    ------
    ConfigError
        If a count is too small, or the integration is unstable.
    """
    if n_states < 1 or n_spinup < 0 or dt <= 0:
        raise ConfigError(
            f"a simulation needs n_steps >= 1, n_spinup >= 0 and dt > 0; got {n_states}, {n_spinup} and {dt}"
        )
    with torch.inference_mode():
        state = torch.from_numpy(initial)
        for _ in range(n_spinup):
            state = rk4_step(tendency, state, dt)
        states = integrate(tendency, state, dt, n_states - 1).numpy()
    if not np.isfinite(states[-1]).all():
        raise ConfigError(f"the integration is unstable with dt = {dt}; use a smaller dt")
    return states


def iterate(step: AbstractMap, initial: np.ndarray, n_states: int) -> np.ndarray:
    """Trajectory of a model step from an array to an array, without gradients.

    Parameters
    ----------
    step : AbstractMap
        M of x_(t+1) = M(x_t).
    initial : ndarray
        First state; its dtype is the precision of the integration.
    n_states : int
        Number of states to return, the first one included.

    Returns
    -------
    ndarray
        Shape ``(n_states, *initial.shape)``.

    Raises
    ------
    ConfigError
        If `n_states` is not positive, or the integration is unstable.
    """
    if n_states < 1:
        raise ConfigError(f"a trajectory needs at least one state; got n_states = {n_states}")
    with torch.inference_mode():
        states = [torch.from_numpy(initial)]
        for _ in range(n_states - 1):
            states.append(step(states[-1]))
    if not states[-1].isfinite().all():
        raise ConfigError(f"the integration of {n_states - 1} model steps is unstable; use shorter steps")
    return torch.stack(states).numpy()


@final
@registered
class FlowStep(AbstractComposition):
    """One model step M(x): the flow of dx/dt = f(x) over a time `dt`, with its exact discrete adjoint.

    The pull-back runs through the stages of the scheme backwards with the pull-backs of the tendency, so it
    is the adjoint of the discrete step, not a discretised adjoint equation.

    Parameters
    ----------
    tendency : AbstractMap
        f; a Lorenz system or a learned network whose value has the shape of its argument.
    dt : float
        Length of the model step, in the time unit of the tendency.
    scheme : {"rk4", "euler"}
        Classical fourth-order Runge-Kutta, or explicit Euler.
    n_substeps : int
        Number of equal steps of the scheme in one model step.

    Raises
    ------
    ConfigError
        If the scheme is unknown or `n_substeps` is not positive.
    """

    def __init__(self, tendency: AbstractMap, dt: float, scheme: str = "rk4", n_substeps: int = 1) -> None:
        super().__init__()
        if scheme not in _SCHEMES:
            raise ConfigError(f"scheme {scheme!r} is unknown; use one of {', '.join(sorted(_SCHEMES))}")
        if n_substeps < 1:
            raise ConfigError(f"n_substeps is {n_substeps}; a model step needs at least 1")
        self.tendency = tendency
        self._tableau = _SCHEMES[scheme]
        self._substep = dt / n_substeps
        self._n_substeps = n_substeps

    def forward(self, x: Tensor) -> Tensor:
        """State one model step after `x`."""
        for _ in range(self._n_substeps):
            x = step(self._tableau, self.tendency, x, self._substep)
        return x

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """State one model step after `x`, and the adjoint of the step at `x`."""
        pullbacks = []
        for _ in range(self._n_substeps):
            x, step_pullback = linearize_step(self._tableau, self.tendency, x, self._substep)
            pullbacks.append(step_pullback)

        def pullback(cotangent: Tensor) -> Tensor:
            for step_pullback in reversed(pullbacks):
                cotangent = step_pullback(cotangent)
            return cotangent

        return x, pullback

    def pushforward(self, x: Tensor) -> Pushforward:
        """Map from perturbations of `x` to those one model step later."""
        pushes = []
        for _ in range(self._n_substeps):
            x, push = push_step(self._tableau, self.tendency, x, self._substep)
            pushes.append(push)

        def pushed(tangent: Tensor) -> Tensor:
            for push in pushes:
                tangent = push(tangent)
            return tangent

        return pushed
