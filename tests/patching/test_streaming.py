"""Time-streamed stitching: the field of map_patches, the same bits wherever the work begins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oceanvar.errors import PatchError
from oceanvar.patching.batches import PatchJob
from oceanvar.patching.graphs import map_patches
from oceanvar.patching.grids import PatchGrid
from oceanvar.patching.streaming import TimeStream, regroup, rows
from oceanvar.patching.tapers import taper_factors
from tests.strategies import patch_grids

theorem = settings(deadline=None, max_examples=50)


def demeaned(patches: np.ndarray) -> np.ndarray:
    """A function whose answer at a cell depends on the whole patch."""
    axes = tuple(range(2, patches.ndim))
    return patches[:, :1] - patches.mean(axes, keepdims=True)[:, :1] * 0.3


def batch_dependent(patches: np.ndarray) -> np.ndarray:
    """A function whose rounding depends on the batch: the same bits need the same batches."""
    return (patches[:, :1] + np.float32(1e-6) * len(patches)).astype(np.float32)


@st.composite
def problems(draw: st.DrawFn) -> tuple[PatchGrid, tuple[int, ...]]:
    grid = draw(patch_grids(max_size=7, max_time=23, may_close=("lat", "lon")))
    return grid, draw(st.sampled_from([(), (2,), (2, 1)]))


def field_for(grid: PatchGrid, batch: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(5).uniform(-1, 1, (*batch, 2, *grid.shape)).astype(np.float32)


def make_job(grid: PatchGrid, function, batch_size: int) -> PatchJob:
    return PatchJob(grid, function, taper_factors("triangle", grid), 1, batch_size, np.dtype("float32"))


def streamed(field: np.ndarray, stream: TimeStream, row: int = 0, stop: int | None = None) -> np.ndarray:
    axis = -len(stream.job.grid.dims)
    slabs = (rows(field, *each, axis) for each in stream.reads(row, stop))
    expected = row
    parts = []
    for first, part in stream.solve(slabs, row, stop):
        assert first == expected
        expected += part.shape[axis]
        parts.append(part)
    return np.concatenate(parts, axis=axis)


@theorem
@given(problems(), st.integers(1, 30))
def test_a_stream_gives_the_field_of_map_patches(problem, batch_size):
    grid, batch = problem
    field = field_for(grid, batch)
    job = make_job(grid, demeaned, batch_size)
    expected = map_patches(field, job)
    result = streamed(field, TimeStream(job, batch))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=4e-6, rtol=0)


@theorem
@given(problems(), st.integers(1, 30), st.data())
def test_beginning_at_any_row_gives_the_same_bits(problem, batch_size, data):
    grid, batch = problem
    stream = TimeStream(make_job(grid, batch_dependent, batch_size), batch)
    field = field_for(grid, batch)
    row = data.draw(st.integers(0, grid.sizes["time"] - 1))
    whole = streamed(field, stream)
    np.testing.assert_array_equal(
        streamed(field, stream, row), rows(whole, row, None, -len(grid.dims)), strict=True
    )


@theorem
@given(problems(), st.integers(1, 30), st.data())
def test_units_of_any_size_have_the_same_bits(problem, batch_size, data):
    grid, batch = problem
    n, axis = grid.sizes["time"], -len(grid.dims)
    stream = TimeStream(make_job(grid, batch_dependent, batch_size), batch)
    field = field_for(grid, batch)
    bounds = [0, *sorted(data.draw(st.sets(st.integers(1, n - 1)) if n > 1 else st.just(set()))), n]
    begin = data.draw(st.integers(0, len(bounds) - 2))
    whole = streamed(field, stream)
    slabs = (rows(field, first, stop, axis) for first, stop in stream.reads(bounds[begin]))
    units = list(regroup(stream.solve(slabs, bounds[begin]), bounds, axis, begin))
    assert [number for number, _ in units] == list(range(begin, len(bounds) - 1))
    for number, unit in units:
        np.testing.assert_array_equal(
            unit, rows(whole, bounds[number], bounds[number + 1], axis), strict=True
        )


@theorem
@given(problems(), st.integers(1, 30), st.data())
def test_any_stretch_of_rows_has_the_same_bits(problem, batch_size, data):
    grid, batch = problem
    n, axis = grid.sizes["time"], -len(grid.dims)
    stream = TimeStream(make_job(grid, batch_dependent, batch_size), batch)
    field = field_for(grid, batch)
    row = data.draw(st.integers(0, n - 1))
    stop = data.draw(st.integers(row + 1, n))
    whole = streamed(field, stream)
    np.testing.assert_array_equal(
        streamed(field, stream, row, stop), rows(whole, row, stop, axis), strict=True
    )


@theorem
@given(problems(), st.integers(1, 30), st.data())
def test_counts_are_those_of_the_work(problem, batch_size, data):
    grid, batch = problem
    n = grid.sizes["time"]
    solved: list[int] = []

    def counted(patches: np.ndarray) -> np.ndarray:
        solved.append(len(patches))
        return patches[:, :1]

    stream = TimeStream(make_job(grid, counted, batch_size), batch)
    cut = data.draw(st.integers(1, n - 1)) if n > 1 else n
    ranges = [each for each in ((0, cut), (cut, n)) if each[0] < each[1]]
    for each in ranges:
        solved.clear()
        streamed(field_for(grid, batch), stream, *each)
        assert sum(solved) == stream.n_patches(*each)
        assert max(solved) <= batch_size
    n_patches = len(grid) * int(np.prod(batch))
    n_twice = sum(stream.n_patches(*each) for each in ranges) - n_patches
    assert stream.n_patches() == n_patches
    assert stream.n_solved_before(ranges, []) == n_twice
    assert stream.n_solved_before(ranges[1:], ranges[:1]) == (n_twice if len(ranges) > 1 else 0)
    assert stream.n_solved_before([(0, n)], [(0, n)]) == n_patches
    assert stream.n_solved_before([(0, n)], []) == 0


def test_only_rows_of_the_patches_at_work_are_held():
    grid = PatchGrid({"time": 400, "x": 6}, {"time": 8, "x": 4}, {"time": 5, "x": 1})
    stream = TimeStream(make_job(grid, demeaned, 3), ())
    most = 0
    given_rows = 0

    def slabs():
        nonlocal given_rows
        for first, stop in stream.reads():
            given_rows = stop
            yield np.zeros((2, stop - first, 6), np.float32)

    for first, part in stream.solve(slabs()):
        assert part.base is None or part.base.shape[-2] <= 8
        most = max(most, given_rows - first)
    assert most <= 8


def test_the_shifted_last_patch_keeps_rows_open():
    grid = PatchGrid({"time": 10}, {"time": 4}, {"time": 1})  # starts 0, 3, 6
    ragged = PatchGrid({"time": 9}, {"time": 4}, {"time": 1})  # starts 0, 3, 5
    for each, expected in ((grid, [0, 3, 6]), (ragged, [0, 3, 5])):
        stream = TimeStream(make_job(each, demeaned, 1), ())
        field = field_for(each, ())
        slabs = [field[:, first:stop] for first, stop in stream.reads()]
        assert [first for first, _ in stream.solve(slabs)] == expected


def test_a_periodic_time_is_refused():
    grid = PatchGrid({"time": 8, "x": 4}, {"time": 4, "x": 2}, {}, ("time",))
    with pytest.raises(PatchError, match="'time' is periodic"):
        TimeStream(make_job(grid, demeaned, 1), ())
