"""Observations as they come, made what a state space expects, and the analysis made as they came.

What can be mended without loss is mended and told; what cannot is an error with the numbers and the cure. Only
coordinates and attributes are looked at, so lazy data stay lazy.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError, MissingVariableError
from oceanvar.labels.alignment import reordered
from oceanvar.labels.axes import Axis, kind_of
from oceanvar.labels.coordinates import NAMES
from oceanvar.labels.ordering import extended, n_before, ordered, rolled, taken
from oceanvar.labels.spacings import Spacing, is_turned, spacings
from oceanvar.labels.units import Conversion, conversion, of_logarithm, squared
from oceanvar.labels.values import VALID_RANGE, check_decoded, within_valid_range
from oceanvar.state.anomalies import departures
from oceanvar.state.spaces import StateSpace
from oceanvar.state.transforms import analysis_from_log10, variance_of_log10

Back = Callable[[xr.Dataset], xr.Dataset]


@dataclass(frozen=True, eq=False)
class Mended:
    """Data as a state space expects them.

    Parameters
    ----------
    ds : Dataset
        The data.
    told : tuple of str
        What was mended, in words.
    backs : tuple of callable
        What each mending takes back, the first one first.
    """

    ds: xr.Dataset
    told: tuple[str, ...] = ()
    backs: tuple[Back, ...] = field(default=())

    def then(self, ds: xr.Dataset, told: Sequence[str], back: Back) -> "Mended":
        """The same after one more mending."""
        return Mended(ds, (*self.told, *told), (*self.backs, back))

    def as_given(self, analysis: xr.Dataset) -> xr.Dataset:
        """Give an analysis on the mended grid the names, units and directions of what was given."""
        for back in reversed(self.backs):
            analysis = back(analysis)
        return analysis


def mended(
    ds: xr.Dataset,
    space: StateSpace,
    names: Mapping[str, str],
    gaps: str,
    what: str,
    dims: Sequence[str] | None = None,
) -> Mended:
    """Make data what a state space expects.

    Parameters
    ----------
    ds : Dataset
        Observations, a background or a truth.
    space : StateSpace
        What is expected.
    names : mapping of str to str
        Names in `ds` of variables that have other ones in `space`.
    gaps : {"fill", "refuse"}
        Whether missing times of a regular series become times without observations.
    what : str
        Name of the data for messages: "the observations".
    dims : sequence of str, optional
        Dimensions to put in order, where data have to be moved for it. Default: all of `space`, with labels that
        count on behind the seam of longitudes.

    Raises
    ------
    MissingVariableError, UnitsMismatchError, GridMismatchError, ConfigError
        Where something is wrong that cannot be mended.
    """
    result = _renamed(ds, space, names, what)
    present = [name for name in space.file_variables if name in result.ds.data_vars]
    for name in present:
        check_decoded(result.ds[name], what)
    # Before units change: the valid range is in those of the file.
    result = replace(result, ds=within_valid_range(result.ds, present))
    result = _out_of_logarithms(result, space, what)
    result = _converted(result, space, what)
    result = _transformed(result, space)
    curved = _spacings(result.ds, space)
    for dim in space.dims if dims is None else dims:
        if dim in result.ds.dims and dim in result.ds.coords:
            axis = None if dim in curved else space.axes.get(dim)
            result = _ordered(result, dim, axis, gaps, what, relabel=dims is None)
    result = _turned_as_learned(result, space, what) if curved else result
    ds, back = departures(result.ds, space)
    return result if back is None else result.then(ds, (), back)


def lengthened(given: Mended, space: StateSpace, dim: str, what: str) -> Mended:
    """Add empty times on both sides where there are fewer than a patch needs; the analysis loses them again."""
    n_given, n_all = given.ds.sizes[dim], space.patch[dim]
    if n_given >= n_all:
        return given
    order = extended(given.ds[dim], space.axes.get(dim), n_all, what)
    first = n_before(n_given, n_all)

    def back(analysis: xr.Dataset) -> xr.Dataset:
        return analysis.isel({dim: slice(first, first + n_given)})

    return given.then(taken(given.ds, dim, order), order.told, back)


def like(mask: xr.DataArray, space: StateSpace, ds: xr.Dataset, what: str) -> xr.DataArray:
    """Bring a mask to the grid of mended observations; a time that was filled takes the one before.

    Raises
    ------
    GridMismatchError
        If it lies on another grid, of which it may lack dimensions.
    """
    mask = mask.reset_coords(drop=True).rename(_dims_by_meaning(mask, space))
    dim = space.dims[0]
    if dim in mask.dims and mask.sizes[dim] < ds.sizes[dim] == space.patch[dim]:
        mask = _stretched(mask, dim, ds[dim])
    for dim in space.dims:
        order = ordered(mask[dim], space.axes.get(dim), "fill", what) if dim in mask.coords else None
        if order is not None:
            before = np.maximum.accumulate(np.where(order.index < 0, 0, np.arange(len(order.index))))
            mask = mask.isel({dim: order.index[before]}).assign_coords({dim: order.values})
    return reordered(ds, mask, mask.dims, f"the observations and {what}")


def _stretched(mask: xr.DataArray, dim: str, longer: xr.DataArray) -> xr.DataArray:
    """A mask over the times added by `lengthened`, where it does not matter."""
    n_given, n_all = mask.sizes[dim], longer.size
    index = np.clip(np.arange(n_all) - n_before(n_given, n_all), 0, n_given - 1)
    return mask.isel({dim: index}).assign_coords({dim: longer} if dim in longer.coords else {})


def _renamed(ds: xr.Dataset, space: StateSpace, names: Mapping[str, str], what: str) -> Mended:
    """Give variables and dimensions the names of the state space, dimensions by what they mean."""
    missing = [given for given in names.values() if given not in ds.variables]
    if missing:
        raise MissingVariableError(
            f"{what} have no variable {missing[0]!r}; there are {sorted(map(str, ds.variables))}"
        )
    strange = [name for name in names if name not in space.file_variables]
    if strange:
        raise ConfigError(
            f"variables= names {strange[0]!r}, and the model reads {list(space.file_variables)}"
        )
    coordinates = [given for given in names.values() if given in ds.dims]
    if coordinates:
        raise ConfigError(f"{coordinates[0]!r} is a dimension of {what}, no variable of them")
    moved = [name for name, given in names.items() if given != name]
    clashes = [name for name in moved if name in ds.variables and name not in names.values()]
    ds = ds.drop_vars(clashes) if clashes else ds
    new = {given: name for name, given in names.items() if given != name}
    called = ds.rename(new) if new else ds
    present = [name for name in space.variables if name in called]
    new |= _dims_by_meaning(called[present[0]], space) if present else {}
    if not new:
        return Mended(ds)

    def back(analysis: xr.Dataset) -> xr.Dataset:
        pairs = {name: given for given, name in new.items()}
        pairs |= {f"{name}_{of}": f"{given}_{of}" for name, given in pairs.items() for of in ("std", "mean")}
        present = {*analysis.variables, *analysis.dims}
        return analysis.rename({name: given for name, given in pairs.items() if name in present})

    told = ", ".join(f"{given!r} as {name!r}" for given, name in new.items())
    # Beside a dimension ``valid_time`` or ``lat``, a coordinate ``time`` or ``latitude`` is another thing.
    others = [name for name in new.values() if name in ds.variables and name not in new]
    told += f", and {others} of theirs are left out" if others else ""
    return Mended(ds).then(ds.drop_vars(others).rename(new), [f"{what} have {told}"], back)


def _dims_by_meaning(field: xr.DataArray, space: StateSpace) -> dict[str, str]:
    """Dimensions that have another name than the state's but mean the same, by CF attributes or name."""
    free = [dim for dim in field.dims if dim not in space.dims]
    if not free:
        return {}
    kinds = {dim: kind_of(field[dim])[0] for dim in free if dim in field.coords}
    if len(kinds) < len(free):
        kinds |= {dim: each.kind for dim, each in spacings(field, free).items()}
    found = {}
    for dim in space.dims:
        meant = space.axes[dim].kind if dim in space.axes else _MEANINGS.get(dim)
        alike = [dim for dim, kind in kinds.items() if kind == meant]
        if dim not in field.dims and len(alike) == 1:
            found[str(alike[0])] = dim
    return found


