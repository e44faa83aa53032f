"""Training runs described by a TOML file."""

import inspect
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import xarray as xr

from oceanvar.archive.catalogue import open_archive
from oceanvar.archive.sources import is_url
from oceanvar.cli.rules import RULES, SAMPLERS, keywords, require_keys, rule_of
from oceanvar.errors import ConfigError, StoreError
from oceanvar.fitting import fit
from oceanvar.network.files import PACKAGED
from oceanvar.network.presets import fourdvarnet
from oceanvar.network.varnet import VarNet, load
from oceanvar.observing.withholding import WithheldBlocks, Withhold
from oceanvar.options import check_keys
from oceanvar.state.climatology import fit_climatology
from oceanvar.state.inputs import mended
from oceanvar.state.spaces import StateSpace
from oceanvar.training.losses import LossWeights
from oceanvar.training.settings import TrainingSettings

Table = dict[str, Any]


@dataclass(frozen=True)
class Data:
    """What is learned from; paths count from the folder of the file.

    Parameters
    ----------
    observations : str, list of str or table
        Files, patterns or a Zarr store on the grid of the truth, or with a truth a sampler that observes every window
        afresh: {sampler = "RandomFraction", fraction = 0.1}.
    truth : str or list of str, optional
        True fields: NetCDF files, patterns or a Zarr store. Without them observations learn from each other.
    variables : list of str, optional
        Variables of the state. Needed unless the model goes on from another one.
    withhold : table, optional
        Without truth, the sampler by which a part of the observations is withheld and learned from. Default: as data
        are missing.
    noise_std : float or table
        Noise of sampled observations, in the units of the variables; without truth, errors that the observations have.
    validation : float, str, list of str or table, optional
        Share of the time axis withheld at its end, other true fields, {truth = ..., observations = ...}, or blocks,
        {share = 0.1}.
    climatology : table, optional
        Mean and seasons of each point, fitted to the truth, or to observations alone, and taken off: {} or options,
        {n_harmonics = 2, trend = true}. Default: none.
    in_memory : bool
        Load the data at once; otherwise windows are read as they are drawn.
    """

    observations: Any
    truth: Any = None
    variables: Any = None
    withhold: Any = None
    noise_std: Any = 0.0
    validation: Any = None
    climatology: Any = None
    in_memory: bool = True


@dataclass(frozen=True)
class Start:
    """What a model goes on from.

    Parameters
    ----------
    start : str, optional
        Model file or packaged model to go on from, without [state] and all other keys here.
    """

    start: Any = None


@dataclass(frozen=True)
class Source:
    """Where keys of a section come from: a signature, whose docstring says what they are.

    Parameters
    ----------
    described : callable
        Function or class that takes them.
    only : tuple of str
        Those of its parameters that a file may give. Default: all.
    never : tuple of str
        Those that no file can give.
    """

    described: Callable[..., Any]
    only: tuple[str, ...] = ()
    never: tuple[str, ...] = ()

    @property
    def defaults(self) -> dict[str, Any]:
        """Default of each key; `inspect.Parameter.empty` where it is needed."""
        made = {}
        if is_dataclass(self.described):
            for each in fields(self.described):
                if each.default_factory is not MISSING:
                    made[each.name] = each.default_factory()
        return {
            name: made.get(name, each.default)
            for name, each in inspect.signature(self.described).parameters.items()
            if name in (self.only or [name]) and name not in self.never
        }


SECTIONS = {
    "data": [Source(Data)],
    "model": [Source(Start), Source(fourdvarnet, never=("space", "operators"))],
    "state": [Source(StateSpace, only=("dims", "patch", "overlap", "periodic"))],
    "training": [Source(TrainingSettings), Source(fit, only=("n_samples",))],
}
"""Sections of a training file, and where their keys come from."""

CLIMATOLOGY = Source(fit_climatology, only=("n_harmonics", "trend", "smoothing"))
"""Options of a climatology, and where they come from."""


def train_from_file(config: Path, out: Path, resume: bool, overwrite: bool, progress: bool) -> xr.Dataset:
    """Train the model that a TOML file describes and write it to `out`.

    Parameters
    ----------
    config : Path
        File with the sections data, model, state and training; paths in it count from its folder.
    out : Path
        Model file, written whenever an epoch is the best so far. Checkpoints go to a folder beside it.
    resume, overwrite : bool
        Continue a run that was broken off, or start anew where there is one.
    progress : bool
        Show a bar.

    Returns
    -------
    Dataset
        History, as of `oceanvar.fitting.fit`.

    Raises
    ------
    ConfigError
        For an unknown key (the nearest known one is named) or a value that does not fit.
    StoreError
        If data cannot be read, or there is a model or checkpoint and neither `resume` nor `overwrite`.
    """
    job = _read(config)
    checkpoint = out.with_suffix(".checkpoints")
    _make_way(out, checkpoint, resume, overwrite)
    folder, data = config.parent, job["data"]
    try:
        model = _model(job, folder)
        model.provenance["config"] = job
        truth, observations = _learned_from(data, folder, model.state_space)
        if "climatology" in data:
            model.normalise(_departing(model.state_space, truth, data["climatology"]))
        history = fit(
            truth,
            model,
            observations,
            noise_std=data.get("noise_std", 0.0),
            validation=_validation(data.get("validation"), folder, model.state_space),
            save=out,
            checkpoint=checkpoint,
            resume=resume,
            progress=progress,
            **_training(job["training"]),
        )
    except TypeError as error:
        raise ConfigError(f"a value in {str(config)!r} is of the wrong type: {error}") from error
    return history


