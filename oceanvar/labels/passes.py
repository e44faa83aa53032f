"""Passes: which samples a satellite took in one go, and which are the same measurement."""

from collections.abc import Hashable, Sequence

import numpy as np
import xarray as xr

from oceanvar.errors import MissingVariableError
from oceanvar.labels.coordinates import numbers

GAP_SECONDS = 120.0
"""A pause longer than this between two measurements begins a new pass."""

SAME_SECONDS, SAME_DEGREES = 0.01, 5e-4
"""Within which two samples are one measurement: a fifth of the time and of the distance between those of 20 Hz."""

_IDENTITY = {
    "satellite": ("satellite", "platform", "platform_name", "mission_name"),
    "cycle": ("cycle", "cycle_number"),
    "track": ("track", "pass_number", "pass"),
}
"""Names, as variables or as attributes of a file, of what tells passes apart."""

IDENTITY = frozenset(name for spellings in _IDENTITY.values() for name in spellings)


def identity(ds: xr.Dataset) -> dict[Hashable, xr.Variable]:
    """What tells the passes of a dataset apart, by variables or else by attributes of the file."""
    found: dict[Hashable, xr.Variable] = {}
    for name, spellings in _IDENTITY.items():
        columns = [each for each in spellings if each in ds.variables and ds[each].dims]
        values = [ds.attrs[each] for each in spellings if np.ndim(ds.attrs.get(each, ())) == 0]
        if columns:
            found[name] = ds.variables[columns[0]]
        elif values and (name != "satellite" or isinstance(values[0], str)):
            found[name] = xr.Variable((), values[0])
    return found


def passes_of(samples: xr.Dataset) -> np.ndarray:
    """Number of the pass of each sample, from 0 on.

    Where there is a coordinate ``track`` it tells the passes of a cycle and satellite apart, else a pause of
    `GAP_SECONDS` in the samples of a satellite does.

    Raises
    ------
    MissingVariableError
        If there is neither a ``track`` nor a time.
    """
    known = [samples[name].values for name in _IDENTITY if name in samples.variables]
    if "track" in samples.variables:
        return numbered(known)
    if "time" not in samples.variables:
        raise MissingVariableError(
            "passes are told apart by a coordinate 'track' or by times, and there are only "
            f"{sorted(map(str, samples.variables))}"
        )
    satellites = numbered(known) if known else np.zeros(samples["time"].size, int)
    seconds = numbers(samples["time"]).values * 86_400
    order = np.lexsort((seconds, satellites))
    is_first = (np.diff(seconds[order]) > GAP_SECONDS) | (np.diff(satellites[order]) != 0)
    found = np.empty(len(order), int)
    found[order] = np.concatenate(([0], np.cumsum(is_first)))[: len(order)]
    return found


def is_repeated(samples: xr.Dataset) -> np.ndarray:
    """Whether a sample of the same place and time, up to rounding, comes before."""
    from scipy.spatial import cKDTree

    repeated = np.zeros(samples.sizes["sample"], bool)
    if repeated.size < 2:
        return repeated
    seconds = numbers(samples["time"]).values * 86_400
    longitude = samples["longitude"].values % 360
    places = np.stack(
        [seconds / SAME_SECONDS, samples["latitude"].values / SAME_DEGREES, longitude / SAME_DEGREES], axis=1
    )
    pairs = cKDTree(places).query_pairs(1.0, p=np.inf, output_type="ndarray")
    repeated[pairs.max(axis=1)] = True
    return repeated


def numbered(columns: Sequence[np.ndarray]) -> np.ndarray:
    """One number for each different row of several columns."""
    found = np.zeros(len(columns[0]), int)
    for each in columns:
        _, code = np.unique(each, return_inverse=True)
        found = np.unique(found * (code.max(initial=0) + 1) + code, return_inverse=True)[1]
    return found
