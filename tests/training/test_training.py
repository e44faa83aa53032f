"""Training: it learns, it resumes exactly, it reads lazily, it refuses nonsense."""

import numpy as np
import pytest
import torch
import xarray as xr

import oceanvar
from oceanvar.dynamics import FlowStep
from oceanvar.errors import ConfigError, GridMismatchError, ModelMismatchError, PatchError
from oceanvar.maps import AbstractMap
from oceanvar.network import fourdvarnet
from oceanvar.network.training_windows import TrainingWindows, to_sample
from oceanvar.observing import EveryNthStep, RandomFraction
from oceanvar.papers.experiments import EXPERIMENTS
from oceanvar.state import StateSpace, WindowSource
from oceanvar.training import LossWeights, TrainingSettings, training_loss
from oceanvar.training.settings import cosine, three_steps
from oceanvar.variational import (
    Assimilator,
    FlowPrior,
    GradientDescent,
    ObservationTerm,
    PriorTerm,
    Unroll,
    VariationalCost,
    bilinear_tendency,
)

QUICK = {"n_epochs": 4, "batch_size": 4, "n_samples": 8, "device": "cpu"}


@pytest.fixture
def truth() -> xr.Dataset:
    """Smooth waves that a small network learns quickly."""
    t, x = np.arange(80.0), np.arange(16.0)
    waves = [np.sin(2 * np.pi * (x / 16 - t[:, None] / p) + p) for p in (11, 17)]
    values = (3 + 2 * sum(waves)).astype(np.float32)
    return xr.Dataset({"h": (("time", "x"), values, {"units": "m"})}, {"time": t, "x": x})


def small(n_steps: int = 2, seed: int = 0) -> oceanvar.VarNet:
    space = StateSpace(("h",), ("time", "x"), {"time": 8, "x": 16}, {"time": 4}, periodic=("x",))
    return fourdvarnet(space, n_steps=n_steps, n_features=4, n_hidden=6, fold_time=False, seed=seed)


def weights(model: oceanvar.VarNet) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.assimilator.parameters()])


def test_training_lowers_the_error_on_withheld_times(truth):
    model = small(n_steps=4)
    history = truth.varnet.fit(
        model, RandomFraction(0.3), n_epochs=12, batch_size=8, n_samples=64, learning_rate=1e-2, device="cpu"
    )
    losses = history["validation_loss"].values
    assert losses.min() < 0.6 * losses[0]
    assert history.sizes["epoch"] == 12
    assert model.state_space.mean["h"] == pytest.approx(3, abs=0.3)
    assert model.state_space.units == {"h": "m"}
    obs = truth.varnet.observe(RandomFraction(0.3), seed=5)
    score = obs.varnet.assimilate(model).varnet.score(truth)
    assert float(score["r_score_variance"].sel(variable="h")) < 0.5


def test_a_killed_run_ends_as_an_unbroken_one(truth, tmp_path, monkeypatch):
    whole = small()
    truth.varnet.fit(whole, RandomFraction(0.3), checkpoint=tmp_path / "whole", **QUICK)

    drawn = WindowSource.draw
    n_draws = 0

    def dies(self, rng):
        nonlocal n_draws
        n_draws += 1
        if n_draws == 28:
            raise KeyboardInterrupt
        return drawn(self, rng)

    monkeypatch.setattr(WindowSource, "draw", dies)
    with pytest.raises(KeyboardInterrupt):
        truth.varnet.fit(small(), RandomFraction(0.3), checkpoint=tmp_path / "broken", **QUICK)
    monkeypatch.undo()
    resumed = small(seed=99)
    history = truth.varnet.fit(
        resumed, RandomFraction(0.3), checkpoint=tmp_path / "broken", resume=True, **QUICK
    )
    assert history.sizes["epoch"] == 4
    assert torch.equal(weights(resumed), weights(whole))


