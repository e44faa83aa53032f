"""Table 2 of the 4DVarNet paper with the rows it lacks, on the same windows, and its figures.

    python -m scripts.lorenz osse lorenz63 --n-windows 4000
    python -m scripts.lorenz osse lorenz96 --n-windows 400
    python -m scripts.lorenz osse lorenz96 --scale 0.1        # everything at a tenth of the size

Every method sees the same windows, each from a trajectory of its own. Scores are those of
`oceanvar.papers.comparison.score`.
Each row is written to OUT as soon as it is there and taken from there when the run is repeated; a line goes to OUT/log.
"""

import logging
from pathlib import Path

import click
import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr

from oceanvar.cli.report import score_lines
from oceanvar.network.bridge import to_array, to_observations
from oceanvar.papers import Method, methods
from oceanvar.papers.comparison import experiment_of, score
from oceanvar.papers.experiments import EXPERIMENTS
from oceanvar.papers.ladder import Climate
from oceanvar.variational import health
from scripts.keeping import kept

N_PATHS = 16
"""Windows over which the paths of the solvers are averaged."""


@click.command()
@click.argument("system", type=click.Choice(sorted(EXPERIMENTS)))
@click.option("--n-windows", default=400, show_default=True)
@click.option("--n-slow", default=400, show_default=True, help="Windows of these for slow methods.")
@click.option("--all-steps", is_flag=True, help="Lorenz-63 observed at every 8th step, edges too.")
@click.option("--fixed-mask", is_flag=True, help="One mask for all windows, as in the papers' test sets.")
@click.option("--seed", default=21, show_default=True)
@click.option("--scale", default=1.0, show_default=True, help="Factor on the numbers of windows.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
def main(
    system: str,
    n_windows: int,
    n_slow: int,
    scale: float,
    out: Path,
    seed: int,
    all_steps: bool,
    fixed_mask: bool,
) -> None:
    """Score the table on SYSTEM."""
    torch.set_num_threads(1)
    n_windows, n_slow = (max(4, round(scale * n)) for n in (n_windows, n_slow))
    folder = out / f"osse_{system}{'_all_steps' * all_steps}{'_fixed' * fixed_mask}_{n_windows}_{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=folder / "log", level=logging.INFO, format="%(asctime)s %(message)s", force=True
    )
    climate, rows = methods(system)
    data = experiment_of(system, all_steps, fixed_mask).test_windows(n_windows, seed)
    truth, seen = (climate.space.stack(ds).values for ds in data)
    table = []
    for method in rows:
        n = min(n_slow, n_windows) if method.is_slow else n_windows
        table.append(row_of(folder, method, climate, truth[:n], seen[:n]))
        print("\n".join(score_lines(xr.concat([table[-1]], "scheme").assign_attrs(title=""))), flush=True)
    write_paths(folder, climate, rows, truth[:N_PATHS], seen[:N_PATHS])
    draw_scores(folder, table)
    draw_paths(folder)
    draw_fields(folder, rows, truth[0], seen[0])


def row_of(folder: Path, method: Method, climate: Climate, truth: np.ndarray, seen: np.ndarray) -> xr.Dataset:
    """Row of a method; one that is scored now goes to the log."""

    def make() -> xr.Dataset:
        row = score(method, climate, truth, seen)
        numbers = {name: float(each) for name, each in row.items() if each.ndim == 0}
        logging.info("%s: %s", method.name, numbers)
        return row

    return kept(folder / f"{''.join(c if c.isalnum() else '_' for c in method.name)}.nc", make)


