"""How many threads a solve uses: where another program has a core, the second one makes it several times slower.

Threads wait for each other after every operation, so that the slowest core, shared with somebody else, sets the pace.
"""

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

N_TIMES = 3
"""Times that each number of threads is tried, in turn."""

SECONDS_VALID = 60.0
"""How long a choice holds: other programs come and go."""

_chosen: dict[int, tuple[int, float]] = {}
"""By what torch would use: the number chosen, and when."""


_is_forked = False
"""Whether this process was forked from one that may have had threads at work."""


def _one_thread() -> None:
    """The threads of the parent are not in a forked child, and torch would wait for them for ever."""
    global _is_forked
    _is_forked = True
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_one_thread)


def best_number() -> int:
    """Threads with which a small convolution is fastest now: all that torch would use, or one.

    It takes some milliseconds, at most once a minute; nothing where torch is to use one.
    """
    n_most = torch.get_num_threads()
    if n_most == 1:
        return 1
    number, when = _chosen.get(n_most, (0, -SECONDS_VALID))
    if time.monotonic() - when >= SECONDS_VALID:
        number = _faster(n_most)
        _chosen[n_most] = number, time.monotonic()
    return number


def described_number() -> str:
    """What `best_number` says, in words."""
    n_most = torch.get_num_threads()
    return f"{best_number()} of {n_most}, the quickest in a trial just now" if n_most > 1 else "1"


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Have torch use so many threads, of this thread of Python only, and as many as before afterwards."""
    before = torch.get_num_threads()
    number = 1 if _is_forked else number
    if number == before:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _faster(n_most: int) -> int:
    seconds: dict[int, list[float]] = {1: [], n_most: []}
    for number in (n_most, 1):  # the first operations of all are slow
        _seconds(number)
    for number in (1, n_most) * N_TIMES:
        seconds[number].append(_seconds(number))
    return min(seconds, key=lambda number: statistics.median(seconds[number]))


def _seconds(number: int) -> float:
    """Time of some convolutions of a usual size."""
    with threads(number), torch.no_grad():
        fields, weights = torch.ones(1, 32, 48, 48), torch.ones(32, 32, 3, 3)
        began = time.perf_counter()
        for _ in range(3):
            torch.nn.functional.conv2d(fields, weights, padding=1)
        return time.perf_counter() - began
