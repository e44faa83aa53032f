import itertools
import math
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oceanvar.errors import PatchError
from oceanvar.patching import graphs
from oceanvar.patching.batches import PatchJob
from oceanvar.patching.grids import PatchGrid
from oceanvar.patching.tapers import TAPERS, taper_factors
from tests.counters import Recorder
from tests.patching.oracle import mapped, points
from tests.strategies import partitions, patch_grids

theorem = settings(deadline=None, max_examples=40)


def map_patches(array, grid, function, factors, *, n_out, batch_size, dtype=np.float32, **options):
    job = PatchJob(grid, function, factors, n_out, batch_size, np.dtype(dtype))
    return graphs.map_patches(array, job, **options)


@pytest.fixture(autouse=True)
def _serial() -> Iterator[None]:
    with dask.config.set(scheduler="sync"):
        yield


def demeaned(patches: np.ndarray) -> np.ndarray:
    """A function whose answer at a cell depends on the whole patch: two outputs from any number of inputs."""
    axes = tuple(range(2, patches.ndim))
    first = patches[:, :1] - patches.mean(axes, keepdims=True)[:, :1]
    return np.concatenate([first, patches.sum(1, keepdims=True)], axis=1)


def numbered(*shape: int) -> np.ndarray:
    """A field whose values name their cells."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def random_field(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(-1, 1, shape).astype(np.float32)


def rounding(grid: PatchGrid) -> float:
    """2e-6 for up to 64 patches at a cell; float32 sums of more grow like the root of their number."""
    n_sharing = math.prod(math.ceil(n / (n - grid.overlap[dim])) + 1 for dim, n in grid.patch.items())
    return 2e-6 * max(1.0, math.sqrt(n_sharing / 64))


@st.composite
def problems(draw: st.DrawFn) -> tuple[PatchGrid, tuple, dict, tuple]:
    grid = draw(patch_grids(max_size=11))
    batch = draw(st.sampled_from([(), (3,), (2, 2)]))
    in_chunks = tuple(draw(partitions(n)) for n in (*batch, 2, *grid.shape))
    out_chunks = {dim: draw(partitions(n)) for dim, n in grid.sizes.items() if draw(st.booleans())}
    return grid, batch, out_chunks, in_chunks


@theorem
@given(problems(), st.integers(1, 9))
def test_chunks_batches_and_laziness_do_not_change_the_field(problem: tuple, batch_size: int) -> None:
    grid, batch, out_chunks, in_chunks = problem
    factors = taper_factors("triangle", grid)
    field = random_field(*batch, 2, *grid.shape)
    expected = mapped(field, grid, demeaned, factors)
    eager = map_patches(field, grid, demeaned, factors, n_out=2, batch_size=batch_size)
    lazy = map_patches(
        da.from_array(field, chunks=in_chunks),
        grid,
        demeaned,
        factors,
        n_out=2,
        batch_size=batch_size,
        chunks=out_chunks,
    )
    computed = lazy.compute()
    assert isinstance(eager, np.ndarray)
    assert eager.dtype == lazy.dtype == computed.dtype == np.float32
    assert eager.shape == lazy.shape == computed.shape == expected.shape
    assert all(lazy.chunks[len(batch) + 1 + grid.dims.index(dim)] == c for dim, c in out_chunks.items())
    np.testing.assert_allclose(eager, expected, atol=rounding(grid), rtol=0)
    np.testing.assert_allclose(computed, expected, atol=rounding(grid), rtol=0)


@theorem
@given(patch_grids(), st.sampled_from(sorted(TAPERS)))
def test_the_identity_restores_the_field(grid: PatchGrid, taper: str) -> None:
    field = random_field(2, *grid.shape)
    result = map_patches(field, grid, Recorder(), taper_factors(taper, grid), n_out=2, batch_size=50)
    np.testing.assert_allclose(result, field, atol=rounding(grid), rtol=0)


def test_the_mean_is_weighted() -> None:
    grid = PatchGrid({"x": 4}, {"x": 3}, {"x": 2})

    def answer(patches: np.ndarray) -> np.ndarray:
        return np.full_like(patches, 6) * (patches[..., :1] > 0)

    # triangle(3) = 1/2, 1, 1/2: at x=1 the weights of 0 and 6 are 1 and 1/2, at x=2 they are 1/2 and 1.
    result = map_patches(numbered(1, 4), grid, answer, taper_factors("triangle", grid), n_out=1, batch_size=1)
    np.testing.assert_allclose(result, [[0, 2, 4, 6]], rtol=1e-6)


def test_a_nan_stays_visible_in_the_cells_of_its_patches_only() -> None:
    grid = PatchGrid({"y": 9, "x": 8}, {"y": 4, "x": 3}, {"y": 1, "x": 1}, ("x",))
    field = numbered(1, *grid.shape)
    spoilt = field[0][points(grid, (3, 6))]

    def answer(patches: np.ndarray) -> np.ndarray:
        return np.where((patches == spoilt).all((-1, -2), keepdims=True), np.nan, patches)

    result = map_patches(field, grid, answer, taper_factors("hann", grid), n_out=1, batch_size=5)
    expected = np.zeros(grid.shape, bool)
    expected[points(grid, (3, 6))] = True
    np.testing.assert_array_equal(np.isnan(result[0]), expected)


@theorem
@given(problems(), st.integers(1, 9))
def test_each_patch_is_solved_once(problem: tuple, batch_size: int) -> None:
    grid, batch, out_chunks, in_chunks = problem
    field = numbered(*batch, 2, *grid.shape)
    recorder = Recorder()
    lazy = map_patches(
        da.from_array(field, chunks=in_chunks),
        grid,
        recorder,
        taper_factors("hann", grid),
        n_out=2,
        batch_size=batch_size,
        chunks=out_chunks,
    )
    assert recorder.batches == []
    lazy.compute()
    wanted = [field[(*member, 0, *origin)] for member in np.ndindex(batch) for origin in grid]
    assert sorted(recorder.firsts) == sorted(wanted)
    assert max(recorder.batches) <= batch_size


def grid_3d() -> PatchGrid:
    return PatchGrid(
        {"time": 12, "lat": 10, "lon": 16},
        {"time": 4, "lat": 5, "lon": 6},
        {"time": 2, "lat": 2, "lon": 2},
        ("lon",),
    )


def lazy_identity(recorder: Callable, **options: Any) -> da.Array:
    grid = grid_3d()
    array = da.from_array(numbered(1, *grid.shape), chunks=(1, 4, 10, 8))
    factors = taper_factors("triangle", grid)
    return map_patches(array, grid, recorder, factors, n_out=1, batch_size=4, **options)


def test_a_selection_solves_the_patches_of_its_groups_only() -> None:
    grid, recorder = grid_3d(), Recorder()
    lazy = lazy_identity(recorder)
    first = lazy[:, 0].compute()
    np.testing.assert_allclose(first, numbered(1, *grid.shape)[:, 0], rtol=1e-6)
    n_spatial = len(grid) // len(grid.starts["time"])
    # Chunks of 4 in time own two starts each (0, 2 | 4, 6 | 8): the first step needs the first group only.
    assert len(recorder.firsts) == 2 * n_spatial
    recorder.firsts.clear()
    lazy[:, 11].compute()
    assert len(recorder.firsts) == 3 * n_spatial


def test_a_selection_on_a_ring_needs_the_group_behind_its_end() -> None:
    grid = PatchGrid({"x": 12}, {"x": 4}, {"x": 2}, ("x",))
    recorder = Recorder()
    array = da.from_array(numbered(1, 12), chunks=(1, 4))
    lazy = map_patches(array, grid, recorder, taper_factors("triangle", grid), n_out=1, batch_size=9)
    lazy[:, 0].compute()
    assert sorted(recorder.firsts) == [0, 2, 8, 10]


def test_threads_agree_with_the_serial_scheduler_and_solve_once() -> None:
    recorder = Recorder()
    lazy = lazy_identity(recorder, chunks={"time": 3, "lat": 5, "lon": -1})
    threaded = lazy.compute(scheduler="threads", num_workers=4)
    assert len(recorder.firsts) == len(set(recorder.firsts)) == len(grid_3d())
    np.testing.assert_array_equal(threaded, lazy.compute())


def test_solves_once_inside_a_larger_graph() -> None:
    recorder = Recorder()
    lazy = lazy_identity(recorder)
    total, shifted = dask.compute(lazy.sum(), (lazy + 1)[..., ::2])
    assert len(recorder.firsts) == len(grid_3d())
    field = numbered(1, *grid_3d().shape)
    np.testing.assert_allclose(total, field.sum(), rtol=1e-5)
    np.testing.assert_allclose(shifted, field[..., ::2] + 1, rtol=1e-6)


def test_default_chunks_are_even_and_no_shorter_than_the_patch() -> None:
    grid = PatchGrid({"time": 17, "x": 30}, {"time": 5, "x": 10})
    array = da.zeros((2, 3, 17, 30), chunks=(1, 1, 1, 15), dtype=np.float32)
    lazy = map_patches(array, grid, demeaned, taper_factors("hann", grid), n_out=2, batch_size=4)
    assert lazy.chunks == ((1, 1), (2,), (5, 5, 5, 2), (15, 15))
    uneven = array.rechunk({2: (4, 7, 6)})
    lazy = map_patches(uneven, grid, demeaned, taper_factors("hann", grid), n_out=2, batch_size=4)
    assert lazy.chunks[2] == (7, 7, 3)


def test_batch_members_of_one_chunk_share_calls() -> None:
    grid = PatchGrid({"x": 8}, {"x": 4})
    recorder = Recorder()
    array = da.from_array(numbered(6, 1, 8), chunks=(3, 1, 8))
    map_patches(array, grid, recorder, taper_factors("hann", grid), n_out=1, batch_size=100).compute()
    assert recorder.batches == [6, 6]


class Handle:
    """A function with a payload, to see how often a graph carries it."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __call__(self, patches: np.ndarray) -> np.ndarray:
        return patches


