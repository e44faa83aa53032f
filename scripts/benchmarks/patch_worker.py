"""Solves patches with the oceanvar that PYTHONPATH names: a case a line in, processor seconds a line out."""

import sys
import time
from functools import cache

import numpy as np

CASES = {
    "ocean 1": ("ocean", (1, 1, 25, 64, 64)),
    "ocean 4": ("ocean", (4, 1, 25, 64, 64)),
    "ocean 16": ("ocean", (16, 1, 25, 64, 64)),
    "LSTM": ("LSTM", (1, 1, 15, 160, 160)),
    "small LSTM": ("LSTM", (2, 1, 3, 8, 8)),
}
"""Model and shape of the patches: "LSTM" has 10 iterations, 48 hidden channels and a two-scale prior of 32 features."""


@cache
def solver(case: str):
    """Solver of a case, made once."""
    import oceanvar
    from oceanvar.network.handles import PatchSolver

    name, (_, *shape) = CASES[case]
    if name == "ocean":
        model = oceanvar.load(name)
    else:
        patch = dict(zip(("time", "latitude", "longitude"), shape[1:], strict=True))
        space = oceanvar.StateSpace(("ssh",), tuple(patch), patch=patch, mean={"ssh": 0.0}, std={"ssh": 1.0})
        model = oceanvar.presets.fourdvarnet(space, n_steps=10, n_features=32, n_hidden=48)
    return PatchSolver(model, "cpu", "float32", has_background=False)


@cache
def patches(case: str) -> np.ndarray:
    """Values at one point of twenty, made once."""
    rng = np.random.default_rng(0)
    shape = CASES[case][1]
    values = rng.normal(0, 0.1, shape).astype(np.float32)
    return np.where(rng.random(shape) < 0.05, values, np.float32(np.nan))


def main(memory: str) -> None:
    if memory == "kept":
        from oceanvar.allocation import keep_freed_memory

        keep_freed_memory()
    import torch

    torch.set_num_threads(1)
    for line in sys.stdin:
        solve, values = solver(line.strip()), patches(line.strip())
        start = time.process_time()
        solve(values)
        print(time.process_time() - start, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
