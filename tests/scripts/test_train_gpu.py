"""The models of the budgeted training run are made, trained, scored and taken up again."""

import json

from click.testing import CliRunner

import oceanvar
from scripts.train_gpu import main


def test_models_are_trained_in_time_scored_and_taken_up_again(tmp_path):
    names = ["ocean", "ocean-iterated", "lorenz63"]
    arguments = [
        "--out",
        str(tmp_path),
        "--minutes",
        "2",
        "--tiny",
        *(a for n in names for a in ("--model", n)),
    ]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert list(scores) == names
    for name in names:
        assert scores[name]["n_epochs"] == 2
        assert scores[name]["windows_per_second"] > 0
        oceanvar.load(tmp_path / f"{name}.varnet")
    assert scores["ocean"]["error_variance_over_variance"] > 0
    # Nothing is left to train, and the scores are the same.
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 0, again.output
    assert json.loads((tmp_path / "scores.json").read_text()) == scores


def test_iterations_need_what_they_begin_from(tmp_path):
    done = CliRunner().invoke(main, ["--out", str(tmp_path), "--tiny", "--model", "ocean-iterated"])
    assert "train --model ocean first" in done.output
