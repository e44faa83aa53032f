"""How an analysis is stored: in what files, chunks and shards, how compressed, and packed or not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from oceanvar.errors import ConfigError

PERIODS = {"day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}
"""Stretches of time that one NetCDF file holds, and how the file is named."""

MISSING = np.int16(-32768)
"""Stored where a packed variable has no value."""

_LARGEST = 32767


@dataclass(frozen=True)
class Packing:
    """Values as integers of 16 bits: value = add_offset + scale_factor * integer, as CF has it.

    Parameters
    ----------
    scale_factor : float
        Step between neighbouring values; half of it is the greatest error.
    add_offset : float
        Value in the middle of the range.

    Raises
    ------
    ConfigError
        If the step is not positive, or one of them not finite.
    """

    scale_factor: float
    add_offset: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite([self.scale_factor, self.add_offset]).all() and self.scale_factor > 0):
            raise ConfigError(
                f"a packing needs a positive scale_factor and a finite add_offset, got {self.scale_factor} and "
                f"{self.add_offset}"
            )

    @classmethod
    def over(cls, lowest: float, highest: float) -> "Packing":
        """Spread the integers evenly over a range of values.

        Raises
        ------
        ConfigError
            If the range is empty or not finite.
        """
        if not (np.isfinite([lowest, highest]).all() and lowest < highest):
            raise ConfigError(f"a range for packing must go from low to high, got {lowest} to {highest}")
        return cls((highest - lowest) / (2 * _LARGEST), (lowest + highest) / 2)

    @property
    def attrs(self) -> dict[str, float]:
        """Attributes that tell readers how to unpack."""
        return {"scale_factor": self.scale_factor, "add_offset": self.add_offset}

    def pack(self, values: np.ndarray, name: str) -> np.ndarray:
        """Turn values into integers, NaN into `MISSING`.

        Raises
        ------
        ConfigError
            If a value lies outside of what the integers can say: it would be lost.
        """
        integers = np.rint((values.astype(np.float64) - self.add_offset) / self.scale_factor)
        outside = np.abs(integers) > _LARGEST
        if outside.any():
            reach = _LARGEST * self.scale_factor
            raise ConfigError(
                f"{int(outside.sum())} values of {name!r}, from {np.nanmin(values):.6g} to {np.nanmax(values):.6g}, "
                f"exceed the packing, which holds {self.add_offset - reach:.6g} to {self.add_offset + reach:.6g}: "
                "start anew with a wider range, or without packing"
            )
        return np.where(np.isnan(integers), MISSING, integers).astype(np.int16)


@dataclass(frozen=True)
class Storage:
    """How an analysis is stored.

    Parameters
    ----------
    period : {"day", "month", "year"}, optional
        What one NetCDF file holds. None: a Zarr store.
    chunks : mapping of str to int, optional
        Points of a chunk of a Zarr store, for the dimensions where they are to differ from the default.
    shards : mapping of str to int, optional
        Points of a shard (a file of several chunks) of a Zarr store. Default: none. A shard is written at once, so
        its times are in memory.
    compression : int, optional
        Level from 0, none, to 9: of zlib in NetCDF files, of Zstandard after a byte shuffle in a Zarr store.
        Default: 1 in NetCDF files, Zarr's own choice in a store.
    packing : mapping of str to Packing, optional
        Variables to pack into integers of 16 bits. Default: none.
    grows : bool
        Whether later files are to extend it: it says of every time whether it may still change, and nothing of how it
        is stored depends on how long it is.

    Raises
    ------
    ConfigError
        If period or compression are others, or the format knows no shards.
    """

    period: str | None
    chunks: Mapping[str, Any] = field(default_factory=dict)
    shards: Mapping[str, int] = field(default_factory=dict)
    compression: int | None = None
    packing: Mapping[str, Packing] = field(default_factory=dict)
    grows: bool = False

    def __post_init__(self) -> None:
        if self.period is not None and self.period not in PERIODS:
            raise ConfigError(f"period must be one of {sorted(PERIODS)}, got {self.period!r}")
        if self.period is not None and self.shards:
            raise ConfigError("NetCDF files have no shards: let the output end in .zarr, or leave shards out")
        if self.compression is not None and self.compression not in range(10):
            raise ConfigError(f"compression must be a level from 0 to 9, got {self.compression!r}")

    @classmethod
    def of(cls, run: Mapping[str, Any]) -> "Storage":
        """How the output of a run is stored, from the description in its record."""
        packing = {name: Packing(*each) for name, each in run["packing"].items()}
        period = None if run["output"] in ("zarr", "icechunk") else run["output"].split()[-1]
        chunks, shards = run.get("chunks", {}), run.get("shards", {})
        return cls(period, chunks, shards, run["compression"], packing, run.get("append", False))

    def pack(self, name: str, values: np.ndarray) -> np.ndarray:
        """Pack the values of a variable, if that was asked for."""
        return self.packing[name].pack(values, name) if name in self.packing else values

    def attrs(self, name: str) -> Mapping[str, float]:
        """Attributes that tell how to unpack a variable."""
        return self.packing[name].attrs if name in self.packing else {}

    def missing(self, name: str, dtype: np.dtype) -> Any:
        """Fill value of a variable whose analysis has this type."""
        return MISSING if name in self.packing else dtype.type(np.nan)

    def description(self) -> dict[str, Any]:
        """What a resumed run must share, as plain values."""
        packing = {name: list(each.attrs.values()) for name, each in self.packing.items()}
        grows = {"append": True} if self.grows else {}
        return {"compression": self.compression, "packing": packing, **grows}
