"""Along-track observations: files, passes, means in cells, fields seen along tracks."""

import tracemalloc

import numpy as np
import pytest
import xarray as xr

from oceanvar.errors import ConfigError, GridMismatchError, MissingVariableError, StoreError
from oceanvar.observing import (
    anomalies,
    bin_tracks,
    bin_with_errors,
    read_tracks,
    sample_field,
    withhold_passes,
)
from oceanvar.observing.tracks import GAP_SECONDS

NOON = np.datetime64("2005-04-01T12", "ns")
DAY = np.timedelta64(1, "D")


def grid(**changed: np.ndarray) -> xr.Dataset:
    coords = {
        "time": NOON + np.arange(4) * DAY,
        "latitude": 30 + 0.25 * np.arange(5),
        "longitude": -1 + 0.5 * np.arange(6),
    }
    return xr.Dataset(coords=coords | changed)


def samples(n: int, seed: int = 0, margin: float = 0.0) -> xr.DataArray:
    """Values at random places within the centres of the grid, or up to a margin in grid points outside."""
    rng = np.random.default_rng(seed)
    time, latitude, longitude = (rng.uniform(-margin, size - 1 + margin, n) for size in (4, 5, 6))
    seconds = np.round(time * 86_400).astype("timedelta64[s]")
    coords = {
        "time": ("sample", NOON + seconds),
        "latitude": ("sample", 30 + 0.25 * latitude),
        "longitude": ("sample", -1 + 0.5 * longitude),
    }
    return xr.DataArray(rng.standard_normal(n), coords, ("sample",), "adt", attrs={"units": "m"})


# --- files ------------------------------------------------------------------------------------------------


def test_a_file_is_read_in_order_of_time_with_its_passes(tmp_path) -> None:
    path, second = tmp_path / "tracks.txt", 1 / 86_400
    start = 20_179.0  # 2005-04-01
    days = np.array([0, 1, 2, 2 + GAP_SECONDS - 1, 4 + GAP_SECONDS + 2 * GAP_SECONDS]) * second + start
    rows = np.column_stack([[359.5, 1, 2, 3, 4], [30, 31, 32, 33, 34], days, [0.1, 0.2, 0.3, 0.4, 0.5]])
    shuffled = rows[[3, 0, 4, 2, 1]]
    np.savetxt(
        path, np.column_stack([shuffled, np.full(5, -9.0)]), fmt="%.9f", header="lon lat days adt flag"
    )
    tracks = read_tracks(path, "sla", "cm")
    np.testing.assert_allclose(tracks["sla"], rows[:, 3])
    np.testing.assert_allclose(tracks["longitude"], rows[:, 0])
    np.testing.assert_allclose(tracks["latitude"], rows[:, 1])
    np.testing.assert_array_equal(tracks["track"], [0, 0, 0, 0, 1])
    error = tracks["time"].values - np.datetime64("2005-04-01", "ns")
    np.testing.assert_allclose(error / np.timedelta64(1, "s"), (days - start) / second, atol=2e-3)
    assert tracks["sla"].attrs == {"units": "cm"}
    assert tracks["longitude"].attrs["units"] == "degrees_east"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3\n", "columns"),
        ("a b c d\n", "columns"),
        ("1 2 3 nan\n1 2 inf 4\n", "2 rows, 2 values not finite"),
    ],
)
def test_a_bad_file_is_an_error(tmp_path, text: str, message: str) -> None:
    path = tmp_path / "tracks.txt"
    path.write_text(text)
    with pytest.raises(StoreError, match=message):
        read_tracks(path)


@pytest.mark.parametrize("text", ["", "# only a comment\n"])
def test_an_empty_file_is_an_error(tmp_path, text: str) -> None:
    path = tmp_path / "tracks.txt"
    path.write_text(text)
    with pytest.raises(StoreError, match=r"tracks\.txt.*0 rows"):
        read_tracks(path)
    with pytest.raises(StoreError, match=r"missing\.txt"):
        read_tracks(tmp_path / "missing.txt")


