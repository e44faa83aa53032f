"""A filter in time: diffusion of what varies faster than a period, at times with uneven steps."""

import numpy as np
from scipy.linalg import cho_solve_banded, cholesky_banded

from oceanvar.errors import ConfigError

N_STEPS = 8
"""Implicit steps of the diffusion: a wave of the period keeps (1 + 1/8)^-8 = 0.39, of infinitely many 1/e = 0.37."""

N_DRAWS = 100
"""Of white noise, to see what is left of it."""


class TimeFilter:
    """Diffusion in time, without a flux through the ends: constants stay, and so does the mean.

    The filter that Alvera-Azcarate et al. (2009, https://doi.org/10.5194/os-5-475-2009) put on both sides of the
    temporal covariance, whose alpha times number of iterations is (period / 2 pi)^2. Steps are implicit here, so that
    any period is stable at any spacing.

    Parameters
    ----------
    days : array (n,)
        Times in any order.
    period : float
        Waves of this period keep 0.39 of their amplitude, slower ones more, in the units of `days`.

    Attributes
    ----------
    noise_kept : float
        Share of the variance of white noise that passes.

    Raises
    ------
    ConfigError
        If the period is not positive and finite, or there are not two different times at least and no time twice.
    """

    def __init__(self, days: np.ndarray, period: float):
        self.order = np.argsort(days)
        steps = np.diff(days[self.order])
        if not 0 < period < np.inf or steps.size == 0 or not np.all(steps > 0):
            raise ConfigError(
                f"smoothing needs a positive period (given {period:g}) and two times or more that all differ (given "
                f"{days.size}, {np.count_nonzero(~(steps > 0))} of them twice): drop_duplicates, or sum them up first"
            )
        before, behind = np.insert(steps, 0, steps[0]), np.append(steps, steps[-1])
        self.widths = ((before + behind) / 2)[:, np.newaxis]
        fluxes = (period / (2 * np.pi)) ** 2 / N_STEPS / steps
        matrix = np.zeros((2, days.size))
        matrix[0, 1:] = -fluxes
        matrix[1] = self.widths[:, 0]
        matrix[1, 1:] += fluxes
        matrix[1, :-1] += fluxes
        self.factor = cholesky_banded(matrix)
        noise = np.random.default_rng(0).standard_normal((days.size, N_DRAWS))
        self.noise_kept = float((self(noise) ** 2).mean())

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """Filter columns of an array (n, k)."""
        smooth = block[self.order].astype(np.float64)
        for _ in range(N_STEPS):
            smooth = cho_solve_banded((self.factor, False), self.widths * smooth)
        return self._unsorted(smooth)

    def transposed(self, block: np.ndarray) -> np.ndarray:
        """Columns of an array (n, k) times the transpose of the filter."""
        smooth = block[self.order].astype(np.float64)
        for _ in range(N_STEPS):
            smooth = self.widths * cho_solve_banded((self.factor, False), smooth)
        return self._unsorted(smooth)

    def _unsorted(self, block: np.ndarray) -> np.ndarray:
        result = np.empty_like(block)
        result[self.order] = block
        return result
