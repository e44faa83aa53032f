"""One run over an archive: read ahead, solve in the order of time, write behind, note what is finished."""

import itertools
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from oceanvar.archive.indexes import AbstractIndex
from oceanvar.archive.kept_sums import save_sums
from oceanvar.archive.manifest import Manifest
from oceanvar.archive.pipeline import Stopwatch, run_pipeline
from oceanvar.archive.progress import reported
from oceanvar.archive.reading import NETCDF
from oceanvar.archive.records import Part, Record, by_time, counts, unobserved
from oceanvar.archive.slabs import rows_without_values
from oceanvar.archive.stretches import Stretch, missing
from oceanvar.archive.writers import AbstractWriter
from oceanvar.errors import StoppedError, StoreError
from oceanvar.mapping import Setup, stacked
from oceanvar.network.handles import PatchSolver, resolve_device
from oceanvar.patching.streaming import Sums, TimeStream, regroup
from oceanvar.state.anomalies import with_climatology
from oceanvar.state.labelling import written_at
from oceanvar.state.transforms import from_log10
from oceanvar.threads import best_number

logger = logging.getLogger(__name__)
Unit = tuple[int, np.ndarray]
Note = Callable[[Record], None]

UNHEALTHY = 1.15
"""2J/n_obs above which a cell counts as poorly fitted: far from chance for some hundred observations."""


@dataclass
class _Seen:
    """What was seen of a stretch so far: rows that hold no value, how many values of others were no observations.

    By rows: those where stretches overlap are read twice and count once. And what is known of sums that were kept.
    """

    unobserved: set[int] = field(default_factory=set)
    n_not_used: dict[int, int] = field(default_factory=dict)
    sums: Record | None = None


