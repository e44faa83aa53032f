"""A timed sample of a run over an archive: one unit of it, thrown away afterwards."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from oceanvar.archive.indexes import AbstractIndex
from oceanvar.archive.planning import plan_run
from oceanvar.archive.storage import Storage
from oceanvar.network.varnet import VarNet
from oceanvar.options import Options


@dataclass(frozen=True)
class Trial:
    """What one unit of a run took.

    Parameters
    ----------
    n_patches : int
        Patches that were solved.
    seconds : float
        Time from reading to writing.
    n_bytes : int
        Size of the unit on the disk.
    share : float
        Share of the archive's patches that were solved.
    share_written : float
        Share of the archive's times that were written.
    """

    n_patches: int
    seconds: float
    n_bytes: int
    share: float
    share_written: float

    @property
    def total_seconds(self) -> float:
        """Time that the whole run would take in one process."""
        return self.seconds / self.share

    @property
    def total_bytes(self) -> int:
        """Size of the whole output on the disk."""
        return round(self.n_bytes / self.share_written)


def try_unit(index: AbstractIndex, model: VarNet, options: Options) -> Trial:
    """Do one unit in the middle of a run to a Zarr store, in a temporary folder.

    Parameters
    ----------
    index : AbstractIndex
        Observations, from `oceanvar.archive.slabs.index_archive`.
    model : VarNet
        Model.
    options : Options
        How to map them.

    Raises
    ------
    StoreError, ConfigError, PatchError, MissingVariableError, GridMismatchError, UnitsMismatchError
        As `oceanvar.archive.jobs.assimilate_archive`.
    """
    with tempfile.TemporaryDirectory() as folder:
        run, _ = plan_run(index, model, Path(folder) / "trial.zarr", Storage(None), lambda: False, options)
        run.writer.prepare()
        before = _size(folder)
        unit = (run.n_units - 1) // 2
        began = time.perf_counter()
        run.solve_stretch((unit, unit + 1), lambda record: None)
        seconds = time.perf_counter() - began
        n_bytes = _size(folder) - before
    n_patches, (first, stop) = run.n_patches((unit, unit + 1)), run.writer.bounds[unit : unit + 2]
    share_written = (stop - first) / run.writer.bounds[-1]
    return Trial(n_patches, seconds, n_bytes, n_patches / run.n_patches((0, run.n_units)), share_written)


def _size(folder: str) -> int:
    return sum(each.stat().st_size for each in Path(folder).rglob("*") if each.is_file())
