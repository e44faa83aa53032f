"""Real altimeter passes in a learned model: in cells of the grid, or where and when they were measured.

    python -m scripts.mediterranean tracks --out runs/mediterranean_tracks

The maps and tracks are those of `scripts.mediterranean.maps`. Simulated fields are observed along passes at their
true positions and times, drawn anew for every window. One start, a network that sees the means of cells, is
trained once and kept. Behind it a variational analysis, whose weights and widths are learned through its iterations, is
trained twice alike: once its cost sees every sample at the centre of its cell and day, once where and when it was
measured. All are scored at passes that they have not seen, beside optimal interpolation and the mean map: further ones
withheld from the assimilated passes, on which choices are made, and with --score those that are kept from everything.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, final

import click
import numpy as np
import torch
import xarray as xr
from scipy.ndimage import gaussian_filter
from torch import Tensor

import oceanvar
from oceanvar.maps import AbstractMap
from oceanvar.maps.base import Pullback
from oceanvar.metrics import bootstrap_difference, root_mean_square, squares_by_group
from oceanvar.observing import RandomFraction, ShuffledTracks, TrackPositions, sample_field, withhold_passes
from oceanvar.state import Instrument
from oceanvar.truths import GaussianScales, gaussian_fields
from oceanvar.variational import (
    AbstractOperator,
    AbstractStart,
    AlongTrack,
    Assimilator,
    BackgroundTerm,
    BeamAverage,
    ConjugateGradients,
    LearnedStart,
    Observations,
    ObservationTerm,
    VariationalCost,
    unet,
)
from oceanvar.variational.operators.base import Operator
from scripts.keeping import kept
from scripts.mediterranean.cases import (
    DIMS,
    N_LEARN,
    NOISE,
    above_mean,
    choose_scales,
    days,
    interpolate,
    noons,
    read,
    with_real,
)

PATCH = {"time": 20, "latitude": 64, "longitude": 64}
OVERLAP = {"time": 10, "latitude": 32, "longitude": 32}
STD = 0.05
# Eddies, whose size follows the maps' from place to place, and larger scales: about what the likelihood of the
# assimilated passes favours (4.5 cm, 43 km, 11 days and 4 cm, 800 km, 8 days), with a spread.
EDDIES = GaussianScales((0.03, 0.06), {"time": (7, 18), "latitude": (33, 60), "longitude": (33, 60)})
LARGER = [
    GaussianScales((0.005, 0.03), {"time": (7, 30), "latitude": (60, 150), "longitude": (60, 150)}),
    GaussianScales((0.015, 0.05), {"time": (4, 20), "latitude": (200, 900), "longitude": (200, 900)}),
]
# Widths in days and cells, and weights, from which the errors of the start are learned.
ROUGHNESS = (((1.5, 1.5, 1.5), 0.2), ((2.0, 0.7, 1.8), 5.0))
# Width in cells of the Gaussian that smooths the maps' standard deviation.
SMOOTHING = 6.0


def in_cells(obs: Observations) -> Observations:
    """Every sample at the centre of its cell and day."""
    return replace(obs, positions={name: each.round() for name, each in obs.positions.items()})


@final
class InCells(AbstractOperator):
    """What binned observations see: n samples of a cell weigh as much as their mean with 1/n of the variance."""

    def bind(self, obs: Observations, name: str) -> AbstractMap:
        """Value at the nearest point and time."""
        return AlongTrack().bind(in_cells(obs), name)


@final
class StartFromCells(AbstractStart):
    """A start that sees the means of cells."""

    def __init__(self, start: AbstractStart):
        super().__init__()
        self.start = start

    def forward(self, obs: Observations) -> Tensor:
        """First guess."""
        return self.start(in_cells(obs))


BINNED, ALONG, ALONE, OI = "binned", "along track", "start alone", "optimal interpolation"
OPERATORS: dict[str, Callable[[], Operator]] = {BINNED: InCells, ALONG: AlongTrack}


@final
class Roughness(AbstractMap):
    """What an average over a beam of learned widths leaves of a field: x - A x."""

    def __init__(self, widths: Sequence[float]):
        super().__init__()
        self.average = BeamAverage(widths)

    def forward(self, x: Tensor) -> Tensor:
        """x - A x."""
        return x - self.average(x)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and I - A^T."""
        value, pullback = self.average.linearize(x)
        return x - value, lambda u: u - pullback(u)

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """(I - A) v."""
        return tangent - self.average.jvp(x, tangent)


