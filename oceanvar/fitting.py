"""Train a model on labelled fields."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError, MendedWarning, PatchError
from oceanvar.labels.masks import sea_of
from oceanvar.labels.samples import Tracks
from oceanvar.labels.values import check_no_fills
from oceanvar.network.border_errors import measure_borders
from oceanvar.network.handles import resolve_device
from oceanvar.network.training_windows import TrainingWindows
from oceanvar.network.varnet import VarNet
from oceanvar.observing.samplers import AbstractSampler
from oceanvar.observing.track_samplers import AbstractTrackSampler
from oceanvar.options import check_keys
from oceanvar.state.inputs import like, mended
from oceanvar.state.spaces import StateSpace
from oceanvar.state.windows import WindowSource
from oceanvar.training.loop import train
from oceanvar.training.settings import TrainingSettings

_CALLER = 4
"""Frames from a warning up to the user's call of the accessor."""


def fit(
    truth: xr.Dataset,
    model: VarNet,
    observations: xr.Dataset | AbstractSampler,
    *,
    noise_std: float | Mapping[str, float] = 0.0,
    validation: float | xr.Dataset | tuple[xr.Dataset, xr.Dataset] = 0.1,
    along_track: Mapping[str, Tracks | AbstractTrackSampler] | None = None,
    mask: xr.DataArray | None = None,
    n_samples: int | None = None,
    n_validation: int = 64,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: bool = False,
    **settings: Any,
) -> xr.Dataset:
    """Train `model` in place to map observations to the truth.

    Parameters
    ----------
    truth : Dataset
        True fields, in memory or lazy (larger than memory is fine): windows are read as they are drawn.
    model : VarNet
        Model to train. Its normalisation comes from `truth` unless its state space has one.
    observations : Dataset or AbstractSampler
        Given observations on the grid of `truth` with NaN where nothing was observed, or a sampler
        with which every window of every epoch is observed afresh. Covariates and further gridded instruments
        of the model are variables of the observations, or of `truth` with a sampler.
    noise_std : float or mapping of str to float
        Noise of sampled observations, in the variables' units.
    validation : float, Dataset or (Dataset, Dataset)
        Share of the time axis withheld at its end, or other true fields (with their observations if
        `observations` is a Dataset). Losses on them choose the weights that are kept.
    along_track : mapping of str to Dataset, DataArray, sequence of these or AbstractTrackSampler, optional
        For a model with along-track instruments, the samples of each over the whole of `truth` and of the
        validation fields, or a sampler of tracks with which every window of every epoch is observed afresh,
        with `noise_std`.
    mask : DataArray, optional
        Where there is sea: elsewhere nothing is learned or observed, whatever the fields hold there (0 on land,
        say). Booleans, or a mask as files have it, see `oceanvar.labels.masks.sea_of`.
    n_samples : int, optional
        Windows per epoch. Default: as many as patches cover the truth.
    n_validation : int
        Windows of the validation loss, at most as many as patches cover the withheld fields.
    checkpoint : path-like, optional
        Folder for ``last.ckpt`` and ``best.ckpt``.
    resume : bool
        Continue from `checkpoint` where a run was broken off, to the same weights as without the break.
    progress : bool
        Show a bar with loss and time left.
    **settings
        Fields of `oceanvar.training.settings.TrainingSettings`: n_epochs, batch_size, seed...

    Returns
    -------
    Dataset
        History over ``epoch``: loss and validation_loss (mean square errors in normalised units),
        learning_rate, n_steps, seconds.

    Raises
    ------
    ConfigError
        For an unknown setting, a withheld stretch shorter than a patch, observations that are neither fields nor a
        sampler, or a truth with fill values that nobody declared.
    MissingVariableError, UnitsMismatchError, GridMismatchError
        Where fields are not what the model expects and cannot be mended.

    Warns
    -----
    MendedWarning
        Where they were mended.
    """
    if not isinstance(model, VarNet):
        raise ConfigError(f"training changes a model in place, and {model!r} is none: oceanvar.load it first")
    check_keys(settings, [each.name for each in fields(TrainingSettings)], "training setting")
    choices = TrainingSettings(**settings)
    resolve_device(choices.device)
    space = model.state_space
    _check_mask(mask)
    truth = _expected(truth, space, mask, "the truth")
    for name in space.variables:
        if name in truth:
            check_no_fills(truth[name], f"{name!r} of the truth")
    # What lies beside the truth is brought to its units and directions.
    labelled = space.labelled_by(truth)
    observations = _given(observations, labelled, mask, "the observations")
    validation = _withheld(validation, labelled, mask)
    learning, withheld = _split(truth, observations, model, validation)
    beside = learning[1] if isinstance(learning[1], xr.Dataset) else learning[0]
    space = model.state_space.normalised_by(learning[0], beside)
    model.normalise(space)
    training = WindowSource(learning[0], space, learning[1], noise_std, along_track)
    checking = WindowSource(withheld[0], space, withheld[1], noise_std, along_track)
    size, seed = choices.batch_size, choices.seed
    n_checks = min(checking.n_windows, n_validation)
    windows = TrainingWindows(training, space, n_samples or training.n_windows, size, seed)
    withheld_windows = TrainingWindows(checking, space, n_checks, min(size, n_checks), seed + 1, fixed=True)
    records = train(
        model.assimilator,
        windows,
        withheld_windows,
        choices,
        None if checkpoint is None else Path(checkpoint),
        resume,
        progress,
    )
    # A window that is solved costs a third of one that is learned from: a tenth of the time of training at most.
    most_solves = 0.3 * windows.n_samples * len(records)
    errors = _error_std(model, withheld_windows)
    borders = measure_borders(model, checking, seed + 2, most_solves)
    model.state_space = replace(space, error_std=errors, borders=borders)
    history = _history(records)
    model.provenance["training"] = {
        "date": datetime.now(UTC).date().isoformat(),
        "n_epochs": len(records),
        # Of the epochs that the kept weights come from, see `oceanvar.training.loop`.
        "best_validation_loss": float(
            history["validation_loss"].where(history["n_steps"] == history["n_steps"][-1]).min()
        ),
        "settings": str(choices),
    }
    return history


