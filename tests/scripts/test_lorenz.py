"""The twin experiment on the Lorenz systems at a small fraction of its size."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from oceanvar.network import load
from oceanvar.papers.ladder import Climate, gradient_descent, interpolations, stages_of
from scripts.lorenz import calibrate, cycle, ensembles, learned, osse, recipes, train


@pytest.mark.parametrize("system", ["lorenz63", "lorenz96"])
def test_the_osse_writes_table_figures_and_log_and_resumes(system, tmp_path, monkeypatch):
    def few(system):
        packaged = load(system)
        climate = Climate.of(system, packaged.state_space, n_steps=800, n_trajectories=8)
        return climate, [*interpolations(climate), gradient_descent(climate, 5), *stages_of(packaged)]

    monkeypatch.setattr(osse, "methods", few)
    arguments = [system, "--n-windows", "40", "--scale", "0.1", "--out", str(tmp_path), "--fixed-mask"]
    first = CliRunner().invoke(osse.main, arguments, catch_exceptions=False)
    assert first.exit_code == 0, first.output
    (folder,) = tmp_path.iterdir()
    for name in ("paths.png", "scores.png", "fields.png"):
        assert (folder / name).stat().st_size > 10_000
    log = (folder / "log").read_text()
    assert log.count("'r_score'") == 5
    again = CliRunner().invoke(osse.main, arguments, catch_exceptions=False)
    assert again.output == first.output
    assert (folder / "log").read_text() == log, "nothing was solved again"


def test_learned_equations_take_the_place_of_the_true_ones(tmp_path, monkeypatch):
    monkeypatch.setitem(learned.EQUATIONS, "lorenz63", learned.Equations(4, 1))
    done = CliRunner().invoke(
        learned.main, ["lorenz63", "--out", str(tmp_path), "--n-test", "4"], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    model = load(tmp_path / "lorenz63-learned.varnet")
    card = model.provenance["card"]
    assert card["learned numbers of the equations"] == 88
    assert "R, U-Net + Gauss-Newton" in (tmp_path / "lorenz63-learned.md").read_text()
    assert (tmp_path / "lorenz63-learned.varnet").stat().st_size < 20_000, "the U-Net is borrowed"
    assert not any("Lorenz63" in type(each).__name__ for each in model.assimilator.modules())


def test_the_trust_that_error_bars_need_is_kept_in_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(calibrate, "TRUSTS", (0.3,))
    line = ["lorenz63", "--n-windows", "20", "--out", str(tmp_path)]
    done = CliRunner().invoke(calibrate.main, line, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    before, after = load("lorenz63"), load(tmp_path / "lorenz63.varnet")
    observed, dynamics, background = (term.trust for term in after.assimilator.cost.terms)
    assert observed == dynamics
    assert background == pytest.approx(0.3 * observed)
    for name, weights in before.assimilator.state_dict().items():
        assert (after.assimilator.state_dict()[name] == weights).all(), name
    lines = (tmp_path / "lorenz63.md").read_text().splitlines()
    assert sum(each.startswith("- error bars, first ten steps: ") for each in lines) == 1


def test_lorenz96_learns_every_phase_and_kind_of_observation():
    sizes, rng = {"variable": 1, "time": 200, "site": 40}, np.random.default_rng(0)
    first = {int(train.OF_ANY_PHASE.mask(sizes, {}, rng)[0].any(axis=1).argmax()) for _ in range(40)}
    assert first == {0, 1, 2, 3}
    shares = [float(train.OF_ANY_KIND.mask(sizes, {}, rng).mean()) for _ in range(200)]
    assert min(shares) < 0.02
    assert max(shares) > 0.4


def test_cycles_are_scored_beside_cold_windows():
    line = ["--n-trajectories", "2", "--n-cycles", "3", "--windows", "61", "--apart", "1"]
    done = CliRunner().invoke(cycle.main, line, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    rows = [each for each in done.output.splitlines() if each.startswith("| c")]
    assert [row.split(" | ")[0] for row in rows] == ["| cold, 197 steps", "| cycle, 61 steps"]
    assert all(float(row.split(" | ")[1]) < 1.5 for row in rows)


def test_ensembles_cycle_over_long_runs():
    done = CliRunner().invoke(
        ensembles.main,
        ["lorenz63", "--n-runs", "2", "--n-steps", "600", "--members", "10"],
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output
    scores = [float(line.split(" R ")[1].split()[0]) for line in done.output.splitlines()]
    assert len(scores) == 3
    assert scores[2] < min(scores[:2]) < 0.01


def test_recipes_are_tried_for_equal_time_and_run_once(tmp_path):
    options = ["--out", tmp_path, "--seconds", 0.1, "--n-seeds", 1, "--n-trajectories", 2]
    options = [*map(str, options), "--n-checked", "4"]
    first = CliRunner().invoke(recipes.main, options, catch_exceptions=False)
    found = json.loads((tmp_path / "recipes.json").read_text())
    sizes = [runs[0]["parameters"] for runs in found.values()]
    assert max(sizes) < 1.05 * min(sizes)
    assert all(0 < runs[0]["r"] < 10 and runs[0]["gradient_steps"] > 0 for runs in found.values())
    again = CliRunner().invoke(recipes.main, options, catch_exceptions=False)
    assert again.stdout == first.stdout