def test_the_same_seed_gives_the_same_model(truth):
    models = [small() for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        truth.varnet.fit(model, RandomFraction(0.3), seed=seed, **QUICK)
    assert torch.equal(weights(models[0]), weights(models[1]))
    assert not torch.equal(weights(models[0]), weights(models[2]))


def test_resuming_with_other_settings_is_refused(truth, tmp_path):
    truth.varnet.fit(small(), RandomFraction(0.3), checkpoint=tmp_path, **QUICK)
    with pytest.raises(ModelMismatchError, match="other settings"):
        truth.varnet.fit(
            small(), RandomFraction(0.3), checkpoint=tmp_path, resume=True, **QUICK | {"seed": 5}
        )


def test_two_processes_share_the_work(truth, tmp_path):
    model = small()
    history = truth.varnet.fit(
        model, RandomFraction(0.3), checkpoint=tmp_path, n_processes=2, **QUICK | {"n_epochs": 2}
    )
    assert history.sizes["epoch"] == 2
    assert (tmp_path / "last.ckpt").exists()
    assert not torch.equal(weights(model), weights(small()))


def test_bfloat16_training(truth):
    history = truth.varnet.fit(small(), RandomFraction(0.3), precision="bfloat16", **QUICK)
    assert np.isfinite(history["loss"]).all()


def test_early_stopping(truth):
    flat = QUICK | {"n_epochs": 30, "learning_rate": 1e-12}
    history = truth.varnet.fit(small(), RandomFraction(0.3), patience=2, **flat)
    assert history.sizes["epoch"] < 30


def test_patience_begins_with_the_final_number_of_iterations(truth):
    flat = QUICK | {"n_epochs": 8, "learning_rate": 1e-12}  # nothing improves: patience would end it at once
    history = truth.varnet.fit(small(), RandomFraction(0.3), patience=1, n_steps={0: 0, 4: 1}, **flat)
    assert history["n_steps"].values.tolist() == [0, 0, 0, 0, 1, 1]


def test_the_schedule_of_iterations_and_of_the_rate(truth):
    history = truth.varnet.fit(small(), RandomFraction(0.3), n_steps={0: 1, 2: 3}, **QUICK)
    assert history["n_steps"].values.tolist() == [1, 1, 3, 3]
    assert cosine(0) == 1
    assert cosine(1) == pytest.approx(0)
    assert [three_steps(p) for p in (0, 0.7, 0.9)] == [1, 0.1, 0.01]


def test_weights_of_epochs_with_fewer_iterations_are_not_kept(truth, tmp_path):
    model = small()
    history = truth.varnet.fit(
        model,
        RandomFraction(0.3),
        n_steps={0: 0, 3: 2},  # iterations of a solver that has learned nothing make matters worse
        learning_rate=1e-5,
        checkpoint=tmp_path,
        **QUICK,
    )
    losses = history["validation_loss"].values
    assert losses[:3].min() < losses[3]
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)["weights"]
    for name, tensor in model.assimilator.state_dict().items():
        assert torch.equal(tensor, last[name]), name
    assert len(torch.load(tmp_path / "best.ckpt", weights_only=True)["records"]) == 4
    assert model.provenance["training"]["best_validation_loss"] == pytest.approx(losses[3])


def test_phi_learns_at_half_the_rate(truth):
    """One step of AdamW moves every weight by about its learning rate."""
    model, before = small(), small()
    truth.varnet.fit(
        model, RandomFraction(0.3), n_epochs=1, batch_size=8, n_samples=8, n_warmup=1, device="cpu"
    )
    moved = {
        name: (p - q).abs().max().item()
        for (name, p), q in zip(
            model.assimilator.named_parameters(), before.assimilator.parameters(), strict=True
        )
    }
    prior = max(m for name, m in moved.items() if "prior" in name)
    solver = max(m for name, m in moved.items() if name.startswith("solver"))
    assert solver == pytest.approx(1e-3, rel=0.05)
    assert prior == pytest.approx(0.5e-3, rel=0.05)


@pytest.mark.parametrize("store", ["zarr", "netcdf"])
def test_lazy_truth_trains_like_truth_in_memory(truth, tmp_path, store):
    if store == "zarr":
        truth.to_zarr(tmp_path / "t.zarr", consolidated=False)
        lazy = xr.open_zarr(tmp_path / "t.zarr", consolidated=False, chunks={})
    else:
        truth.to_netcdf(tmp_path / "t.nc")
        lazy = xr.open_dataset(tmp_path / "t.nc", engine="netcdf4")
    models = small(), small()
    for model, data in zip(models, (truth, lazy), strict=True):
        model.normalise(model.state_space.normalised_by(truth))
        data.varnet.fit(model, RandomFraction(0.3), **QUICK)
    assert torch.equal(weights(models[0]), weights(models[1]))


def test_given_observations_are_used(truth):
    obs = truth.varnet.observe(EveryNthStep(4), seed=1)
    history = truth.varnet.fit(small(), obs, **QUICK)
    assert np.isfinite(history["validation_loss"]).all()
    with pytest.raises(GridMismatchError, match="differ in size along 'x'"):
        truth.varnet.fit(small(), obs.isel(x=slice(8)), **QUICK)
    with pytest.raises(ConfigError, match="validation observations"):
        truth.varnet.fit(small(), obs, validation=truth, **QUICK)


