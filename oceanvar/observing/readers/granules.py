"""The samples of one file: cut, taken as published, flagged, its swath and nadir apart."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError, MissingVariableError
from oceanvar.labels.coordinates import TIME
from oceanvar.labels.passes import IDENTITY
from oceanvar.labels.samples import SAMPLE, is_placed, over_samples, positions
from oceanvar.labels.times import dates
from oceanvar.labels.values import is_no_value, within_valid_range
from oceanvar.observing.readers.corrections import corrected, interpolated
from oceanvar.observing.readers.cutting import Region, Times, hull, is_inside
from oceanvar.observing.readers.editing import block_means
from oceanvar.observing.readers.flags import is_kept, usual_flags
from oceanvar.observing.readers.published import as_published, companions

NADIR = ("i_num_line", "i_num_pixel")
"""In SWOT Level 3: lines and pixels where measurements of the nadir altimeter stand in the swath."""


@dataclass(frozen=True)
class Choice:
    """What is read of each file; see `oceanvar.observing.readers.along_track.open_tracks`."""

    region: Region | None
    time: Times | None
    keep: Mapping[str, Any] | None
    plus: tuple[str, ...]
    minus: tuple[str, ...]
    error: str | float | None
    quality: int
    block: int

    @property
    def corrections(self) -> tuple[str, ...]:
        """What is added or subtracted."""
        return (*self.plus, *self.minus)


@dataclass
class Counts:
    """Values inside of the region and time, and those of them that are missing, and that are left out, by why."""

    inside: int = 0
    missing: int = 0
    filled: int = 0
    nowhere: int = 0
    flagged: int = 0
    uncorrected: int = 0

    def left_out(self) -> dict[str, int]:
        """Numbers of what is left out, by words for it."""
        return {
            "as fill values that nobody declared": self.filled,
            "without a time or a place on the globe": self.nowhere,
            "by flags": self.flagged,
            "for want of a correction": self.uncorrected,
        }


def granule_samples(
    ds: xr.Dataset, name: str, label: str, choice: Choice, counts: Counts
) -> list[xr.Dataset]:
    """Samples of one file: of its swath and its nadir apart, without parts that are empty.

    Parameters
    ----------
    ds : Dataset
        The file, of which values are read when they are looked at.
    name : str
        Of the variable.
    label : str
        The satellite, where the file does not say it.
    choice : Choice
        What is read.
    counts : Counts
        Are added to.

    Raises
    ------
    MissingVariableError
        If a variable is missing.
    ConfigError
        If times are no dates, or blocks are wanted of what is no swath.
    """
    flags = usual_flags(ds, name) if choice.keep is None else dict(choice.keep)
    ds = _cut(ds, name, flags, choice)
    ds = _without_fills(within_valid_range(ds, [name, *choice.corrections]), name, choice.corrections)
    ds = as_published(ds, name, choice.quality, choice.error)
    ds = _chosen(ds, name, flags, choice, counts)
    found = []
    for part, suffix in _instruments(ds, name, choice.block):
        samples = over_samples(part, name)
        samples = samples.isel({SAMPLE: (samples[name].notnull() & is_placed(samples)).values})
        if "satellite" not in samples.coords:
            samples = samples.assign_coords(satellite=(SAMPLE, np.full(samples.sizes[SAMPLE], label)))
        satellite = samples["satellite"].values
        found.append(samples.assign_coords(satellite=(SAMPLE, np.char.add(satellite.astype(str), suffix))))
    return [each for each in found if each.sizes[SAMPLE]]


def _cut(ds: xr.Dataset, name: str, flags: Mapping[str, Any], choice: Choice) -> xr.Dataset:
    """The part of a file around the region and time, with all that is used of it, in memory."""
    wanted = {name, *flags, *choice.corrections}
    wanted |= {choice.error} if isinstance(choice.error, str) else set()
    missing = wanted - set(ds.variables)
    if missing:
        raise MissingVariableError(
            f"no variable {sorted(missing)[0]!r}; there are {sorted(map(str, ds.variables))}"
        )
    dims, places = positions(ds, name)
    ds = ds.assign_coords(_trajectories(ds, dims))
    if set(NADIR) <= set(ds.variables) and len(dims) == 2:
        is_nadir = np.zeros([ds.sizes[dim] for dim in dims], bool)
        where = np.stack([ds[each].values for each in NADIR])
        is_nadir[tuple(where[:, np.isfinite(where).all(axis=0)].astype(int))] = True
        ds = ds.assign(is_nadir=(dims, is_nadir))
    used = wanted | set(companions(name)) | set(places.values()) | {"is_nadir"} | IDENTITY
    whole, ds = ds, ds.drop_vars(set(ds.variables) - used)
    times = dates(ds.variables[places[TIME]])
    if times.dtype.kind != "M":
        raise ConfigError(
            f"the times {places[TIME]!r} are {times.dtype} and no dates: give time_units='days since ...'"
        )
    ds = ds.assign_coords({places[TIME]: times})
    located = {each: ds[source] for each, source in places.items()}
    # The time of a pixel may differ from that of its file by some minutes.
    time = None if "sst_dtime" in ds else choice.time
    part = ds.isel(hull(is_inside(located, choice.region, time)))
    for each in choice.corrections:
        found = interpolated(whole, name, each, part[places[TIME]])
        part = part if found is None else part.assign({each: found})
    return part.load()


def _without_fills(ds: xr.Dataset, name: str, corrections: Sequence[str]) -> xr.Dataset:
    """Values and corrections that are some, and where a value is a fill value that nobody declared."""
    fields = {
        each: ds[each].astype(np.float64) for each in (name, *corrections) if ds[each].dtype.kind in "iu"
    }
    fields |= {each: ds[each] for each in (name, *corrections) if ds[each].dtype.kind == "f"}
    strange = {each: field.copy(data=is_no_value(field.values)) for each, field in fields.items()}
    ds = ds.assign({each: field.where(~strange[each]) for each, field in fields.items()})
    return ds.assign(is_fill=strange[name] if name in strange else xr.zeros_like(ds[name], bool))


def _chosen(
    ds: xr.Dataset, name: str, flags: Mapping[str, Any], choice: Choice, counts: Counts
) -> xr.Dataset:
    """Values that are inside and not flagged, with corrections; means over what has no place of its own."""
    dims, places = positions(ds, name)
    value = corrected(ds, name, choice.plus, choice.minus)
    attrs = value.attrs
    located = {each: ds[source] for each, source in places.items()}
    inside = is_inside(located, choice.region, choice.time)
    inside = xr.ones_like(value, bool) & inside
    filled, known = inside & ds["is_fill"], inside & ds[name].notnull()
    nowhere = known & ~is_placed(located)
    good = known = known & ~nowhere
    for flag, wanted in flags.items():
        good = good & is_kept(ds[flag], wanted)
    counts.inside += int(inside.sum())
    counts.missing += int((inside & ~known & ~nowhere & ~filled).sum())
    counts.filled += int(filled.sum())
    counts.nowhere += int(nowhere.sum())
    counts.flagged += int((known & ~good).sum())
    counts.uncorrected += int((known & good & value.isnull()).sum())
    spanned = {dim for source in places.values() for dim in ds[source].dims}
    levels = [dim for dim in dims if dim not in spanned]
    value = value.where(good).transpose(*dims)
    value = value.mean(levels) if levels else value
    return ds.assign({name: value.assign_attrs(attrs)})


def _instruments(ds: xr.Dataset, name: str, block: int) -> list[tuple[xr.Dataset, str]]:
    """The swath, thinned, and its nadir, each with what its satellite is called more."""
    dims, places = positions(ds, name)
    lone = [dim for dim in dims if ds.sizes[dim] == 1] if len(dims) > 2 else []
    dims, ds = tuple(dim for dim in dims if dim not in lone), ds.isel(dict.fromkeys(lone, 0))
    kept = (name, "variance", *places.values(), *IDENTITY)
    whole = ds.drop_vars([each for each in ds.data_vars if each not in kept])
    if len(dims) == 1:
        if block > 1:
            raise ConfigError(f"block={block} is for swaths, and {name!r} lies along {dims[0]!r} only")
        return [(whole, "")]
    swath = whole.assign({name: whole[name].where(~ds["is_nadir"])}) if "is_nadir" in ds else whole
    if block > 1:
        swath = block_means(swath, name, places, dims, block)
    swath = swath.assign_coords(pixel=(dims[1], np.arange(swath.sizes[dims[1]])))
    if "is_nadir" not in ds:
        return [(swath, "")]
    nadir = whole.assign({name: whole[name].where(ds["is_nadir"])})
    nadir = nadir.assign_coords(pixel=(dims[1], np.zeros(ds.sizes[dims[1]], int)))
    return [(swath, ""), (nadir, " nadir")]


def _trajectories(ds: xr.Dataset, dims: tuple[Hashable, ...]) -> dict[str, xr.Variable]:
    """Number of the trajectory of each sample of a contiguous ragged array (CF conventions, section 9.3.3)."""
    sizes = [each.values for each in ds.variables.values() if each.attrs.get("sample_dimension") == dims[0]]
    if not sizes:
        return {}
    return {"track": xr.Variable(dims[:1], np.repeat(np.arange(len(sizes[0])), sizes[0].astype(int)))}
