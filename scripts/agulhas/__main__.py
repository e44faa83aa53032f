"""Fill the gaps of an archive of daily currents through the command line, and score what was withheld.

    python -m scripts.agulhas --out runs/agulhas

Clouds that move withhold 60 % of the cells of an archive of complete fields. The steps: write the archive with
these gaps; choose the scales of optimal interpolation and train one model of all variables on the training months;
run `oceanvar assimilate` over the whole archive to Zarr and to monthly NetCDF, in one process and on two
workers, whose outputs must agree bit for bit; score the withheld cells of the test months. Each step leaves
files in --out and is skipped where they are. `--scale tiny` runs all of it in seconds.
"""

import dataclasses
import functools
import json
import shlex
from pathlib import Path

import click
import numpy as np
import torch
import xarray as xr

import oceanvar
from oceanvar.archive import TimeUnits, read_summary
from oceanvar.cli.commands import main as oceanvar_command
from oceanvar.labels.coordinates import spacing
from oceanvar.network import fourdvarnet
from oceanvar.observing import MovingClouds
from oceanvar.truths import GaussianScales, gaussian_fields
from scripts.agulhas import scores
from scripts.keeping import claim, find_data, kept, kept_model
from scripts.start_first import start_first

DATA = "agulhas_currents_2002"
VARIABLES = "eastward_eulerian_current_velocity,northward_eulerian_current_velocity"
# Ranges of standard deviation, of days and of km: stream function (any units) and winds (m/s).
EDDIES = [((1.0, 4.0), (8, 25), (60, 130)), ((0.5, 1.5), (5, 20), (35, 60))]
WINDS = [((0.03, 0.1), (0.3, 1), (400, 2000))]
N_CHECKS = 16  # draws of clouds over the days of the validation loss


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large an experiment is."""

    n_times: int
    overlap: int
    cloud_cells: tuple[float, float]
    n_validation: int
    n_stretch: int
    n_members: int
    widths: tuple[int, ...]
    n_features: int
    n_epochs: int
    n_samples: int
    n_steps: int
    candidates: scores.Candidates


SCALES = {
    "full": Scale(
        n_times=15, overlap=12, cloud_cells=(6, 7), n_validation=20, n_stretch=60, n_members=40,
        widths=(48, 64, 96, 128), n_features=16, n_epochs=20, n_samples=512, n_steps=2,
        candidates=scores.Candidates(days=(7, 10, 14), km=(35, 45, 60, 80), noises=(0.08, 0.12, 0.18)),
    ),
    "tiny": Scale(
        n_times=4, overlap=2, cloud_cells=(2, 2), n_validation=6, n_stretch=8, n_members=2,
        widths=(8, 8), n_features=4, n_epochs=2, n_samples=8, n_steps=1,
        candidates=scores.Candidates(days=(5,), km=(50, 100), noises=(0.1,)),
    ),
}  # fmt: skip


def months(_: click.Context, option: click.Parameter, text: str) -> tuple[int, int]:
    """First and last month of "7-9"."""
    try:
        first, last = map(int, text.split("-"))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not like 7-9", param=option) from error
    return first, last


def within(fields: xr.Dataset, first: int, last: int) -> np.ndarray:
    """Which days lie between the first day of one month and the last day of another."""
    month = fields.time.dt.month.values
    return (first <= month) & (month <= last)


def read(folder: Path, variables: list[str], time_units: str) -> xr.Dataset:
    """Variables of all files of a folder, with decoded times."""
    decode = TimeUnits(time_units)
    days = [decode(xr.load_dataset(path)[variables]) for path in sorted(folder.glob("*.nc"))]
    return xr.concat(days, "time").astype(np.float32)


def clouds(scale: Scale, dims: list[str]) -> MovingClouds:
    """What withholds: clouds of some 160 km that live for four days and drift east by two cells a day."""
    _, *space = dims
    return MovingClouds(
        0.6, dict(zip(space, scale.cloud_cells, strict=True)), lifetime=4, drift={space[1]: 2.0}
    )


def withhold(data: Path, obs: Path, truth: xr.Dataset, sampler: MovingClouds, seed: int) -> None:
    """Write every file of the archive again, as it is but for NaN under the clouds."""
    partial = obs.with_suffix(".part")
    partial.mkdir(exist_ok=True)
    dims = truth[next(iter(truth))].dims
    sizes = {"variable": 1, **{str(dim): truth.sizes[dim] for dim in dims}}
    (seen,) = sampler.mask(sizes, {}, np.random.default_rng(seed))
    first = 0
    for path in sorted(data.glob("*.nc")):
        day = xr.load_dataset(path)
        stop = first + day.sizes["time"]
        clear = xr.Variable(dims, seen[first:stop])
        day.assign({name: day[name].where(clear) for name in truth}).to_netcdf(partial / path.name)
        first = stop
    partial.rename(obs)


def training_truth(learn: xr.Dataset, scale: Scale, seed: int) -> xr.Dataset:
    """Stretches of the training days and as many mixtures and simulations: a few months are too few to learn from.

    A mixture is the mean plus anomalies of three stretches with weights of square sum one, so it has the
    covariance of the days in space, in time and between the variables. A simulation is the mean plus
    currents along the contours of a random stream function, and winds that move everything from day to day.
    """
    rng = np.random.default_rng(seed)
    mean = learn.mean("time")
    n_starts = learn.sizes["time"] - scale.n_stretch + 1
    clock = learn.time[: scale.n_stretch]

    def stretch() -> xr.Dataset:
        start = rng.integers(n_starts)
        return learn.isel(time=slice(start, start + scale.n_stretch)).assign_coords(time=clock) - mean

    def mixture() -> xr.Dataset:
        weights = rng.standard_normal(3).astype(np.float32)
        return sum((w * stretch() for w in weights / np.linalg.norm(weights)), start=0 * stretch())

    anomalies = [make() for make in (stretch, mixture) for _ in range(scale.n_members)]
    simulated = simulate(learn, scale, rng)
    anomalies += [simulated.isel(member=i) for i in range(scale.n_members)]
    return (xr.concat(anomalies, "member") + mean).transpose("member", *learn[next(iter(learn))].dims)


def simulate(learn: xr.Dataset, scale: Scale, rng: np.random.Generator) -> xr.Dataset:
    """Simulated anomalies of an eastward and a northward current, about as strong as those of the days."""
    east, north = learn
    time, latitude, longitude = dims = learn[east].dims
    template = xr.zeros_like(learn[east][: scale.n_stretch])
    n = scale.n_members

    def draw(ranges: list) -> np.ndarray:
        scales = [GaussianScales(std, {time: days, latitude: km, longitude: km}) for std, days, km in ranges]
        return gaussian_fields(template, scales, n, int(rng.integers(2**31))).values

    to_north, to_east = np.gradient(draw(EDDIES), axis=(2, 3))
    eddies = np.stack([-to_north / spacing(template, latitude), to_east / spacing(template, longitude)])
    size = float((learn - learn.mean("time")).to_dataarray().std()) * rng.uniform(0.6, 1.4, (n, 1, 1, 1))
    eddies *= (size / eddies.std(axis=(0, 2, 3, 4)).reshape(n, 1, 1, 1)).astype(np.float32)
    return xr.Dataset(
        {
            name: (("member", *dims), each + draw(WINDS))
            for name, each in zip((east, north), eddies, strict=True)
        },
        template.coords,
    )


def train(out: Path, scale: Scale, learn: xr.Dataset, sampler: MovingClouds, seed: int) -> oceanvar.VarNet:
    """Train on the whole grid under fresh clouds."""
    dims = tuple(map(str, learn[next(iter(learn))].dims))
    space = oceanvar.StateSpace(
        tuple(map(str, learn)),
        dims,
        patch={**{dim: learn.sizes[dim] for dim in dims}, "time": scale.n_times},
        overlap={"time": scale.overlap},
    ).normalised_by(learn)
    model = fourdvarnet(
        space, n_steps=scale.n_steps, n_features=scale.n_features, start_widths=scale.widths, seed=seed
    )
    model.assimilator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    last = learn.isel(time=slice(-scale.n_validation, None))
    return start_first(
        model,
        training_truth(learn.isel(time=slice(-scale.n_validation)), scale, seed),
        sampler,
        out,
        n_epochs=scale.n_epochs,
        start_share=0.85,
        validation=xr.concat([last] * N_CHECKS, "member"),
        n_samples=scale.n_samples,
        seed=seed,
    )


def assimilate(out: Path, folder: str, time_units: str, *options: str) -> list[Path]:
    """Map the whole archive by the command line, to Zarr and to monthly NetCDF."""
    outputs = [out / folder / name for name in ("analysis.zarr", "analysis")]
    for output in outputs:
        command = ["oceanvar", "assimilate", str(out / "obs"), "--model", str(out / "agulhas.varnet")]
        command += ["--time-units", time_units, "--out", str(output), "--resume", *options]
        print(shlex.join(command), flush=True)
        code = None if output.exists() else oceanvar_command(command[1:], standalone_mode=False)
        if code:
            raise SystemExit(code)
    return outputs


def opened(output: Path) -> xr.Dataset:
    """Read an output of the command."""
    if output.suffix == ".zarr":
        return xr.open_zarr(output).load()
    return xr.concat([xr.load_dataset(path) for path in sorted(output.glob("*.nc"))], "time")


def check_same_bits(outputs: list[Path]) -> xr.Dataset:
    """Demand that all outputs hold the same bits, and give the first one."""
    first, *others = map(opened, outputs)
    for output, other in zip(outputs[1:], others, strict=True):
        for name in first.variables:
            if first[name].values.tobytes() != other[name].values.tobytes():
                raise click.ClickException(f"{name} of {output} differs from that of {outputs[0]}")
    print(f"{len(outputs)} outputs hold the same bits", flush=True)
    return first


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Folder of daily NetCDF files without gaps.")
@click.option("--variables", default=VARIABLES, show_default=True, help="Eastward,northward.")
@click.option("--train-months", "train_months", default="1-6", show_default=True, callback=months)
@click.option("--test-months", "test_months", default="7-9", show_default=True, callback=months)
@click.option("--time-units", default="days since 1900-01-01", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/agulhas"), show_default=True)
@click.option("--scale", "name", type=click.Choice(list(SCALES)), default="full", show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the clouds, the weights and the training.")
def main(data: Path | None, out: Path, name: str, time_units: str, seed: int, **chosen: object) -> None:
    """Withhold cells of an archive, train, map the archive by the command line, and score."""
    torch.set_num_threads(1)
    data, scale = data or find_data(DATA, "a piece of public maps of currents", "--data"), SCALES[name]
    claim(out, {"scale": dataclasses.asdict(scale), "seed": seed, **chosen})
    variables = str(chosen["variables"]).split(",")
    truth = read(data, variables, time_units)
    sampler = clouds(scale, list(truth[variables[0]].dims))
    if not (out / "obs").exists():
        withhold(data, out / "obs", truth, sampler, seed)
    obs = read(out / "obs", variables, time_units)
    learning, test = (within(truth, *chosen[key]) for key in ("train_months", "test_months"))
    model = out / "agulhas.varnet"
    kept_model(model, lambda: train(out, scale, truth.isel(time=learning), sampler, seed))
    outputs = [*assimilate(out, "alone", time_units), *assimilate(out, "two", time_units, "--workers", "2")]
    analysis = check_same_bits(outputs)
    result = {"summary": read_summary(outputs[0]), "scores": {}}
    for number, variable in enumerate(variables):
        fields = (truth[variable], obs[variable])
        interpolate = functools.partial(scores.interpolate, *fields, learning, test, scale.candidates)
        maps = scores.by_method(kept(out / f"{variable}.nc", interpolate)[variable])
        maps |= {scores.OURS: analysis[variable][test]}
        seen = fields[0][test], fields[1][test]
        result["scores"][variable] = scores.table(*seen, maps)
        if number == 0:
            scores.draw(*seen, maps).savefig(out / "maps.png", dpi=70)
    (out / "scores.json").write_text(json.dumps(result, indent=1))
    print(json.dumps(result["scores"], indent=1))


if __name__ == "__main__":
    main()
