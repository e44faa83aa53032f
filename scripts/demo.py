"""Parts of the demo around the command line: make an archive, and report on its analysis.

In scripts/demo.sh, `simulate` comes before and `report` after ``oceanvar assimilate``. `sea` maps another sea,
with land, that nothing is known of, with error bars.
"""

from pathlib import Path

import click
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import oceanvar
from oceanvar.baselines import fit_covariance, interpolate_linear, optimal_interpolation
from oceanvar.observing import Nadirs
from oceanvar.oceans import Flows, Seas
from oceanvar.plots import plot_comparison

MISSIONS = ("jason", "sentinel3a", "sentinel3b", "altika")
N_DAYS, N_PER_FILE, MARGIN, SEED = 50, 10, 10, 2026
NOISE_STD = 0.02
LENGTHS = {"time": 11.0, "latitude": 65.0, "longitude": 65.0}
"""Days and km, chosen by `scripts.ocean` on months that are neither its tests nor this one."""

SEA = (7, 39)
"""Seed of a sea with a coast and islands."""

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


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def sea(folder: Path) -> None:
    """Map a sea with land and islands without tuning, and draw the error that is stated beside the true one."""
    drawn = Seas((20, 80, 80), Flows(n_flows=1, n_days=40, n_spinup=100)).draw(np.random.default_rng(SEA))
    obs = drawn[["ssh_observed"]].rename(ssh_observed="ssh")
    analysis = obs.varnet.assimilate("seas", mask=drawn["sea"], diagnostics=True).compute()
    truth, every = drawn["ssh"], {"latitude": slice(None, None, 2), "longitude": slice(None, None, 2)}
    guess = {"time": 7.0, "latitude": 50.0, "longitude": 50.0}
    best, _ = fit_covariance(obs["ssh"], guess, float(obs["ssh"].std()) / 5)
    classical = optimal_interpolation(obs["ssh"], targets=truth.isel(every), **best)["ssh"]
    errors = {
        "optimal interpolation": classical - truth.isel(every),
        "oceanvar (seas)": (analysis["ssh"] - truth).isel(every),
    }
    for name, error in errors.items():
        print(
            f"{name:24}{100 * float((error**2).mean() ** 0.5):9.1f} cm at sea, with nothing known of it before"
        )
    score = analysis.varnet.score(truth.to_dataset()).isel(variable=0)
    print(f"90 % intervals hold {100 * float(score['coverage_90']):.0f} % of the true values")
    draw_sea(obs["ssh"], analysis, truth).savefig(folder / "sea.png", dpi=110)
    print(f"picture: {folder / 'sea.png'}")


def draw_sea(obs: xr.DataArray, analysis: xr.Dataset, truth: xr.DataArray) -> Figure:
    """Day in the middle: truth, what was seen in five, analysis, its error, and the error that it states."""
    day = {"time": truth.time[truth.time.size // 2]}
    seen = obs.rolling(time=5, center=True, min_periods=1).mean()
    panels = {
        "truth": truth,
        "observations of five days": seen,
        "analysis": analysis["ssh"],
        "size of its error": abs(analysis["ssh"] - truth).assign_attrs(truth.attrs),
        "error that it states": analysis["ssh_std"].where(truth.notnull()),
    }
    low, high = (float(truth.sel(day).quantile(q)) for q in (0.005, 0.995))
    most = float(panels["size of its error"].sel(day).quantile(0.99))
    figure = Figure(figsize=(17, 3.4), layout="constrained")
    axes = figure.subplots(1, len(panels))
    for ax, (name, field), limits in zip(
        axes, panels.items(), [(low, high)] * 3 + [(0.0, most)] * 2, strict=True
    ):
        field.sel(day).plot.pcolormesh(
            ax=ax, vmin=limits[0], vmax=limits[1], cmap="viridis", cbar_kwargs={"label": "m"}
        )
        ax.set(title=name, facecolor="0.7", xlabel="", ylabel="")
    return figure


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
