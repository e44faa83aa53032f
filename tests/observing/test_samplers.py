"""Samplers: exact counts, the recipes of the papers, tracks on a grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oceanvar.errors import ConfigError, GridMismatchError, MissingVariableError, StoreError
from oceanvar.observing import (
    EveryNthStep,
    Fixed,
    OneOf,
    RandomComponents,
    RandomFraction,
    RandomHoles,
    ShuffledTracks,
    TrackPositions,
)

SIZES_63 = {"variable": 3, "time": 200}
SIZES_96 = {"variable": 1, "time": 200, "site": 40}
OCEAN = {"variable": 2, "time": 4, "latitude": 5, "longitude": 6}
GRID = {
    "time": np.arange(10.0, 14.0),
    "latitude": np.linspace(30.0, 31.0, 5),
    "longitude": np.linspace(-1.0, 1.5, 6),
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_lorenz63_recipe_observes_steps_16_to_184() -> None:
    mask = EveryNthStep(8, n_unobserved_edge=10).mask(SIZES_63, {}, rng())
    assert mask.dtype == bool
    assert mask.shape == (3, 200)
    for variable in mask:
        np.testing.assert_array_equal(np.flatnonzero(variable), np.arange(16, 185, 8))


@given(n=st.integers(1, 9), start=st.integers(0, 9), edge=st.integers(0, 9), n_times=st.integers(1, 30))
@settings(max_examples=50, deadline=None)
def test_every_nth_step_is_the_set_of_its_definition(n: int, start: int, edge: int, n_times: int) -> None:
    mask = EveryNthStep(n, start, edge).mask({"variable": 1, "time": n_times, "site": 2}, {}, rng())
    expected = [t for t in range(start, n_times, n) if edge <= t < n_times - edge]
    for site in range(2):
        assert np.flatnonzero(mask[0, :, site]).tolist() == expected


def test_lorenz96_recipe_observes_20_of_40_sites_at_every_fourth_step() -> None:
    mask = RandomComponents(20, every=4).mask(SIZES_96, {}, rng())[0]
    assert mask.mean() == 0.125
    np.testing.assert_array_equal(mask.sum(axis=1), np.where(np.arange(200) % 4 == 0, 20, 0))
    assert len({row.tobytes() for row in mask[::4]}) == 50
    # Each site is drawn in half of the 50 times: 25, standard deviation 3.5.
    assert np.abs(mask.sum(axis=0) - 25).max() < 5 * 3.54


def test_random_components_do_not_depend_on_the_order_of_dimensions() -> None:
    late = RandomComponents(1, dim="variable", every=3, start=2).mask({"variable": 3, "time": 7}, {}, rng())
    np.testing.assert_array_equal(late.sum(axis=0), [0, 0, 1, 0, 0, 1, 0])
    sampler = RandomComponents(2, dim="variable", every=3)
    mask = sampler.mask({"variable": 3, "time": 7}, {}, rng())
    np.testing.assert_array_equal(mask.sum(axis=0), [2, 0, 0, 2, 0, 0, 2])
    turned = RandomComponents(3).mask({"variable": 2, "site": 5, "time": 4}, {}, rng(1))
    straight = RandomComponents(3).mask({"variable": 2, "time": 4, "site": 5}, {}, rng(1))
    np.testing.assert_array_equal(turned.swapaxes(1, 2), straight)
    np.testing.assert_array_equal(turned[0], turned[1])


def test_random_fraction() -> None:
    assert RandomFraction(1.0).mask(SIZES_96, {}, rng()).all()
    assert not RandomFraction(0.0).mask(SIZES_96, {}, rng()).any()
    mask = RandomFraction(0.3).mask(SIZES_96, {}, rng())
    assert mask.shape == (1, 200, 40)
    assert abs(mask.mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / mask.size)


IMAGE = {"variable": 2, "time": 3, "row": 28, "column": 28}


def test_holes_are_whole_squares_that_all_other_dimensions_share() -> None:
    generator = rng()
    for _ in range(20):
        hidden = ~RandomHoles(1, 9, ("row", "column")).mask(IMAGE, {}, generator)
        assert (hidden == hidden[0, 0]).all()
        rows, columns = (np.flatnonzero(hidden[0, 0].any(axis)) for axis in (1, 0))
        assert hidden[0, 0].sum() == 81
        for cells in (rows, columns):
            np.testing.assert_array_equal(cells, cells[0] + np.arange(9))


def test_holes_of_the_papers_have_their_centres_in_4_to_23_all_alike() -> None:
    generator, sampler = rng(), RandomHoles(1, 9, ("row", "column"))
    sizes = {"variable": 1, "row": 28, "column": 28}
    centres = [np.argwhere(~sampler.mask(sizes, {}, generator)[0]).mean(0) for _ in range(4000)]
    for axis in (0, 1):
        counts = np.bincount(np.array(centres)[:, axis].astype(int), minlength=28)
        # 4000 draws of 20 places: 200 of each, standard deviation 13.8.
        assert counts[:4].sum() == counts[24:].sum() == 0
        assert np.abs(counts[4:24] - 200).max() < 5 * 13.8


def test_holes_may_overlap_and_their_number_may_be_zero() -> None:
    assert RandomHoles(0, 9, ("row", "column")).mask(IMAGE, {}, rng()).all()
    hidden = [~RandomHoles(3, 9, ("row", "column")).mask(IMAGE, {}, rng(i))[0, 0] for i in range(300)]
    sizes = np.array([each.sum() for each in hidden])
    assert sizes.max() == 243
    assert sizes.min() < 243


def test_randomness_comes_from_the_generator_only() -> None:
    for sampler in (RandomComponents(20), RandomFraction(0.5), RandomHoles(2, 3, ("time", "site"))):
        np.testing.assert_array_equal(sampler.mask(SIZES_96, {}, rng(1)), sampler.mask(SIZES_96, {}, rng(1)))
        assert (sampler.mask(SIZES_96, {}, rng(1)) != sampler.mask(SIZES_96, {}, rng(2))).any()


def test_one_of_draws_one_rule_for_each_window() -> None:
    rules = [EveryNthStep(8), EveryNthStep(4)]
    masks = [rule.mask(SIZES_96, {}, rng()) for rule in rules]
    generator, drawn = rng(), []
    for _ in range(40):
        mask = OneOf(rules).mask(SIZES_96, {}, generator)
        drawn.append([np.array_equal(mask, each) for each in masks])
    assert (np.sum(drawn, axis=1) == 1).all()
    assert 5 < np.sum(drawn, axis=0)[0] < 35
    with pytest.raises(ConfigError, match="at least one"):
        OneOf([])


def test_a_fixed_draw_is_the_same_for_every_window() -> None:
    fixed = Fixed(RandomComponents(20), seed=4)
    np.testing.assert_array_equal(fixed.mask(SIZES_96, {}, rng(1)), fixed.mask(SIZES_96, {}, rng(2)))
    assert (fixed.mask(SIZES_96, {}, rng()) != Fixed(RandomComponents(20), 5).mask(SIZES_96, {}, rng())).any()


def cells(sampler: TrackPositions, coords: dict[str, np.ndarray] = GRID) -> set[tuple[int, ...]]:
    mask = sampler.mask(OCEAN, coords, rng())
    np.testing.assert_array_equal(mask[0], mask[1])
    return {tuple(map(int, cell)) for cell in np.argwhere(mask[0])}


def test_a_track_marks_the_nearest_cell() -> None:
    track = TrackPositions([-0.6, -0.8], [30.6, 30.1], [11.4, 13.5])
    assert cells(track) == {(1, 2, 1), (3, 0, 0)}


@given(
    position=st.tuples(st.floats(-1.4, 1.9), st.floats(29.8, 31.2), st.floats(9.3, 13.7)), flip=st.booleans()
)
@settings(max_examples=100, deadline=None)
def test_the_nearest_cell_is_the_nearest(position: tuple[float, float, float], flip: bool) -> None:
    coords = {dim: values[::-1] if flip else values for dim, values in GRID.items()}
    found = cells(TrackPositions(*([value] for value in position)), coords)
    longitude, latitude, time = position
    distances = [
        np.abs(coords[dim] - value)
        for dim, value in (("time", time), ("latitude", latitude), ("longitude", longitude))
    ]
    inside = all(d.min() <= w / 2 for d, w in zip(distances, (1.0, 0.25, 0.5), strict=True))
    assert len(found) == inside
    for cell in found:
        assert all(d[i] <= d.min() + 1e-12 for d, i in zip(distances, cell, strict=True))


@pytest.mark.parametrize(
    "outside",
    [(-1.26, 30.5, 11), (1.76, 30.5, 11), (0, 29.87, 11), (0, 31.13, 11), (0, 30.5, 9.4), (0, 30.5, 13.6)],
)
def test_positions_more_than_half_a_cell_away_are_ignored(outside: tuple[float, float, float]) -> None:
    assert cells(TrackPositions(*([value] for value in outside))) == set()


def test_positions_that_are_not_numbers_are_ignored() -> None:
    assert cells(TrackPositions([np.nan, 0.0], [30.5, np.nan], [11.0, 11.0])) == set()


def test_longitudes_are_compared_on_the_circle() -> None:
    assert cells(TrackPositions([359.4], [30.6], [11.4])) == {(1, 2, 1)}
    far = {**GRID, "longitude": np.linspace(359.0, 361.5, 6)}
    assert cells(TrackPositions([-0.6], [30.6], [11.4]), far) == {(1, 2, 1)}


def test_tracks_of_another_year_are_shifted() -> None:
    track = TrackPositions([-0.6], [30.6], [11.4 + 365], shift=-365.0)
    assert cells(track) == {(1, 2, 1)}


def test_dates_are_matched_through_the_epoch() -> None:
    dated = {**GRID, "time": np.datetime64("2005-04-01", "ns") + np.arange(4) * np.timedelta64(1, "D")}
    day = float((np.datetime64("2005-04-02") - np.datetime64("1950-01-01")).astype(int))
    assert cells(TrackPositions([-0.6], [30.6], [day + 0.4]), dated) == {(1, 2, 1)}
    assert cells(TrackPositions([-0.6], [30.6], [1.4], epoch="2005-04-01"), dated) == {(1, 2, 1)}
    relative = {**GRID, "time": np.arange(4) * np.timedelta64(1, "D")}
    assert cells(TrackPositions([-0.6], [30.6], [1.4]), relative) == {(1, 2, 1)}


def test_a_window_may_order_and_name_its_dimensions_freely() -> None:
    sampler = TrackPositions([-0.6], [30.6], [11.4], longitude_dim="lon", latitude_dim="lat", time_dim="day")
    coords = {"lon": GRID["longitude"], "lat": GRID["latitude"], "day": GRID["time"]}
    mask = sampler.mask({"variable": 1, "lon": 6, "day": 4, "lat": 5}, coords, rng())
    assert np.argwhere(mask).tolist() == [[0, 1, 1, 2]]


def test_tracks_are_read_from_text(tmp_path) -> None:
    path = tmp_path / "tracks.txt"
    path.write_text("# lon lat days adt\n-0.6 30.6 11.4 -0.03\n-0.8 30.1 13.5 0.02\n")
    assert cells(TrackPositions.from_text(path)) == {(1, 2, 1), (3, 0, 0)}
    assert cells(TrackPositions.from_text(path, shift=1.0)) == {(2, 2, 1)}
    path.write_text("-0.6 30.6 11.4\n")
    assert cells(TrackPositions.from_text(path)) == {(1, 2, 1)}


def passes_of_the_grid() -> tuple[TrackPositions, np.ndarray]:
    """Five passes of four positions: pass i on day 5000 + i, on the parallel i, at longitudes 1 to 4."""
    number = np.repeat(np.arange(5), 4)
    longitude = np.tile(GRID["longitude"][1:5], 5)
    return TrackPositions(longitude, GRID["latitude"][number], 5000.3 + 1.1 * number), 10 * number


FIVE_DAYS = {**OCEAN, "time": 5}


def days_of_passes(mask: np.ndarray) -> list[set[int]]:
    """Days on which each parallel was observed."""
    return [set(np.flatnonzero(mask[0, :, i].any(axis=1)).tolist()) for i in range(5)]


def test_shuffled_tracks_are_shifted_on_a_circle_of_days() -> None:
    tracks, number = passes_of_the_grid()
    sampler = ShuffledTracks(tracks, number, most_left_out=0.0)
    coords = {**GRID, "time": np.arange(10.0, 15.0)}
    shifts = set()
    for seed in range(40):
        mask = sampler.mask(FIVE_DAYS, coords, rng(seed))
        assert int(mask[0].sum()) == 20
        np.testing.assert_array_equal(mask[0], mask[1])
        days = [each.pop() for each in days_of_passes(mask)]
        assert days == [(days[0] + i) % 5 for i in range(5)]
        shifts.add(days[0])
    assert shifts == set(range(5))


def test_passes_are_left_out_whole() -> None:
    tracks, number = passes_of_the_grid()
    coords = {**GRID, "time": np.arange(10.0, 15.0)}
    counts = []
    for seed in range(40):
        mask = ShuffledTracks(tracks, number, most_left_out=0.8).mask(FIVE_DAYS, coords, rng(seed))
        per_pass = mask[0].sum(axis=(0, 2))
        assert set(per_pass.tolist()) <= {0, 4}
        counts.append(int((per_pass > 0).sum()))
    # The share left out is uniform from 0 to 0.8, so 0.4 on average, of 200 passes: 120 stay, deviation 10.
    assert abs(sum(counts) - 120) < 5 * 10
    assert len(set(counts)) > 2


def test_dates_of_the_window_do_not_matter_to_shuffled_tracks() -> None:
    tracks, number = passes_of_the_grid()
    sampler = ShuffledTracks(tracks, number)
    starts = (np.arange(5.0), 1e4 + np.arange(5.0))
    days = np.arange(5) * np.timedelta64(1, "D")
    times = (
        *starts,
        np.datetime64("1993-07-04", "ns") + days,
        np.datetime64("2030-01-01T12", "ns") + days,
        days,
    )
    masks = [sampler.mask(FIVE_DAYS, {**GRID, "time": time}, rng(3)) for time in times]
    assert masks[0].any()
    for mask in masks[1:]:
        np.testing.assert_array_equal(mask, masks[0])


@pytest.mark.parametrize("text", ["", "# only a comment\n", "1.0 2.0\n", "a b c\n"])
def test_a_bad_track_file_is_an_error(tmp_path, text: str) -> None:
    path = tmp_path / "tracks.txt"
    path.write_text(text)
    with pytest.raises(StoreError, match=r"tracks\.txt"):
        TrackPositions.from_text(path)
    with pytest.raises(StoreError, match=r"missing\.txt"):
        TrackPositions.from_text(tmp_path / "missing.txt")


@pytest.mark.parametrize(
    "make",
    [
        lambda: EveryNthStep(0),
        lambda: EveryNthStep(2, start=-1),
        lambda: RandomComponents(-1),
        lambda: RandomComponents(2, every=0),
        lambda: RandomComponents(2, start=-1),
        lambda: RandomFraction(1.1),
        lambda: RandomFraction(float("nan")),
        lambda: TrackPositions([0.0, 1.0], [0.0], [0.0]),
        lambda: ShuffledTracks(TrackPositions([0.0], [0.0], [0.0]), [1, 2]),
        lambda: ShuffledTracks(TrackPositions([0.0], [0.0], [0.0]), [1], most_left_out=1.1),
        lambda: RandomComponents(41).mask(SIZES_96, {}, rng()),
        lambda: RandomHoles(-1, 3),
        lambda: RandomHoles(1, 0),
        lambda: RandomHoles(1, 3, ()),
        lambda: RandomHoles(1, 29, ("row", "column")).mask(IMAGE, {}, rng()),
    ],
)
def test_impossible_numbers_are_named(make) -> None:
    with pytest.raises(ConfigError):
        make()


def test_windows_that_do_not_fit_the_rule_are_named() -> None:
    with pytest.raises(MissingVariableError, match=r"'day'.*'variable', 'time'"):
        EveryNthStep(2, dim="day").mask(SIZES_63, {}, rng())
    with pytest.raises(MissingVariableError, match="'site'"):
        RandomComponents(2).mask(SIZES_63, {}, rng())
    with pytest.raises(MissingVariableError, match="'latitude'"):
        RandomHoles(1, 3).mask(IMAGE, {}, rng())
    track = TrackPositions([0.0], [30.0], [11.0])
    with pytest.raises(MissingVariableError, match="'time'"):
        track.mask(OCEAN, {}, rng())
    with pytest.raises(GridMismatchError, match="two points"):
        track.mask(OCEAN, {**GRID, "latitude": np.array([30.0])}, rng())
    with pytest.raises(GridMismatchError, match="increase or decrease"):
        track.mask(OCEAN, {**GRID, "latitude": np.array([1.0, 2, 2, 3, 4])}, rng())
    with pytest.raises(GridMismatchError, match="2 dimensions"):
        track.mask(OCEAN, {**GRID, "latitude": np.ones((5, 6))}, rng())
