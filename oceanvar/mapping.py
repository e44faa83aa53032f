"""Observations in, analysed fields out: patches -> solve -> stitch, lazy or eager."""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from tqdm import tqdm

from oceanvar.errors import ConfigError, GridMismatchError, MendedWarning
from oceanvar.labels.alignment import check_mask, reordered
from oceanvar.labels.coordinates import CIRCLE, LONGITUDE, is_circle, metric_name
from oceanvar.labels.discovery import with_coverage
from oceanvar.labels.extents import PatchPlaces
from oceanvar.labels.horizons import extended
from oceanvar.labels.masks import check_some_sea, sea_at, sea_observed, sea_of
from oceanvar.network.error_bars import check_diagnosable
from oceanvar.network.handles import (
    PatchSolver,
    Samples,
    automatic_batch_size,
    points_at_once,
    resolve_device,
)
from oceanvar.network.varnet import VarNet, loaded
from oceanvar.options import Options
from oceanvar.patching.batches import PatchJob
from oceanvar.patching.graphs import map_patches
from oceanvar.patching.grids import PatchGrid
from oceanvar.patching.tapers import Taper, taper_factors
from oceanvar.state.inputs import Mended, lengthened, like, mended
from oceanvar.state.labelling import MEMBER, labelled, n_written
from oceanvar.state.samples import track_cutter
from oceanvar.state.spaces import StateSpace

_CALLER = 4
"""Where a warning of `set_up` is of use: at the call of the accessor."""