_MEANINGS = {name: meaning for meaning, names in NAMES.items() for name in names}
"""What usual names of dimensions mean, for a state space that has not learned it."""


def _out_of_logarithms(given: Mended, space: StateSpace, what: str) -> Mended:
    """Values for decimal logarithms of them, known by their units, where the state space takes these itself.

    So units are converted, and the analysis comes back, as for other data.
    """
    scales = {
        name: scale
        for each in space.observing.values()
        for name, scale in zip(each.variables, each.scales, strict=True)
    }
    found, told = {}, []
    for name, logs in given.ds.data_vars.items():
        units = of_logarithm(logs.attrs.get("units"))
        if units is not None and scales.get(str(name), name) in space.transform:
            found[name] = (10.0**logs).astype(logs.dtype).assign_attrs(logs.attrs | {"units": units})
            told.append(f"{what} have the logarithm of {name!r}: the analysis is in {units!r}")
    return given.then(given.ds.assign(found), told, lambda analysis: analysis) if found else given


def _converted(given: Mended, space: StateSpace, what: str) -> Mended:
    """Bring variables to the units of the state space."""
    ways = _conversions(given.ds, space, what)
    if not ways:
        return given

    def back(analysis: xr.Dataset) -> xr.Dataset:
        found = {}
        for name, (units, _, way) in ways.items():
            for each in (name, f"{name}_mean", f"{name}_sample"):
                if each in analysis:
                    found[each] = _scaled(analysis[each], way.inverse, units)
            # That of a logarithm has no units.
            if f"{name}_std" in analysis and name not in space.transform:
                spread = Conversion(way.inverse.factor, 0.0)
                found[f"{name}_std"] = _scaled(analysis[f"{name}_std"], spread, units)
        return analysis.assign(found)

    ds = given.ds.assign(
        {name: _scaled(given.ds[name], way, wanted) for name, (_, wanted, way) in ways.items()}
    )
    told = ", ".join(f"{name!r} from {units!r} to {wanted!r}" for name, (units, wanted, _) in ways.items())
    return given.then(ds, [f"{what} were converted: {told}"], back)