@dataclass(frozen=True, eq=False)
class ArchiveRun:
    """What a run over an archive does.

    Parameters
    ----------
    index : AbstractIndex
        Observations.
    setup : Setup
        How they are cut, solved and stitched.
    writer : AbstractWriter
        Where the analysis goes.
    stop : callable
        Asked after each unit whether to stop.
    parts : mapping of int to Part
        Units of which only some times are solved.
    begun : Sums, optional
        What the first patches add up to, if that is known.
    grows : bool
        Whether to keep what patches add up to in times that may still change.
    """

    index: AbstractIndex
    setup: Setup
    writer: AbstractWriter
    stop: Callable[[], bool]
    parts: Mapping[int, Part] = field(default_factory=dict)
    begun: Sums | None = None
    grows: bool = False

    def __post_init__(self) -> None:
        self.stream_of(self.setup.job.function)  # refuses a periodic time

    def work(self, manifest: Manifest, progress: bool, team: "AbstractTeam") -> None:
        """Do the units that the manifest lacks, and end it with a summary.

        Parameters
        ----------
        manifest : Manifest
            Record of the run.
        progress : bool
            Show a bar or lines.
        team : AbstractTeam
            Who does the work.

        Raises
        ------
        StoreError
            If a file cannot be read any more or the output cannot be written.
        StoppedError
            If the run was asked to stop; the units so far are finished.
        """
        done, n_units = {unit["unit"] for unit in manifest.units}, self.n_units
        stretches = team.divided(self.stretches(done))
        if stretches:
            self._announce(manifest, done, stretches)
            with reported(progress, len(done), n_units) as written:

                def note(record: Record) -> None:
                    if record["unit"] in done:
                        return
                    try:
                        manifest.append(**record)
                    except OSError as error:
                        raise self._unwritten(record["unit"], error) from error
                    done.add(record["unit"])
                    written()

                team.work(self, stretches, note)
        if len(done) < n_units:
            raise StoppedError(f"stopped after {len(done)} of {n_units} units: resume to go on")
        if manifest.summary is None:
            manifest.append(summary=self._summary(manifest))

    def use_threads(self, number: int) -> None:
        """Have every process that does a part of this run solve with so many threads."""
        if isinstance(self.setup.job.function, PatchSolver):
            self.setup.job.function.n_threads = number

    @property
    def n_units(self) -> int:
        """Number of units of the whole run."""
        return self.writer.n_units

    def stretches(self, done: Collection[int]) -> list[Stretch]:
        """Stretches of units that are not done whose rows follow each other."""
        found: list[Stretch] = []
        for first, stop in missing(done, (0, self.n_units)):
            cuts = [
                unit
                for unit in range(first + 1, stop)
                if self.rows((unit - 1, unit))[1] < self.rows((unit, unit + 1))[0]
            ]
            found += itertools.pairwise([first, *cuts, stop])
        return found

    def n_patches(self, stretch: Stretch) -> int:
        """Count the patches that a stretch of units needs."""
        return self.stream_of(self.setup.job.function).n_patches(*self.rows(stretch))

    def solve_stretch(self, stretch: Stretch, note: Note) -> None:
        """Do the units [first, stop) of a stretch, unless `stop` says so after one of them.

        Parameters
        ----------
        stretch : (int, int)
            Units to do.
        note : callable
            Takes the record of each unit when its data are on the disk.
        """
        watch, seen = Stopwatch(), _Seen()
        function = self.setup.job.function

        def timed(patches: np.ndarray, *others: Any, **named: Any) -> np.ndarray:
            with watch.time("solving"):
                return function(patches, *others, **named)

        def keep(sums: Sums) -> None:
            seen.sums = save_sums(self.writer.folder.parent, sums)

        stream = self.stream_of(timed)
        rows, kept = self.rows(stretch), keep if self.grows else None
        run_pipeline(
            self._slabs(stream, rows, watch, seen),
            lambda slabs: self._units(stream.solve(slabs, *rows, kept), stretch),
            lambda item: note(self._written(watch, seen, *item)),
        )

    def rows(self, stretch: Stretch) -> tuple[int, int]:
        """Rows that are solved for a stretch of units."""
        first, stop = stretch
        return self._rows_of(first)[0], self._rows_of(stop - 1)[1]

    def _rows_of(self, unit: int) -> tuple[int, int]:
        """Rows of a unit that are solved."""
        first, stop = self.writer.bounds[unit : unit + 2]
        return self.parts[unit].rows if unit in self.parts else (first, stop)

    def _announce(self, manifest: Manifest, done: set[int], stretches: Sequence[Stretch]) -> None:
        """Note who begins what, and how many patches are solved though they were solved before."""
        bounds = self.writer.bounds
        finished = [(bounds[unit], bounds[unit + 1]) for unit in sorted(done)]
        stream = self.stream_of(self.setup.job.function)
        n_again = stream.n_solved_before([self.rows(each) for each in stretches], finished)
        if n_again:
            logger.info("%d patches are solved again, at boundaries or because of a resume", n_again)
        manifest.append(stretches=list(map(list, stretches)), n_done=len(done), n_patches_again=n_again)

    def stream_of(self, function: Callable[..., np.ndarray]) -> TimeStream:
        """Patches in the order of time, solved by a function."""
        return time_stream(replace(self.setup, job=replace(self.setup.job, function=function)), self.begun)

    def _slabs(
        self, stream: TimeStream, rows: tuple[int, int], watch: Stopwatch, seen: "_Seen"
    ) -> Iterator[np.ndarray]:
        reader = self.index.reader()
        try:
            for first, stop in stream.reads(*rows):
                with watch.time("reading"):
                    read = reader.read(first, stop)
                    obs = self._with_coordinates(read.obs, first, stop)
                    guess = self._guess(first, stop)
                    seen.unobserved |= {first + i for i in rows_without_values(obs, self.index.dim)}
                    found = np.flatnonzero(read.n_not_used)
                    seen.n_not_used |= {int(first + i): int(read.n_not_used[i]) for i in found}
                    slab = stacked(obs, guess, self.setup.space).values
                yield slab
        finally:
            reader.close()

    def _with_coordinates(self, obs: xr.Dataset, first: int, stop: int) -> xr.Dataset:
        """Add the coordinates that serve the model as covariates."""
        layout = self.index.layout
        named = [name for name in self.setup.space.inputs if name in layout.coords]
        rows = layout.coords.to_dataset()[named].isel(
            {self.index.dim: slice(first, stop)}, missing_dims="ignore"
        )
        return obs.assign({name: rows[name].variable for name in named})

    def _guess(self, first: int, stop: int) -> xr.Dataset | None:
        background = self.setup.background
        if background is None:
            return None
        variables = background[list(self.setup.space.variables)].reset_coords(drop=True)
        rows = variables.drop_vars(variables.indexes).isel({self.index.dim: slice(first, stop)})
        with NETCDF:
            return rows.load(scheduler="synchronous")

    def _units(self, pieces: Iterable[tuple[int, np.ndarray]], stretch: Stretch) -> Iterator[Unit]:
        axis, bounds = -len(self.setup.space.dims), list(self.writer.bounds)
        bounds[stretch[1]] = self.rows(stretch)[1]
        for unit, block in regroup(pieces, bounds, axis, stretch[0]):
            self._hide(unit, block)
            yield unit, block
            if self.stop():
                return

    def _hide(self, unit: int, block: np.ndarray) -> None:
        """Set NaN where the mask says so."""
        mask = self.setup.mask
        if mask is None:
            return
        first, stop = self._rows_of(unit)
        rows = mask.isel({self.index.dim: slice(first, stop)}, missing_dims="ignore")
        order = self.setup.space.all_dims(self.index.layout)
        with NETCDF:
            rows = rows.compute(scheduler="synchronous")
        kept = rows.transpose(*(dim for dim in order if dim in rows.dims)).values.astype(bool)
        spread = kept[tuple(slice(None) if dim in rows.dims else None for dim in order)]
        hidden = ~np.expand_dims(spread, -len(self.setup.space.dims) - 1)
        np.copyto(block, np.nan, where=np.broadcast_to(hidden, block.shape))

    def _written(self, watch: Stopwatch, seen: "_Seen", unit: int, block: np.ndarray) -> Record:
        first, stop = self.writer.bounds[unit : unit + 2]
        part, rows = self.parts.get(unit), self._rows_of(unit)
        axis = -len(self.setup.space.dims)
        beside = (slice(None),) * -axis
        places = written_at(self.setup.space.variables, block.shape[axis - 1])
        fields = {name: block[(..., place, *beside)] for name, place in places.items()}
        at = self.setup.given.ds.isel({self.setup.space.dims[0]: slice(first, stop)})
        fields = with_climatology(fields, at, self.setup.space)
        values = from_log10(fields, self.setup.space.transform, self.setup.space.error_std)
        state = block.take(range(self.setup.space.n_variables), axis - 1)
        try:
            with watch.time("writing"):
                files = self.writer.write(unit, values, part)
        except (OSError, RuntimeError, ValueError) as error:
            raise self._unwritten(unit, error) from error
        record = {
            "unit": unit,
            "first": first,
            "n_times": stop - first,
            "times": self.writer.times(unit),
            "n_missing": by_time(np.isnan(state), axis),
            "n_unhealthy": by_time(values["health"] > UNHEALTHY, axis) if "health" in values else None,
            "unobserved": sorted(seen.unobserved.intersection(range(*rows))),
            "n_not_used": [seen.n_not_used.get(row, 0) for row in range(*rows)],
            "seconds": watch.lap(),
            "files": files,
        }
        if seen.sums is not None and unit == self.n_units - 1:
            record["sums"] = seen.sums
        return record if part is None else part.joined(record)

    def _unwritten(self, unit: int, error: Exception) -> StoreError:
        return StoreError(
            f"cannot write {self.writer.name(unit)} in {str(self.writer.folder)!r}: {error}; "
            "what was written before is kept, resume to go on"
        )

    def _summary(self, manifest: Manifest) -> dict[str, Any]:
        begun = [record for record in manifest.records if "stretches" in record]
        return {
            "n_files": len(self.index.files),
            "skipped": dict(self.index.skipped),
            "mended": list(self.index.told),
            "n_units": len(manifest.units),
            "n_units_kept": manifest.n_kept,
            "n_patches": time_stream(self.setup).n_patches(),
            "n_patches_again": sum(record["n_patches_again"] for record in begun),
            "n_repaired": sum(len(record.get("lost", ())) for record in manifest.records),
            "n_resumes": sum(record["n_done"] > manifest.n_kept for record in begun),
            "n_cells": int(sum(self.writer.template[name].size for name in self.setup.space.variables)),
            "n_times": self.writer.bounds[-1],
            "files_unobserved": self.index.files_of(unobserved(manifest.units)),
            **counts(manifest.units),
        }