def assimilate(
    ds: xr.Dataset,
    model: VarNet | str | Path,
    *,
    patch: Mapping[str, int] | str = "auto",
    overlap: Mapping[str, int] | str = "auto",
    background: xr.Dataset | None = None,
    periodic: Sequence[str] | None = None,
    taper: Taper | Mapping[str, Taper] = "triangle",
    batch_size: int | str = "auto",
    device: str = "auto",
    precision: str = "float32",
    chunks: Mapping[str, Any] | None = None,
    mask: xr.DataArray | str | None = None,
    diagnostics: bool = False,
    n_samples: int = 0,
    seed: int = 0,
    along_track: Mapping[str, xr.Dataset] | None = None,
    variables: Mapping[str, str] | None = None,
    gaps: str = "fill",
    horizon: Mapping[str, int] | None = None,
    on_divergence: str = "error",
    progress: bool = False,
) -> xr.Dataset:
    """Map gappy observations to complete fields.

    Parameters
    ----------
    ds : Dataset
        Observations on a grid, NaN where nothing was observed, with the variables and dimensions of
        the model. Further dimensions (an ensemble, a set of windows) are carried along.
    model : VarNet or path-like
        Model, its file, or the name of a packaged one.
    patch, overlap : mapping of str to int, or "auto"
        Points of a patch and points shared by neighbours, by dimension. "auto": where the model's file says how
        its error depends on them (`oceanvar.patching.borders`), those that cost least at an error of at most 1.01
        of its own patches'; elsewhere the model's own.
    background : Dataset, optional
        First guess on the same grid, instead of the model's own start.
    periodic : sequence of str, optional
        Dimensions that wrap. Default: the model's own.
    taper : str, callable or mapping
        Weights of a patch in stitching: "triangle", "hann", "boxcar", a function of the patch size, or
        one of these per dimension.
    batch_size : int or "auto"
        Patches solved at once.
    device : str
        "auto", "cpu", "cuda" or "cuda:1".
    precision : {"float32", "float64", "bfloat16"}
        Arithmetic; the result is float64 with "float64", else float32.
    chunks : mapping, optional
        Chunks of a lazy result, by dimension. Default: even chunks, as long as the observations' longest and
        no shorter than a patch.
    mask : DataArray, "observed" or "land", optional
        Where the analysis is kept; elsewhere (land) it is NaN. Booleans, or a mask as files have it, with flags or
        a standard_name (`oceanvar.labels.masks.sea_of`); it may change in time. "observed" keeps it where anything
        was ever observed, "land" off the coasts (needs ``oceanvar[land]``).
    diagnostics : bool
        Add what the analysis says about itself without the truth, for models whose cost is that of
        weak-constraint 4D-Var: ``<variable>_std``, the standard deviation of its error, and ``health``, twice
        the cost per observation of the patches that cover a point: about 1, more in a wrong minimum.
    n_samples : int
        Add as many fields that the truth may be, as ``<variable>_sample`` along ``member``, and the diagnostics. Their
        departures from the analysis are as large as ``<variable>_std`` says, and correlated as its errors are: for the
        error of a mean over a box, of a gradient, of a transport. For models of weak-constraint 4D-Var, and those
        whose start infers a covariance (``"seas"``).
    seed : int
        Of the samples: the same wherever data are cut into chunks.
    along_track : mapping of str to Dataset, optional
        For a model with along-track instruments, the samples of each, in memory: variables over one dimension
        with coordinates longitude, latitude, time, say. A patch gets those within half a cell of it. The grid may be
        curvilinear, with two-dimensional latitude and longitude.
    variables : mapping of str to str, optional
        Names in `ds`, and along tracks, of variables that the model knows under other ones: ``{"ssh": "sla"}``.
    gaps : {"fill", "refuse"}
        Whether times that are missing in a regular series are mapped as times without observations.
    horizon : mapping of str to int, optional
        Steps to forecast beyond the last ones, ``{"time": 7}``, fewer than a patch has: what the model makes of
        times at which nothing was observed, by its dynamics or by what it has learned of such windows
        (`oceanvar.observing.UpToHorizon`).
    on_divergence : {"error", "fallback", "nan"}
        What becomes of a patch whose solve has diverged: its state or cost is not finite, or grew without bound.
        "error" ends the call; "fallback" puts the first guess there and "nan" NaN, both with a warning in the log
        that says where and when. With `diagnostics` its ``health`` is infinite.
    progress : bool
        Show a bar while solving data in memory; for lazy data use `dask.diagnostics.ProgressBar`.

    Returns
    -------
    Dataset
        Analysis of the model's variables on the grid of `ds` (and diagnostics): lazy if `ds` is, else computed.

    Raises
    ------
    MissingVariableError, UnitsMismatchError, GridMismatchError, PatchError, ConfigError
        Where `ds`, `background` or the patches do not fit the model.
    DivergenceError
        If a solve has diverged, with the patch and its times.

    Warns
    -----
    MendedWarning
        Where data were not as the model expects them, and were mended without loss: dimensions found by their
        meaning, units converted, latitudes turned (and turned back), times sorted, missing times filled.

    Examples
    --------
    >>> import oceanvar
    >>> from oceanvar.observing import EveryNthStep
    >>> truth = oceanvar.lorenz63(n_steps=200)
    >>> analysis = assimilate(oceanvar.observe(truth, EveryNthStep(8), noise_std=1.4), "lorenz63")
    >>> bool((analysis["x"] - truth["x"]).std() < 1)
    True
    """
    if not isinstance(ds, xr.Dataset):
        raise ConfigError(
            f"the observations are a {type(ds).__name__} and must be an xarray Dataset: name variable, dimensions and "
            "coordinates, xr.Dataset({'ssh': (dims, values)}, coords)"
        )
    if horizon:
        own = loaded(model).state_space.patch
        ds = extended(ds, horizon, {**own, **(patch if isinstance(patch, Mapping) else {})})
    options = Options(
        patch=patch,  # type: ignore[arg-type]
        overlap=overlap,  # type: ignore[arg-type]
        background=background,
        periodic=periodic,
        taper=taper,
        batch_size=batch_size,
        device=device,
        precision=precision,
        mask=mask,
        diagnostics=diagnostics,
        n_samples=n_samples,
        seed=seed,
        along_track=along_track or {},
        variables=variables or {},
        gaps=gaps,
        on_divergence=on_divergence,
    )
    setup = set_up(ds, model, options)
    array = stacked(setup.given.ds, setup.background, setup.space)
    if not isinstance(array.data, da.Array):
        resolve_device(device)  # lazy data may be solved by other processes, which tell by themselves
    with _bar(progress, array, setup.job.grid) as bar:
        field = map_patches(array.data, setup.job, chunks=chunks, progress=bar.update if bar else None)
    analysis = setup.labelled(xr.Variable(array.dims, field), setup.given.ds)
    return setup.finished(analysis if setup.mask is None else _masked(analysis, setup.mask))


