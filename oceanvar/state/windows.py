"""Random training windows from labelled fields, read lazily where the fields are lazy."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import dask
import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError, PatchError
from oceanvar.labels.alignment import check_same_grid
from oceanvar.labels.samples import Tracks
from oceanvar.observing.samplers import AbstractSampler
from oceanvar.observing.track_samplers import AbstractTrackSampler
from oceanvar.patching.grids import Origin, PatchGrid
from oceanvar.state.divisions import Division
from oceanvar.state.drawn_samples import TrackDraws
from oceanvar.state.samples import Samples, TrackCutter, TrackPatches, padded, track_cutter
from oceanvar.state.spaces import StateSpace
from oceanvar.state.symmetries import Symmetries

N_ATTEMPTS = 200

RECORRUPTION = 0.5
"""Error that is added to what is assimilated where it is asked for too, over its own."""

ASKED = RECORRUPTION**2 / (1 + RECORRUPTION**2)
"""Share of the assimilated points that are asked for: the error variance of a withheld one over that of theirs."""


class Window(NamedTuple):
    """A window for training.

    Truth ``(V, *patch)`` to learn from and inputs ``(C, *patch)`` to assimilate, NaN where unknown, the samples drawn
    along tracks by instrument, and its start.
    """

    truth: np.ndarray
    inputs: np.ndarray
    samples: dict[str, Samples]
    origin: Origin


@dataclass(frozen=True)
class WindowSource:
    """Pairs of a true window and what was observed of it.

    Parameters
    ----------
    truth : Dataset
        True fields; NaN (land) is not learned from. Dimensions beyond those of the state (members,
        trajectories) are further places to draw from.
    space : StateSpace
        What a window is.
    observations : Dataset or AbstractSampler
        Given observations on the grid of `truth`, or a rule by which every window is observed afresh.
    noise_std : float or mapping of str to float
        Standard deviation of the noise added to sampled observations, in the variables' units; where `division` has a
        rule, of the errors that the observations themselves have, see `_asked_at_assimilated`.
    along_track : mapping of str to Dataset, DataArray, sequence of these or AbstractTrackSampler, optional
        For each along-track instrument of `space` its samples, or a rule by which it samples every window afresh.
    division : Division
        What of a window is withheld: with a rule, `truth` are the given observations themselves.
    symmetries : Symmetries, optional
        Turns of which each window gets one at random, with all that was observed of it.
    """

    truth: xr.Dataset
    space: StateSpace
    observations: xr.Dataset | AbstractSampler
    noise_std: float | Mapping[str, float] = 0.0
    along_track: Mapping[str, Tracks | AbstractTrackSampler] | None = None
    division: Division = field(default_factory=Division)
    symmetries: Symmetries | None = None

    def __post_init__(self) -> None:
        self.space.check(self.truth, "the truth")
        if isinstance(self.observations, xr.Dataset):
            self.space.check_inputs(self.observations, "the observations")
            dims = self.space.all_dims(self.truth)
            check_same_grid(self.truth, self.observations, dims, "truth and observations")
        else:
            self.space.check_inputs(self.truth, "the truth")
        if self._cutter is not None and self.space.extra_dims(self.truth):
            raise ConfigError(
                f"the truth has the dimensions {self.space.extra_dims(self.truth)} besides those of the state, "
                "and along-track samples do not say to which entry they belong: train on one entry, or give "
                "a sampler of tracks, as ShuffledTracks, that observes every window"
            )
        if self.symmetries is not None:
            self.symmetries.check(self.space.variables, [self.space.patch[dim] for dim in self.space.dims])
            if self._cutter is not None:
                raise ConfigError(
                    "symmetries turn windows, and given along-track samples stay where they are: give a sampler of "
                    "tracks, as ShuffledTracks, or no symmetries"
                )
        self._grid()

    def _grid(self) -> PatchGrid:
        sizes = {dim: self.truth.sizes[dim] for dim in self.space.dims}
        return PatchGrid(sizes, self.space.patch, self.space.overlap, self.space.periodic)

    @property
    def n_windows(self) -> int:
        """Number of patches that would cover the truth: a natural length of an epoch."""
        members = [self.truth.sizes[dim] for dim in self.space.extra_dims(self.truth)]
        return len(self._grid()) * math.prod(members)

    def tracks(self, windows: Sequence[Window]) -> dict[str, TrackPatches]:
        """Samples of the along-track instruments in some windows."""
        given = {} if self._cutter is None else self._cutter([each.origin for each in windows])
        drawn = {name: padded([each.samples[name] for each in windows]) for name in self._draws.samplers}
        return given | drawn

    def draw(self, rng: np.random.Generator) -> Window:
        """One window at a random place.

        Raises
        ------
        PatchError
            If no place with anything to learn from was found.
        """
        for _ in range(N_ATTEMPTS):
            place = self._place(rng)
            truth = self._truth.read(place)
            if not np.isfinite(truth).any():
                continue
            coords = {dim: values[place[dim]] for dim, values in self._coords.items()}
            inputs = self._observe(truth, place, coords, rng)
            goal, inputs = self.division.divided(truth, inputs, self.space, place, coords, rng)
            if self.division.rule is not None and any(self._noise_std.values()):
                goal, inputs = self._asked_at_assimilated(goal, inputs, rng)
            if np.isfinite(goal).any():
                origin = tuple(int(place[dim][0]) for dim in self.space.dims)
                return self._turned(Window(goal, inputs, self._draws(truth, coords, rng), origin), rng)
        windows = f"none of {N_ATTEMPTS} random windows of {dict(self.space.patch)} points holds"
        if self.division == Division():
            raise PatchError(f"{windows} a finite value of the truth")
        what = "validation blocks" if self.division.validates else f"{self.division.rule or 'the rest'}"
        raise PatchError(
            f"{windows} an observation in what is withheld by {what}: give another rule (Withhold), other "
            "validation=WithheldBlocks(...), or more data"
        )

    def _turned(self, window: Window, rng: np.random.Generator) -> Window:
        """A window as one of the symmetries makes it."""
        if self.symmetries is None:
            return window
        turn, turned = self.symmetries.drawn(rng), self.symmetries.turned
        patch, samples = window.truth.shape[1:], {}
        for name, each in window.samples.items():
            places = self.symmetries.places_turned(each.positions, patch, turn)
            values = self.symmetries.values_turned(each.values, self.space.tracked[name].scales, turn)
            samples[name] = replace(each, positions=places, values=values)
        return window._replace(
            truth=turned(window.truth, self.space.variables, turn),
            inputs=turned(window.inputs, self.space.inputs, turn),
            samples=samples,
        )

    def _place(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        place = {
            dim: rng.integers(self.truth.sizes[dim], size=1) for dim in self.space.extra_dims(self.truth)
        }
        for dim in self.space.dims:
            size, n = self.truth.sizes[dim], self.space.patch[dim]
            start = rng.integers(size if dim in self.space.periodic else size - n + 1)
            place[dim] = np.arange(start, start + n) % size
        return place

    def _observe(
        self,
        truth: np.ndarray,
        place: dict[str, np.ndarray],
        coords: dict[str, np.ndarray],
        rng: np.random.Generator,
    ) -> np.ndarray:
        if not isinstance(self.observations, AbstractSampler):
            return self._inputs.read(place)
        sizes = dict(zip(("variable", *self.space.dims), truth.shape, strict=True))
        mask = self.observations.mask(sizes, coords, rng)
        noise = rng.standard_normal(truth.shape, dtype=np.float32) * self._of_variables(self._noise_std)
        seen = np.where(mask, truth + noise, np.float32(np.nan))
        if len(self.space.inputs) == self.space.n_variables:
            return seen
        return np.concatenate((seen, self._inputs.read(place)[self.space.n_variables :]))

    def _asked_at_assimilated(
        self, goal: np.ndarray, inputs: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ask at some of the assimilated points too, without a reward for copying their errors.

        Of an observation y with a Gaussian error of known size, y + a e is assimilated and y - e / a asked for, with e
        drawn like that error: the errors of the two are independent, so that on average the squared misfit is that to
        the truth and a constant (Pang et al. 2021, recorrupted to recorrupted).
        """
        own = inputs[: self.space.n_variables]
        errors = rng.standard_normal(own.shape, dtype=np.float32) * self._of_variables(self._noise_std)
        asked = (rng.random(own.shape, dtype=np.float32) < ASKED) & np.isfinite(own)
        goal = np.where(asked, own - errors / RECORRUPTION, goal)
        own = np.where(asked, own + RECORRUPTION * errors, own)
        return goal, np.concatenate((own, inputs[self.space.n_variables :]))

    def _of_variables(self, std: Mapping[str, float]) -> np.ndarray:
        """A number for each variable of the state, ``(V, 1, ...)``."""
        values = np.array([std[name] for name in self.space.variables], np.float32)
        return values.reshape(-1, *[1] * len(self.space.dims))

    @cached_property
    def _truth(self) -> "_Reader":
        return _Reader.of(self.truth, self.space, self.space.variables)

    @cached_property
    def _inputs(self) -> "_Reader":
        given = self.observations
        return _Reader.of(
            given if isinstance(given, xr.Dataset) else self.truth, self.space, self.space.inputs
        )

    @cached_property
    def _draws(self) -> TrackDraws:
        given = self.along_track or {}
        samplers = {name: each for name, each in given.items() if isinstance(each, AbstractTrackSampler)}
        return TrackDraws(samplers, self.space, self._noise_std if samplers else {})

    @cached_property
    def _cutter(self) -> TrackCutter | None:
        drawn = self._draws.samplers
        given: dict[str, Tracks] = {
            name: each
            for name, each in (self.along_track or {}).items()
            if not isinstance(each, AbstractTrackSampler)
        }
        others = {name: each for name, each in self.space.instruments.items() if name not in drawn}
        return track_cutter(given, self.truth, replace(self.space, instruments=others))

    @cached_property
    def _coords(self) -> dict[str, np.ndarray]:
        return {dim: self.truth[dim].values for dim in self.space.dims if dim in self.truth.coords}

    @cached_property
    def _noise_std(self) -> Mapping[str, float]:
        std = self.noise_std
        by_name = std if isinstance(std, Mapping) else dict.fromkeys(self.space.variables, std)
        if set(by_name) != set(self.space.variables) or min(by_name.values()) < 0:
            raise ConfigError(
                f"noise_std must give a number >= 0 for each of {self.space.variables}, got {std}"
            )
        return by_name


