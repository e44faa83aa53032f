"""What may be done to each file of an archive before it is checked."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.state.inputs import Mended, mended
from oceanvar.state.spaces import StateSpace

Preprocess = Callable[[xr.Dataset], xr.Dataset]


_MONTHS = re.compile(r"months? since (\d{4})-(\d{1,2})(-0?1)?([ T]0?0:00(:00)?)?", re.IGNORECASE)


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
        try:
            first = 19000101.0 if self._is_digits else 0.0
            decoded = self._decoded(xr.Dataset(coords={self.dim: [first]}))
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

    @property
    def _is_digits(self) -> bool:
        return self.units.strip().lower() == "yyyymmdd"

    def _decoded(self, ds: xr.Dataset) -> xr.Dataset:
        months = _MONTHS.fullmatch(self.units.strip())
        if months or self._is_digits:
            whole = _whole(ds[self.dim].values, self.units)
            if months:
                dates = np.datetime64(f"{months[1]}-{int(months[2]):02d}", "M") + whole
            else:
                dates = np.array([_moment(f"{each:08d}") for each in whole])
            return ds.assign_coords({self.dim: (self.dim, dates.astype("datetime64[ns]"))})
        times = ds[self.dim].variable.copy()
        times.attrs |= {"units": self.units, "calendar": self.calendar}
        return ds.assign_coords({self.dim: xr.decode_cf(xr.Dataset(coords={self.dim: times}))[self.dim]})


def _whole(values: np.ndarray, units: str) -> np.ndarray:
    if (np.mod(values, 1) != 0).any():
        raise ConfigError(
            f"times in {units!r} must be whole numbers, and there is {values[np.mod(values, 1) != 0][0]}"
        )
    return values.astype(np.int64)


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
        moment = np.array([_moment(self._text(ds))], "datetime64[ns]")
        return ds.drop_vars(self.dim, errors="ignore").expand_dims({self.dim: moment})

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


def _moment(text: str) -> np.datetime64:
    digits = "".join(re.findall(r"\d", text))[:14]
    layout = {4: "%Y", 6: "%Y%m", 8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
    try:
        return np.datetime64(datetime.strptime(digits, layout[len(digits)]), "ns")
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"{text!r} is no time: digits of year, month, day and so on are expected"
        ) from error


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
