"""A record that grows: what a longer one changes, and what none changes any more."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from oceanvar.patching.grids import PatchGrid
from oceanvar.patching.growing import changed_rows, n_final, of_length
from oceanvar.patching.streaming import TimeStream, rows
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
    assert min(firsts) == n_final(before)


def test_final_rows_by_hand():
    """Patches of 4 that share 2: a record of 10 ends with one in its place, one of 11 with a shifted one."""
    grid = PatchGrid({"time": 10}, {"time": 4}, {"time": 2})
    one = TimeStream(make_job(grid, of_mates, 1))
    assert [n_final(of_length(one, n)) for n in (10, 11, 12)] == [7, 7, 9]
    three = TimeStream(make_job(grid, of_mates, 3))
    assert three.groups == ((0, 2, 4), (6,))
    assert [n_final(of_length(three, n)) for n in (8, 10, 14)] == [5, 6, 11]
