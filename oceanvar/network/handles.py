"""Models as dask tasks see them: a small handle, one copy per process, one solve at a time."""

import copy
import logging
import os
import sys
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from oceanvar import registry
from oceanvar.errors import ConfigError, DeviceMemoryError
from oceanvar.maps.inference import inference_form
from oceanvar.network.varnet import VarNet, from_bytes
from oceanvar.state.samples import TrackPatches
from oceanvar.threads import best_number, threads
from oceanvar.variational.draws import Draws

logger = logging.getLogger(__name__)

_LOCK = threading.RLock()


def _renew_lock() -> None:
    """Another thread of the parent may have held it at the fork."""
    global _LOCK
    _LOCK = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
"""Guards the copies and lets one thread of a process solve at a time: torch uses the cores itself."""

_COPIES: "dict[tuple[str, str, str], _WorkingCopy]" = {}
_MOST_COPIES = 8

_POINTS_AT_ONCE = {"cpu": 500_000, "cuda": 4_000_000}
"""State points of an automatic batch: what the caches of a CPU hold of it, some hundred MB of activations on a GPU.

On a CPU 16 patches of 25 x 100 x 100 at once cost twice as much each as two of them (docs/benchmarks.md).
"""


class Samples(NamedTuple):
    """Samples to draw of every patch; see `oceanvar.variational.draws.Draws`.

    Attributes
    ----------
    n, seed : int
        How many, and of which noise.
    periods : tuple of int
        Points after which each dimension comes back to its beginning; 0 if it never does.
    """

    n: int
    seed: int
    periods: tuple[int, ...]


@dataclass(eq=False)
class PatchSolver:
    """Solves batches of patches given as arrays; the function that patch graphs carry.

    It holds the contents of the model's file (or, with parts of a user's own classes, a copy of the
    model) as they were when it was made. Every process keeps one working copy per device and
    precision, however many tasks it runs.

    Parameters
    ----------
    model : VarNet
        Model to solve with.
    device : str
        "auto", "cpu", "cuda" or "cuda:1".
    precision : str
        "float32", "float64" or "bfloat16".
    has_background : bool
        Whether the second half of the channels of a patch is a background.
    diagnostics : bool
        Whether standard deviation and health follow the analysis, see `VarNet.solve_and_diagnose`.
    on_divergence : {"error", "fallback", "nan"}
        What becomes of a patch whose solve has diverged.
    samples : Samples, optional
        Which samples follow the diagnostics.
    n_threads : int, optional
        Threads that torch uses on a CPU; results of different numbers differ in the last digits. Default: as many
        as are quickest when it is called (`oceanvar.threads`).
    """

    model: VarNet | None
    device: str
    precision: str
    has_background: bool
    diagnostics: bool = False
    on_divergence: str = "error"
    samples: Samples | None = None
    n_threads: int | None = None
    digest: str = ""
    content: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        if self.model is None:
            return
        self.digest = self.model.digest
        if registry.is_described(self.model.assimilator):
            self.content, self.model = self.model.to_bytes(), None
        else:
            self.model = copy.deepcopy(self.model)
            # A digest knows nothing of the code of a user's own classes: it may not tell two models apart.
            self.digest += uuid.uuid4().hex

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return (
            self.digest,
            self.device,
            self.precision,
            self.has_background,
            self.diagnostics,
            self.on_divergence,
            self.samples,
        )

    def __call__(
        self,
        patches: np.ndarray,
        tracks: Mapping[str, TrackPatches] | None = None,
        place: Callable[[int], str] = "number {}".format,
        origins: Sequence[tuple[int, ...]] | None = None,
    ) -> np.ndarray:
        """Analysis ``(n, V, *patch)`` (and diagnostics) of patches ``(n, C, *patch)``, in physical units.

        Samples need to know where the patches lie, by `origins`.

        Where the memory of a device is too small for a batch, it is solved in halves, and so are all later ones.

        Raises
        ------
        DeviceMemoryError
            If it is too small for a single patch.
        DivergenceError
            If a solve has diverged and `on_divergence` is "error"; `place` says where.
        """
        with _LOCK, threads(self.n_threads or best_number()):
            copied = self._copy(resolve_device(self.device))
            n_inputs = len(copied.model.state_space.inputs)
            background = patches[:, n_inputs:] if self.has_background else None
            batch = _Batch(patches[:, :n_inputs], background, tracks or {}, place, self._draws(origins))
            return copied.solve(batch, self.diagnostics, self.on_divergence)

    def _draws(self, origins: Sequence[tuple[int, ...]] | None) -> Draws | None:
        if self.samples is None:
            return None
        return Draws(*self.samples, np.array(origins))

    def _copy(self, device: str) -> "_WorkingCopy":
        key = (self.digest, device, self.precision)
        if key not in _COPIES:
            while len(_COPIES) >= _MOST_COPIES:
                del _COPIES[next(iter(_COPIES))]
            model = copy.deepcopy(self.model) or from_bytes(self.content)
            dtype = torch.float64 if self.precision == "float64" else torch.float32
            model.assimilator.to(device, dtype).eval()
            # Elsewhere the layout of the form is slower, or not there.
            if device == "cpu" and self.precision == "float32" and torch.backends.mkldnn.is_available():
                model.assimilator = inference_form(model.assimilator)
            _COPIES[key] = _WorkingCopy(model, device, self.precision)
        return _COPIES[key]


