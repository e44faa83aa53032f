"""Training on gappy observations alone: what is assimilated, learned from, validated by, and what is learned."""

import numpy as np
import pytest
import torch
import xarray as xr

import oceanvar
from oceanvar.errors import ConfigError, PatchError, StoreError
from oceanvar.maps.layers import Conv
from oceanvar.network import fourdvarnet
from oceanvar.network.training_windows import TrainingWindows
from oceanvar.observing import (
    AsMissing,
    CloudsOf,
    OneOf,
    RandomFraction,
    RandomHoles,
    WholePasses,
    WithheldBlocks,
    Withhold,
)
from oceanvar.state import Instrument, StateSpace, WindowSource
from oceanvar.state.divisions import Division
from oceanvar.state.windows import ASKED, RECORRUPTION
from oceanvar.training import LossWeights
from oceanvar.variational import Assimilator, GradientDescent, ObservationTerm, VariationalCost
from oceanvar.variational.starts.base import AbstractStart

QUICK = {"n_epochs": 3, "batch_size": 4, "n_samples": 8, "device": "cpu"}
MISFIT = LossWeights(truth_projection=0.0, analysis_projection=0.0)


class Filter(AbstractStart):
    """Linear direct inversion: a convolution of the observations, 0 in gaps; seven weights, or six round a hole."""

    has_hole = False

    def __init__(self):
        super().__init__()
        self.conv = Conv(1, 1, [1, 7], [False, True])
        torch.nn.init.zeros_(self.conv.weight)

    def forward(self, obs):
        y = obs.values["state"]
        return self.conv(y) - self.conv.weight.flatten()[3] * y if self.has_hole else self.conv(y)


def linear(n_times: int = 8, **instrument: float | str) -> oceanvar.VarNet:
    own = {"state": Instrument(("h",), **instrument)} if instrument else {}
    space = StateSpace(
        ("h",),
        ("time", "x"),
        {"time": n_times, "x": 32},
        periodic=("x",),
        mean={"h": 0.0},
        std={"h": 1.0},
        instruments=own,
    )
    cost = VariationalCost(ObservationTerm())
    return oceanvar.VarNet(Assimilator(cost, GradientDescent(1.0), 0, Filter()), space)


def smooth(n_times: int = 2000, seed: int = 0) -> xr.Dataset:
    """Gaussian fields of unit variance and correlation exp(-d^2 / 8) round a circle, independent in time."""
    rng = np.random.default_rng(seed)
    distance = np.minimum(np.arange(32), 32 - np.arange(32))
    spectrum = np.fft.rfft(np.exp(-(distance**2) / 8.0)).real.clip(0)
    values = np.fft.irfft(np.sqrt(spectrum) * np.fft.rfft(rng.standard_normal((n_times, 32))), 32)
    return xr.Dataset({"h": (("time", "x"), values)}, {"time": np.arange(n_times), "x": np.arange(32)})


def seen(truth: xr.Dataset, share: float, noise_std: float = 0.0, seed: int = 1) -> xr.Dataset:
    return truth.varnet.observe(RandomFraction(share), noise_std=noise_std, seed=seed)


def trained(data: xr.Dataset, observations, noise_std: float = 0.0, has_hole: bool = False) -> np.ndarray:
    """Weights of the filter near the least squares: 160 steps of AdamW, the last ones small."""
    model = linear(n_times=200)
    model.assimilator.start.has_hole = has_hole
    data.varnet.fit(
        model,
        observations,
        noise_std=noise_std,
        validation=0.1,
        n_validation=1,
        weights=MISFIT,
        n_epochs=20,
        n_samples=16,
        batch_size=2,
        learning_rate=0.03,
        n_warmup=1,
        clip=10.0,
        device="cpu",
    )
    return model.assimilator.start.conv.weight.detach().numpy().ravel()


HALF = Withhold(RandomFraction(0.5))


def test_withheld_observations_teach_what_the_truth_teaches():
    """Without noise, of half the truth a half is assimilated: both routes see a quarter, and end with the same filter.

    The truth is asked for where nothing was assimilated, as the withheld observations are.
    """
    truth = smooth()
    alone = trained(seen(truth, 0.5), HALF)
    quarter = seen(truth, 0.25, seed=5)
    elsewhere = truth.where(quarter["h"].isnull())
    complete = trained(elsewhere, quarter)
    assert np.abs(complete).max() > 0.2
    np.testing.assert_allclose(alone, complete, atol=0.03)


