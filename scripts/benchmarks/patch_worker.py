"""Solves patches or maps with the oceanvar that PYTHONPATH names: a case a line in, seconds and error a line out."""

import sys
import time
from functools import cache
from pathlib import Path

import numpy as np

DIRECT = "ocean-2026.11"
"""Packaged U-Net, which was called "ocean" by some of the versions that are compared."""

CASES = {
    "ocean 1": ("ocean", (1, 1, 25, 64, 64)),
    "ocean 4": ("ocean", (4, 1, 25, 64, 64)),
    "ocean 16": ("ocean", (16, 1, 25, 64, 64)),
    "LSTM": ("LSTM", (1, 1, 15, 160, 160)),
    "small LSTM": ("LSTM", (2, 1, 3, 8, 8)),
}
"""Model and shape of the patches: "LSTM" has 10 iterations, 48 hidden channels and a two-scale prior of 32 features."""


def direct() -> str:
    """Name of the packaged U-Net."""
    import oceanvar

    models = Path(oceanvar.__file__).parent / "models"
    return DIRECT if (models / f"{DIRECT}.varnet").exists() else "ocean"


@cache
def solver(case: str):
    """Solver of a case, made once."""
    import oceanvar
    from oceanvar.network.handles import PatchSolver

    name, (_, *shape) = CASES[case]
    if name == "ocean":
        model = oceanvar.load(direct())
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


YEARS = {"year": (365, 0.1, 250), "small year": (30, 0.3125, 2)}
"""Days, resolution in degrees and days before of a simulated ocean in a box of 10 x 10 degrees, seen by four nadirs."""


@cache
def year(case: str):
    """Truth and observations, made once."""
    import oceanvar
    from oceanvar.observing import Nadirs

    n_days, resolution, n_spinup = YEARS[case]
    truth = oceanvar.quasigeostrophic(n_days, 5000, resolution=resolution, n_spinup=n_spinup)[["ssh"]]
    nadirs = Nadirs(("jason", "sentinel3a", "sentinel3b", "altika"))
    return truth, truth.varnet.observe(nadirs, noise_std=0.02, seed=5000)


def timed(case: str) -> tuple[float, float]:
    """Processor seconds, and the root mean square error where a truth is known."""
    if case in CASES:
        solve, values = solver(case), patches(case)
        start = time.process_time()
        solve(values)
        return time.process_time() - start, float("nan")
    truth, obs = year(case)
    start = time.process_time()
    field = obs.varnet.assimilate(model_of_year(case))
    seconds = time.process_time() - start
    return seconds, float(((field - truth)["ssh"] ** 2).mean() ** 0.5)


def model_of_year(case: str):
    """The packaged model, or one for the coarse grid of the small year."""
    import oceanvar

    if case == "year":
        return direct()
    patch = {"time": 6, "latitude": 16, "longitude": 16}
    space = oceanvar.StateSpace(("ssh",), tuple(patch), patch=patch, mean={"ssh": 0.0}, std={"ssh": 1.0})
    return oceanvar.presets.fourdvarnet(space, n_steps=1, n_features=2, n_hidden=2)


def main(memory: str) -> None:
    if memory == "kept":
        from oceanvar.allocation import keep_freed_memory

        keep_freed_memory()
    import torch

    torch.set_num_threads(1)
    for line in sys.stdin:
        print(*timed(line.strip()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