def test_land_is_not_learned_from(truth):
    land = truth.where(truth["x"] > 3)
    model = small()
    model.normalise(model.state_space.normalised_by(truth))
    sample = next(iter(windows(land, model).batches(0, 0, 1)))
    assert (sample.known == 0).float().mean() == pytest.approx(0.25)
    loss, error = training_loss(model.assimilator, sample, LossWeights(), 2)
    moved = sample._replace(truth=torch.where(sample.known > 0, sample.truth, 100.0))
    assert training_loss(model.assimilator, moved, LossWeights(truth_projection=0), 2)[1] == error
    assert torch.isfinite(loss)


def windows(truth: xr.Dataset, model: oceanvar.VarNet, n: int = 8, seed: int = 0) -> TrainingWindows:
    source = WindowSource(truth, model.state_space, RandomFraction(0.3), noise_std=0.1)
    return TrainingWindows(source, model.state_space, n, 4, seed)


def test_masks_and_places_are_drawn_afresh_and_repeatably(truth):
    model = small()
    model.normalise(model.state_space.normalised_by(truth))
    first, again = (list(windows(truth, model).batches(3, 0, 1)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.truth, other.truth)
        assert torch.equal(one.obs.values["state"], other.obs.values["state"])
    other_epoch = next(iter(windows(truth, model).batches(4, 0, 1)))
    assert not torch.equal(first[0].obs.weights["state"], other_epoch.obs.weights["state"])
    masks = [m for s in first for m in s.obs.weights["state"]]
    assert len({m.numpy().tobytes() for m in masks}) == 8


def test_processes_draw_different_windows_that_make_up_one_epoch(truth):
    model = small()
    model.normalise(model.state_space.normalised_by(truth))
    source = windows(truth, model, n=16)
    alone = torch.cat([s.truth for s in source.batches(0, 0, 1)])
    shared = [torch.cat([s.truth for s in source.batches(0, rank, 2)]) for rank in (0, 1)]
    assert {x.numpy().tobytes() for x in alone} == {x.numpy().tobytes() for x in torch.cat(shared)}


def test_periodic_windows_wrap_around(truth):
    model = small()
    narrow = StateSpace(("h",), ("time", "x"), {"time": 8, "x": 10}, periodic=("x",))
    source = WindowSource(truth.isel(time=slice(8)), narrow, RandomFraction(1.0))
    drawn = {float(source.draw(np.random.default_rng(i))[0][0, 0, 0]) for i in range(80)}
    assert drawn == set(truth["h"].values[0].tolist())
    del model


def test_loss_is_equation_5_written_out(truth):
    model = small()
    model.normalise(model.state_space.normalised_by(truth))
    values = truth["h"].values[None, None, :8]
    sample = to_sample(values, np.where(values > 3, values, np.nan), model.state_space)
    nu = LossWeights(0.9, 0.2, 0.3)
    loss, error = training_loss(model.assimilator, sample, nu, 2)
    analysis, phi = model.assimilator(sample.obs), model.assimilator.cost.prior
    parts = [analysis - sample.truth, sample.truth - phi(sample.truth), analysis - phi(analysis)]
    expected = sum(w * p.square().mean() for w, p in zip((0.9, 0.2, 0.3), parts, strict=True))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(error, parts[0].square().mean())


class Forbidden(AbstractMap):
    def forward(self, x):
        raise AssertionError("nobody needs this prior")


def flow(space: StateSpace, step: AbstractMap) -> oceanvar.VarNet:
    cost = VariationalCost(ObservationTerm(), PriorTerm(FlowPrior(step)))
    return oceanvar.VarNet(Assimilator(cost, GradientDescent(1.0), 0), space)


def test_errors_of_forecasts_written_out(truth):
    """From what was observed with noise, else from the truth; over known points only."""
    space = StateSpace(
        ("h",), ("time", "x"), {"time": 6, "x": 16}, {"time": 0}, mean={"h": 3.0}, std={"h": 2.0}
    )
    model = flow(space, bilinear_tendency(1, 3, [3], [True]))
    rng = np.random.default_rng(0)
    values = truth["h"].values[None, None, :6].copy()
    values[..., 5] = np.nan
    noisy = values + rng.normal(0, 0.3, values.shape)
    sample = to_sample(
        values, np.where(rng.random(values.shape) < 0.5, noisy, np.nan).astype(np.float32), space
    )
    nu = (1.0, 0.5, 0.25)
    loss, error = training_loss(model.assimilator, sample, LossWeights(0.0, 0.0, 0.0, forecasts=nu), 0)
    seen, truth_, known = sample.obs.weights["state"] > 0, sample.truth, sample.known > 0
    states = torch.where(seen, sample.obs.values["state"], truth_)
    expected = torch.zeros(())
    for lead, weight in enumerate(nu, 1):
        states = model.assimilator.cost.prior.one_step(states)
        departure = (states[:, :, : 6 - lead] - truth_[:, :, lead:])[known[:, :, lead:] & known[:, :, :-lead]]
        expected = expected + weight * departure.square().mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(error, loss.detach())
    both, error = training_loss(model.assimilator, sample, LossWeights(1.0, 0.0, 0.0, forecasts=nu), 0)
    torch.testing.assert_close(both, expected + error)


def test_the_equations_of_lorenz_96_are_learned_from_its_states():
    """Forecasts far beyond those that were learned from are those of the true equations."""
    torch.manual_seed(0)
    experiment = EXPERIMENTS["lorenz96"]
    space = StateSpace(
        ("x",),
        ("time", "site"),
        {"time": 5, "site": 40},
        {"time": 0},
        periodic=("site",),
        mean={"x": 2.3},
        std={"x": 3.6},
    )
    step = FlowStep(bilinear_tendency(1, 5, (5,), [True]), experiment.dt)
    experiment.simulate(400, seed=1, n_trajectories=8).varnet.fit(
        flow(space, step),
        EveryNthStep(1),
        noise_std=0.0,
        n_epochs=4,
        n_samples=800,
        batch_size=16,
        learning_rate=2e-2,
        prior_rate=1.0,
        weights=LossWeights(0.0, 0.0, 0.0, forecasts=(1.0, 1.0, 1.0, 1.0)),
        seed=0,
    )
    far = torch.from_numpy(experiment.simulate(21, seed=5, n_trajectories=4)["x"].values)
    state = ((far[:, None, :1] - 2.3) / 3.6).float()
    with torch.no_grad():
        for _ in range(20):  # a unit of time, in which errors grow fivefold
            state = step(state)
    error = float((state[:, 0, 0] * 3.6 + 2.3 - far[:, 20]).std())
    assert error < 0.1 * float(far.std())


def test_a_first_guess_alone_trains_without_a_look_at_the_prior(truth):
    space = small().state_space.normalised_by(truth)
    cost = VariationalCost(ObservationTerm(), PriorTerm(Forbidden()))
    assimilator = Assimilator(cost, GradientDescent(1.0), 2)
    values = truth["h"].values[None, None, :8]
    sample = to_sample(values, values, space)
    loss, error = training_loss(assimilator, sample, LossWeights(1.0, 0.0, 0.0), 0)
    assert loss == error == 0
    with pytest.raises(AssertionError, match="nobody"):
        training_loss(assimilator, sample, LossWeights(1.0, 0.0, 0.0), 1)


def test_the_number_of_validation_windows_can_be_chosen(truth, monkeypatch):
    numbers = []

    def noted(source, space, n_samples, *args, **kwargs):
        numbers.append(n_samples)
        return TrainingWindows(source, space, n_samples, *args, **kwargs)

    monkeypatch.setattr("oceanvar.fitting.TrainingWindows", noted)
    truth.varnet.fit(small(), RandomFraction(0.3), validation=0.5, n_validation=3, **QUICK | {"n_epochs": 1})
    assert numbers == [QUICK["n_samples"], 3]


def test_checkpointed_unrolling_trains_the_same(truth):
    plain, saving = small(), small()
    saving.assimilator.unroll = Unroll(checkpoint_every=1)
    for model in (plain, saving):
        truth.varnet.fit(model, RandomFraction(0.3), **QUICK | {"n_epochs": 1})
    torch.testing.assert_close(weights(plain), weights(saving))


def test_errors(truth):
    with pytest.raises(ConfigError, match="did you mean 'learning_rate'"):
        truth.varnet.fit(small(), RandomFraction(0.3), learning_rat=1e-3)
    with pytest.raises(ConfigError, match="schedule must be one of"):
        TrainingSettings(schedule="linear")
    with pytest.raises(ConfigError, match="n_epochs must be a whole number of at least 1, got 0"):
        TrainingSettings(n_epochs=0)
    with pytest.raises(PatchError, match="give validation="):
        truth.isel(time=slice(12)).varnet.fit(small(), RandomFraction(0.3), **QUICK)
    empty = WindowSource(truth.where(False), small().state_space, RandomFraction(0.3))
    with pytest.raises(PatchError, match="finite value"):
        empty.draw(np.random.default_rng(0))
    with pytest.raises(ConfigError, match="cannot be normalised"):
        truth.where(False, 3.0).varnet.fit(small(), RandomFraction(0.3), **QUICK)