def time_stream(setup: Setup, begun: Sums | None = None) -> TimeStream:
    """Patches of a mapping in the order of time, behind those that are known already."""
    extra = setup.space.extra_dims(setup.given.ds)
    return TimeStream(setup.job, tuple(setup.given.ds.sizes[dim] for dim in extra), begun)


class AbstractTeam(ABC):
    """Who does the work of a run.

    Attributes
    ----------
    device : str
        Kind of device it solves on: "cpu" or "cuda".
    n_threads : int
        Threads of each member with which it solves best on a CPU, all alike: results would differ in the last digits.
    """

    device: str
    n_threads: int

    @abstractmethod
    def divided(self, gaps: list[Stretch]) -> list[Stretch]:
        """Divide the stretches of missing units among the members."""

    @abstractmethod
    def work(self, run: ArchiveRun, stretches: Sequence[Stretch], note: Note) -> None:
        """Do these stretches of units, and note each unit when its data are on the disk."""


class Alone(AbstractTeam):
    """Nobody but this process.

    Parameters
    ----------
    device : str
        Where to solve: "auto", "cpu", "cuda" or "cuda:1".

    Raises
    ------
    ConfigError
        If this process has no such device.
    """

    def __init__(self, device: str) -> None:
        self.device = resolve_device(device).split(":")[0]
        self.n_threads = best_number()

    def divided(self, gaps: list[Stretch]) -> list[Stretch]:
        """Leave them as they are."""
        return gaps

    def work(self, run: ArchiveRun, stretches: Sequence[Stretch], note: Note) -> None:
        """Do one stretch after the other."""
        for stretch in stretches:
            run.solve_stretch(stretch, note)
            if run.stop():
                return
