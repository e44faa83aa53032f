"""An archive read by rows (times): what is where is found out once, then each file is opened when it is due."""

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from oceanvar.archive.catalogue import NETCDF, Preprocess, checked, combined, open_file
from oceanvar.errors import StoreError


@dataclass(frozen=True)
class ArchiveIndex:
    """Where the times of an archive are.

    Parameters
    ----------
    files : tuple of Path
        Files sorted in time.
    bounds : tuple of int
        First row of each file in the whole record, and the number of all rows.
    layout : Dataset
        Labels, attributes, types and sizes of the whole record. Its values mean nothing, are never
        computed, and travel to other processes as next to nothing.
    dim : str
        Dimension along which files follow each other.
    preprocess : callable, optional
        Applied to the lazy dataset of each file.
    """

    files: tuple[Path, ...]
    bounds: tuple[int, ...]
    layout: xr.Dataset
    dim: str
    preprocess: Preprocess | None


def index_archive(
    files: Sequence[Path], variables: Sequence[str], preprocess: Preprocess | None, dim: str
) -> ArchiveIndex:
    """Check every file of an archive and note its times, one file after the other.

    Parameters
    ----------
    files : sequence of Path
        NetCDF files or Zarr stores, from `find_files`.
    variables : sequence of str
        Variables to read.
    preprocess : callable, optional
        Applied to the lazy dataset of each file.
    dim : str
        Dimension along which files follow each other.

    Raises
    ------
    StoreError
        Naming every file that cannot be used, see `open_archive`.
    """
    heads: list[xr.Dataset] = []

    def noted(ds: xr.Dataset) -> xr.Dataset:
        if not heads:
            heads.append(ds)
        labels = _labels(ds, variables, dim)
        ds.close()
        return labels

    found = checked(files, variables, preprocess, dim, noted)
    bounds = (0, *itertools.accumulate(ds.sizes[dim] for ds in found.values()))
    layout = _layout(heads[0], combined(list(found.values()), dim), variables, dim)
    heads[0].close()
    return ArchiveIndex(tuple(found), bounds, layout, dim, preprocess)


def _labels(ds: xr.Dataset, variables: Sequence[str], dim: str) -> xr.Dataset:
    """Keep what changes from file to file; of the variables only type and attributes."""
    coords = {name: coord.variable.load() for name, coord in ds.coords.items() if dim in coord.dims}
    kept = {}
    for name in variables:
        dims = (dim,) if dim in ds[name].dims else ()
        kept[name] = (dims, np.zeros([ds.sizes[each] for each in dims], ds[name].dtype), ds[name].attrs)
    return xr.Dataset(kept, coords, ds.attrs)


def _layout(head: xr.Dataset, labels: xr.Dataset, variables: Sequence[str], dim: str) -> xr.Dataset:
    sizes = {**head.sizes, dim: labels.sizes[dim]}
    fixed = {name: coord.variable.load() for name, coord in head.coords.items() if dim not in coord.dims}
    layout = xr.Dataset(coords={**fixed, **labels.coords}, attrs=labels.attrs)
    for name in variables:
        dims = head[name].dims
        nothing = da.zeros([sizes[each] for each in dims], dtype=labels[name].dtype, chunks=-1)
        layout[name] = (dims, nothing, labels[name].attrs)
    return layout


class SlabReader:
    """Reads rows of an archive; used by one thread at a time.

    Parameters
    ----------
    index : ArchiveIndex
        Where the rows are.
    """

    def __init__(self, index: ArchiveIndex) -> None:
        self.index = index
        self._number = -1
        self._opened: xr.Dataset | None = None

    def read(self, first: int, stop: int) -> xr.Dataset:
        """Read rows [first, stop) into memory, without coordinates.

        Raises
        ------
        StoreError
            If a file cannot be read or has changed since it was checked; it is named.
        """
        index = self.index
        parts = []
        while first < stop:
            number = bisect_right(index.bounds, first) - 1
            end = min(stop, index.bounds[number + 1])
            parts.append(self._part(number, first - index.bounds[number], end - index.bounds[number]))
            first = end
        if len(parts) == 1:
            return parts[0]
        options: Any = {"coords": "minimal", "compat": "override", "join": "override"}
        return xr.concat(parts, index.dim, data_vars="minimal", **options)

    def close(self) -> None:
        """Close the file that is open."""
        if self._opened is not None:
            with NETCDF:
                self._opened.close()
        self._opened, self._number = None, -1

    def _part(self, number: int, first: int, stop: int) -> xr.Dataset:
        index = self.index
        file = index.files[number]
        try:
            with NETCDF:
                ds = self._open(number)
                n_rows = index.bounds[number + 1] - index.bounds[number]
                if ds.sizes[index.dim] != n_rows:
                    raise StoreError(f"it has {ds.sizes[index.dim]} times now and had {n_rows} when checked")
                part = ds.isel({index.dim: slice(first, stop)}).load(scheduler="synchronous")
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise StoreError(f"{str(file)!r} cannot be read any more: {error}") from error
        return part.astype({str(name): index.layout[name].dtype for name in part.data_vars})

    def _open(self, number: int) -> xr.Dataset:
        if self._opened is None or number != self._number:
            self.close()
            index = self.index
            whole = open_file(
                index.files[number], index.dim, index.preprocess, in_blocks=index.preprocess is not None
            )
            kept = whole[list(index.layout.data_vars)].reset_coords(drop=True).drop_vars(whole.indexes)
            kept.set_close(whole.close)
            self._opened, self._number = kept, number
        return self._opened
