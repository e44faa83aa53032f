"""What an archive costs beside its solver: ratios measured side by side in one run.

    python -m scripts.benchmarks archive
    python -m scripts.benchmarks archive --part stitching --part workers

memory: peak of a process that maps 4,000 days, over that for 400 days of the same grid, identity as solver.
overhead: time of a whole run beyond that of its solver alone on the same patches, one torch thread.
stitching: cutting and stitching alone, beside a copy of memory, and beside xbatcher and xrpatcher where installed;
    processor time of one thread.
workers: a run on two worker processes of one torch thread each, beside the same run on one. Needs two idle cores.
solves: how often each patch is solved, in one process and on two workers.
append: a file of one more day added to an output, beside the run that made it.
"""

import itertools
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import click
import numpy as np
import torch
import xarray as xr

from oceanvar.archive import assimilate_archive, read_summary
from oceanvar.archive.cluster import connected
from oceanvar.mapping import set_up
from oceanvar.network import VarNet, fourdvarnet
from oceanvar.network.handles import PatchSolver
from oceanvar.options import Options
from oceanvar.patching.batches import PatchJob
from oceanvar.patching.grids import PatchGrid
from oceanvar.patching.streaming import TimeStream, rows
from oceanvar.patching.tapers import taper_factors
from oceanvar.state import StateSpace
from scripts.benchmarks import machine

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Scale:
    """How large the measurements are."""

    days: tuple[int, int]
    days_per_file: int
    memory_grid: tuple[int, int]
    n_lat: int
    n_lon: int
    overhead_days: int
    stitching_days: int
    worker_days: int
    append_days: int
    copy_bytes: int
    n_repeats: int


FULL = Scale((400, 4000), 1, (64, 96), 112, 160, 120, 400, 480, 365, 2**27, 5)
SMALL = Scale((30, 60), 10, (16, 24), 64, 64, 15, 22, 60, 20, 2**22, 2)
PATCH = {"time": 15, "lat": 64, "lon": 64}
OVERLAP = {"time": 8, "lat": 16, "lon": 16}


def space_of(patch: dict[str, int], overlap: dict[str, int]) -> StateSpace:
    """Sea level, normalised already."""
    return StateSpace(("ssh",), tuple(patch), patch, overlap, mean={"ssh": 0.0}, std={"ssh": 1.0})


def write_observations(folder: Path, n_days: int, n_lat: int, n_lon: int, days_per_file: int) -> str:
    """Noise with 80 % gaps in NetCDF files of a few days; gives their pattern."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    coords = {"lat": np.arange(n_lat) / 8.0, "lon": np.arange(n_lon) / 8.0}
    for first in range(0, n_days, days_per_file):
        n = min(days_per_file, n_days - first)
        values = rng.standard_normal((n, n_lat, n_lon), dtype=np.float32)
        values[rng.random(values.shape, dtype=np.float32) < 0.8] = np.nan
        times = np.datetime64("2000-01-01", "ns") + np.arange(first, first + n) * np.timedelta64(1, "D")
        ds = xr.Dataset({"ssh": (("time", "lat", "lon"), values)}, {"time": times, **coords})
        ds.to_netcdf(folder / f"obs_{first:05}.nc", engine="netcdf4")
    return str(folder / "*.nc")


def identity(solver: PatchSolver, patches: np.ndarray, **place: object) -> np.ndarray:
    """Stand in for the solver: the observations, 0 where there are none."""
    return np.nan_to_num(patches[:, :1])


@contextmanager
def replaced_solver(function: Callable[[PatchSolver, np.ndarray], np.ndarray]) -> Iterator[None]:
    """Solve with another function for a while."""
    before = PatchSolver.__call__
    PatchSolver.__call__ = function
    try:
        yield
    finally:
        PatchSolver.__call__ = before


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall time and processor time of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    return timed(work)[0]


def cpu_seconds(work: Callable[[], object]) -> float:
    """Processor time of one call, of all threads together: other jobs on the machine hardly matter."""
    return timed(work)[1]


def measure_memory(folder: Path, scale: Scale) -> Iterator[str]:
    """Peak memory of child processes for a short and a long archive."""
    peaks = []
    for n_days in scale.days:
        pattern = write_observations(folder / str(n_days), n_days, *scale.memory_grid, scale.days_per_file)
        output = folder / f"{n_days}.zarr"
        command = [sys.executable, "-m", "scripts.benchmarks", "archive", "--peak", pattern, str(output)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
        peaks.append(json.loads(done.stdout))
    short, long = peaks
    yield f"memory: {long:.0f} MiB for {scale.days[1]} days, {short:.0f} MiB for {scale.days[0]}: {long / short:.3f}"
    yield "        wanted: at most 1.05"


def print_peak(pattern: str, output: str) -> None:
    """Map an archive with the identity as solver and print the process's peak in MiB."""
    patch, overlap = {"time": 8, "lat": 16, "lon": 24}, {"time": 4, "lat": 4, "lon": 6}
    with replaced_solver(identity):
        assimilate_archive(pattern, fourdvarnet(space_of(patch, overlap), n_steps=1), output)
    print(machine.peak())


