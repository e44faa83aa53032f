"""Scores of an analysis that states its error: whether the error bar is right, and how sharp it is.

The error is stated by a standard deviation, the law of the truth being normal, or by an ensemble along ``member``, of
which the truth should look like one more member.

Sources: Gneiting, Raftery, Westveld and Goldman (2005, doi:10.1175/MWR2904.1), equation 5, for the continuous ranked
probability score of a normal law; Ferro (2014, doi:10.1002/qj.2270) for its fair version of an ensemble; Fortin et al.
(2014, doi:10.1175/JHM-D-14-0008.1) for spread and error of an ensemble; Hamill (2001) for rank histograms.
"""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError, ScoreError
from oceanvar.metrics.errors import reduced_dims
from oceanvar.metrics.intervals import bootstrap_sums
from oceanvar.metrics.laws import STATED_SCORES, GaussianLaw, law_of, scores_of_sums

Blocks = Mapping[str, int]
"""Points of each dimension that make one block of the bootstrap."""

Bootstrap = tuple[float, int, int]
"""Level, number of resamples and seed of `oceanvar.metrics.intervals.bootstrap_sums`."""


def crps(analysis: xr.DataArray, truth: xr.DataArray, std: xr.DataArray | None = None) -> xr.DataArray:
    """Continuous ranked probability score of each cell: the smaller the better, ``|analysis - truth|`` without spread.

    Of a normal law std (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)) with z = (truth - analysis) / std, which is
    std / sqrt(pi) in the mean if it is right. Of m members the fair score: the mean distance of the members from the
    truth less half that of two different members, which is in the mean, for any m, that of the law they are drawn from.

    Parameters
    ----------
    analysis, truth : DataArray
        On one grid; NaN marks cells that do not count. An ensemble also has the dimension ``member``.
    std : DataArray, optional
        Standard deviation of the error of `analysis`, in its units; of an ensemble none.

    Returns
    -------
    DataArray
        On the grid of the truth, in its units; NaN where something is missing, be it one member. Lazy where these are.

    Raises
    ------
    ConfigError
        If the error is stated twice or not at all, or there is only one member.
    GridMismatchError
        If the grids differ.
    UnitsMismatchError
        If the units differ.
    ScoreError
        If a standard deviation is not positive; of lazy data when it is computed.
    """
    law = law_of(analysis, truth, std)
    long_name, _ = STATED_SCORES["crps"]
    score = law.cells()["crps"].where(law.known).rename("crps").assign_coords(truth.coords)
    return score.assign_attrs(long_name=long_name, **_units_of(truth))


def log_score(analysis: xr.DataArray, truth: xr.DataArray, std: xr.DataArray) -> xr.DataArray:
    """Logarithmic score of each cell: minus the logarithm of the normal density at the truth, the smaller the better.

    It is log(2 pi std^2) / 2 + z^2 / 2, in nats; other units of the variable shift it by the logarithm of their ratio.

    Parameters
    ----------
    analysis, truth, std : DataArray
        As of `crps`.

    Returns
    -------
    DataArray
        Score of each cell.

    Raises
    ------
    ConfigError, GridMismatchError, UnitsMismatchError, ScoreError
        As of `crps`.
    """
    law = law_of(analysis, truth, std)
    if not isinstance(law, GaussianLaw):
        raise ConfigError("the logarithmic score needs a density: give a standard deviation, no ensemble")
    nats = law.z**2 / 2 + np.log(2 * np.pi * law.checked_std**2) / 2
    score = nats.where(law.known).rename("log_score").assign_coords(truth.coords)
    return score.assign_attrs(long_name="logarithmic score", units="1")


