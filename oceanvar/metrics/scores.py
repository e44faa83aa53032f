"""All scores of an analysis against a truth, as one small labelled table."""

import dataclasses
import functools
import operator
from collections.abc import Collection, Hashable, Mapping
from typing import NamedTuple

import dask
import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError, MissingVariableError, ScoreError
from oceanvar.labels.alignment import on_grid
from oceanvar.labels.coordinates import MapDims, map_dims
from oceanvar.metrics.errors import ErrorSums, quotient, reduced_dims, require_same_units
from oceanvar.metrics.laws import (
    MEMBER,
    STATED_SCORES,
    AbstractLaw,
    error_bars,
    is_ensemble,
    law_of,
    scores_of_sums,
    without_error_bars,
)
from oceanvar.metrics.spectra import error_spectra, resolved_scales, score_of_spectra

Fields = xr.Dataset | xr.DataArray
POOLED = "all"

# Name: (long_name, units), where None stands for the units of the variable.
_DEFINITIONS: dict[str, tuple[str, str | None]] = {
    "rmse": ("root mean square error", None),
    "bias": ("mean of analysis - truth", None),
    "correlation": ("Pearson correlation of analysis and truth", "1"),
    "r_score": ("mean square error / mean square of the truth", "1"),
    "r_score_variance": ("mean square error / variance of the truth", "1"),
    "i_score": ("mean square error where unobserved / mean square of the truth everywhere", "1"),
    "i_score_variance": ("mean square error where unobserved / variance of the truth everywhere", "1"),
    "n_points": ("number of scored cells", "1"),
    "n_points_unobserved": ("number of scored cells without an observation", "1"),
    **STATED_SCORES,
    "mu": ("1 - rms(analysis - truth) / rms(truth) over space and time", "1"),
    "sigma": ("standard deviation over time of 1 - rms(analysis - truth) / rms(truth) over space", "1"),
    "lambda_x": ("smallest wavelength on the 0.5 contour of the spectral score", "degrees"),
    "lambda_t": ("smallest period on the 0.5 contour of the spectral score", "days"),
}


class _Inputs(NamedTuple):
    """One variable on the truth's grid, cropped; an ensemble as its mean."""

    analysis: xr.DataArray
    truth: xr.DataArray
    obs: xr.DataArray | None
    law: AbstractLaw | None  # of the truth, where the analysis states its error


@dataclasses.dataclass(frozen=True)
class _Parts:
    """What the scores of one variable are made of, lazy for dask arrays; time is kept in `sums` of a map."""

    sums: ErrorSums
    unobserved: ErrorSums | None
    stated: xr.Dataset | None
    spectra: xr.Dataset | None
    axes: MapDims | None
    problem: str  # why a map has no spectra

    def __add__(self, other: "_Parts") -> "_Parts":
        unobserved, stated = None, None
        if self.unobserved is not None and other.unobserved is not None:
            unobserved = self.unobserved + other.unobserved
        if self.stated is not None and other.stated is not None:
            stated = self.stated + other.stated
        return _Parts(self.sums + other.sums, unobserved, stated, None, self.axes, "")


