"""The model a user builds, trains, saves, loads and applies."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from oceanvar import registry
from oceanvar.errors import (
    ConfigError,
    PatchError,
)
from oceanvar.files.writing import written_aside
from oceanvar.maps.dense import Flattened
from oceanvar.maps.padding import fixes_times
from oceanvar.maps.units import scaled_parts
from oceanvar.network.bridge import on_device, to_array, to_covariates, to_observations
from oceanvar.network.descriptions import described
from oceanvar.network.divergence import tell_trapped, without_diverged
from oceanvar.network.error_bars import check_diagnosable, told
from oceanvar.network.files import (
    FORMAT,
    built,
    check_tensors,
    climatology_tensors,
    described_space,
    fingerprint,
    found,
    packaged_file,
    packed,
    put_weights,
    tell_format,
    unpacked,
)
from oceanvar.network.names import check_names
from oceanvar.reprs import Rows, as_html, as_text
from oceanvar.state.samples import TrackPatches
from oceanvar.state.spaces import StateSpace
from oceanvar.variational.assimilators import Assimilator
from oceanvar.variational.designs.sampling import SamplingDesign
from oceanvar.variational.draws import Draws
from oceanvar.variational.observations import Observations
from oceanvar.variational.priors.eof import EOFPrior
from oceanvar.variational.shapes import broadcast
from oceanvar.variational.verdicts import Verdict

FEW = 1000
"""Weights of a layer that are kept exactly in a file of halves: equations that were learned have few, and need them."""


@dataclass
class VarNet:
    """An assimilator with the state space it works in.

    Parameters
    ----------
    assimilator : Assimilator
        Cost, solver and start, in normalised units.
    state_space : StateSpace
        Variables, dimensions, patch and normalisation.
    provenance : dict, optional
        How the model was trained: plain JSON values, written into its file.

    Raises
    ------
    ModelMismatchError
        If an instrument or a covariate has a name in the parts of the assimilator that the state space does not
        know, or the other way round.
    """

    assimilator: Assimilator
    state_space: StateSpace
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_names(self.assimilator, self.state_space)
        self.normalise(self.state_space)

    def normalise(self, space: StateSpace) -> None:
        """Take over the normalisation of `space`, also in parts that work in physical units."""
        self.state_space = space
        if space.mean is None or space.std is None:
            return
        mean, std = ([scale[name] for name in space.variables] for scale in (space.mean, space.std))
        for units in scaled_parts(self.assimilator):
            if space.climatology is not None:
                raise ConfigError(
                    "a part of the model works in physical units, and the state departs from a climatology"
                )
            units.set_(mean, std)

    def solve(
        self,
        values: np.ndarray,
        background: np.ndarray | None = None,
        device: str = "cpu",
        precision: str = "float32",
        tracks: Mapping[str, TrackPatches] | None = None,
        on_divergence: str = "error",
        place: Callable[[int], str] = "number {}".format,
    ) -> np.ndarray:
        """Assimilate a batch of patches.

        Parameters
        ----------
        values : ndarray
            Observations ``(B, V, T, *S)`` in physical units, NaN where nothing was observed; after the state's
            variables the other inputs of the state space.
        background : ndarray, optional
            First guess of the same shape.
        device : str
            Where to solve; the assimilator must be there.
        precision : {"float32", "float64", "bfloat16"}
            Of the arithmetic; bfloat16 concerns the convolutions only.
        tracks : mapping of str to TrackPatches, optional
            Samples of the along-track instruments.
        on_divergence : {"error", "fallback", "nan"}
            What becomes of a patch whose solve has diverged, see `oceanvar.mapping.assimilate`.
        place : callable
            Says where the patch of a number lies, for messages.

        Returns
        -------
        ndarray
            Analysis ``(B, V, T, *S)`` in physical units.

        Raises
        ------
        DivergenceError
            If a solve has diverged and `on_divergence` says so.
        """
        obs = self._observed(values, background, device, precision, tracks)
        state, _ = self._solve(obs, device, precision, on_divergence, place)
        return to_array(state, self.state_space)

    def solve_and_diagnose(
        self,
        values: np.ndarray,
        background: np.ndarray | None = None,
        device: str = "cpu",
        precision: str = "float32",
        tracks: Mapping[str, TrackPatches] | None = None,
        on_divergence: str = "error",
        place: Callable[[int], str] = "number {}".format,
        draws: Draws | None = None,
    ) -> np.ndarray:
        """Assimilate as `solve`, and say how far each patch can be trusted, without knowing the truth.

        With `draws`, samples of what the truth may be are drawn too.

        Returns
        -------
        ndarray
            ``(B, 2 V + 1 + n V, T, *S)``: the analysis, its standard deviation (Laplace's approximation, or as the
            start has learned it), 2 J / n_obs, the same at all points of a patch, and n samples; see
            `oceanvar.variational.posterior`. Of a patch that has diverged standard deviation and samples are NaN, and
            2 J / n_obs is infinite.

        Raises
        ------
        ConfigError
            If the cost is not one of weak-constraint 4D-Var, whose weights are error variances, and the start has not
            learned how large its errors are.
        DivergenceError
            As of `solve`.
        """
        check_diagnosable(self.assimilator, draws is not None)
        obs = self._observed(values, background, device, precision, tracks)
        state, diverged = self._solve(obs, device, precision, on_divergence, place)
        # Of these nothing is known; a finite state keeps them from disturbing anything.
        variance, scores, errors = told(self.assimilator, state.nan_to_num(), obs, draws)
        variance[diverged], scores[diverged], errors[:, diverged] = torch.nan, torch.inf, torch.nan
        spread = variance.sqrt().cpu().numpy() * self.state_space.scales(np.float32)[1]
        fit = broadcast(scores, state).expand_as(state[:, :1]).cpu().numpy()
        samples = [to_array(state + each, self.state_space) for each in errors]
        return np.concatenate([to_array(state, self.state_space), spread, fit, *samples], axis=1)

    def _observed(
        self,
        values: np.ndarray,
        background: np.ndarray | None,
        device: str,
        precision: str,
        tracks: Mapping[str, TrackPatches] | None,
    ) -> Observations:
        dtype = torch.float64 if precision == "float64" else torch.float32
        return on_device(to_observations(values, self.state_space, background, dtype, tracks), device)

    def _solve(
        self, obs: Observations, device: str, precision: str, on_divergence: str, place: Callable[[int], str]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Analysis, and which windows have diverged."""
        dtype = torch.float64 if precision == "float64" else torch.float32
        with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=precision == "bfloat16"):
            state, verdict = self.assimilator.solve(obs)
        tell_trapped(verdict)
        first_guess = partial(self.assimilator.first_guess, obs)
        state = without_diverged(state, first_guess, verdict, on_divergence, place)
        return state.to(dtype), verdict == Verdict.DIVERGED

    def cycle(self, obs: Any, **options: Any) -> Any:
        """Assimilate a Dataset window after window, ``obs.varnet.cycle(model, **options)``: see `oceanvar.cycle`."""
        return obs.varnet.cycle(self, **options)

    @property
    def fixed_dims(self) -> tuple[str, ...]:
        """Dimensions along which the weights fit patches of one size only."""
        modules = list(self.assimilator.modules())
        if any(isinstance(each, Flattened | EOFPrior) for each in modules):
            return self.state_space.dims
        return self.state_space.dims[:1] if fixes_times(modules) else ()

    def check_patch(self, space: StateSpace) -> None:
        """Demand patches of a size that the weights fit.

        Raises
        ------
        PatchError
            Naming the dimension.
        """
        for dim in self.fixed_dims:
            if space.patch[dim] != self.state_space.patch[dim]:
                raise PatchError(
                    f"this model solves patches of {self.state_space.patch[dim]} points along {dim!r} only, not of "
                    f"{space.patch[dim]}: leave {dim!r} out of patch (a shorter time is lengthened by empty ones)"
                )

    @torch.no_grad()
    def worth(self, values: np.ndarray) -> np.ndarray:
        """Worth of an observation at every point, as the model's learned sampling sees it.

        Parameters
        ----------
        values : ndarray
            Covariates of the sampling ``(B, C, T, *S)`` in physical units, NaN where unknown.

        Returns
        -------
        ndarray
            ``(B, 1, T, *S)``, the higher the better.

        Raises
        ------
        ConfigError
            If the model has no learned sampling.
        """
        design = self.sampling
        fields = dict(zip(design.covariates, np.moveaxis(values, 1, 0), strict=True))
        obs = to_covariates(fields, design.covariates, self.state_space, torch.float32)
        return design.scores(obs).numpy()

    @property
    def sampling(self) -> SamplingDesign:
        """Learned sampling of the model.

        Raises
        ------
        ConfigError
            If there is none.
        """
        if self.assimilator.sampling is None:
            raise ConfigError("the model has no learned sampling: train one with Assimilator(sampling=...)")
        return self.assimilator.sampling

    def __repr__(self) -> str:
        return as_text(type(self).__name__, self._rows())

    def _repr_html_(self) -> str:
        return as_html(type(self).__name__, self._rows())

    def _rows(self) -> Rows:
        n_parameters = sum(each.numel() for each in self.assimilator.parameters())
        return described(self.state_space, self.provenance, n_parameters)

    @property
    def digest(self) -> str:
        """Fingerprint of architecture, weights and state space."""
        return fingerprint(self._header(), self._tensors())

    def to_bytes(self, half: bool = False, borrowed: Mapping[str, str] | None = None) -> bytes:
        """Contents of the model file; see `save`."""
        header, tensors = self._header(), self._tensors()
        if half:
            weights = [name for name, each in self.assimilator.named_parameters() if each.numel() > FEW]
            tensors |= {name: tensors[name].half() for name in weights}
        return packed(header, tensors, self.provenance, borrowed)

    def save(self, path: str | Path, half: bool = False, borrowed: Mapping[str, str] | None = None) -> None:
        """Write the model to one file: weights, architecture, state space and provenance, no code.

        Parameters
        ----------
        path : path-like
            File to write, by custom ``name.varnet``. A model with parts of your own classes is
            written too; loading it then needs those parts: ``oceanvar.load(path, assimilator=...)``.
        half : bool
            Write the weights of layers of more than a thousand in half precision: half the size, rounded in the
            fourth digit. The loaded model computes in single precision like any other.
        borrowed : mapping of str to str, optional
            Parts whose weights are those of a packaged model, ``{"start.": "ocean-2026.11"}``, and are read from there.
        """
        with written_aside(Path(path)) as aside:
            aside.write_bytes(self.to_bytes(half, borrowed))

    def _tensors(self) -> dict[str, torch.Tensor]:
        state = self.assimilator.state_dict()
        # A part used twice is written twice: the file format knows no shared memory.
        weights = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}
        return weights | climatology_tensors(self.state_space)

    def _header(self) -> dict[str, Any]:
        header = {"format": FORMAT, "assimilator": None, "state_space": self.state_space.to_json()}
        if registry.is_described(self.assimilator):
            return header | {"assimilator": registry.describe(self.assimilator)}
        return header | {"outline": registry.outline(self.assimilator.named_modules())}


