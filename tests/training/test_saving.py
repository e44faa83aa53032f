"""A budget of time, a model file at every better epoch, and models that are named."""

from datetime import timedelta

import numpy as np
import pytest
import torch

import oceanvar
from oceanvar.errors import ConfigError, ModelMismatchError
from oceanvar.network import VarNet
from oceanvar.observing import RandomFraction
from oceanvar.training import TrainingSettings
from tests.training.test_training import QUICK, small, truth, weights  # noqa: F401


def test_a_run_that_is_stopped_leaves_its_best_model(truth, tmp_path, monkeypatch):  # noqa: F811
    path, saved, written = tmp_path / "mine.varnet", [], VarNet.save

    def noted(self, where, *args):
        written(self, where, *args)
        saved.append(oceanvar.load(where))
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(VarNet, "save", noted)
    model = small()
    with pytest.raises(KeyboardInterrupt):
        truth.varnet.fit(
            model, RandomFraction(0.3), save=path, n_steps={0: 0, 1: 2}, learning_rate=1e-2, **QUICK
        )
    assert [each.assimilator.n_steps for each in saved] == [0, 2]
    assert model.assimilator.n_steps == 2
    kept = oceanvar.load(path)
    assert kept.provenance["training"]["n_epochs"] == 2
    assert kept.state_space.mean is not None
    obs = truth.varnet.observe(RandomFraction(0.3), seed=5)
    assert obs.varnet.assimilate(kept)["h"].notnull().all()
    monkeypatch.undo()
    history = truth.varnet.fit(path, RandomFraction(0.3), save=path, **QUICK)
    assert history.sizes["epoch"] == 4
    assert not torch.equal(weights(oceanvar.load(path)), weights(kept))


def test_the_saved_model_is_the_one_that_was_trained_in_place(truth, tmp_path):  # noqa: F811
    model = small()
    truth.varnet.fit(model, RandomFraction(0.3), save=tmp_path / "m.varnet", **QUICK)
    assert oceanvar.load(tmp_path / "m.varnet").digest == model.digest
    assert model.state_space.error_std


def test_a_worse_epoch_is_not_saved(truth, tmp_path, monkeypatch):  # noqa: F811
    numbers, written = [], VarNet.save

    def noted(self, where, *args):
        numbers.append(self.provenance["training"]["n_epochs"])
        written(self, where, *args)

    monkeypatch.setattr(VarNet, "save", noted)
    history = truth.varnet.fit(
        small(),
        RandomFraction(0.3),
        save=tmp_path / "m.varnet",
        **QUICK | {"n_epochs": 8, "learning_rate": 0.2, "n_warmup": 1},
    )
    losses = np.insert(history["validation_loss"].values, 0, history.attrs["validation_loss_before"])
    better = [i for i in range(1, 9) if losses[i] == losses[: i + 1].min()]
    assert numbers == [*better, 8]
    assert 1 not in better
    assert 8 not in better
    assert history.attrs["kept_epoch"] == better[-1]


RUINOUS = {"learning_rate": 0.5, "n_warmup": 1}


def test_a_model_that_training_makes_worse_stays_as_it_was(truth, tmp_path):  # noqa: F811
    model = small()
    before = weights(model)
    history = truth.varnet.fit(
        model, RandomFraction(0.3), save=tmp_path / "m.varnet", **QUICK | RUINOUS | {"n_steps": {0: 1, 2: 2}}
    )
    assert history["validation_loss"].min() > history.attrs["validation_loss_before"]
    assert history.attrs["kept_epoch"] == 0
    assert torch.equal(weights(model), before)
    assert oceanvar.load(tmp_path / "m.varnet").digest == model.digest
    told = model.provenance["training"]
    assert told["kept_epoch"] == 0
    assert told["best_validation_loss"] == told["validation_loss_before"]
    assert model.state_space.error_std["h"] == pytest.approx(
        (told["best_validation_loss"] ** 0.5) * model.state_space.std["h"], rel=1e-4
    )