class Sizes(NamedTuple):
    """How much is learned, by networks of which size.

    More iterations are applied than trained: chosen on passes withheld from the assimilated ones.
    """

    n_members: int = 36
    n_validation: int = 24
    start_rounds: tuple[tuple[float, int], ...] = ((2e-3, 10), (2e-3, 10), (1e-3, 12))
    start_samples: int = 800
    epochs: int = 2
    samples: int = 48
    n_steps: int = 8
    n_steps_applied: int = 16
    widths: tuple[int, ...] = (48, 64, 96, 128)


SIZES = Sizes()


def training_truth(maps: xr.DataArray, n_members: int, seed: int) -> xr.Dataset:
    """Simulated anomalies, whose eddies have the size of the maps' from place to place, and real ones."""
    share = np.random.default_rng([seed, 1]).uniform(0, 1, n_members).astype("float32")
    pattern = relative_size(maps) ** xr.DataArray(share, dims="member")
    simulated = gaussian_fields(maps, [EDDIES], n_members, seed) * pattern
    return with_real(simulated + gaussian_fields(maps, LARGER, n_members, seed + 1000), maps, seed)


def relative_size(maps: xr.DataArray) -> xr.DataArray:
    """Standard deviation in time, smooth in space, with mean square 1 over the sea."""
    std = maps.std("time")
    sea = std.notnull().values
    total, weight = (gaussian_filter(each, SMOOTHING) for each in (std.fillna(0).values, sea.astype(float)))
    smooth = std.copy(data=np.where(sea, total / np.maximum(weight, 1e-3), np.nan))
    return (smooth / np.sqrt((smooth**2).mean())).clip(0.4, 2.5).astype("float32")


def model(operator: Operator, start: AbstractStart, n_steps: int) -> oceanvar.VarNet:
    """Untrained iterations behind a start; samples along tracks are all that is observed."""
    nadir = {"nadir": Instrument(("adt",), variance=NOISE**2, along_track=True)}
    space = oceanvar.StateSpace(
        ("adt",), DIMS, PATCH, OVERLAP, mean={"adt": 0.0}, std={"adt": STD}, instruments=nadir
    )
    cost = VariationalCost(
        ObservationTerm(operator, "nadir"),
        BackgroundTerm(weight=0.02),
        *(BackgroundTerm(Roughness(widths), weight) for widths, weight in ROUGHNESS),
    )
    return oceanvar.VarNet(Assimilator(cost, ConjugateGradients(), n_steps, start), space)


def train(
    nets: dict[str, oceanvar.VarNet],
    maps: xr.DataArray,
    tracks: xr.Dataset,
    out: Path,
    sizes: Sizes,
    seed: int,
) -> None:
    """Train in place: the start, which all share, then the iterations behind it with each operator."""
    truth, validation = training_truth(maps, sizes.n_members, seed), training_truth(maps, 8, seed + 1)
    positions = TrackPositions(tracks["longitude"].values, tracks["latitude"].values, days(tracks))
    passes = ShuffledTracks(positions, tracks["track"].values)

    def fit(net: oceanvar.VarNet, name: str, **settings: Any) -> None:
        net.assimilator.to(memory_format=torch.channels_last)
        history = truth.varnet.fit(
            net,
            RandomFraction(0.0),
            along_track={"nadir": passes},
            noise_std=NOISE,
            validation=validation,
            n_validation=sizes.n_validation,
            batch_size=8,
            checkpoint=out / name,
            resume=True,
            progress=True,
            **settings,
        )
        history.to_netcdf(out / f"{name}.nc")

    for i, (rate, n_epochs) in enumerate(sizes.start_rounds):
        settings = {"n_epochs": n_epochs, "n_samples": sizes.start_samples, "seed": seed + i}
        fit(nets[ALONE], f"start{i}", learning_rate=rate, precision="bfloat16", **settings)
    nets[ALONE].assimilator.start.requires_grad_(False)
    for name in OPERATORS:
        # A handful of weights and widths: large steps, and few of them.
        settings = {"n_epochs": sizes.epochs, "n_samples": sizes.samples, "seed": seed}
        fit(nets[name], name, learning_rate=0.1, n_warmup=4, **settings)


