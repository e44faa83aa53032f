"""Optimal interpolation of points and of fields."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from oceanvar.baselines import (
    OrbitErrors,
    fit_lengths,
    interpolate_linear,
    interpolate_points,
    interpolate_tracks,
    optimal_interpolation,
)
from oceanvar.baselines.covariance import Covariance
from oceanvar.baselines.pass_errors import PassErrors
from oceanvar.errors import ConfigError, GridMismatchError, MendedWarning, MissingVariableError
from oceanvar.labels.coordinates import KM_PER_DEGREE
from tests.labelled_fields import sea_level

LENGTHS = {"time": 4.0, "latitude": 150.0, "longitude": 150.0}


# ---- optimal interpolation of points


def textbook(targets, points, values, noise, std, scales, mean):
    """Bretherton's formula written densely, for coordinates without a metric."""

    def covariance(a, b):
        return std**2 * np.exp(-0.5 * (((a[:, None] - b[None]) / scales) ** 2).sum(-1))

    inverse = np.linalg.inv(covariance(points, points) + noise**2 * np.eye(len(points)))
    gain = covariance(targets, points) @ inverse
    variance = std**2 - np.einsum("nk,nk->n", gain, covariance(targets, points))
    return mean + gain @ (values - mean), np.sqrt(variance)


def scattered(n_obs=40, n_targets=30, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 3, (n_targets, 2)), rng.uniform(0, 3, (n_obs, 2)), rng.standard_normal(n_obs)


PLAIN = Covariance(1.5, {"time": 1.1, "x": 1.7})


def test_points_equal_the_dense_formula():
    targets, points, values = scattered()
    expected = textbook(targets, points, values, 0.3, 1.5, [1.1, 1.7], 0.4)
    for n_nearest in (40, 1000):
        result = interpolate_points(targets, points, values, 0.3, PLAIN, n_nearest, mean=0.4)
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-10)


def test_few_neighbours_are_the_nearest_ones():
    targets, points, values = scattered()
    scaled = ((targets[:, None] - points[None]) / [1.1, 1.7]) ** 2
    for number, target in enumerate(targets):
        near = np.argsort(scaled[number].sum(-1))[:7]
        expected = textbook(target[None], points[near], values[near], 0.3, 1.5, [1.1, 1.7], 0.0)
        result = interpolate_points(target[None], points, values, 0.3, PLAIN, n_nearest=7)
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-10)


def test_blocks_of_targets_do_not_matter(monkeypatch):
    targets, points, values = scattered()
    expected = interpolate_points(targets, points, values, 0.3, PLAIN)
    monkeypatch.setattr("oceanvar.baselines.points.BLOCK_BYTES", 8 * 40**2 * 7)
    np.testing.assert_allclose(
        interpolate_points(targets, points, values, 0.3, PLAIN), expected, rtol=0, atol=1e-13
    )


def test_observations_are_reproduced_as_noise_vanishes():
    points = np.stack(np.meshgrid(np.arange(4.0), np.arange(4.0)), -1).reshape(-1, 2) * 3
    values = np.random.default_rng(1).standard_normal(16)
    analysis, error_std = interpolate_points(points, points, values, 1e-7, PLAIN)
    np.testing.assert_allclose(analysis, values, rtol=0, atol=1e-10)
    assert error_std.max() < 1e-6


def test_far_away_the_prior_returns():
    far = np.array([[100.0, 0.0], [0.0, -300.0]])
    _, points, values = scattered()
    for seen in (slice(None), slice(0)):
        analysis, error_std = interpolate_points(far, points[seen], values[seen], 0.3, PLAIN, mean=0.7)
        assert (analysis == 0.7).all()
        assert (error_std == 1.5).all()


def test_shifting_everything_changes_nothing():
    targets, points, values = scattered()
    shift = np.array([1000.0, -4000.0])
    expected = interpolate_points(targets, points, values, 0.3, PLAIN, n_nearest=9)
    shifted = interpolate_points(targets + shift, points + shift, values, 0.3, PLAIN, n_nearest=9)
    np.testing.assert_allclose(shifted, expected, rtol=0, atol=1e-9)