def load(path: str | Path, assimilator: Assimilator | None = None) -> VarNet:
    """Load a model from a file, or a packaged one by its name.

    Parameters
    ----------
    path : path-like
        A file written by `VarNet.save`, or the name of a packaged model: "seas", "ocean", "lorenz96"...
    assimilator : Assimilator, optional
        The finished architecture, for a model with parts of your own classes: only weights are
        read from the file then.

    Returns
    -------
    VarNet
        Model to map with, or to go on training.

    Raises
    ------
    StoreError
        If there is no such file.
    ModelMismatchError
        If the file is no model, is damaged, names a class that oceanvar does not know, or does not
        fit `assimilator`. No code of the file is ever run.

    Examples
    --------
    >>> load("lorenz63").state_space.variables
    ('x', 'y', 'z')
    """
    file = found(path)
    return from_bytes(file.read_bytes(), assimilator, str(path))


def loaded(model: VarNet | str | Path) -> VarNet:
    """Model that is given as such, by its file, or by the name of a packaged one; errors as of `load`."""
    return model if isinstance(model, VarNet) else load(model)


def from_bytes(content: bytes, assimilator: Assimilator | None = None, name: str = "model") -> VarNet:
    """Rebuild a model from the contents of its file; see `load`."""
    tensors, header, provenance = unpacked(
        content, name, lambda other: load(packaged_file(other, name))._tensors()
    )
    tell_format(header, name)
    check_tensors(tensors, name)
    space = described_space(header["state_space"], tensors, name)
    if assimilator is None:
        assimilator = built(header["assimilator"], tensors, name)
    put_weights(assimilator, tensors, name)
    return VarNet(assimilator, space, provenance)