def score(
    analysis: Fields,
    truth: Fields,
    obs: Fields | None = None,
    *,
    crop: Mapping[str, int] | None = None,
    dims: str | Collection[Hashable] | None = None,
) -> xr.Dataset:
    """Scores of an analysis against the truth.

    Cells that are NaN in the analysis or the truth are left out; `n_points` says how many were scored.
    Dask arrays are computed, all in one pass.

    Parameters
    ----------
    analysis, truth : xarray.Dataset or xarray.DataArray
        Every variable of the analysis is scored; the truth has the same variables on the same grid. Beside a variable
        the analysis may hold ``<variable>_std``, the standard deviation of its error, and ``health``, which is no
        variable to score; or it is an ensemble along ``member``, whose mean is scored like any analysis.
    obs : xarray.Dataset or xarray.DataArray, optional
        Observations on the same grid, NaN where nothing was observed.
    crop : mapping of str to int, optional
        Number of points to drop at both ends of a dimension before scoring.
    dims : str or collection of hashable, optional
        Dimensions to reduce over, all by default; keep ``"window"``, say, for a score of each window.

    Returns
    -------
    xarray.Dataset
        One data variable for each score over ``variable`` (and the kept dimensions), with `units` and
        `long_name`. If there are several variables, all with the same dimensions and units, the entry
        ``"all"`` pools their cells. Where a score does not exist for a variable it is NaN.

        For any variable: `rmse`, `bias`, `correlation`, `r_score`, `r_score_variance`, `n_points`; with
        `obs`: `i_score`, `i_score_variance`, `n_points_unobserved`; with a stated error: `crps`,
        `error_over_stated`, `coverage_50`, `coverage_90`, `coverage_95`, `n_points_stated`, as of
        `oceanvar.metrics.score_uncertainty`. For variables with time, latitude and
        longitude, all three reduced: `mu`, `sigma`, and `lambda_x`, `lambda_t` if no cell is NaN and
        the grid is even (else the attribute `comment` says why not).

    Raises
    ------
    GridMismatchError
        If the grids differ.
    ScoreError
        If no cell is left to score, or a standard deviation is not positive.
    MissingVariableError
        If the truth or the observations lack a variable, or a variable lacks a dimension of `dims` or `crop`.
    UnitsMismatchError
        If analysis and truth have different units.
    ConfigError
        If `crop` leaves nothing, or an error is stated twice.

    Notes
    -----
    R- and I-score divide by the mean square of the truth, as the code of Fablet et al. (2021) does; the
    versions ending in `_variance` divide by its variance (pooled: about the pooled mean). `mu` and `sigma`
    are those of the 2020a SSH mapping challenge; the mean of the truth is not removed, so an offset of the
    truth inflates `mu`.
    """
    inputs = _aligned(analysis, truth, obs, crop or {})
    (parts,) = dask.compute({name: _parts(each, dims) for name, each in inputs.items()})
    _require_points(parts)
    kinds = {
        name: (each.truth.attrs.get("units", ""), frozenset(each.truth.dims)) for name, each in inputs.items()
    }
    if len(parts) > 1 and len(set(kinds.values())) == 1:
        parts[POOLED] = functools.reduce(operator.add, parts.values())
    units = ", ".join(dict.fromkeys(units for units, _ in kinds.values()))
    return _table({name: _scores(part) for name, part in parts.items()}, units, _comment(parts))


def _aligned(
    analysis: Fields, truth: Fields, obs: Fields | None, crop: Mapping[str, int]
) -> dict[str, _Inputs]:
    """Each variable of the analysis but the error bars."""
    arrays = [field for field in (truth, analysis) if isinstance(field, xr.DataArray)]
    label = next((array.name for array in arrays if array.name is not None), "field")
    given, true = _as_dataset(analysis, label), _as_dataset(truth, label)
    scored, bars = without_error_bars(given, true), error_bars(given, true)
    observed = None if obs is None else _as_dataset(obs, label)
    if not scored.data_vars:
        raise MissingVariableError("the analysis has no variables: give at least one to score")
    inputs: dict[str, _Inputs] = {}
    for name in scored.data_vars:
        reference = _variable(true, name, "truth", f"score analysis.drop_vars({name!r})")
        require_same_units(scored[name], reference)
        seen = None
        if observed is not None:
            seen = _variable(observed, name, "observations", "add it, all NaN if it was never observed")
            seen = _cropped(on_grid(seen, reference, "observations and truth"), crop)
        inputs[str(name)] = _inputs(scored[name], reference, seen, bars.get(name), crop)
    return inputs


def _inputs(
    analysis: xr.DataArray,
    truth: xr.DataArray,
    obs: xr.DataArray | None,
    std: xr.DataArray | None,
    crop: Mapping[str, int],
) -> _Inputs:
    many = is_ensemble(analysis, truth)
    mean = analysis.mean(MEMBER, skipna=False) if many else analysis
    mean = _cropped(on_grid(mean, truth, "analysis and truth"), crop)
    truth = _cropped(truth, crop)
    std = None if std is None else _cropped(std, crop)
    law = law_of(_cropped(analysis, crop), truth, std) if many or std is not None else None
    return _Inputs(mean, truth, obs, law)


def _as_dataset(data: Fields, label: Hashable) -> xr.Dataset:
    return data if isinstance(data, xr.Dataset) else data.rename(label).to_dataset()


def _variable(data: xr.Dataset, name: Hashable, owner: str, cure: str) -> xr.DataArray:
    if name not in data.data_vars:
        raise MissingVariableError(
            f"variable {name!r} is not in the {owner} (variables: {list(data.data_vars)}): {cure}"
        )
    return data[name]


def _cropped(field: xr.DataArray, crop: Mapping[str, int]) -> xr.DataArray:
    reduced_dims(field, crop)
    for dim, n_dropped in crop.items():
        size = field.sizes[dim]
        if n_dropped < 0 or 2 * n_dropped >= size:
            raise ConfigError(
                f"crop of {n_dropped} at both ends of dimension {dim!r} of size {size} is impossible: "
                f"use 0 to {(size - 1) // 2}"
            )
    return field.isel(
        {dim: slice(n_dropped, field.sizes[dim] - n_dropped) for dim, n_dropped in crop.items()}
    )


