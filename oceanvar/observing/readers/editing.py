"""Spikes among the values of a file, and means over blocks of a swath."""

from collections.abc import Hashable, Mapping

import numpy as np
import xarray as xr

from oceanvar.labels.coordinates import LATITUDE, LONGITUDE, TIME
from oceanvar.labels.passes import passes_of
from oceanvar.labels.values import ROBUST

SPIKE_WINDOW = 11
"""Samples of a pass, an odd number, whose running median a spike stands out from."""


def is_spike(samples: xr.Dataset, variable: str, most: float) -> np.ndarray:
    """Whether a value stands out from the running median of its pass, in robust standard deviations.

    The deviation is that of the pass, or of all of them where it is larger: a smooth pass has no spikes.
    Each column of a swath is looked at as a pass of its own.

    Parameters
    ----------
    samples : Dataset
        Over ``sample``, with times.
    variable : str
        Of the values, all finite.
    most : float
        Robust standard deviations from which on a value is a spike.
    """
    column = samples["pixel"].values if "pixel" in samples.coords else np.zeros(samples.sizes["sample"], int)
    number = passes_of(samples)
    order = np.lexsort((samples[TIME].values, column, number))
    borders = np.flatnonzero((np.diff(number[order]) != 0) | (np.diff(column[order]) != 0)) + 1
    passes = np.split(order, borders)
    values = samples[variable].values.astype(np.float64)
    away = np.empty_like(values)
    for each in passes:
        away[each] = np.abs(values[each] - _running_median(values[each]))
    scale = ROBUST * np.median(away) if len(away) else 0.0
    found = np.zeros(len(values), bool)
    for each in passes:
        found[each] = away[each] > most * max(
            scale, ROBUST * float(np.median(away[each])) if len(each) else 0.0
        )
    return found


def block_means(
    ds: xr.Dataset, variable: str, places: Mapping[str, Hashable], dims: tuple[Hashable, ...], n: int
) -> xr.Dataset:
    """Means over blocks of n x n pixels of a swath, at the mean places and times of the pixels with values.

    An error variance becomes that of the mean of independent errors.
    """
    seen = ds[variable].notnull()
    angle = xr.ufuncs.deg2rad(ds[places[LONGITUDE]])
    times = ds[places[TIME]]
    first = times.min()
    # Times and longitudes have means of their own: dates have no sum, and 359 and 1 degree are neighbours.
    columns = {
        variable: ds[variable],
        LATITUDE: ds[places[LATITUDE]],
        "east": xr.ufuncs.cos(angle),
        "north": xr.ufuncs.sin(angle),
        "seconds": (times - first) / np.timedelta64(1, "s"),
    }
    whole = xr.Dataset({name: each.where(seen).variable for name, each in columns.items()})
    window = dict.fromkeys(dims, n)
    mean = whole.coarsen(window, boundary="pad").mean()
    longitude = xr.ufuncs.rad2deg(xr.ufuncs.arctan2(mean["north"], mean["east"])) % 360
    time = first + (mean["seconds"].fillna(0) * 1e9).astype("timedelta64[ns]")
    found = mean[[variable]].assign_coords(
        {LONGITUDE: longitude, LATITUDE: mean[LATITUDE], TIME: time.where(mean["seconds"].notnull())}
    )
    if "variance" in ds:
        counted = seen.drop_vars(list(seen.coords)).coarsen(window, boundary="pad").sum()
        total = ds["variance"].where(seen).drop_vars(list(seen.coords)).coarsen(window, boundary="pad").sum()
        found["variance"] = total / counted.where(counted > 0) ** 2
    for name in found.data_vars:
        found[name].attrs = ds[name].attrs
    return found.assign_attrs(ds.attrs)


def _running_median(values: np.ndarray) -> np.ndarray:
    half = min(SPIKE_WINDOW // 2, max(len(values) - 1, 0))
    padded = np.pad(values, half, mode="reflect")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=-1)
