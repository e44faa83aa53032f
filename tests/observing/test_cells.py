"""Samplers of numbers of cells, and of parts of what was seen elsewhere."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from oceanvar.errors import ConfigError, GridMismatchError
from oceanvar.observing import AnyPart, Lattice, RandomCells

WINDOW = {"variable": 1, "time": 1, "latitude": 5, "longitude": 6}


@pytest.mark.parametrize(("staggered", "shift"), [(True, 0.0), (False, 0.0), (True, 0.25)])
def test_a_lattice_has_its_number_of_cells_well_apart(staggered: bool, shift: float) -> None:
    sizes = {"variable": 2, "time": 3, "latitude": 50, "longitude": 50}
    mask = Lattice(150, staggered, shift).mask(sizes, {}, np.random.default_rng(0))
    assert (mask == mask[0, 0]).all()
    assert mask[0, 0].sum() == 150
    assert pdist(np.argwhere(mask[0, 0])).min() >= 3


@given(
    n_cells=st.integers(1, 20),
    shape=st.tuples(st.integers(8, 20), st.integers(8, 20)),
    shift=st.floats(0, 0.5),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_a_sparse_lattice_fits_any_box(n_cells: int, shape: tuple[int, int], shift: float, seed: int) -> None:
    sizes = dict(zip(("variable", "latitude", "longitude"), (1, *shape), strict=True))
    mask = Lattice(n_cells, shift=shift).mask(sizes, {}, np.random.default_rng(seed))
    assert mask.sum() == n_cells


def test_a_lattice_moves_from_window_to_window_only_with_a_shift() -> None:
    rng = np.random.default_rng(0)
    still, moving = (
        {Lattice(4, shift=shift).mask(WINDOW, {}, rng).tobytes() for _ in range(9)} for shift in (0.0, 0.5)
    )
    assert len(still) == 1 < len(moving)


def test_random_cells_are_between_their_numbers_and_anywhere() -> None:
    rng = np.random.default_rng(0)
    masks = np.stack([RandomCells(2, 4).mask(WINDOW, {}, rng) for _ in range(200)])
    assert masks.shape[1:] == tuple(WINDOW.values())
    assert set(masks.sum((1, 2, 3, 4))) == {2, 3, 4}
    assert masks.any(0).all()


def test_parts_are_what_was_seen_of_all_variables() -> None:
    rng = np.random.default_rng(0)
    seen = rng.random((9, 8, 7)) < 0.3
    part = AnyPart([seen]).mask({"variable": 2, "time": 4, "latitude": 5, "longitude": 6}, {}, rng)
    assert part.shape == (2, 4, 5, 6)
    assert (part[0] == part[1]).all()
    windows = np.lib.stride_tricks.sliding_window_view(seen, (4, 5, 6))
    assert (windows == part[0]).all(axis=(-3, -2, -1)).any()


def test_every_instrument_has_its_turn_and_every_part() -> None:
    rng, sizes = np.random.default_rng(0), {"variable": 1, "time": 1, "site": 1}
    first, second = np.zeros((2, 2), bool), np.eye(2, dtype=bool)
    drawn = [bool(AnyPart([first, second]).mask(sizes, {}, rng).all()) for _ in range(200)]
    assert 0.15 < np.mean(drawn) < 0.35  # half of the half that the second instrument sees


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RandomCells(3, 2), "fewest <= most"),
        (lambda: RandomCells(-1, 2), "fewest <= most"),
        (lambda: Lattice(0), "n_cells >= 1"),
        (lambda: Lattice(3, shift=0.7), "0 to 0.5"),
        (lambda: Lattice(31).mask(WINDOW, {}, np.random.default_rng(0)), "take fewer"),
        (lambda: AnyPart([]), "at least one"),
    ],
)
def test_wrong_numbers_are_refused(make, words) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


@pytest.mark.parametrize("shape", [(4, 4, 6), (5, 6)])
def test_a_window_that_is_no_part_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(GridMismatchError, match="no part of it"):
        AnyPart([np.ones(shape, bool)]).mask(
            {"variable": 1, "time": 1, "latitude": 5, "longitude": 6}, {}, np.random.default_rng(0)
        )
