"""Time of a point of optimal interpolation, and its answers beside those of a dense loop and of pyinterp.

    OMP_NUM_THREADS=1 python -m scripts.benchmarks.interpolation runs/points.npz
    python3.12 scripts/benchmarks/interpolation.py runs/points.npz --pyinterp

The second line needs nothing of oceanvar, but pyinterp, whose wheels begin with Python 3.12.
"""

import sys
import time
from collections.abc import Callable

import numpy as np

N_OBS, N_TARGETS, N_NEAREST, N_REPEATS = 20_000, 2_000, 150, 3
BOX = (3000.0, 1500.0, 30.0)
LENGTHS = {"x": 100.0, "y": 100.0, "time": 10.0}
KERNELS = ("gaussian", "matern12", "matern32", "matern52")

Analysis = Callable[[], tuple[np.ndarray, np.ndarray]]


def timed(name: str, analysis: Analysis) -> tuple[np.ndarray, np.ndarray]:
    """Print the best processor time of a point, ms; return the answers."""
    seconds = []
    for _ in range(N_REPEATS):
        start = time.process_time()
        answers = analysis()
        seconds.append(time.process_time() - start)
    print(f"{name}: {1e3 * min(seconds) / N_TARGETS:.3f} ms a point")
    return answers


def ours(file: str) -> None:
    """Draw points, analyse them with every kernel, and write all of it."""
    from oceanvar.baselines import Covariance, interpolate_points

    rng = np.random.default_rng(0)
    points, targets = (rng.uniform(0, 1, (n, 3)) * BOX for n in (N_OBS, N_TARGETS))
    values, variance = rng.standard_normal(N_OBS), rng.uniform(0.05, 0.2, N_OBS)
    written = {"points": points, "targets": targets, "values": values, "variance": variance}
    for kernel in KERNELS:
        prior = Covariance(1.0, LENGTHS, kernel=kernel)
        answers = (targets, points, values, np.sqrt(variance), prior, N_NEAREST)
        written[kernel] = np.stack(timed(kernel, lambda given=answers: interpolate_points(*given)))
    found, _ = timed("dense loop", lambda: (dense(targets, points, values, variance), values))
    print(f"dense loop differs by {np.abs(found - written['gaussian'][0]).max():.1e}")
    np.savez(file, **written)


def dense(targets: np.ndarray, points: np.ndarray, values: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Gaussian analysis, a target at a time, as one writes it down."""
    from scipy.spatial import cKDTree

    lengths = np.array(list(LENGTHS.values()))
    _, near = cKDTree(points / lengths).query(targets / lengths, N_NEAREST)
    found = np.empty(len(targets))
    for number, which in enumerate(near):
        x, centre = points[which] / lengths, targets[number] / lengths
        prior = np.exp(-0.5 * ((x[:, np.newaxis] - x) ** 2).sum(-1)) + np.diag(variance[which])
        found[number] = np.linalg.solve(prior, np.exp(-0.5 * ((x - centre) ** 2).sum(-1))) @ values[which]
    return found


def theirs(file: str) -> None:
    """Analyse the same points by pyinterp."""
    import pyinterp

    read = np.load(file)
    print("pyinterp", pyinterp.__version__)
    for kernel in KERNELS:
        # Its Gaussian is exp(-r^2).
        factor = np.sqrt(2) if kernel == "gaussian" else 1.0
        lx, ly, lt = (factor * length for length in LENGTHS.values())
        oi = pyinterp.OptimalInterpolation(
            read["points"],
            read["values"],
            read["variance"],
            covariance=kernel.replace("matern", "matern_"),
            time_scale=lx / lt,
        )

        def analysis(oi=oi, lx=lx, ly=ly, lt=lt) -> tuple[np.ndarray, np.ndarray]:
            result = oi(read["targets"], lx=lx, ly=ly, lt=lt, sigma=1.0, k=N_NEAREST, num_threads=1)
            return result.value, result.error

        differences = np.abs(np.stack(timed(kernel, analysis)) - read[kernel]).max(axis=1)
        print(f"    analysis differs by {differences[0]:.1e}, error by {differences[1]:.1e}")


if __name__ == "__main__":
    (theirs if "--pyinterp" in sys.argv else ours)(sys.argv[1])