def learned(
    maps: xr.DataArray, tracks: xr.Dataset, out: Path, sizes: Sizes, seed: int
) -> dict[str, oceanvar.VarNet]:
    """Trained models, the start alone among them; from the weights of a finished run where there are any."""
    torch.manual_seed(seed)
    network = unet(3, 1, sizes.widths, [3, 3], n_times_folded=PATCH["time"])
    start = StartFromCells(LearnedStart(network, tracks=("nadir",)))
    nets = {name: model(operator(), start, sizes.n_steps) for name, operator in OPERATORS.items()}
    nets = {ALONE: model(AlongTrack(), start, 0), **nets}

    def trained() -> dict[str, dict[str, Tensor]]:
        train(nets, maps, tracks, out, sizes, seed)
        return {name: nets[name].assimilator.state_dict() for name in OPERATORS}

    for name, weights in kept(out / "weights.pt", trained).items():
        nets[name].assimilator.load_state_dict(weights)
    for name in OPERATORS:
        nets[name].assimilator.n_steps = sizes.n_steps_applied
    return nets


def estimates(
    nets: dict[str, oceanvar.VarNet], seen: xr.Dataset, checks: xr.Dataset, grid: xr.Dataset, scales: tuple
) -> dict[str, np.ndarray]:
    """Estimate of every method at the samples of `checks` from those of `seen`."""
    by_oi = interpolate(seen, checks, *scales, float(seen["adt"].std()))
    found = {"mean map": 0 * checks["adt"].values, OI: by_oi}
    empty = xr.DataArray(np.nan, grid.coords, DIMS, attrs={"units": "m"}).to_dataset(name="adt")
    for name, net in nets.items():
        analysis = empty.varnet.assimilate(net, along_track={"nadir": seen[["adt"]]}, mask=grid["sea"])
        found[name] = sample_field(analysis["adt"], checks).values
    return found


def rows(found: dict[str, np.ndarray], checks: xr.Dataset) -> dict[str, dict[str, Any]]:
    """RMSE in cm with a 95 % bootstrap interval over passes, and paired differences of mean squares."""
    truth, passes = checks["adt"].values, checks["track"].values
    squares = {name: squares_by_group(values - truth, passes) for name, values in found.items()}
    size = checks.sizes["sample"] / len(squares[OI])
    means = {
        name: 1e4 * np.array([each.sum() for each in by_pass]) / size for name, by_pass in squares.items()
    }
    table: dict[str, dict[str, Any]] = {}
    for name, each in means.items():
        rmse, *interval = root_mean_square(each)
        table[name] = {"rmse_cm": rmse, "interval_cm": interval}
    for other in (BINNED, OI, ALONE):
        pair = means[ALONG], means[other]
        table[f"{ALONG} minus {other}"] = {
            "mse_cm2": (pair[0] - pair[1]).mean(),
            "interval_cm2": list(bootstrap_difference(*pair)),
        }
    table["n"] = {"passes": len(squares[OI]), "samples": checks.sizes["sample"]}
    return table


@click.command()
@click.option("--maps", type=click.Path(path_type=Path), help="As of the command maps.")
@click.option("--tracks", type=click.Path(path_type=Path), help="As of the command maps.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/mediterranean_tracks"), show_default=True
)
@click.option("--score", is_flag=True, help="Also score at the passes that are withheld from all choices.")
@click.option("--seed", default=0, show_default=True)
def main(maps: Path, tracks: Path, out: Path, score: bool, seed: int) -> None:
    """Learn on maps and simulated fields, then map real tracks; print scores at withheld passes."""
    out.mkdir(parents=True, exist_ok=True)
    sea = read(maps, tracks)
    nets = learned(sea.anomaly[:N_LEARN], sea.kept, out, SIZES, seed)
    seen, checks, _ = above_mean(sea)
    grid = sea.mean.notnull().to_dataset(name="sea").assign_coords(time=noons(seen))
    tuning, tuning_checks = withhold_passes(seen, 0.2, seed=1)
    scales = choose_scales(tuning, tuning_checks, float(seen["adt"].std()))
    results = {"tuning": rows(estimates(nets, tuning, tuning_checks, grid, scales), tuning_checks)}
    if score:
        results["withheld"] = rows(estimates(nets, seen, checks, grid, scales), checks)
    results["optimal interpolation"] = {"scales_km_days": list(scales)}
    (out / "scores.json").write_text(json.dumps(results, indent=1))
    print(json.dumps(results, indent=1))
