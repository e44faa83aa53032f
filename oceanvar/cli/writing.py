"""One dataset, written whole or not at all."""

import shutil
import tempfile
from pathlib import Path

import xarray as xr

from oceanvar.archive.sources import is_zarr
from oceanvar.errors import StoreError


def check_new(out: str, overwrite: bool) -> None:
    """Refuse an output that cannot be written, before any work.

    Raises
    ------
    StoreError
        If it has no known ending, lies in no folder, or exists and may not or cannot be replaced.
    """
    path = Path(out)
    if path.suffix not in (".nc", ".zarr"):
        raise StoreError(f"the output {out!r} ends neither in .nc nor in .zarr")
    if not path.absolute().parent.is_dir():
        raise StoreError(f"there is no folder {str(path.absolute().parent)!r} for the output: make it")
    if path.exists() and not overwrite:
        raise StoreError(f"the output {out!r} exists: choose another name, or --overwrite it")
    if path.exists() and not (path.is_file() or is_zarr(path)):
        raise StoreError(f"{out!r} is no file or store that may be overwritten: remove it yourself")


def write(ds: xr.Dataset, out: str, overwrite: bool) -> None:
    """Write a dataset aside, then give it its name.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    path = Path(out)
    try:
        with tempfile.TemporaryDirectory(prefix=f"{path.name}.new-", dir=path.absolute().parent) as folder:
            aside = Path(folder) / path.name
            if path.suffix == ".zarr":
                ds.to_zarr(aside, consolidated=False)
            else:
                ds.to_netcdf(aside, engine="netcdf4")
            if overwrite and path.is_dir():
                shutil.rmtree(path)
            aside.replace(path)
    except OSError as error:
        raise StoreError(f"the output {out!r} cannot be written: {error}") from error
