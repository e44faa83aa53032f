"""What a run depends on, time by time, so that a longer record can be compared with it."""

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import xarray as xr

from oceanvar.archive.indexes import rows_at_once
from oceanvar.archive.reading import NETCDF
from oceanvar.archive.runs import ArchiveRun
from oceanvar.archive.side_by_side import SideBySide
from oceanvar.labels.coordinates import HALF_CELL
from oceanvar.mapping import Setup
from oceanvar.state.samples import Samples

OVER_TIME = "over time"
"""How the record calls what is given for each time, and compared time by time."""


def growing_description(run: ArchiveRun) -> dict[str, Any]:
    """What else the record of a run says whose output is to grow.

    Returns
    -------
    dict
        sources, types, fields, coordinates and the first time are what a longer record must share; rows and values
        say where each file lies, and what is given for each time besides the files.
    """
    layout, template = run.index.layout, run.writer.template
    values = {name: list(each) for name, each in _values(run.setup, run.index.dim)}
    return {
        "sources": len(run.index.parts) if isinstance(run.index, SideBySide) else 1,
        "types": {str(name): each.dtype.str for name, each in layout.data_vars.items()},
        "fields": {name: str(template[name].attrs.get("units")) for name in run.writer.fields},
        "coordinates": _coordinates(template, run.index.dim),
        "begins": str(layout.indexes[run.index.dim][0]),
        "rows": run.index.spans(),
        "values": values,
        **dict.fromkeys(values, OVER_TIME),
    }


def _coordinates(template: xr.Dataset, dim: str) -> str:
    """Fingerprint of the coordinates; of those along time only the names count."""
    digest = blake2b(digest_size=16)
    for name in sorted(map(str, template.coords)):
        coord = template[name].variable
        digest.update(f"{name} {coord.dims} {coord.dtype.str}".encode())
        if dim not in coord.dims:
            is_text = coord.dtype.kind == "O"
            digest.update(str(coord.values.tolist()).encode() if is_text else coord.values.tobytes())
    return digest.hexdigest()


def _values(setup: Setup, dim: str) -> Iterator[tuple[str, Iterator[str]]]:
    """Fingerprints, row by row, of what is given for each time."""
    if setup.mask is not None and dim in setup.mask.dims:
        yield "mask", _of_rows(setup.mask.to_dataset(name="mask"), dim)
    if setup.background is not None:
        yield "background", _of_rows(setup.background, dim)
    companions = setup.job.companions
    if companions is not None:
        instruments: Mapping[str, Samples] = companions.instruments  # type: ignore[attr-defined]
        yield "along track", _of_samples(instruments, setup.given.ds.sizes[dim])


def _of_rows(ds: xr.Dataset, dim: str) -> Iterator[str]:
    ds, step = ds.reset_coords(drop=True), rows_at_once(ds, dim)
    ds = ds.drop_vars(ds.indexes)
    for first in range(0, ds.sizes[dim], step):
        with NETCDF:
            part = ds.isel({dim: slice(first, first + step)}).compute(scheduler="synchronous")
        arrays = [np.moveaxis(each.values, each.get_axis_num(dim), 0) for each in part.data_vars.values()]
        for row in range(part.sizes[dim]):
            yield _digest([each[row] for each in arrays])


def _of_samples(instruments: Mapping[str, Samples], n_rows: int) -> Iterator[str]:
    """Those within half a row of each: a patch that has the row may have them."""
    for row in range(n_rows):
        found = []
        for _, each in sorted(instruments.items()):
            times = each.positions[:, 0]
            first = int(np.searchsorted(times, row - HALF_CELL))
            stop = int(np.searchsorted(times, row + HALF_CELL, side="right"))
            found += [each.positions[first:stop], each.values[:, first:stop]]
            found += [] if each.variances is None else [each.variances[:, first:stop]]
        yield _digest(found)


def _digest(arrays: list[np.ndarray]) -> str:
    digest = blake2b(digest_size=8)
    for each in arrays:
        digest.update(f"{each.shape} {each.dtype.str}".encode())
        digest.update(np.ascontiguousarray(each).tobytes())
    return digest.hexdigest()
