"""Virtual stores: references into files of other formats, read like a Zarr store, and what they silently get wrong.

References (kerchunk, VirtualiZarr) have one packing and one fill value for a variable. Where files differ, their values
are decoded by those of the first file, and nothing says so.
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import fsspec
import numpy as np
import xarray as xr
import zarr

from oceanvar.errors import StoreError
from oceanvar.labels.values import DEFAULT_FILL

_PACKING = {"scale_factor": 1.0, "add_offset": 0.0}
_FILLS = ("_FillValue", "missing_value")


def is_references(path: Path) -> bool:
    """Say whether this is a file of references, as JSON or as a folder of Parquet files."""
    if path.suffix == ".json":
        return path.is_file()
    return (path / ".zmetadata").is_file() and not (path / ".zgroup").is_file()


def reference_store(path: Path) -> Any:
    """Give references as a store that Zarr reads.

    Raises
    ------
    StoreError
        If they cannot be read.
    """
    try:
        fs = fsspec.filesystem("reference", fo=str(path), asynchronous=True, skip_instance_cache=True)
        return zarr.storage.FsspecStore(fs, read_only=True, path="")
    except ImportError as error:
        raise StoreError(f"{str(path)!r}: these references need a library: {error}") from error
    except Exception as error:  # of fsspec, JSON and Parquet
        raise StoreError(f"{str(path)!r} holds no references that can be read: {error!r}") from error


def targets(path: Path) -> list[Path]:
    """Files of this machine that references lead to."""
    return list(_targets(path, path.stat().st_mtime_ns))


@functools.lru_cache(maxsize=8)
def _targets(path: Path, changed: int) -> tuple[Path, ...]:
    references = reference_store(path).fs.references
    places = {reference[0] for reference in references.values() if isinstance(reference, list | tuple)}
    return tuple(sorted(filter(None, (on_this_machine(place) for place in places if place))))


def on_this_machine(place: str) -> Path | None:
    """Path of a local file that is named by a path or a URL; None for others."""
    url = urlparse(place)
    if url.scheme in ("", "file", "local"):
        return Path(unquote(url.path) if url.scheme else place)
    return None


def check_decoding(ds: xr.Dataset, files: Sequence[Path]) -> None:
    """Demand that a virtual dataset decodes each variable as the files say that its values lie in.

    Parameters
    ----------
    ds : Dataset
        It, as xarray opens it.
    files : sequence of Path
        Those that are NetCDF are looked at.

    Raises
    ------
    StoreError
        Naming the first file whose values would be wrong.
    """
    for file in files:
        if not file.is_file():
            raise StoreError(f"it refers to {str(file)!r}, and that is not there")
        for name, encoding in _encodings(file, file.stat().st_mtime_ns).items():
            for what in _differences(ds.variables[name].encoding, encoding) if name in ds.data_vars else ():
                raise StoreError(
                    f"of {name!r} it refers to values in {str(file)!r}, {what}: they would be wrong. Give the files "
                    "themselves, or references to files of one kind"
                )


@functools.lru_cache(maxsize=2**15)
def _encodings(file: Path, changed: int) -> dict[str, dict[str, Any]]:
    """How a NetCDF file stores its variables; nothing of a file of another format."""
    try:
        with xr.open_dataset(file, engine="netcdf4", decode_times=False, cache=False) as ds:
            keys = (*_PACKING, *_FILLS)
            return {
                str(name): {key: each.encoding[key] for key in keys if key in each.encoding}
                for name, each in ds.data_vars.items()
            }
    except (OSError, ValueError, RuntimeError):
        return {}


def _differences(ours: dict[str, Any], theirs: dict[str, Any]) -> Iterator[str]:
    for key, default in _PACKING.items():
        own, other = (float(np.ravel(each.get(key, default))[0]) for each in (ours, theirs))
        if not np.isclose(own, other, rtol=1e-6, atol=0):
            yield f"whose {key} is {other:g}, and takes {own:g}"
    own_fills, other_fills = _fills(ours), _fills(theirs)
    for fill in other_fills - own_fills:
        yield f"where {fill:g} stands for no value, and does not say so"
    for fill in own_fills - other_fills:
        if abs(fill) < abs(DEFAULT_FILL) / 2:
            yield f"where {fill:g} is a value, and takes it for none"


def _fills(encoding: dict[str, Any]) -> set[float]:
    found = {float(each) for key in _FILLS if key in encoding for each in np.ravel(encoding[key])}
    return {each for each in found if np.isfinite(each)}