# --- passes -----------------------------------------------------------------------------------------------


def test_passes_are_withheld_whole() -> None:
    number = np.repeat(np.arange(10) * 7, 5)
    tracks = xr.Dataset({"adt": ("sample", np.arange(50.0))}, {"track": ("sample", number)})
    kept, withheld = withhold_passes(tracks, 0.3, seed=1)
    assert len(np.unique(withheld["track"])) == 3
    assert not set(kept["track"].values) & set(withheld["track"].values)
    assert sorted([*kept["adt"].values, *withheld["adt"].values]) == list(range(50))
    xr.testing.assert_identical(withhold_passes(tracks, 0.3, seed=1)[1], withheld)
    drawn = {tuple(np.unique(withhold_passes(tracks, 0.3, seed=s)[1]["track"])) for s in range(20)}
    assert len(drawn) > 1
    assert {len(numbers) for numbers in drawn} == {3}


# --- binning ----------------------------------------------------------------------------------------------


def test_a_cell_holds_the_mean_of_the_samples_nearest_to_its_centre() -> None:
    for target in (grid(), grid(latitude=30 + 0.25 * np.arange(5)[::-1])):
        tracks = samples(300, margin=1.0)
        expected = np.full((4, 5, 6), np.nan)
        members: dict[tuple[int, ...], list[float]] = {}
        for sample in tracks:
            cell = []
            for dim, width in (("time", DAY), ("latitude", 0.25), ("longitude", 0.5)):
                distance = np.abs((sample[dim].values - target[dim].values) / width)
                cell.append(int(distance.argmin()) if distance.min() < 0.5 else -1)
            if min(cell) >= 0:
                members.setdefault(tuple(cell), []).append(float(sample))
        for where, values in members.items():
            expected[where] = np.mean(values)
        binned = bin_tracks(tracks, target)
        assert sum(map(len, members.values())) < 300
        assert max(map(len, members.values())) > 2
        assert np.isnan(expected).any()
        np.testing.assert_allclose(binned, expected, rtol=1e-6)
        assert binned.dims == ("time", "latitude", "longitude")
        assert binned.dtype == np.float32
        assert binned.attrs == {"units": "m"}


def test_samples_outside_the_grid_are_ignored() -> None:
    inside = samples(1)
    for dim, offset in (("time", 4 * DAY), ("latitude", -1.2), ("longitude", 3.0)):
        for sign in (1, -1):
            outside = inside.assign_coords({dim: inside[dim] + sign * 2 * offset})
            assert bin_tracks(outside, grid()).isnull().all()
    assert int(bin_tracks(inside, grid()).notnull().sum()) == 1


def curved(target: xr.Dataset) -> xr.Dataset:
    """The same grid with latitude and longitude at each point, as ROMS names them."""
    north, east = np.meshgrid(target["latitude"], target["longitude"], indexing="ij")
    dims = ("eta_rho", "xi_rho")
    places = {
        "lat_rho": (dims, north, {"units": "degree_north"}),
        "lon_rho": (dims, east, {"units": "degree_east"}),
    }
    renamed = target.rename(latitude="eta_rho", longitude="xi_rho").drop_vars(["eta_rho", "xi_rho"])
    return renamed.assign_coords(places)


def test_cells_of_a_curvilinear_grid_are_those_of_its_rectilinear_twin() -> None:
    tracks = samples(300, margin=1.0)
    expected = bin_with_errors(tracks, grid(), noise_std=0.1)
    binned = bin_with_errors(tracks, curved(grid()), noise_std=0.1)
    assert binned["adt"].dims == ("time", "eta_rho", "xi_rho")
    assert set(binned.coords) == {"time", "lat_rho", "lon_rho"}
    assert 0 < int(expected["count"].sum()) < 300
    for name in expected:
        np.testing.assert_array_equal(binned[name], expected[name])
    with pytest.raises(MissingVariableError, match="no dimension with a coordinate that is the time"):
        bin_tracks(tracks, curved(grid()).drop_vars("time"))


