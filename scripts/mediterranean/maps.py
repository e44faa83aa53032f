"""Map the Mediterranean's sea level: learn on maps of 2005, assimilate the real tracks of 2014.

    python -m scripts.mediterranean maps --out runs/mediterranean

The data are looked for in the folder named by OCEANVAR_DATA, or in ../shared/data; other maps and
tracks are given by --maps and --tracks. The steps: simulate Gaussian fields with a spread of scales on
the grid of the maps, train on them and on days 0 to 60 of the maps, then (a) a twin experiment on days
61 to 90 and (b) the real tracks with a fifth of the passes withheld. Both beside the mean map and
optimal interpolation, whose scales are chosen on training days (a) and on assimilated passes (b).
"""

import json
from pathlib import Path

import click
import numpy as np
import xarray as xr

import oceanvar
from oceanvar.metrics import bootstrap_difference, root_mean_square, squares_by_group
from oceanvar.network import fourdvarnet
from oceanvar.observing import ShuffledTracks, TrackPositions, bin_tracks, sample_field, withhold_passes
from oceanvar.plots import plot_comparison
from oceanvar.truths import GaussianScales, gaussian_fields
from scripts.keeping import kept_model
from scripts.mediterranean.cases import (
    DIMS,
    N_LEARN,
    NOISE,
    Sea,
    above_mean,
    choose_scales,
    daily_grid,
    days,
    interpolate,
    read,
    with_real,
)
from scripts.start_first import start_first

START_SHARE = 0.82
# The best of four pairs tried on the days of the twin experiment themselves: a bound for interpolation.
ORACLE_SCALES = (50, 10)
PATCH = {"time": 20, "latitude": 64, "longitude": 64}
OVERLAP = {"time": 10, "latitude": 32, "longitude": 32}
SCALES = [
    GaussianScales((0.01, 0.05), {"time": (7, 25), "latitude": (30, 60), "longitude": (30, 60)}),
    GaussianScales((0.01, 0.04), {"time": (7, 30), "latitude": (60, 130), "longitude": (60, 130)}),
    GaussianScales((0.01, 0.04), {"time": (4, 20), "latitude": (150, 500), "longitude": (150, 500)}),
]


def training_truth(maps: xr.DataArray, n_members: int, seed: int) -> xr.Dataset:
    """Simulated anomalies with a spread of scales, and real ones."""
    return with_real(gaussian_fields(maps, SCALES, n_members, seed), maps, seed)


def train(maps: xr.DataArray, tracks: xr.Dataset, out: Path, options: dict) -> oceanvar.VarNet:
    """Train on simulated and real anomalies, observed where passes of the tracks lie."""
    space = oceanvar.StateSpace(("adt",), DIMS, PATCH, OVERLAP, mean={"adt": 0.0}, std={"adt": 0.05})
    model = fourdvarnet(
        space, n_steps=options["n_steps"], n_features=24, n_hidden=32, start_widths=(48, 64, 96, 128)
    )
    positions = TrackPositions(tracks["longitude"].values, tracks["latitude"].values, days(tracks))
    return start_first(
        model,
        training_truth(maps, options["n_members"], options["seed"]),
        ShuffledTracks(positions, tracks["track"].values),
        out,
        n_epochs=options["n_epochs"],
        start_share=START_SHARE,
        noise_std=NOISE,
        validation=training_truth(maps, 8, options["seed"] + 1),
        n_samples=options["n_samples"],
        seed=options["seed"],
    )


def as_points(field: xr.DataArray, every: int = 1) -> xr.Dataset:
    """Finite cells of a field as samples."""
    stacked = field.stack(sample=field.dims).dropna("sample").isel(sample=slice(None, None, every))
    return stacked.reset_index("sample").to_dataset(name="adt")


def observe_as_tracks(truth: xr.DataArray, tracks: xr.Dataset, seed: int) -> xr.DataArray:
    """Observe a truth where the tracks lie, from its first day on and again every 20 days, with noise."""
    pieces = []
    for start in range(0, truth.sizes["time"], 20):
        piece = truth.isel(time=slice(start, start + 20))
        shift = days(piece)[0] - np.floor(days(tracks).min())
        sampler = TrackPositions(tracks["longitude"].values, tracks["latitude"].values, days(tracks), shift)
        pieces.append(piece.varnet.observe(sampler, noise_std=NOISE, seed=seed + start))
    return xr.concat(pieces, "time")


def twin_experiment(maps: xr.DataArray, tracks: xr.Dataset, model: oceanvar.VarNet, out: Path) -> dict:
    """Days 61 to 90 observed as the tracks were; scored at every third cell in latitude and longitude."""
    learn, test = maps[:N_LEARN], maps[N_LEARN:]
    learn_obs = observe_as_tracks(learn[20:40], tracks, seed=1)
    scales = choose_scales(*map(as_points, (learn_obs, learn[30:31, ::3, ::3])), float(learn_obs.std()))
    obs = observe_as_tracks(test, tracks, seed=100)
    # As with the real tracks, what all observations have in common is no news to any method.
    offset, std = float(obs.mean()), float(obs.std())
    analysis = (obs - offset).varnet.assimilate(model, mask=test.notnull(), progress=True)
    cells = (test - offset)[:, ::3, ::3]
    points, targets = as_points(obs - offset), as_points(cells)

    def by_oi(scales: tuple[float, float]) -> xr.DataArray:
        field = xr.full_like(cells, np.nan)
        field.values[cells.notnull().values] = interpolate(points, targets, *scales, std)
        return field

    analyses = {
        "mean map": 0 * cells - offset,
        "optimal interpolation": by_oi(scales),
        f"optimal interpolation {ORACLE_SCALES}, known to suit the test": by_oi(ORACLE_SCALES),
        "oceanvar": analysis[:, ::3, ::3],
    }
    squares = {
        name: ((each - cells) ** 2).mean(("latitude", "longitude")).values for name, each in analyses.items()
    }
    day = {"time": test.time.values[15]}
    figure = plot_comparison(
        {"Observations": (obs - offset).sel(day), "Analysis": analysis.sel(day)},
        truth=(test - offset).sel(day),
    )
    figure.savefig(out / "twin.png", dpi=120)
    return {"scales": scales, "unit": "days", "squares": squares}


