"""The command that assimilates window after window; heavy libraries are imported when it runs."""

from typing import Any

import click

from oceanvar.cli.parameters import Texts, examples


@click.command(
    "cycle",
    epilog=examples(
        'oceanvar cycle "obs/*.nc" -m lorenz96 -o cycles.nc --every 4 --lag 40 --lead 8',
        'oceanvar cycle "obs/*.nc" -m mediterranean.varnet -o cycles.zarr --window 20 --lead 7',
    ),
)
@click.argument("obs", nargs=-1, required=True)
@click.option("-m", "--model", required=True, help="Model file, or the name of a packaged model.")
@click.option("-o", "--out", required=True, help="Output: name.zarr or name.nc.")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Steps between windows.")
@click.option(
    "--lag", type=click.IntRange(0), default=0, help="Also the analysis so many steps before. [default: none]"
)
@click.option("--lead", type=click.IntRange(0), default=0, help="Steps of each forecast. [default: none]")
@click.option("--window", type=click.IntRange(1), help="Times of a window. [default: the model's]")
@click.option("--rename", type=Texts(), help="Other names for what the files hold: sla=ssh,lat=latitude.")
@click.option("--units", type=Texts(), help="Units of variables, in place of what the files say: ssh=cm.")
@click.option(
    "--variable",
    "variables",
    type=Texts(),
    help="Names in the files of the model's variables: ssh=sla_filtered.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "float64", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Arithmetic of the solver.",
)
@click.option(
    "--on-divergence",
    type=click.Choice(["error", "fallback", "nan"]),
    default="error",
    show_default=True,
    help="What becomes of a patch whose solve has diverged: end with an error, put the first guess or NaN there.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
def cycle_command(
    obs: tuple[str, ...],
    model: str,
    out: str,
    rename: dict[str, str] | None,
    units: dict[str, str] | None,
    variables: dict[str, str] | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Assimilate the observations in OBS window after window, as they come in.

    Each window starts from the analysis of the one before and a forecast by the dynamics of the model. The output
    holds, by time and lead, the analysis at the newest time of each window (lead 0), --lag steps before it, and
    forecasts of 1 to --lead steps. It is made in memory; observations are read a window at a time.
    """
    from oceanvar.archive.catalogue import open_archive
    from oceanvar.cli.inputs import file_steps
    from oceanvar.cli.writing import check_new, write
    from oceanvar.cycling import cycle
    from oceanvar.network.varnet import load

    check_new(out, overwrite)
    network = load(model)
    space = network.state_space
    preprocess = file_steps(space.dims[0], None, None, rename, units, variables)
    named = [(variables or {}).get(name, name) for name in space.file_variables]
    with open_archive(list(obs), named, preprocess, space.dims[0]) as ds:
        write(cycle(ds, network, variables=variables or {}, **options), out, overwrite)
    click.echo(out)
