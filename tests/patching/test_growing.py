"""A record that grows: what a longer one changes, and what none changes any more."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from oceanvar.patching.grids import PatchGrid
from oceanvar.patching.growing import changed_rows, of_length, still_valid
from oceanvar.patching.streaming import Sums, TimeStream, rows
from tests.patching.test_streaming import field_for, make_job, problems, streamed, theorem


def of_mates(patches: np.ndarray) -> np.ndarray:
    """A function whose answer depends on all patches of the batch, as no good one does."""
    return (patches[:, :1] + patches.mean() * np.float32(0.1)).astype(np.float32)


@theorem
@given(problems(), st.integers(1, 30), st.integers(-9, 30), st.data())
def test_rows_that_are_not_changed_keep_their_bits(problem, batch_size, n_more, data):
    grid, batch = problem
    axis, n_before = -len(grid.dims), grid.sizes["time"]
    before = TimeStream(make_job(grid, of_mates, batch_size), batch)
    now = of_length(before, max(grid.patch["time"], n_before + n_more))
    n_both = min(n_before, now.size)
    field = field_for(now.job.grid, batch)
    old = np.zeros((*field.shape[:axis], n_before, *field.shape[len(field.shape) + axis + 1 :]), field.dtype)
    rows(old, 0, n_both, axis)[...] = rows(field, 0, n_both, axis)
    others = data.draw(st.lists(st.integers(0, n_both - 1), max_size=3))
    for row in others:
        rows(old, row, row + 1, axis)[...] += 1
    touched = np.isin(np.arange(max(n_before, now.size)), others)
    touched[n_both:] = True
    changed = changed_rows(before, now, touched)
    assert changed.shape == (now.size,)
    assert changed[touched[: now.size]].all()
    kept = np.flatnonzero(~changed)
    np.testing.assert_array_equal(
        np.take(streamed(old, before), kept, axis), np.take(streamed(field, now), kept, axis), strict=True
    )


@theorem
@given(problems(), st.integers(1, 30))
def test_final_rows_are_those_that_no_longer_record_changes(problem, batch_size):
    grid, batch = problem
    before = TimeStream(make_job(grid, of_mates, batch_size), batch)
    firsts = []
    for n in range(before.size + 1, before.size + 3 * before.length + 1):
        changed = changed_rows(before, of_length(before, n), np.arange(n) >= before.size)
        firsts.append(int(np.flatnonzero(changed)[0]))
    assert min(firsts) == before.n_final


def test_final_rows_by_hand():
    """Patches of 4 that share 2: a record of 10 ends with one in its place, one of 11 with a shifted one."""
    grid = PatchGrid({"time": 10}, {"time": 4}, {"time": 2})
    one = TimeStream(make_job(grid, of_mates, 1))
    assert [of_length(one, n).n_final for n in (10, 11, 12)] == [7, 7, 9]
    three = TimeStream(make_job(grid, of_mates, 3))
    assert three.groups == ((0, 2, 4), (6,))
    assert [of_length(three, n).n_final for n in (8, 10, 14)] == [5, 6, 11]


@theorem
@given(problems(), st.integers(1, 30), st.integers(0, 30), st.data())
def test_a_longer_record_begins_with_the_sums_of_the_shorter(problem, batch_size, n_more, data):
    """It solves the groups behind them only, gives the same bits, and leaves the sums that it leaves from scratch."""
    grid, batch = problem
    axis, n_before = -len(grid.dims), grid.sizes["time"]
    before = TimeStream(make_job(grid, of_mates, batch_size), batch)
    now = of_length(before, n_before + n_more)
    field = field_for(now.job.grid, batch)
    left = [sums_left(rows(field, 0, n_before, axis), before)]
    scratch = sums_left(field, now)
    if left[0] is None:
        assert before.n_lasting == 0
        return
    assume(left[0].first < now.size)
    assert (left[0].n_groups, left[0].first) == (before.n_lasting, before.n_final)
    touched = np.arange(now.size) >= n_before
    assert still_valid(left[0], before, now, touched)
    begun = TimeStream(now.job, batch, left[0])
    row = data.draw(st.integers(left[0].first, now.size - 1))
    stop = data.draw(st.integers(row + 1, now.size))
    assert begun.groups_of(row) == tuple(
        g for g in now.groups[before.n_lasting :] if g[-1] + now.length > row
    )
    np.testing.assert_array_equal(
        streamed(field, begun, row, stop), rows(streamed(field, now), row, stop, axis), strict=True
    )
    again = sums_left(field, begun, left[0].first)
    assert (again.n_groups, again.first) == (scratch.n_groups, scratch.first)
    np.testing.assert_array_equal(again.total, scratch.total, strict=True)


def sums_left(field: np.ndarray, stream: TimeStream, row: int = 0) -> Sums | None:
    """What a stream keeps for a longer record."""
    left: list[Sums] = []
    slabs = (rows(field, *each, -len(stream.job.grid.dims)) for each in stream.reads(row))
    for _ in stream.solve(slabs, row, keep=left.append):
        pass
    assert len(left) <= 1
    return left[0] if left else None


def test_sums_are_of_no_use_where_their_groups_have_changed():
    grid = PatchGrid({"time": 11}, {"time": 4}, {"time": 2})
    before = TimeStream(make_job(grid, of_mates, 1))
    assert before.groups == ((0,), (2,), (4,), (6,), (7,))
    sums = Sums(4, 7, np.zeros((1, 3), np.float32))

    def valid(n: int, *others: int) -> bool:
        return still_valid(sums, before, of_length(before, n), np.isin(np.arange(max(n, 11)), others))

    assert valid(12, 11)
    assert valid(11, 0, 1, 2, 3, 10), "of groups that reach no row of the sums"
    assert not valid(12, 5, 11)
    assert not valid(9)