def score_uncertainty(
    analysis: xr.DataArray,
    truth: xr.DataArray,
    std: xr.DataArray | None = None,
    *,
    blocks: Blocks | None = None,
    level: float = 0.95,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> xr.Dataset:
    """Scores of a stated error over all cells, with intervals by a block bootstrap.

    Parameters
    ----------
    analysis, truth, std : DataArray
        As of `crps`; computed if lazy.
    blocks : mapping of str to int, optional
        Points of a dimension that make one block, ``{"time": 7}`` say: blocks must be so long that their errors are
        independent. Without any, intervals are NaN.
    level : float
        Probability of the intervals.
    n_resamples, seed : int
        Of the intervals, as in `oceanvar.metrics.intervals`.

    Returns
    -------
    Dataset
        ``crps``, mean of that of the cells. ``error_over_stated``: root mean square error (of the mean of an
        ensemble) over the root of the mean variance that is stated: 1 if this is right, above 1 if errors are larger
        than stated. The variance of m members is that about their mean (divided by m - 1) times 1 + 1 / m, since the
        mean of the members errs too. ``coverage_50``, ``coverage_90``, ``coverage_95``, shares of truths inside the
        central interval of that probability. An ensemble divides all values into as many parts, equally likely, as it
        has members, and one more: where an interval ends inside of a part, truths there count by its share in it.
        Of fewer than 3, 19 and 39 members the outermost parts are too large to tell. Each with its
        ``_interval`` over ``bound``. ``n_points_stated``, the number of cells where analysis, truth and stated error
        all have a value.

    Raises
    ------
    ConfigError, GridMismatchError, UnitsMismatchError, ScoreError
        As of `crps`, or when no cell is left to score, or a block has not at least one point.
    MissingVariableError
        When the truth lacks a dimension of `blocks`.
    """
    cells, block = _known_cells(analysis, truth, std, blocks)
    units = xr.Dataset({name: ("unit", np.bincount(block, each)) for name, each in cells.items()})
    return scored_units(units, truth.attrs.get("units"), (level, n_resamples, seed))


def scored_units(units: xr.Dataset, variable_units: str | None, bootstrap: Bootstrap) -> xr.Dataset:
    """Scores of sums of `AbstractLaw.cells` over each of some independent units (days, blocks), with intervals.

    Parameters
    ----------
    units : Dataset
        Sums over ``unit``; those without a cell are no units.
    variable_units : str, optional
        Units of the variable.
    bootstrap : (float, int, int)
        Level, number of resamples and seed.

    Returns
    -------
    Dataset
        As of `score_uncertainty`.
    """
    known = units.isel(unit=np.flatnonzero(units["n"].values > 0))
    rows = known.to_dataarray("sum").transpose("unit", "sum")
    table = xr.Dataset(coords={"bound": ["low", "high"]})
    for name, value in scores_of_sums(known.sum("unit")).items():

        def statistic(means: np.ndarray, name: str = name) -> np.ndarray:
            columns = {key: ("draw", means[:, i]) for i, key in enumerate(rows["sum"].values)}
            return scores_of_sums(xr.Dataset(columns))[name].values

        long_name, fixed = STATED_SCORES[name]
        own = {"units": fixed or variable_units} if fixed or variable_units else {}
        table[name] = value.astype(int if name == "n_points_stated" else float)
        table[name].attrs = {"long_name": long_name, **own}
        if name != "n_points_stated":
            interval = bootstrap_sums(rows.values, statistic, *bootstrap)
            table[f"{name}_interval"] = ("bound", list(interval), own)
    return table


def pit_histogram(
    analysis: xr.DataArray,
    truth: xr.DataArray,
    std: xr.DataArray | None = None,
    *,
    n_bins: int = 10,
    blocks: Blocks | None = None,
    level: float = 0.95,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> xr.Dataset:
    """How often the truth falls into equally likely parts of its stated law: as often into each, if that is right.

    A valley says that the stated errors are too small, a hill too large, a slope that the analysis is biased.

    Parameters
    ----------
    analysis, truth, std : DataArray
        As of `crps`; computed if lazy.
    n_bins : int
        Bins of the probability integral transform Phi((truth - analysis) / std). An ensemble of m members has m + 1,
        one for each rank that the truth can have among them (rank histogram).
    blocks : mapping of str to int, optional
        Of the intervals, as of `score_uncertainty`, as is all that follows.
    level : float
        Their probability.
    n_resamples : int
        Resamplings.
    seed : int
        Of the resampling, and of the rank of a truth that equals some of the members, which is drawn at random.

    Returns
    -------
    Dataset
        ``density`` over ``bin``, the share of the truths times the number of bins: 1 if the law is right; its
        ``density_interval`` (bin, bound); ``n_points`` of each bin. The coordinate is the middle of each bin, from
        0 to 1.

    Raises
    ------
    ConfigError, GridMismatchError, UnitsMismatchError, ScoreError, MissingVariableError
        As of `score_uncertainty`.
    """
    if n_bins < 2:
        raise ConfigError(f"n_bins is {n_bins}: a histogram needs at least 2")
    law = law_of(analysis.compute(), truth.compute(), None if std is None else std.compute())
    ranks, n_bins = law.ranks(n_bins, seed)
    known = law.known.values
    block = _known_blocks(truth, blocks, known)
    counts = _by_block_and_bin(block, ranks[known], n_bins)
    counts = counts[counts.any(axis=1)]
    totals = counts.sum(axis=1)

    def density(means: np.ndarray) -> np.ndarray:
        return n_bins * means[:, 0] / means[:, 1]

    intervals = [
        bootstrap_sums(np.stack([each, totals], axis=-1), density, level, n_resamples, seed)
        for each in counts.T
    ]
    shares = counts.sum(axis=0) / totals.sum()
    return xr.Dataset(
        {
            "density": ("bin", n_bins * shares, {"long_name": "density, 1 if right", "units": "1"}),
            "density_interval": (("bin", "bound"), intervals),
            "n_points": ("bin", counts.sum(axis=0).astype(int)),
        },
        {
            "bin": ("bin", (np.arange(n_bins) + 0.5) / n_bins, {"long_name": "place in the stated law"}),
            "bound": ["low", "high"],
        },
    )


def spread_skill(
    analysis: xr.DataArray,
    truth: xr.DataArray,
    std: xr.DataArray | None = None,
    *,
    n_bins: int = 10,
    blocks: Blocks | None = None,
    level: float = 0.95,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> xr.Dataset:
    """Actual error where much or little of it is stated: cells are sorted by stated error into bins of as many cells.

    Parameters
    ----------
    analysis, truth, std : DataArray
        As of `crps`; computed if lazy.
    n_bins : int
        Number of bins, fewer where many cells state the same error.
    blocks : mapping of str to int, optional
        Of the intervals, as of `score_uncertainty`, as is all that follows.
    level : float
        Their probability.
    n_resamples, seed : int
        Resamplings.

    Returns
    -------
    Dataset
        Over ``bin``, in units of the variable: ``stated``, root mean variance that is stated, ``rmse``, equal to it
        if that is right, and its ``rmse_interval`` (bin, bound); ``n_points``.

    Raises
    ------
    ConfigError, GridMismatchError, UnitsMismatchError, ScoreError, MissingVariableError
        As of `score_uncertainty`.

    Notes
    -----
    The spread of a small ensemble is itself uncertain: where it is largest it is so in part by chance, and the curve
    is flatter than the diagonal even if the members are right.
    """
    if n_bins < 1:
        raise ConfigError(f"n_bins is {n_bins}: give at least 1")
    cells, block = _known_cells(analysis, truth, std, blocks)
    inner = np.quantile(cells["variance"], np.linspace(0, 1, n_bins + 1)[1:-1])
    filled, bins = np.unique(np.searchsorted(inner, cells["variance"], side="right"), return_inverse=True)
    size = len(filled)
    names = ("squared_error", "variance", "n")
    rows = np.stack([_by_block_and_bin(block, bins, size, cells[name]) for name in names], axis=-1)
    error, stated, n = rows.sum(axis=0).T
    intervals = [
        bootstrap_sums(
            each[each[:, 2] > 0],
            lambda means: np.sqrt(means[:, 0] / means[:, 2]),
            level,
            n_resamples,
            seed,
        )
        for each in rows.swapaxes(0, 1)
    ]
    units = _units_of(truth)
    return xr.Dataset(
        {
            "stated": ("bin", np.sqrt(stated / n), {"long_name": "stated error", **units}),
            "rmse": ("bin", np.sqrt(error / n), {"long_name": "root mean square error", **units}),
            "rmse_interval": (("bin", "bound"), intervals, units),
            "n_points": ("bin", n.astype(int)),
        },
        {"bound": ["low", "high"]},
    )


def _units_of(field: xr.DataArray) -> dict[str, str]:
    return {key: field.attrs[key] for key in ("units",) if key in field.attrs}


def _known_cells(
    analysis: xr.DataArray, truth: xr.DataArray, std: xr.DataArray | None, blocks: Blocks | None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """`AbstractLaw.cells` of the cells that count, (n,) each, and the block of each."""
    law = law_of(analysis, truth, std)
    cells = law.cells().compute()
    known = cells["n"].values > 0
    block = _known_blocks(truth, blocks, known)
    return {str(name): each.values[known] for name, each in cells.items()}, block


def _known_blocks(truth: xr.DataArray, blocks: Blocks | None, known: np.ndarray) -> np.ndarray:
    """Number of the block of each cell that counts."""
    if not known.any():
        raise ScoreError(
            "0 cells are left to score: analysis, truth and stated error never have a value in the same cell"
        )
    reduced_dims(truth, tuple(blocks or ()))
    number = xr.DataArray(np.zeros(truth.shape, int), dims=truth.dims)
    for dim, length in (blocks or {}).items():
        if not (isinstance(length, int | np.integer) and length >= 1):
            raise ConfigError(
                f"a block of {length!r} points of {dim!r} is none: give a whole number of at least 1"
            )
        index = np.arange(truth.sizes[dim]) // length
        number = number * (index[-1] + 1) + xr.DataArray(index, dims=dim)
    return number.transpose(*truth.dims).values[known]


def _by_block_and_bin(
    block: np.ndarray, bins: np.ndarray, n_bins: int, weights: np.ndarray | None = None
) -> np.ndarray:
    """Sums (n_blocks, n_bins) of weights, or numbers of cells."""
    sums = np.bincount(block * n_bins + bins, weights, minlength=(block.max() + 1) * n_bins)
    return sums.reshape(-1, n_bins).astype(np.float64)
