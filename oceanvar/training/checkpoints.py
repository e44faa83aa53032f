"""Checkpoints that a killed run continues from."""

from pathlib import Path
from typing import Any

import torch

from oceanvar.errors import ModelMismatchError, StoreError
from oceanvar.files.writing import written_aside


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint so that a kill leaves either the old one or the new one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as aside:
        torch.save(content, aside)


def load_checkpoint(path: Path, settings: str) -> dict[str, Any]:
    """Read a checkpoint; weights and plain values only, no code.

    Raises
    ------
    ModelMismatchError
        If the run had other settings than the ones given now, or is of an earlier version.
    """
    try:
        content = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, EOFError) as error:
        raise StoreError(f"the checkpoint {path} cannot be read: {error}") from error
    if content["settings"] != settings:
        raise ModelMismatchError(
            f"the run in {path.parent} had other settings ({content['settings']}) than now ({settings}): "
            "use another checkpoint folder, or resume=False to start anew"
        )
    if "before" not in content:
        raise ModelMismatchError(
            f"the run in {path.parent} is of a version that did not keep what it began with: use another checkpoint "
            "folder, or resume=False to start anew"
        )
    return dict(content)
