"""What is drawn while the step before it is still computed."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

N_AHEAD = 2
"""Items that wait: one long draw, as the first read of a chunk, is then seldom waited for."""


def drawn_ahead(items: Iterable[T]) -> Iterator[T]:
    """Items in their order, drawn by a thread of their own while the caller works on the one before.

    A thread is enough: numpy, reads and the steps of training all let another thread run. Its errors are raised
    where the item would have come, and it has ended when the iterator has.

    Parameters
    ----------
    items : iterable
        Drawn in order, by one thread.
    """
    source, end = iter(items), object()
    with ThreadPoolExecutor(1, thread_name_prefix="oceanvar-draws") as thread:
        waiting = deque(thread.submit(next, source, end) for _ in range(N_AHEAD))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(thread.submit(next, source, end))
            yield item  # type: ignore[misc]
