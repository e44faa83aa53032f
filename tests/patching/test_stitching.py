import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oceanvar.errors import PatchError
from oceanvar.patching.grids import PatchGrid
from oceanvar.patching.stitching import Stitch
from oceanvar.patching.tapers import TAPERS, taper_factors

theorem = settings(deadline=None, max_examples=60)


@st.composite
def patch_grids(draw: st.DrawFn) -> PatchGrid:
    dims = ["time", "lat", "lon"][: draw(st.integers(1, 3))]
    sizes = {dim: draw(st.integers(1, 13)) for dim in dims}
    patch = {dim: draw(st.integers(1, n)) for dim, n in sizes.items()}
    overlap = {dim: draw(st.integers(0, n - 1)) for dim, n in patch.items()}
    return PatchGrid(sizes, patch, overlap, tuple(dim for dim in dims if draw(st.booleans())))


def random_field(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).uniform(-1, 1, shape).astype(np.float32)


def rounding(grid: PatchGrid) -> float:
    """1e-6 for up to 64 patches at a cell; float32 sums of more grow like the root of their number."""
    n_sharing = math.prod(math.ceil(n / (n - grid.overlap[dim])) + 1 for dim, n in grid.patch.items())
    return 1e-6 * max(1.0, math.sqrt(n_sharing / 64))


def small_grid() -> PatchGrid:
    return PatchGrid({"y": 9, "x": 8}, {"y": 4, "x": 3}, {"y": 1, "x": 1}, ("x",))


def stitched(grid: PatchGrid, patches: dict, order: list, taper: str = "triangle") -> Stitch:
    stitch = Stitch(grid, taper_factors(taper, grid))
    for origin in order:
        stitch.add(origin, patches[origin])
    return stitch


@theorem
@given(patch_grids(), st.sampled_from(sorted(TAPERS)), st.integers(0, 2))
def test_stitching_cut_patches_restores_the_field(grid: PatchGrid, taper: str, n_carried: int) -> None:
    field = random_field(*(2, 3)[:n_carried], *grid.shape)
    patches = {origin: grid.gather(field, origin) for origin in grid}
    mean = stitched(grid, patches, list(grid), taper).mean()
    assert mean.dtype == np.float32
    assert mean.shape == field.shape
    np.testing.assert_allclose(mean, field, atol=rounding(grid), rtol=0)


@theorem
@given(patch_grids(), st.sampled_from(sorted(TAPERS)))
def test_constant_patches_give_a_constant_field(grid: PatchGrid, taper: str) -> None:
    patches = dict.fromkeys(grid, np.ones(grid.patch_shape, np.float32))
    np.testing.assert_allclose(stitched(grid, patches, list(grid), taper).mean(), 1, rtol=rounding(grid))


@theorem
@given(patch_grids(), st.randoms(use_true_random=False), st.data())
def test_neither_order_nor_partition_of_the_patches_matters(
    grid: PatchGrid, random: object, data: st.DataObject
) -> None:
    patches = {origin: random_field(2, *grid.patch_shape) * (1 + i % 3) for i, origin in enumerate(grid)}
    expected = stitched(grid, patches, list(grid)).mean()
    order = data.draw(st.permutations(list(grid)))
    where = data.draw(st.integers(0, len(order)))
    merged = stitched(grid, patches, order[:where]) + stitched(grid, patches, order[where:])
    np.testing.assert_allclose(merged.mean(), expected, atol=3 * rounding(grid), rtol=0)
    np.testing.assert_allclose(
        stitched(grid, patches, order).mean(), expected, atol=3 * rounding(grid), rtol=0
    )


def test_mean_is_weighted() -> None:
    grid = PatchGrid({"x": 4}, {"x": 3}, {"x": 2})
    patches = {(0,): np.zeros(3, np.float32), (1,): np.full(3, 6, np.float32)}
    # triangle(3) = 1/2, 1, 1/2: at x=1 the weights are 1 and 1/2, at x=2 they are 1/2 and 1.
    np.testing.assert_allclose(stitched(grid, patches, list(grid)).mean(), [0, 2, 4, 6], rtol=1e-6)


