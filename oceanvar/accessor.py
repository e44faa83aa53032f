"""The ``.varnet`` accessor: one call per method, no state.

Everything heavy is imported when a method is called, so that ``import oceanvar`` stays quick.
"""

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import xarray as xr

from oceanvar.errors import MissingVariableError

if TYPE_CHECKING:
    from pathlib import Path

    from oceanvar.baselines.optimal import Lengths
    from oceanvar.labels.samples import Tracks
    from oceanvar.network.varnet import VarNet
    from oceanvar.observing.samplers import AbstractSampler

L = TypeVar("L", xr.Dataset, xr.DataArray)


class _Interpolated(Generic[L]):
    """What a Dataset and one variable have alike."""

    def __init__(self, obj: L):
        self._obj: L = obj

    def interpolate_linear(self, **options: Any) -> L:
        """Interpolate these observations linearly in time: see `oceanvar.baselines.linear`."""
        from oceanvar.baselines.linear import interpolate_linear

        return interpolate_linear(self._obj, **options)

    def optimal_interpolation(
        self,
        lengths: "Lengths",
        noise_std: "float | xr.DataArray | None" = None,
        grid: xr.Dataset | xr.DataArray | None = None,
        **options: Any,
    ) -> xr.Dataset:
        """Map these observations, or along-track samples onto `grid`: see `oceanvar.baselines.optimal`."""
        from oceanvar.baselines.optimal import optimal_interpolation

        return optimal_interpolation(self._obj, lengths, noise_std, targets=grid, **options)


@xr.register_dataset_accessor("varnet")
class DatasetAccessor(_Interpolated[xr.Dataset]):
    """Assimilation, training and scores of a Dataset."""

    def assimilate(self, model: "VarNet | str | Path", **options: Any) -> xr.Dataset:
        """Map these observations to complete fields: see `oceanvar.mapping.assimilate`."""
        from oceanvar.mapping import assimilate

        return assimilate(self._obj, model, **options)

    def fit(
        self, model: "VarNet", observations: "xr.Dataset | AbstractSampler", **options: Any
    ) -> xr.Dataset:
        """Train `model` with this truth: see `oceanvar.fitting.fit`."""
        from oceanvar.fitting import fit

        return fit(self._obj, model, observations, **options)

    def design(self, model: "VarNet | str | Path", **options: Any) -> xr.DataArray:
        """Choose where to observe next, given these covariates: see `oceanvar.designing.design`."""
        from oceanvar.designing import design

        return design(self._obj, model, **options)

    def observe(self, sampler: "AbstractSampler", **options: Any) -> xr.Dataset:
        """Observe this truth in a twin experiment: see `oceanvar.observing.twins.observe`."""
        from oceanvar.observing.twins import observe

        return observe(self._obj, sampler, **options)

    def score(self, truth: xr.Dataset, obs: xr.Dataset | None = None, **options: Any) -> xr.Dataset:
        """Score this analysis against the truth: see `oceanvar.metrics.scores.score`."""
        from oceanvar.metrics.scores import score

        return score(self._obj, truth, obs, **options)

    def score_tracks(self, tracks: "Tracks", **options: Any) -> xr.Dataset:
        """Score this analysis along tracks that it has not seen: see `oceanvar.metrics.along_track`.

        Tracks come as `oceanvar.observing.as_samples` takes them; the variable is the one that both have, by its name.
        """
        from oceanvar.labels.samples import over_samples, value_names

        named = value_names(over_samples(tracks))
        shared = [name for name in self._obj.data_vars if name in named]
        if len(shared) != 1:
            raise MissingVariableError(
                f"analysis and tracks need one variable in common, and have {shared} of {list(self._obj)} and "
                f"{named}: select or rename one"
            )
        return _scored(self._obj[shared[0]], tracks, str(shared[0]), options)


@xr.register_dataarray_accessor("varnet")
class DataArrayAccessor(_Interpolated[xr.DataArray]):
    """The same for one variable, and its pictures."""

    def assimilate(self, model: "VarNet | str | Path", **options: Any) -> xr.DataArray:
        """Map these observations to a complete field: see `oceanvar.mapping.assimilate`."""
        from oceanvar.mapping import assimilate_array

        return assimilate_array(self._obj, model, **options)

    def observe(self, sampler: "AbstractSampler", **options: Any) -> xr.DataArray:
        """Observe this truth in a twin experiment: see `oceanvar.observing.twins.observe`."""
        from oceanvar.observing.twins import observe

        return observe(self._obj, sampler, **options)

    def score(self, truth: xr.DataArray, obs: xr.DataArray | None = None, **options: Any) -> xr.Dataset:
        """Score this analysis against the truth: see `oceanvar.metrics.scores.score`."""
        from oceanvar.metrics.scores import score

        return score(self._obj, truth, obs, **options)

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

    def plot_map(self, **options: Any) -> Any:
        """Draw a map of this field, at one time (``time=...``): see `oceanvar.plots.panels.plot_map`."""
        from oceanvar.plots.panels import plot_map

        return plot_map(self._obj, **options)

    def plot_time_site(self, **options: Any) -> Any:
        """Draw this field over time and site: see `oceanvar.plots.panels.plot_time_site`."""
        from oceanvar.plots.panels import plot_time_site

        return plot_time_site(self._obj, **options)


def _scored(field: xr.DataArray, tracks: "Tracks", name: str, options: dict[str, Any]) -> xr.Dataset:
    """Scores of a field beside one variable of tracks, each sample once."""
    from oceanvar.labels.samples import located, over_samples
    from oceanvar.metrics.along_track import score_along_track
    from oceanvar.observing.tracks import sample_field

    samples = located(over_samples(tracks), [name])
    units = {key: field.attrs[key] for key in ("units",) if key in field.attrs}
    estimate = xr.DataArray(sample_field(field, samples).values, dims="sample", attrs=units)
    return score_along_track(estimate, samples[name], **options)
