"""Reading, solving and writing at the same time: two threads beside the caller's, and two short queues."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")
Solved = TypeVar("Solved")

_DEPTH = 1
"""Items that wait in a queue: reading and writing are a step ahead and behind, and memory stays small."""


class ChannelClosedError(Exception):
    """The other end of a channel takes no more."""


class Channel(Generic[Item]):
    """A queue of bounded length between two threads, which either end may close.

    Parameters
    ----------
    depth : int
        Most items that wait in it.
    """

    def __init__(self, depth: int = _DEPTH) -> None:
        self._depth = depth
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: Item) -> None:
        """Add an item, when there is room.

        Raises
        ------
        ChannelClosedError
            If the channel is closed. If it was closed with an error: that error.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._depth)
            self.check()
            if self._closed:
                raise ChannelClosedError
            self._items.append(item)
            self._changed.notify_all()

    def close(self, error: BaseException | None = None) -> None:
        """End the channel: what is in it is still given away, unless there is an error."""
        with self._changed:
            self._closed = True
            self._error = self._error or error
            self._changed.notify_all()

    def check(self) -> None:
        """Raise the error that the channel was closed with."""
        if self._error is not None:
            raise self._error

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or bool(self._items))
                self.check()
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item


class Stopwatch:
    """Seconds spent on each kind of work; each kind belongs to one thread."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def time(self, work: str) -> Iterator[None]:
        """Add the seconds of a block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - began
            with self._lock:
                self._seconds[work] = self._seconds.get(work, 0.0) + seconds

    def lap(self) -> dict[str, float]:
        """Give the seconds since the last lap."""
        with self._lock:
            seconds, self._seconds = self._seconds, {}
        return {work: round(each, 6) for work, each in seconds.items()}


def run_pipeline(
    items: Iterator[Read],
    solve: Callable[[Iterable[Read]], Iterator[Solved]],
    write: Callable[[Solved], None],
) -> None:
    """Read in one thread, solve in this one, write in a third.

    An error anywhere ends all three and is raised here; so is Ctrl-C. What was solved before is written
    first, unless it is the writing that failed.

    Parameters
    ----------
    items : generator
        What is read; the thread that reads also closes it.
    solve : callable
        From an iterable of what is read to an iterator over what is to be written.
    write : callable
        Takes one result.
    """
    inbox: Channel[Read] = Channel()
    outbox: Channel[Solved] = Channel()
    threads = [
        threading.Thread(target=_read, args=(items, inbox), name="oceanvar-reader", daemon=True),
        threading.Thread(target=_write, args=(outbox, write), name="oceanvar-writer", daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        for result in solve(inbox):
            outbox.put(result)
    finally:
        inbox.close()
        outbox.close()
        for thread in threads:
            thread.join()
    outbox.check()


def _read(items: Iterator[Read], inbox: Channel[Read]) -> None:
    try:
        with closing(items):  # type: ignore[type-var]
            for item in items:
                inbox.put(item)
    except ChannelClosedError:
        pass
    except BaseException as error:
        inbox.close(error)
    else:
        inbox.close()


def _write(outbox: Channel[Solved], write: Callable[[Solved], None]) -> None:
    try:
        for result in outbox:
            write(result)
    except BaseException as error:
        outbox.close(error)
