"""Table 1 of Fablet, Drumetz and Rousseau (2020): MNIST digits with holes, by the code that maps the sea.

    python -m scripts.mnist --out runs/mnist
    python -m scripts.mnist --rows x0 --rows pca-fsgd --noise std --scale 0.1

An image is a state of one variable and one time. Three holes of 9 x 9 pixels and Gaussian noise hide the truth: of
standard deviation 0.1 sigma as in the papers' code (``std``), or of variance 0.1 sigma^2 as in their text
(``variance``), for which the models of the first are trained further. Scores are over the test images in units of
sigma^2: R all pixels, I pixels in holes, P the mean of (Phi(x) - x)^2 at the truth; R and I over the first 512 test
images besides, on which the papers' published weights were measured. Whatever is chosen is chosen on training
images that are held out. Runs keep checkpoints in OUT, continue where they were broken off, and
log to OUT/log.txt; a row that has been scored is read back from OUT.
"""

import functools
import gzip
import json
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure

import oceanvar
from oceanvar.metrics import bootstrap_interval, bootstrap_ratio
from oceanvar.network.bridge import to_tensor
from scripts.keeping import claim, find_data, kept
from scripts.mnist.methods import TEST_SEED, Task
from scripts.mnist.rows import ROWS, trained

N_LEARN, N_HELD, N_TEST, N_FIRST = 58_000, 2_000, 10_000, 512
NOISES = {"std": 0.1, "variance": 0.1**0.5}
"""Standard deviation of the noise over sigma."""
DRAWN = {"pca-fsgd": "PCA, descent", "pca-lstm": "PCA, LSTM", "ae-lstm": "AE, LSTM", "2s-lstm": "2S-CNN, LSTM",
         "unet-lstm": "U-Net, LSTM"}  # fmt: skip
N_DRAWN = 10
BATCH_SIZE = 250


def read_images(folder: Path, name: str) -> np.ndarray:
    """Grey levels ``(image, row, column)`` of an IDX file, gzipped or not."""
    plain, packed = folder / name, folder / f"{name}.gz"
    if not (plain.is_file() or packed.is_file()):
        raise click.ClickException(f"there is neither {plain} nor {packed}")
    content = plain.read_bytes() if plain.is_file() else gzip.decompress(packed.read_bytes())
    magic, *shape = np.frombuffer(content, ">i4", 4)
    if magic != 0x803:
        raise click.ClickException(
            f"{name} begins with {magic:#x}, not with the 0x803 of images in IDX format"
        )
    return np.frombuffer(content, np.uint8, offset=16).reshape(shape).astype(np.float32)


def labelled(images: np.ndarray) -> xr.Dataset:
    """Images as states of one time."""
    about = {"long_name": "grey level", "units": "1"}
    return xr.Dataset({"grey": (("image", "time", "row", "column"), images[:, None], about)})


def make_tasks(folder: Path, scale: float, effort: float, seed: int) -> dict[str, Task]:
    """The images under either kind of noise."""
    learn, test = (read_images(folder, f"{name}-images-idx3-ubyte") for name in ("train", "t10k"))
    n_learn, n_held, n_test = (max(2, round(n * scale)) for n in (N_LEARN, N_HELD, N_TEST))
    patch = dict(zip(("time", "row", "column"), (1, *learn.shape[1:]), strict=True))
    mean, std = float(learn.mean(dtype=np.float64)), float(learn.std(dtype=np.float64))
    space = oceanvar.StateSpace(("grey",), tuple(patch), patch, mean={"grey": mean}, std={"grey": std})
    parts = (learn[:n_learn], learn[n_learn : n_learn + n_held], test[:n_test])
    datasets = [labelled(part) for part in parts]
    return {name: Task(space, *datasets, noise, scale, effort, seed) for name, noise in NOISES.items()}


def score(name: str, model: oceanvar.VarNet, task: Task, folder: Path) -> dict[str, Any]:
    """Scores of a model on the test images; keeps the first analyses for the figure."""
    observed, truth = task.observed(task.test, TEST_SEED), task.states(task.test)
    began = time.perf_counter()
    batches = [observed[i : i + BATCH_SIZE] for i in range(0, len(observed), BATCH_SIZE)]
    solved = np.concatenate([model.solve(batch, precision=ROWS[name].precision) for batch in batches])
    seconds = time.perf_counter() - began
    np.save(folder / f"{name}.npy", solved[:N_DRAWN])
    hidden = np.isnan(observed).reshape(len(observed), -1)
    error = (to_tensor(solved, task.space) - truth).square().flatten(1).double().numpy()
    return {
        **reconstruction_scores(error, hidden),
        "first": reconstruction_scores(error[:N_FIRST], hidden[:N_FIRST]),
        "p": projection_score(model, truth),
        "n_parameters": sum(each.numel() for each in model.assimilator.state_dict().values()),
        "n_steps": model.assimilator.n_steps,
        "seconds_per_1000": 1000 * seconds / len(observed),
    }


