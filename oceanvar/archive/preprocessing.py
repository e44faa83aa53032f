"""What may be done to each file of an archive before it is checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.state.inputs import Mended, mended
from oceanvar.state.spaces import StateSpace

Preprocess = Callable[[xr.Dataset], xr.Dataset]


@dataclass(frozen=True)
class TimeUnits:
    """Decodes times of files that do not say their units where xarray looks for them.

    Parameters
    ----------
    units : str
        As in CF, "days since 1900-01-01".
    dim : str
        The coordinate of time.
    calendar : str
        As in CF.

    Raises
    ------
    ConfigError
        If units or calendar are not understood.
    """

    units: str
    dim: str = "time"
    calendar: str = "standard"

    def __post_init__(self) -> None:
        try:
            decoded = self._decoded(xr.Dataset(coords={self.dim: [0.0]}))
        except (ValueError, OverflowError) as error:
            raise ConfigError(f"the time units {self.units!r} are not understood: {error}") from error
        if decoded[self.dim].dtype.kind not in "MO":
            raise ConfigError(f"the time units {self.units!r} give no dates: write 'days since 1900-01-01'")

    def __call__(self, ds: xr.Dataset) -> xr.Dataset:
        """Decode the times of one file.

        Raises
        ------
        ConfigError
            If its times have units already.
        """
        if self.dim not in ds.coords:
            return ds
        if ds[self.dim].dtype.kind not in "iuf":
            raise ConfigError(f"{self.dim!r} holds dates already: leave the time units out")
        return self._decoded(ds)

    def _decoded(self, ds: xr.Dataset) -> xr.Dataset:
        times = ds[self.dim].variable.copy()
        times.attrs |= {"units": self.units, "calendar": self.calendar}
        return ds.assign_coords({self.dim: xr.decode_cf(xr.Dataset(coords={self.dim: times}))[self.dim]})


@dataclass(frozen=True)
class Expected:
    """Makes each file what a model expects: names, units, the direction of the map.

    Parameters
    ----------
    space : StateSpace
        What is expected.
    names : mapping of str to str
        Names in the files of variables that have other ones in `space`.
    first : callable, optional
        Applied before.
    """

    space: StateSpace
    names: Mapping[str, str]
    first: Preprocess | None

    def __call__(self, ds: xr.Dataset) -> xr.Dataset:
        """Mend one file; see `oceanvar.state.inputs.mended`."""
        return self.mended(ds).ds

    def mended(self, ds: xr.Dataset) -> Mended:
        """The file as it is expected, and what was mended; how its times follow each other is not looked at."""
        ds = ds if self.first is None else self.first(ds)
        return mended(ds, self.space, self.names, "fill", "the observations", self.space.dims[1:])
