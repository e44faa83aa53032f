"""The command that trains a model."""

import sys
from pathlib import Path
from typing import Any

import click

from oceanvar.cli.parameters import examples


def _print_keys(ctx: click.Context, _: click.Parameter, wanted: Any) -> None:
    if wanted and not ctx.resilient_parsing:
        from oceanvar.cli.keys import key_lines

        click.echo("\n".join(key_lines()))
        ctx.exit()


@click.command(
    epilog=examples(
        "oceanvar train mediterranean.toml",
        "oceanvar train mediterranean.toml --out models/second.varnet --resume",
        "oceanvar train --keys > mediterranean.toml",
    )
)
@click.option(
    "--keys",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_keys,
    help="Print a configuration with every key, its default and what it is, and exit.",
)
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Model file to write. [default: CONFIG with the ending .varnet]",
)
@click.option("--resume", is_flag=True, help="Continue a run that was broken off, from its checkpoints.")
@click.option("--overwrite", is_flag=True, help="Start anew where there is a model or a checkpoint.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def train(config: Path, out: Path | None, resume: bool, overwrite: bool, quiet: bool) -> None:
    """Train a model as the TOML file CONFIG says.

    The file has the sections [data], [model], [state] and [training]; --keys prints all that they may say. Paths count
    from the folder of CONFIG. The model is written whenever an epoch is the best so far, so that training may be
    stopped at any time; checkpoints go to a folder beside it, NAME.checkpoints.
    """
    from oceanvar.cli.config import train_from_file

    target = config.with_suffix(".varnet") if out is None else out
    history = train_from_file(config, target, resume, overwrite, not quiet and sys.stderr.isatty())
    last = history.isel(epoch=-1)
    click.echo(
        f"{target}: {history.sizes['epoch']} epochs, loss {float(last['loss']):.4g}, validation loss "
        f"{float(history['validation_loss'].min()):.4g} at best (mean square error, normalised)"
    )
