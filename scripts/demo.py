"""Parts of the demo around the command line: make an archive, and report on its analysis.

In scripts/demo.sh, `simulate` comes before and `report` after ``oceanvar assimilate``.
"""

from pathlib import Path

import click
import xarray as xr

from oceanvar.baselines.linear import interpolate_linear
from oceanvar.baselines.optimal import optimal_interpolation
from oceanvar.experiments import EXPERIMENTS, NOISE_STD
from oceanvar.plots.panels import plot_comparison

EXPERIMENT = EXPERIMENTS["lorenz96"]
N_STEPS, N_PER_FILE, SEED = 400, 50, 2026


@click.group()
def main() -> None:
    """Make a simulated archive, and report on its analysis."""


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def simulate(folder: Path) -> None:
    """Write a Lorenz-96 truth and a folder of files with its gappy, noisy observations."""
    truth = EXPERIMENT.simulate(N_STEPS, seed=SEED)
    obs = truth.varnet.observe(EXPERIMENT.sampler, noise_std=NOISE_STD, seed=SEED)
    (folder / "obs").mkdir(parents=True)
    truth.to_netcdf(folder / "truth.nc")
    for start in range(0, N_STEPS, N_PER_FILE):
        obs.isel(time=slice(start, start + N_PER_FILE)).to_netcdf(folder / "obs" / f"obs_{start:04d}.nc")
    share = float(obs["x"].notnull().mean())
    print(
        f"{N_STEPS // N_PER_FILE} files in {folder / 'obs'}: {share:.1%} of the points observed, noise {NOISE_STD:.2f}"
    )


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def report(folder: Path) -> None:
    """Score the analysis beside linear and optimal interpolation, and draw it."""
    truth = xr.load_dataset(folder / "truth.nc")
    obs = xr.concat([xr.load_dataset(p) for p in sorted((folder / "obs").glob("*.nc"))], "time")
    analyses = {
        "linear interpolation": interpolate_linear(obs),
        "optimal interpolation": optimal_interpolation(
            obs, EXPERIMENT.oi_lengths, NOISE_STD, n_nearest=40, periods=EXPERIMENT.periods
        ),
        "oceanvar (lorenz96)": xr.open_zarr(folder / "analysis.zarr").load(),
    }
    print(f"{'':24}{'RMSE':>8}{'R-score':>10}{'I-score':>10}")
    for name, analysis in analyses.items():
        scores = analysis[["x"]].varnet.score(truth, obs).sel(variable="x")
        print(f"{name:24}{scores.rmse:8.3f}{scores.r_score:10.4f}{scores.i_score:10.4f}")
    shown = slice(0, 200)
    fields = {"Observations": obs["x"], "Analysis": analyses["oceanvar (lorenz96)"]["x"]}
    figure = plot_comparison(
        {name: field.isel(time=shown) for name, field in fields.items()}, truth=truth["x"].isel(time=shown)
    )
    figure.savefig(folder / "analysis.png", dpi=150)
    print(f"store: {folder / 'analysis.zarr'}   picture: {folder / 'analysis.png'}")


if __name__ == "__main__":
    main()