def test_a_broken_off_run_still_knows_what_it_began_with(truth, tmp_path):  # noqa: F811
    model, options = small(), {"checkpoint": tmp_path, "resume": True, **QUICK, **RUINOUS}
    before = weights(model)
    truth.varnet.fit(small(), RandomFraction(0.3), budget="1us", **options)
    history = truth.varnet.fit(model, RandomFraction(0.3), budget="1h", **options)
    assert history.sizes["epoch"] == 4
    assert history.attrs["kept_epoch"] == 0
    assert torch.equal(weights(model), before)
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    del content["before"]
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(ModelMismatchError, match="did not keep what it began with"):
        truth.varnet.fit(small(), RandomFraction(0.3), **options)


def test_two_processes_save_once_and_what_they_return(truth, tmp_path):  # noqa: F811
    model = small()
    options = QUICK | {"n_epochs": 2, "n_processes": 2, "budget": "1h"}
    truth.varnet.fit(model, RandomFraction(0.3), save=tmp_path / "m.varnet", **options)
    assert oceanvar.load(tmp_path / "m.varnet").digest == model.digest


def test_a_packaged_model_is_trained_on_by_its_name(tmp_path):
    ds = oceanvar.lorenz96(n_steps=220, n_trajectories=1, seed=1).isel(trajectory=0, drop=True)
    obs = ds.varnet.observe(RandomFraction(0.5), seed=2)
    before = oceanvar.load("lorenz96").digest
    settings = QUICK | {"n_epochs": 1, "n_samples": 1, "batch_size": 1, "n_steps": {0: 0}, "n_validation": 1}
    history = obs.varnet.fit("lorenz96", validation=obs, save=tmp_path / "mine.varnet", **settings)
    assert history.sizes["epoch"] == 1
    assert oceanvar.load(tmp_path / "mine.varnet").digest != before
    assert oceanvar.load(tmp_path / "mine.varnet").state_space.error_std == {}
    assert oceanvar.load("lorenz96").digest == before


def test_a_budget_ends_training_before_the_epoch_that_exceeds_it(truth):  # noqa: F811
    settings = {key: value for key, value in QUICK.items() if key != "n_epochs"}
    history = truth.varnet.fit(small(), RandomFraction(0.3), budget="1s", **settings)
    seconds = history["seconds"].values
    assert all(seconds[:i].sum() + seconds[i - 1] <= 1 for i in range(1, len(seconds)))
    assert seconds.sum() + seconds[-1] > 1
    rates = history["learning_rate"].values
    assert rates[-1] < 1e-3
    assert truth.varnet.fit(small(), RandomFraction(0.3), budget="1us", **settings).sizes["epoch"] == 1


def test_the_schedule_follows_the_budget():
    settings = TrainingSettings(n_epochs=10, budget=timedelta(seconds=100))
    assert settings.progress(0, []) == (0.0, 0.1)
    assert settings.progress(1, [25.0]) == (0.25, 0.5)
    assert settings.progress(3, [25.0, 25.0, 25.0]) == (0.75, 1.0)
    assert settings.progress(2, [1.0, 1.0]) == (0.2, 0.3)
    assert not settings.is_spent([])
    assert not settings.is_spent([50.0])
    assert settings.is_spent([51.0])
    assert not TrainingSettings().is_spent([1e9])
    assert TrainingSettings(n_epochs=10).progress(4, [1e9]) == (0.4, 0.5)


def test_more_budget_goes_on_from_a_checkpoint(truth, tmp_path):  # noqa: F811
    options = QUICK | {"checkpoint": tmp_path, "resume": True}
    assert truth.varnet.fit(small(), RandomFraction(0.3), budget="1us", **options).sizes["epoch"] == 1
    assert truth.varnet.fit(small(), RandomFraction(0.3), budget="1h", **options).sizes["epoch"] == 4


@pytest.mark.parametrize("budget", ["20", "20 parsecs", "soon", "-1min", 20, timedelta(0), True])
def test_budgets_without_a_unit_are_refused(budget):
    with pytest.raises(ConfigError, match="budget must be a time above 0 with its unit"):
        TrainingSettings(budget=budget)