def reconstruction_scores(error: np.ndarray, hidden: np.ndarray) -> dict[str, list[float]]:
    """R and I with their intervals, of square errors and holes ``(image, pixel)``."""
    in_holes, fraction = (error * hidden).mean(1), hidden.mean(1)
    return {
        "r": [float(error.mean()), *bootstrap_interval(error.mean(1))],
        "i": [float(in_holes.mean() / fraction.mean()), *bootstrap_ratio(in_holes, fraction)],
    }


@torch.no_grad()
def projection_score(model: oceanvar.VarNet, truth: torch.Tensor) -> list[float]:
    """Mean of (Phi(x) - x)^2 with its interval; nothing where there is no Phi."""
    if len(model.assimilator.cost.terms) == 1:
        return []
    prior = model.assimilator.cost.prior
    parts = [(prior(x) - x).square().flatten(1).mean(1) for x in truth.split(BATCH_SIZE)]
    by_image = torch.cat(parts).numpy()
    return [float(by_image.mean()), *bootstrap_interval(by_image)]


def table(results: dict[str, dict[str, Any]]) -> str:
    """Scores of one kind of noise in Markdown."""
    names = ["Phi", "solver", "R", "95 % interval", "I", "95 % interval", "P", f"R, first {N_FIRST}"]
    names += [f"I, first {N_FIRST}", "stored numbers", "s per 1,000 images"]
    lines = [names, ["---"] * len(names)]
    for name, row in results.items():
        cells = [ROWS[name].prior, ROWS[name].solver]
        for value, low, high in (row["r"], row["i"]):
            cells += [f"{value:.4f}", f"{low:.4f} to {high:.4f}"]
        cells += [f"{row['p'][0]:.4f}" if row["p"] else "", *(f"{row['first'][key][0]:.4f}" for key in "ri")]
        lines.append([*cells, f"{row['n_parameters']:,}", f"{row['seconds_per_1000']:.1f}"])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def draw(task: Task, folder: Path, path: Path) -> None:
    """First test digits: truth, observations, and the analyses that are there."""
    test = task.test.isel(image=slice(N_DRAWN))
    pictures = {
        "truth": task.space.stack(test).values,
        "observed": task.observed(task.test, TEST_SEED)[:N_DRAWN],
    }
    files = {label: folder / f"{name}.npy" for name, label in DRAWN.items()}
    pictures |= {label: np.load(file) for label, file in files.items() if file.exists()}
    n_columns = len(pictures["truth"])
    figure = Figure(figsize=(0.75 * n_columns + 1.3, 0.78 * len(pictures)), dpi=80, layout="constrained")
    axes = figure.subplots(len(pictures), n_columns, squeeze=False)
    for row, (label, images) in zip(axes, pictures.items(), strict=True):
        row[0].set_ylabel(label, rotation=0, ha="right", va="center")
        for ax, image in zip(row, images, strict=True):
            ax.set(xticks=[], yticks=[], facecolor="tab:orange")
            ax.imshow(image[0, 0], cmap="gray", vmin=0, vmax=255)
    figure.savefig(path)


@click.command()
@click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of IDX files."
)
@click.option("--rows", multiple=True, type=click.Choice(list(ROWS)), help="Methods; default all.")
@click.option("--noise", "noises", multiple=True, type=click.Choice(list(NOISES)), help="Default both.")
@click.option("--scale", default=1.0, show_default=True, help="Share of images and of training samples.")
@click.option("--effort", default=1.0, show_default=True, help="Factor on the number of training samples.")
@click.option("--seed", default=0, show_default=True, help="Of initial weights and training samples.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/mnist"), show_default=True)
def main(
    data: Path | None,
    rows: Sequence[str],
    noises: Sequence[str],
    scale: float,
    effort: float,
    seed: int,
    out: Path,
) -> None:
    """Train, score and draw the methods."""
    torch.set_num_threads(1)
    claim(out, {"scale": scale, "effort": effort, "seed": seed})
    tasks = make_tasks(data or find_data("mnist", "the IDX files of MNIST", "--data"), scale, effort, seed)
    folders = {noise: out / noise for noise in NOISES}

    def log(text: str) -> None:
        with (out / "log.txt").open("a") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}\n")

    def make(noise: str, name: str) -> dict[str, Any]:
        path = list(NOISES)[: list(NOISES).index(noise) + 1]
        model = trained(name, [tasks[n] for n in path], [folders[n] for n in path], log)
        scores = score(name, model, tasks[noise], folders[noise])
        log(f"{noise} {name}: {json.dumps(scores)}")
        return scores

    for noise in noises or NOISES:
        folder = folders[noise]
        folder.mkdir(exist_ok=True)
        for name in rows or ROWS:
            kept(folder / f"{name}.json", functools.partial(make, noise, name))
        files = {name: folder / f"{name}.json" for name in ROWS}
        results = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
        (out / f"{noise}.json").write_text(json.dumps(results, indent=1))
        draw(tasks[noise], folder, out / f"{noise}.png")
        print(f"noise of standard deviation {NOISES[noise]:.3f} sigma\n\n{table(results)}\n", flush=True)


if __name__ == "__main__":
    main()
