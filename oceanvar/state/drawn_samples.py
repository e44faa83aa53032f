"""Samples along tracks, drawn afresh for every window of a truth."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from oceanvar.errors import ConfigError
from oceanvar.observing.track_samplers import AbstractTrackSampler
from oceanvar.state.samples import Samples
from oceanvar.state.spaces import StateSpace


@dataclass(frozen=True, eq=False)
class TrackDraws:
    """Observes windows along tracks.

    Parameters
    ----------
    samplers : mapping of str to AbstractTrackSampler
        For along-track instruments of `space`, by name.
    space : StateSpace
        What a window is.
    noise_std : mapping of str to float
        Noise of the samples of each variable of the state, in its units.

    Raises
    ------
    ConfigError
        If a name is no along-track instrument, or its values or error variances are not to be had from
        the state's variables.
    """

    samplers: Mapping[str, AbstractTrackSampler]
    space: StateSpace
    noise_std: Mapping[str, float]

    def __post_init__(self) -> None:
        for name in self.samplers:
            instrument = self.space.tracked.get(name)
            if instrument is None:
                raise ConfigError(
                    f"{name!r} is none of the along-track instruments {sorted(self.space.tracked)}: name it "
                    "in the instruments of the StateSpace"
                )
            strange = [each for each in instrument.scales if each not in self.space.variables]
            if strange or isinstance(instrument.variance, str):
                raise ConfigError(
                    f"the instrument {name!r} cannot be drawn from the truth, which has {self.space.variables} and "
                    f"no error variances: it observes {instrument.scales} with the variance {instrument.variance!r}"
                )

    def __call__(
        self, truth: np.ndarray, coords: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> dict[str, Samples]:
        """Samples of one window ``(V, *patch)``, by instrument; none where the truth is missing."""
        return {name: self._observe(name, truth, coords, rng) for name in self.samplers}

    def _observe(
        self, name: str, truth: np.ndarray, coords: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> Samples:
        space, scales = self.space, self.space.tracked[name].scales
        places = self.samplers[name].places(coords, space.dims, rng)
        # As a patch of given samples has it: those beyond the last point are moved to it.
        places = np.clip(places, 0, np.array(truth.shape[1:]) - 1)
        places = places[np.argsort(places[:, 0], kind="stable")]
        values = values_at(truth[[space.variables.index(each) for each in scales]], places)
        noise = np.array([self.noise_std[each] for each in scales])
        values = values + noise[:, np.newaxis] * rng.standard_normal(values.shape)
        seen = np.isfinite(values).any(axis=0)
        return Samples(places[seen], values[:, seen])


def values_at(field: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Values of ``(V, *S)`` at index coordinates ``(n, len(S))``, as ``(V, n)``: linear along every axis.

    Next to missing values the nearest point serves, as in `oceanvar.observing.tracks.sample_field`.
    """
    last = np.array(field.shape[1:]) - 1
    low = np.minimum(np.floor(places).astype(int), np.maximum(last - 1, 0))
    above = places - low
    total = np.zeros((len(field), len(places)))
    for corner in itertools.product((0, 1), repeat=len(last)):
        share = np.where(corner, above, 1 - above).prod(axis=1)
        values = field[(slice(None), *np.minimum(low + corner, last).T)]
        total += np.where(share > 0, share * values, 0.0)
    nearest = field[(slice(None), *np.minimum(np.floor(places + 0.5).astype(int), last).T)]
    return np.where(np.isfinite(total), total, nearest)