def measure_overhead(folder: Path, scale: Scale) -> Iterator[str]:
    """A run with the default model beside its solver alone on the same batches."""
    pattern = write_observations(folder / "obs", scale.overhead_days, scale.n_lat, scale.n_lon, 1)
    model = default_model(scale)
    with xr.open_mfdataset(pattern, combine="nested", concat_dim="time") as lazy:
        obs = lazy.load()
    setup = set_up(obs, model, Options())
    field, batches = obs["ssh"].values[None], []
    for group in TimeStream(setup.job).groups:
        places = itertools.product(group, *(setup.job.grid.starts[dim] for dim in ("lat", "lon")))
        patches = np.stack([setup.job.grid.gather(field, place) for place in places])
        batches += np.split(patches, range(setup.job.batch_size, len(patches), setup.job.batch_size))
    setup.job.function(batches[0][:1])
    output = folder / "out.zarr"
    times = [timed(lambda: [setup.job.function(batch) for batch in batches])]
    times += [timed(lambda: assimilate_archive(pattern, model, output))]
    times += [timed(lambda: [setup.job.function(batch) for batch in batches])]
    (before, before_cpu), (whole, whole_cpu), (after, after_cpu) = times
    alone, alone_cpu = (before + after) / 2, (before_cpu + after_cpu) / 2
    summary = read_summary(output)
    yield f"overhead: {whole / alone - 1:.1%} over the solver alone ({whole:.1f} s and {alone:.1f} s,"
    yield f"        {summary['n_patches']} patches; in the run itself: {summary['seconds']})"
    yield f"        processor time of all threads: {whole_cpu / alone_cpu - 1:.1%} over the solver's"
    yield "        wanted: at most 10 %"


def default_model(scale: Scale, patch: dict[str, int] = PATCH, overlap: dict[str, int] = OVERLAP) -> VarNet:
    """A typical ocean model; a small one in small measurements."""
    space = space_of(patch, overlap)
    return fourdvarnet(space) if scale is FULL else fourdvarnet(space, n_steps=2, n_features=4, n_hidden=4)


