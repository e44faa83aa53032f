"""A few rounds of chaos find nothing."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def chaos(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


def test_a_few_rounds_go_well():
    done = chaos("-m", "scripts.chaos", "--rounds", "2", "--seed", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 of 2 rounds went wrong" in done.stdout
    assert "killed run" in done.stdout