def write_paths(
    folder: Path, climate: Climate, rows: list[Method], truth: np.ndarray, seen: np.ndarray
) -> None:
    """Cost 2J/n of 4D-Var and R after every iteration of every solver, mean over a few windows."""
    obs64 = to_observations(seen, climate.space, dtype=torch.float64)
    lines = []
    for method in rows:
        model = method.model
        dtype = torch.float64 if method.precision == "float64" else torch.float32
        model.assimilator.to(dtype)
        obs = to_observations(seen, model.state_space, dtype=dtype)
        for k, state in enumerate(model.assimilator.iterates(obs)):
            if k & (k - 1) and k % 25 and k != model.assimilator.n_steps:
                continue  # of many iterations some are enough
            r = np.square(to_array(state, model.state_space) - truth).mean() / np.square(truth).mean()
            lines.append(
                (method.name, k, float(health(climate.cost.double(), state.double(), obs64).mean()), r)
            )
    (folder / "paths.csv").write_text(
        "method,iteration,cost,r\n" + "".join("{},{},{:.6g},{:.6g}\n".format(*line) for line in lines)
    )


def draw_paths(folder: Path) -> None:
    """Draw error against cost along the path of each solver, the papers' figure 1."""
    lines = [line.rsplit(",", 3) for line in (folder / "paths.csv").read_text().splitlines()[1:]]
    figure, ax = plt.subplots(figsize=(7.5, 5), layout="constrained")
    for i, name in enumerate(dict.fromkeys(line[0] for line in lines)):
        cost, r = np.array([line[2:] for line in lines if line[0] == name], float).T
        ax.loglog(cost, r, "o-", ms=3, lw=1, label=name, color=f"C{i % 10}", alpha=0.8)
        ax.plot(cost[-1], r[-1], "*", ms=13, color=f"C{i % 10}", mec="black", mew=0.6)
    ax.axvline(1, color="0.6", ls=":", lw=1)
    ax.set_xlabel("cost of 4D-Var per observation, 2J/n (a star ends each path)")
    ax.set_ylabel("R-score")
    ax.legend(fontsize=7, frameon=False)
    figure.savefig(folder / "paths.png", dpi=110)


def draw_scores(folder: Path, table: list[xr.Dataset]) -> None:
    """Draw error against time, and error by step of the window."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained")
    for i, row in enumerate(table):
        colour, name = f"C{i % 10}", str(row["scheme"].values)
        low, mid, high = (float(row[key]) for key in ("r_score_low", "r_score", "r_score_high"))
        marker = "o" if i < 10 else "s"
        left.errorbar(
            float(row["seconds"]), mid, [[mid - low], [high - mid]], fmt=marker, color=colour, label=name
        )
        right.semilogy(row["r_by_step"], color=colour, lw=1, ls="-" if i < 10 else "--")
    left.set(
        xscale="log", yscale="log", xlabel="seconds a window (one core)", ylabel="R-score, 95 % interval"
    )
    right.set(xlabel="step of the window", ylabel="R-score of the step")
    left.legend(fontsize=7, frameon=False)
    figure.savefig(folder / "scores.png", dpi=110)


def draw_fields(folder: Path, rows: list[Method], truth: np.ndarray, seen: np.ndarray) -> None:
    """Draw truth, analyses and errors of one window over time and site or variable, the papers' figure 3."""
    shown = [row for row in rows if not row.is_slow]
    true_image = as_image(truth)
    figure, axes = plt.subplots(len(shown) + 1, 2, figsize=(11, 1.25 * len(shown) + 2), layout="constrained")
    limit = np.abs(truth).max()
    for ax, field, title in zip(
        axes[0], (true_image, as_image(seen)), ("truth", "observations"), strict=True
    ):
        ax.imshow(field, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        ax.set_title(title, fontsize=8)
    for pair, row in zip(axes[1:], shown, strict=True):
        analysis = as_image(row.model.solve(seen[None], precision=row.precision)[0])
        pair[0].imshow(
            analysis, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest"
        )
        pair[1].imshow(
            analysis - true_image, aspect="auto", cmap="PuOr", vmin=-2, vmax=2, interpolation="nearest"
        )
        pair[0].set_title(row.name, fontsize=8)
        pair[1].set_title("its error, -2 to 2", fontsize=8)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    figure.savefig(folder / "fields.png", dpi=100)


def as_image(window: np.ndarray) -> np.ndarray:
    """Lay a window ``(V, T)`` or ``(1, T, site)`` out with time to the right."""
    return window if window.ndim == 2 else window[0].T
