"""What a run tells of its progress where no terminal shows a bar."""

import re

import pytest

from oceanvar.archive import read_summary
from oceanvar.archive.progress import reported
from oceanvar.archive.trials import Trial
from oceanvar.errors import StoreError


def test_lines_count_the_units_and_the_time_left(monkeypatch, capsys):
    clock = iter([100.0, 110.0, 120.0, 160.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    with reported(True, 2, 6) as written:
        for _ in range(3):
            written()
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("unit")]
    found = [list(map(int, re.findall(r"\d+", line))) for line in lines]
    # Unit, of all, seconds since it began, seconds left: of the units of this run, those before took none.
    assert found == [[3, 6, 10, 30], [4, 6, 20, 20], [5, 6, 60, 20]]


def test_no_lines_unless_asked_for(capsys):
    with reported(False, 0, 2) as written:
        written()
    assert "unit 1" not in capsys.readouterr().err


def test_a_trial_is_scaled_by_what_it_did():
    trial = Trial(n_patches=6, seconds=3.0, n_bytes=100, share=0.25, share_written=0.2)
    assert trial.total_seconds == 12.0
    assert trial.total_bytes == 500


def test_a_summary_needs_the_record_of_a_complete_run(tmp_path):
    with pytest.raises(StoreError, match="holds no record of a complete run"):
        read_summary(tmp_path / "nothing.zarr")
