"""The twin experiment on the Lorenz systems at a small fraction of its size."""

import pytest
from click.testing import CliRunner

from oceanvar.network import load
from oceanvar.papers.ladder import Climate, gradient_descent, interpolations, stages_of
from scripts.lorenz import osse


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
