"""The demo on a smaller ocean: simulate, assimilate with the packaged model, report."""

import functools

from click.testing import CliRunner

import oceanvar
from scripts import demo


def test_the_demo_scores_and_draws_and_the_packaged_model_beats_the_interpolations(tmp_path, monkeypatch):
    small = functools.partial(oceanvar.quasigeostrophic, size=6.4, n_spinup=60)
    monkeypatch.setattr(demo.oceanvar, "quasigeostrophic", small)
    monkeypatch.setattr(demo, "N_DAYS", 30)
    folder = tmp_path / "demo"
    simulated = CliRunner().invoke(demo.main, ["simulate", str(folder)], catch_exceptions=False)
    assert "3 files" in simulated.output
    oceanvar.assimilate_archive(f"{folder}/obs/*.nc", "ocean-2026.11", folder / "analysis.zarr", batch_size=4)
    report = CliRunner().invoke(demo.main, ["report", str(folder)], catch_exceptions=False).output
    rows = [line.split() for line in report.splitlines() if "interpolation" in line or "(ocean)" in line]
    linear, optimal, ours = (float(row[2]) for row in rows)
    assert ours < optimal < linear, "root mean square errors"
    assert (folder / "analysis.png").stat().st_size > 30_000