def test_noise_of_each_observation_counts():
    target, points, values = np.zeros((1, 2)), np.zeros((2, 2)), np.array([1.0, 3.0])
    analysis, error_std = interpolate_points(target, points, values, np.array([0.1, 0.2]), PLAIN)
    precision = np.array([1 / 0.01, 1 / 0.04])
    total = precision.sum() + 1 / 1.5**2
    np.testing.assert_allclose(analysis, precision @ values / total)
    np.testing.assert_allclose(error_std, total**-0.5)


def test_periodic_axis_joins_its_ends():
    covariance = Covariance(1.0, {"site": 2.0}, {"site": 40.0})
    values = np.array([1.0, -2.0])
    plain = interpolate_points(np.array([[5.0]]), np.array([[4.0], [7.0]]), values, 0.1, covariance)
    for shift in (-5.0, 34.5, 400.0):
        moved = np.mod(np.array([[5.0], [4.0], [7.0]]) + shift, 40)
        result = interpolate_points(moved[:1], moved[1:], values, 0.1, covariance)
        np.testing.assert_allclose(result, plain, rtol=0, atol=1e-12)


def test_positions_on_the_sphere_are_in_km():
    covariance = Covariance(1.0, {"latitude": 100.0, "longitude": 100.0})
    degree = KM_PER_DEGREE
    for target, point, distance in (
        ([60.0, 10.0], [60.0, 11.0], degree / 2),
        ([0.0, 179.8], [0.0, -179.6], 0.6 * degree),
        ([40.0, 300.0], [41.0, -60.0], degree),
    ):
        analysis, _ = interpolate_points(np.array([target]), np.array([point]), np.ones(1), 1e-6, covariance)
        np.testing.assert_allclose(analysis, np.exp(-0.5 * (distance / 100) ** 2), rtol=1e-9)


def test_tracks_onto_a_grid():
    rng = np.random.default_rng(0)
    where = rng.uniform(0, 1, (3, 50)) * [[2], [2], [5]] + [[10], [40], [100]]
    settings = {"length_km": 80.0, "length_days": 5.0, "noise_std": 0.02, "std": 0.1}
    values = rng.normal(0, 0.1, 50)
    grid = np.array([10.5, 11.5, 12.0]), np.array([40.2, 41.0])[:, None]
    analysis, error_std = interpolate_tracks(*where, values, *grid, 102.0, **settings)
    assert analysis.shape == error_std.shape == (2, 3)
    one = interpolate_tracks(*where, values, 11.5, 41.0, 102.0, **settings)
    np.testing.assert_allclose(one, (analysis[1, 1], error_std[1, 1]), rtol=1e-12)


@pytest.mark.parametrize(
    ("std", "lengths", "periods"),
    [
        (0.0, {"x": 1.0}, {}),
        (1.0, {"x": -1.0}, {}),
        (1.0, {"longitude": 1.0}, {}),
        (1.0, {"x": 1.0}, {"y": 2.0}),
    ],
)
def test_impossible_covariances(std, lengths, periods):
    with pytest.raises(ConfigError):
        Covariance(std, lengths, periods)


def test_impossible_points():
    targets, points, values = scattered()
    for noise, n_nearest, first in ((0.0, 5, 1.0), (0.1, 0, 1.0), (0.1, 5, np.nan)):
        values[0] = first
        with pytest.raises(ConfigError):
            interpolate_points(targets, points, values, noise, PLAIN, n_nearest)


# ---- optimal interpolation of fields