def test_complete_data_teach_the_same_by_both_routes():
    """Cells with and without an observation ask the same of a filter that may not copy the cell itself."""
    truth, quarter = smooth(), RandomFraction(0.25)
    alone = trained(truth, Withhold(quarter), has_hole=True)
    complete = trained(truth, quarter, has_hole=True)
    others = np.arange(7) != 3
    np.testing.assert_allclose(alone[others], complete[others], atol=0.03)
    assert np.abs(complete).max() > 0.2


def test_noise_of_the_withheld_data_changes_nothing():
    """Noise2Noise: observations with errors teach the same filter as the truth at the same withheld cells.

    What is assimilated is noisy in both. A model that learned at assimilated points would copy their noise: the weight
    in the middle would be larger than that of least squares.
    """
    truth, noise_std = smooth(), 0.7
    noisy = seen(truth, 0.5, noise_std)
    alone = trained(noisy, HALF)
    clean = truth.where(noisy["h"].notnull())
    half = seen(truth, 0.25, noise_std, seed=9)
    with_truth = trained(clean.where(half["h"].isnull()), half)
    # 16,000 withheld cells of residual 0.9 and input variance 0.37: standard deviation of a difference 0.02.
    np.testing.assert_allclose(alone, with_truth, atol=0.06)
    copied = trained(noisy, seen(noisy, 0.5, seed=3))  # learned at assimilated points too
    assert copied[3] > alone[3] + 0.15


def test_the_filter_is_that_of_linear_estimation():
    """Normal equations of E|sum_j w_j y_j - x|^2 with each neighbour observed with probability q, the middle never."""
    noise_std, q = 0.5, 0.25
    offsets = np.arange(-3, 4)
    c = np.exp(-((offsets[:, None] - offsets) ** 2) / 8.0)
    others = offsets != 0
    matrix = q**2 * c + np.diag(np.full(7, q * (1 + noise_std**2) - q**2))
    expected = np.zeros(7)
    expected[others] = np.linalg.solve(
        matrix[np.ix_(others, others)], q * np.exp(-(offsets[others] ** 2) / 8.0)
    )
    found = trained(seen(smooth(), 0.5, noise_std), HALF)
    np.testing.assert_allclose(found[others], expected[others], atol=0.04)


def test_at_assimilated_points_the_filter_is_that_of_linear_estimation_too():
    """With errors of known size a filter learns its middle weight, from noisy observations alone, as from the truth.

    Normal equations over the points that are asked for: a quarter of all withheld, and a fifth of the assimilated
    quarter, whose own observation has 1.25 of the error variance and its neighbours 1.05 of it, on average.
    """
    noise_std, q = 0.7, 0.25
    offsets = np.arange(-3, 4)
    c = np.exp(-((offsets[:, None] - offsets) ** 2) / 8.0)
    to_middle = c[3]
    neighbours = q**2 * c + np.diag(np.full(7, q * (1 + (1 + ASKED / 4) * noise_std**2) - q**2))
    withheld, own = neighbours.copy(), neighbours.copy()
    withheld[3], withheld[:, 3] = 0.0, 0.0
    own[3] = own[:, 3] = q * to_middle
    own[3, 3] = 1 + (1 + RECORRUPTION**2) * noise_std**2
    hidden_goal, own_goal = q * to_middle * (offsets != 0), np.where(offsets == 0, 1.0, q * to_middle)
    expected = np.linalg.solve(withheld + ASKED * own, hidden_goal + ASKED * own_goal)
    noisy = seen(smooth(), 0.5, noise_std)
    found = trained(noisy, HALF, noise_std)
    np.testing.assert_allclose(found, expected, atol=0.05)
    assert (
        expected[3] < 0.5 < trained(noisy, seen(noisy, 0.5, seed=3))[3]
    )  # where errors are learned from, too


def source(ds: xr.Dataset, rule, blocks=None, validates=False, model=None) -> WindowSource:
    space = (model or linear()).state_space
    return WindowSource(ds, space, ds, division=Division(rule, blocks, validates))