def _conversions(ds: xr.Dataset, space: StateSpace, what: str) -> dict[str, tuple[str, str, Conversion]]:
    """Units, those of the state space and the way to them of each variable where they differ.

    What an instrument delivers has the units of what it is scaled as, its error variance their square.
    """
    on_grid = [each for each in space.observing.values() if not each.along_track]
    wanted = dict(space.units)
    for each in on_grid:
        scales = zip(each.variables, each.scales, strict=True)
        wanted |= {name: space.units[scale] for name, scale in scales if scale in space.units}
    ways = {}
    for name, expected in wanted.items():
        if name in ds.data_vars:
            units = _units_of(ds[name], expected)
            if units != expected:
                ways[name] = units, expected, conversion(units, expected, f"variable {name!r} of {what}")
    for each in on_grid:
        name, variance = each.variables[0], each.variance
        if not isinstance(variance, str) or variance not in ds.data_vars or name not in wanted:
            continue
        if each.scales[0] in space.transform:
            continue  # of a logarithm, see `_transformed`
        own, _, way = ways.get(name, (wanted[name], "", Conversion(1.0, 0.0)))
        units, expected = _units_of(ds[variance], own), squared(wanted[name])
        # Without units of its own, or with those of its variable, it is in their square.
        if units != own:
            way = conversion(units, expected, f"the error variance {variance!r} of {what}")
        else:
            units, way = squared(own), Conversion(way.factor**2, 0.0)
        if not way.is_identity:
            ways[variance] = units, expected, way
    return ways


def _units_of(field: xr.DataArray, default: str) -> str:
    units = field.attrs.get("units", default)
    if not isinstance(units, str):
        raise ConfigError(f"the units of {field.name!r} are {units!r}, no text: correct attrs['units']")
    return units


