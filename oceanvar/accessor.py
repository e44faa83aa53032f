"""The ``.varnet`` accessor: one call per method, no state.

Everything heavy is imported when a method is called, so that ``import oceanvar`` stays quick.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import xarray as xr

from oceanvar.errors import ConfigError, MissingVariableError

if TYPE_CHECKING:
    from oceanvar.labels.samples import Tracks

_FIRST = re.compile(r"( *Parameters\n *-+\n)(?P<indent> *)\S.*\n(?:(?P=indent) +.*\n|\n(?=(?P=indent) +))*")
"""The first parameter in a docstring: the object that the method belongs to."""


class _Verb:
    """A function of the package as a method, with its signature and its docstring, imported when it is looked at.

    Parameters
    ----------
    module, name : str
        Where the function is; its first argument is the object.
    renamed : mapping of str to str, optional
        Other names of its parameters here.
    like : str
        Another function of the module, to which it passes its options and whose are shown. Default: its own.
    """

    def __init__(self, module: str, name: str, renamed: Mapping[str, str] | None = None, like: str = ""):
        self.module, self.name, self.renamed, self.like = module, name, renamed or {}, like or name

    def __get__(self, accessor: Any, owner: type) -> Callable[..., Any]:
        module = import_module(self.module)
        function, shown = getattr(module, self.name), getattr(module, self.like)
        signature = inspect.signature(shown)
        first, *others = signature.parameters.values()
        names = {new: old for old, new in self.renamed.items()}

        def method(*args: Any, **options: Any) -> Any:
            return function(accessor._obj, *args, **{names.get(name, name): v for name, v in options.items()})

        kept = [each.replace(name=self.renamed.get(each.name, each.name)) for each in others]
        method.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=kept if accessor is not None else [first.replace(name="self"), *kept]
        )
        method.__name__, method.__qualname__ = self.like, f"{owner.__name__}.{self.like}"
        method.__module__ = self.module
        # Where it shares its line with others, they stay.
        text = (shown.__doc__ or "").replace(f"    {first.name}, ", "    ", 1)
        text = text if text != shown.__doc__ else _FIRST.sub(r"\1", text, count=1)
        for old, new in self.renamed.items():
            text = re.sub(rf"\b{old}\b", new, text)
        method.__doc__ = text
        return method


class _Interpolated:
    """What a Dataset and one variable have alike."""

    def __init__(self, obj: Any):
        self._obj = obj

    interpolate_linear = _Verb("oceanvar.baselines.linear", "interpolate_linear")
    optimal_interpolation = _Verb(
        "oceanvar.baselines.optimal", "optimal_interpolation", renamed={"targets": "grid"}
    )
    dineof = _Verb("oceanvar.baselines.filling", "dineof")
    observe = _Verb("oceanvar.observing.twins", "observe")
    score = _Verb("oceanvar.metrics.scores", "score")
    score_forecast = _Verb("oceanvar.metrics.forecasts", "score_forecast")


@xr.register_dataset_accessor("varnet")
class DatasetAccessor(_Interpolated):
    """Assimilation, training and scores of a Dataset."""

    assimilate = _Verb("oceanvar.mapping", "assimilate")
    fit = _Verb("oceanvar.fitting", "fit")
    trust = _Verb("oceanvar.trusting", "trust")
    design = _Verb("oceanvar.designing", "design")
    project = _Verb("oceanvar.projecting", "project")
    cycle = _Verb("oceanvar.cycling", "cycle")

    def score_tracks(self, tracks: "Tracks", **options: Any) -> xr.Dataset:
        """Score this analysis along tracks that it has not seen: see `oceanvar.metrics.along_track`.

        Tracks come as `oceanvar.observing.as_samples` takes them; the variable is the one that both have, by its name.
        ``<variable>_std`` beside it is the standard deviation of its error, which is scored too.
        """
        from oceanvar.labels.samples import over_samples, value_names

        named = value_names(over_samples(tracks))
        shared = [name for name in self._obj.data_vars if name in named]
        if len(shared) != 1:
            raise MissingVariableError(
                f"analysis and tracks need one variable in common, and have {shared} of {list(self._obj)} and "
                f"{named}: select or rename one"
            )
        name = str(shared[0])
        return _scored(self._obj[name], tracks, name, options, self._obj.get(f"{name}_std"))


@xr.register_dataarray_accessor("varnet")
class DataArrayAccessor(_Interpolated):
    """The same for one variable, and its pictures."""

    assimilate = _Verb("oceanvar.mapping", "assimilate_array", like="assimilate")

    def score_tracks(self, tracks: "Tracks", **options: Any) -> xr.Dataset:
        """Score this analysis along tracks that it has not seen: see `oceanvar.metrics.along_track`.

        Tracks come as `oceanvar.observing.as_samples` takes them, with one variable beside ``variance``.
        """
        from oceanvar.labels.samples import over_samples, value_names

        named = [name for name in value_names(over_samples(tracks)) if name != "variance"]
        if len(named) != 1:
            raise MissingVariableError(
                f"one variable of the tracks can be scored at a time, and there are {named}"
            )
        return _scored(self._obj, tracks, named[0], options)

    plot_map = _Verb("oceanvar.plots.panels", "plot_map")
    plot_time_site = _Verb("oceanvar.plots.panels", "plot_time_site")


def _scored(
    field: xr.DataArray,
    tracks: "Tracks",
    name: str,
    options: dict[str, Any],
    std: xr.DataArray | None = None,
) -> xr.Dataset:
    """Scores of a field, and of its error, beside one variable of tracks, each sample once."""
    from oceanvar.labels.samples import located, over_samples
    from oceanvar.metrics.along_track import score_along_track
    from oceanvar.observing.tracks import sample_field

    samples = located(over_samples(tracks), [name])

    def sampled(one: xr.DataArray) -> xr.DataArray:
        found = sample_field(one, samples)
        if found.ndim != 1:
            extra = [dim for dim in found.dims if dim not in samples.dims]
            raise ConfigError(
                f"the analysis has the dimensions {extra} beside those of a map: select along them, or give an "
                "ensemble as its mean and, as <variable>_std, its standard deviation"
            )
        units = {key: one.attrs[key] for key in ("units",) if key in one.attrs}
        return xr.DataArray(found.values, dims="sample", attrs=units)

    stated = {} if std is None else {"std": sampled(std)}
    return score_along_track(sampled(field), samples[name], **{**stated, **options})
