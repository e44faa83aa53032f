"""The file of a model: safetensors with a JSON header, no code."""

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from oceanvar import registry
from oceanvar.errors import MendedWarning, ModelMismatchError, OceanVarError, StoreError
from oceanvar.state.climatology import Climatology
from oceanvar.state.spaces import StateSpace
from oceanvar.variational.assimilators import Assimilator

PACKAGED = Path(__file__).parents[1] / "models"

FORMAT = "oceanvar-model-2"

OF_CLIMATOLOGY = "climatology."
"""Beginning of the names of tensors that belong to the state space."""

BEFORE = "oceanvar-model-1"
"""Files that did not keep what coordinates, values and units a model has learned on."""


def fingerprint(header: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> str:
    """Digest of an architecture, its weights and its state space."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        # Of the numbers, however wide they are stored: a model read from a file of halves is that file's.
        exact = tensors[name].float() if tensors[name].dtype == torch.half else tensors[name]
        digest.update(exact.numpy().tobytes())
    return digest.hexdigest()


def packed(
    header: Mapping[str, Any],
    tensors: dict[str, torch.Tensor],
    provenance: Mapping[str, Any],
    borrowed: Mapping[str, str] | None = None,
) -> bytes:
    """Contents of a file.

    Parameters
    ----------
    header : mapping
        Architecture and state space.
    tensors : dict
        Weights by name.
    provenance : mapping
        How they came about.
    borrowed : mapping of str to str, optional
        Beginnings of names whose tensors are those of a packaged model, by its name, and are not written.
    """
    about = {"provenance": provenance, "digest": fingerprint(header, tensors)}
    about |= {"borrowed": dict(borrowed)} if borrowed else {}
    text = json.dumps({**header, **about})
    own = {key: tensor for key, tensor in tensors.items() if not key.startswith(tuple(borrowed or ()))}
    return safetensors.torch.save(own, metadata={"oceanvar": text})


def unpacked(
    content: bytes, name: str, lend: Callable[[str], Mapping[str, torch.Tensor]]
) -> tuple[dict[str, torch.Tensor], dict[str, Any], dict[str, Any]]:
    """Weights, header and provenance from the contents of a file; `lend` gives the tensors of a packaged model.

    Raises
    ------
    ModelMismatchError
        If the file is no model, has another format, or is damaged; `name` is what the message calls it.
    """
    tensors, header = _parse(content, name)
    provenance, digest = header.pop("provenance"), header.pop("digest")
    for beginning, other in header.pop("borrowed", {}).items():
        tensors |= {key: tensor for key, tensor in lend(other).items() if key.startswith(beginning)}
    if fingerprint(header, tensors) != digest:
        raise ModelMismatchError(
            f"{name!r} is damaged: its contents do not match its digest {digest[:12]}..."
        )
    return tensors, header, provenance


def check_tensors(tensors: Mapping[str, torch.Tensor], name: str) -> None:
    """Demand that every number of a model is one.

    Raises
    ------
    ModelMismatchError
        If a tensor holds NaN or infinities: every analysis would be NaN.
    """
    for key, tensor in tensors.items():
        n_wrong = int((~tensor.isfinite()).sum())
        if n_wrong:
            raise ModelMismatchError(
                f"{n_wrong} of the {tensor.numel()} numbers of {key!r} in {name!r} are not finite: its training has "
                "diverged, or it is damaged"
            )


def check_sizes(described: object, tensors: Mapping[str, torch.Tensor], name: str) -> None:
    """Demand that the parts that a file describes have the sizes of its tensors, before they take any memory.

    Parameters
    ----------
    described : Module
        Its parts on the device "meta".
    tensors : mapping of str to Tensor
        Contents of the file.
    name : str
        Of the file, for messages.

    Raises
    ------
    ModelMismatchError
        If a size differs.
    """
    if not isinstance(described, torch.nn.Module):
        return
    for key, tensor in described.state_dict().items():
        if key in tensors and tensor.shape != tensors[key].shape:
            raise ModelMismatchError(
                f"the weights in {name!r} do not fit the assimilator: {key!r} is {tuple(tensors[key].shape)}, and its "
                f"description asks for {tuple(tensor.shape)}"
            )


def climatology_tensors(space: StateSpace) -> dict[str, torch.Tensor]:
    """What a file holds of a climatology beside its description."""
    found = {} if space.climatology is None else space.climatology.coefficients
    return {f"{OF_CLIMATOLOGY}{name}": torch.from_numpy(each) for name, each in found.items()}


def described_space(values: Any, tensors: dict[str, torch.Tensor], name: str) -> StateSpace:
    """State space that a file describes; the coefficients of its climatology are taken out of the tensors.

    Raises
    ------
    ModelMismatchError
        If there can be none such.
    """
    keys = [key for key in tensors if key.startswith(OF_CLIMATOLOGY)]
    found = {key.removeprefix(OF_CLIMATOLOGY): tensors.pop(key).numpy() for key in keys}
    try:
        if values.get("climatology") is not None:
            values = {**values, "climatology": Climatology(coefficients=found, **values["climatology"])}
        return StateSpace(**values)
    except (TypeError, AttributeError, ValueError, OceanVarError) as error:
        raise ModelMismatchError(f"the state space in {name!r} cannot be: {error}") from error


def built(description: Any, tensors: Mapping[str, torch.Tensor], name: str) -> Assimilator:
    """Make the assimilator that a file describes, once it is known that its tensors have the sizes for it.

    Raises
    ------
    ModelMismatchError
        If the file describes none, or one of other sizes.
    """
    if description is None:
        raise ModelMismatchError(
            f"{name!r} has parts of a class that is not oceanvar's own: "
            "pass them, oceanvar.load(path, assimilator=...)"
        )
    with (
        suppress(NotImplementedError),
        torch.device("meta"),
    ):  # a part that computes with numbers is built below
        check_sizes(registry.build(description), tensors, name)
    # First weights are drawn, and replaced: nobody's random numbers are to change by that.
    with torch.random.fork_rng(devices=[]):
        assimilator = registry.build(description)
    if not isinstance(assimilator, Assimilator):
        raise ModelMismatchError(f"{name!r} describes a {type(assimilator).__name__}, not an assimilator")
    return assimilator


def _parse(content: bytes, name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        tensors = safetensors.torch.load(content)
        length = int.from_bytes(content[:8], "little")
        header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["oceanvar"])
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise ModelMismatchError(f"{name!r} is not an oceanvar model file ({error})") from error
    if header.get("format") not in (FORMAT, BEFORE):
        raise ModelMismatchError(
            f"{name!r} has format {header.get('format')!r}, this version of oceanvar reads {FORMAT!r}"
        )
    return tensors, header


def found(path: str | Path) -> Path:
    """File of a model: its own, or that of a packaged one of this name.

    Raises
    ------
    StoreError
        If there is neither.
    """
    packaged = PACKAGED / f"{path}.varnet"
    if Path(path).is_file():
        return Path(path)
    if packaged.is_file():
        return packaged
    names = sorted(p.stem for p in PACKAGED.glob("*.varnet"))
    raise StoreError(f"there is no model file {str(path)!r}, and the packaged models are {names}")


def packaged_file(name: Any, what: str) -> Path:
    """File of a packaged model that another file names.

    Raises
    ------
    ModelMismatchError
        If there is none.
    """
    names = {each.stem: each for each in PACKAGED.glob("*.varnet")}
    if name not in names:
        raise ModelMismatchError(
            f"{what!r} borrows from {name!r}, and the packaged models are {sorted(names)}"
        )
    return names[name]


def tell_format(header: Mapping[str, Any], name: str) -> None:
    """Warn of a file whose format kept less than it does now; `name` is what the message calls it."""
    if header["format"] == BEFORE:
        warnings.warn(
            f"{name!r} is of a format that did not keep the steps, directions and ranges that a model has learned on: "
            "data on another grid or in other units will not be noticed; fit it again, or give its state space axes "
            "and ranges and save it",
            MendedWarning,
            stacklevel=4,
        )


def put_weights(assimilator: Assimilator, tensors: Mapping[str, torch.Tensor], name: str) -> None:
    """Load the weights of a file.

    Raises
    ------
    ModelMismatchError
        If they are those of another assimilator.
    """
    try:
        assimilator.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise ModelMismatchError(f"the weights in {name!r} do not fit the assimilator: {error}") from error
