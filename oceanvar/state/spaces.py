"""Which labelled fields make up a state, how large a patch is, and how values are normalised."""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from oceanvar.errors import (
    ConfigError,
    GridMismatchError,
    MissingVariableError,
    PatchError,
    UnitsMismatchError,
)
from oceanvar.labels.alignment import check_variables
from oceanvar.labels.axes import Axis
from oceanvar.labels.spacings import spacings
from oceanvar.patching.borders import Border, economical
from oceanvar.state.climatology import Climatology
from oceanvar.state.instruments import Instrument

STATE = "state"
"""Name of the observations of the state itself, on its own grid."""

_FAR_RANGES, _FAR_STDS = 10.0, 100.0
"""How far from training a value must lie to be none, in ranges and in standard deviations."""


@dataclass(frozen=True)
class StateSpace:
    """The fields of a state and the patches they are solved in.

    Parameters
    ----------
    variables : tuple of str
        Variables of the dataset, in the order of the state's variable axis.
    dims : tuple of str
        Dimensions of the state, time first: ``("time", "latitude", "longitude")``.
    patch : mapping of str to int
        Points of a patch along each dimension.
    overlap : mapping of str to int, optional
        Points that neighbouring patches share. Default: none.
    periodic : tuple of str, optional
        Dimensions that wrap.
    mean, std : mapping of str to float, optional
        Normalisation of each variable. Default: taken from the training data.
    units : mapping of str to str, optional
        Units of each variable, where known.
    covariates : tuple of str, optional
        Further variables of the dataset that help without being mapped: gaps are allowed, dimensions may be
        missing. One with an entry in `mean` and `std` is normalised; a coordinate stays as it is.
    instruments : mapping of str to Instrument, optional
        Other observations than those of `variables` on the grid, by the name that an `ObservationTerm` gives
        them. An entry "state" gives the error variance of the variables themselves.
    axes : mapping of str to Axis, optional
        Step and direction of the dimensions that the model learned on. Default: taken from the training data.
    ranges : mapping of str to (float, float), optional
        Lowest and highest value of each variable in training. Default: taken from the training data.
    transform : mapping of str to str, optional
        Variables that the model knows by their logarithm, ``{"CHL": "log10"}``: observations are taken so, and the
        analysis comes back in the variable's own units: the median of what the logarithm says, and the mean.
    error_std : mapping of str to float, optional
        Root mean square error of the analysis of each variable, of its logarithm where it is known by that. Default:
        that of the withheld windows after training.
    borders : mapping of str to Border, optional
        How the error of stitched fields depends on patches, by dimension: where it is known, patches and overlaps
        are chosen by it. Default: measured on the withheld data after training, where they are long enough.
    climatology : Climatology, optional
        What is taken off the observations, so that the model maps departures from it, and added to the analysis: see
        `oceanvar.state.fit_climatology`. Mean, std and ranges are those of the departures then.

    Examples
    --------
    >>> space = StateSpace(("ssh",), ("time", "lat", "lon"), patch={"time": 7, "lat": 32, "lon": 32})
    >>> space.n_variables, space.inputs
    (1, ('ssh',))
    """

    variables: tuple[str, ...]
    dims: tuple[str, ...]
    patch: Mapping[str, int]
    overlap: Mapping[str, int] = field(default_factory=dict)
    periodic: tuple[str, ...] = ()
    mean: Mapping[str, float] | None = None
    std: Mapping[str, float] | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    covariates: tuple[str, ...] = ()
    instruments: Mapping[str, Instrument] = field(default_factory=dict)
    axes: Mapping[str, Axis] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    transform: Mapping[str, str] = field(default_factory=dict)
    error_std: Mapping[str, float] = field(default_factory=dict)
    borders: Mapping[str, Border] = field(default_factory=dict)
    climatology: Climatology | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "variables", tuple(self.variables))
        object.__setattr__(self, "covariates", tuple(self.covariates))
        # A model file holds plain values.
        instruments = {k: Instrument(**v) if isinstance(v, dict) else v for k, v in self.instruments.items()}
        object.__setattr__(self, "instruments", instruments)
        axes = {dim: Axis(**axis) if isinstance(axis, dict) else axis for dim, axis in self.axes.items()}
        object.__setattr__(self, "axes", axes)
        borders = {
            dim: Border(**each) if isinstance(each, dict) else each for dim, each in self.borders.items()
        }
        object.__setattr__(self, "borders", borders)
        ranges = {name: (float(low), float(high)) for name, (low, high) in self.ranges.items()}
        object.__setattr__(self, "ranges", ranges)
        object.__setattr__(self, "dims", tuple(self.dims))
        object.__setattr__(self, "periodic", tuple(self.periodic))
        missing = [dim for dim in self.dims if dim not in self.patch]
        if missing:
            raise PatchError(f"patch gives no size for dimension {missing[0]!r}: it has {dict(self.patch)}")
        for name in ("patch", "overlap", "periodic", "axes", "borders"):
            unknown = [dim for dim in getattr(self, name) if dim not in self.dims]
            if unknown:
                raise PatchError(
                    f"{name} names {unknown[0]!r}, which is not one of the dimensions {self.dims}"
                )
        if (self.mean is None) != (self.std is None):
            raise ConfigError("give both mean and std of the variables, or neither")
        for what, values in (("mean", self.mean or {}), ("std", self.std or {})):
            for name, value in values.items():
                if not (math.isfinite(value) and (what == "mean" or value > 0)):
                    raise ConfigError(f"the {what} of {name!r} is {value}: nothing can be normalised by it")
        wrong = {
            name: how for name, how in self.transform.items() if how != "log10" or name not in self.variables
        }
        if wrong:
            raise ConfigError(f"transform is {wrong}: give 'log10' for variables among {self.variables}")
        self._check_instruments()
        if self.climatology is not None:
            object.__setattr__(self, "units", {**self.climatology.units, **self.units})
            self.climatology.check(self.dims, self.variables, self.units, [*self.transform, *self.tracked])

    def _check_instruments(self) -> None:
        both = set(self.covariates) & {*self.instruments, STATE}
        if both:
            raise ConfigError(f"{sorted(both)} name both covariates and instruments: rename one of them")
        own = self.instruments.get(STATE)
        if own is not None and (own.variables != self.variables or own.along_track):
            raise ConfigError(
                f'the instrument "state" observes {self.variables} on the grid, not {own.variables}: '
                "give other observations another name"
            )
        for name, each in self.instruments.items():
            if name == STATE or not set(each.scales) <= set(self.variables):
                each.check_known_bias(name, self.variables)
            for variable, scale in zip(each.variables, each.scales, strict=True):
                if scale not in self.variables and scale not in each.scaled_as:
                    raise ConfigError(
                        f"{variable!r} of the instrument {name!r} is none of {self.variables}: give "
                        f"scaled_as=({self.variables[0]!r},) if it is that quantity, or its own name for physical units"
                    )

    @property
    def n_variables(self) -> int:
        """Number of variables V."""
        return len(self.variables)

    @property
    def observing(self) -> dict[str, Instrument]:
        """All instruments, that of the state itself first."""
        return {STATE: Instrument(self.variables), **self.instruments}

    @property
    def tracked(self) -> dict[str, Instrument]:
        """Instruments that observe along tracks."""
        return {name: each for name, each in self.instruments.items() if each.along_track}

    @property
    def inputs(self) -> tuple[str, ...]:
        """Variables of the dataset that a solve reads, those of the state first."""
        on_grid = [each.sources for each in self.observing.values() if not each.along_track]
        return tuple(dict.fromkeys((*itertools.chain.from_iterable(on_grid), *self.covariates)))

    @property
    def file_variables(self) -> tuple[str, ...]:
        """Those of `inputs` that files hold as variables: not the coordinates of the state's dimensions."""
        return tuple(name for name in self.inputs if name not in self.dims)

    def check(self, ds: xr.Dataset, what: str) -> None:
        """Demand the variables, dimensions and units of the state in `ds`.

        Raises
        ------
        MissingVariableError
            If a variable or a dimension is missing.
        UnitsMismatchError
            If a variable carries other units than the state.
        """
        check_variables(ds, self.variables, self.dims, what)
        self._check_units(ds, self.variables, what)

    def check_inputs(self, ds: xr.Dataset, what: str) -> None:
        """Demand all that a solve reads: the state's variables and those of instruments and covariates.

        Raises
        ------
        MissingVariableError, UnitsMismatchError
            As `check`.
        GridMismatchError
            If one of the others has dimensions that the state's variables lack.
        """
        self.check(ds, what)
        others = self.inputs[self.n_variables :]
        known = self.all_dims(ds)
        for name in others:
            if name not in ds:
                raise MissingVariableError(
                    f"{what} have no {name!r}, which the model reads besides {self.variables}; there are "
                    f"{sorted(map(str, ds.variables))}"
                )
            strange = [dim for dim in ds[name].dims if dim not in known]
            if strange:
                raise GridMismatchError(
                    f"{name!r} of {what} has the dimension {strange[0]!r}, which {self.variables} lack: "
                    "select along it, or bring it to their grid"
                )
        self._check_units(ds, others, what)

    def _check_units(self, ds: xr.Dataset, names: Sequence[str], what: str) -> None:
        for name in names:
            expected = self.units.get(name)
            found = ds[name].attrs.get("units", expected) if expected is not None else None
            if found != expected:
                raise UnitsMismatchError(
                    f"variable {name!r} of {what} is in {found!r}, the model was trained in {expected!r}: "
                    f"convert it and set ds[{name!r}].attrs['units'] = {expected!r}"
                )

    def extra_dims(self, ds: xr.Dataset) -> tuple[str, ...]:
        """Dimensions of the variables that the state does not know: carried along as a batch."""
        found = [str(dim) for name in self.variables for dim in ds[name].dims if dim not in self.dims]
        if "variable" in found:
            raise GridMismatchError(
                "a dimension is called 'variable', along which variables of a state lie: use to_dataset('variable'), "
                "or rename it"
            )
        return tuple(dict.fromkeys(found))

    def all_dims(self, ds: xr.Dataset) -> tuple[str, ...]:
        """Dimensions of the variables in the order in which they are stacked."""
        return (*self.extra_dims(ds), *self.dims)

    def stack(self, ds: xr.Dataset, names: Sequence[str] = ()) -> xr.Variable:
        """Variables side by side: ``(*extra, variable, *dims)``, lazy where the data are lazy.

        Parameters
        ----------
        ds : Dataset
            Holds the variables.
        names : sequence of str, optional
            Which of them, as `inputs`. Default: those of the state.
        """
        order = self.all_dims(ds)
        chosen = [ds[name].reset_coords(drop=True).variable for name in names or self.variables]
        # A missing dimension is that of the state's variables: arrays without coordinates cannot disagree.
        arrays = xr.broadcast(*map(xr.DataArray, (*chosen, ds[self.variables[0]].variable)))[:-1]
        stacked = xr.Variable.concat([each.transpose(*order).variable for each in arrays], "variable")
        return stacked.transpose(*order[: -len(self.dims)], "variable", *self.dims)

    def labelled_by(self, truth: xr.Dataset) -> "StateSpace":
        """Give the same space with the units and axes of `truth`, where not given before; no value is looked at."""
        given = {name: truth[name].attrs for name in self.variables if name in truth}
        units = {name: str(attrs["units"]) for name, attrs in given.items() if "units" in attrs}
        axes = {dim: Axis.of(truth[dim]) for dim in self.dims if dim in truth.coords}
        known = {dim: axis for dim, axis in axes.items() if axis is not None}
        fields = [name for name in self.variables if name in truth]
        curved = {dim: each.axis() for dim, each in spacings(truth[fields], self.dims).items()}
        return replace(self, units={**units, **self.units}, axes={**known, **curved, **self.axes})

    def normalised_by(self, truth: xr.Dataset, others: xr.Dataset | None = None) -> "StateSpace":
        """Give the same space with mean, standard deviation and units of `truth`, where not given before.

        Parameters
        ----------
        truth : Dataset
            Holds the variables of the state.
        others : Dataset, optional
            Holds the covariates. Default: `truth`.
        """
        beside = truth if others is None else others
        # A coordinate is a place, for an operator in degrees, say: it is not normalised.
        covariates = [name for name in self.covariates if name in beside.data_vars]
        fields = {name: truth[name] for name in self.variables} | {name: beside[name] for name in covariates}
        units = {name: str(each.attrs["units"]) for name, each in fields.items() if "units" in each.attrs}
        space = replace(self.labelled_by(truth), units={**units, **self.units})
        known = self.mean or {}
        fields = {name: each for name, each in fields.items() if name not in known}
        mean = {name: float(each.mean()) for name, each in fields.items()}
        std = {name: float(each.std()) for name, each in fields.items()}
        for name in fields:
            if not (np.isfinite(std[name]) and std[name] > 0):
                raise ConfigError(
                    f"variable {name!r} of the truth has mean {mean[name]} and standard deviation "
                    f"{std[name]}: it cannot be normalised; check for infinite or constant values"
                )
        ranges = {name: (float(each.min()), float(each.max())) for name, each in fields.items()}
        return replace(
            space,
            mean={**mean, **known},
            std={**std, **(self.std or {})},
            ranges={**ranges, **self.ranges},
        )

    def scales(
        self, dtype: Any = np.float32, names: Sequence[str] = (), n_axes: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, each shaped ``(V, 1, ...)`` to fit a state without its batch axis.

        Parameters
        ----------
        dtype : dtype
            Of the result.
        names : sequence of str, optional
            Variables; one without a normalisation has mean 0 and standard deviation 1. Default: the state's.
        n_axes : int, optional
            Axes after the variable axis. Default: those of the state.

        Raises
        ------
        ConfigError
            If there is no normalisation yet.
        """
        if self.mean is None or self.std is None:
            raise ConfigError(
                "the model has no normalisation yet: fit it, or give mean= and std= to its StateSpace"
            )
        shape = (-1, *[1] * (len(self.dims) if n_axes is None else n_axes))
        names = names or self.variables
        mean = np.array([self.mean.get(name, 0.0) for name in names], dtype).reshape(shape)
        return mean, np.array([self.std.get(name, 1.0) for name in names], dtype).reshape(shape)

    def plausible(self, name: str) -> tuple[float, float]:
        """Lowest and highest value that a variable can have: far beyond those seen in training.

        Ten times the range of training on either side, or a hundred standard deviations where no range is known.
        """
        if name in self.ranges:
            low, high = self.ranges[name]
            return low - _FAR_RANGES * (high - low), high + _FAR_RANGES * (high - low)
        if self.mean is None or self.std is None or name not in self.mean:
            return -np.inf, np.inf
        return self.mean[name] - _FAR_STDS * self.std[name], self.mean[name] + _FAR_STDS * self.std[name]

    def plausible_inputs(self) -> dict[str, tuple[float, float]]:
        """The same of every variable that an instrument observes on the grid, by its name in files."""
        on_grid = [each for each in self.observing.values() if not each.along_track]
        pairs = (zip(each.variables, each.scales, strict=True) for each in on_grid)
        return {name: self.plausible(scale) for each in pairs for name, scale in each}

    def within(self, sizes: Mapping[Any, int], chosen: Collection[str]) -> "StateSpace":
        """The same with patches that are no larger than a grid, but for the dimensions that are chosen."""
        small = {dim: sizes[dim] for dim in self.dims if dim not in chosen and sizes[dim] < self.patch[dim]}
        overlap = {dim: min(self.overlap.get(dim, 0), n - 1) for dim, n in small.items()}
        return replace(self, patch={**self.patch, **small}, overlap={**self.overlap, **overlap})

    def economical(self, sizes: Mapping[Any, int], chosen: Collection[str], most_points: int) -> "StateSpace":
        """The same with the patches and overlaps that cost least on a grid, where their error is known.

        Parameters
        ----------
        sizes : mapping of str to int
            Points of the grid.
        chosen : collection of str
            Dimensions whose patch and overlap are not to change.
        most_points : int
            Values of a patch, over all variables and dimensions, beyond which it does not grow.
        """
        known = {dim: border for dim, border in self.borders.items() if dim not in self.periodic}
        on_grid = {dim: sizes[dim] for dim in self.dims}
        n_most = most_points // self.n_variables
        patch, overlap = economical(on_grid, self.patch, self.overlap, known, chosen, n_most)
        return replace(self, patch=patch, overlap=overlap)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a model file."""
        values = asdict(replace(self, climatology=None))
        values["instruments"] = {name: each.to_json() for name, each in self.instruments.items()}
        values["climatology"] = self.climatology and self.climatology.to_json()
        # What a model does without is not written: its digest is that of before there was any.
        optional = (
            "covariates",
            "instruments",
            "axes",
            "ranges",
            "transform",
            "error_std",
            "borders",
            "climatology",
        )
        return {k: v for k, v in values.items() if v or k not in optional}
