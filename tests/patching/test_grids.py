import pickle
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oceanvar.errors import PatchError
from oceanvar.patching.grids import PatchGrid, common_boxes, wrapped_boxes
from oceanvar.patching.tapers import TAPERS, boxcar, hann, outer, taper_factors, triangle, weight_sums
from tests.patching.oracle import points
from tests.strategies import patch_grids

theorem = settings(deadline=None, max_examples=60)


def test_numbers_of_a_known_grid() -> None:
    grid = PatchGrid({"time": 10, "lon": 9}, {"lon": 4, "time": 4}, {"time": 1}, ("lon",))
    assert grid.dims == ("time", "lon")
    assert grid.shape == (10, 9)
    assert grid.patch_shape == (4, 4)
    assert grid.starts == {"time": (0, 3, 6), "lon": (0, 3, 6)}
    assert grid.overlap["lon"] == 0
    assert grid.n_patches == len(grid) == len(list(grid)) == 9
    assert list(grid)[1] == (0, 3)


def test_last_patch_is_shifted_back_to_the_border() -> None:
    assert PatchGrid({"x": 11}, {"x": 4}, {"x": 1}).starts == {"x": (0, 3, 6, 7)}


@theorem
@given(patch_grids())
def test_every_cell_is_covered(grid: PatchGrid) -> None:
    n_patches = np.zeros(grid.shape, int)
    for origin in grid:
        for _, where in wrapped_boxes(origin, grid.patch_shape, grid.shape):
            n_patches[where] += 1
    assert n_patches.min() >= 1
    assert n_patches.sum() == len(grid) * np.prod(grid.patch_shape)


@theorem
@given(patch_grids())
def test_neighbours_share_at_least_the_overlap(grid: PatchGrid) -> None:
    for dim, starts in grid.starts.items():
        closed = (*starts, starts[0] + grid.sizes[dim]) if dim in grid.periodic else starts
        strides = np.diff(closed)
        assert (strides <= grid.patch[dim] - grid.overlap[dim]).all()
        assert (strides > 0).all()
        assert 0 <= starts[0] <= starts[-1] < grid.sizes[dim]
        if dim in grid.periodic:
            assert strides.max() - strides.min() <= 1
        else:
            assert starts[-1] + grid.patch[dim] == grid.sizes[dim]


@theorem
@given(patch_grids(), st.integers(0, 2))
def test_gather_takes_the_points_modulo_the_ring(grid: PatchGrid, n_carried: int) -> None:
    carried = (2, 3)[:n_carried]
    array = np.arange(np.prod((*carried, *grid.shape))).reshape(*carried, *grid.shape)
    for origin in grid:
        np.testing.assert_array_equal(grid.gather(array, origin), array[points(grid, origin)])


def test_gather_of_a_patch_that_does_not_wrap_is_a_view() -> None:
    grid = PatchGrid({"y": 6, "x": 8}, {"y": 3, "x": 4}, {"x": 1}, ("x",))
    array = np.zeros(grid.shape, np.float32)
    assert np.shares_memory(grid.gather(array, (0, 0)), array)


@theorem
@given(st.data())
def test_boxes_meet_in_the_common_points(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 9))
    start, n = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, 2 * size))
    first = data.draw(st.integers(0, size - 1))
    n_other = data.draw(st.integers(1, size - first))
    pairs = common_boxes((start,), (n,), (first,), (n_other,), (size,))
    ring, other = (start + np.arange(n)) % size, first + np.arange(n_other)
    found = [(i, j) for a, b in pairs for i, j in zip(np.arange(n)[a], np.arange(n_other)[b], strict=True)]
    assert sorted(found) == [(i, j) for i in range(n) for j in range(n_other) if ring[i] == other[j]]