def _transformed(given: Mended, space: StateSpace) -> Mended:
    """Take logarithms where the state space says so; values that have none are not used.

    An error variance beside them that is one of the values becomes that of their logarithms.
    """
    on_grid = [each for each in space.observing.values() if not each.along_track]
    scales = {
        name: scale for each in on_grid for name, scale in zip(each.variables, each.scales, strict=True)
    }
    logarithmic = [
        name
        for name in dict.fromkeys([*space.transform, *scales])
        if scales.get(name, name) in space.transform and name in given.ds.data_vars
    ]
    if not logarithmic:
        return given
    names = [name for name in space.transform if name in logarithmic]

    def back(analysis: xr.Dataset) -> xr.Dataset:
        return analysis_from_log10(analysis, names, space.error_std)

    logs, told = {}, []
    for name in logarithmic:
        field = given.ds[name]
        logs[name] = _with_attrs(xr.apply_ufunc(np.log10, field.where(field > 0), dask="allowed"), field)
        n_lost = int((field <= 0).sum()) if field.chunks is None else 0
        if n_lost:
            told.append(f"{n_lost} values of {name!r} are not positive, have no logarithm and are not used")
    for each in on_grid:
        if isinstance(each.variance, str) and each.variance in given.ds and each.variables[0] in logarithmic:
            logs[each.variance] = _variance_of_log10(given.ds, each.variables[0], each.variance)
    return given.then(given.ds.assign(logs), told, back)


def _variance_of_log10(ds: xr.Dataset, name: str, variance: str) -> xr.DataArray:
    """Error variance of logarithms: given as such, without units, or for small errors from that of the values."""
    field, units = ds[variance], _units_of(ds[variance], "1")
    if units == "1":
        return field
    of_values = squared(_units_of(ds[name], "1"))
    factor = conversion(units, of_values, f"the error variance {variance!r} of {name!r}").factor
    return variance_of_log10(field * factor, ds[name].where(ds[name] > 0)).assign_attrs(units="1")


def _with_attrs(field: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
    return field.astype(np.result_type(like.dtype, np.float32)).assign_attrs(like.attrs)


def _scaled(field: xr.DataArray, way: Conversion, units: str) -> xr.DataArray:
    real = np.result_type(field.dtype, np.float32)
    values = field if way.is_identity else (field * way.factor + way.offset).astype(real)
    attrs = {key: value for key, value in field.attrs.items() if way.is_identity or key not in VALID_RANGE}
    return values.assign_attrs(attrs | {"units": units})


def _turned_as_learned(given: Mended, space: StateSpace, what: str) -> Mended:
    """Let the dimensions of a curvilinear grid run as the model learned them."""
    turned, told = {}, []
    for dim, spacing in _spacings(given.ds, space).items():
        name = f"dimension {dim!r} of {what}"
        if dim in space.axes and is_turned(spacing, space.axes[dim], name):
            turned[dim] = slice(None, None, -1)
            told.append(f"{name} was turned, to run as the model learned it")
    return (
        given.then(given.ds.isel(turned), told, lambda analysis: analysis.isel(turned)) if turned else given
    )


def _spacings(ds: xr.Dataset, space: StateSpace) -> dict[str, Spacing]:
    """Steps of the dimensions that have their places in two-dimensional coordinates only."""
    if not any(ds.variables[name].ndim == 2 for name in ds.coords):
        return {}
    fields = [name for name in space.variables if name in ds.data_vars]
    return spacings(ds[fields], space.dims) if fields else {}


def _ordered(given: Mended, dim: str, axis: Axis | None, gaps: str, what: str, relabel: bool) -> Mended:
    """Put the points of a dimension into the order and steps of the state space."""
    coordinate = given.ds[dim]
    before = coordinate.variable
    order = ordered(coordinate, axis, gaps, what)
    if order is None or (order.keeps_places and not relabel):
        return given
    ds = taken(given.ds, dim, order)

    def back(analysis: xr.Dataset) -> xr.Dataset:
        if order.n_missing:
            return analysis
        if order.n_rolled:
            return rolled(analysis, dim, order.n_rolled).assign_coords({dim: before})
        labelled = analysis.assign_coords({dim: before[order.index]})
        return labelled.isel({dim: slice(None, None, -1)}) if order.is_reversed else labelled

    return given.then(ds, order.told, back)
