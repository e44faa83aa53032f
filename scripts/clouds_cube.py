"""How long a network learns from a year of clouded images of a large region, beside the time of DINEOF.

    python -m scripts.clouds_cube --out runs/cube

A cube of 365 days and 200 x 300 cells of a random field of two scales, under clouds that hide 60 % of the cells, with
errors of 0.3 K. A U-Net learns from it alone, once for a short and once for a long time; the true error of both is
that at every fourth hidden cell along all axes. Of DINEOF the time and the same error are given. Each part leaves
a file in --out and is skipped where it is.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
import xarray as xr

import oceanvar
from oceanvar.baselines import dineof
from oceanvar.network import fourdvarnet
from oceanvar.observing import MovingClouds
from oceanvar.truths import GaussianScales, gaussian_fields
from scripts.keeping import claim, kept

KELVIN = 0.3
CLOUDS = MovingClouds(0.6, {"latitude": 12, "longitude": 12}, lifetime=2.0, drift={"longitude": 1.0})
SCALES = [((0.7, 0.7), (8, 8), (90, 90)), ((0.6, 0.6), (3, 3), (40, 40))]
"""Standard deviations in K, days, km."""

PATCH, OVERLAP = (11, 40), (8, 20)
STRIDE = 4
SEED = 0


def cube(shape: tuple[int, int, int]) -> xr.Dataset:
    """Truth, and what is seen of it."""
    start = np.datetime64("2020-01-01", "ns")
    coords = {"time": start + np.arange(shape[0]) * np.timedelta64(1, "D")}
    coords |= {"latitude": 30 + 0.1 * np.arange(shape[1]), "longitude": 0.1 * np.arange(shape[2])}
    template = xr.DataArray(np.zeros(shape, np.float32), coords, tuple(coords), "sst", {"units": "K"})
    scales = [
        GaussianScales(std, {"time": days, "latitude": km, "longitude": km}) for std, days, km in SCALES
    ]
    field = gaussian_fields(template, scales, n_members=1, seed=SEED).isel(member=0, drop=True)
    truth = field.transpose(*coords).assign_attrs(units="K").to_dataset(name="sst")
    seen = truth.varnet.observe(CLOUDS, noise_std=KELVIN, seed=SEED, dims=tuple(coords))
    return truth.assign(seen=seen["sst"])


def error(field: xr.DataArray, data: xr.Dataset) -> float:
    """Root mean square error at hidden cells."""
    each = dict.fromkeys(("time", "latitude", "longitude"), slice(None, None, STRIDE))
    hidden = data["seen"].isnull().isel(each)
    return float(((field - data["sst"]).isel(each).where(hidden) ** 2).mean() ** 0.5)


def clocks() -> tuple[float, float]:
    """Seconds of the clock and of the processor."""
    return time.perf_counter(), time.process_time()


def minutes_since(began: tuple[float, float]) -> dict[str, float]:
    """What both clocks have gone on since then."""
    clock, processor = ((now - then) / 60 for now, then in zip(clocks(), began, strict=True))
    return {"minutes": clock, "cpu_minutes": processor}


def learned(data: xr.Dataset, minutes: float, widths: tuple[int, ...], folder: Path) -> dict:
    """Train for some time on what was seen, and map it."""
    patch, overlap = (
        dict(zip(("time", "latitude", "longitude"), (n[0], n[1], n[1]), strict=True))
        for n in (PATCH, OVERLAP)
    )
    space = oceanvar.StateSpace(("sst",), tuple(patch), patch, overlap)
    model = fourdvarnet(space, n_steps=0, n_features=4, n_hidden=4, start_widths=widths)
    seen = data[["seen"]].rename(seen="sst")
    began = clocks()
    history = seen.varnet.fit(
        model,
        noise_std=KELVIN,
        n_samples=512,
        batch_size=8,
        learning_rate=2e-3,
        precision="bfloat16",
        budget=f"{minutes}min",
        progress=True,
    )
    spent = minutes_since(began)
    folder.mkdir(parents=True, exist_ok=True)
    history.to_netcdf(folder / f"history_{minutes:g}.nc")
    return {"error": error(seen.varnet.assimilate(model)["sst"], data), **spent}


def by_modes(data: xr.Dataset, max_modes: int) -> dict:
    """DINEOF with the number of modes that withheld data choose."""
    began = clocks()
    found = dineof(data["seen"], max_modes=max_modes)["seen"]
    spent = minutes_since(began)
    return {"error": error(found, data), **spent}


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/cube"), show_default=True)
@click.option("--shape", default="365,200,300", show_default=True, help="Days and cells.")
@click.option("--minutes", default="10,30", show_default=True, help="Of both trainings.")
@click.option("--widths", default="32,48,64", show_default=True)
@click.option("--max-modes", default=60, show_default=True)
@click.option("--n-threads", default=1, show_default=True)
def main(out: Path, shape: str, minutes: str, widths: str, max_modes: int, n_threads: int) -> None:
    """Train on a cube of clouded images for a short and for a long time."""
    torch.set_num_threads(n_threads)
    claim(out, {"shape": shape, "widths": widths, "n_threads": n_threads})
    sizes, channels = (tuple(map(int, each.split(","))) for each in (shape, widths))
    data = kept(out / "cube.nc", lambda: cube(sizes))
    parts: dict[str, Callable[[], dict]] = {"DINEOF": lambda: by_modes(data, max_modes)}
    for each in map(float, minutes.split(",")):
        parts[f"{each:g} minutes"] = lambda each=each: learned(data, each, channels, out)
    found = {name: kept(out / f"{name}.json", make) for name, make in parts.items()}
    _, short, long = (each["error"] for each in found.values())
    (out / "scores.json").write_text(json.dumps(found, indent=1))
    print("| | hidden cells, K | minutes | of the processor |\n|---|---|---|---|")
    for name, row in found.items():
        print(f"| {name} | {row['error']:.4f} | {row['minutes']:.1f} | {row['cpu_minutes']:.1f} |")
    print(f"short over long: {short / long:.3f}")


if __name__ == "__main__":
    main()
