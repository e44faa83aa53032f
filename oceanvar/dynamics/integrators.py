"""Integration of dx/dt = f(x): fixed and adaptive Runge-Kutta steps, and the flow as a differentiable map."""

import itertools
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from oceanvar.dynamics.tableaus import (
    DORMAND_PRINCE,
    DORMAND_PRINCE_ERROR,
    EULER,
    RK4,
    Tendency,
    add_slopes,
    linearize_step,
    stage_slopes,
    step,
    tangent_step,
)
from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractMap, Pullback
from oceanvar.registry import registered

_SCHEMES = {"euler": EULER, "rk4": RK4}


def euler_step(tendency: Tendency, state: Tensor, dt: float) -> Tensor:
    """State after one explicit Euler step of length `dt`; order 1."""
    return step(EULER, tendency, state, dt)


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
        Shape (n_steps + 1, *state.shape): time is a new first axis, the initial state
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
        Shape (n_states, *initial.shape).

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
        Shape (n_states, *initial.shape).

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


def integrate_adaptive(
    tendency: Tendency, state: Tensor, times: Sequence[float], rtol: float = 1e-6, atol: float = 1e-9
) -> Tensor:
    """Trajectory by the embedded pair of Dormand and Prince, with a step that follows the error.

    The fifth-order solution is kept; the difference to the fourth-order one is the estimated error of a
    step. Its root mean square over a sample, in units of ``atol + rtol * |x|``, stays below 1 for every
    sample of the batch; the step is common to the batch. Gradients flow through the states, not
    through the choice of the steps.

    Parameters
    ----------
    tendency : callable
        f of dx/dt = f(x), for tensors shaped like `state`.
    state : Tensor
        State at ``times[0]``, first axis the batch.
    times : sequence of float
        Increasing times of the wanted states; the steps are shortened to hit them.
    rtol, atol : float
        Relative and absolute tolerance of one step.

    Returns
    -------
    Tensor
        Shape (len(times), *state.shape).

    Raises
    ------
    ConfigError
        If the times do not increase, a tolerance is not positive, or the step becomes too small.

    References
    ----------
    Dormand and Prince (1980), J. Comput. Appl. Math. 6, 19-26, doi:10.1016/0771-050X(80)90013-3, table 2
    (RK5(4)7M). Step control: Hairer, Norsett and Wanner (1993), eqs. II.4.11 and II.4.13.
    """
    marks = [float(time) for time in times]
    if any(end <= start for start, end in itertools.pairwise(marks)):
        raise ConfigError(
            "the times of an adaptive integration must increase; sort them and drop repetitions"
        )
    tolerance = _Tolerance(rtol, atol)
    dt = _first_dt(tendency, state, tolerance)
    states = [state]
    for start, end in itertools.pairwise(marks):
        state, dt = _advance(tendency, state, (start, end), dt, tolerance)
        states.append(state)
    return torch.stack(states)


@final
@registered
class FlowStep(AbstractMap):
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

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Perturbation one model step after the perturbation `tangent` of `x`."""
        for _ in range(self._n_substeps):
            x, tangent = tangent_step(self._tableau, self.tendency, x, tangent, self._substep)
        return tangent


@dataclass(frozen=True)
class _Tolerance:
    rtol: float
    atol: float

    def __post_init__(self) -> None:
        if self.rtol <= 0 or self.atol <= 0:
            raise ConfigError(f"rtol and atol must be positive; got {self.rtol} and {self.atol}")

    def norm(self, increment: Tensor, state: Tensor) -> float:
        """Largest root mean square over the samples, in units of the tolerance at `state`."""
        scaled = (increment / (self.atol + self.rtol * state.abs())).detach()
        return float(scaled.reshape(len(scaled), -1).square().mean(dim=1).sqrt().max())


def _first_dt(tendency: Tendency, state: Tensor, tolerance: _Tolerance) -> float:
    # An explicit Euler step that moves the state by a hundredth of itself; the control does the rest.
    speed = tolerance.norm(tendency(state), state)
    size = tolerance.norm(state, state)
    return 0.01 * size / speed if size > 0 and speed > 0 else 1e-6


def _advance(
    tendency: Tendency, state: Tensor, span: tuple[float, float], dt: float, tolerance: _Tolerance
) -> tuple[Tensor, float]:
    """State at the end of `span`, and the step to try next."""
    time, end = span
    smallest = 16 * sys.float_info.epsilon * max(abs(time), abs(end))
    while time < end:
        if dt < smallest:
            raise ConfigError(
                f"the step of the adaptive integration fell to {dt:.1e} at time {time:.6g}; the solution "
                "blows up there, or the tolerances are too small for the precision of the state"
            )
        remaining = end - time
        # A last step that would leave a sliver is stretched over it.
        trial = remaining if remaining <= 1.01 * dt else dt
        slopes = stage_slopes(DORMAND_PRINCE, tendency, state, trial)
        candidate = add_slopes(state, slopes, DORMAND_PRINCE.weights, trial)
        error = add_slopes(torch.zeros_like(state), slopes, DORMAND_PRINCE_ERROR, trial)
        norm = tolerance.norm(error, torch.maximum(state.abs(), candidate.abs()))
        if norm <= 1:
            time = end if trial == remaining else time + trial
            state = candidate
            dt = max(dt if trial < dt else 0.0, trial * _growth(norm))
        else:
            dt = trial * _growth(norm)
    return state, dt


def _growth(norm: float) -> float:
    """Factor of the next step; a fifth where the step was far too long or met a value that is not finite."""
    if not math.isfinite(norm):
        return 0.2
    return min(5.0, max(0.2, 0.9 * max(norm, 1e-10) ** -0.2))