def test_a_field_on_a_curvilinear_grid_is_sampled_as_its_rectilinear_twin() -> None:
    tracks = samples(200, margin=0.3)
    coords = grid().coords
    field = xr.DataArray(
        np.random.default_rng(0).standard_normal((4, 5, 6)), coords, ("time", "latitude", "longitude"), "adt"
    )
    twin = curved(field.to_dataset())["adt"]
    for ours, its in ((field, twin), (field[0], twin[0])):
        expected, found = sample_field(ours, tracks), sample_field(its, tracks)
        known = expected.notnull() & found.notnull()
        assert 0.3 < float(known.mean()) < 1
        assert int((expected.notnull() != found.notnull()).sum()) <= 1
        np.testing.assert_allclose(found.where(known), expected.where(known), atol=5e-3)


def test_times_may_be_numbers_of_days_but_not_a_mixture() -> None:
    tracks = samples(40)
    days = tracks.assign_coords(time=(tracks.time - NOON) / DAY)
    plain = grid(time=np.arange(4.0))
    np.testing.assert_array_equal(bin_tracks(days, plain), bin_tracks(tracks, grid()))
    for one, other in ((tracks, plain), (days, grid())):
        with pytest.raises(GridMismatchError, match="'time'"):
            bin_tracks(one, other)


@pytest.mark.parametrize("latitude", [[30.0], [30.0, 30.25, 30.75]])
def test_cells_without_a_size_are_an_error(latitude: list[float]) -> None:
    with pytest.raises(GridMismatchError, match="'latitude'"):
        bin_tracks(samples(5), grid(latitude=np.array(latitude)))


# --- sampling ---------------------------------------------------------------------------------------------


def linear(time: xr.DataArray, latitude: xr.DataArray, longitude: xr.DataArray) -> xr.DataArray:
    """Value that is linear in each coordinate, products in space included."""
    days = (time - NOON) / DAY
    return 1 + 0.3 * days + 0.7 * latitude - 0.2 * longitude + 0.5 * latitude * longitude


def test_a_field_linear_in_space_and_time_is_sampled_exactly() -> None:
    where, tracks = grid(), samples(50)
    field = linear(where.time, where.latitude, where.longitude)
    expected = linear(tracks.time, tracks.latitude, tracks.longitude)
    np.testing.assert_allclose(sample_field(field, tracks), expected, rtol=0, atol=1e-10)
    steady = field.isel(time=0, drop=True)
    found = sample_field(steady, tracks.to_dataset())
    np.testing.assert_allclose(found, linear(where.time[0], tracks.latitude, tracks.longitude), atol=1e-10)


def test_the_first_and_last_map_hold_outside_their_times() -> None:
    where, tracks = grid(), samples(10)
    field = linear(where.time, where.latitude, where.longitude)
    for days, at in ((-30, 0), (0, 0), (3, 3), (30, 3)):
        shifted = tracks.assign_coords(time=xr.full_like(tracks.time, NOON + days * DAY))
        np.testing.assert_allclose(
            sample_field(field, shifted), sample_field(field.isel(time=at, drop=True), tracks), atol=1e-10
        )


def test_next_to_land_the_nearest_cell_serves() -> None:
    where = grid()
    field = linear(where.time, where.latitude, where.longitude).isel(time=0, drop=True)
    field[2, 3] = np.nan  # latitude 30.5, longitude 0.5
    at = {"latitude": ("sample", [30.45, 30.05, 29.8, 30.3]), "longitude": ("sample", [0.45, -0.9, 0.0, 0.3])}
    found = sample_field(field, xr.Dataset(coords=at)).values
    assert np.isnan(found[0])  # land is the nearest cell
    np.testing.assert_allclose(found[1], linear(where.time[0], xr.DataArray(30.05), xr.DataArray(-0.9)))
    assert np.isnan(found[2])  # outside the grid
    assert found[3] == field[1, 3]  # land is one of the corners


