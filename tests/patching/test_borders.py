"""Patches and overlaps that are chosen by what they cost in accuracy."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oceanvar.patching.borders import Border, economical
from oceanvar.patching.grids import PatchGrid

ERRORS = (1.3, 1.1, 1.02, 1.009, 1.0, 0.99, 0.99, 0.99)
"""Of a patch of 8 points whose own overlap is 4."""


def test_the_least_overlap_is_the_first_from_which_on_the_error_is_small():
    assert Border(ERRORS).least_overlap == 3
    assert Border((1.005, 1.02, 1.0, 1.0)).least_overlap == 2, "a lucky number does not count"
    assert Border((1.0, 1.0)).least_overlap == 0
    assert Border((1.5, 1.2)).least_overlap == 1, "the largest there is, if none is good"


@pytest.mark.parametrize(("large", "grows"), [(None, False), (0.99, True), (1.01, True), (1.02, False)])
def test_patches_grow_where_larger_ones_are_as_good(large, grows):
    assert Border(ERRORS, large).may_grow == grows


@example(9, 9, 3, 162)  # two pieces of 6 points would fit, and are not made: the model's own patch has 8
@given(st.integers(8, 300), st.integers(8, 300), st.integers(3, 40), st.integers(1, 200_000))
def test_patches_cover_the_grid_within_the_memory_and_fit_each_other(n_y, n_x, n_times, most):
    sizes = {"time": n_times, "y": n_y, "x": n_x}
    border = Border(ERRORS, 0.99)
    patch, overlap = economical(
        sizes, {"time": 3, "y": 8, "x": 8}, {"time": 1, "y": 4, "x": 4}, {"y": border, "x": border}, (), most
    )
    assert (patch["time"], overlap["time"]) == (3, 1), "nothing is known of it"
    assert math.prod(patch.values()) <= max(most, 3 * 8 * 8)
    grid = PatchGrid(sizes, patch, overlap)
    for dim in ("y", "x"):
        starts = grid.starts[dim]
        assert patch[dim] >= min(8, sizes[dim])
        if patch[dim] == sizes[dim]:
            assert overlap[dim] == 0
            continue
        assert overlap[dim] == 3
        if patch[dim] > 8:
            stride, last = patch[dim] - overlap[dim], starts[-1] - starts[-2]
            assert stride - last < len(starts), "the last patch is shifted by hardly anything"


def test_what_is_chosen_stays():
    sizes, border = {"y": 50, "x": 50}, Border(ERRORS, 0.99)
    patch, overlap = economical(
        sizes, {"y": 10, "x": 8}, {"y": 5, "x": 4}, dict.fromkeys("yx", border), ("y",), 10**6
    )
    assert patch == {"y": 10, "x": 50}
    assert overlap == {"y": 5, "x": 0}


def test_a_small_grid_is_one_patch():
    patch, overlap = economical({"x": 5}, {"x": 8}, {"x": 4}, {"x": Border(ERRORS, 0.99)}, (), 10**6)
    assert (patch, overlap) == ({"x": 5}, {"x": 0})
