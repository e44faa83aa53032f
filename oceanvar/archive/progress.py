"""How a run says how far it is."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

SECONDS_BETWEEN = 10.0
"""Between lines about files."""


@contextmanager
def reported(progress: bool, n_done: int, n_units: int) -> Iterator[Callable[[], None]]:
    """Show a bar on a terminal, else write a line for each unit."""
    began, done = time.perf_counter(), n_done
    shown = progress and sys.stderr.isatty()
    with tqdm(total=n_units, initial=n_done, unit="unit", desc="assimilate", disable=not shown) as bar:

        def written() -> None:
            nonlocal done
            done += 1
            bar.update()
            if progress and not shown:
                seconds = time.perf_counter() - began
                left = seconds / (done - n_done) * (n_units - done)
                line = f"unit {done} of {n_units} written after {seconds:.0f} s, about {left:.0f} s left"
                print(line, file=sys.stderr, flush=True)

        yield written


def looked_at(files: Sequence[Item], progress: bool) -> Iterator[Item]:
    """Give files one after the other; show a bar on a terminal, else write a line now and then."""
    began = told = time.perf_counter()
    shown = progress and sys.stderr.isatty()
    for done, file in enumerate(tqdm(files, "index", unit="file", disable=not shown), 1):
        yield file
        now = time.perf_counter()
        if progress and not shown and now - told >= SECONDS_BETWEEN:
            told, left = now, (now - began) / done * (len(files) - done)
            line = (
                f"looked at {done} of {len(files)} files after {now - began:.0f} s, about {left:.0f} s left"
            )
            print(line, file=sys.stderr, flush=True)
