"""Commands of the shell. Heavy libraries are imported when a command runs, so that ``--help`` is quick."""

import json
import os
from typing import Any

import click

from oceanvar.allocation import keep_freed_memory
from oceanvar.cli.cycle_command import cycle_command
from oceanvar.cli.endings import Group, told_to_stop
from oceanvar.cli.map_command import map_command
from oceanvar.cli.osse_command import osse
from oceanvar.cli.parameters import Counts, Range, examples, patch_options
from oceanvar.cli.train_command import train


@click.group(
    "oceanvar", cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="oceanvar")
def main() -> None:
    """Map gappy ocean observations to complete fields with learned variational assimilation (4DVarNet).

    Exit codes: 0 done, 1 failed (the reason is on standard error), 2 wrong usage, 75 stopped by SIGTERM, 130
    interrupted.
    """
    keep_freed_memory()
    # Threads of torch that wait for each other spin, by default for so long that a busy core costs minutes.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


main.add_command(map_command)
main.add_command(cycle_command)
main.add_command(train)
main.add_command(osse)


@main.command(
    epilog=examples(
        'oceanvar assimilate "obs/*.nc" -m mediterranean.varnet -o analysis.zarr',
        'oceanvar assimilate "obs/*.nc" -m mediterranean.varnet -o analysis --period year --resume',
        'oceanvar assimilate "obs/*.nc" -m mediterranean.varnet -o analysis.zarr --append',
        'oceanvar assimilate "obs/*.nc" -m mediterranean.varnet -o analysis.zarr --mask land.nc is_sea',
        'oceanvar assimilate "obs/*.nc" -m mediterranean.varnet -o analysis.zarr --workers 4',
        "oceanvar assimilate obs.zarr -m global.varnet -o analysis.zarr \\",
        "    --patch time=15,latitude=64 --overlap time=8,latitude=16 --periodic longitude",
        "oceanvar assimilate s3://bucket/obs.zarr -m global.varnet -o analysis.zarr --pack ssh=-4:4",
    )
)
@click.argument("obs", nargs=-1)
@patch_options
@click.option(
    "-o", "--out", required=True, help="Output: name.zarr, a folder for NetCDF files, or icechunk:///folder."
)
@click.option(
    "--taper",
    type=click.Choice(["triangle", "hann", "boxcar"]),
    default="triangle",
    show_default=True,
    help="Weights of a patch where patches overlap.",
)
@click.option(
    "--background",
    help="First guess on the same grid: file, pattern or Zarr store. [default: the model's own start]",
)
@click.option(
    "--mask",
    nargs=2,
    metavar="FILE VARIABLE",
    help="Keep the analysis only where this variable says sea: flags, a fraction, or 1. [default: everywhere]",
)
@click.option(
    "--sea",
    type=click.Choice(["observed", "land"]),
    help="Keep the analysis only where anything was ever observed, or off the coasts (oceanvar[land]).",
)
@click.option(
    "--period",
    type=click.Choice(["day", "month", "year"]),
    default="month",
    show_default=True,
    help="What one NetCDF file holds.",
)
@click.option(
    "--chunks",
    type=Counts(),
    metavar="DIM=N,...",
    help="Points of a chunk of a Zarr store. [default: whole maps]",
)
@click.option(
    "--shards",
    type=Counts(),
    metavar="DIM=N,...",
    help="Points of a shard of a Zarr store. [default: no shards]",
)
@click.option(
    "--compression",
    type=click.IntRange(0, 9),
    help="0 is none. [default: 1 for NetCDF, Zarr's own choice for a store]",
)
@click.option(
    "--pack",
    type=Range(),
    multiple=True,
    help="Store a variable as integers of 16 bits over a range; a value outside ends the run. May be repeated.",
)
@click.option(
    "--diagnostics",
    is_flag=True,
    help="Also write standard deviation and health, for models with a cost of weak-constraint 4D-Var.",
)
@click.option(
    "--samples",
    "n_samples",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Also write so many fields that the truth may be, with standard deviation and health. [default: none]",
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the samples. [default: 0]")
@click.option("--skip-bad", is_flag=True, help="Go on without files that cannot be used, and list them.")
@click.option(
    "--workers", type=click.IntRange(1), help="Worker processes to start on this machine. [default: none]"
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Work on a dask cluster: address of its scheduler, or its .json file.",
)
@click.option(
    "--resources", type=Counts(), help="What a worker of the cluster must offer: GPU=1. [default: nothing]"
)
@click.option(
    "--resume", is_flag=True, help="Continue a run that was broken off, if there is one; mend a complete one."
)
@click.option(
    "--append",
    is_flag=True,
    help="Make an output that later files extend, or extend one: only what new, late or other files reach is solved.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="With --resume or --append: read what is finished, and mend what was altered too.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing output, when the new one is complete.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no summary.")
def assimilate(
    obs: tuple[str, ...],
    source: tuple[str, ...],
    model: str,
    out: str,
    time_units: str | None,
    time_from: str | None,
    rename: dict[str, str] | None,
    units: dict[str, str] | None,
    workers: int | None,
    scheduler: str | None,
    background: str | None,
    mask: tuple[str, str] | None,
    sea: str | None,
    quiet: bool,
    as_json: bool,
    periodic: tuple[str, ...],
    along_track: tuple[tuple[str, str], ...],
    pack: tuple[tuple[str, float, float], ...],
    **options: Any,
) -> None:
    """Map the observations in OBS to complete fields.

    OBS are NetCDF files, quoted patterns, folders of NetCDF files, Zarr stores, or URLs of these (s3://...),
    with the variables, units and dimensions of the model; NaN or the fill value where nothing was observed.
    Every file is checked first. The output appears under its name when it is complete; until then it grows in
    the folder OUT.run, which keeps the record of the run.

    Ctrl-C stops at once (exit code 130), SIGTERM after the chunk or file in work (exit code 75). After either,
    and after a kill, the same command with --resume goes on to the same result. On a cluster the workers finish
    the units that they have begun.

    With --append the same command, given again when there are new files, extends the output to what a run over all
    files gives; it goes on by itself after an interruption.
    """
    from oceanvar.archive.catalogue import open_archive
    from oceanvar.archive.cluster import connected
    from oceanvar.archive.jobs import assimilate_archive, read_summary
    from oceanvar.archive.storage import Packing
    from oceanvar.cli.inputs import file_steps, given_sources, read_mask, read_samples
    from oceanvar.cli.report import summary_lines
    from oceanvar.network.varnet import load

    network = load(model)
    variables, dim = network.state_space.variables, network.state_space.dims[0]
    preprocess = file_steps(dim, time_units, time_from, rename, units, options["variables"])
    guess = None if background is None else open_archive(background, variables, dim=dim)
    with told_to_stop() as stop, connected(workers, scheduler) as client:
        path = assimilate_archive(
            given_sources(obs, source),
            network,
            out,
            background=guess,
            mask=sea if mask is None else read_mask(*mask),
            periodic=periodic or None,
            along_track=read_samples(along_track),
            packing={name: Packing.over(low, high) for name, low, high in pack},
            preprocess=preprocess,
            progress=not quiet,
            stop=stop,
            client=client,
            **options,
        )
    summary = read_summary(path)
    if not quiet:
        click.echo("\n".join(summary_lines(summary)), err=True)
    click.echo(json.dumps(summary, indent=2) if as_json else out)


@main.command(epilog=examples("oceanvar verify analysis.zarr"))
@click.argument("output")
def verify(output: str) -> None:
    """Read every file of OUTPUT, an analysis by `assimilate`, and compare it with what was written.

    Ends with exit code 1 and the names of files that are missing, cut or altered. The command that made the
    analysis mends them, with --resume --verify, or with --append --verify. Units that an append is at work on, or was
    when it was broken off, are named; they are not in OUTPUT yet.
    """
    from oceanvar.archive.outputs import in_flight
    from oceanvar.archive.outputs import verify as compare

    wrong = compare(output)
    units = in_flight(output)
    if units:
        click.echo(
            f"an append is at work or was broken off, {len(units)} unit(s) of it are not in {output} yet: {units[0]}"
            + (f" to {units[-1]}" if len(units) > 1 else ""),
            err=True,
        )
    for name, what in wrong.items():
        click.echo(f"{name} {what}")
    if wrong:
        raise click.ClickException(
            f"{len(wrong)} file(s) of {output} are not as they were written: run the command that made it again, with "
            "--resume --verify (with --append --verify, if that made it)"
        )
    click.echo(f"{output} is as it was written")


@main.command(
    epilog=examples(
        "oceanvar inspect lorenz63",
        "oceanvar inspect mediterranean.varnet",
    )
)
@click.argument("model")
def inspect(model: str) -> None:
    """Show what the file or packaged model MODEL is: variables, patch, architecture, training."""
    from oceanvar.cli.report import model_lines
    from oceanvar.network.varnet import load

    click.echo("\n".join(model_lines(load(model))))


@main.command(
    epilog=examples(
        'oceanvar plan "obs/*.nc" -m mediterranean.varnet',
        'oceanvar plan "obs/*.nc" -m mediterranean.varnet --overlap time=4 --quick',
        'oceanvar plan "obs/*.nc" -m mediterranean.varnet --append analysis.zarr',
    )
)
@click.argument("obs", nargs=-1)
@patch_options
@click.option("--skip-bad", is_flag=True, help="Leave out files that cannot be used, and name them.")
@click.option("--quick", is_flag=True, help="Solve nothing: no time, no size on the disk.")
@click.option(
    "--append",
    metavar="OUT",
    help="Say what `assimilate --append` would solve of this output, and nothing else.",
)
def plan(
    obs: tuple[str, ...],
    source: tuple[str, ...],
    model: str,
    time_units: str | None,
    time_from: str | None,
    rename: dict[str, str] | None,
    units: dict[str, str] | None,
    group: str,
    skip_bad: bool,
    quick: bool,
    append: str | None,
    periodic: tuple[str, ...],
    along_track: tuple[tuple[str, str], ...],
    **options: Any,
) -> None:
    """Show what `assimilate` would do with OBS: patches, solves, memory, size of the output, time.

    Every file is checked. One unit (a chunk of the output in time) is read, solved and written to a temporary
    folder; time and size on the disk are judged by it.
    """
    from oceanvar.archive.appending import plan_growth
    from oceanvar.archive.planning import set_up_on
    from oceanvar.archive.side_by_side import index_sources
    from oceanvar.archive.sources import find_sources
    from oceanvar.archive.trials import try_unit
    from oceanvar.cli.inputs import file_steps, given_sources, read_samples
    from oceanvar.cli.report import growth_lines, plan_lines, trial_lines
    from oceanvar.network.varnet import load
    from oceanvar.options import Options

    network = load(model)
    dim = network.state_space.dims[0]
    preprocess = file_steps(dim, time_units, time_from, rename, units, options["variables"])
    choices = Options(periodic=periodic or None, along_track=read_samples(along_track), **options)
    sources = find_sources(given_sources(obs, source), group)
    index = index_sources(sources, network.state_space, choices, preprocess, skip_bad=skip_bad, progress=True)
    if append is not None:
        click.echo("\n".join(growth_lines(*plan_growth(index, network, choices, append))))
        return
    click.echo("\n".join(plan_lines(index, set_up_on(index, network, choices))))
    if not quick:
        click.echo("\n".join(trial_lines(try_unit(index, network, choices))))
