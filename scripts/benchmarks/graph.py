"""What it takes to build the lazy map of a long global record, and to import the package."""

import json
import subprocess
import sys
from pathlib import Path

import click

from scripts.benchmarks import machine

ROOT = Path(__file__).parents[2]

BUILD = """
import json, statistics, sys, time
import dask.array as da, numpy as np, xarray as xr
import oceanvar, oceanvar.mapping

def peak():
    status = open("/proc/self/status").read().splitlines()
    return int(next(line.split()[1] for line in status if line.startswith("VmHWM"))) / 1024

n_days, n_lat, n_lon = json.loads(sys.argv[1])
patch = {"time": 15, "lat": 64, "lon": 64}
scale = {"mean": {"ssh": 0.0}, "std": {"ssh": 1.0}}
space = oceanvar.StateSpace(("ssh",), tuple(patch), patch, {"time": 8, "lat": 16, "lon": 16}, **scale)
field = da.zeros((n_days, n_lat, n_lon), chunks=(1, n_lat, n_lon), dtype=np.float32)
coords = {"lat": -90 + 180 / n_lat * (np.arange(n_lat) + 0.5), "lon": -180 + 360 / n_lon * (np.arange(n_lon) + 0.5)}
coords["time"] = np.datetime64("1993-01-01", "ns") + np.arange(n_days) * np.timedelta64(1, "D")
obs = xr.Dataset({"ssh": (tuple(patch), field)}, coords)
model = oceanvar.presets.fourdvarnet(space.labelled_by(obs), n_steps=1, n_features=8, n_hidden=8)
"""
"""Observations and a model, both for a record of so many global days."""

MAP = """
before, start = peak(), time.perf_counter()
lazy = obs.varnet.assimilate(model)["ssh"]
print(json.dumps([time.perf_counter() - start, peak() - before, len(lazy.data.dask)]))
"""

CHECKS = """
mended, spent = oceanvar.mapping.mended, []

def timed(*arguments):
    start = time.perf_counter()
    found = mended(*arguments)
    spent.append(time.perf_counter() - start)
    return found

oceanvar.mapping.mended, shares = timed, []
for _ in range(100):
    spent.clear()
    start = time.perf_counter()
    obs.varnet.assimilate(model)
    shares.append(sum(spent) / (time.perf_counter() - start))
print(json.dumps([statistics.median(shares), 1000 * sum(spent)]))
"""
"""Share of the checks of coordinates, units and values in building a lazy map, and their milliseconds."""

IMPORT = "import time; start = time.perf_counter(); import oceanvar; print(time.perf_counter() - start)"


@click.command()
@click.option("--small", is_flag=True, help="Only to see that it works: the numbers mean nothing.")
def graph(small: bool) -> None:
    """Seconds and memory to build the lazy map of 10,000 global days at a quarter of a degree; seconds to import.

    And what the checks of coordinates, units and values take of it, of a year of such days.
    """
    click.echo(machine.described())
    size = (30, 72, 144) if small else (10_000, 720, 1440)
    seconds, mib, n_tasks = json.loads(_run(BUILD + MAP, json.dumps(size)))
    click.echo(
        f"graph: {seconds:.2f} s and {mib:.0f} MiB for {n_tasks:,} tasks of {size[0]} days of {size[1]} x {size[2]}"
    )
    share, ms = json.loads(_run(BUILD + CHECKS, json.dumps((min(size[0], 365), *size[1:]))))
    click.echo(f"checks: {share:.1%} of building the map of a year, {ms:.2f} ms")
    click.echo(f"import: {min(float(_run(IMPORT)) for _ in range(3)):.2f} s")


def _run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
