"""Tables and trees that the shell prints."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import ceil, isfinite, prod
from typing import Any

import xarray as xr

from oceanvar.archive.growth import Growth
from oceanvar.archive.indexes import AbstractIndex
from oceanvar.archive.planning import STATUS, output_chunks
from oceanvar.archive.runs import UNHEALTHY, ArchiveRun, time_stream
from oceanvar.archive.trials import Trial
from oceanvar.mapping import Setup
from oceanvar.network.varnet import VarNet
from oceanvar.registry import describe
from oceanvar.threads import described_number


def score_lines(scores: xr.Dataset) -> Iterator[str]:
    """Table of the scores of `oceanvar.papers.comparison.compare`."""
    yield scores.attrs["title"]
    yield (
        f"{'scheme':34} {'R':>9}   {'95 % interval':19} {'median':>9} {'rmse':>7} {'P':>8} {'2J/n':>7} "
        f"{'parameters':>10} {'s/window':>9}"
    )
    for row in score_rows(scores):
        interval = f"{_or_dash(row['r_score_low'], '.2e')} {_or_dash(row['r_score_high'], '.2e')}"
        yield (
            f"{row['scheme']:34} {_or_dash(row['r_score'], '9.2e')}   {interval:19} "
            f"{_or_dash(row['median'], '9.2e')} {_or_dash(row['rmse'], '7.3f')} "
            f"{_or_dash(row['p_score'], '8.1e')} {_or_dash(row['health'], '7.3g')} "
            f"{_or_dash(row['n_parameters'], '10.0f')} {row['seconds']:9.2g}"
        )


def score_rows(scores: xr.Dataset) -> list[dict[str, Any]]:
    """Scores as plain values, one row per scheme; None for what is not a number, as JSON has it."""
    columns = scores.drop_dims(["step", "window"])
    values = {
        name: [None if isinstance(one, float) and not isfinite(one) else one for one in each.values.tolist()]
        for name, each in columns.variables.items()
    }
    return [{str(name): row[i] for name, row in values.items()} for i in range(scores.sizes["scheme"])]


def _or_dash(value: float | None, form: str) -> str:
    """A number, or a dash as wide."""
    return f"{'-':>{form.partition('.')[0]}}" if value is None else f"{value:{form}}"


def model_lines(model: VarNet) -> Iterator[str]:
    """What a model is: state, architecture, training."""
    space = model.state_space
    parameters = list(model.assimilator.parameters())
    yield f"digest          {model.digest}"
    yield f"parameters      {sum(p.numel() for p in parameters):,}"
    for name in space.variables:
        scale = "not normalised yet"
        if space.mean is not None and space.std is not None:
            scale = f"mean {space.mean[name]:.6g}, standard deviation {space.std[name]:.6g}"
        seen = f", {space.ranges[name][0]:.4g} to {space.ranges[name][1]:.4g}" if name in space.ranges else ""
        known_by = f", by its {space.transform[name]}" if name in space.transform else ""
        error = f", error {space.error_std[name]:.3g} in withheld windows" if name in space.error_std else ""
        yield f"variable        {name} [{space.units.get(name, 'units not known')}], {scale}{seen}{known_by}{error}"
    for dim in space.dims:
        yield f"dimension       {dim}, {space.axes.get(dim, 'step not known')}"
    yield f"patch           {_counts(space.patch)}"
    yield f"overlap         {_counts(space.overlap)}"
    for dim, border in space.borders.items():
        least = border.least_overlap
        larger = f", {border.large:.3f} in larger patches" if border.large is not None else ""
        yield f"relative error  {border.by_overlap[least]:.3f} with overlap {dim}={least}{larger}"
    yield f"periodic        {', '.join(space.periodic) or 'none'}"
    yield "architecture"
    yield from _tree("assimilator", describe(model.assimilator), "  ")
    if model.provenance:
        yield "provenance"
        yield from ("  " + line for line in json.dumps(model.provenance, indent=2).splitlines()[1:-1])


def _tree(label: str, node: Any, indent: str) -> Iterator[str]:
    """Lines of a described object: plain arguments beside its name, parts below it."""
    items = node["arguments"] | node.get("set", {}) if isinstance(node, dict) else dict(enumerate(node))
    parts = {name: value for name, value in items.items() if _has_parts(value)}
    plain = ", ".join(f"{name}={value}" for name, value in items.items() if name not in parts)
    yield f"{indent}{label}: {node['class']}({plain})" if isinstance(node, dict) else f"{indent}{label}:"
    for name, value in parts.items():
        yield from _tree(str(name), value, indent + "  ")


def _has_parts(value: Any) -> bool:
    if isinstance(value, dict):
        return "class" in value
    return isinstance(value, list) and any(_has_parts(item) for item in value)


def summary_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """What a run over an archive did, from `oceanvar.archive.jobs.read_summary`."""
    seconds = ", ".join(f"{work} {each:.1f}" for work, each in summary["seconds"].items())
    share = summary["n_missing"] / summary["n_cells"]
    yield f"files           {summary['n_files']}"
    yield from (f"left out        {name}: {reason}" for name, reason in summary["skipped"].items())
    yield from (f"mended          {each}" for each in summary["mended"])
    yield from (f"unobserved      {name}: no finite value in it" for name in summary["files_unobserved"])
    yield f"times           {summary['n_times']}, {summary['n_times_unobserved']} of them without any observation"
    if summary["n_not_used"]:
        yield f"not used        {summary['n_not_used']:,} values, invalid or far from all that was learned on"
    kept = f", {summary['n_units_kept']} of them as they were" if summary.get("n_units_kept") else ""
    yield f"units           {summary['n_units']}{kept}"
    again = f", {summary['n_patches_again']} of them twice (between workers, or after {summary['n_resumes']} resume(s))"
    yield f"patches         {summary['n_patches']}{again if summary['n_patches_again'] else ''}"
    yield f"cells           {summary['n_cells']:,}, {share:.1%} of them NaN"
    if summary["n_unhealthy"] is not None:
        yield f"health          {summary['n_unhealthy']:,} cells above {UNHEALTHY}"
    yield f"seconds         {seconds} (at the same time)"


def plan_lines(index: AbstractIndex, setup: Setup) -> Iterator[str]:
    """What mapping an archive would take, without solving."""
    obs, space, grid = index.layout, setup.space, setup.job.grid
    n_members = prod(obs.sizes[dim] for dim in space.extra_dims(obs))
    times = obs.indexes[space.dims[0]]
    chunk = output_chunks(obs, space)
    skipped = f", {len(index.skipped)} left out" if index.skipped else ""
    yield f"files           {len(index.files)}{skipped}"
    yield from (f"left out        {each}" for each in index.skipped.values())
    yield from (f"mended          {each}" for each in (*index.told, *setup.given.told))
    yield f"times           {len(times)}, {times[0]} to {times[-1]}"
    yield f"grid            {_counts({**{d: obs.sizes[d] for d in space.extra_dims(obs)}, **grid.sizes})}"
    n_solves = len(grid) * n_members
    n_batch = min(n_solves, setup.job.batch_size)
    per_dim = " x ".join(f"{len(grid.starts[dim])} ({dim})" for dim in grid.dims)
    yield f"patch           {_counts(grid.patch)}"
    yield f"overlap         {_counts(grid.overlap)}"
    yield f"patches         {per_dim} = {len(grid)}"
    n_times_solved = len(grid) * prod(grid.patch_shape) / prod(grid.shape)
    yield f"solves          {n_solves}, every point {n_times_solved:.1f} times on average"
    yield f"batches         about {ceil(n_solves / n_batch)} of {n_batch} patches"
    n_bytes = _memory(setup, n_batch, chunk)
    yield f"threads         {described_number()}"
    yield f"memory          about {_size(n_bytes)} (rough, without the libraries)"
    n_bytes = 4 * space.n_variables * n_members * prod(grid.shape)
    yield f"output          {_size(n_bytes)} before compression, in blocks of {_counts(chunk)}"


def growth_lines(run: ArchiveRun, growth: Growth) -> Iterator[str]:
    """What an append would solve."""
    times = run.writer.template.indexes[run.index.dim]
    run = replace(run, parts=growth.parts, begun=growth.begun)
    stretches = run.stretches(growth.kept)
    n_whole = run.n_units - len(growth.kept) - len(growth.parts)
    yield f"files           {len(run.index.files)}"
    yield f"times           {len(times)}, {times[0]} to {times[-1]}"
    for stretch in stretches:
        first, stop = run.rows(stretch)
        yield f"solved          {stop - first} times, {times[first]} to {times[stop - 1]}"
    n_solved = sum(map(run.n_patches, stretches))
    yield f"patches         {n_solved} of {time_stream(run.setup).n_patches()}"
    yield f"units           {n_whole} whole, {len(growth.parts)} in part, {len(growth.kept)} stay as they are"
    n_final = run.writer.template.sizes[run.index.dim] - int(run.writer.template[STATUS].sum())
    yield f"final           {n_final} times" + (f", up to {times[n_final - 1]}" if n_final else "")


def trial_lines(trial: Trial) -> Iterator[str]:
    """What a whole run would take, judging by one unit of it."""
    minutes, seconds = divmod(round(trial.total_seconds), 60)
    hours, minutes = divmod(minutes, 60)
    sample = f"{trial.n_patches} patches took {trial.seconds:.1f} s"
    yield f"disk            about {_size(trial.total_bytes)}, judging by one unit"
    yield f"time            about {hours} h {minutes:02} min {seconds:02} s in one process ({sample})"


def _memory(setup: Setup, n_batch: int, chunk: Mapping[str, int]) -> int:
    """Bytes of the rows in memory, and of what all convolutions leave for their adjoints."""
    space, grid = setup.space, setup.job.grid
    time_dim, *others = space.dims
    # Three times the window (read, stitched, carried on) and four chunks (collected, queued, written).
    n_times = min(grid.sizes[time_dim], 4 * chunk[time_dim] + 3 * grid.patch[time_dim])
    blocks = n_times * space.n_variables * prod(grid.sizes[dim] for dim in others)
    activations = sum(
        len(weight) * prod(grid.patch_shape[-(weight.ndim - 2) :])
        for weight in setup.model.assimilator.parameters()
        if weight.ndim > 2
    )
    return 4 * (blocks + n_batch * activations)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{dim} {n}" for dim, n in counts.items()) or "none"


def _size(n_bytes: int) -> str:
    for unit in ("B", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes = n_bytes / 1000  # type: ignore[assignment]
    return f"{n_bytes:,.1f} GB"