def measure_stitching(folder: Path, scale: Scale) -> Iterator[str]:
    """Cut and stitch with the identity, beside a copy of memory and beside what others do it with."""
    sizes = {"time": scale.stitching_days, "lat": 160, "lon": 208}
    grid = PatchGrid(sizes, PATCH, OVERLAP)
    field = np.random.default_rng(0).standard_normal((1, *grid.shape), dtype=np.float32)
    job = PatchJob(grid, lambda patches: patches, taper_factors("triangle", grid), 1, 16, np.dtype("float32"))

    def stitched() -> Iterator[np.ndarray]:
        stream = TimeStream(job)
        slabs = (rows(field, first, stop, -3) for first, stop in stream.reads())
        return (part for _, part in stream.solve(slabs))

    source, target = (np.full(scale.copy_bytes // 4, value, np.float32) for value in (1, 2))
    copied, ours = [], []
    for _ in range(scale.n_repeats):  # in turn, so that both see the same machine
        copied.append(cpu_seconds(lambda: np.copyto(target, source)))
        ours.append(cpu_seconds(lambda: deque(stitched(), maxlen=0)))
    bandwidth = source.nbytes / min(copied)
    n_bytes = 4 * len(grid) * job.weights.size + field.nbytes
    np.testing.assert_allclose(np.concatenate(list(stitched()), axis=1), field, atol=1e-5)
    yield f"stitching: {n_bytes / min(ours) / 1e9:.2f} GB/s of patches read and field written, {len(grid)} patches"
    yield f"        memory copy {bandwidth / 1e9:.2f} GB/s of bytes copied: {n_bytes / min(ours) / bandwidth:.2f} of it"
    yield "        wanted: at least 0.25"
    dims = {dim: np.arange(n) for dim, n in grid.sizes.items()}
    array = xr.DataArray(field[0], dims, grid.dims, name="ssh")
    for name, method in {"xbatcher": with_xbatcher, "xrpatcher": with_xrpatcher}.items():
        if find_spec(name) is None:
            yield f"        {name} is not installed"
            continue
        np.testing.assert_allclose(method(array, grid, job.weights), field[0], atol=1e-5)
        theirs = cpu_seconds(lambda: method(array, grid, job.weights))  # noqa: B023
        yield f"        {name} on the same patches: {theirs / min(ours):.1f} times as long"
    yield "        wanted: at least 20"


def with_xbatcher(array: xr.DataArray, grid: PatchGrid, weights: np.ndarray) -> xr.DataArray:
    """Its iteration, and a weighted overlap-add in plain xarray."""
    from xbatcher import BatchGenerator

    weighting = xr.DataArray(weights, dims=grid.dims)
    total, sums, n_patches = xr.zeros_like(array), xr.zeros_like(array), 0
    for patch in BatchGenerator(array, dict(grid.patch), input_overlap=dict(grid.overlap)):
        where = {dim: slice(patch[dim].values[0], patch[dim].values[-1]) for dim in grid.dims}
        total.loc[where] += patch * weighting
        sums.loc[where] += weighting
        n_patches += 1
    if n_patches != len(grid):
        raise RuntimeError(f"xbatcher made {n_patches} patches of {len(grid)}: choose sizes without a rest")
    return total / sums


def with_xrpatcher(array: xr.DataArray, grid: PatchGrid, weights: np.ndarray) -> xr.DataArray:
    """Its iteration, which the reconstruction wants as a list of all patches."""
    from xrpatcher import XRDAPatcher

    strides = {dim: grid.patch[dim] - grid.overlap[dim] for dim in grid.dims}
    with warnings.catch_warnings(), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore", FutureWarning)
        patcher = XRDAPatcher(array, dict(grid.patch), strides, check_full_scan=True)
        return patcher.reconstruct([patch.values for patch in patcher], list(grid.dims), weights)


def measure_workers(folder: Path, scale: Scale) -> Iterator[str]:
    """Run on one and on two worker processes; the model is loaded before."""
    pattern = write_observations(folder / "obs", scale.worker_days, scale.n_lat, scale.n_lon, 1)
    warm = write_observations(folder / "warm", 30, scale.n_lat, scale.n_lon, 30)
    model = default_model(scale)
    taken, summaries = [], []
    for n_workers in (1, 2):
        with connected(n_workers, None) as client:
            options = {"client": client, "batch_size": 6}
            assimilate_archive(warm, model, folder / f"warm{n_workers}.zarr", **options)
            output = folder / f"{n_workers}.zarr"
            taken.append(seconds(lambda: assimilate_archive(pattern, model, output, **options)))  # noqa: B023
            summaries.append(read_summary(output))
    one, two = (xr.open_zarr(folder / f"{n}.zarr")["ssh"].values for n in (1, 2))
    np.testing.assert_array_equal(one, two)
    again = summaries[1]["n_patches_again"]
    yield f"workers: two are {taken[0] / taken[1]:.2f} times as fast as one ({taken[0]:.1f} s and {taken[1]:.1f} s);"
    yield f"        of {summaries[1]['n_patches']} patches {again} were solved twice; the fields are equal bit by bit"
    yield "        wanted: at least 1.7, on two cores that do nothing else"


def measure_solves(folder: Path, scale: Scale) -> Iterator[str]:
    """Count the patches that the solver is given."""
    counts: list[int] = []

    def counted(solver: PatchSolver, patches: np.ndarray, **place: object) -> np.ndarray:
        counts.append(len(patches))
        return identity(solver, patches)

    pattern = write_observations(folder / "obs", scale.overhead_days, scale.n_lat, scale.n_lon, 30)
    with replaced_solver(counted):
        output = assimilate_archive(pattern, default_model(scale), folder / "out.zarr")
    yield f"solves: {sum(counts) / read_summary(output)['n_patches']:g} a patch in one process"


def measure_append(folder: Path, scale: Scale) -> Iterator[str]:
    """Add days one by one to a record of daily files, for windows of eight days of which four are shared."""
    n_days, n_repeats = scale.append_days, scale.n_repeats
    write_observations(folder / "all", n_days + n_repeats, scale.n_lat, scale.n_lon, 1)
    files = sorted((folder / "all").glob("*.nc"))
    model = default_model(scale, {"time": 8, "lat": 32, "lon": 32}, {"time": 4, "lat": 8, "lon": 8})
    assimilate_archive(files[:10], model, folder / "warm.zarr", append=True)
    for name in ("analysis.zarr", "monthly"):

        def mapped(n: int) -> float:
            return seconds(lambda: assimilate_archive(files[:n], model, folder / name, append=True))  # noqa: B023

        whole = mapped(n_days)
        days = [mapped(n_days + i + 1) for i in range(n_repeats)]
        day = sorted(days)[n_repeats // 2]
        yield f"append: {name}: one day takes 1/{whole / day:.0f} of {n_days} days ({day:.2f} s and {whole:.1f} s)"
    yield "        wanted: at most 1/50"


PARTS: dict[str, Callable[[Path, Scale], Iterator[str]]] = {
    "memory": measure_memory,
    "overhead": measure_overhead,
    "stitching": measure_stitching,
    "workers": measure_workers,
    "solves": measure_solves,
    "append": measure_append,
}


@click.command()
@click.option("--part", "parts", multiple=True, type=click.Choice(list(PARTS)), help="[default: all]")
@click.option("--small", is_flag=True, help="Only to see that it works: the numbers mean nothing.")
@click.option("--peak", nargs=2, hidden=True)
def archive(parts: tuple[str, ...], small: bool, peak: tuple[str, str] | None) -> None:
    """What an archive costs beside its solver, cutting and stitching beside a copy of memory and other packages."""
    torch.set_num_threads(1)
    if peak is not None:
        print_peak(*peak)
        return
    click.echo(machine.described())
    for part in parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            for line in PARTS[part](Path(folder), SMALL if small else FULL):
                click.echo(line)
