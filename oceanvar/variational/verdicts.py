"""What a solve ends with: the analysis, and whether it can be called one."""

import enum
from typing import NamedTuple

import torch
from torch import Tensor


class Verdict(enum.IntEnum):
    """How the solve of a window ended."""

    CONVERGED = 0
    """Its solver would not move it any more."""
    STOPPED = 1
    """The iterations were used up; all there is to say of solvers that do not know when to stop."""
    DIVERGED = 2
    """The state or its cost is not finite, or the state has grown without bound."""
    TRAPPED = 3
    """Its cost is too high to be chance, after all restarts: a wrong minimum, or observations of another kind."""


GROWTH = 1e3
"""How many times as far from the mean as the first guess, and as a standard deviation, no state of a sound solve is."""


class Analysis(NamedTuple):
    """Analysis ``(B, V, T, *S)`` of a batch of windows, and the `Verdict` on each, ``(B,)``."""

    state: Tensor
    verdict: Tensor


def judged(state: Tensor, value: Tensor, converged: Tensor | bool) -> Tensor:
    """Verdict on each window, ``(B,)``.

    Parameters
    ----------
    state : Tensor
        Last state ``(B, V, T, *S)``.
    value : Tensor
        Its cost ``(B,)``.
    converged : Tensor or bool
        Windows that stand still ``(B,)``; one word serves for all.
    """
    ended = torch.where(torch.as_tensor(converged, device=value.device), Verdict.CONVERGED, Verdict.STOPPED)
    largest = state.flatten(1).abs().amax(1)  # NaN where one is
    return torch.where(largest.isfinite() & value.isfinite(), ended, Verdict.DIVERGED)


def bounded(state: Tensor, guess: Tensor, verdict: Tensor) -> Tensor:
    """Verdict on each window ``(B,)``, which has diverged where its state is a `GROWTH` times its first guess.

    A step that is too long for its cost multiplies the state again and again, and may end before it overflows.

    Parameters
    ----------
    state, guess : Tensor
        Last state and first guess ``(B, V, T, *S)``, normalised.
    verdict : Tensor
        What the solver says, ``(B,)``.
    """
    largest, first = (each.flatten(1).abs().amax(1) for each in (state, guess))
    return torch.where(largest <= GROWTH * first.clamp(min=1), verdict, Verdict.DIVERGED)
