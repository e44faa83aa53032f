"""What may be done to each file of an archive before it is checked."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.labels.times import decoded, is_digits, moment
from oceanvar.state.inputs import Mended, mended
from oceanvar.state.spaces import StateSpace

Preprocess = Callable[[xr.Dataset], xr.Dataset]


@dataclass(frozen=True)
class TimeUnits:
    """Decodes times of files that do not say their units where xarray looks for them.

    Parameters
    ----------
    units : str
        As in CF, "days since 1900-01-01"; "months since 1993-01", of the calendar; or "yyyymmdd" for dates written as
        numbers, 20190131.
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
        first = np.array([19000101.0 if is_digits(self.units) else 0.0])
        if decoded(xr.Variable(self.dim, first), self.units, self.calendar).dtype.kind not in "MO":
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
        times = decoded(ds[self.dim].variable.to_base_variable(), self.units, self.calendar)
        return ds.assign_coords({self.dim: times})


@dataclass(frozen=True)
class Steps:
    """Several steps, one after the other.

    Parameters
    ----------
    steps : tuple of callable
        What is done to each file, in this order.
    """

    steps: tuple[Preprocess, ...]

    def __call__(self, ds: xr.Dataset) -> xr.Dataset:
        """Take all of them."""
        for step in self.steps:
            ds = step(ds)
        return ds


@dataclass(frozen=True)
class Renamed:
    """Gives variables, coordinates and dimensions other names.

    Parameters
    ----------
    names : mapping of str to str
        New name by the one in the files; what a file has under its new name already stays as it is.
    """

    names: Mapping[str, str]

    def __call__(self, ds: xr.Dataset) -> xr.Dataset:
        """Rename what has the old names.

        Raises
        ------
        ConfigError
            If the file has neither an old name nor its new one.
        """
        present = {*map(str, ds.variables), *map(str, ds.dims)}
        for old, new in self.names.items():
            if not {old, new} & present:
                raise ConfigError(f"there is no {old!r} to rename to {new!r}, only {sorted(present)}")
        return ds.rename({old: new for old, new in self.names.items() if old in present})


@dataclass(frozen=True)
class WithUnits:
    """Says the units of variables, in place of what the files say.

    Parameters
    ----------
    units : mapping of str to str
        Units by variable.
    """

    units: Mapping[str, str]

    def __call__(self, ds: xr.Dataset) -> xr.Dataset:
        """Set the units; values stay as they are.

        Raises
        ------
        ConfigError
            If the file lacks one of the variables.
        """
        for name in self.units:
            if name not in ds.variables:
                raise ConfigError(
                    f"there is no {name!r} that could be in {self.units[name]!r}, only "
                    f"{sorted(map(str, ds.variables))}"
                )
        return ds.assign({name: ds[name].assign_attrs(units=units) for name, units in self.units.items()})


COVERAGE = "time_coverage_start"
"""Attribute of ACDD that holds the time of a file, where no other place is named."""


@dataclass(frozen=True)
class TimeFrom:
    r"""Takes the one time of a file from its name, from an attribute, or from a variable without dimensions.

    Parameters
    ----------
    place : str
        Name of a global attribute or of a variable without dimensions, ``time_coverage_start`` say, which is also
        meant by the empty text; or a regular expression for the name of the file, whose first group is the time,
        ``_(\d{8})_`` say. Digits of year, month, day and so on are expected, with anything between them.
    dim : str
        Name of the dimension of time; a file that has it already is refused.

    Raises
    ------
    ConfigError
        If it is neither a name nor a regular expression with a group.
    """

    place: str = COVERAGE
    dim: str = "time"

    def __post_init__(self) -> None:
        if self._name:
            return
        try:
            n_groups = re.compile(self.place).groups
        except re.error as error:
            raise ConfigError(f"{self.place!r} is no regular expression: {error}") from error
        if n_groups < 1:
            raise ConfigError(f"{self.place!r} has no group for the time: write '_(\\d{{8}})_', say")

    @property
    def _name(self) -> str:
        """Name of what holds the time; empty where it is a pattern."""
        name = self.place.strip() or COVERAGE
        return name if name.isidentifier() else ""

    def __call__(self, ds: xr.Dataset) -> xr.Dataset:
        """Add the time.

        Raises
        ------
        ConfigError
            If the file has times already, or does not say one.
        """
        if self.dim in ds.dims:
            raise ConfigError(f"it has the dimension {self.dim!r} already: leave --time-from out")
        moments = np.array([moment(self._text(ds))], "datetime64[ns]")
        return ds.drop_vars(self.dim, errors="ignore").expand_dims({self.dim: moments})

    def _text(self, ds: xr.Dataset) -> str:
        if self._name:
            return self._named(ds)
        name = str(ds.encoding.get("source", "")).rpartition("/")[2]
        found = re.search(self.place, name)
        if found is None:
            raise ConfigError(f"the name {name!r} does not match {self.place!r}")
        return found[1]

    def _named(self, ds: xr.Dataset) -> str:
        scalars = {str(name): each for name, each in ds.variables.items() if not each.ndim}
        if self._name in ds.attrs:
            return str(ds.attrs[self._name])
        if self._name in scalars and scalars[self._name].dtype.kind not in "iuf":
            return str(scalars[self._name].values)
        about_time = sorted(str(key) for key in ds.attrs if "time" in str(key) or "date" in str(key))
        raise ConfigError(
            f"it has no attribute {self._name!r} and no variable of this name that holds one date: there are the "
            f"attributes {about_time} and the variables {sorted(scalars)} without dimensions; give --time-from the "
            "name of one, or a pattern for the name of the file, '_(\\d{8})_' say"
        )


def with_dimension(ds: xr.Dataset, dim: str) -> xr.Dataset:
    """Make a time without dimensions a dimension of all variables."""
    if dim in ds.dims or dim not in ds.variables:
        return ds
    return ds.set_coords(dim).expand_dims(dim)


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
        return self.mended(ds if self.first is None else self.first(ds)).ds

    def mended(self, ds: xr.Dataset) -> Mended:
        """A file after `first` as it is expected, and what was mended; how its times follow each other is no matter."""
        return mended(ds, self.space, self.names, "fill", "the observations", self.space.dims[1:])