def test_fields_equal_points():
    obs = sea_level()
    result = optimal_interpolation(obs, LENGTHS, 0.02, std=0.1, mean=0.25)
    time, lat, lon = np.meshgrid(np.arange(12.0), obs.latitude, obs.longitude, indexing="ij")
    points = np.stack([time.ravel(), lat.ravel(), lon.ravel()], -1)
    seen = obs.notnull().values.ravel()
    values = obs.values.ravel()[seen]
    covariance = Covariance(0.1, LENGTHS)
    analysis, error_std = interpolate_points(points, points[seen], values, 0.02, covariance, mean=0.25)
    np.testing.assert_allclose(result["ssh"].values.ravel(), analysis, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result["ssh_error"].values.ravel(), error_std, rtol=0, atol=1e-12)


def test_fields_keep_their_labels():
    obs = sea_level().transpose("latitude", "time", "longitude").astype(np.float32)
    obs = obs.assign_coords(mask=(("latitude", "longitude"), np.ones((5, 6))), cycle=3)
    result = optimal_interpolation(obs, LENGTHS, 0.02)
    assert set(result.data_vars) == {"ssh", "ssh_error"}
    for one in result.values():
        assert one.dims == obs.dims
        assert one.dtype == np.float32
        assert set(one.coords) == set(obs.coords)
        assert one.attrs["units"] == "m"
    assert result["ssh"].attrs == obs.attrs
    assert result["ssh_error"].attrs["standard_name"] == "sea_surface_height_above_geoid standard_error"
    spread = float(obs.astype(float).std())
    assert 0 < float(result["ssh_error"].min()) < float(result["ssh_error"].max()) < spread


@pytest.mark.parametrize("chunks", [{"time": 1}, {"time": 5}, {"time": -1, "latitude": 2}])
@pytest.mark.parametrize("n_nearest", [4, 150])
def test_lazy_equals_eager(chunks, n_nearest):
    obs = sea_level(n_time=20)
    lengths = LENGTHS | {"time": 1.0}  # so that blocks really leave observations out
    eager = optimal_interpolation(obs, lengths, 0.02, n_nearest=n_nearest)
    lazy = optimal_interpolation(obs.chunk(chunks), lengths, 0.02, n_nearest=n_nearest)
    assert all(isinstance(one.data, da.Array) for one in lazy.values())
    if chunks["time"] > 0:
        assert set(lazy["ssh"].chunksizes["time"][:-1]) == {chunks["time"]}
    xr.testing.assert_allclose(lazy.compute(), eager, rtol=0, atol=1e-10)


def test_a_lazy_block_reads_only_its_neighbourhood():
    obs = sea_level(n_time=60)
    read = []

    def spy(block, block_info=None):
        read.append(block_info[0]["chunk-location"][0])
        return block

    data = da.from_array(obs.values, chunks=(5, 5, 6)).map_blocks(spy, dtype=float, meta=np.empty((0, 0, 0)))
    result = optimal_interpolation(obs.copy(data=data), LENGTHS | {"time": 1.0}, 0.02, std=0.1, mean=0.3)
    result["ssh"].isel(time=31).compute()
    assert set(read) == {5, 6, 7}


def test_members_are_independent():
    obs = xr.concat(
        [sea_level(seed=s) for s in range(3)], "window", coords="minimal", compat="override", join="exact"
    )
    together = optimal_interpolation(obs, LENGTHS, 0.02, std=0.1, mean=0.3)
    assert together["ssh"].dims == obs.dims
    for window in range(3):
        alone = optimal_interpolation(obs[window], LENGTHS, 0.02, std=0.1, mean=0.3)
        xr.testing.assert_identical(alone, together.isel(window=window))
    lazy = optimal_interpolation(obs.chunk({"window": 1}), LENGTHS, 0.02, std=0.1, mean=0.3)
    xr.testing.assert_allclose(lazy.compute(), together, rtol=0, atol=1e-12)


def test_what_is_out_of_reach_cannot_leak():
    targets, points, values = scattered(n_obs=12)
    far = points + 20.0
    both = (
        np.concatenate([targets, targets[:5] + 20.0]),
        np.concatenate([far[:3], points]),
        np.append([1e6] * 3, values),
    )
    expected = interpolate_points(targets, points, values, 0.3, PLAIN)
    # The three come first: the holes in the rows of neighbours point at number 0.
    result = interpolate_points(*both, 0.3, PLAIN)
    np.testing.assert_array_equal([one[: len(targets)] for one in result], expected)


