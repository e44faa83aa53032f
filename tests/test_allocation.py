import os
import subprocess
import sys

import pytest

WORK = """
import sys
from pathlib import Path
import torch
from oceanvar.allocation import keep_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])

if "keep" in sys.argv:
    keep_freed_memory()
blocks = [torch.ones(4_000_000) for _ in range(5)]
full = resident()
del blocks
print((full - resident()) * 4096)
"""


def bytes_given_back(*args):
    code = f"import sys; sys.path[:0] = {sys.path}\n{WORK}"
    command = [sys.executable, "-I", "-S", "-c", code, *args]
    # A cluster of an earlier test may have left its settings in this process.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=clean).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="a matter of glibc")
def test_freed_blocks_stay_with_the_process():
    assert bytes_given_back() > 60_000_000
    assert bytes_given_back("keep") < 20_000_000
