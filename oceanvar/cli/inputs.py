"""Files that options of the shell name: a mask, the samples of an instrument."""

from collections.abc import Iterable, Mapping, Sequence

import click
import xarray as xr

from oceanvar.archive.preprocessing import Preprocess, Renamed, Steps, TimeFrom, TimeUnits, WithUnits
from oceanvar.errors import StoreError
from oceanvar.labels.alignment import check_variables
from oceanvar.labels.masks import sea_of


def read_mask(path: str, name: str) -> xr.DataArray:
    """Mask from a variable of a file, as `oceanvar.labels.masks.sea_of` reads it.

    Parameters
    ----------
    path : str
        NetCDF file or Zarr store; the variable is read as a whole.
    name : str
        Variable: flags with their meanings, a fraction, or 1 over the sea and 0 or missing over land.

    Raises
    ------
    StoreError
        If the file cannot be opened.
    MissingVariableError
        If it lacks the variable.
    ConfigError
        If that is no mask.
    """
    with _opened(path, "mask") as ds:
        check_variables(ds, [name], (), f"the data of the mask {path!r}")
        field = ds[name].load()
    return sea_of(field, f"the mask {name!r} of {path!r}")


def read_samples(files: Iterable[tuple[str, str]]) -> dict[str, xr.Dataset]:
    """Samples of along-track instruments, by name.

    Parameters
    ----------
    files : iterable of (str, str)
        Instrument, and a NetCDF file or Zarr store with its samples along one dimension.

    Raises
    ------
    StoreError
        If a file cannot be opened.
    """
    samples = {}
    for name, path in files:
        with _opened(path, "samples file") as ds:
            samples[name] = ds.load()
    return samples


def _opened(path: str, what: str) -> xr.Dataset:
    try:
        return xr.open_dataset(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"the {what} {path!r} cannot be opened: {error}") from error


def file_steps(
    dim: str,
    time_units: str | None,
    time_from: str | None,
    rename: Mapping[str, str] | None,
    units: Mapping[str, str] | None,
    variables: Mapping[str, str] | None,
) -> Steps | None:
    """What options of the shell have done to each file; None where they say nothing.

    Units are given by the name that a variable has in the files or in the model.

    Raises
    ------
    ConfigError
        If one of them is not understood.
    """
    steps: list[Preprocess] = []
    if rename:
        steps.append(Renamed(rename))
    if time_units is not None:
        steps.append(TimeUnits(time_units, dim))
    if time_from is not None:
        steps.append(TimeFrom(time_from, dim))
    if units:
        # They are set after the renaming, and before variables get the names of the model.
        called = {**(variables or {}), **(rename or {})}
        steps.append(WithUnits({called.get(name, name): text for name, text in units.items()}))
    return Steps(tuple(steps)) if steps else None


def given_sources(obs: Sequence[str], source: Sequence[str]) -> list[str] | dict[str, str]:
    """Files of one source, or of several by number.

    Raises
    ------
    click.UsageError
        If neither or both are given.
    """
    if bool(obs) == bool(source):
        raise click.UsageError("give OBS, or --source for each of several sources")
    return list(obs) if obs else {str(number): each for number, each in enumerate(source, 1)}