def _given(data: Any, space: StateSpace, mask: xr.DataArray | None, what: str) -> Any:
    """A sampler as it is, fields as the model expects them."""
    if isinstance(data, AbstractSampler):
        return data
    if isinstance(data, type) and issubclass(data, AbstractSampler):
        raise ConfigError(f"{what} are the class {data.__name__}: give one of its kind, {data.__name__}(...)")
    if not isinstance(data, xr.Dataset | xr.DataArray):
        raise ConfigError(f"{what} are {data!r}: give fields, or a sampler as RandomFraction(0.1)")
    return _expected(data, space, mask, what)


def _withheld(validation: Any, space: StateSpace, mask: xr.DataArray | None) -> Any:
    """A share of the truth as it is, fields as the model expects them."""
    if isinstance(validation, float | int):
        return validation
    if not isinstance(validation, tuple):
        return _expected(validation, space, mask, "the validation")
    names = ("the truth of the validation", "the observations of the validation")
    return tuple(_given(each, space, mask, what) for each, what in zip(validation, names, strict=True))


def _check_mask(mask: Any) -> None:
    if mask is not None and not isinstance(mask, xr.DataArray):
        raise ConfigError(
            f"mask is a {type(mask).__name__} and must be a DataArray: choose the variable, mask=ds['name']; a truth "
            "with NaN on land needs none"
        )


