"""Which labelled fields make up a state, how large a patch is, and how values are normalised."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from oceanvar.alignment import check_variables
from oceanvar.errors import ConfigError, PatchError, UnitsMismatchError


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
    """

    variables: tuple[str, ...]
    dims: tuple[str, ...]
    patch: Mapping[str, int]
    overlap: Mapping[str, int] = field(default_factory=dict)
    periodic: tuple[str, ...] = ()
    mean: Mapping[str, float] | None = None
    std: Mapping[str, float] | None = None
    units: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "variables", tuple(self.variables))
        object.__setattr__(self, "dims", tuple(self.dims))
        object.__setattr__(self, "periodic", tuple(self.periodic))
        missing = [dim for dim in self.dims if dim not in self.patch]
        if missing:
            raise PatchError(f"patch gives no size for dimension {missing[0]!r}: it has {dict(self.patch)}")
        for name in ("patch", "overlap", "periodic"):
            unknown = [dim for dim in getattr(self, name) if dim not in self.dims]
            if unknown:
                raise PatchError(
                    f"{name} names {unknown[0]!r}, which is not one of the dimensions {self.dims}"
                )
        if (self.mean is None) != (self.std is None):
            raise ConfigError("give both mean and std of the variables, or neither")

    @property
    def n_variables(self) -> int:
        """Number of variables V."""
        return len(self.variables)

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
        for name, expected in self.units.items():
            found = ds[name].attrs.get("units", expected)
            if found != expected:
                raise UnitsMismatchError(
                    f"variable {name!r} of {what} is in {found!r}, the model was trained in {expected!r}: "
                    f"convert it and set ds[{name!r}].attrs['units'] = {expected!r}"
                )

    def extra_dims(self, ds: xr.Dataset) -> tuple[str, ...]:
        """Dimensions of the variables that the state does not know: carried along as a batch."""
        found = [str(dim) for name in self.variables for dim in ds[name].dims if dim not in self.dims]
        return tuple(dict.fromkeys(found))

    def stack(self, ds: xr.Dataset) -> xr.Variable:
        """Variables side by side: ``(*extra, variable, *dims)``, lazy where the data are lazy."""
        order = (*self.extra_dims(ds), *self.dims)
        arrays = xr.broadcast(*(ds[name].reset_coords(drop=True) for name in self.variables))
        stacked = xr.Variable.concat([each.transpose(*order).variable for each in arrays], "variable")
        return stacked.transpose(*order[: -len(self.dims)], "variable", *self.dims)

    def normalised_by(self, truth: xr.Dataset) -> "StateSpace":
        """Give the same space with mean, standard deviation and units of `truth`, where not given before."""
        units = {n: str(truth[n].attrs["units"]) for n in self.variables if "units" in truth[n].attrs}
        space = replace(self, units={**units, **self.units})
        if self.mean is not None:
            return space
        mean = {name: float(truth[name].mean()) for name in self.variables}
        std = {name: float(truth[name].std()) for name in self.variables}
        for name in self.variables:
            if not (np.isfinite(std[name]) and std[name] > 0):
                raise ConfigError(
                    f"variable {name!r} of the truth has mean {mean[name]} and standard deviation "
                    f"{std[name]}: it cannot be normalised; check for infinite or constant values"
                )
        return replace(space, mean=mean, std=std)

    def scales(self, dtype: Any = np.float32) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, each shaped ``(V, 1, ...)`` to fit a state without its batch axis.

        Raises
        ------
        ConfigError
            If there is no normalisation yet.
        """
        if self.mean is None or self.std is None:
            raise ConfigError(
                "the model has no normalisation yet: fit it, or give mean= and std= to its StateSpace"
            )
        shape = (-1, *[1] * len(self.dims))
        mean = np.array([self.mean[name] for name in self.variables], dtype).reshape(shape)
        return mean, np.array([self.std[name] for name in self.variables], dtype).reshape(shape)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a model file."""
        return asdict(self)