def _read(config: Path) -> dict[str, Table]:
    try:
        job = tomllib.loads(config.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{str(config)!r} is not TOML: {error}") from error
    sections = {
        name: [key for source in sources for key in source.defaults] for name, sources in SECTIONS.items()
    }
    check_keys(job, sections, "section")
    for name, known in sections.items():
        if not isinstance(job.setdefault(name, {}), dict):
            raise ConfigError(f"{name!r} must be a section, [{name}], not {job[name]!r}")
        check_keys(job[name], known, f"key of section [{name}]")
    require_keys(job["data"], ("observations",), "section [data]")
    return job


def _make_way(out: Path, checkpoint: Path, resume: bool, overwrite: bool) -> None:
    if overwrite and not resume:
        shutil.rmtree(checkpoint, ignore_errors=True)
        return
    existing = [str(path) for path in (out, checkpoint) if path.exists()]
    if existing and not resume:
        raise StoreError(
            f"{' and '.join(existing)} of an earlier run exist: continue with --resume, start anew with "
            "--overwrite, or choose another --out"
        )
    if not out.absolute().parent.is_dir():
        raise StoreError(f"there is no folder {str(out.absolute().parent)!r} for the model: make it")


def _model(job: dict[str, Table], folder: Path) -> VarNet:
    options, state = job["model"], job["state"]
    variables = job["data"].get("variables")
    if "start" in options:
        if len(options) > 1 or state:
            raise ConfigError(
                "with start in [model], architecture and [state] come from that model: leave them out"
            )
        start = options["start"]
        if "climatology" in job["data"]:
            raise ConfigError(
                f"climatology in section [data] is for a new model, and {start!r} has its own or none: leave it out"
            )
        model = load(start if (PACKAGED / f"{start}.varnet").is_file() else folder / start)
        if variables is not None and tuple(variables) != model.state_space.variables:
            raise ConfigError(f"variables are {variables}, but {start!r} has {model.state_space.variables}")
        return model
    require_keys(job["data"], ("variables",), "section [data]")
    require_keys(state, ("dims", "patch"), "section [state]")
    space = StateSpace(variables=tuple(job["data"]["variables"]), **state)
    return fourdvarnet(space, **{"seed": job["training"].get("seed", 0), **options})


def _learned_from(data: Table, folder: Path, space: StateSpace) -> tuple[xr.Dataset, Any]:
    """Truth and observations, or observations alone and what is withheld of them."""
    given, rule = data["observations"], data.get("withhold")
    if "truth" in data:
        if rule is not None:
            raise ConfigError(
                "withhold in section [data] is for observations alone, without truth: leave one of them out"
            )
        return _pair(data, folder, space, "data")
    if isinstance(given, dict):
        raise ConfigError(
            "a sampler in section [data] observes a truth, and there is none: give files of either"
        )
    observations = _open(given, folder, space, data.get("in_memory", True))
    return observations, None if rule is None else Withhold(rule_of(rule, folder, RULES, "withhold"))


def _pair(table: Table, folder: Path, space: StateSpace, where: str) -> tuple[xr.Dataset, Any]:
    """Truth and observations: files, or a sampler."""
    require_keys(table, ("truth", "observations"), where)
    given, in_memory = table["observations"], table.get("in_memory", True)
    truth = _open(table["truth"], folder, space, in_memory)
    return truth, rule_of(given, folder, SAMPLERS, "observations") if isinstance(given, dict) else _open(
        given, folder, space, in_memory
    )


def _open(paths: str | list[str], folder: Path, space: StateSpace, in_memory: bool) -> xr.Dataset:
    given = [paths] if isinstance(paths, str) else paths
    places = [path if is_url(path) else folder / path for path in given]
    ds = open_archive(places, space.variables, dim=space.dims[0])
    return ds.load() if in_memory else ds


def _departing(space: StateSpace, truth: xr.Dataset, given: Any) -> StateSpace:
    """State space with a climatology of what is learned from."""
    if not isinstance(given, dict):
        raise ConfigError(f"climatology in section [data] must be a table, {{trend = true}}, not {given!r}")
    check_keys(given, CLIMATOLOGY.defaults, "option of climatology in section [data]")
    # With names, units and order as `fit` has them; it tells of what was mended.
    fields = mended(truth, space, {}, "fill", "the truth").ds[list(space.variables)]
    try:
        return replace(space, climatology=fit_climatology(fields, space.dims, **given))
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"climatology = {given} in section [data]: {error}") from error


def _validation(given: Any, folder: Path, space: StateSpace) -> Any:
    if isinstance(given, dict) and "share" in given:
        check_keys(given, keywords(WithheldBlocks), "key of validation")
        return WithheldBlocks(**given)
    if isinstance(given, dict):
        check_keys(given, ("truth", "observations", "in_memory"), "key of validation")
        return _pair(given, folder, space, "validation")
    return _open(given, folder, space, True) if isinstance(given, str | list) else given


def _training(given: Table) -> Table:
    settings = dict(given)
    if "weights" in settings:
        check_keys(settings["weights"], keywords(LossWeights), "weight in section [training]")
        settings["weights"] = LossWeights(**settings["weights"])
    if "n_steps" in settings:  # keys of TOML are text
        settings["n_steps"] = {int(epoch): n for epoch, n in settings["n_steps"].items()}
    return settings
