"""How one file of an archive is opened."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr
from dask.base import tokenize

from oceanvar.archive.preprocessing import Preprocess, with_dimension
from oceanvar.archive.sources import AbstractSource

BLOCK_BYTES = 64 * 2**20
"""Most of one variable that is read or written at once, whatever the size of the files."""

NETCDF = threading.RLock()
"""Held while a file is opened, read or written: the NetCDF library may crash in two threads at once."""

UNREADABLE = (OSError, RuntimeError, ValueError, KeyError)
"""What the libraries raise for a file that is damaged."""


@dataclass(frozen=True)
class Reading:
    """How the files of an archive are read.

    Parameters
    ----------
    variables : sequence of str, optional
        Variables that every file must have. Default: all, which must then be the same in all files.
    dim : str
        Dimension along which files follow each other; it needs a coordinate, which may be a single value.
    preprocess : callable, optional
        Applied to the lazy dataset of each file.
    """

    variables: Sequence[str] | None
    dim: str = "time"
    preprocess: Preprocess | None = None

    def open(self, file: AbstractSource, in_blocks: bool | None = None) -> xr.Dataset:
        """Open one file or store lazily.

        Parameters
        ----------
        file : AbstractSource
            What to open.
        in_blocks : bool, optional
            Open it as dask arrays of blocks of bounded size. Default: where `preprocess` may compute with them.
        """
        in_blocks = self.preprocess is not None if in_blocks is None else in_blocks
        ds = raw = file.open(in_blocks)
        try:
            # A time without dimensions becomes one of all variables, which would load them.
            if (in_blocks or self.dim not in ds.sizes) and not file.is_store:
                token = f"{file.key}-{file.state()}"
                ds = ds.chunk({self.dim: _block(ds, self.dim)} if self.dim in ds.sizes else {}, token=token)
            ds = with_dimension(ds if self.preprocess is None else self.preprocess(ds), self.dim)
        except BaseException:
            raw.close()
            raise
        if ds is not raw:
            ds.set_close(raw.close)
        return ds

    def settings(self) -> dict[str, Any]:
        """Plain values that tell this from other ways of reading."""
        return {
            "dim": self.dim,
            "variables": None if self.variables is None else list(self.variables),
            "preprocess": None if self.preprocess is None else tokenize(self.preprocess),
        }


def _block(ds: xr.Dataset, dim: str) -> int:
    """Times to read at once: a multiple of the file's own chunks, of bounded size."""
    along = [each for each in ds.data_vars.values() if dim in each.dims]
    stored = [(each.encoding.get("chunksizes"), each.dims.index(dim)) for each in along]
    unit = max((sizes[axis] for sizes, axis in stored if sizes), default=1)
    largest = max((each.nbytes // max(1, ds.sizes[dim]) for each in along), default=1)
    return max(1, BLOCK_BYTES // max(1, unit * largest)) * unit
