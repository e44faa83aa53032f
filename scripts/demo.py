"""Parts of the demo around the command line: make an archive, and report on its analysis.

In scripts/demo.sh, `simulate` comes before and `report` after ``oceanvar assimilate``.
"""

from pathlib import Path

import click
import xarray as xr

import oceanvar
from oceanvar.baselines import interpolate_linear, optimal_interpolation
from oceanvar.observing import Nadirs
from oceanvar.plots import plot_comparison

MISSIONS = ("jason", "sentinel3a", "sentinel3b", "altika")
N_DAYS, N_PER_FILE, MARGIN, SEED = 50, 10, 10, 2026
NOISE_STD = 0.02
LENGTHS = {"time": 11.0, "latitude": 65.0, "longitude": 65.0}
"""Days and km, chosen by `scripts.ocean` on months that are neither its tests nor this one."""

SCORES = {"rmse": ("RMSE", 9), "mu": ("mu", 8), "sigma": ("sigma", 8), "lambda_x": ("lambda_x", 11),
          "lambda_t": ("lambda_t", 11)}  # fmt: skip


@click.group()
def main() -> None:
    """Make a simulated archive, and report on its analysis."""


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def simulate(folder: Path) -> None:
    """Write a simulated ocean and a folder of files with what four altimeters see of it."""
    truth = oceanvar.quasigeostrophic(N_DAYS, SEED, start="2007-03-01")[["ssh"]]
    obs = truth.varnet.observe(Nadirs(MISSIONS), noise_std=NOISE_STD, seed=SEED)
    (folder / "obs").mkdir(parents=True)
    truth.to_netcdf(folder / "truth.nc")
    for start in range(0, N_DAYS, N_PER_FILE):
        part = obs.isel(time=slice(start, start + N_PER_FILE))
        part.to_netcdf(folder / "obs" / f"obs_{part.time.dt.strftime('%Y%m%d').values[0]}.nc")
    share = float(obs["ssh"].notnull().mean())
    print(
        f"{N_DAYS // N_PER_FILE} files in {folder / 'obs'}: {share:.1%} of the cells observed, noise {NOISE_STD} m"
    )


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def report(folder: Path) -> None:
    """Score the analysis beside linear and optimal interpolation, and draw it."""
    truth = scored(xr.load_dataset(folder / "truth.nc")["ssh"])
    obs = xr.concat([xr.load_dataset(p)["ssh"] for p in sorted((folder / "obs").glob("*.nc"))], "time")
    analyses = {
        "linear interpolation": scored(interpolate_linear(obs, fill=0.0)),
        "optimal interpolation": optimal_interpolation(
            obs, LENGTHS, NOISE_STD, mean=0.0, targets=truth, n_nearest=60
        )["ssh"],
        "oceanvar (ocean)": scored(xr.open_zarr(folder / "analysis.zarr")["ssh"].load()),
    }
    print(" " * 24 + "".join(f"{title:>{width}}" for title, width in SCORES.values()))
    for name, analysis in analyses.items():
        scores = analysis.varnet.score(truth).isel(variable=0)
        print(f"{name:24}" + "".join(f"{scores[key]:{width}.3f}" for key, (_, width) in SCORES.items()))
    print(f"RMSE in m, lambda_x in degrees, lambda_t in days, over the {truth.time.size} days in the middle")
    day = {"time": truth.time[truth.time.size // 2]}
    maps = {"Observations of three days": three_days(obs, truth), **analyses}
    del maps["linear interpolation"]
    figure = plot_comparison({name: field.sel(day) for name, field in maps.items()}, truth=truth.sel(day))
    figure.savefig(folder / "analysis.png", dpi=110)
    print(f"store: {folder / 'analysis.zarr'}   picture: {folder / 'analysis.png'}")


def scored(field: xr.DataArray) -> xr.DataArray:
    """Days and cells that are scored: away from the ends in time, every second cell."""
    return field[MARGIN:-MARGIN, ::2, ::2]


def three_days(obs: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """Means of all observations of a day and its neighbours in the cells of the coarser grid of the scores."""
    means = obs.rolling(time=3, center=True, min_periods=1).mean()
    coarse = means.coarsen(latitude=2, longitude=2).mean()
    return coarse.assign_coords(latitude=truth["latitude"], longitude=truth["longitude"]).sel(
        time=truth["time"]
    )


if __name__ == "__main__":
    main()
