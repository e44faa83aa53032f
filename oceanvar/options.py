"""What one mapping chooses: names, defaults and admissible values, in one place."""

import difflib
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.patching.tapers import Taper

PRECISIONS = ("float32", "float64", "bfloat16")
"""Arithmetic of a solve. Training knows the first and the last."""

MASKS = ("observed", "land")
"""Where an analysis is kept, without a mask: where anything was ever observed, or off the coasts."""

GAPS = ("fill", "refuse")
"""What becomes of missing times of a regular series."""

ERROR, FALLBACK, NAN = ON_DIVERGENCE = ("error", "fallback", "nan")
"""What becomes of a patch whose solve has diverged: the call ends, or the first guess or NaN stand there."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Options:
    """What one mapping chooses, checked as far as that goes without data; see `oceanvar.mapping.assimilate`.

    Raises
    ------
    ConfigError
        If a choice is of a kind that no mapping can take.
    """

    patch: Mapping[str, int] = field(default_factory=dict)
    overlap: Mapping[str, int] = field(default_factory=dict)
    background: xr.Dataset | None = None
    periodic: Sequence[str] | None = None
    taper: Taper | Mapping[str, Taper] = "triangle"
    batch_size: int | str = "auto"
    device: str = "auto"
    precision: str = "float32"
    mask: xr.DataArray | str | None = None
    diagnostics: bool = False
    n_samples: int = 0
    seed: int = 0
    along_track: Mapping[str, xr.Dataset | xr.DataArray | Sequence[xr.Dataset | xr.DataArray]] = field(
        default_factory=dict
    )
    variables: Mapping[str, str] = field(default_factory=dict)
    gaps: str = "fill"
    on_divergence: str = "error"

    def __post_init__(self) -> None:
        for name in _MAPPINGS:
            given = getattr(self, name)
            is_chosen_here = given is None or (name in ("patch", "overlap") and given == "auto")
            object.__setattr__(self, name, {} if is_chosen_here else given)
            if not isinstance(getattr(self, name), Mapping):
                raise ConfigError(f"{name} is {given!r}: give a mapping, {_MAPPINGS[name]}")
        if isinstance(self.periodic, str):
            raise ConfigError(f"periodic is the text {self.periodic!r}: use periodic=({self.periodic!r},)")
        _check_kind("background", self.background, xr.Dataset, ".to_dataset(name=...) makes one")
        if isinstance(self.mask, str):
            check_choice("mask", self.mask, MASKS)
        else:
            _check_kind("mask", self.mask, xr.DataArray, "choose the variable, mask=ds['name']")
        for name, each in self.along_track.items():
            _check_samples(name, each)
        _check_batch_size(self.batch_size)
        check_device(self.device)
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("gaps", self.gaps, GAPS)
        check_choice("on_divergence", self.on_divergence, ON_DIVERGENCE)
        if not isinstance(self.diagnostics, bool):
            raise ConfigError(f"diagnostics is {self.diagnostics!r}: give True or False")
        for name in ("n_samples", "seed"):
            if _whole(getattr(self, name)) < 0:
                raise ConfigError(f"{name} must be a whole number of at least 0, got {getattr(self, name)!r}")
        object.__setattr__(self, "diagnostics", self.diagnostics or self.n_samples > 0)

    @classmethod
    def of(cls, given: Mapping[str, Any], others: Iterable[str] = ()) -> Self:
        """Take options by name, of which `others` are known elsewhere.

        Raises
        ------
        ConfigError
            For an unknown name, with the nearest known one.
        """
        known = [each.name for each in fields(cls)]
        check_keys(given, [*known, *others], "option")
        return cls(**given)


_MAPPINGS = {
    "patch": "{'time': 15}, say, for the dimensions to change",
    "overlap": "{'time': 8}, say, for the dimensions to change",
    "along_track": "{'nadir': ds}, say, of the samples of each instrument",
    "variables": "{'ssh': 'sla_filtered'}, say, of the model's names and those in the data",
}


def check_keys(given: Iterable[str], known: Iterable[str], what: str) -> None:
    """Refuse a name that is not known, with the nearest one that is.

    Parameters
    ----------
    given, known : iterable of str
        Names.
    what : str
        What they name, for the message: ``"option"``.
    """
    names = list(known)
    for key in given:
        if key not in names:
            close = difflib.get_close_matches(key, names, n=1, cutoff=0.3) or names
            raise ConfigError(
                f"there is no {what} {key!r}; did you mean {close[0]!r}? Known: {', '.join(names)}"
            )


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Refuse what is none of the choices."""
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_device(device: object) -> None:
    """Refuse what names no device; whether this process has it, `oceanvar.network.handles` knows."""
    if not isinstance(device, str) or not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise ConfigError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:1', say; got {device!r}")


def _check_batch_size(given: object) -> None:
    if given == "auto":
        return
    if _whole(given) < 1:
        raise ConfigError(f"batch_size must be 'auto' or a whole number of at least 1, got {given!r}")


def _whole(given: object) -> int:
    """A whole number as such; -1 for what is none."""
    try:
        return -1 if isinstance(given, bool) else operator.index(given)  # type: ignore[arg-type]
    except TypeError:
        return -1


def _check_samples(name: str, given: object) -> None:
    parts = given if isinstance(given, list | tuple) and given else [given]
    for part in parts:
        if not isinstance(part, xr.Dataset | xr.DataArray):
            raise ConfigError(
                f"along_track[{name!r}] is a {type(part).__name__} and must be a Dataset, a DataArray or a list of "
                "these: give the samples of each instrument"
            )


def _check_kind(name: str, value: object, kind: type, cure: str) -> None:
    if value is not None and not isinstance(value, kind):
        raise ConfigError(f"{name} is a {type(value).__name__} and must be a {kind.__name__}: {cure}")
