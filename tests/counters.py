"""Stand-ins that count: what was computed, how often, in batches of which size."""

import threading
from typing import Any

import dask
import numpy as np
import pytest

from oceanvar.network.handles import PatchSolver


class Recorder:
    """The identity, remembering the first value and the number of patches of each call."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.firsts: list[float] = []
        self.batches: list[int] = []

    def __call__(self, patches: np.ndarray) -> np.ndarray:
        with self.lock:
            self.firsts.extend(patches.reshape(len(patches), -1)[:, 0].tolist())
            self.batches.append(len(patches))
        return patches

    def __dask_tokenize__(self) -> str:
        return "recorder"


class CountingScheduler:
    def __init__(self) -> None:
        self.n_calls = 0

    def __call__(self, graph: Any, keys: Any, **options: Any) -> Any:
        self.n_calls += 1
        return dask.get(graph, keys, **options)


def count_solves(
    monkeypatch: pytest.MonkeyPatch,
    fail_after: int | None = None,
    error: type[BaseException] = KeyboardInterrupt,
) -> list[int]:
    """Give the list to which each call of a solver adds its number of patches; end one of them with an error."""
    counts: list[int] = []
    solve = PatchSolver.__call__

    def counted(self: PatchSolver, patches: np.ndarray, *tracks: Any, **named: Any) -> np.ndarray:
        if len(counts) == fail_after:
            raise error("on purpose")
        counts.append(len(patches))
        return solve(self, patches, *tracks, **named)

    monkeypatch.setattr(PatchSolver, "__call__", counted)
    return counts
