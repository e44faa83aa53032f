"""Errors of what is derived from maps of simulated seas, over those that samples of the packaged model tell.

python -m scripts.seas.samples --n-seas 10
"""

import click
import numpy as np
import xarray as xr

import oceanvar
from oceanvar.oceans import Flows, Seas

N_MEMBERS = 16
BOXES, STEPS = (4, 8, 16, 32), (1, 4, 16)
SEED = 1000


def derived(field: xr.DataArray) -> dict[str, xr.DataArray]:
    """The field, means over boxes of it, and differences along longitude."""
    found = {"sea level": field}
    for n in BOXES:
        boxes = field.coarsen(latitude=n, longitude=n, boundary="trim")
        found[f"mean over {n} x {n} points"] = boxes.reduce(np.mean)
    for n in STEPS:
        found[f"difference over {n} points"] = field - field.shift(longitude=n)
    return found


@click.command()
@click.option("--n-seas", default=10, show_default=True)
def main(n_seas: int) -> None:
    """Print root mean square error over that of the samples: of all seas together, and the median of single ones."""
    model = oceanvar.load("seas")
    seas = Seas((25, 64, 64), Flows(n_flows=1, n_days=30, n_spinup=60))
    squares: dict[str, list[float]] = {}
    for number in range(n_seas):
        sea = seas.draw(np.random.default_rng(SEED + number))
        obs = sea[["ssh_observed"]].rename(ssh_observed="ssh")
        analysis = obs.varnet.assimilate(model, n_samples=N_MEMBERS, mask=sea["sea"])
        errors, drawn = derived(analysis.ssh - sea.ssh), derived(analysis.ssh_sample - analysis.ssh)
        for name, error in errors.items():  # NaN where land leaves no box whole
            ratio = float((error**2).mean() / (drawn[name] ** 2).mean())
            squares.setdefault(name, []).append(ratio)
    for name, ratios in squares.items():
        print(f"{name}: {np.nanmean(ratios) ** 0.5:.2f}, median {np.nanmedian(ratios) ** 0.5:.2f}")


if __name__ == "__main__":
    main()