@dataclass(frozen=True, eq=False)
class Setup:
    """How observations are cut, solved and stitched: a model's ways with the options of a call.

    Parameters
    ----------
    model : VarNet
        Model to solve with.
    space : StateSpace
        Its state space, with the patch, overlap and periodic dimensions of the call.
    job : PatchJob
        What is done to each patch.
    options : Options
        What the call chose.
    given : Mended
        Observations as the model expects them.
    background : Dataset, optional
        First guess on their grid.
    mask : DataArray, optional
        Where the analysis is kept, on their grid.
    """

    model: VarNet
    space: StateSpace
    job: PatchJob
    options: Options
    given: Mended
    background: xr.Dataset | None
    mask: xr.DataArray | None

    def labelled(self, field: xr.Variable, ds: xr.Dataset) -> xr.Dataset:
        """Name the variables of a field, with labels and attributes of `ds` but not its packing."""
        return labelled(field, ds, self.space, self.model.digest)

    def finished(self, analysis: xr.Dataset) -> xr.Dataset:
        """Give a whole analysis the names, units and directions of what was given, and say where it lies."""
        return with_coverage(self.given.as_given(analysis))


def set_up(ds: xr.Dataset, model: VarNet | str | Path, options: Options) -> Setup:
    """Check that everything fits together before any work; errors as of `assimilate`.

    Parameters
    ----------
    ds : Dataset
        Observations. Of them, and of background and mask, only labels, attributes and sizes are looked at.
    model : VarNet or path-like
        Model, its file, or the name of a packaged one.
    options : Options
        Choices of the call.
    """
    model = loaded(model)
    space = _adapted(model.state_space, options)
    space.scales()
    model.check_patch(space)
    mask, background = (_labelled_like(each, ds) for each in (options.mask, options.background))
    given = mended(ds, space, options.variables, options.gaps, "the observations")
    is_fixed = space.dims[0] in model.fixed_dims
    if is_fixed:
        given = lengthened(given, space, space.dims[0], "the observations")
    for told in given.told:
        warnings.warn(told, MendedWarning, stacklevel=_CALLER)
    ds = given.ds
    space.check_inputs(ds, "the observations")
    space = space.within(ds.sizes, {*options.patch, *model.fixed_dims})
    space = space.economical(ds.sizes, {*options.patch, *options.overlap}, points_at_once(options.device))
    if background is not None:
        background = _background(background, ds, space, is_fixed)
    mask = _sea(mask, ds, space)
    if options.diagnostics:
        check_diagnosable(model.assimilator, options.n_samples > 0)
    if options.periodic is None:
        _check_closed(ds, space)
    grid = PatchGrid({dim: ds.sizes[dim] for dim in space.dims}, space.patch, space.overlap, space.periodic)
    n_points = space.n_variables * prod(grid.patch_shape)
    has_background = background is not None
    job = PatchJob(
        grid,
        PatchSolver(
            model,
            options.device,
            options.precision,
            has_background,
            options.diagnostics,
            options.on_divergence,
            _samples(options, grid, ds),
        ),
        taper_factors(options.taper, grid),
        n_written(space.n_variables, options.diagnostics, options.n_samples),
        automatic_batch_size(n_points, options.device)
        if options.batch_size == "auto"
        else int(options.batch_size),
        np.dtype(np.float64 if options.precision == "float64" else np.float32),
        track_cutter(options.along_track, ds, space, options.variables),
        PatchPlaces.of(ds, grid.patch),
        located=options.n_samples > 0,
    )
    return Setup(model, space, job, options, given, background, mask)


