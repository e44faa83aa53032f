"""What patches add up to in times that may still change: kept beside an output, so that it is not solved again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from oceanvar.archive.contents import contents_of, faults
from oceanvar.files.writing import written_aside
from oceanvar.patching.streaming import Sums

SUMS = "sums.npy"
"""Their file in the folder of a run."""


def save_sums(folder: Path, sums: Sums) -> dict[str, Any]:
    """Write sums, and say for the record what they are."""
    with written_aside(folder / SUMS) as aside, aside.open("wb") as stream:
        np.save(stream, sums.total)
    return {"n_groups": sums.n_groups, "first": sums.first, "files": contents_of(folder, [folder / SUMS])}


def load_sums(folder: Path, record: Mapping[str, Any]) -> Sums | None:
    """Read sums of which a record speaks; None where their file is not as it was written."""
    if faults(folder, record["files"], deep=True):
        return None
    return Sums(record["n_groups"], record["first"], np.load(folder / SUMS))
