"""One run over an archive: read ahead, solve in the order of time, write behind, note what is finished."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from tqdm import tqdm

from oceanvar.alignment import check_same_grid
from oceanvar.archive.manifest import Manifest
from oceanvar.archive.pipeline import Stopwatch, run_pipeline
from oceanvar.archive.reading import NETCDF
from oceanvar.archive.slabs import ArchiveIndex, SlabReader, rows_without_values
from oceanvar.archive.writers import AbstractWriter
from oceanvar.errors import GridMismatchError, StoppedError, StoreError
from oceanvar.mapping import Setup, stacked
from oceanvar.patching.streaming import TimeStream, regroup

Unit = tuple[int, np.ndarray]


@dataclass(frozen=True, eq=False)
class ArchiveRun:
    """What a run over an archive does.

    Parameters
    ----------
    index : ArchiveIndex
        Observations.
    setup : Setup
        How they are cut, solved and stitched.
    writer : AbstractWriter
        Where the analysis goes.
    background : Dataset, optional
        First guess.
    mask : DataArray, optional
        Where the analysis is kept.
    stop : callable
        Asked after each unit whether to stop.
    """

    index: ArchiveIndex
    setup: Setup
    writer: AbstractWriter
    background: xr.Dataset | None
    mask: xr.DataArray | None
    stop: Callable[[], bool]

    def __post_init__(self) -> None:
        self._stream_of(self.setup.job.function)  # refuses a periodic time

    def work(self, manifest: Manifest, progress: bool) -> None:
        """Do the units that the manifest lacks, and end it with a summary.

        Raises
        ------
        StoreError
            If a file cannot be read any more or the output cannot be written.
        StoppedError
            If the run was asked to stop; the units so far are finished.
        """
        n_done, n_units = len(manifest.units), len(self.writer.bounds) - 1
        if n_done < n_units:
            self._stream(manifest, n_done, progress)
        if manifest.summary is None:
            manifest.append(summary=self._summary(manifest))

    def _stream(self, manifest: Manifest, n_done: int, progress: bool) -> None:
        watch, unobserved = Stopwatch(), set[int]()
        row, function = self.writer.bounds[n_done], self.setup.job.function

        def timed(patches: np.ndarray, *others: Any) -> np.ndarray:
            with watch.time("solving"):
                return function(patches, *others)

        stream = self._stream_of(timed)
        if n_done:
            manifest.append(resumed=n_done, n_patches_again=stream.n_again(row))
        with _reported(progress, n_done, len(self.writer.bounds) - 1) as written:

            def write(item: Unit) -> None:
                self._write(manifest, watch, unobserved, *item)
                written()

            slabs = self._slabs(stream, row, watch, unobserved)
            run_pipeline(slabs, lambda slabs: self._units(stream, slabs, n_done), write)

    def _stream_of(self, function: Callable[..., np.ndarray]) -> TimeStream:
        extra = self.setup.space.extra_dims(self.index.layout)
        sizes = tuple(self.index.layout.sizes[dim] for dim in extra)
        return TimeStream(replace(self.setup.job, function=function), sizes)

    def _slabs(
        self, stream: TimeStream, row: int, watch: Stopwatch, unobserved: set[int]
    ) -> Iterator[np.ndarray]:
        reader = SlabReader(self.index)
        try:
            for first, stop in stream.reads(row):
                with watch.time("reading"):
                    obs = self._with_coordinates(reader.read(first, stop), first, stop)
                    guess = self._guess(first, stop)
                    unobserved |= {first + i for i in rows_without_values(obs, self.index.dim)}
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
        if self.background is None:
            return None
        variables = self.background[list(self.setup.space.variables)].reset_coords(drop=True)
        rows = variables.drop_vars(variables.indexes).isel({self.index.dim: slice(first, stop)})
        with NETCDF:
            return rows.load(scheduler="synchronous")

    def _units(self, stream: TimeStream, slabs: Iterable[np.ndarray], n_done: int) -> Iterator[Unit]:
        bounds = self.writer.bounds
        pieces = stream.solve(slabs, bounds[n_done])
        for unit, block in regroup(pieces, bounds, -len(self.setup.space.dims), n_done):
            self._hide(unit, block)
            yield unit, block
            if self.stop() and unit + 2 < len(bounds):
                raise StoppedError(f"stopped after unit {unit + 1} of {len(bounds) - 1}: resume to go on")

    def _hide(self, unit: int, block: np.ndarray) -> None:
        """Set NaN where the mask says so."""
        if self.mask is None:
            return
        first, stop = self.writer.bounds[unit : unit + 2]
        rows = self.mask.isel({self.index.dim: slice(first, stop)}, missing_dims="ignore")
        order = (*self.setup.space.extra_dims(self.index.layout), *self.setup.space.dims)
        with NETCDF:
            rows = rows.compute(scheduler="synchronous")
        kept = rows.transpose(*(dim for dim in order if dim in rows.dims)).values.astype(bool)
        spread = kept[tuple(slice(None) if dim in rows.dims else None for dim in order)]
        hidden = ~np.expand_dims(spread, -len(self.setup.space.dims) - 1)
        np.copyto(block, np.nan, where=np.broadcast_to(hidden, block.shape))

    def _write(
        self, manifest: Manifest, watch: Stopwatch, unobserved: set[int], unit: int, block: np.ndarray
    ) -> None:
        first, stop = self.writer.bounds[unit : unit + 2]
        space = self.setup.space
        values = {name: block.take(i, -len(space.dims) - 1) for i, name in enumerate(space.variables)}
        try:
            with watch.time("writing"):
                self.writer.write(unit, values)
            manifest.append(
                unit=unit,
                n_times=stop - first,
                n_missing=int(np.isnan(block).sum()),
                unobserved=sorted(unobserved.intersection(range(first, stop))),
                seconds=watch.lap(),
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise StoreError(
                f"cannot write {self.writer.name(unit)} in {str(self.writer.folder)!r}: {error}; "
                "what was written before is kept, resume to go on"
            ) from error

    def _summary(self, manifest: Manifest) -> dict[str, Any]:
        resumes = [record["n_patches_again"] for record in manifest.records if "resumed" in record]
        seconds = {
            work: round(sum(unit["seconds"].get(work, 0.0) for unit in manifest.units), 3)
            for work in ("reading", "solving", "writing")
        }
        unobserved = {row for unit in manifest.units for row in unit["unobserved"]}
        return {
            "n_files": len(self.index.files),
            "skipped": dict(self.index.skipped),
            "n_units": len(manifest.units),
            "n_patches": self._stream_of(self.setup.job.function).n_patches(),
            "n_patches_again": sum(resumes),
            "n_resumes": len(resumes),
            "n_cells": int(sum(self.writer.template[name].size for name in self.setup.space.variables)),
            "n_missing": sum(unit["n_missing"] for unit in manifest.units),
            "n_times": self.writer.bounds[-1],
            "n_times_unobserved": len(unobserved),
            "files_unobserved": self.index.files_of(unobserved),
            "seconds": seconds,
        }


def check_mask(mask: xr.DataArray, setup: Setup, layout: xr.Dataset) -> None:
    """Demand that a mask lies on the grid of the analysis.

    Raises
    ------
    GridMismatchError
        If sizes or coordinates differ, or the mask has a dimension that the analysis lacks.
    """
    dims = (*setup.space.extra_dims(layout), *setup.space.dims)
    unknown = [dim for dim in mask.dims if dim not in dims]
    if unknown:
        raise GridMismatchError(f"the mask has the dimensions {unknown}, the analysis only {list(dims)}")
    check_same_grid(layout, mask, mask.dims, "observations and mask")


@contextmanager
def _reported(progress: bool, n_done: int, n_units: int) -> Iterator[Callable[[], None]]:
    """Show a bar on a terminal, else write a line for each unit."""
    began, done = time.perf_counter(), n_done
    shown = progress and sys.stderr.isatty()
    with tqdm(total=n_units, initial=n_done, unit="unit", desc="assimilate", disable=not shown) as bar:

        def written() -> None:
            nonlocal done
            done += 1
            bar.update()
            if progress and not shown:
                seconds = time.perf_counter() - began
                left = seconds / (done - n_done) * (n_units - done)
                line = f"unit {done} of {n_units} written after {seconds:.0f} s, about {left:.0f} s left"
                print(line, file=sys.stderr, flush=True)

        yield written
