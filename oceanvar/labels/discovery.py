"""Attributes by which a dataset is found, after ACDD 1.3: those of the observations' files would be wrong for a map."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from oceanvar.labels.coordinates import LATITUDE, LONGITUDE, TIME, meant_dims

_OF_A_FILE = (
    "title",
    "summary",
    "id",
    "uuid",
    "product_version",
    "processing_level",
    "cdm_data_type",
    "source",
)
_STARTS = ("geospatial_", "time_coverage_", "date_")


def about(attrs: Mapping[Any, Any], fields: Iterable[xr.DataArray]) -> dict[Any, Any]:
    """Attributes of observations that their analysis may keep, with a title of its own."""
    kept = {
        key: value
        for key, value in attrs.items()
        if key not in _OF_A_FILE and not str(key).startswith(_STARTS)
    }
    names = ", ".join(str(each.attrs.get("long_name", each.name)) for each in fields)
    return {"title": f"{names}: analysis of gappy observations", **kept, "Conventions": "CF-1.11"}


def with_coverage(analysis: xr.Dataset) -> xr.Dataset:
    """Say where and when a map lies; a grid with latitudes and longitudes is of processing level 4."""
    found: dict[str, Any] = {}
    dims = {meaning: analysis[dim] for meaning, dim in meant_dims(analysis).items() if analysis.sizes[dim]}
    if TIME in dims and dims[TIME].dtype.kind in "MO":
        ends = dims[TIME].min(), dims[TIME].max()
        found["time_coverage_start"], found["time_coverage_end"] = (
            str(each.dt.strftime("%Y-%m-%dT%H:%M:%SZ").values) for each in ends
        )
    if {LATITUDE, LONGITUDE} <= set(dims):
        found |= {"processing_level": "L4"}
        for meaning, short in ((LATITUDE, "lat"), (LONGITUDE, "lon")):
            values = dims[meaning].values
            found[f"geospatial_{short}_min"] = float(np.min(values))
            found[f"geospatial_{short}_max"] = float(np.max(values))
    return analysis.assign_attrs(found)
