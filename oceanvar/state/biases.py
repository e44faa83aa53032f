"""Biases of instruments against the observations of the state, found where both observe the same."""

from dataclasses import replace

import numpy as np

from oceanvar.errors import ConfigError
from oceanvar.state.drawn_samples import values_at
from oceanvar.state.spaces import StateSpace
from oceanvar.state.windows import Window, WindowSource

MOST_WINDOWS = 500
"""Windows that are looked at."""

LEAST_COMMON = 30
"""Points that an instrument and the observations of the state must have in common."""


def debiased(source: WindowSource, space: StateSpace, seed: int) -> StateSpace:
    """Give the space with the biases that its instruments leave to be found, ``Instrument(bias=True)``.

    A bias is the mean difference to the truth, or where there is none to the observations of the state, over the
    points that both have: cells, or samples along tracks in observed cells. Errors that are independent of each other
    do not move it, however large, and no model is needed.

    Parameters
    ----------
    source : WindowSource
        Windows of training, as many of which are looked at as cover the data, but `MOST_WINDOWS` at most.
    space : StateSpace
        Names the instruments.
    seed : int
        Of the windows.

    Raises
    ------
    ConfigError
        If an instrument and the state have fewer than `LEAST_COMMON` points in common.
    """
    wanted = [name for name, each in space.instruments.items() if each.bias is True]
    if not wanted:
        return space
    # A mirror image would turn the bias of a current too.
    source, rng = replace(source, symmetries=None), np.random.default_rng(seed)
    sums = {name: np.zeros((2, len(space.instruments[name].variables))) for name in wanted}
    n_windows = min(source.n_windows, MOST_WINDOWS)
    for _ in range(n_windows):
        window = source.draw(rng)
        for name in wanted:
            difference = _differences(name, window, source, space)
            known = np.isfinite(difference)
            sums[name] += np.where(known, difference, 0.0).sum(1), known.sum(1)
    found = dict(space.instruments)
    for name, (total, n) in sums.items():
        if n.min() < LEAST_COMMON:
            raise ConfigError(
                f"the bias of {name!r} cannot be found: in {n_windows} windows it has {int(n.min())} points in common "
                f"with what is known of the state, and {LEAST_COMMON} are needed: give the bias, bias=(0.0,), or let "
                "training find it by the operator Calibration"
            )
        bias = tuple(float(f"{each:.6g}") for each in total / n)
        found[name] = replace(space.instruments[name], bias=bias)
    return replace(space, instruments=found)


def _differences(name: str, window: Window, source: WindowSource, space: StateSpace) -> np.ndarray:
    """Values of an instrument in a window less those of the state ``(V, n)``, NaN where one of them is missing."""
    instrument = space.instruments[name]
    # What is withheld was observed too.
    state = np.where(np.isfinite(window.truth), window.truth, window.inputs[: space.n_variables])
    state = state[[space.variables.index(each) for each in instrument.scales]]
    if instrument.along_track:
        samples = source.tracks([window])[name]
        values = samples.values[0]
        variances = None if samples.variances is None else samples.variances[0]
        state = values_at(state, samples.positions[0])
    else:
        fields = dict(zip(space.inputs, window.inputs, strict=True))
        values = np.stack([fields[each].ravel() for each in instrument.variables])
        state = state.reshape(len(values), -1)
        held = instrument.variance
        variances = fields[held].ravel() if isinstance(held, str) else None
    # As where they are assimilated: values that are none, or have no error variance, are not used.
    low, high = np.array([space.plausible(scale) for scale in instrument.scales]).T[..., np.newaxis]
    used = (values >= low) & (values <= high) & (True if variances is None else np.isfinite(variances))
    return np.where(used, values.astype(np.float64) - state, np.nan)
