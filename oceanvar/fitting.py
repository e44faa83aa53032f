"""Train a model on labelled fields."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError, MendedWarning, StoreError
from oceanvar.labels.masks import sea_of
from oceanvar.labels.samples import Tracks
from oceanvar.labels.values import check_no_fills
from oceanvar.network.border_errors import measure_borders
from oceanvar.network.handles import resolve_device
from oceanvar.network.training_windows import TrainingWindows
from oceanvar.network.varnet import VarNet, load
from oceanvar.observing.samplers import AbstractRule, AbstractSampler
from oceanvar.observing.track_samplers import AbstractTrackSampler
from oceanvar.observing.withholding import AsMissing, WithheldBlocks, withholds
from oceanvar.options import check_keys
from oceanvar.state.biases import debiased
from oceanvar.state.divisions import Division, split
from oceanvar.state.inputs import like, mended
from oceanvar.state.spaces import StateSpace
from oceanvar.state.symmetries import Symmetries
from oceanvar.state.windows import WindowSource
from oceanvar.training.loop import Run, train
from oceanvar.training.losses import LossWeights
from oceanvar.training.settings import TrainingSettings

MOST_EPOCHS = 1_000_000
"""Epochs of a run that its budget ends."""

_CALLER = 4
"""Frames from a warning up to the user's call of the accessor."""


