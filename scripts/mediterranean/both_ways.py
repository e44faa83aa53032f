"""Real altimeter passes used both ways: binned onto the grid, and where and when they were measured.

    python -m scripts.mediterranean both-ways --out runs/both_ways

The tracks and maps are those of `scripts.mediterranean.maps`. One classical cost, observations
and a smooth state, is minimised by conjugate gradients for both; only the observation operator differs. A fifth
of the passes is withheld and scored, and the weight of the smoothness is chosen on passes withheld from the rest.
Optimal interpolation, with scales chosen on the same passes, stands beside them. Nothing is trained.
"""

import json
from pathlib import Path

import click
import numpy as np
import xarray as xr

import oceanvar
from oceanvar.metrics import bootstrap_difference, root_mean_square, squares_by_group
from oceanvar.observing import bin_with_errors, sample_field, withhold_passes
from oceanvar.state import Instrument
from oceanvar.variational import (
    AlongTrack,
    Assimilator,
    BeamAverage,
    ConjugateGradients,
    InterpolatedStart,
    ObservationTerm,
    PriorTerm,
    VariationalCost,
)
from scripts.mediterranean.cases import DIMS, NOISE, above_mean, choose_scales, daily_grid, interpolate, read

STD = 0.08
SMOOTH = [3.0, 2.0, 2.0]
WEIGHTS = (0.3, 1.0, 3.0, 10.0)
N_STEPS = 40


def model(grid: xr.Dataset, instrument: dict[str, Instrument], weight: float) -> oceanvar.VarNet:
    """Classical cost with one instrument and a smooth state; one patch holds the whole grid."""
    patch = {dim: grid.sizes[dim] for dim in DIMS}
    space = oceanvar.StateSpace(
        ("adt",), DIMS, patch, mean={"adt": 0.0}, std={"adt": STD}, instruments=instrument
    )
    tracked = tuple(space.tracked)
    term = ObservationTerm(AlongTrack(), *tracked) if tracked else ObservationTerm()
    cost = VariationalCost(term, PriorTerm(BeamAverage(SMOOTH), weight=weight))
    return oceanvar.VarNet(
        Assimilator(cost, ConjugateGradients(), N_STEPS, InterpolatedStart(tracks=tracked)), space
    )


def binned(tracks: xr.Dataset, grid: xr.Dataset, weight: float) -> xr.DataArray:
    """Analysis of cell means with their error variances."""
    obs = bin_with_errors(tracks["adt"], grid, NOISE)
    return obs.varnet.assimilate(model(grid, {"state": Instrument(("adt",), variance="variance")}, weight))[
        "adt"
    ]


def along_track(tracks: xr.Dataset, grid: xr.Dataset, weight: float) -> xr.DataArray:
    """Analysis of the samples at their positions and times."""
    instrument = Instrument(("adt",), variance=NOISE**2, along_track=True)
    empty = xr.DataArray(np.nan, grid.coords, attrs={"units": "m"}).to_dataset(name="adt")
    return empty.varnet.assimilate(model(grid, {"nadir": instrument}, weight), along_track={"nadir": tracks})[
        "adt"
    ]


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/both_ways"), show_default=True)
def main(out: Path) -> None:
    """Score both ways at withheld passes; print RMSE in cm with bootstrap intervals over passes."""
    out.mkdir(parents=True, exist_ok=True)
    sea = read(None, None)
    kept, checks, _ = above_mean(sea)
    grid = daily_grid(sea, kept)
    tuning, tuning_checks = withhold_passes(kept, 0.2, seed=1)
    truth, passes = checks["adt"].values, checks["track"].values
    squares, chosen = {"mean map": squares_by_group(-truth, passes)}, {}
    std = float(kept["adt"].std())
    chosen["optimal interpolation"] = choose_scales(tuning, tuning_checks, std)
    by_oi = interpolate(kept, checks, *chosen["optimal interpolation"], std)
    squares["optimal interpolation"] = squares_by_group(by_oi - truth, passes)
    for name, way in {"binned": binned, "along track": along_track}.items():
        tried = {
            weight: np.nanmean(
                (sample_field(way(tuning, grid, weight), tuning_checks) - tuning_checks["adt"]) ** 2
            )
            for weight in WEIGHTS
        }
        chosen[name] = min(tried, key=tried.__getitem__)
        analysis = sample_field(way(kept, grid, chosen[name]), checks)
        squares[name] = squares_by_group(analysis.values - truth, passes)
    sums = {name: np.array([each.sum() for each in passes]) for name, passes in squares.items()}
    size = np.mean([len(each) for each in squares["binned"]])
    rows = {}
    for name, values in sums.items():
        rmse, *interval = (100 * each for each in root_mean_square(values / size))
        rows[name] = {"rmse_cm": rmse, "interval_cm": interval, "chosen": chosen.get(name)}
    difference = (sums["along track"] / size, sums["binned"] / size)
    rows["along track minus binned, cm2"] = [
        1e4 * float((difference[0] - difference[1]).mean()),
        *(1e4 * float(bound) for bound in bootstrap_difference(*difference)),
    ]
    (out / "scores.json").write_text(json.dumps(rows, indent=1))
    print(json.dumps(rows, indent=1))
