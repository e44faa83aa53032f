"""The table of methods: definitions of its scores, its settings, and the ladder in order."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from oceanvar.cli.commands import main
from oceanvar.errors import ConfigError
from oceanvar.network import load
from oceanvar.papers import Method, compare, methods
from oceanvar.papers.comparison import experiment_of, score
from oceanvar.papers.experiments import EXPERIMENTS
from oceanvar.papers.ladder import Climate, gradient_descent, interpolations, stages_of


@pytest.fixture(scope="module")
def climate() -> Climate:
    return Climate.of("lorenz63", load("lorenz63").state_space, n_steps=800, n_trajectories=16)


@pytest.fixture(scope="module")
def windows(climate) -> tuple[np.ndarray, np.ndarray]:
    truth, seen = EXPERIMENTS["lorenz63"].test_windows(8, seed=5)
    return climate.space.stack(truth).values, climate.space.stack(seen).values


def test_scores_are_what_they_are_called(climate, windows):
    truth, seen = windows
    linear = interpolations(climate)[0]
    row = score(linear, climate, truth, seen)
    analysis = linear.model.solve(seen, precision="float64")
    errors = (analysis - truth) ** 2
    assert float(row["r_score"]) == pytest.approx(errors.mean() / (truth**2).mean())
    assert float(row["rmse"]) == pytest.approx(np.sqrt(errors.mean()))
    assert float(row["r_by_step"][3]) == pytest.approx(errors[:, :, 3].mean() / (truth**2).mean())
    assert float(row["r_score_low"]) < float(row["r_score"]) < float(row["r_score_high"])
    assert np.isnan(row["p_score"])
    assert int(row["n_parameters"]) == 0


def test_the_true_model_has_a_perfect_p_score_and_descent_improves(climate, windows):
    short, long = (score(gradient_descent(climate, n), climate, *windows) for n in (0, 300))
    assert float(short["p_score"]) < 1e-12
    assert float(long["r_score"]) < 0.5 * float(short["r_score"])
    assert float(long["health"]) < float(short["health"])


def test_stages_of_a_packaged_model_improve(climate, windows):
    scores = [float(score(each, climate, *windows)["r_score"]) for each in stages_of(load("lorenz63"))]
    assert scores[-1] <= scores[0] < float(score(interpolations(climate)[1], climate, *windows)["r_score"])


def test_settings():
    sizes = {"variable": 3, "time": 200}
    rng = np.random.default_rng(0)
    assert experiment_of("lorenz63").sampler.mask(sizes, {}, rng)[0].nonzero()[0][0] == 16
    assert experiment_of("lorenz63", all_steps=True).sampler.mask(sizes, {}, rng)[0, 0]
    fixed = experiment_of("lorenz96", fixed_mask=True)
    seen = fixed.test_windows(2, seed=0)[1]["x"].notnull()
    assert (seen[0].values == seen[1].values).all()
    redrawn = experiment_of("lorenz96").test_windows(2, seed=0)[1]["x"].notnull()
    assert (redrawn[0].values != redrawn[1].values).any()
    with pytest.raises(ConfigError, match="all_steps is for lorenz63"):
        experiment_of("lorenz96", all_steps=True)
    with pytest.raises(ConfigError, match="no experiment"):
        compare("lorenz64")
    with pytest.raises(ConfigError, match="at least 2 windows"):
        compare("lorenz63", n_windows=1)


def test_the_command_prints_the_scores_of_the_library(monkeypatch):
    def few(system):
        climate = Climate.of(system, load(system).state_space, 400, 16)
        return climate, [*interpolations(climate), Method("slow one", load(system), is_slow=True)]

    monkeypatch.setattr("oceanvar.papers.comparison.packaged_methods", few)
    expected = compare("lorenz63", n_windows=6, seed=5)
    run = CliRunner().invoke(main, ["osse", "lorenz63", "--n-windows", "6", "--seed", "5", "--json"])
    rows = json.loads(run.stdout)["scores"]
    assert [row["scheme"] for row in rows] == ["linear interpolation", "optimal interpolation"]
    assert [row["r_score"] for row in rows] == pytest.approx(expected["r_score"].values.tolist())
    table = CliRunner().invoke(main, ["osse", "lorenz63", "--n-windows", "6", "--seed", "5", "--slow"]).stdout
    assert f"{rows[1]['r_score']:.2e}" in table.splitlines()[3]
    assert "slow one" in table.splitlines()[4]


def test_every_row_of_the_table_solves_a_window():
    for system in EXPERIMENTS:
        climate, rows = methods(system)
        truth, seen = (climate.space.stack(ds).values for ds in EXPERIMENTS[system].test_windows(2, seed=1))
        names = [row.name for row in rows]
        assert len(names) == len(set(names)) >= 9
        for row in rows:
            if not row.is_slow:
                assert float(score(row, climate, truth, seen)["r_score"]) < 0.6, row.name
