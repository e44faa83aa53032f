"""One step of an explicit Runge-Kutta scheme, its adjoint and its tangent, for any Butcher tableau.

The notation (a, b, k) is that of Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I
(1993), section II.1. The equation is autonomous: dx/dt = f(x).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from oceanvar.maps.base import AbstractMap, Pullback, Pushforward

Tendency = Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True)
class Tableau:
    """Coefficients of an explicit Runge-Kutta scheme for an autonomous equation.

    Attributes
    ----------
    stages : tuple of tuple of float
        Row i holds a_i1 ... a_i(i-1); the first row is empty.
    weights : tuple of float
        b, one for each stage.
    """

    stages: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]


EULER = Tableau(stages=((),), weights=(1.0,))
RK4 = Tableau(stages=((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), weights=(1 / 6, 1 / 3, 1 / 3, 1 / 6))


def add_slopes(state: Tensor, slopes: Sequence[Tensor], coefficients: Sequence[float], dt: float) -> Tensor:
    """State plus dt times the sum of the slopes, each with its coefficient."""
    for slope, coefficient in zip(slopes, coefficients, strict=True):
        if coefficient != 0:
            state = torch.add(state, slope, alpha=dt * coefficient)
    return state


def stage_slopes(tableau: Tableau, tendency: Tendency, state: Tensor, dt: float) -> list[Tensor]:
    """Slopes k_1 ... k_s of one step of length `dt` from `state`."""
    slopes: list[Tensor] = []
    for row in tableau.stages:
        slopes.append(tendency(add_slopes(state, slopes, row, dt)))
    return slopes


def step(tableau: Tableau, tendency: Tendency, state: Tensor, dt: float) -> Tensor:
    """State after one step of length `dt`."""
    return add_slopes(state, stage_slopes(tableau, tendency, state, dt), tableau.weights, dt)


def linearize_step(
    tableau: Tableau, tendency: AbstractMap, state: Tensor, dt: float
) -> tuple[Tensor, Pullback]:
    """State after one step, and the pull-back of the step through its stages, last stage first."""
    slopes: list[Tensor] = []
    stage_pullbacks: list[Pullback] = []
    for row in tableau.stages:
        slope, stage_pullback = tendency.linearize(add_slopes(state, slopes, row, dt))
        slopes.append(slope)
        stage_pullbacks.append(stage_pullback)

    def pullback(cotangent: Tensor) -> Tensor:
        by_slope = [cotangent * (dt * weight) for weight in tableau.weights]
        total = cotangent
        for i in reversed(range(len(by_slope))):
            by_stage = stage_pullbacks[i](by_slope[i])
            total = total + by_stage
            for j, coefficient in enumerate(tableau.stages[i]):
                if coefficient != 0:
                    by_slope[j] = torch.add(by_slope[j], by_stage, alpha=dt * coefficient)
        return total

    return add_slopes(state, slopes, tableau.weights, dt), pullback


def push_step(
    tableau: Tableau, tendency: AbstractMap, state: Tensor, dt: float
) -> tuple[Tensor, Pushforward]:
    """State after one step, and what a perturbation of `state` becomes by then; what tangents share is done once."""
    slopes: list[Tensor] = []
    stage_pushes: list[Pushforward] = []
    for row in tableau.stages:
        point = add_slopes(state, slopes, row, dt)
        stage_pushes.append(tendency.pushforward(point))
        slopes.append(tendency(point))

    def push(tangent: Tensor) -> Tensor:
        tangents: list[Tensor] = []
        for row, stage_push in zip(tableau.stages, stage_pushes, strict=True):
            tangents.append(stage_push(add_slopes(tangent, tangents, row, dt)))
        return add_slopes(tangent, tangents, tableau.weights, dt)

    return add_slopes(state, slopes, tableau.weights, dt), push