def test_where_nothing_was_observed_the_arithmetic_meets_no_value():
    lonely = sea_level()
    lonely[:, 1, 1] = np.nan
    lonely[:, 2, 2] = 5.0
    assert (interpolate_linear(lonely, fill=-1.0)[:, 1, 1] == -1.0).all()


def test_background_field_is_taken_off_and_put_back():
    obs = sea_level()
    background = xr.full_like(obs[0].drop_vars("time"), 0.0) + np.arange(30.0).reshape(5, 6)
    plain = optimal_interpolation(obs, LENGTHS, 0.02, std=0.1, mean=0.0)
    moved = optimal_interpolation(obs + background, LENGTHS, 0.02, std=0.1, mean=background)
    np.testing.assert_allclose(moved["ssh"] - background, plain["ssh"], rtol=0, atol=1e-12)
    land = background.where(background != 13)
    result = optimal_interpolation(obs, LENGTHS, 0.02, std=0.1, mean=land)
    assert (result.isnull().sum("time") == 12 * land.isnull()).all().to_array().all()
    shifted = background.assign_coords(longitude=background.longitude + 1e-5)
    with pytest.raises(GridMismatchError, match="longitude"):
        optimal_interpolation(obs, LENGTHS, 0.02, mean=shifted)


def test_fields_of_std_and_noise_equal_the_dense_formula():
    obs = sea_level(n_time=4)
    rng = np.random.default_rng(2)
    std = obs[0].drop_vars("time").copy(data=rng.uniform(0.05, 0.2, (5, 6)))
    noise = obs.copy(data=rng.uniform(0.01, 0.05, obs.shape)).where(obs.notnull())
    site = xr.Dataset({"obs": obs, "std": std, "noise": noise}).reset_coords(drop=True)
    site = site.drop_vars(["latitude", "longitude"]).assign_coords(time=np.arange(4.0))
    lengths = {"time": 4.0, "latitude": 2.0, "longitude": 3.0}
    names = {"latitude": "y", "longitude": "x"}
    site = site.rename(names)
    lengths = {names.get(name, name): length for name, length in lengths.items()}
    result = optimal_interpolation(
        site["obs"].rename("ssh"), lengths, site["noise"], std=site["std"], mean=0.3, kernel="matern32"
    )
    points = np.stack(np.meshgrid(*(np.arange(n) for n in obs.shape), indexing="ij"), -1).reshape(-1, 3)
    seen = obs.notnull().values.ravel()
    r = np.sqrt(3 * (((points[:, None] - points) / list(lengths.values())) ** 2).sum(-1))
    size = np.broadcast_to(std, obs.shape).ravel()
    prior = np.outer(size, size) * (1 + r) * np.exp(-r)
    total = prior[np.ix_(seen, seen)] + np.diag(noise.values.ravel()[seen] ** 2)
    gain = np.linalg.solve(total, prior[seen]).T
    expected = 0.3 + gain @ (obs.values.ravel()[seen] - 0.3)
    np.testing.assert_allclose(result["ssh"].values.ravel(), expected, rtol=0, atol=1e-10)
    error_std = np.sqrt(size**2 - np.einsum("nk,nk->n", gain, prior[:, seen]))
    np.testing.assert_allclose(result["ssh_error"].values.ravel(), error_std, rtol=0, atol=1e-10)


