"""Where an analysis goes, unit of time by unit of time: a Zarr store, or NetCDF files."""

import copy
import itertools
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import dask.array as da
import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from oceanvar.archive.contents import Contents, contents_of
from oceanvar.archive.reading import NETCDF
from oceanvar.archive.storage import PERIODS, Storage
from oceanvar.errors import ConfigError
from oceanvar.files.writing import PART, to_disk, written_aside
from oceanvar.labels.discovery import with_coverage


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
    storage : Storage
        How to store it.
    """

    def __init__(
        self, folder: Path, template: xr.Dataset, dim: str, bounds: tuple[int, ...], storage: Storage
    ) -> None:
        self.folder = folder
        self.template = template
        self.dim = dim
        self.bounds = bounds
        self.storage = storage

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.bounds) - 1

    def at(self, folder: Path) -> Self:
        """The same for another place."""
        other = copy.copy(self)
        other.folder = folder
        return other

    @abstractmethod
    def prepare(self) -> Contents:
        """Make the folder and write what comes before the first unit."""

    def clean(self) -> None:
        """Remove files that a killed run left half-written."""
        for left in [*self.folder.glob(f"*.nc*{PART}"), *self.folder.rglob("*.partial")]:
            left.unlink()

    @abstractmethod
    def name(self, unit: int) -> str:
        """Name a unit for messages."""

    @abstractmethod
    def files(self, unit: int) -> list[Path]:
        """Files of a unit, also those that are not stored for want of values."""

    @abstractmethod
    def write(self, unit: int, values: Mapping[str, np.ndarray]) -> Contents:
        """Write the variables of one unit, force them to the disk, and say what it holds."""


class ZarrWriter(AbstractWriter):
    """Writes a Zarr store of format 3: metadata and coordinates first, then whole chunks or shards.

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
    storage : Storage
        How to store it.

    Raises
    ------
    ConfigError
        If a shard does not hold whole chunks.
    """

    def __init__(
        self, folder: Path, template: xr.Dataset, dim: str, chunks: Mapping[str, int], storage: Storage
    ) -> None:
        self.chunks = chunks
        self.shards = _shard_sizes(chunks, storage.shards)
        n_times = template.sizes[dim]
        bounds = (*range(0, n_times, {**chunks, **self.shards}[dim]), n_times)
        super().__init__(folder, template, dim, bounds, storage)

    def prepare(self) -> Contents:
        """Write metadata and coordinates."""
        empty = _storable(self.template)
        encoding = {}
        for name, array in self.template.data_vars.items():
            # One lazy block that is never computed: xarray writes the metadata only.
            dtype = self.storage.pack(str(name), np.zeros(0, array.dtype)).dtype
            nothing = da.zeros(array.shape, dtype=dtype, chunks=-1)
            empty[name] = (array.dims, nothing, {**array.attrs, **self.storage.attrs(str(name))})
            encoding[str(name)] = self._encoding(str(name), array)
        with warnings.catch_warnings():
            # Consolidated metadata is not yet in the text of Zarr 3; xarray warns when there is none.
            warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
            empty.to_zarr(self.folder, mode="w", compute=False, zarr_format=3, encoding=encoding)
        return contents_of(self.folder, sorted(each for each in self.folder.rglob("*") if each.is_file()))

    def _encoding(self, name: str, array: xr.DataArray) -> dict[str, Any]:
        chunks = tuple(self.chunks.get(str(dim), 1) for dim in array.dims)
        found: dict[str, Any] = {"_FillValue": self.storage.missing(name, array.dtype), "chunks": chunks}
        if self.shards:
            found["shards"] = tuple(self.shards.get(str(dim), 1) for dim in array.dims)
        level = self.storage.compression
        packer = BloscCodec(cname="zstd", clevel=level, shuffle="shuffle") if level else ZstdCodec(level=0)
        # A checksum at the end of every chunk: without one a flipped bit is read as another number.
        found["compressors"] = (Crc32cCodec(),) if level == 0 else (packer, Crc32cCodec())
        return found

    def name(self, unit: int) -> str:
        """Name a unit by its times."""
        times = self.template.indexes[self.dim][self.bounds[unit] : self.bounds[unit + 1]]
        return f"{self.dim} {times[0]} to {times[-1]}"

    def files(self, unit: int) -> list[Path]:
        """Chunks or shards of all variables."""
        group = zarr.open_group(self.folder, mode="r")
        return [
            file
            for name in map(str, self.template.data_vars)
            for file in self._chunk_files(name, group[name], self.template[name].dims.index(self.dim), unit)
        ]

    def write(self, unit: int, values: Mapping[str, np.ndarray]) -> Contents:
        """Write the chunks of one unit."""
        group = zarr.open_group(self.folder, mode="r+")
        for name, block in values.items():
            array: Any = group[name]
            axis = self.template[name].dims.index(self.dim)
            where = [slice(None)] * block.ndim
            where[axis] = slice(self.bounds[unit], self.bounds[unit + 1])
            array[tuple(where)] = self.storage.pack(name, block)
        files = self.files(unit)
        for file in files:
            if file.exists():  # a chunk without any value is not stored
                to_disk(file)
        return contents_of(self.folder, files)

    def _chunk_files(self, name: str, array: Any, axis: int, unit: int) -> Iterator[Path]:
        sizes = array.shards or array.chunks
        counts = [range(-(-n // size)) for n, size in zip(array.shape, sizes, strict=True)]
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
    storage : Storage
        How to store it.

    Raises
    ------
    ConfigError
        If `dim` holds no dates.
    """

    def __init__(self, folder: Path, template: xr.Dataset, dim: str, period: str, storage: Storage) -> None:
        index = template.indexes[dim]
        if index.dtype.kind not in "MO":
            raise ConfigError(
                f"{dim!r} holds no dates but {index.dtype}, so there are no files per {period}: "
                "give the units of its times (TimeUnits, --time-units), or let the output end in .zarr"
            )
        labels = np.asarray(index.strftime(PERIODS[period]), dtype=str)
        firsts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
        super().__init__(folder, template, dim, (*firsts.tolist(), len(labels)), storage)
        self._labels = labels[firsts].tolist()

    def prepare(self) -> Contents:
        """Make the folder: every file is complete in itself."""
        self.folder.mkdir()
        return {}

    def name(self, unit: int) -> str:
        """Name a unit by its file."""
        return f"analysis_{self._labels[unit]}.nc"

    def files(self, unit: int) -> list[Path]:
        """The file of a period."""
        return [self.folder / self.name(unit)]

    def write(self, unit: int, values: Mapping[str, np.ndarray]) -> Contents:
        """Write the file of one period."""
        piece = with_coverage(_storable(self.template.isel({self.dim: slice(*self.bounds[unit : unit + 2])})))
        encoding: dict[str, dict[str, Any]] = {}
        level = 1 if self.storage.compression is None else self.storage.compression
        for name, block in values.items():
            attrs = {**piece[name].attrs, **self.storage.attrs(name)}
            piece[name] = (piece[name].dims, self.storage.pack(name, block), attrs)
            compression = {"zlib": True, "complevel": level, "shuffle": True} if level else {}
            encoding[name] = {**compression, "_FillValue": self.storage.missing(name, block.dtype)}
        with written_aside(self.folder / self.name(unit)) as aside, NETCDF:
            piece.to_netcdf(aside, engine="netcdf4", encoding=encoding)
        return contents_of(self.folder, self.files(unit))


def _shard_sizes(chunks: Mapping[str, int], shards: Mapping[str, int]) -> dict[str, int]:
    """Points of a shard along each dimension; nothing if there are no shards."""
    for dim, size in shards.items():
        if dim not in chunks:
            raise ConfigError(f"shards names the dimension {dim!r}, but the grid has {list(chunks)}")
        if size < 1 or size % chunks[dim]:
            raise ConfigError(
                f"a shard of {size} points along {dim!r} holds no whole chunks of {chunks[dim]}"
            )
    return {**chunks, **shards} if shards else {}


def _storable(template: xr.Dataset) -> xr.Dataset:
    """Keep the encoding of times and no other: packing and chunks belong to the observations' files."""
    template = template.copy()
    for name, variable in template.variables.items():
        times = {key: variable.encoding[key] for key in ("units", "calendar") if key in variable.encoding}
        variable.encoding = {**times, "_FillValue": None} if name in template.coords else {}
    return template