def fit(
    truth: xr.Dataset,
    model: VarNet | str | Path,
    observations: xr.Dataset | AbstractRule | None = None,
    *,
    noise_std: float | Mapping[str, float] = 0.0,
    validation: float | WithheldBlocks | xr.Dataset | tuple[xr.Dataset, xr.Dataset] | None = None,
    along_track: Mapping[str, Tracks | AbstractTrackSampler] | None = None,
    mask: xr.DataArray | None = None,
    symmetries: Symmetries | None = None,
    n_samples: int | None = None,
    n_validation: int = 64,
    save: str | Path | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: bool = False,
    **settings: Any,
) -> xr.Dataset:
    """Train `model` in place to map observations to the truth, or to observations that were withheld from it.

    Parameters
    ----------
    truth : Dataset
        True fields, or all there is: observations on a grid with NaN where nothing was observed. In memory or lazy
        (larger than memory is fine): windows are read as they are drawn.
    model : VarNet, str or path-like
        Model to train. Its normalisation comes from `truth` unless its state space has one, and so do the biases that
        its instruments leave to be found. With the name of a packaged model or a file a copy is trained on, and
        written to `save`.
    observations : Dataset, AbstractSampler, Withhold or AbstractRule, optional
        Given observations on the grid of `truth` with NaN where nothing was observed, or a sampler
        with which every window of every epoch is observed afresh. Covariates and further gridded instruments
        of the model are variables of the observations, or of `truth` with a sampler.
        With ``Withhold(rule)``, or nothing, `truth` are observations: in each window of each epoch a part of them is
        withheld, and the misfit of the analysis of the rest to that part is all that is learned from, weighted by
        the inverse of the error variance where the model's state space states one (an instrument called "state").
        Default: withheld as data are missing, `oceanvar.observing.AsMissing`.
    noise_std : float or mapping of str to float
        Noise of sampled observations, in the variables' units. Without truth: errors that the observations have. Part
        of the assimilated ones are learned from then too, so that the analysis does not reproduce their errors;
        errors are taken for independent and Gaussian, and are assimilated some 12 % larger there.
    validation : float, WithheldBlocks, Dataset or (Dataset, Dataset), optional
        Share of the time axis withheld at its end, or blocks that training never sees, or other true fields (with
        their observations if `observations` is a Dataset). Losses on them choose the weights that are kept. Default:
        0.1; without truth, ``WithheldBlocks(0.1)`` unless instruments sample along tracks, which blocks do not cut.
    along_track : mapping of str to Dataset, DataArray, sequence of these or AbstractTrackSampler, optional
        For a model with along-track instruments, the samples of each over the whole of `truth` and of the
        validation fields, or a sampler of tracks with which every window of every epoch is observed afresh,
        with `noise_std`. Given samples are never withheld.
    mask : DataArray, optional
        Where there is sea: elsewhere nothing is learned or observed, whatever the fields hold there (0 on land,
        say). Booleans, or a mask as files have it, see `oceanvar.labels.masks.sea_of`.
    symmetries : Symmetries, optional
        Turns and mirror images by which windows to learn from are multiplied.
    n_samples : int, optional
        Windows per epoch. Default: as many as patches cover the truth.
    n_validation : int
        Windows of the validation loss, at most as many as patches cover the withheld fields.
    save : path-like, optional
        Model file, by custom ``name.varnet``, written whenever an epoch is the best so far, and at the end: training
        may be stopped at any time.
    checkpoint : path-like, optional
        Folder for ``last.ckpt`` and ``best.ckpt``.
    resume : bool
        Continue from `checkpoint` where a run was broken off, to the same weights as without the break.
    progress : bool
        Show a bar with loss and time left.
    **settings
        Fields of `oceanvar.training.settings.TrainingSettings`: n_epochs, batch_size, budget, seed... With a budget
        and no n_epochs, there are as many epochs as it has time for.

    Returns
    -------
    Dataset
        History over ``epoch``: loss and validation_loss (mean square errors in normalised units), for each variable
        the root mean square error of validation in its units as ``<variable>_error``, learning_rate, n_steps,
        seconds. Without truth these errors are misfits to the withheld data, with the noise of these. Attributes
        ``kept_epoch``, the epoch whose weights are kept, and ``validation_loss_before``, that of the model that
        training began with. Where no epoch was as good it is kept, and ``kept_epoch`` is 0.

    Raises
    ------
    ConfigError
        For an unknown setting, a withheld stretch shorter than a patch, observations that are neither fields nor a
        rule, a truth with fill values that nobody declared, a named model that is not to be saved, a bias
        that too few points tell, or what needs a truth where there is none.
    MissingVariableError, UnitsMismatchError, GridMismatchError
        Where fields are not what the model expects and cannot be mended.
    StoreError
        If there is no such model, or no folder to save it in.

    Warns
    -----
    MendedWarning
        Where they were mended.

    Examples
    --------
    >>> import oceanvar
    >>> from oceanvar.observing import EveryNthStep
    >>> space = oceanvar.StateSpace(("x", "y", "z"), ("time",), patch={"time": 16})
    >>> model = oceanvar.presets.fourdvarnet(space, n_steps=1, n_features=2, n_hidden=2, fold_time=False)
    >>> history = fit(oceanvar.lorenz63(n_steps=200), model, EveryNthStep(4), noise_std=1.4, n_epochs=1)
    >>> dict(history.sizes)
    {'epoch': 1}
    """
    model, path = _trainee(model, save)
    withheld_only = withholds(observations)
    given: Any = observations
    choices = _choices(settings, withheld_only)
    space = model.state_space
    _check_mask(mask)
    truth = _expected(truth, space, mask, "the truth")
    _check_fills(truth, space)
    # What lies beside the truth is brought to its units and directions.
    labelled = space.labelled_by(truth)
    if withheld_only:
        _check_without_truth(along_track)
        # Mended already: a logarithm, or a climatology, is taken once.
        rule, given = given or AsMissing.of(truth[[*space.variables]], space.dims[0]), truth
    else:
        rule, given = None, _given(given, labelled, mask, "the observations")
    default = WithheldBlocks() if withheld_only and not space.tracked else 0.1
    validation = _withheld(default if validation is None else validation, labelled, mask)
    (learning, withheld), divisions = split(truth, given, space, validation, rule)
    beside = learning[1] if isinstance(learning[1], xr.Dataset) else learning[0]
    # An error that was measured before is not that of what comes out now.
    space = replace(model.state_space.normalised_by(learning[0], beside), error_std={})
    training = WindowSource(learning[0], space, learning[1], noise_std, along_track, divisions[0], symmetries)
    model.normalise(space := debiased(training, space, choices.seed))
    # Withheld observations have their errors.
    added = 0.0 if withheld_only else noise_std
    checking = WindowSource(withheld[0], space, withheld[1], added, along_track, divisions[1])
    size, seed = choices.batch_size, choices.seed
    n_checks = min(checking.n_windows, n_validation)
    windows = TrainingWindows(training, space, n_samples or training.n_windows, size, seed)
    withheld_windows = TrainingWindows(checking, space, n_checks, min(size, n_checks), seed + 1, fixed=True)
    run = train(
        model.assimilator,
        windows,
        withheld_windows,
        choices,
        None if checkpoint is None else Path(checkpoint),
        resume,
        progress,
        None if path is None else partial(_save, model, path, choices),
    )
    model.provenance["training"] = _provenance(run, choices)
    if divisions[1] == Division():
        # A window that is solved costs a third of one that is learned from: a tenth of the time of training at most.
        most_solves = 0.3 * windows.n_samples * len(run.records)
        model.state_space = _measured(model, checking, withheld_windows, most_solves)
    if path is not None:
        model.save(path)
    return _history(run, space)


def _check_fills(truth: xr.Dataset, space: StateSpace) -> None:
    for name in [each for each in space.variables if each in truth]:
        check_no_fills(truth[name], f"{name!r} of the truth")


def _measured(
    model: VarNet, checking: WindowSource, windows: TrainingWindows, most_solves: float
) -> StateSpace:
    """State space with the errors of analyses, and how they depend on the borders of patches."""
    borders = measure_borders(model, checking, windows.seed + 1, most_solves)
    return replace(model.state_space, error_std=_error_std(model, windows), borders=borders)