def real_experiment(sea: Sea, model: oceanvar.VarNet, out: Path) -> dict:
    """Assimilate the kept passes; score at the withheld ones."""
    kept, checks, mean_offset = above_mean(sea)
    obs = bin_tracks(kept["adt"], daily_grid(sea, kept))
    analysis = obs.varnet.assimilate(model, mask=sea.anomaly[0].notnull(), progress=True)
    tuning, tuning_checks = withhold_passes(kept, 0.2, seed=1)
    std = float(kept["adt"].std())
    scales = choose_scales(tuning, tuning_checks, std)
    errors = {
        "mean map": -checks["adt"],
        "optimal interpolation": interpolate(kept, checks, *scales, std) - checks["adt"],
        "oceanvar": sample_field(analysis, checks) - checks["adt"],
    }
    scored = np.isfinite(errors["oceanvar"].values)
    passes = checks["track"].values[scored]
    squares = {name: squares_by_group(error.values[scored], passes) for name, error in errors.items()}
    field = (analysis + sea.mean + mean_offset).transpose(*analysis.dims).astype("float32")
    field.attrs = {
        "units": "m",
        "standard_name": "sea_surface_height_above_geoid",
        "long_name": "absolute dynamic topography",
    }
    write(
        field.to_dataset(name="adt").assign_attrs(
            title="Sea level of the Mediterranean", Conventions="CF-1.11"
        ),
        out,
    )
    return {"scales": scales, "unit": "passes", "squares": squares}


def write(analysis: xr.Dataset, out: Path) -> None:
    """Zarr store, one NetCDF file a day, and maps of three dates."""
    analysis.to_zarr(out / "analysis.zarr", mode="w", consolidated=False)
    (out / "daily").mkdir(exist_ok=True)
    for i in range(analysis.sizes["time"]):
        day = analysis.isel(time=[i])
        day.to_netcdf(out / "daily" / f"{str(day.time.values[0])[:10]}.nc")
    times = analysis.time.values[[2, analysis.sizes["time"] // 2, -3]]
    fields = {str(t)[:10]: analysis["adt"].sel(time=t) for t in times}
    plot_comparison(fields).savefig(out / "maps.png", dpi=120)


def table(result: dict) -> dict[str, dict]:
    """RMSE in cm with a 95 % bootstrap interval over days or passes, and the difference to OI."""
    rows = {}
    units = {name: np.array([np.sum(u) for u in each]) for name, each in result["squares"].items()}
    sizes = np.array([np.size(u) for u in result["squares"]["oceanvar"]])
    weight = sizes / sizes.mean()
    for name, sums in units.items():
        rmse, *interval = (100 * each for each in root_mean_square(sums / sizes.mean()))
        rows[name] = {"rmse_cm": rmse, "interval_cm": interval}
    ours, oi = units["oceanvar"] / sizes.mean(), units["optimal interpolation"] / sizes.mean()
    rows["oceanvar"]["mse_minus_oi_cm2"] = [
        1e4 * (ours - oi).mean(),
        *(1e4 * np.array(bootstrap_difference(ours, oi))),
    ]
    rows["n"] = {"units": result["unit"], "count": len(weight), "oi_scales_km_days": list(result["scales"])}
    return rows


@click.command()
@click.option(
    "--maps",
    type=click.Path(path_type=Path),
    help="NetCDF with adt(time, latitude, longitude) to learn from.",
)
@click.option(
    "--tracks", type=click.Path(path_type=Path), help="Text: longitude, latitude, days since 1950, adt."
)
@click.option("--score-at", type=click.Path(path_type=Path), help="Score at these tracks and withhold none.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/mediterranean"), show_default=True)
@click.option(
    "--n-epochs", default=34, show_default=True, help="The first 82 % of them train the first guess alone."
)
@click.option("--n-samples", default=800, show_default=True, help="Windows per epoch.")
@click.option("--n-members", default=60, show_default=True, help="Simulated fields to learn from.")
@click.option("--n-steps", default=3, show_default=True, help="Solver iterations.")
@click.option("--seed", default=0, show_default=True)
def main(maps: Path, tracks: Path, score_at: Path, out: Path, **options: int) -> None:
    """Learn on daily maps, then map real tracks; print scores beside the mean map and optimal interpolation."""
    out.mkdir(parents=True, exist_ok=True)
    sea = read(maps, tracks, score_at)
    learn = sea.anomaly[:N_LEARN]
    file = out / "mediterranean.varnet"
    model = kept_model(file, lambda: train(learn, sea.kept, out, options))
    results = {"real tracks": table(real_experiment(sea, model, out))}
    if sea.adt.sizes["time"] > N_LEARN + PATCH["time"]:
        results["twin experiment"] = table(twin_experiment(sea.anomaly, sea.passes, model, out))
    (out / "scores.json").write_text(json.dumps(results, indent=1))
    print(json.dumps(results, indent=1))