def test_mean_leaves_the_stitch_as_it_was() -> None:
    grid = small_grid()
    patches = {origin: random_field(*grid.patch_shape) for origin in grid}
    stitch = stitched(grid, patches, list(grid))
    first = stitch.mean().copy()
    np.testing.assert_array_equal(stitch.mean(), first)


def test_merging_leaves_both_parts_as_they_were() -> None:
    grid = small_grid()
    patches = {origin: random_field(*grid.patch_shape) for origin in grid}
    order = list(grid)
    first, second = stitched(grid, patches, order[:3]), stitched(grid, patches, order[3:])
    once, twice = (first + second).mean(), (first + second).mean()
    np.testing.assert_array_equal(once, twice)
    empty = Stitch(grid, taper_factors("triangle", grid))
    np.testing.assert_array_equal((empty + first + second).mean(), once)


def test_a_nan_stays_visible_in_the_cells_of_its_patch_only() -> None:
    grid = small_grid()
    patches = {origin: np.ones(grid.patch_shape, np.float32) for origin in grid}
    bad = (3, 6)
    patches[bad] = np.full(grid.patch_shape, np.nan, np.float32)
    expected = np.zeros(grid.shape, bool)
    for _, where in grid.index(bad):
        expected[where] = True
    np.testing.assert_array_equal(np.isnan(stitched(grid, patches, list(grid)).mean()), expected)


def test_float64_on_request() -> None:
    grid = small_grid()
    field = np.random.default_rng(0).normal(size=grid.shape)
    stitch = Stitch(grid, taper_factors("boxcar", grid), dtype=np.float64)
    for origin in grid:
        stitch.add(origin, grid.gather(field, origin))
    assert stitch.mean().dtype == np.float64
    np.testing.assert_allclose(stitch.mean(), field, rtol=1e-13)


def test_missing_and_repeated_patches_are_refused() -> None:
    grid = small_grid()
    patches = dict.fromkeys(grid, np.ones(grid.patch_shape, np.float32))
    order = list(grid)
    stitch = stitched(grid, patches, order[1:])
    with pytest.raises(PatchError, match=r"1 of 12 patches are missing, the first at \(0, 0\)"):
        stitch.mean()
    with pytest.raises(PatchError, match="added before"):
        stitch.add(order[1], patches[order[1]])
    with pytest.raises(PatchError, match="are in both stitches"):
        stitch + stitched(grid, patches, order[:2])
    with pytest.raises(PatchError, match=r"no patch of the grid starts at \(1, 1\)"):
        stitch.add((1, 1), patches[order[1]])
    with pytest.raises(PatchError, match="12 of 12 patches are missing"):
        stitched(grid, patches, []).mean()


def test_wrong_shapes_and_foreign_stitches_are_refused() -> None:
    grid = small_grid()
    factors = taper_factors("triangle", grid)
    stitch = Stitch(grid, factors)
    with pytest.raises(PatchError, match=r"patch at \(0, 0\) has shape \(3, 4\) instead of \(4, 3\)"):
        stitch.add((0, 0), np.ones((3, 4), np.float32))
    with pytest.raises(PatchError, match=r"has shape \(3,\)"):
        stitch.add((0, 0), np.ones(3, np.float32))
    stitch.add((0, 0), np.ones((2, 4, 3), np.float32))
    with pytest.raises(PatchError, match=r"instead of \(2, 4, 3\)"):
        stitch.add((0, 2), np.ones((4, 3), np.float32))
    other = Stitch(grid, factors)
    other.add((0, 2), np.ones((4, 3), np.float32))
    with pytest.raises(PatchError, match="leading axes"):
        stitch + other
    with pytest.raises(PatchError, match="differ in their patch grid or taper"):
        stitch + Stitch(grid, taper_factors("hann", grid))
    with pytest.raises(PatchError, match="do not fit a patch"):
        Stitch(grid, factors[::-1])
