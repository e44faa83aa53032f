"""Twin experiments: climatology, observations that cannot leak, windows."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import xarray as xr

from oceanvar.dynamics import FlowStep, Lorenz63, Lorenz96
from oceanvar.errors import ConfigError, GridMismatchError, MissingVariableError, PatchError
from oceanvar.observing import AbstractSampler, EveryNthStep, RandomComponents, RandomFraction, observe
from oceanvar.truths import lorenz63, lorenz96, windows


@pytest.fixture(scope="module")
def many63() -> xr.Dataset:
    return lorenz63(1000, n_trajectories=150, seed=4)


@pytest.fixture(scope="module")
def many96() -> xr.Dataset:
    return lorenz96(300, n_trajectories=40, seed=4)


def test_lorenz63_climatology(many63: xr.Dataset) -> None:
    # Published experiments normalise with a mean square of 258.5 to 260.4 over the three components.
    assert float((many63.to_array() ** 2).mean()) == pytest.approx(258.5, rel=0.02)
    # Theorem: d(z)/dt averages to zero, so <xy> = beta <z>; d(x^2)/dt gives <xy> = <x^2>.
    x, y, z = many63["x"], many63["y"], many63["z"]
    assert float((x * y).mean()) == pytest.approx(8 / 3 * float(z.mean()), rel=0.01)
    assert float((x * y).mean()) == pytest.approx(float((x**2).mean()), rel=0.02)
    assert abs(float(x.mean())) < 0.5


def test_lorenz96_climatology(many96: xr.Dataset) -> None:
    x = many96["x"]
    assert float((x**2).mean()) == pytest.approx(18.7, rel=0.02)
    # Theorem: energy is conserved by the advection, so <x^2> = F <x>.
    assert float((x**2).mean()) == pytest.approx(8 * float(x.mean()), rel=0.01)


def test_every_trajectory_follows_the_equations(many63: xr.Dataset, many96: xr.Dataset) -> None:
    three = torch.from_numpy(many63.to_array().transpose("trajectory", "variable", "time").values)
    step = FlowStep(Lorenz63(), 0.01)
    torch.testing.assert_close(step(three[..., :-1]), three[..., 1:], rtol=0, atol=1e-12)
    sites = torch.from_numpy(many96["x"].values)
    step = FlowStep(Lorenz96(), 0.05)
    torch.testing.assert_close(step(sites[:, :-1]), sites[:, 1:], rtol=0, atol=1e-12)


def test_trajectories_are_independent(many63: xr.Dataset, many96: xr.Dataset) -> None:
    first = many63["x"].isel(time=0)
    assert len(np.unique(first)) == 150
    lag = np.corrcoef(many96["x"].isel(time=0).values)
    assert np.abs(lag - np.eye(40)).max() < 0.8


@pytest.mark.parametrize("make", [lorenz63, lorenz96])
def test_labels_seeds_and_shapes(make) -> None:
    options = {"n_spinup": 50}
    one, again, other = make(20, **options), make(20, **options), make(20, seed=1, **options)
    several = make(20, n_trajectories=2, **options)
    xr.testing.assert_identical(one, again)
    assert float(np.abs(one["x"] - other["x"]).min()) > 0
    assert several["x"].dims == ("trajectory", *one["x"].dims)
    assert set(several.coords) == {*one.coords, "trajectory"}
    assert one.sizes["time"] == 20
    assert one["time"].values[1] == one.attrs["dt"]
    assert one["time"].attrs == {"long_name": "model time", "units": "1"}
    assert {"seed", "dt", "integrator", "n_spinup"} <= set(one.attrs)
    for variable in one.data_vars.values():
        assert variable.dtype == np.float64
        assert variable.attrs["units"] == "1"
        assert variable.attrs["long_name"]


def test_parameters_reach_the_system() -> None:
    resting = lorenz63(3, rho=0.5, n_spinup=5000)
    assert float(np.abs(resting.to_array()).max()) < 1e-3
    uniform = lorenz96(3, forcing=0.5, n_sites=6, n_spinup=2000)
    np.testing.assert_allclose(uniform["x"], 0.5, atol=1e-9)
    assert uniform.sizes == {"time": 3, "site": 6}


def test_a_dataset_survives_netcdf(tmp_path) -> None:
    truth = lorenz96(5, n_trajectories=2, n_spinup=0)
    truth.to_netcdf(tmp_path / "truth.nc")
    with xr.open_dataset(tmp_path / "truth.nc") as read:
        xr.testing.assert_identical(read.load(), truth)


@pytest.mark.parametrize(
    ("dims", "sampler"),
    [
        (("time", "site"), RandomComponents(4, every=2)),
        (None, RandomFraction(0.3)),
        (("time",), EveryNthStep(3, n_unobserved_edge=2)),
    ],
)
def test_unobserved_values_cannot_leak(dims, sampler: AbstractSampler) -> None:
    truth = lorenz96(12, n_sites=8, n_trajectories=3, n_spinup=10)
    obs = observe(truth, sampler, noise_std=1.0, seed=5, dims=dims)
    for poison in (1e6, np.inf):
        poisoned = truth.where(obs.notnull(), poison)
        xr.testing.assert_identical(observe(poisoned, sampler, noise_std=1.0, seed=5, dims=dims), obs)
    assert 0 < int(obs["x"].notnull().sum()) < obs["x"].size


def test_observations_without_noise_are_the_truth() -> None:
    truth = lorenz63(200, n_spinup=10)
    obs = observe(truth, EveryNthStep(8, n_unobserved_edge=10))
    steps = np.arange(16, 185, 8)
    xr.testing.assert_identical(obs.isel(time=steps), truth.isel(time=steps))
    for values in obs.data_vars.values():
        np.testing.assert_array_equal(np.flatnonzero(values.notnull()), steps)
    assert obs.attrs == truth.attrs
    assert obs["x"].attrs == truth["x"].attrs
    assert obs["time"].identical(truth["time"])


def test_noise_has_the_variance_asked_for(many63: xr.Dataset) -> None:
    stds = {"x": 1.0, "y": 2.0, "z": 0.0}
    error = observe(many63, RandomFraction(0.5), noise_std=stds, seed=1) - many63
    for name, std in stds.items():
        count = int(error[name].notnull().sum())
        assert float(error[name].std()) == pytest.approx(std, rel=5 / np.sqrt(2 * count))
    assert abs(float(xr.corr(error["x"], error["y"]))) < 5 / np.sqrt(count / 2)


def test_observations_follow_the_seed_and_masks_ignore_the_noise() -> None:
    truth, sampler = lorenz96(20, n_spinup=0), RandomComponents(20)
    first = observe(truth, sampler, noise_std=1.0, seed=1)
    xr.testing.assert_identical(first, observe(truth, sampler, noise_std=1.0, seed=1))
    assert not first.notnull().equals(observe(truth, sampler, noise_std=1.0, seed=2).notnull())
    xr.testing.assert_identical(first.notnull(), observe(truth, sampler, seed=1).notnull())


def test_other_dimensions_get_masks_of_their_own(many96: xr.Dataset) -> None:
    obs = observe(many96, RandomComponents(20, every=4), dims=("time", "site"))
    masks = obs["x"].notnull()
    assert masks.dims == many96["x"].dims
    assert len({mask.tobytes() for mask in masks.values}) == many96.sizes["trajectory"]
    assert (masks.isel(time=slice(None, None, 4)).sum("site") == 20).all()
    shared = observe(many96, EveryNthStep(4), dims=("time",))["x"].notnull()
    assert (shared == shared.isel(trajectory=0, site=0)).all()


def test_a_gap_in_the_truth_stays_a_gap_and_changes_nothing_else() -> None:
    truth = lorenz96(20, n_spinup=0)
    hole = truth.where(truth["site"] != 3)
    sampler = RandomFraction(0.5)
    obs = observe(hole, sampler, noise_std=1.0)
    assert obs["x"].isel(site=3).isnull().all()
    xr.testing.assert_identical(obs, observe(truth, sampler, noise_std=1.0).where(truth["site"] != 3))


def test_arrays_and_datasets_are_observed_alike() -> None:
    truth = lorenz96(20, n_spinup=0)
    whole = observe(truth, RandomFraction(0.5), noise_std={"x": 1.0}, seed=3)
    part = observe(truth["x"], RandomFraction(0.5), noise_std=1.0, seed=3)
    xr.testing.assert_identical(whole["x"], part)
    nameless = observe(truth["x"].rename(None), RandomFraction(0.5), noise_std=1.0, seed=3)
    assert nameless.name is None
    np.testing.assert_array_equal(nameless, part)


def test_lazy_truth_gives_lazy_and_equal_observations() -> None:
    truth = lorenz96(20, n_spinup=0).astype("float32")
    lazy = observe(truth.chunk({"time": 6}), RandomFraction(0.5), noise_std=1.0)
    assert lazy.chunksizes["time"] == (6, 6, 6, 2)
    assert lazy["x"].dtype == np.float32
    xr.testing.assert_identical(lazy.compute(), observe(truth, RandomFraction(0.5), noise_std=1.0))


def test_whole_numbers_become_observations_with_gaps() -> None:
    truth = xr.DataArray(np.arange(6).reshape(2, 3), dims=("time", "site"))
    obs = observe(truth, EveryNthStep(2))
    np.testing.assert_array_equal(obs, [[0, 1, 2], [np.nan] * 3])


@dataclass(frozen=True)
class WrongShape(AbstractSampler):
    def mask(self, sizes, coords, rng) -> np.ndarray:
        assert list(sizes) == ["variable", "time"]
        assert sizes["variable"] == 3
        np.testing.assert_array_equal(coords["time"], 0.01 * np.arange(10))
        return np.ones((10,), dtype=bool)


def test_mistakes_in_observing_are_named() -> None:
    truth, sampler = lorenz63(10, n_spinup=0), EveryNthStep(2)
    with pytest.raises(GridMismatchError, match=r"WrongShape.*\(10,\)"):
        observe(truth, WrongShape())
    with pytest.raises(MissingVariableError, match=r"\['x'\].*\['x', 'y', 'z'\]"):
        observe(truth, sampler, noise_std={"x": 1.0})
    with pytest.raises(ConfigError, match="negative"):
        observe(truth, sampler, noise_std=-1.0)
    with pytest.raises(MissingVariableError, match="site"):
        observe(truth, sampler, dims=("time", "site"))
    with pytest.raises(GridMismatchError, match="differ"):
        observe(truth.assign(static=("site", np.ones(3))), sampler)
    with pytest.raises(GridMismatchError, match="to_dataset"):
        observe(truth.to_array(), sampler)


def test_mistakes_in_simulating_are_named() -> None:
    for make in (
        lambda: lorenz63(0),
        lambda: lorenz63(5, dt=-0.1),
        lambda: lorenz63(5, n_trajectories=0),
        lambda: lorenz96(5, n_spinup=-1),
        lambda: lorenz96(5, n_sites=3),
        lambda: lorenz96(50, dt=1.0),
    ):
        with pytest.raises(ConfigError):
            make()


@pytest.mark.parametrize(
    ("size", "stride", "starts"), [(5, None, [0, 5]), (5, 2, [0, 2, 4, 6]), (12, None, [0])]
)
def test_windows_are_the_slices_of_the_trajectories(size: int, stride: int | None, starts: list[int]) -> None:
    truth = lorenz96(12, n_sites=4, n_trajectories=3, n_spinup=0)
    cut = windows(truth, size, stride)
    assert cut["x"].dims == ("window", "time", "site")
    assert cut.attrs == truth.attrs
    assert cut["x"].attrs == truth["x"].attrs
    expected = [(i, start) for i in range(3) for start in starts]
    assert cut.sizes["window"] == len(expected)
    for k, (i, start) in enumerate(expected):
        source = truth["x"].isel(trajectory=i, time=slice(start, start + size))
        np.testing.assert_array_equal(cut["x"].isel(window=k), source)
        assert int(cut["trajectory"][k]) == i
        assert float(cut["time_start"][k]) == source["time"].values[0]
    np.testing.assert_array_equal(cut["time"], truth["time"][:size])
    assert cut["time"].attrs == truth["time"].attrs


def test_windows_of_one_trajectory_and_of_dates(tmp_path) -> None:
    cut = windows(lorenz63(20, n_spinup=0), 8)
    assert cut["x"].dims == ("window", "time")
    assert "trajectory" not in cut.coords
    days = np.datetime64("2005-04-01", "ns") + np.arange(9) * np.timedelta64(1, "D")
    ds = xr.Dataset({"adt": (("latitude", "time"), np.arange(18.0).reshape(2, 9))}, coords={"time": days})
    dated = windows(ds, 4)
    assert dated["adt"].dims == ("window", "time", "latitude")
    np.testing.assert_array_equal(dated["time"], np.arange(4) * np.timedelta64(1, "D"))
    np.testing.assert_array_equal(dated["time_start"], days[[0, 4]])
    dated.to_netcdf(tmp_path / "windows.nc")


def test_lazy_windows_stay_lazy() -> None:
    truth = lorenz96(12, n_sites=4, n_trajectories=2, n_spinup=0)
    lazy = windows(truth.chunk({"time": 5}), 4)
    assert lazy.chunks
    xr.testing.assert_identical(lazy.compute(), windows(truth, 4))


def test_mistakes_in_windows_are_named() -> None:
    truth = lorenz63(10, n_spinup=0)
    with pytest.raises(MissingVariableError, match="'day'"):
        windows(truth, 5, dim="day")
    for size, stride in ((11, None), (0, None), (5, 0)):
        with pytest.raises(PatchError, match="size 10"):
            windows(truth, size, stride)
    with pytest.raises(GridMismatchError, match="evenly"):
        windows(truth.isel(time=[0, 1, 2, 3, 5, 6]), 3)