def test_lengths_as_fields_are_the_lengths_of_each_point():
    obs = sea_level()
    kilometres = xr.where(obs["latitude"] < 36, 100.0, 250.0)
    lengths = LENGTHS | {"latitude": kilometres, "longitude": kilometres}
    lengths["time"] = 4.0 + 0.0 * obs["time"].dt.day
    choices = {"std": 0.1, "mean": 0.25, "n_nearest": obs.size}
    for times in (lengths["time"], xr.where(obs["time"] < obs["time"][6], 2.0, 5.0)):
        result = optimal_interpolation(obs, lengths | {"time": times}, 0.02, **choices)
        for point in (dict(latitude=0, longitude=3, time=2), dict(latitude=4, longitude=0, time=9)):
            here = {
                name: float(length[{dim: i for dim, i in point.items() if dim in length.dims}])
                for name, length in (lengths | {"time": times}).items()
            }
            alone = optimal_interpolation(obs, here, 0.02, **choices)
            for name in result:
                np.testing.assert_allclose(result[name][point], alone[name][point], rtol=1e-9, atol=1e-12)
        lazy = optimal_interpolation(obs.chunk(time=4), lengths | {"time": times / 4}, 0.02, **choices)
        eager = optimal_interpolation(obs, lengths | {"time": times / 4}, 0.02, **choices)
        xr.testing.assert_allclose(lazy.compute(), eager)


def test_lengths_as_fields_lie_where_the_analysis_is_wanted():
    obs = sea_level()
    shifted = xr.full_like(obs["latitude"], 100.0).assign_coords(latitude=obs["latitude"] + 1)
    with pytest.raises(GridMismatchError, match="the lengths of 'latitude' and the analysis"):
        optimal_interpolation(obs, LENGTHS | {"latitude": shifted}, 0.02)
    holes = xr.where(obs["latitude"] < 36, np.nan, 100.0)
    with pytest.raises(ConfigError, match="lengths of 'latitude' are not positive and finite everywhere"):
        optimal_interpolation(obs, LENGTHS | {"latitude": holes}, 0.02)


def test_a_variance_of_every_observation_is_lazy_too():
    obs = sea_level(n_time=20)
    noise = xr.full_like(obs, 0.02) + 0.01 * np.arange(6)
    options = {"kernel": "matern52", "shares": [3, 1], "error_factor": 1.5}
    lengths = [LENGTHS | {"time": 1.0}, LENGTHS | {"time": 2.0, "latitude": 300.0}]
    eager = optimal_interpolation(obs, lengths, noise, **options)
    lazy = optimal_interpolation(obs.chunk(time=5), lengths, noise.chunk(time=5), **options)
    assert isinstance(lazy["ssh"].data, da.Array)
    xr.testing.assert_allclose(lazy.compute(), eager, rtol=0, atol=1e-10)
    plain = optimal_interpolation(obs, lengths, noise, **options | {"error_factor": 1.0})
    np.testing.assert_allclose(eager["ssh_error"], 1.5 * plain["ssh_error"])
    xr.testing.assert_identical(eager["ssh"], plain["ssh"])


def along_tracks(n=60, n_passes=4, seed=3):
    rng = np.random.default_rng(seed)
    where = {
        "time": np.datetime64("2020-01-01", "ns")
        + (rng.uniform(0, 5, n) * 86_400e9).astype("timedelta64[ns]"),
        "latitude": rng.uniform(35, 37, n),
        "longitude": rng.uniform(5, 8, n),
        "track": rng.integers(0, n_passes, n),
    }
    coords = {name: ("sample", values) for name, values in where.items()}
    return xr.DataArray(0.1 * rng.standard_normal(n), coords, "sample", "ssh", attrs={"units": "m"})


