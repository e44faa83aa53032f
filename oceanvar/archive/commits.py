"""Writes the units of an analysis as commits to an Icechunk repository."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from oceanvar.archive.contents import Contents
from oceanvar.archive.icechunks import WORK, told_as_ours
from oceanvar.archive.records import Part
from oceanvar.archive.writers import ZarrWriter

if TYPE_CHECKING:
    from icechunk import Repository

UNITS = "oceanvar_units"
"""Attribute of an analysis: how many units runs have committed since it was begun."""


class IcechunkWriter(ZarrWriter):
    """Writes units as commits to the branch of a run.

    Parameters
    ----------
    writer : ZarrWriter
        What to write, and how.
    folder : Path
        A name in the folder of the run, of nothing: data go into the repository.
    repository : Repository
        Where they go.
    """

    def __init__(self, writer: ZarrWriter, folder: Path, repository: "Repository") -> None:
        super().__init__(folder, writer.template, writer.dim, writer.chunks, writer.storage)
        self._repository = repository

    def prepare(self) -> Contents:
        """Commit metadata and coordinates of an analysis without values."""
        session = self._repository.writable_session(WORK)
        self._lay_out(session.store)
        session.commit(f"oceanvar: begin {self.bounds[-1]} times", {"n_units": self.n_units})
        return {}

    def extend(self) -> Contents:
        """Commit the metadata and coordinates of a longer analysis around the values that are there."""
        session = self._repository.writable_session(WORK)
        group = zarr.open_group(session.store, mode="r+")
        others = self._empty()[0].drop_vars(self.fields)
        for name in map(str, others.variables):
            if name in group:
                del group[name]
        self._to_zarr(others, session.store, mode="a")
        for name in self.fields:
            array: Any = group[name]
            array.resize(self.template[name].shape)
        session.commit(f"oceanvar: extend to {self.bounds[-1]} times", {"n_units": self.n_units})
        return {}

    def clean(self) -> None:
        """Do nothing: what was not committed is not there."""

    def write(self, unit: int, values: Mapping[str, np.ndarray], part: Part | None = None) -> Contents:
        """Commit one unit; other times of it stay as they are."""
        with told_as_ours(self.folder):
            session = self._repository.writable_session(WORK)
            group = zarr.open_group(session.store, mode="r+")
            self._assign(group, unit, values, part)
            # A unit without any value changes nothing else, and must be a commit too.
            attrs: Any = group.attrs
            attrs[UNITS] = attrs.get(UNITS, 0) + 1
            session.commit(f"oceanvar: {self.name(unit)}", {"unit": unit})
        return {}
