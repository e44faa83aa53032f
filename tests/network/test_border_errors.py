"""What is measured of the borders of patches is what stitched fields have."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

import oceanvar
from oceanvar.maps.padding import FoldTime
from oceanvar.network import VarNet, measure_borders
from oceanvar.network.border_errors import _step
from oceanvar.observing import RandomFraction
from oceanvar.patching.borders import Border
from oceanvar.state.windows import WindowSource
from oceanvar.variational import (
    Assimilator,
    ClimatologicalStart,
    GradientDescent,
    LearnedStart,
    ObservationTerm,
    VariationalCost,
    unet,
)

NOISE = 0.1


def walks(n_times: int, n_x: int, seed: int) -> xr.Dataset:
    """Random walks that forget: what lies beyond a patch would help at its ends."""
    rng = np.random.default_rng(seed)
    values = [rng.standard_normal(n_x)]
    for _ in range(n_times - 1):
        values.append(0.95 * values[-1] + np.sqrt(1 - 0.95**2) * rng.standard_normal(n_x))
    return xr.Dataset({"ssh": (("time", "x"), np.array(values, np.float32))})


def interpolation(n: int, overlap: int) -> VarNet:
    """Optimal interpolation in each patch."""
    space = oceanvar.StateSpace(
        ("ssh",), ("time", "x"), {"time": n, "x": 6}, {"time": overlap}, mean={"ssh": 0.0}, std={"ssh": 1.0}
    )
    past = walks(6000, 6, seed=0)["ssh"].values.reshape(-1, 1, n, 6)
    start = ClimatologicalStart((1, n, 6), [NOISE**2]).fit_(torch.from_numpy(past).double())
    cost = VariationalCost(ObservationTerm())
    return VarNet(Assimilator(cost, GradientDescent(1.0), 0, start.float()), space)


@pytest.mark.parametrize("n", [12, 24])
def test_the_error_of_every_overlap_is_that_of_the_stitched_field(n):
    model = interpolation(n, n // 2)
    source = WindowSource(walks(600, 6, seed=1), model.state_space, RandomFraction(0.15), NOISE)
    border = measure_borders(model, source, seed=1)["time"]
    assert border.large is None, "patches do not grow along time"
    truth = xr.concat([walks(600, 6, seed=seed) for seed in range(2, 12)], "trajectory")
    obs = truth.varnet.observe(RandomFraction(0.15), noise_std=NOISE, seed=3)

    def error(overlap: int) -> float:
        field = obs.varnet.assimilate(model, overlap={"time": overlap})
        return float(((field - truth)["ssh"].isel(time=slice(n, -n)) ** 2).mean() ** 0.5)

    own = error(n // 2)
    for overlap in (0, n // 4, 3 * n // 4, n - 1):
        assert border.by_overlap[overlap] == pytest.approx(error(overlap) / own, rel=0.012)
    assert border.by_overlap[0] > 1.05 > 1.02 > border.by_overlap[n // 2] == 1.0


@pytest.mark.parametrize("n", [2, 7, 25, 64, 200])
def test_a_point_is_solved_at_places_that_divide_the_patch(n):
    assert n % _step(n) == 0
    assert n // _step(n) >= min(n, 12)


def test_training_measures_the_borders_and_maps_go_by_them(tmp_path):
    torch.manual_seed(0)
    patch = {"time": 4, "y": 8, "x": 8}
    space = oceanvar.StateSpace(("ssh",), tuple(patch), patch, {"time": 2, "y": 4, "x": 4})
    start = LearnedStart(unet(3, 1, (4, 4), (3, 3), n_times_folded=4))
    model = VarNet(Assimilator(VariationalCost(ObservationTerm()), GradientDescent(1.0), 0, start), space)
    rng = np.random.default_rng(0)
    truth = xr.Dataset({"ssh": (tuple(patch), rng.standard_normal((30, 20, 12)).astype(np.float32))})
    training = {"n_epochs": 1, "n_warmup": 1, "validation": 0.4}
    truth.varnet.fit(model, RandomFraction(0.5), n_samples=40, **training)
    assert model.state_space.borders == {}, "too short a training to measure them"
    truth.varnet.fit(model, RandomFraction(0.5), n_samples=400, **training)
    # 12 withheld days are more than 7, as are 20 points than 15; 12 points are fewer.
    assert set(model.state_space.borders) == {"time", "y"}
    model.state_space = replace(
        model.state_space,
        borders={"time": Border((1.2, 1.005, 1.0, 1.0)), "y": Border((1.005,) * 8, large=1.0)},
    )
    model.save(tmp_path / "m.varnet")
    model = oceanvar.load(tmp_path / "m.varnet")
    obs = truth.varnet.observe(RandomFraction(0.5), noise_std=NOISE, seed=1)
    cheap = obs.varnet.assimilate(model)
    by_hand = {"patch": {"time": 4, "y": 20, "x": 8}, "overlap": {"time": 1, "y": 0, "x": 4}}
    xr.testing.assert_equal(cheap.drop_attrs(), obs.varnet.assimilate(model, **by_hand).drop_attrs())
    xr.testing.assert_equal(
        cheap, obs.varnet.assimilate(model, patch="auto", overlap="auto").assign_attrs(cheap.attrs)
    )
    own = obs.varnet.assimilate(model, patch=patch, overlap=dict(space.overlap))
    assert not cheap["ssh"].equals(own["ssh"])
    assert FoldTime in {type(each) for each in model.assimilator.modules()}


def test_the_packaged_ocean_takes_a_region_as_one_patch():
    obs = xr.Dataset(
        {"ssh": (("time", "latitude", "longitude"), np.full((60, 100, 100), np.nan, np.float32))},
        {
            "time": np.arange("2020-01-01", "2020-03-01", dtype="datetime64[D]").astype("datetime64[ns]"),
            "latitude": 30 + 0.1 * np.arange(100),
            "longitude": 0.1 * np.arange(100),
        },
    )
    setup = oceanvar.mapping.set_up(obs, "ocean-2026.11", oceanvar.options.Options())
    assert dict(setup.job.grid.patch) == {"time": 25, "latitude": 100, "longitude": 100}
    assert len(setup.job.grid) == 6
    large = obs.isel(latitude=np.arange(400) % 100).assign_coords(latitude=0.1 * np.arange(400))
    setup = oceanvar.mapping.set_up(large, "ocean-2026.11", oceanvar.options.Options(device="cpu"))
    assert setup.job.grid.patch["latitude"] < 200
