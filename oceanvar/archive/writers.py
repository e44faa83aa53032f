"""Where an analysis goes, unit of time by unit of time: a Zarr store, or NetCDF files."""

import itertools
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import dask.array as da
import numpy as np
import xarray as xr
import zarr

from oceanvar.archive.catalogue import NETCDF
from oceanvar.errors import ConfigError

PERIODS = {"day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}
"""Stretches of time that one NetCDF file holds, and how the file is named."""

_PART = ".part"


class AbstractWriter(ABC):
    """Writes the units of an analysis into a folder, in any order, each as often as one likes.

    Parameters
    ----------
    folder : Path
        Where to write.
    template : Dataset
        The analysis without its values.
    dim : str
        Dimension of time.
    bounds : tuple of int
        First time of every unit, and the number of all times.
    """

    def __init__(self, folder: Path, template: xr.Dataset, dim: str, bounds: tuple[int, ...]) -> None:
        self.folder = folder
        self.template = template
        self.dim = dim
        self.bounds = bounds

    @abstractmethod
    def prepare(self) -> None:
        """Write what comes before the first unit."""

    def clean(self) -> None:
        """Remove files that a killed run left half-written."""
        for left in [*self.folder.glob(f"*.nc*{_PART}"), *self.folder.rglob("*.partial")]:
            left.unlink()

    @abstractmethod
    def name(self, unit: int) -> str:
        """Name a unit for messages."""

    @abstractmethod
    def write(self, unit: int, values: Mapping[str, np.ndarray]) -> None:
        """Write the variables of one unit and force them to the disk."""


class ZarrWriter(AbstractWriter):
    """Writes a Zarr store of format 3: metadata and coordinates first, then whole chunks.

    Parameters
    ----------
    folder : Path
        The store.
    template : Dataset
        The analysis without its values.
    dim : str
        Dimension of time.
    chunks : mapping of str to int
        Points of a chunk along each dimension.
    """

    def __init__(self, folder: Path, template: xr.Dataset, dim: str, chunks: Mapping[str, int]) -> None:
        n_times = template.sizes[dim]
        super().__init__(folder, template, dim, (*range(0, n_times, chunks[dim]), n_times))
        self.chunks = chunks

    def prepare(self) -> None:
        """Write metadata and coordinates."""
        empty = _storable(self.template)
        encoding = {}
        for name, array in self.template.data_vars.items():
            # One lazy block that is never computed: xarray writes the metadata only.
            nothing = da.zeros(array.shape, dtype=array.dtype, chunks=-1)
            empty[name] = (array.dims, nothing, array.attrs)
            chunks = tuple(self.chunks.get(str(dim), 1) for dim in array.dims)
            encoding[str(name)] = {"_FillValue": array.dtype.type(np.nan), "chunks": chunks}
        with warnings.catch_warnings():
            # Consolidated metadata is not yet in the text of Zarr 3; xarray warns when there is none.
            warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
            # In a folder of its own: beside other files xarray would take them for parts of the store.
            aside = self.folder / "template"
            empty.to_zarr(aside, mode="w", compute=False, zarr_format=3, encoding=encoding)
        for each in aside.iterdir():
            each.rename(self.folder / each.name)
        aside.rmdir()

    def name(self, unit: int) -> str:
        """Name a unit by its times."""
        times = self.template.indexes[self.dim][self.bounds[unit] : self.bounds[unit + 1]]
        return f"{self.dim} {times[0]} to {times[-1]}"

    def write(self, unit: int, values: Mapping[str, np.ndarray]) -> None:
        """Write the chunks of one unit."""
        group = zarr.open_group(self.folder, mode="r+")
        for name, block in values.items():
            array: Any = group[name]
            axis = self.template[name].dims.index(self.dim)
            where = [slice(None)] * block.ndim
            where[axis] = slice(self.bounds[unit], self.bounds[unit + 1])
            array[tuple(where)] = block
            _to_disk(self._chunk_files(name, array, axis, unit))

    def _chunk_files(self, name: str, array: Any, axis: int, unit: int) -> Iterator[Path]:
        counts = [range(-(-n // chunk)) for n, chunk in zip(array.shape, array.chunks, strict=True)]
        counts[axis] = range(unit, unit + 1)
        for place in itertools.product(*counts):
            yield self.folder / name / array.metadata.encode_chunk_key(place)


class NetcdfWriter(AbstractWriter):
    """Writes one compressed NetCDF file per period, aside at first.

    Parameters
    ----------
    folder : Path
        Where the files go.
    template : Dataset
        The analysis without its values.
    dim : str
        Dimension of time.
    period : str
        One of `PERIODS`.

    Raises
    ------
    ConfigError
        If `dim` holds no dates.
    """

    def __init__(self, folder: Path, template: xr.Dataset, dim: str, period: str) -> None:
        index = template.indexes[dim]
        if index.dtype.kind not in "MO":
            raise ConfigError(
                f"{dim!r} holds no dates but {index.dtype}, so there are no files per {period}: "
                "let the output end in .zarr"
            )
        labels = np.asarray(index.strftime(PERIODS[period]), dtype=str)
        firsts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
        super().__init__(folder, template, dim, (*firsts.tolist(), len(labels)))
        self._labels = labels[firsts].tolist()

    def prepare(self) -> None:
        """Do nothing: every file is complete in itself."""

    def name(self, unit: int) -> str:
        """Name a unit by its file."""
        return f"analysis_{self._labels[unit]}.nc"

    def write(self, unit: int, values: Mapping[str, np.ndarray]) -> None:
        """Write the file of one period."""
        piece = _storable(self.template.isel({self.dim: slice(*self.bounds[unit : unit + 2])}))
        encoding = {}
        for name, block in values.items():
            piece[name] = (piece[name].dims, block, piece[name].attrs)
            encoding[name] = {"zlib": True, "complevel": 1, "_FillValue": block.dtype.type(np.nan)}
        file = self.folder / self.name(unit)
        # A name of its own: on a cluster a worker that was given up may still be writing the same file.
        aside = file.with_name(f"{file.name}.{uuid4().hex}{_PART}")
        with NETCDF:
            piece.to_netcdf(aside, engine="netcdf4", encoding=encoding)
        _to_disk([aside])
        aside.replace(file)
        _to_disk([self.folder])


def _storable(template: xr.Dataset) -> xr.Dataset:
    """Keep the encoding of times and no other: packing and chunks belong to the observations' files."""
    template = template.copy()
    for name, variable in template.variables.items():
        times = {key: variable.encoding[key] for key in ("units", "calendar") if key in variable.encoding}
        variable.encoding = {**times, "_FillValue": None} if name in template.coords else {}
    return template


def _to_disk(paths: Sequence[Path] | Iterator[Path]) -> None:
    """Force files to the disk, as far as they exist: chunks without any value are not stored."""
    for path in paths:
        if path.exists():
            stream = os.open(path, os.O_RDONLY)
            try:
                os.fsync(stream)
            finally:
                os.close(stream)