def _background(background: xr.Dataset, ds: xr.Dataset, space: StateSpace, is_fixed: bool) -> xr.Dataset:
    """The background as the model expects it, on the grid of the observations."""
    guess = mended(background, space, {}, "refuse", "the background")
    background = (lengthened(guess, space, space.dims[0], "the background") if is_fixed else guess).ds
    space.check(background, "the background")
    return reordered(ds, background, space.all_dims(ds), "observations and background")


def _samples(options: Options, grid: PatchGrid, ds: xr.Dataset) -> Samples | None:
    if not options.n_samples:
        return None
    if MEMBER in ds.dims:
        raise ConfigError(
            f"samples lie along {MEMBER!r}, and the observations have that dimension: rename theirs"
        )
    periods = tuple(grid.sizes[dim] if dim in grid.periodic else 0 for dim in grid.dims)
    return Samples(options.n_samples, options.seed, periods)


def _labelled_like(beside: Any, ds: xr.Dataset) -> Any:
    """Give what comes beside observations their labels where it has none: it lies as they do before any mending."""
    if not isinstance(beside, xr.DataArray | xr.Dataset):
        return beside
    bare = [dim for dim in beside.dims if dim not in beside.coords and dim in ds.coords]
    return beside.assign_coords({dim: ds[dim] for dim in bare if beside.sizes[dim] == ds.sizes[dim]})


def _sea(mask: xr.DataArray | str | None, ds: xr.Dataset, space: StateSpace) -> xr.DataArray | None:
    """Where the analysis is kept, on the grid of the observations."""
    if mask is None:
        return None
    if isinstance(mask, str):
        return sea_at(ds) if mask == "land" else sea_observed(ds, space.variables, space.dims[1:])
    mask = like(sea_of(mask, "the mask"), space, ds, "the mask")
    check_mask(mask, ds, space.all_dims(ds))
    check_some_sea(mask, "the mask")
    return mask


def _check_closed(ds: xr.Dataset, space: StateSpace) -> None:
    """A longitude closes on itself where it goes around the globe."""
    for dim in space.periodic:
        if dim not in ds.coords or ds.sizes[dim] < 2 or metric_name(ds[dim]) != LONGITUDE:
            continue
        cell = abs(float(ds[dim][1] - ds[dim][0]))
        covered = cell * ds.sizes[dim]
        if not is_circle(covered, cell):
            raise GridMismatchError(
                f"{dim!r} is periodic for this model and covers {covered:g} of {CIRCLE:g} degrees: give periodic=() "
                "for a region"
            )


def _adapted(space: StateSpace, options: Options) -> StateSpace:
    return replace(
        space,
        patch={**space.patch, **options.patch},
        overlap={**space.overlap, **options.overlap},
        periodic=space.periodic if options.periodic is None else tuple(options.periodic),
    )


def stacked(ds: xr.Dataset, background: xr.Dataset | None, space: StateSpace) -> xr.Variable:
    """Put all inputs side by side, and after them the background: ``(*extra, variable, *dims)``."""
    array = space.stack(ds, space.inputs)
    if background is None:
        return array
    guess = space.stack(background).transpose(*array.dims)
    if isinstance(array.data, da.Array) != isinstance(guess.data, da.Array):
        raise ConfigError(
            "observations and background must both be lazy (dask) or both in memory: "
            "use .chunk() or .load() on one of them"
        )
    return xr.Variable.concat([array, guess], "variable")


def _bar(progress: bool, array: xr.Variable, grid: PatchGrid) -> Any:
    if not progress:
        return nullcontext()
    if isinstance(array.data, da.Array):
        raise ConfigError(
            "progress shows a bar for data in memory, and these are lazy: use dask.diagnostics.ProgressBar when "
            "they are computed"
        )
    n_extra = prod(array.shape[: -len(grid.dims) - 1])
    return tqdm(total=n_extra * grid.n_patches, unit="patch", desc="assimilate")


def _masked(analysis: xr.Dataset, mask: xr.DataArray) -> xr.Dataset:
    kept = mask.reset_coords(drop=True)
    for name in analysis.data_vars:
        attrs = analysis[name].attrs
        analysis[name] = analysis[name].where(kept).transpose(*analysis[name].dims)
        analysis[name].attrs = attrs
    return analysis