def _error_std(model: VarNet, windows: TrainingWindows) -> dict[str, float]:
    """Root mean square error of the analysis of each variable on windows, in the units of the state."""
    n_axes = len(model.state_space.dims)
    squares = counts = np.zeros(model.state_space.n_variables)
    model.assimilator.eval()
    for sample in windows.batches(0, 0, 1):
        analysis, _ = model.assimilator.solve(sample.obs)
        others = [0, *range(2, 2 + n_axes)]
        squares = squares + ((analysis - sample.truth).square() * sample.known).double().sum(others).numpy()
        counts = counts + sample.known.double().sum(others).numpy()
    with np.errstate(invalid="ignore"):
        errors = np.sqrt(squares / counts) * model.state_space.scales(np.float64, n_axes=0)[1]
    pairs = zip(model.state_space.variables, errors.tolist(), strict=True)
    return {name: float(f"{each:.6g}") for name, each in pairs if math.isfinite(each)}


def _expected(data: Any, space: StateSpace, mask: xr.DataArray | None, what: str) -> xr.Dataset:
    """Fields as the model expects them, with NaN on land, in the order of time.

    Raises
    ------
    ConfigError
        If they are no Dataset, nor the one variable of a model that has one.
    """
    if isinstance(data, xr.DataArray) and space.n_variables == 1:
        data = data.to_dataset(name=data.name if isinstance(data.name, str) else space.variables[0])
    if not isinstance(data, xr.Dataset):
        raise ConfigError(
            f"{what} is {type(data).__name__}: give a Dataset with {list(space.variables)} on a grid"
        )
    found = mended(data, space, {}, "fill", what)
    for told in found.told:
        warnings.warn(told, MendedWarning, stacklevel=_CALLER)
    ds = found.ds
    times = ds.indexes.get(space.dims[0])
    if times is not None and times.is_monotonic_decreasing and len(times) > 1:
        # No model is to learn that time runs backwards: archives run forwards.
        ds = ds.isel({space.dims[0]: slice(None, None, -1)})
    if mask is None:
        return ds
    sea = like(sea_of(mask, "the mask"), space, ds, "the mask")
    return ds.assign({name: ds[name].where(sea) for name in space.variables if name in ds})


Pair = tuple[xr.Dataset, xr.Dataset | AbstractSampler]


def _split(
    truth: xr.Dataset, observations: xr.Dataset | AbstractSampler, model: VarNet, validation: Any
) -> tuple[Pair, Pair]:
    """Divide into what is learned from and what is withheld."""
    if isinstance(validation, tuple):
        return (truth, observations), validation
    if isinstance(validation, xr.Dataset):
        if isinstance(observations, xr.Dataset):
            raise ConfigError("give the validation observations too: validation=(truth, observations)")
        return (truth, observations), (validation, observations)
    space = model.state_space
    space.check(truth, "the truth")
    time, n_times = space.dims[0], truth.sizes[space.dims[0]]
    n_withheld = max(round(validation * n_times), space.patch[time])
    if n_times - n_withheld < space.patch[time]:
        raise PatchError(
            f"{n_times} steps of {time!r} cannot be divided into training and validation of at least "
            f"{space.patch[time]} steps (one patch) each: give validation=other_truth"
        )

    def part(ds: Any, steps: slice) -> Any:
        return ds.isel({time: steps}) if isinstance(ds, xr.Dataset) else ds

    first, last = slice(0, n_times - n_withheld), slice(n_times - n_withheld, None)
    return (part(truth, first), part(observations, first)), (part(truth, last), part(observations, last))


def _history(records: list[dict[str, float]]) -> xr.Dataset:
    history = xr.Dataset(
        {name: ("epoch", [record[name] for record in records]) for name in records[0]},
        coords={"epoch": range(1, len(records) + 1)},
    )
    for name, text in {
        "loss": "mean square error on training windows, normalised units",
        "validation_loss": "mean square error on withheld windows, normalised units",
        "learning_rate": "learning rate at the end of the epoch",
        "n_steps": "solver iterations",
        "seconds": "time of the epoch",
    }.items():
        history[name].attrs = {"long_name": text, "units": "s" if name == "seconds" else "1"}
    return history