def test_samples_along_tracks_onto_a_grid():
    tracks, grid = along_tracks(), sea_level(n_time=3)
    missing = tracks.copy()
    missing[7] = np.nan
    shared = OrbitErrors(0.05, 0.001)
    result = optimal_interpolation(
        missing, LENGTHS, 0.02, std=0.1, mean=0.0, targets=grid, orbit_errors=shared
    )
    assert result["ssh"].dims == ("time", "latitude", "longitude")
    seen = missing.dropna("sample")

    def days(one):
        return ((one - tracks.time[0]) / np.timedelta64(1, "D")).values

    time, lat, lon = np.meshgrid(days(grid.time), grid.latitude, grid.longitude, indexing="ij")
    # The middle of a pass is that of all of its samples, be they used or not.
    errors = PassErrors.of_orbits(tracks.track.values, days(tracks.time), 0.05, 0.001)
    expected = interpolate_points(
        np.stack([time.ravel(), lat.ravel(), lon.ravel()], -1),
        np.stack([days(seen.time), seen.latitude, seen.longitude], -1),
        seen.values,
        0.02,
        Covariance(0.1, LENGTHS),
        pass_errors=errors.of_part(missing.notnull().values),
    )
    for one, other in zip(result.values(), expected, strict=True):
        np.testing.assert_allclose(one.values.ravel(), other, rtol=0, atol=1e-10)
    with pytest.raises(MissingVariableError, match="'pass'"):
        optimal_interpolation(tracks, LENGTHS, 0.02, orbit_errors=OrbitErrors(0.05, passes="pass"))
    with pytest.raises(ConfigError, match="one time"):
        optimal_interpolation(tracks, {"latitude": 1.0}, 0.02, orbit_errors=shared)


def test_targets_elsewhere():
    obs = sea_level()
    where = {
        "time": ("p", obs.time.values[[2, 7]]),
        "latitude": ("p", [35.5, 36.0]),
        "longitude": ("p", [5.0, 6.5]),
    }
    full = optimal_interpolation(obs, LENGTHS, 0.02)
    for source in (obs, obs.chunk({"time": 3})):
        result = optimal_interpolation(source, LENGTHS, 0.02, targets=xr.Dataset(coords=where))
        assert result["ssh"].dims == ("p",)
        np.testing.assert_allclose(
            result["ssh"], full["ssh"].values[[2, 7], [1, 2], [0, 3]], rtol=0, atol=1e-12
        )
        part = full.isel(time=[4, 9], longitude=slice(1, 3))
        xr.testing.assert_allclose(
            optimal_interpolation(source, LENGTHS, 0.02, targets=part).compute(), part, rtol=0, atol=1e-10
        )


def test_curvilinear_grid_equals_its_rectilinear_twin():
    obs = sea_level()
    lat, lon = xr.broadcast(obs.latitude.drop_vars("latitude"), obs.longitude.drop_vars("longitude"))
    curved = obs.drop_vars(["latitude", "longitude"]).rename(latitude="y", longitude="x")
    dims = ("y", "x")
    curved = curved.assign_coords(
        nav_lat=(dims, lat.values, {"units": "degrees_north"}),
        nav_lon=(dims, lon.values, {"units": "degrees_east"}),
    )
    lengths = {"time": 4.0, "nav_lat": 150.0, "nav_lon": 150.0}
    expected = optimal_interpolation(obs, LENGTHS, 0.02)["ssh"]
    np.testing.assert_allclose(
        optimal_interpolation(curved, lengths, 0.02)["ssh"], expected, rtol=0, atol=1e-12
    )


def test_calendars_and_plain_numbers_are_times_too():
    obs = sea_level()
    expected = optimal_interpolation(obs, LENGTHS, 0.02)["ssh"].values
    other = obs.assign_coords(
        time=xr.date_range("2001-01-01", periods=12, calendar="365_day", use_cftime=True)
    )
    elapsed = obs.assign_coords(time=np.arange(12) * np.timedelta64(24, "h"))
    for one in (other, elapsed, obs.assign_coords(time=np.arange(12)), obs.drop_vars("time")):
        np.testing.assert_allclose(
            optimal_interpolation(one, LENGTHS, 0.02)["ssh"], expected, rtol=0, atol=1e-12
        )
        filled = interpolate_linear(one)
        np.testing.assert_allclose(filled, interpolate_linear(obs), rtol=0, atol=1e-12)


