"""Where an analysis goes, unit of time by unit of time: a Zarr store, or NetCDF files."""

import copy
import itertools
import shutil
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

import dask.array as da
import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from oceanvar.archive.contents import Contents, contents_of
from oceanvar.archive.reading import NETCDF
from oceanvar.archive.records import Part
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
        The analysis without its values: fields are lazy, what is known beforehand is in memory.
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

    @property
    def fields(self) -> list[str]:
        """Names of the variables whose values the units hold."""
        return [str(name) for name, each in self.template.data_vars.items() if each.chunks is not None]

    def at(self, folder: Path) -> Self:
        """The same for another place."""
        other = copy.copy(self)
        other.folder = folder
        return other

    def times(self, unit: int) -> str:
        """Fingerprint of the times of a unit."""
        values = self.template.indexes[self.dim][slice(*self.bounds[unit : unit + 2])].values
        known = values.astype("datetime64[us]") if values.dtype.kind == "M" else values
        content = str(known.tolist()).encode() if known.dtype.kind == "O" else known.tobytes()
        return blake2b(content, digest_size=8).hexdigest()

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
    def write(self, unit: int, values: Mapping[str, np.ndarray], part: Part | None = None) -> Contents:
        """Write the variables of one unit, force them to the disk, and say what it holds.

        Parameters
        ----------
        unit : int
            Number of the unit.
        values : mapping of str to ndarray
            Its fields.
        part : Part, optional
            The times that `values` hold, where these are not all of the unit.
        """

    def _axis(self, name: str) -> int:
        return self.template[name].dims.index(self.dim)


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
        self._lay_out(self.folder)
        return contents_of(self.folder, sorted(each for each in self.folder.rglob("*") if each.is_file()))

    def _lay_out(self, store: Any) -> None:
        """Make a store of everything but the values of the fields."""
        empty, encoding = self._empty()
        self._to_zarr(empty, store, mode="w", compute=False, encoding=encoding)

    def _empty(self) -> tuple[xr.Dataset, dict[str, Any]]:
        """The analysis with lazy fields, and how these are stored."""
        empty = _storable(self.template)
        encoding = {}
        for name in self.fields:
            array = self.template[name]
            # One lazy block that is never computed: xarray writes the metadata only.
            dtype = self.storage.pack(name, np.zeros(0, array.dtype)).dtype
            nothing = da.zeros(array.shape, dtype=dtype, chunks=-1)
            empty[name] = (array.dims, nothing, {**array.attrs, **self.storage.attrs(name)})
            encoding[name] = self._encoding(name, array)
        return empty, encoding

    def _to_zarr(self, ds: xr.Dataset, store: Any, **options: Any) -> None:
        with warnings.catch_warnings():
            # Consolidated metadata is not yet in the text of Zarr 3; xarray warns when there is none.
            warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
            ds.to_zarr(store, zarr_format=3, **options)

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
        """Chunks or shards of all variables, whatever has become of the store."""
        return [
            self.folder.joinpath(name, "c", *map(str, place))
            for name in self.fields
            for place in self._places(name, unit)
        ]

    def write(self, unit: int, values: Mapping[str, np.ndarray], part: Part | None = None) -> Contents:
        """Write the chunks of one unit; where other times of them stay, into copies of the old ones."""
        group, files = zarr.open_group(self.folder, mode="r+"), self.files(unit)
        if part is not None:
            for file in files:
                _copied(part.before / file.relative_to(self.folder), file)
        self._assign(group, unit, values, part)
        for file in files:
            if file.exists():  # a chunk without any value is not stored
                to_disk(file)
        return contents_of(self.folder, files)

    def _assign(
        self, group: zarr.Group, unit: int, values: Mapping[str, np.ndarray], part: Part | None
    ) -> None:
        rows = self.bounds[unit : unit + 2] if part is None else part.rows
        for name, block in values.items():
            array: Any = group[name]
            where = [slice(None)] * block.ndim
            where[self._axis(name)] = slice(*rows)
            array[tuple(where)] = self.storage.pack(name, block)

    def _places(self, name: str, unit: int) -> Iterator[tuple[int, ...]]:
        """Numbers of the chunks or shards of a variable along its dimensions."""
        sizes = self.template[name].sizes
        counts = [range(-(-n // (self.shards or self.chunks).get(str(dim), 1))) for dim, n in sizes.items()]
        counts[self._axis(name)] = range(unit, unit + 1)
        return itertools.product(*counts)


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

    def write(self, unit: int, values: Mapping[str, np.ndarray], part: Part | None = None) -> Contents:
        """Write the file of one period; times that stay come from the old one."""
        piece = with_coverage(_storable(self.template.isel({self.dim: slice(*self.bounds[unit : unit + 2])})))
        encoding: dict[str, dict[str, Any]] = {}
        level = 1 if self.storage.compression is None else self.storage.compression
        stored = {name: self.storage.pack(name, block) for name, block in values.items()}
        if part is not None:
            stored = self._joined(unit, stored, part)
        for name, block in values.items():
            attrs = {**piece[name].attrs, **self.storage.attrs(name)}
            piece[name] = (piece[name].dims, stored[name], attrs)
            compression = {"zlib": True, "complevel": level, "shuffle": True} if level else {}
            encoding[name] = {**compression, "_FillValue": self.storage.missing(name, block.dtype)}
        with written_aside(self.folder / self.name(unit)) as aside, NETCDF:
            piece.to_netcdf(aside, engine="netcdf4", encoding=encoding)
        return contents_of(self.folder, self.files(unit))

    def _joined(self, unit: int, stored: Mapping[str, np.ndarray], part: Part) -> dict[str, np.ndarray]:
        """Put times that stay before and after new ones, as they are stored."""
        first, stop = self.bounds[unit : unit + 2]
        options: Any = {"decode_times": False, "mask_and_scale": False, "engine": "netcdf4"}
        found = {}
        with NETCDF, xr.open_dataset(part.before / self.name(unit), **options) as old:
            for name, block in stored.items():
                before, after = (
                    old[name].isel({self.dim: slice(begin - first, end - first)}).values
                    for begin, end in ((first, part.rows[0]), (part.rows[1], stop))
                )
                found[name] = np.concatenate([before, block, after], self._axis(name))
        return found


def _copied(old: Path, new: Path) -> None:
    """Give a file the content of another one, or none where there is none: a chunk without values."""
    new.unlink(missing_ok=True)
    if old.exists():
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(old, new)


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