def _trainee(model: Any, save: Any) -> tuple[VarNet, Path | None]:
    """Model to train, loaded where it is named, and the file to write it to."""
    path = None if save is None else Path(save)
    if path is not None and not path.absolute().parent.is_dir():
        raise StoreError(f"there is no folder {str(path.absolute().parent)!r} to save the model in: make it")
    if isinstance(model, str | Path):
        if path is None:
            raise ConfigError(
                f"{str(model)!r} is loaded and trained on, and would be lost: give save='mine.varnet', or train "
                "model = oceanvar.load(...) in place"
            )
        model = load(model)
    if not isinstance(model, VarNet):
        raise ConfigError(
            f"{model!r} is no model to train: give a VarNet, as fourdvarnet(space) makes one, the name of a packaged "
            "model, or a model file"
        )
    return model, path


def _choices(settings: dict[str, Any], withheld_only: bool) -> TrainingSettings:
    """Checked settings, with the defaults of a budget and of observations alone."""
    check_keys(settings, [each.name for each in fields(TrainingSettings)], "training setting")
    settings = dict(settings)
    if settings.get("budget") is not None:
        settings.setdefault("n_epochs", MOST_EPOCHS)
    if withheld_only:
        settings.setdefault("weights", LossWeights(truth_projection=0.0, analysis_projection=0.0))
    choices = TrainingSettings(**settings)
    resolve_device(choices.device)
    if withheld_only and (choices.weights.truth_projection or choices.weights.forecasts):
        raise ConfigError(
            f"{choices.weights} ask for complete true fields, and there are observations alone: leave out "
            "truth_projection and forecasts, or give truth and observations"
        )
    return choices


def _check_without_truth(along_track: Any) -> None:
    """Refuse what observes a truth, where there is none."""
    drawn = sorted(k for k, each in (along_track or {}).items() if isinstance(each, AbstractTrackSampler))
    if drawn:
        raise ConfigError(
            f"the samplers of {drawn} would observe a truth, and only observations are given: leave them out, or give "
            "truth and a sampler"
        )


def _provenance(run: Run, choices: TrainingSettings) -> dict[str, Any]:
    """What the model file says of the training, so far."""
    before = run.before["validation_loss"]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "n_epochs": len(run.records),
        "kept_epoch": run.kept_epoch,
        "best_validation_loss": run.best_loss,
        **({"validation_loss_before": before} if math.isfinite(before) else {}),
        "settings": str(choices),
    }


def _save(model: VarNet, path: Path, choices: TrainingSettings, run: Run) -> None:
    """Write the model as it is in training, with the iterations that it has learned to make."""
    n_steps = model.assimilator.n_steps
    model.assimilator.n_steps = run.records[-1]["n_steps"]
    try:
        replace(model, provenance={**model.provenance, "training": _provenance(run, choices)}).save(path)
    finally:
        model.assimilator.n_steps = n_steps


def _given(data: Any, space: StateSpace, mask: xr.DataArray | None, what: str) -> Any:
    """A sampler as it is, fields as the model expects them."""
    if isinstance(data, AbstractSampler):
        return data
    if isinstance(data, type) and issubclass(data, AbstractRule):
        raise ConfigError(f"{what} are the class {data.__name__}: give one of its kind, {data.__name__}(...)")
    if not isinstance(data, xr.Dataset | xr.DataArray):
        raise ConfigError(f"{what} are {data!r}: give fields, or a sampler as RandomFraction(0.1)")
    return _expected(data, space, mask, what)


def _withheld(validation: Any, space: StateSpace, mask: xr.DataArray | None) -> Any:
    """A share of the truth or blocks as they are, fields as the model expects them."""
    if isinstance(validation, float | int | WithheldBlocks):
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


def _history(run: Run, space: StateSpace) -> xr.Dataset:
    records = run.records
    names = [name for name in records[0] if name != "errors"]
    history = xr.Dataset(
        {name: ("epoch", [record[name] for record in records]) for name in names},
        coords={"epoch": range(1, len(records) + 1)},
        attrs={"kept_epoch": run.kept_epoch, "validation_loss_before": run.before["validation_loss"]},
    )
    for name, text in {
        "loss": "mean square error on training windows, normalised units",
        "validation_loss": "mean square error on withheld windows, normalised units",
        "learning_rate": "learning rate at the end of the epoch",
        "n_steps": "solver iterations",
        "seconds": "time of the epoch",
    }.items():
        history[name].attrs = {"long_name": text, "units": "s" if name == "seconds" else "1"}
    errors = np.array([record["errors"] for record in records])
    if errors.size:
        for name, each in zip(space.variables, (errors * space.scales(n_axes=0)[1]).T, strict=True):
            attrs = {"long_name": f"root mean square error of {name} on withheld windows"}
            units = {"units": space.units[name]} if name in space.units else {}
            history[f"{name}_error"] = ("epoch", each, attrs | units)
    return history
