"""Along-track and swath files, profiles and drifters, text: one Dataset of samples, read file by file."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError, MendedWarning, StoreError
from oceanvar.labels.coordinates import TIME
from oceanvar.labels.passes import is_repeated, passes_of
from oceanvar.labels.samples import SAMPLE, joined_samples
from oceanvar.labels.values import is_no_value
from oceanvar.observing.readers.cutting import Region, Times, check_cut
from oceanvar.observing.readers.editing import is_spike
from oceanvar.observing.readers.files import Paths, files_of, read_all
from oceanvar.observing.readers.granules import Choice, Counts, granule_samples
from oceanvar.observing.readers.published import (
    CHLOROPHYLL,
    MIN_QUALITY,
    SST,
    check_error,
    with_units_of_variance,
)

KEPT = ("units", "long_name", "standard_name", "comment")
"""Attributes of a variable that hold for its samples too."""

USUAL = (
    "sla_filtered",
    "ssha_filtered",
    "ssha_karin_2",
    "ssha_karin",
    "ssha",
    "ssha_01_ku",
    "sla",
    "adt",
    *SST,
    *CHLOROPHYLL,
)
"""Variables that are read where none is chosen, the first that is there."""


def open_tracks(
    paths: Paths,
    variable: str | None = None,
    *,
    region: Region | None = None,
    time: Times | None = None,
    keep: Mapping[str, Any] | None = None,
    plus: str | Sequence[str] = (),
    minus: str | Sequence[str] = (),
    error: str | float | None = None,
    quality: int = MIN_QUALITY,
    spikes: float | None = None,
    block: int = 1,
    columns: Sequence[str] | None = None,
    time_units: str | None = None,
) -> xr.Dataset:
    """Read scattered observations from files as they are delivered.

    Level-3 sea level of Copernicus Marine, Level-2 GDRs (1 Hz or 20 Hz, with groups or without), SWOT swaths of Level 2
    and 3, whose nadir altimeter becomes a satellite of its own, swaths of GHRSST (L2P), profiles and drifters, text
    with columns. Files are opened one by one and cut before their values are read.

    Parameters
    ----------
    paths : path-like or sequence of path-like
        Files, patterns, folders (searched in depth). Where a sample is there twice the first one counts: give
        reprocessed files before near-real-time ones.
    variable : str, optional
        Which one, ``group/name`` where several groups have it. Default: one of `USUAL`, or the only one.
    region : sequence of float, optional
        West, east, south, north in degrees; it may cross any seam.
    time : sequence, optional
        First and last time, None where it is open; the last day is whole.
    keep : mapping, optional
        What variables of the file must be for a value to count: a number, one of a list, ``slice(low, high)``; of
        flags also meanings, ``{"surface_type": "ocean"}``, or what they may not be, ``NoneOf("degraded*", "bad*")``
        (`oceanvar.observing.NoneOf`), which for bits means that none of them is set. Where a flag is missing a value
        does not count. Default: published quality flags (``quality_flag`` and ``<variable>_qual`` 0, without any bit,
        ``<variable>_QC`` 1 or 2); none with ``{}``. What lies along further dimensions (the levels of a profile) is
        averaged, so choose with ``{"PRES": slice(0, 10)}``.
    plus, minus : str or sequence of str
        Variables to add and to subtract, in any units: ``plus=["mdt"]`` for absolute heights, ``plus=["dac"]`` to undo
        a correction, ``group/name`` where it lies in another group. Where it has times of its own (1 Hz beside 20 Hz)
        it is interpolated linearly between neighbours at most 2.5 s apart. A value without its correction does not
        count.
    error : str or float, optional
        Standard deviation of the error in the units of the result, those of the first file, or the name of the variable
        that holds it, instead of the published one.
    quality : int
        Lowest quality level of GHRSST.
    spikes : float, optional
        Leave out values so many robust standard deviations away from the running median of their pass.
    block : int
        Thin a swath to means over so many lines and pixels.
    columns : sequence of str, optional
        Names of the columns of text without a header, among them longitude, latitude and time.
    time_units : str, optional
        Of times that are bare numbers: ``"days since 1950-01-01"``, ``"months since 1993-01"``, ``"yyyymmdd"``.

    Returns
    -------
    Dataset
        The variable and, where known, ``variance`` over ``sample``, in the order of time, with coordinates longitude,
        latitude, time, ``satellite`` and ``track``, the number of the pass. Its attribute ``editing`` says what
        was left out, and the ``comment`` of the variable what was added and subtracted.

    Raises
    ------
    StoreError
        If files are missing, cannot be read or lack the variable, all named at once; or nothing lies inside.
    ConfigError
        If an option is no such thing.

    Warns
    -----
    MendedWarning
        Where values are left out as fill values that nobody declared, without a place, by flags, for want of a
        correction, as spikes or because they are there twice, with their numbers.
    """
    check_cut(region, time)
    _check_options(keep, error, spikes, block)
    added, subtracted = ((each,) if isinstance(each, str) else tuple(each) for each in (plus, minus))
    choice = Choice(region, time, keep, added, subtracted, error, quality, block)
    counts, files = Counts(), files_of(paths)
    parts, name = read_all(
        files,
        variable,
        USUAL,
        columns,
        time_units,
        lambda ds, name, path: granule_samples(ds, name, path.stem, choice, counts),
        choice.corrections,
    )
    if not parts:
        left_out = "".join(f", {n} are left out {why}" for why, n in counts.left_out().items() if n)
        raise StoreError(
            f"{len(files)} files hold {counts.inside} values in the region {region} and the time {time}, of which "
            f"{counts.missing} are missing{left_out}: nothing is left"
        )
    return _edited(joined_samples(parts), name, spikes, counts)


def _check_options(
    keep: Mapping[str, Any] | None, error: str | float | None, spikes: float | None, block: int
) -> None:
    """Refuse options that are no such thing."""
    if not isinstance(block, int | np.integer) or block < 1 or (spikes is not None and not spikes > 0):
        raise ConfigError(
            f"block is at least 1, a whole number, and spikes more than 0, and not {block} and {spikes}"
        )
    if keep is not None and not isinstance(keep, Mapping):
        raise ConfigError(
            f"keep is what flags must be by their names, {{'quality_flag': 0}}, and not {keep!r}"
        )
    check_error(error)


def _edited(samples: xr.Dataset, variable: str, spikes: float | None, counts: Counts) -> xr.Dataset:
    """Samples in the order of time, each once, without spikes, with the number of their pass."""
    # Values of one file may be few, and all of them tell more.
    filled = is_no_value(samples[variable].values)
    samples = samples.isel({SAMPLE: ~filled})
    counts.filled += int(filled.sum())
    left_out = counts.left_out()
    repeated = is_repeated(samples)
    samples = samples.isel({SAMPLE: ~repeated})
    left_out["there already, from the same place and time"] = int(repeated.sum())
    if spikes is not None:
        found = is_spike(samples, variable, spikes)
        samples = samples.isel({SAMPLE: ~found})
        left_out["as spikes"] = int(found.sum())
    told = "; ".join(f"{n} {why}" for why, n in left_out.items() if n)
    if told:
        told = f"of {counts.inside - counts.missing} values of {variable!r} are left out: {told}"
        warnings.warn(told, MendedWarning, stacklevel=3)
    samples = samples.isel({SAMPLE: np.argsort(samples[TIME].values, kind="stable")})
    samples = samples.assign_coords(track=(SAMPLE, passes_of(samples)))
    if "variance" in samples:
        samples = with_units_of_variance(samples, variable)
    for name in samples.data_vars:
        samples[name].attrs = {key: samples[name].attrs[key] for key in KEPT if key in samples[name].attrs}
    editing = f"{counts.missing} of {counts.inside} values are missing; {told}".removesuffix("; ")
    samples = samples.drop_vars(["cycle", "pixel"], errors="ignore").drop_encoding()
    # Those of the first file would be wrong for the others.
    return samples.drop_attrs(deep=False).assign_attrs(editing=editing)
