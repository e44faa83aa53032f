"""What a run keeps is made once, and its folder is no other run's."""

import json
from pathlib import Path

import click
import numpy as np
import pytest
import torch
import xarray as xr

from oceanvar.network import VarNet
from scripts.keeping import claim, find_data, kept, kept_model


@pytest.mark.parametrize(
    ("ending", "made"),
    [
        ("json", {"rmse": 0.1, "n": None}),
        ("nc", xr.Dataset({"ssh": ("time", np.arange(3.0))})),
        ("pt", {"weight": torch.ones(2)}),
    ],
)
def test_a_result_is_made_once_and_read_back(tmp_path: Path, ending: str, made: object) -> None:
    calls = []

    def make() -> object:
        calls.append(ending)
        return made

    path = tmp_path / "deep" / f"result.{ending}"
    first, again = kept(path, make), kept(path, make)
    assert calls == [ending]
    assert repr(first) == repr(again) == repr(made)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_result_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        kept(tmp_path / "result.json", lambda: {"field": np.ones(3)})
    assert not (tmp_path / "result.json").exists()


def test_a_model_is_trained_once(tmp_path: Path, model: VarNet, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "model.varnet"
    assert kept_model(path, lambda: model) is model
    assert kept_model(path, lambda: pytest.fail("trained again")).digest == model.digest
    assert "delete it to train anew" in capsys.readouterr().err


def test_a_folder_with_other_settings_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    claim(out, {"seed": 0, "lengths": (1, 2)})
    claim(out, {"seed": 0, "lengths": (1, 2)})
    with pytest.raises(click.ClickException, match="other settings"):
        claim(out, {"seed": 1, "lengths": (1, 2)})
    assert json.loads((out / "settings.json").read_text())["seed"] == 0


def test_data_are_found_in_the_folder_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OCEANVAR_DATA", str(tmp_path))
    with pytest.raises(click.ClickException, match="needs maps, a piece of the sea: .* --maps"):
        find_data("maps", "a piece of the sea", "--maps")
    (tmp_path / "maps").mkdir()
    assert find_data("maps", "a piece of the sea", "--maps") == tmp_path / "maps"