def _parts(inputs: _Inputs, dims: str | Collection[Hashable] | None) -> _Parts:
    analysis, truth, obs, law = inputs
    reduced = reduced_dims(truth, dims)
    axes = map_dims(truth)
    if axes is not None and not set(axes) <= set(reduced):
        axes = None
    over = [dim for dim in reduced if axes is None or dim != axes.time]
    unobserved = None if obs is None else ErrorSums.from_arrays(analysis, truth, obs.isnull(), reduced)
    spectra, problem = None, ""
    if axes is not None:
        try:
            average = [dim for dim in over if dim != axes.longitude]
            spectra = error_spectra(analysis, truth, axes, average)
        except ScoreError as error:  # a grid without spectra still has all other scores
            problem = str(error)
    sums = ErrorSums.from_arrays(analysis, truth, None, over)
    stated = None if law is None else law.cells().sum(reduced)
    return _Parts(sums, unobserved, stated, spectra, axes, problem)


def _require_points(parts: Mapping[str, _Parts]) -> None:
    for name, part in parts.items():
        if not part.sums.n.any():
            raise ScoreError(
                f"variable {name!r} has 0 cells to score: the analysis and the truth never have a value in "
                "the same cell; check the NaN of both"
            )
        if part.stated is not None and not part.stated["n"].any():
            raise ScoreError(
                f"variable {name!r} has 0 cells with a stated error among those to score: check the NaN of the error, "
                "or leave it out"
            )
    counts = [part.unobserved.n for part in parts.values() if part.unobserved is not None]
    if counts and not any(n.any() for n in counts):
        raise ScoreError("0 of the scored cells are unobserved, so there is no I-score: leave obs out")


def _scores(part: _Parts) -> dict[str, xr.DataArray]:
    total = part.sums if part.axes is None else part.sums.sum([part.axes.time])
    scores = {
        "rmse": total.rmse,
        "bias": total.bias,
        "correlation": total.correlation,
        "r_score": total.normalised_error,
        "r_score_variance": total.variance_normalised_error,
        "n_points": total.n,
    }
    if part.unobserved is not None:
        mse = quotient(part.unobserved.squared_error, part.unobserved.n)
        scores["i_score"] = quotient(mse, total.truth_mean_square)
        scores["i_score_variance"] = quotient(mse, total.truth_variance)
        scores["n_points_unobserved"] = part.unobserved.n
    if part.stated is not None:
        scores |= scores_of_sums(part.stated)
    if part.axes is not None:
        at_times = part.sums.rms_score
        scores["mu"] = total.rms_score
        scores["sigma"] = ((at_times - at_times.mean([part.axes.time])) ** 2).mean([part.axes.time]) ** 0.5
    if part.spectra is not None and not part.spectra["n_missing"]:
        scales = resolved_scales(score_of_spectra(part.spectra))
        scores.update(lambda_x=scales["lambda_x"], lambda_t=scales["lambda_t"])
    return scores


def _comment(parts: Mapping[str, _Parts]) -> str:
    """Why variables with maps have no resolved scales, a sentence for each."""
    reasons = {name: part.problem for name, part in parts.items() if part.problem}
    for name, part in parts.items():
        if part.spectra is not None and part.spectra["n_missing"]:
            reasons[name] = f"{int(part.spectra['n_missing'])} cells are NaN: select a box without land"
    return "; ".join(f"no lambda_x and lambda_t of {name}: {reason}" for name, reason in reasons.items())


def _table(scores: Mapping[str, Mapping[str, xr.DataArray]], units: str, comment: str) -> xr.Dataset:
    absent = xr.DataArray(np.nan)
    table = xr.Dataset(attrs={"comment": comment} if comment else {})
    for key, (long_name, fixed) in _DEFINITIONS.items():
        rows = [row.get(key, absent) for row in scores.values()]
        if any(row is not absent for row in rows):
            described = {"long_name": long_name, "units": units if fixed is None else fixed}
            for row in rows:
                described.update(row.attrs)  # lambda_x has the units of the longitude, or a comment
            entry = xr.concat(rows, "variable", coords="minimal", compat="override", join="exact")
            table[key] = entry.drop_attrs(deep=False).assign_attrs(described)
    return table.assign_coords(variable=list(scores))
