"""Models as dask tasks see them: a small handle, one copy per process, one solve at a time."""

import copy
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from oceanvar import registry
from oceanvar.varnet import VarNet, from_bytes

_LOCK = threading.RLock()
"""Guards the copies and lets one thread of a process solve at a time: torch uses the cores itself."""

_COPIES: dict[tuple[str, str, str], VarNet] = {}
_MOST_COPIES = 8

_POINTS_AT_ONCE = 4_000_000
"""State points of an automatic batch: some hundred MB of activations with the usual networks."""


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
    """

    model: VarNet | None
    device: str
    precision: str
    has_background: bool
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

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return (self.digest, self.device, self.precision, self.has_background)

    def __call__(self, patches: np.ndarray) -> np.ndarray:
        """Analysis ``(n, V, *patch)`` of patches ``(n, C, *patch)``, in physical units."""
        values, background = patches, None
        if self.has_background:
            values, background = np.split(patches, 2, axis=1)
        device = resolve_device(self.device)
        with _LOCK:
            return self._solve(self._copy(device), values, background, device)

    def _solve(
        self, model: VarNet, values: np.ndarray, background: np.ndarray | None, device: str
    ) -> np.ndarray:
        """Solve at once, or in halves where the device's memory is too small."""
        try:
            return model.solve(values, background, device, self.precision)
        except torch.cuda.OutOfMemoryError:
            if len(values) == 1:
                raise
        halves = zip(
            np.array_split(values, 2),
            [None, None] if background is None else np.array_split(background, 2),
            strict=True,
        )
        return np.concatenate([self._solve(model, *half, device) for half in halves])

    def _copy(self, device: str) -> VarNet:
        key = (self.digest, device, self.precision)
        if key not in _COPIES:
            while len(_COPIES) >= _MOST_COPIES:
                del _COPIES[next(iter(_COPIES))]
            model = copy.deepcopy(self.model) or from_bytes(self.content)
            dtype = torch.float64 if self.precision == "float64" else torch.float32
            model.assimilator.to(device, dtype).eval()
            _COPIES[key] = model
        return _COPIES[key]


def resolve_device(device: str) -> str:
    """Name the device that "auto" means here: a GPU where there is one."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def has_device(device: str) -> bool:
    """Say whether this process could solve on a device."""
    return not device.startswith("cuda") or torch.cuda.is_available()


def automatic_batch_size(n_points: int) -> int:
    """Patches of `n_points` state points to solve at once."""
    return max(1, min(256, _POINTS_AT_ONCE // n_points))