def test_nothing_observed():
    obs = sea_level() * np.nan
    result = optimal_interpolation(obs, LENGTHS, 0.02, std=0.1, mean=0.3)
    assert (result["ssh"] == 0.3).all()
    assert (result["ssh_error"] == 0.1).all()
    with pytest.raises(ConfigError, match="no observation"):
        optimal_interpolation(obs, LENGTHS, 0.02, std=0.1)
    with pytest.raises(ConfigError, match="no observation"):
        optimal_interpolation(obs.rename(None), LENGTHS, 0.02, mean=0.3)


def test_mistakes_of_fields():
    obs = sea_level()
    with pytest.raises(MissingVariableError, match="'depth'"):
        optimal_interpolation(obs, LENGTHS | {"depth": 1.0}, 0.02)
    with pytest.raises(MissingVariableError, match="no variable"):
        optimal_interpolation(xr.Dataset(coords=obs.coords), LENGTHS, 0.02)
    with pytest.raises(ConfigError, match="background field"):
        optimal_interpolation(obs, LENGTHS, 0.02, mean=obs[0].drop_vars("time"), targets=obs)
    with pytest.raises(ConfigError, match="std must be positive"):
        optimal_interpolation(obs * 0, LENGTHS, 0.02)
    for nothing in ({}, []):
        with pytest.raises(ConfigError, match="none is given"):
            optimal_interpolation(obs, nothing, 0.02)
    with pytest.raises(ConfigError, match="error_factor"):
        optimal_interpolation(obs, LENGTHS, 0.02, error_factor=0.0)
    with pytest.raises(ConfigError, match="as many kernels"):
        optimal_interpolation(obs, [LENGTHS, LENGTHS], 0.02, shares=[1.0])
    with pytest.raises(GridMismatchError, match="noise_std"):
        optimal_interpolation(obs, LENGTHS, obs[:4])


@pytest.mark.parametrize("fill", [9.969209968386869e36, np.inf, -999.0])
def test_fill_values_are_not_spread(fill):
    obs = sea_level()
    first = np.unravel_index(np.flatnonzero(obs.notnull())[0], obs.shape)
    gap, filled = obs.copy(), obs.copy()
    gap[first], filled[first] = np.nan, fill
    with pytest.warns(MendedWarning, match="1 of .* values"):
        result = optimal_interpolation(filled, LENGTHS, 0.02)
    xr.testing.assert_identical(result, optimal_interpolation(gap, LENGTHS, 0.02))


def test_values_that_are_none_are_refused_or_left_out():
    obs = sea_level()
    packed = (obs.fillna(0) * 1e4).astype(np.int16).assign_attrs(scale_factor=1e-4)
    with pytest.raises(ConfigError, match="mask_and_scale"):
        optimal_interpolation(packed, LENGTHS, 0.02)
    with pytest.raises(ConfigError, match="decode_timedelta"):
        optimal_interpolation((obs.fillna(0) * 1e9).astype("timedelta64[ns]"), LENGTHS, 0.02)
    high = float(obs.quantile(0.9))
    with pytest.warns(MendedWarning, match="outside of the valid range"):
        result = optimal_interpolation(obs.assign_attrs(valid_max=high), LENGTHS, 0.02)
    np.testing.assert_array_equal(
        result["ssh"], optimal_interpolation(obs.where(obs <= high), LENGTHS, 0.02)["ssh"]
    )


def test_messages_of_errors_are_short():
    obs = sea_level()
    for noise in (0.0, np.nan, -1.0):
        with pytest.raises(ConfigError, match="every observation, and at .* it is not") as caught:
            optimal_interpolation(obs, LENGTHS, noise)
        assert len(str(caught.value)) < 200
    with pytest.raises(ConfigError, match=r"n_nearest \(0\)"):
        optimal_interpolation(obs, LENGTHS, 0.02, n_nearest=0)