def test_grids_are_values() -> None:
    grid = PatchGrid({"y": 6, "x": 8}, {"x": 4, "y": 3}, periodic=("x",))
    same = PatchGrid({"y": cast(int, np.int64(6)), "x": 8}, {"y": 3, "x": 4}, {"x": 0}, ("x",))
    turned = PatchGrid({"x": 8, "y": 6}, {"y": 3, "x": 4}, periodic=("x",))
    assert grid == same == pickle.loads(pickle.dumps(grid))
    assert hash(grid) == hash(same)
    assert grid != turned
    assert dict(grid.patch) == {"y": 3, "x": 4}
    with pytest.raises(AttributeError):
        grid.patch = {"x": 1}  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ({"lat": 200}, {"lat": 240}),
            r"patch size 240 exceeds dimension 'lat' of size 200: use patch={'lat': 200}",
        ),
        (
            ({"lat": 20}, {"lat": 8}, {"lat": 8}),
            r"overlap 8 along dimension 'lat' .* patch size 8: use overlap={'lat': 4}",
        ),
        (({"lat": 20}, {"lat": 8}, {"lat": -1}), "overlap of dimension 'lat' is -1: give at least 0"),
        (({"lat": 20}, {"lat": 0}), "patch size of dimension 'lat' is 0: give at least 1"),
        (({"lat": 20}, {"lat": 4.5}), "patch size of dimension 'lat' is 4.5: give a whole number"),
        (({"lat": 0}, {"lat": 1}), "size of dimension 'lat' is 0"),
        (({"lat": 20, "lon": 30}, {"lat": 8}), "patch has no entry for dimension 'lon' of size 30"),
        (
            ({"lat": 20}, {"lat": 8, "lon": 8}),
            r"patch names the dimensions \['lon'\], but the grid has \['lat'\]",
        ),
        (({"lat": 20}, {"lat": 8}, {"x": 1}), r"overlap names the dimensions \['x'\]"),
        (({"lat": 20}, {"lat": 8}, {}, ("lon",)), r"periodic names the dimensions \['lon'\]"),
        (({"lat": 20}, {"lat": 8}, {}, "lat"), r"use periodic=\('lat',\)"),
        (({}, {}), "at least one dimension"),
    ],
)
def test_impossible_grids_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(PatchError, match=message):
        PatchGrid(*arguments)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 15, 240])
@pytest.mark.parametrize("taper", TAPERS.values())
def test_tapers_are_positive_and_symmetric(taper: type, n: int) -> None:
    factor = taper(n)
    assert factor.dtype == np.float32
    assert factor.shape == (n,)
    assert factor.min() > 0
    assert factor.max() <= 1
    np.testing.assert_allclose(factor, factor[::-1], rtol=2e-6)


def test_values_of_known_tapers() -> None:
    np.testing.assert_allclose(triangle(4), [0.4, 0.8, 0.8, 0.4], rtol=1e-6)
    np.testing.assert_allclose(triangle(3), [0.5, 1.0, 0.5], rtol=1e-6)
    np.testing.assert_array_equal(boxcar(2), [1, 1])
    half = hann(8)
    np.testing.assert_allclose(half[:4] + half[4:], 1, rtol=1e-6)


@theorem
@given(patch_grids(), st.sampled_from(sorted(TAPERS)))
def test_weight_sum_is_the_product_of_axis_sums(grid: PatchGrid, taper: str) -> None:
    factors = taper_factors(taper, grid)
    total = np.zeros(grid.shape)
    for origin in grid:
        total[points(grid, origin)] += outer(factors)
    sums = weight_sums(grid, factors)
    assert all(weight_sum.dtype == np.float32 and (weight_sum > 0).all() for weight_sum in sums)
    np.testing.assert_allclose(outer(sums), total, rtol=1e-6)


def test_taper_by_dimension() -> None:
    grid = PatchGrid({"y": 6, "x": 8}, {"y": 3, "x": 4})
    rising, flat = taper_factors({"x": "boxcar", "y": lambda n: np.arange(1, n + 1)}, grid)
    np.testing.assert_array_equal(rising, [1, 2, 3])
    np.testing.assert_array_equal(flat, [1, 1, 1, 1])
    assert rising.dtype == np.float32


@pytest.mark.parametrize(
    ("taper", "message"),
    [
        ("gauss", r"taper 'gauss' of dimension 'y' is unknown: use one of \['triangle', 'hann', 'boxcar'\]"),
        ({"x": "hann"}, r"taper is given for the dimensions \['x'\]"),
        (np.hanning, "runs from 0.0 to 1.0: all weights must be finite and greater than 0"),
        (lambda n: np.full(n, np.nan), "finite"),
        (lambda n: np.full(n, 1e60), "finite"),
        (lambda n: np.ones(n + 1), r"has shape \(4,\) for 3 points"),
        (lambda n: np.full(n, 1e-25), "product of the tapers runs from 1e-50"),
    ],
)
def test_impossible_tapers_are_refused(taper: object, message: str) -> None:
    grid = PatchGrid({"y": 6, "x": 8}, {"y": 3, "x": 4})
    with pytest.raises(PatchError, match=message):
        taper_factors(taper, grid)  # type: ignore[arg-type]


def test_factors_of_another_patch_are_refused() -> None:
    grid = PatchGrid({"y": 6, "x": 8}, {"y": 3, "x": 4})
    with pytest.raises(PatchError, match=r"lengths \(4, 3\) do not fit a patch of shape \(3, 4\)"):
        weight_sums(grid, (boxcar(4), boxcar(3)))
