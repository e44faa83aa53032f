"""Blocks of observations to withhold, whole passes or whole clouds, and the error field that they calibrate.

A single withheld pixel has its neighbours to help, and a map scored there looks better than it is where it matters:
between passes and under clouds.
"""

import numpy as np
import xarray as xr
from scipy.optimize import minimize_scalar

from oceanvar.errors import ConfigError

FACTORS = (0.01, 100.0)
"""Between these a factor is looked for."""


def withhold_blocks(labels: xr.DataArray, fraction: float, seed: int = 0) -> xr.DataArray:
    """Draw whole blocks at random.

    Parameters
    ----------
    labels : DataArray
        Number or name of the block of each point: the pass of a sample, the month of a map.
    fraction : float
        Share of the blocks to draw, between 0 and 1.
    seed : int
        Of the draw.

    Returns
    -------
    DataArray
        True at the points of drawn blocks.

    Raises
    ------
    ConfigError
        When not at least one block is drawn and one left.
    """
    blocks = np.unique(labels)
    n_drawn = round(fraction * len(blocks))
    if not 0 < n_drawn < len(blocks):
        raise ConfigError(
            f"a fraction of {fraction} of {len(blocks)} blocks is {n_drawn}: at least one must be drawn, one left"
        )
    drawn = np.random.default_rng(seed).permutation(blocks)[:n_drawn]
    return labels.copy(data=np.isin(labels, drawn)).rename("withheld")


def withhold_clouds(
    obs: xr.DataArray,
    fraction: float,
    seed: int = 0,
    dim: str = "time",
    n_days: int = 1,
    clearest: bool = False,
) -> xr.DataArray:
    """Draw observations under the clouds of other days, laid over days drawn at random or the clearest ones.

    Parameters
    ----------
    obs : DataArray
        Observations with the gaps of clouds, NaN; computed if lazy.
    fraction : float
        Share of the observations to draw at least, between 0 and 1; days are drawn until it is reached.
    seed : int
        Of the draw.
    dim : str
        Dimension of the days.
    n_days : int
        Days in a row whose clouds are laid over as many in a row: where clouds stay, methods that look at the days
        before and after are scored by single days too well.
    clearest : bool
        Lay them over the clearest days (Alvera-Azcárate et al. 2005, https://doi.org/10.1016/j.ocemod.2004.08.001),
        whose gaps are then as large as those of others, and not larger.

    Returns
    -------
    DataArray
        True at observations that such a cloud hides. Each day has the clouds of one other day at most.

    Raises
    ------
    ConfigError
        When the clouds of no day hide so much.
    """
    seen = obs.notnull().compute()
    rng = np.random.default_rng(seed)
    n_all = seen.sizes[dim]
    ever = seen.any(dim)
    withheld = xr.zeros_like(seen)
    firsts = np.arange(0, n_all, n_days)
    covered = rng.permutation(firsts)
    if clearest:
        n_seen = seen.sum([each for each in seen.dims if each != dim]).values
        usual = np.add.reduceat(n_seen, firsts) / np.diff(firsts, append=n_all)
        covered = firsts[np.argsort(-usual, kind="stable")]
    for first, other in zip(covered, rng.permutation(firsts), strict=True):
        if withheld.sum() >= fraction * seen.sum():
            break
        for day in range(first, min(first + n_days, n_all)):
            cloud = ~seen.isel({dim: (other + day - first) % n_all}, drop=True) & ever
            withheld[{dim: day}] = seen.isel({dim: day}) & cloud
    if withheld.sum() < fraction * seen.sum() or not withheld.any() or withheld.equals(seen):
        raise ConfigError(
            f"clouds of other days hide {int(withheld.sum())} of {int(seen.sum())} observations, and a fraction "
            f"of {fraction} is wanted, not all: ask for another"
        )
    return withheld.rename("withheld")


def error_factor(residuals: np.ndarray, error_std: np.ndarray, noise_std: float | np.ndarray) -> float:
    """Factor of the expected errors under which withheld observations are likeliest.

    The residuals are taken as normal with variances f^2 e^2 + noise^2. Without noise f^2 is the mean of (r / e)^2.

    Parameters
    ----------
    residuals : array (n,)
        Analysis minus withheld observation.
    error_std : array (n,)
        Expected standard deviation of the error of the analysis there.
    noise_std : float or array (n,)
        Standard deviation of the errors of the observations; 0 for a truth.

    Returns
    -------
    float
        To multiply `error_std` by.

    Raises
    ------
    ConfigError
        When there are no residuals, or an expected error is not positive.
    """
    if residuals.size == 0 or not np.all(error_std > 0):
        raise ConfigError(
            f"a factor needs residuals (given {residuals.size}) and positive expected errors "
            f"(smallest: {np.min(error_std, initial=np.inf):.3g})"
        )
    squares, noise = residuals**2, np.broadcast_to(np.asarray(noise_std) ** 2, residuals.shape)

    def misfit(log_factor: float) -> float:
        variance = np.exp(2 * log_factor) * error_std**2 + noise
        return float((np.log(variance) + squares / variance).sum())

    best = minimize_scalar(misfit, bounds=np.log(FACTORS), method="bounded", options={"xatol": 1e-8})
    return float(np.exp(best.x))
