"""What becomes of windows whose solve has failed: they are told, and never handed out as an analysis."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from oceanvar.errors import DivergenceError
from oceanvar.options import ERROR, FALLBACK, ON_DIVERGENCE, check_choice
from oceanvar.variational.shapes import broadcast
from oceanvar.variational.verdicts import Verdict

logger = logging.getLogger(__name__)

_N_NAMED = 4


@torch.no_grad()
def without_diverged(
    state: Tensor,
    first_guess: Callable[[], Tensor],
    verdict: Tensor,
    on_divergence: str,
    place: Callable[[int], str],
) -> Tensor:
    """State ``(B, V, T, *S)`` of a batch of windows, with something else where a window has diverged.

    Parameters
    ----------
    state : Tensor
        Last state of the solve.
    first_guess : callable
        Makes its first guess again.
    verdict : Tensor
        `Verdict` on each window, ``(B,)``.
    on_divergence : {"error", "fallback", "nan"}
        What is put there, if anything.
    place : callable
        Says where the window of a number lies.

    Raises
    ------
    DivergenceError
        If `on_divergence` is "error", or the first guess is not finite either.
    ConfigError
        If it is none of the three.
    """
    check_choice("on_divergence", on_divergence, ON_DIVERGENCE)
    diverged = verdict == Verdict.DIVERGED
    if not diverged.any():
        return state
    told = f"{_named(diverged, place)}: state or cost is not finite, or grew without bound"
    if on_divergence == ERROR:
        raise DivergenceError(
            f"{told}; look at the observations there and at the model, or go on with on_divergence='fallback' (the "
            "first guess there) or 'nan'"
        )
    put, what = torch.full_like(state, torch.nan), "NaN are"
    if on_divergence == FALLBACK:
        put, what = first_guess().to(state), "the first guess is"
        lost = diverged & ~put.flatten(1).isfinite().all(1)
        if lost.any():
            raise DivergenceError(
                f"{_named(lost, place)}, and the first guess is not finite either: on_divergence='nan' goes on"
            )
    logger.warning("%s; %s there", told, what)
    return torch.where(broadcast(diverged, state), put, state)


def tell_trapped(verdict: Tensor) -> None:
    """Warn of windows that no restart has brought near to their observations, by their `Verdict` ``(B,)``."""
    n_trapped = int((verdict == Verdict.TRAPPED).sum())
    if n_trapped:
        logger.warning(
            "%d of %d windows fit their observations too badly to be chance, after all restarts: are these "
            "observations unlike those the model learned on? diagnostics=True shows where",
            n_trapped,
            len(verdict),
        )


def _named(which: Tensor, place: Callable[[int], str]) -> str:
    """How many windows have diverged, and where the first ones lie."""
    numbers = which.nonzero().flatten().tolist()
    more = f" and {len(numbers) - _N_NAMED} more" if len(numbers) > _N_NAMED else ""
    places = "; ".join(place(number) for number in numbers[:_N_NAMED])
    return f"{len(numbers)} of {len(which)} windows diverged ({places}{more})"