def test_lengths_are_found_by_meaning():
    obs, tracks = sea_level(n_time=3), along_tracks()
    other = {"latitude": "lat", "longitude": "lon"}
    full = optimal_interpolation(obs, LENGTHS, 0.02)
    xr.testing.assert_identical(optimal_interpolation(obs.rename(other), LENGTHS, 0.02), full.rename(other))
    grid = obs.coords.to_dataset()
    onto = optimal_interpolation(tracks, LENGTHS, 0.02, targets=grid)
    for source, names in (
        (tracks.rename(other), LENGTHS),
        (tracks, {"time": 4.0, "lat": 150.0, "lon": 150.0}),
    ):
        result = optimal_interpolation(source, names, 0.02, targets=grid.rename(other))
        xr.testing.assert_allclose(result, onto.rename(other))
    north, east = xr.broadcast(
        grid["latitude"].drop_vars("latitude"), grid["longitude"].drop_vars("longitude")
    )
    curved = xr.Dataset(coords={"time": grid["time"], "nav_lat": north, "nav_lon": east})
    curved = curved.rename(latitude="y", longitude="x")
    result = optimal_interpolation(tracks, LENGTHS, 0.02, targets=curved)
    assert result["ssh"].dims == ("time", "y", "x")
    np.testing.assert_allclose(result["ssh"], onto["ssh"])


def test_samples_are_taken_as_they_come():
    tracks, grid = along_tracks(), sea_level(n_time=3)
    expected = optimal_interpolation(tracks, LENGTHS, 0.02, std=0.1, mean=0.0, targets=grid)

    def mapped(given, noise_std=0.02):
        return optimal_interpolation(given, LENGTHS, noise_std, std=0.1, mean=0.0, targets=grid)

    for twice in ([tracks, tracks], xr.concat([tracks, tracks], "sample")):
        with pytest.warns(MendedWarning, match="60 of 120 samples are there already"):
            xr.testing.assert_allclose(mapped(twice), expected)
    nowhere = tracks.isel(sample=[*range(60), 0, 1])
    nowhere["latitude"].values[60] = np.nan
    nowhere["time"].values[61] = np.datetime64("NaT")
    noise = xr.full_like(nowhere, 0.02)
    with pytest.warns(MendedWarning, match="2 of 62 samples are without a place or a time"):
        xr.testing.assert_allclose(mapped(nowhere, noise), expected)
    own = tracks.to_dataset().assign(variance=xr.full_like(tracks, 0.02**2))
    result = mapped(own, None)
    assert set(result) == {"ssh", "ssh_error"}
    xr.testing.assert_allclose(result, expected)
    unknown = own.assign(variance=own["variance"].where(np.arange(60) > 4))
    xr.testing.assert_allclose(mapped(unknown, None), mapped(tracks.where(np.arange(60) > 4)))
    with pytest.raises(ConfigError, match="give noise_std, or a variable 'variance'"):
        mapped(tracks, None)
    with pytest.raises(ConfigError, match="a list of tracks"):
        mapped([tracks], noise)


def test_fitted_lengths_are_those_of_the_data():
    rng = np.random.default_rng(4)
    site = np.arange(150.0)
    covariance = np.exp(-0.5 * ((site[:, None] - site) / 6.0) ** 2) + 1e-8 * np.eye(150)
    truth = xr.DataArray(
        (np.linalg.cholesky(covariance) @ rng.standard_normal((150, 4))).T, dims=("window", "site")
    )
    obs = (
        (truth + 0.1 * rng.standard_normal(truth.shape))
        .where(rng.random(truth.shape) < 0.4)
        .assign_attrs(units="m")
    )
    candidates = [{"site": length} for length in (1.5, 6.0, 24.0)]
    for known in (None, truth):
        best, table = fit_lengths(obs, candidates, 0.1, truth=known, n_nearest=30)
        assert best == {"site": 6.0}
        assert table["rmse"].dims == ("candidate",)
        assert table["rmse"].attrs == {"units": "m"}
        assert list(table["site"].values) == [1.5, 6.0, 24.0]
    with pytest.raises(ConfigError, match="candidate"):
        fit_lengths(obs, [], 0.1)
    with pytest.raises(ConfigError, match="no point"):
        fit_lengths(obs * np.nan, candidates, 0.1)
