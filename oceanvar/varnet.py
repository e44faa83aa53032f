"""The model a user builds, trains, saves, loads and applies."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

# Imported for their names in the registry: a model file may name any of these classes.
import oceanvar.dynamics.integrators
import oceanvar.dynamics.lorenz
import oceanvar.maps.dense
import oceanvar.maps.padding
import oceanvar.variational.climatology
import oceanvar.variational.operators
import oceanvar.variational.priors.eof
import oceanvar.variational.solvers.block_tridiagonal
import oceanvar.variational.solvers.descent
import oceanvar.variational.solvers.lbfgs
import oceanvar.variational.solvers.lstm
import oceanvar.variational.solvers.newton
import oceanvar.variational.solvers.schedules  # noqa: F401
from oceanvar import registry
from oceanvar.bridge import to_array, to_observations
from oceanvar.errors import ModelMismatchError, StoreError
from oceanvar.state_space import StateSpace
from oceanvar.variational.assimilators import Assimilator
from oceanvar.variational.priors.flow import PhysicalUnits

FORMAT = "oceanvar-model-1"
PACKAGED = Path(__file__).parent / "models"


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
    """

    assimilator: Assimilator
    state_space: StateSpace
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.normalise(self.state_space)

    def normalise(self, space: StateSpace) -> None:
        """Take over the normalisation of `space`, also in parts that work in physical units."""
        self.state_space = space
        if space.mean is None or space.std is None:
            return
        for module in self.assimilator.modules():
            if isinstance(module, PhysicalUnits):
                module.mean.copy_(torch.tensor([space.mean[name] for name in space.variables]))
                module.std.copy_(torch.tensor([space.std[name] for name in space.variables]))

    def solve(
        self,
        values: np.ndarray,
        background: np.ndarray | None = None,
        device: str = "cpu",
        precision: str = "float32",
    ) -> np.ndarray:
        """Assimilate a batch of patches.

        Parameters
        ----------
        values : ndarray
            Observations ``(B, V, T, *S)`` in physical units, NaN where nothing was observed.
        background : ndarray, optional
            First guess of the same shape.
        device : str
            Where to solve; the assimilator must be there.
        precision : {"float32", "float64", "bfloat16"}
            Of the arithmetic; bfloat16 concerns the convolutions only.

        Returns
        -------
        ndarray
            Analysis ``(B, V, T, *S)`` in physical units.
        """
        dtype = torch.float64 if precision == "float64" else torch.float32
        obs = to_observations(values, self.state_space, background, dtype).to(device)
        with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=precision == "bfloat16"):
            state = self.assimilator.solve(obs)
        return to_array(state.to(dtype), self.state_space)

    @property
    def digest(self) -> str:
        """Fingerprint of architecture, weights and state space."""
        return _digest(self._header(), self._tensors())

    def to_bytes(self) -> bytes:
        """Contents of the model file."""
        header, tensors = self._header(), self._tensors()
        text = json.dumps({**header, "provenance": self.provenance, "digest": _digest(header, tensors)})
        return safetensors.torch.save(tensors, metadata={"oceanvar": text})

    def save(self, path: str | Path) -> None:
        """Write the model to one file: weights, architecture, state space and provenance, no code.

        Parameters
        ----------
        path : path-like
            File to write, by custom ``name.varnet``. A model with parts of your own classes is
            written too; loading it then needs those parts: ``oceanvar.load(path, assimilator=...)``.
        """
        path = Path(path)
        aside = path.with_name(path.name + ".part")
        aside.write_bytes(self.to_bytes())
        aside.replace(path)

    def _tensors(self) -> dict[str, torch.Tensor]:
        state = self.assimilator.state_dict()
        # A part used twice is written twice: the file format knows no shared memory.
        return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}

    def _header(self) -> dict[str, Any]:
        described = registry.is_described(self.assimilator)
        return {
            "format": FORMAT,
            "assimilator": registry.describe(self.assimilator) if described else None,
            "state_space": self.state_space.to_json(),
        }


def _digest(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def load(path: str | Path, assimilator: Assimilator | None = None) -> VarNet:
    """Load a model from a file, or a packaged one by its name.

    Parameters
    ----------
    path : path-like
        A file written by `VarNet.save`, or the name of a packaged model: "lorenz63", "lorenz96".
    assimilator : Assimilator, optional
        The finished architecture, for a model with parts of your own classes: only weights are
        read from the file then.

    Raises
    ------
    StoreError
        If there is no such file.
    ModelMismatchError
        If the file is no model, is damaged, names a class that oceanvar does not know, or does not
        fit `assimilator`. No code of the file is ever run.
    """
    file = _find(path)
    return from_bytes(file.read_bytes(), assimilator, str(path))


def _find(path: str | Path) -> Path:
    packaged = PACKAGED / f"{path}.varnet"
    if Path(path).is_file():
        return Path(path)
    if packaged.is_file():
        return packaged
    names = sorted(p.stem for p in PACKAGED.glob("*.varnet"))
    raise StoreError(f"there is no model file {str(path)!r}, and the packaged models are {names}")


def from_bytes(content: bytes, assimilator: Assimilator | None = None, name: str = "model") -> VarNet:
    """Rebuild a model from the contents of its file; see `load`."""
    tensors, header = _parse(content, name)
    provenance, digest = header.pop("provenance"), header.pop("digest")
    if _digest(header, tensors) != digest:
        raise ModelMismatchError(
            f"{name!r} is damaged: its contents do not match its digest {digest[:12]}..."
        )
    if assimilator is None:
        assimilator = _build(header["assimilator"], name)
    try:
        assimilator.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelMismatchError(f"the weights in {name!r} do not fit the assimilator: {error}") from error
    space = StateSpace(**header["state_space"])
    return VarNet(assimilator, space, provenance)


def _parse(content: bytes, name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        tensors = safetensors.torch.load(content)
        length = int.from_bytes(content[:8], "little")
        header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["oceanvar"])
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise ModelMismatchError(f"{name!r} is not an oceanvar model file ({error})") from error
    if header.get("format") != FORMAT:
        raise ModelMismatchError(
            f"{name!r} has format {header.get('format')!r}, this version of oceanvar reads {FORMAT!r}"
        )
    return tensors, header


def _build(description: Any, name: str) -> Assimilator:
    if description is None:
        raise ModelMismatchError(
            f"{name!r} has parts of a class that is not oceanvar's own: "
            "pass them, oceanvar.load(path, assimilator=...)"
        )
    assimilator = registry.build(description)
    if not isinstance(assimilator, Assimilator):
        raise ModelMismatchError(f"{name!r} describes a {type(assimilator).__name__}, not an assimilator")
    return assimilator
