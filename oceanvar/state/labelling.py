"""Fields of a state with their names, labels and history."""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

import xarray as xr

from oceanvar.labels.discovery import about
from oceanvar.labels.values import PACKING, VALID_RANGE
from oceanvar.metrics.laws import MEMBER as MEMBER
from oceanvar.state.spaces import StateSpace

_PACKED = (*VALID_RANGE, *PACKING)
"""Attributes about the stored numbers of the observations, wrong for an analysis."""

_REFERENCES = ("bounds", "climatology", "grid_mapping", "ancillary_variables", "cell_measures", "coordinates")
"""Attributes that name other variables, wrong where those are not written."""

_COORDINATE_ENCODING = ("units", "calendar", "dtype", "_FillValue")

_HEALTH_ATTRS = {
    "long_name": "twice the cost per observation, about 1 where the analysis fits observations and model",
    "units": "1",
}


def n_written(n_variables: int, diagnostics: bool, n_samples: int) -> int:
    """Variables of a field for `labelled`: those of the state, with diagnostics their spreads and one, and samples."""
    return n_variables * (1 + diagnostics + n_samples) + diagnostics


def written_at(names: Sequence[str], n: int) -> dict[str, int | slice]:
    """Where the fields of a model of these variables lie among n, see `n_written`: diagnostics, then samples."""
    n_names = len(names)
    found: dict[str, int | slice] = {name: i for i, name in enumerate(names)}
    if n > n_names:
        found |= {f"{name}_std": n_names + i for i, name in enumerate(names)}
        found["health"] = 2 * n_names
    first = n_written(n_names, True, 0)
    if n > first:
        found |= {f"{name}_sample": slice(first + i, None, n_names) for i, name in enumerate(names)}
    return found


def labelled(field: xr.Variable, ds: xr.Dataset, space: StateSpace, digest: str) -> xr.Dataset:
    """Put the variables back under their names, with attributes but without packing or chunk encoding.

    Parameters
    ----------
    field : Variable
        ``(*extra, variable, *dims)``: the variables of the state, and where there are more diagnostics and samples.
    ds : Dataset
        Observations, of which attributes and coordinates are taken.
    space : StateSpace
        What the variables are, and how they were cut.
    digest : str
        Of the model, for the history.
    """
    analysis = xr.Dataset(attrs=about(ds.attrs, [ds[name] for name in space.variables]))
    names = space.variables
    for i, name in enumerate(names):
        attrs = {key: value for key, value in ds[name].attrs.items() if key not in _PACKED}
        units = {"units": space.units[name]} if name in space.units else {}
        each = field.isel(variable=i)
        analysis[name] = (each.dims, each.data, {**units, **attrs})
    attrs_of = {f"{name}_std": _std_attrs(name, analysis[name]) for name in names}
    attrs_of |= {f"{name}_sample": _sample_attrs(name, analysis[name]) for name in names}
    for name, place in list(written_at(names, field.sizes["variable"]).items())[len(names) :]:
        each = field.isel(variable=place)
        dims = [MEMBER if dim == "variable" else dim for dim in each.dims]
        analysis[name] = (dims, each.data, attrs_of.get(name, _HEALTH_ATTRS))
    coords = {name: coord for name, coord in ds.coords.items() if set(coord.dims) <= set(analysis.sizes)}
    analysis = analysis.assign_coords(coords)
    for each in analysis.variables.values():
        for reference in [one for one in _REFERENCES if one in each.attrs]:
            if not set(str(each.attrs[reference]).split()) <= set(analysis.variables):
                del each.attrs[reference]
    for key in coords:
        # Compressors and chunks are those of the source; they may not suit the format of the output.
        kept = {k: v for k, v in ds[key].encoding.items() if k in _COORDINATE_ENCODING}
        analysis.variables[key].encoding = kept
    line = (
        f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} oceanvar {version('oceanvar')}: 4DVarNet analysis, "
        f"model {digest[:16]}, patch {dict(space.patch)}, overlap {dict(space.overlap)}"
    )
    analysis.attrs["history"] = "\n".join(filter(None, [line, str(ds.attrs.get("history", ""))]))
    return analysis


def _sample_attrs(name: str, analysis: xr.DataArray) -> dict[str, str]:
    kept = {key: value for key, value in analysis.attrs.items() if key in ("units", "standard_name")}
    return {"long_name": f"what {name} may be, given the error of its analysis", **kept}


def _std_attrs(name: str, analysis: xr.DataArray) -> dict[str, str]:
    attrs = {"long_name": f"standard deviation of the error of {name}"}
    if "standard_name" in analysis.attrs:
        attrs["standard_name"] = f"{analysis.attrs['standard_name']} standard_error"
    return attrs | {"units": analysis.attrs["units"]} if "units" in analysis.attrs else attrs