def test_the_graph_holds_the_function_once() -> None:
    lazy = lazy_identity(Handle(b"x" * 100_000), chunks={"time": 4, "lat": 5, "lon": 8})
    (optimised,) = dask.optimize(lazy)
    sizes = [
        len(pickle.dumps(task)) for key, task in dict(optimised.dask).items() if "from-array" not in str(key)
    ]
    assert len(sizes) > 20
    assert 100_000 < sum(sizes) < 200_000


def test_equal_maps_have_equal_names_and_others_do_not() -> None:
    names = {lazy_identity(Recorder()).name, lazy_identity(Recorder()).name}
    assert len(names) == 1
    names.add(lazy_identity(Recorder(), chunks={"time": 3}).name)
    names.add(lazy_identity(Handle(b"one")).name)
    names.add(lazy_identity(Handle(b"two")).name)
    names.add(lazy_identity(Recorder(), dtype=np.float64).name)
    assert len(names) == 5


def test_on_a_distributed_cluster() -> None:
    distributed = pytest.importorskip("distributed")
    grid = grid_3d()
    field = random_field(2, 2, *grid.shape)
    factors = taper_factors("triangle", grid)
    array = da.from_array(field, chunks=(1, 1, 4, 10, 8))
    lazy = map_patches(array, grid, demeaned, factors, n_out=2, batch_size=4)
    cluster = {"processes": False, "n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    with distributed.Client(**cluster) as client:
        computed = client.compute(lazy).result()
    np.testing.assert_allclose(computed, mapped(field, grid, demeaned, factors), atol=2e-6, rtol=0)


def test_progress_counts_every_patch() -> None:
    grid = PatchGrid({"x": 9}, {"x": 3})
    finished: list[int] = []
    map_patches(
        numbered(2, 1, 9),
        grid,
        Recorder(),
        taper_factors("hann", grid),
        n_out=1,
        batch_size=4,
        progress=finished.append,
    )
    assert finished == [4, 2]


def test_types_in_and_out() -> None:
    grid = PatchGrid({"x": 9}, {"x": 3})
    seen = []

    def seeing(patches: np.ndarray) -> np.ndarray:
        seen.append(patches.dtype)
        return patches.astype(np.float64)

    factors = taper_factors("hann", grid)
    assert (
        map_patches(np.ones((1, 9), bool), grid, seeing, factors, n_out=1, batch_size=9).dtype == np.float32
    )
    wide = map_patches(numbered(1, 9), grid, seeing, factors, n_out=1, batch_size=9, dtype=np.float64)
    assert wide.dtype == np.float64
    assert seen == [np.dtype(bool), np.dtype(np.float32)]


def failing(patches: np.ndarray) -> np.ndarray:
    if (patches == 17).any():
        raise FloatingPointError("diverged")
    return patches


@pytest.mark.parametrize("chunks", [None, (1, 4), (1, 20)])
def test_errors_of_the_function_name_the_patches(chunks: tuple | None) -> None:
    grid = PatchGrid({"x": 20}, {"x": 4})
    array = numbered(1, 20) if chunks is None else da.from_array(numbered(1, 20), chunks=chunks)
    with pytest.raises(FloatingPointError, match="diverged") as caught:
        np.asarray(map_patches(array, grid, failing, taper_factors("hann", grid), n_out=1, batch_size=1))
    assert caught.value.__notes__ == ["in the patches that start at ('x',) = [(16,)]"]


def test_a_long_batch_is_named_in_short() -> None:
    grid = PatchGrid({"x": 20}, {"x": 1})
    with pytest.raises(FloatingPointError) as caught:
        map_patches(numbered(1, 20), grid, failing, taper_factors("hann", grid), n_out=1, batch_size=20)
    assert caught.value.__notes__[0].endswith("(7,)] and 12 more")


def test_a_wrong_output_shape_is_refused() -> None:
    grid = PatchGrid({"x": 20}, {"x": 4})
    factors = taper_factors("hann", grid)
    with pytest.raises(PatchError, match=r"returned shape \(5, 1, 4\) .* must return \(5, 2, 4\)"):
        map_patches(numbered(1, 20), grid, Recorder(), factors, n_out=2, batch_size=5)
    lazy = map_patches(
        da.from_array(numbered(1, 20)), grid, lambda p: p[..., 1:], factors, n_out=1, batch_size=5
    )
    with pytest.raises(PatchError, match=r"returned shape \(5, 1, 3\)"):
        lazy.compute()


def test_impossible_calls_are_refused() -> None:
    grid = PatchGrid({"y": 5, "x": 20}, {"y": 5, "x": 4})
    factors = taper_factors("hann", grid)
    field = numbered(1, 5, 20)

    def call(array: Any = field, batch_size: int = 2, **options: Any) -> object:
        return map_patches(array, grid, Recorder(), factors, n_out=1, batch_size=batch_size, **options)

    with pytest.raises(PatchError, match=r"shape \(5, 20\) is not \(\*batch, variable, y, x\)"):
        call(field[0])
    with pytest.raises(PatchError, match=r"shape \(1, 20, 5\)"):
        call(field.transpose(0, 2, 1))
    with pytest.raises(PatchError, match="batch_size 0"):
        call(batch_size=0)
    with pytest.raises(PatchError, match="in memory"):
        call(chunks={"x": 5})
    lazy = da.from_array(field)
    with pytest.raises(PatchError, match="ProgressBar"):
        call(lazy, progress=print)
    with pytest.raises(PatchError, match=r"chunks names the dimensions \['z'\]"):
        call(lazy, chunks={"z": 5})
    with pytest.raises(PatchError, match=r"chunks={'x': \(5, 5\)} do not fit the sizes"):
        call(lazy, chunks={"x": (5, 5)})
    with pytest.raises(PatchError, match="do not fit a patch"):
        map_patches(field, grid, Recorder(), factors[::-1], n_out=1, batch_size=2)


def test_empty_output_chunks_of_a_coarse_patch() -> None:
    """Output chunks smaller than the stride own no patch, and are filled by their neighbours' groups."""
    grid = PatchGrid({"y": 8, "x": 12}, {"y": 4, "x": 6}, periodic=("x",))
    for sizes in itertools.product((1, 3), (1, 5)):
        recorder = Recorder()
        array = da.from_array(numbered(1, 8, 12), chunks=(1, 3, 5))
        chunks = dict(zip(grid.dims, sizes, strict=True))
        factors = taper_factors("boxcar", grid)
        lazy = map_patches(array, grid, recorder, factors, n_out=1, batch_size=3, chunks=chunks)
        np.testing.assert_allclose(lazy.compute(), numbered(1, 8, 12), rtol=1e-6)
        assert len(recorder.firsts) == len(grid)