@dataclass(frozen=True)
class _Reader:
    """Windows of the stacked variables: from one array in memory, or piecewise from lazy data."""

    ds: xr.Dataset
    space: StateSpace
    names: tuple[str, ...]
    in_memory: xr.Variable | None

    @classmethod
    def of(cls, ds: xr.Dataset, space: StateSpace, names: tuple[str, ...]) -> "_Reader":
        ds = ds[list(names)]
        loaded = all(
            isinstance(ds[name].variable._data, np.ndarray) for name in names if name not in ds.indexes
        )
        return cls(ds, space, names, space.stack(ds, names).astype(np.float32) if loaded else None)

    def read(self, place: dict[str, np.ndarray]) -> np.ndarray:
        if self.in_memory is not None:
            return _take(self.in_memory, place).values.squeeze(self._extra_axes())
        with dask.config.set(scheduler="synchronous"):
            piece = self.ds.isel({dim: _as_slice(index) for dim, index in place.items()}).load()
        return self.space.stack(piece, self.names).values.astype(np.float32).squeeze(self._extra_axes())

    def _extra_axes(self) -> tuple[int, ...]:
        return tuple(range(len(self.space.extra_dims(self.ds))))


def _take(array: xr.Variable, place: dict[str, np.ndarray]) -> xr.Variable:
    return array.isel({dim: _as_slice(index) for dim, index in place.items()})


def _as_slice(index: np.ndarray) -> slice | np.ndarray:
    """Slice where the points are consecutive (not wrapped): reads one block, copies nothing."""
    if index[-1] - index[0] == len(index) - 1:
        return slice(int(index[0]), int(index[-1]) + 1)
    return index
