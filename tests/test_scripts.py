"""The long scripts at a small fraction of their size."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from oceanvar.ladder import Climate, gradient_descent, interpolations, stages_of
from oceanvar.varnet import load

sys.path.append(str(Path(__file__).parents[1] / "scripts"))


@pytest.mark.parametrize("system", ["lorenz63", "lorenz96"])
def test_the_osse_writes_table_figures_and_log_and_resumes(system, tmp_path, monkeypatch):
    import lorenz_osse

    def few(system):
        packaged = load(system)
        climate = Climate.of(system, packaged.state_space, n_steps=800, n_trajectories=8)
        return climate, [*interpolations(climate), gradient_descent(climate, 5), *stages_of(packaged)]

    monkeypatch.setattr(lorenz_osse, "methods", few)
    arguments = [system, "--n-windows", "40", "--scale", "0.1", "--out", str(tmp_path), "--fixed-mask"]
    first = CliRunner().invoke(lorenz_osse.main, arguments, catch_exceptions=False)
    assert first.exit_code == 0, first.output
    (folder,) = tmp_path.iterdir()
    for name in ("paths.png", "scores.png", "fields.png"):
        assert (folder / name).stat().st_size > 10_000
    log = (folder / "log").read_text()
    assert log.count("'r_score'") == 5
    again = CliRunner().invoke(lorenz_osse.main, arguments, catch_exceptions=False)
    assert again.output == first.output
    assert (folder / "log").read_text() == log, "nothing was solved again"