def test_longitudes_from_0_to_360_meet_a_grid_from_minus_180_to_180():
    grid = xr.DataArray(
        np.arange(12.0).reshape(3, 4),
        {"latitude": [40.0, 41, 42], "longitude": [-4.0, -3, -2, -1]},
        ("latitude", "longitude"),
    )
    tracks = xr.Dataset(
        coords={"longitude": ("sample", [357.0, 358.5]), "latitude": ("sample", [41.0, 42.0])}
    )
    np.testing.assert_allclose(sample_field(grid, tracks), [5.0, 10.5])


def test_counts_and_error_variances_of_cells() -> None:
    """Every sample counts once, and the mean of n has the variance of one over n."""
    tracks = samples(200)
    binned = bin_with_errors(tracks, grid(), noise_std=0.3)
    assert int(binned["count"].sum()) == 200
    seen = binned["count"] > 0
    xr.testing.assert_equal(seen, binned["adt"].notnull())
    expected = (0.09 / binned["count"].where(seen)).astype("float32")
    xr.testing.assert_allclose(binned["variance"], expected)
    xr.testing.assert_identical(binned["adt"], bin_tracks(tracks, grid()))
    total = float((binned["adt"] * binned["count"]).sum())
    assert total == pytest.approx(float(tracks.sum()), abs=1e-4)


@pytest.mark.parametrize("chunks", [1, 3, 4, 9])
def test_lazy_means_are_those_of_the_whole_and_know_their_own_days(chunks) -> None:
    tracks = samples(200, margin=1.0)
    whole, lazy = (bin_with_errors(tracks, grid(), 0.3, each) for each in (None, chunks))
    assert lazy.chunks["time"][0] == min(chunks, 4)
    xr.testing.assert_identical(lazy.compute(), whole)
    xr.testing.assert_identical(
        bin_tracks(tracks, grid(), chunks).isel(time=[2]).compute(), whole["adt"][[2]]
    )
    none = bin_tracks(samples(3).assign_coords(latitude=("sample", [0.0, 0.0, 0.0])), grid(), chunks)
    assert none.isnull().all()
    with pytest.raises(ConfigError, match="chunks is 0"):
        bin_tracks(tracks, grid(), chunks=0)


def test_memory_is_that_of_the_days_that_are_asked_for() -> None:
    days = NOON + np.arange(100) * DAY
    axes = {"latitude": 30 + 0.1 * np.arange(200), "longitude": 0.1 * np.arange(200)}
    large = xr.Dataset(coords={"time": days, **axes})
    n_bytes = 4 * 100 * 200 * 200

    def peak(chunks: int | None) -> int:
        tracemalloc.start()
        binned = bin_tracks(samples(2000), large, chunks)
        assert int(binned.isel(time=[0, 1]).notnull().sum()) > 10
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(None) < 1.2 * n_bytes
    assert peak(1) < 0.15 * n_bytes


def test_anomalies_are_above_the_map_and_leave_out_what_lies_off_it() -> None:
    axis = np.arange(4.0)
    values = axis[:, None] + 10 * axis
    values[0, 0] = np.nan
    mean = xr.DataArray(values, {"latitude": axis, "longitude": axis}, ("latitude", "longitude"))
    at = {
        "latitude": ("sample", [1.5, 0.0, 2.0]),
        "longitude": ("sample", [2.0, 0.0, 7.0]),
        "track": ("sample", [0, 0, 1]),
    }
    tracks = xr.Dataset({"adt": ("sample", [30.0, 1.0, 2.0], {"units": "m"})}, at)
    found = anomalies(tracks, "adt", mean, offset=0.5)
    np.testing.assert_allclose(found["adt"], [30 - 21.5 - 0.5])
    assert found["adt"].attrs == {"units": "m"}
    assert found["track"].values.tolist() == [0]
