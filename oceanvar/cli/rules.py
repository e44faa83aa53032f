"""Rules of observation and of withholding that a training file may name."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from oceanvar.errors import ConfigError
from oceanvar.observing.clouds import MovingClouds
from oceanvar.observing.samplers import (
    AbstractRule,
    AbstractSampler,
    EveryNthStep,
    RandomComponents,
    RandomFraction,
    RandomHoles,
)
from oceanvar.observing.track_samplers import ShuffledTracks, TrackPositions
from oceanvar.observing.tracks import FILE_EPOCH, read_tracks
from oceanvar.observing.withholding import WholePasses
from oceanvar.options import check_keys


def _track_positions(
    path: str,
    shift: float = 0.0,
    epoch: str = FILE_EPOCH,
    longitude_dim: str = "longitude",
    latitude_dim: str = "latitude",
    time_dim: str = "time",
) -> TrackPositions:
    """The positions of real measurements.

    Parameters
    ----------
    path : str
        Text file with the columns longitude, latitude, days.
    shift : float
        Days added to the times, to use the tracks of one year in another one.
    epoch : str
        Day 0 of the file.
    longitude_dim, latitude_dim, time_dim : str
        Dimensions of the truth.
    """
    dims = {"longitude_dim": longitude_dim, "latitude_dim": latitude_dim, "time_dim": time_dim}
    return TrackPositions.from_text(path, shift=shift, epoch=epoch, **dims)


def _shuffled_tracks(
    path: str,
    most_left_out: float = 0.3,
    longitude_dim: str = "longitude",
    latitude_dim: str = "latitude",
    time_dim: str = "time",
) -> ShuffledTracks:
    """Passes of real tracks, drawn afresh for every window: shifted in time by whole days, some left out.

    Parameters
    ----------
    path : str
        File of tracks, as `oceanvar.observing.read_tracks` reads it.
    most_left_out : float
        Each window leaves out a share of the passes drawn between 0 and this.
    longitude_dim, latitude_dim, time_dim : str
        Dimensions of the truth.
    """
    tracks = read_tracks(path)
    positions = TrackPositions(
        tracks["longitude"].values,
        tracks["latitude"].values,
        (tracks["time"].values - np.datetime64(FILE_EPOCH)) / np.timedelta64(1, "D"),
        longitude_dim=longitude_dim,
        latitude_dim=latitude_dim,
        time_dim=time_dim,
    )
    return ShuffledTracks(positions, tracks["track"].values, most_left_out)


SAMPLERS: dict[str, Callable[..., AbstractSampler]] = {
    "EveryNthStep": EveryNthStep,
    "MovingClouds": MovingClouds,
    "RandomComponents": RandomComponents,
    "RandomFraction": RandomFraction,
    "RandomHoles": RandomHoles,
    "TrackPositions": _track_positions,
    "ShuffledTracks": _shuffled_tracks,
}
"""Rules of observation that a file may name, with the functions that make them."""


RULES: dict[str, Callable[..., AbstractRule]] = {**SAMPLERS, "WholePasses": WholePasses}
"""Rules by which a file may have observations withheld."""


def rule_of(
    table: Mapping[str, Any], folder: Path, known: Mapping[str, Callable[..., Any]], where: str
) -> Any:
    """Make the rule that a table of a file describes; paths count from `folder`."""
    options = dict(table)
    require_keys(options, ("sampler",), where)
    name = options.pop("sampler")
    check_keys([name], known, "sampler")
    check_keys(options, keywords(known[name]), f"option of the sampler {name}")
    if "path" in options:
        options["path"] = str(folder / options["path"])
    return known[name](**options)


def require_keys(table: Mapping[str, Any], keys: Iterable[str], where: str) -> None:
    """Demand keys of a table of a file; `where` is what the message calls it."""
    for key in keys:
        if key not in table:
            raise ConfigError(f"{where} lacks the key {key!r}")


def keywords(function: Callable[..., Any]) -> list[str]:
    """Names of what a function takes."""
    return list(inspect.signature(function).parameters)
