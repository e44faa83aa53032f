"""The command that maps files of points. Heavy libraries are imported when it runs, so that ``--help`` is quick."""

from typing import Any

import click

from oceanvar.cli.parameters import Days, Numbers, Quantity, Values, examples


@click.command(
    "map",
    epilog=examples(
        'oceanvar map "l3/**/*.nc" --model ocean --grid 0.1 --region -6,36.5,30,46 \\',
        "    --time 2014-05-15,2014-06-03 --out map.zarr",
        "oceanvar map jason/ altika/ --method oi --lengths latitude=60,longitude=60,time=10 --grid 0.125 \\",
        "    --region -6,36.5,30,46 --time 2014-05-15,2014-06-03 --withhold 0.2 --out map.nc",
    ),
)
@click.argument("points", nargs=-1, required=True)
@click.option(
    "-m", "--model", help="Model file, or the name of a packaged model. [default: with another method none]"
)
@click.option(
    "--method",
    type=click.Choice(["model", "oi", "dineof"]),
    default="model",
    show_default=True,
    help="A model, optimal interpolation, or empirical orthogonal functions (for images), both with an error field.",
)
@click.option("-o", "--out", required=True, help="Output: name.zarr or name.nc.")
@click.option("--region", type=Numbers(4), required=True, metavar="WEST,EAST,SOUTH,NORTH", help="In degrees.")
@click.option("--time", "times", type=Days(), required=True, help="First and last map.")
@click.option(
    "--grid", "step", type=float, default=0.1, show_default=True, help="Step of the map, in degrees."
)
@click.option(
    "--days", type=float, help="From one map to the next: a multiple of a model's step. [default: that, or 1]"
)
@click.option("--variable", help="Variable of the files. [default: the usual one, or the only one]")
@click.option("--columns", help="Names of the columns of text: longitude,latitude,time,adt.")
@click.option(
    "--time-units", metavar="TEXT", help="Units of times that are bare numbers: 'days since 1950-01-01'."
)
@click.option("--lengths", type=Values(), help="Of optimal interpolation, in km and days. [default: 5 steps]")
@click.option(
    "--noise",
    type=Quantity(),
    default="0.02 m",
    show_default=True,
    help="Error of a sample for oi, with its units; a bare number is in the units of the files.",
)
@click.option("--n-nearest", default=60, show_default=True, help="Observations used for each point by oi.")
@click.option("--modes", type=click.IntRange(1), help="Of dineof. [default: by cross-validation]")
@click.option("--smoothing", type=float, metavar="DAYS", help="Filter in time of dineof. [default: none]")
@click.option(
    "--withhold", type=click.FloatRange(0, 0.9), default=0.0, help="Share of passes to score the map with."
)
@click.option("--sea", type=click.Choice(["land"]), help="Keep the map off the coasts only (oceanvar[land]).")
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
def map_command(
    points: tuple[str, ...],
    model: str | None,
    method: str,
    out: str,
    region: tuple[float, float, float, float],
    times: tuple[Any, Any],
    step: float,
    days: float | None,
    variable: str | None,
    columns: str | None,
    time_units: str | None,
    lengths: dict[str, float] | None,
    noise: tuple[float, str | None],
    n_nearest: int,
    modes: int | None,
    smoothing: float | None,
    withhold: float,
    sea: str | None,
    overwrite: bool,
) -> None:
    """Map the samples in POINTS, files as satellites, floats and drifters deliver them.

    POINTS are files, quoted patterns or folders, of one satellite or of several: Level-3 and Level-2 altimetry, SWOT,
    GHRSST swaths, profiles, drifters, CSV. The map is in memory; `oceanvar assimilate` streams gridded archives.
    """
    from oceanvar.cli.points import (
        Region,
        divided,
        error_of,
        map_by_interpolation,
        map_by_model,
        map_by_modes,
        solved_grid,
        step_of,
        usual_lengths,
        withheld_score,
    )
    from oceanvar.cli.writing import check_new, write
    from oceanvar.labels.masks import sea_at
    from oceanvar.network.varnet import load
    from oceanvar.observing.readers.along_track import open_tracks

    if (method == "model") != (model is not None):
        raise click.UsageError("give --model, or --method oi or dineof")
    check_new(out, overwrite)
    network = None if model is None else load(model)
    wanted = Region(*region, *times, step, days or (network and step_of(network)) or 1.0)
    chosen = {**usual_lengths(wanted), **(lengths or {})} if method == "oi" else {"time": wanted.days}
    maps, grid = wanted.grid(), solved_grid(wanted, network, chosen)
    named = None if columns is None else [each.strip() for each in columns.split(",")]
    tracks = open_tracks(list(points), variable, columns=named, time_units=time_units, **wanted.cut(grid))
    name = str(next(iter(tracks.data_vars)))
    kept, withheld = divided(tracks, withhold)
    if network is not None:
        analysis = map_by_model(kept, name, grid, maps, network, mask=sea)
    elif method == "oi":
        error = error_of(tracks[name], *noise)
        analysis = map_by_interpolation(kept, name, grid, maps, chosen, error, n_nearest)
    else:
        analysis = map_by_modes(kept, name, grid, maps, modes, smoothing)
    if sea is not None and network is None:
        analysis = analysis.where(sea_at(maps))
    write(analysis, out, overwrite)
    if withheld is not None:
        mapped = analysis[next(iter(analysis.data_vars))]
        click.echo(withheld_score(mapped, withheld[name], wanted.half_step), err=True)
    click.echo(out)
