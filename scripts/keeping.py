"""What experiments keep: results that an earlier run has come to. And where they find their data."""

import functools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import torch
import xarray as xr

import oceanvar

FORMATS: dict[str, tuple[Callable[[Any, Path], object], Callable[[Path], Any]]] = {
    ".json": (
        lambda made, path: path.write_text(json.dumps(made, indent=1)),
        lambda path: json.loads(path.read_text()),
    ),
    ".nc": (lambda made, path: made.to_netcdf(path), xr.load_dataset),
    ".pt": (torch.save, functools.partial(torch.load, weights_only=True)),
}
"""How results are written and read, by the ending of their file."""


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """What `make` gives, from a file if an earlier run has come so far.

    Parameters
    ----------
    path : Path
        Its ending says what is kept: one of `FORMATS`.
    make : callable
        Called where there is no such file, which then holds what it gives; a run that is broken off leaves none.
    """
    write, read = FORMATS[path.suffix]
    if not path.exists():
        made = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        write(made, partial)
        partial.rename(path)
    return read(path)


def kept_model(path: Path, train: Callable[[], oceanvar.VarNet]) -> oceanvar.VarNet:
    """Model that `train` gives, from a file if an earlier run has trained it."""
    if path.exists():
        click.echo(f"using {path}; delete it to train anew", err=True)
        return oceanvar.load(path)
    model = train()
    model.save(path)
    return model


def claim(out: Path, settings: Mapping[str, object]) -> None:
    """Make the folder of a run, and refuse one that holds a run with other settings."""
    out.mkdir(parents=True, exist_ok=True)
    written, text = out / "settings.json", json.dumps(settings, indent=1)
    if written.exists() and json.loads(written.read_text()) != json.loads(text):
        raise click.ClickException(f"{written} is of a run with other settings: choose another --out")
    written.write_text(text)


def find_data(name: str, what: str, options: str) -> Path:
    """File or folder of data in OCEANVAR_DATA or ../shared/data.

    Parameters
    ----------
    name : str
        Below that folder.
    what : str
        What the data are, for the message where there are none.
    options : str
        The options by which other data are given.
    """
    for folder in filter(None, [os.environ.get("OCEANVAR_DATA"), "../shared/data"]):
        if (Path(folder) / name).exists():
            return Path(folder) / name
    raise click.ClickException(
        f"needs {name}, {what}: set OCEANVAR_DATA to the folder that holds it, or give your own with {options}"
    )
