"""What it costs to look at the files of an archive before any work: seconds, and memory as they become more.

    python -m scripts.benchmarks index

Files hold one day of 8 x 10 points each. Every index is made in a process of its own that has few files open to it
(`ulimit -n 256`): first from nothing, then once more with the notes of the first, as a resumed run does.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from oceanvar.archive.manifest import INDEX
from oceanvar.archive.side_by_side import index_sources
from oceanvar.archive.sources import find_sources
from oceanvar.options import Options
from scripts.benchmarks import machine
from scripts.benchmarks.archive import ROOT, space_of, write_observations

N_OPEN = 256


@click.command()
@click.option("--files", multiple=True, type=int, default=(1000, 10000), show_default=True)
@click.option("--of", hidden=True, type=click.Path(path_type=Path))
def index(files: tuple[int, ...], of: Path | None) -> None:
    """What it costs to look at the files of an archive, of 1,000 and of 10,000."""
    if of is not None:
        click.echo(json.dumps(measured(of)))
        return
    click.echo(machine.described())
    with tempfile.TemporaryDirectory() as folder:
        peaks = []
        for n_files in files:
            place = Path(folder) / str(n_files)
            write_observations(place, n_files, 8, 10, 1)
            first, again = (in_a_process(place) for _ in range(2))
            peaks.append(first["peak"])
            click.echo(
                f"index: {n_files} files in {first['wall']:.1f} s (processor {first['cpu']:.1f} s), again in "
                f"{again['wall']:.1f} s ({again['cpu']:.1f} s), peak {first['peak']:.0f} MiB"
            )
        click.echo(f"        memory of {files[-1]} files over that of {files[0]}: {peaks[-1] / peaks[0]:.3f}")
        click.echo("        wanted: at most 60 s, and 1.1 times the memory")


def in_a_process(folder: Path) -> dict[str, float]:
    """Measure in a new process."""
    command = [sys.executable, "-m", "scripts.benchmarks", "index", "--of", str(folder)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def measured(folder: Path) -> dict[str, Any]:
    """Seconds, and the peak of memory in MiB."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (N_OPEN, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    patch = {"time": 4, "lat": 8, "lon": 8}
    space = space_of(patch, {"time": 2, "lat": 2, "lon": 2})
    wall, cpu = time.perf_counter(), time.process_time()
    index_sources(find_sources(folder), space, Options(), None, folder.with_suffix(".run") / INDEX)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": wall, "cpu": cpu, "peak": machine.peak()}