RULES = {
    "half": HALF,
    "clouds": Withhold(CloudsOf(seen(smooth(60), 0.6))),
    "passes": WholePasses(0.3),
    "default": AsMissing.of(seen(smooth(60), 0.6), "time"),
    "one of": OneOf([WholePasses(), RandomHoles(2, 3, ("time",))]),
    "two": Withhold(RandomHoles(1, 3, ("time",)), RandomFraction(0.8)),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_nothing_is_both_assimilated_and_learned_from(rule):
    """What is observed is one or the other, or in a validation block; and nothing else is either."""
    ds = seen(smooth(60), 0.6)
    blocks = WithheldBlocks(0.2).over(dict(ds.sizes), {"time": 8, "x": 32})
    held = blocks.at({dim: np.arange(n) for dim, n in ds.sizes.items()})
    for seed in range(20):
        window = source(ds, rule, blocks).draw(np.random.default_rng(seed))
        place = np.ix_(
            *(
                np.arange(at, at + n) % ds.sizes[dim]
                for at, n, dim in zip(window.origin, (8, 32), ds.sizes, strict=True)
            )
        )
        values, goal, inputs = ds["h"].values[place], window.truth[0], window.inputs[0]
        assert not (np.isfinite(goal) & np.isfinite(inputs)).any()
        assert np.isfinite(goal).any()
        either = np.where(np.isfinite(goal), goal, inputs)
        np.testing.assert_array_equal(either, np.where(held[place], np.nan, values).astype(np.float32))

        checked = source(ds, rule, blocks, validates=True).draw(np.random.default_rng(seed))
        place = np.ix_(
            *(
                np.arange(at, at + n) % ds.sizes[dim]
                for at, n, dim in zip(checked.origin, (8, 32), ds.sizes, strict=True)
            )
        )
        values = ds["h"].values[place].astype(np.float32)
        np.testing.assert_array_equal(checked.truth[0], np.where(held[place], values, np.nan))
        np.testing.assert_array_equal(checked.inputs[0], np.where(held[place], np.nan, values))


def test_what_lies_in_validation_blocks_changes_no_weight():
    ds = seen(smooth(60), 0.6)
    held = (
        WithheldBlocks()
        .over(dict(ds.sizes), {"time": 8, "x": 32})
        .at({d: np.arange(n) for d, n in ds.sizes.items()})
    )
    other = ds.where(~held, ds * -3 + 1)
    found, losses = [], []
    for data in (ds, other):
        model = linear()
        history = data.varnet.fit(model, HALF, **QUICK)
        last = model.assimilator.start.conv.weight.detach().clone()
        found.append((history["loss"].values, last))
        losses.append(history["validation_loss"].values)
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert (losses[0] != losses[1]).all()


def test_validation_blocks_with_a_truth():
    """They are hidden from the truth too, and from what a sampler observes."""
    truth, blocks = smooth(60), WithheldBlocks(0.3).over({"time": 60, "x": 32}, {"time": 8, "x": 32})
    held = blocks.at({"time": np.arange(60), "x": np.arange(32)})
    drawn = WindowSource(truth, linear().state_space, RandomFraction(1.0), division=Division(None, blocks))
    window = drawn.draw(np.random.default_rng(0))
    place = np.ix_(
        *(np.arange(at, at + n) % size for at, n, size in zip(window.origin, (8, 32), (60, 32), strict=True))
    )
    for part in (window.truth, window.inputs):
        assert np.array_equal(np.isnan(part[0]), held[place])
    history = truth.varnet.fit(linear(), RandomFraction(0.5), validation=WithheldBlocks(0.3), **QUICK)
    assert np.isfinite(history["validation_loss"]).all()


def test_withheld_data_count_by_their_inverse_error_variance():
    ds = seen(smooth(60), 0.6)
    variance = xr.full_like(ds["h"], 0.5).where(ds["x"] < 16, 2.0).where(ds["x"] != 3)
    for model, expected in (
        (linear(variance="noise"), variance),
        (linear(variance=0.25), xr.full_like(variance, 0.25)),
        (linear(), xr.ones_like(variance)),
    ):
        data = ds.assign(noise=variance)
        windows = TrainingWindows(source(data, HALF, model=model), model.state_space, 4, 4, 0)
        (sample,) = windows.batches(0, 0, 1)
        drawn = [windows.source.draw(np.random.default_rng([0, 0, i])) for i in range(4)]
        for i, window in enumerate(drawn):
            start = [int(at) for at in window.origin]
            rolled = expected.roll(x=-start[1]).values[start[0] : start[0] + 8]
            weight = np.where(np.isfinite(window.truth[0]), np.nan_to_num(1 / rolled), 0.0)
            np.testing.assert_allclose(sample.known[i, 0], weight, rtol=1e-6)
            np.testing.assert_allclose(
                sample.truth[i, 0], np.where(weight > 0, window.truth[0], 0.0), rtol=1e-6
            )
            assert not (sample.obs.weights["state"][i].bool() & sample.known[i].bool()).any()


def test_a_constant_error_variance_changes_no_weight():
    """Losses are means: a model that states the same variance everywhere learns what one that states none does."""
    ds = seen(smooth(60), 0.6)
    models = linear(), linear(variance=1e4)
    for model in models:
        ds.varnet.fit(model, HALF, **QUICK)
    one, other = (model.assimilator.start.conv.weight for model in models)
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_history_has_errors_in_the_units_of_each_variable():
    """The mean analysis, 0, of normalised data has the error of their standard deviation, weights or not."""
    rng = np.random.default_rng(0)
    values = {"h": 5 + 2 * rng.standard_normal((60, 12)), "t": 290 + 0.1 * rng.standard_normal((60, 12))}
    values["t"][:, 3:] = np.nan
    ds = xr.Dataset(
        {k: (("time", "x"), v, {"units": u}) for (k, v), u in zip(values.items(), ("cm", "K"), strict=True)}
    )
    space = StateSpace(("h", "t"), ("time", "x"), {"time": 6, "x": 12})
    model = fourdvarnet(space, n_steps=1, n_features=2, n_hidden=2, fold_time=False, start_widths=(2,))
    history = ds.varnet.fit(model, HALF, validation=WithheldBlocks(0.5), **QUICK | {"n_steps": {0: 0}})
    for name, std in (("h", 2.0), ("t", 0.1)):
        assert history[f"{name}_error"].attrs["units"] == ds[name].attrs["units"]
        assert float(history[f"{name}_error"][0]) == pytest.approx(std, rel=0.6)
    assert model.state_space.error_std == {}


@pytest.mark.parametrize("rule", [None, HALF, WholePasses()], ids=["default", "half", "passes"])
def test_lazy_observations_train_like_those_in_memory(tmp_path, rule):
    ds = seen(smooth(60), 0.6)
    ds.to_zarr(tmp_path / "obs.zarr", consolidated=False)
    ds.to_netcdf(tmp_path / "obs.nc")
    found = []
    for data in (
        ds,
        xr.open_zarr(tmp_path / "obs.zarr", consolidated=False, chunks={}),
        xr.open_dataset(tmp_path / "obs.nc"),
    ):
        model = linear()
        data.varnet.fit(model, rule, **QUICK)
        found.append(model.assimilator.start.conv.weight.detach())
    assert found[0].abs().max() > 0
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_validation_by_time_and_by_other_observations():
    ds = seen(smooth(60), 0.6)
    for validation in (0.3, ds.isel(time=slice(30))):
        history = ds.varnet.fit(linear(), validation=validation, **QUICK)
        assert np.isfinite(history["h_error"]).all()
    history = ds.varnet.fit(linear(), validation=(smooth(60), ds), **QUICK)
    assert np.isfinite(history["validation_loss"]).all()


def test_early_stopping_on_withheld_blocks():
    ds = seen(smooth(60), 0.6)
    history = ds.varnet.fit(linear(), patience=2, **QUICK | {"n_epochs": 30, "learning_rate": 1e-12})
    assert history.sizes["epoch"] == 3


def test_mistakes_without_truth(tmp_path):
    ds = seen(smooth(60), 0.6)
    with pytest.raises(ConfigError, match="complete true fields"):
        ds.varnet.fit(linear(), weights=LossWeights(), **QUICK)
    with pytest.raises(ConfigError, match="noise_std must give a number"):
        ds.varnet.fit(linear(), noise_std={"t": 0.1}, **QUICK)
    with pytest.raises(PatchError, match="withheld by Withhold"):
        ds.varnet.fit(linear(), Withhold(RandomFraction(1.0)), **QUICK)
    with pytest.raises(PatchError, match="validation blocks"):
        ds.where(ds["time"] < 3).varnet.fit(linear(), validation=WithheldBlocks(0.01, seed=4), **QUICK)
    with pytest.raises(ConfigError, match="are the class WholePasses"):
        ds.varnet.fit(linear(), WholePasses, **QUICK)
    with pytest.raises(ConfigError, match="save='mine.varnet'"):
        ds.varnet.fit("lorenz96")
    with pytest.raises(StoreError, match="no folder"):
        ds.varnet.fit(linear(), save=tmp_path / "nowhere" / "m.varnet")
    with pytest.raises(ConfigError, match="is no model to train"):
        ds.varnet.fit(3.0)