@dataclass(frozen=True)
class _Batch:
    """Patches to solve, with their backgrounds, along-track samples, places and what to draw of each."""

    values: np.ndarray
    background: np.ndarray | None
    tracks: Mapping[str, TrackPatches]
    place: Callable[[int], str]
    draws: Draws | None

    def __len__(self) -> int:
        return len(self.values)

    def part(self, which: slice) -> "_Batch":
        """Some of the patches."""
        background = None if self.background is None else self.background[which]
        tracks = {name: each.part(which) for name, each in self.tracks.items()}
        draws = None if self.draws is None else replace(self.draws, origins=self.draws.origins[which])
        return _Batch(self.values[which], background, tracks, lambda i: self.place(which.start + i), draws)


@dataclass
class _WorkingCopy:
    """A model on its device, and how many patches have turned out to fit there at once."""

    model: VarNet
    device: str
    precision: str
    n_most: int = sys.maxsize

    def solve(self, batch: _Batch, diagnostics: bool, on_divergence: str) -> np.ndarray:
        """Solve a batch at once, or in pieces that fit."""
        results: list[np.ndarray] = []
        n_solved = 0
        while n_solved < len(batch):
            part = batch.part(slice(n_solved, n_solved + self.n_most))
            result = self._tried(part, diagnostics, on_divergence)
            if result is not None:
                results.append(result)
                n_solved += len(result)
        return results[0] if len(results) == 1 else np.concatenate(results)

    def _tried(self, batch: _Batch, diagnostics: bool, on_divergence: str) -> np.ndarray | None:
        """Solve at once; None, and half as many patches from now on, if the memory is too small."""
        solve = partial(self.model.solve_and_diagnose, draws=batch.draws) if diagnostics else self.model.solve
        try:
            return solve(
                batch.values,
                batch.background,
                self.device,
                self.precision,
                batch.tracks,
                on_divergence,
                batch.place,
            )
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                raise DeviceMemoryError(
                    f"one patch of shape {batch.values.shape[1:]} needs more memory than {self.device} has "
                    f"free: use a smaller patch, or precision='bfloat16' ({error})"
                ) from error
        # Not before the error is gone: its traceback holds the tensors of the failed solve.
        torch.cuda.empty_cache()
        self.n_most = (len(batch) + 1) // 2
        logger.warning(
            "the memory of %s is too small for %d patches at once: %d from now on",
            self.device,
            len(batch),
            self.n_most,
        )
        return None


def resolve_device(device: str) -> str:
    """Name the device that is meant here: for "auto" a GPU where there is one.

    Raises
    ------
    ConfigError
        If torch sees no such device in this process.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not has_device(device):
        raise ConfigError(
            f"device is {device!r}, but torch sees {torch.cuda.device_count() or 'no'} GPU(s) here: use 'auto' "
            "or 'cpu', or install a build of torch for your GPU"
        )
    return device


def has_device(device: str) -> bool:
    """Say whether this process could solve on a device."""
    kind, _, number = device.partition(":")
    return kind != "cuda" or int(number or 0) < torch.cuda.device_count()


def points_at_once(device: str) -> int:
    """State points that are best solved at once on a device; "auto" is that of this process."""
    has_gpu = device != "cpu" and torch.cuda.is_available()
    return _POINTS_AT_ONCE["cuda" if has_gpu else "cpu"]


def automatic_batch_size(n_points: int, device: str) -> int:
    """Patches of `n_points` state points to solve at once on a device."""
    return max(1, min(256, points_at_once(device) // n_points))
