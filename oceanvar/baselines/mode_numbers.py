"""How many EOFs: the number that comes nearest to withheld observations."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from oceanvar.baselines.eof_days import days_of
from oceanvar.baselines.eofs import Iteration, Modes
from oceanvar.baselines.gappy import Gappy
from oceanvar.baselines.withholding import withhold_clouds
from oceanvar.errors import ConfigError

logger = logging.getLogger(__name__)

MOST_CELLS = 10_000
"""As many cells tell the number of modes, drawn at random: the times of the modes are those of all cells."""

FIRST_NUMBERS = (1, 2, 3, 4)
"""Numbers of modes that are tried first; from the third on each is twice the last but one."""

NOISE_FACTORS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Tried for the noise in optimal interpolation with the modes: the number of cells that have an error in common."""

N_DAYS = 10
"""Days in a row that clouds are laid over, fewer where they would be more than the share that is withheld."""

N_RISES = 3
"""Numbers in a row with a larger error than the one before, after which no more are tried."""

FINENESS = 8
"""Numbers are found to one, or to this part of them."""

AS_GOOD = 1.01
"""Of the smallest error: the smallest number that does no worse is taken."""


@dataclass(frozen=True)
class Trial:
    """Modes without the withheld observations.

    Parameters
    ----------
    number : int
        Of modes, at most.
    modes : Modes
        Of the cells that were drawn.
    factor : float
        Of the noise in their interpolation, see `Days.times`.
    matrix : Gappy
        What they are of, with nothing in the gaps.
    cells : array (c,)
        Numbers of these cells.
    withheld : bool array (n, c)
        What was withheld.
    residuals : array (p,)
        Analysis minus observation where these are withheld, in the order of ``np.nonzero(withheld)``.
    """

    number: int
    modes: Modes
    factor: float
    matrix: Gappy
    cells: np.ndarray
    withheld: np.ndarray
    residuals: np.ndarray

    @property
    def rmse(self) -> float:
        """At the withheld observations."""
        return float(np.sqrt((self.residuals**2).mean()))

    def rmse_of(self, columns: slice) -> float:
        """The same of some columns of the whole matrix; NaN where none is withheld there."""
        column = self.cells[np.nonzero(self.withheld)[1]]
        here = self.residuals[(column >= columns.start) & (column < columns.stop)]
        return float(np.sqrt((here**2).mean())) if here.size else np.nan


def withhold(seen: np.ndarray, how: str, fraction: float, seed: int) -> np.ndarray:
    """Draw observations to withhold.

    Parameters
    ----------
    seen : bool array (n, m)
        Where there are observations, at n times and m cells.
    how : {"clouds", "points"}
        The gaps of other times laid over (Alvera-Azcárate et al. 2005), or single points.
    fraction : float
        Share of the observations.
    seed : int
        Of the draw.

    Returns
    -------
    bool array (n, m)
        No time is left without observations.

    Raises
    ------
    ConfigError
        If not at least one is withheld and one left.
    """
    if how == "points":
        withheld = seen & (np.random.default_rng(seed).random(seen.shape) < fraction)
    elif seen.all():
        raise ConfigError(
            "nothing is missing, so there are no clouds to lay over other times: give n_modes, or withhold='points'"
        )
    else:
        field = xr.DataArray(np.where(seen, 0.0, np.nan), dims=("time", "cell"))
        # Small gaps hide little, and half of what they do is reached with any draw.
        share = min(fraction, (1 - float(seen.mean())) / 2)
        n_days = max(1, min(N_DAYS, int(share * len(seen))))
        try:
            withheld = withhold_clouds(field, share, seed, n_days=n_days, clearest=True).values
        except ConfigError as error:
            raise ConfigError(f"{error}; give n_modes, or withhold='points'") from error
    withheld &= (seen & ~withheld).any(1, keepdims=True)
    if not withheld.any():
        raise ConfigError(
            f"a fraction of {fraction} of {np.count_nonzero(seen)} observations withholds none (or all of each time): "
            "ask for another, or give n_modes"
        )
    return withheld


def choose(
    matrix: Gappy, numbers: Sequence[int], iteration: Iteration, how: str, fraction: float, seed: int
) -> Trial:
    """Try numbers of modes, each from the result of the next smaller one, and what lies between the best of them.

    Parameters
    ----------
    matrix : Gappy
        Not changed.
    numbers : sequence of int
        Increasing numbers of modes.
    iteration : Iteration
        How they are found.
    how, fraction, seed
        See `withhold`.
    """
    n_cells = matrix.values.shape[1]
    cells = np.sort(np.random.default_rng(seed).permutation(n_cells)[:MOST_CELLS])
    matrix = matrix.of_cells(cells)
    withheld = withhold(matrix.seen, how, fraction, seed)
    kept = matrix.without(withheld)
    truth, places = matrix.values[withheld], np.nonzero(withheld)
    tried: dict[int, Trial] = {}

    def attempt(number: int) -> Trial:
        if number not in tried:
            smaller = tried.get(max((each for each in tried if each < number), default=0))
            if smaller is None:
                guess, times = None, None
            else:
                guess, times = smaller.modes.analysis(), smaller.modes.times
            modes, factor = iteration.fit(matrix.without(withheld, guess), number, times), 1.0
            if iteration.interpolates:
                modes, factor = _interpolated(modes, kept, withheld, truth)
            tried[number] = Trial(number, modes, factor, kept, cells, withheld, modes.at(*places) - truth)
            logger.info("%d modes: rmse %.4g at withheld observations", number, tried[number].rmse)
        return tried[number]

    def best() -> int:
        limit = AS_GOOD * min(trial.rmse for trial in tried.values())
        return min(number for number, trial in tried.items() if trial.rmse <= limit)

    last = np.inf
    n_rises = n_hidden = 0
    for number in numbers:
        trial = attempt(number)
        n_rises = n_rises + 1 if trial.rmse > last else 0
        n_hidden = n_hidden + 1 if trial.modes.number < number else 0
        last = trial.rmse
        if n_rises == N_RISES or n_hidden == 2:
            break
    step = best() - max((each for each in numbers if each < best()), default=0)
    while len(numbers) > 1 and step > max(1, best() // FINENESS):
        step = (step + 1) // 2
        centre = best()
        for number in {max(centre - step, 1), min(centre + step, numbers[-1])}:
            attempt(number)
    return tried[best()]


def _interpolated(
    modes: Modes, matrix: Gappy, withheld: np.ndarray, truth: np.ndarray
) -> tuple[Modes, float]:
    """Modes with times by optimal interpolation, and the factor of its noise that comes nearest to withheld values."""
    days, places = days_of(matrix, modes), np.nonzero(withheld)
    found = {factor: replace(modes, times=days.times(factor)) for factor in NOISE_FACTORS}
    errors = {factor: np.mean((each.at(*places) - truth) ** 2) for factor, each in found.items()}
    limit = max(AS_GOOD**2, 1 + chance(truth.size)) * min(errors.values())
    best = min(factor for factor in errors if errors[factor] <= limit)
    return found[best], best


def chance(n_withheld: int) -> float:
    """Share of a mean square of so many residuals that may be chance: two standard deviations."""
    return float(2 * np.sqrt(2 / n_withheld))


def ladder(most: int) -> list[int]:
    """Numbers of modes to try: each about 1.4 times the last, up to the most."""
    numbers = list(FIRST_NUMBERS)
    while numbers[-1] < most:
        numbers.append(2 * numbers[-2])
    return [each for each in numbers if each < most] + [most]
