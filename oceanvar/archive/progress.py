"""How a run says how far it is."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm


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
