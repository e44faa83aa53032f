"""Start a run over an archive again and again, kill it at random moments, and let the last one finish.

Usage: killed_runs.py N_KILLS PATTERN MODEL OUTPUT... Prints the exit codes as JSON. Each run is a fork of this process,
which has imported everything but started no thread.
"""

import json
import os
import random
import signal
import sys
import time

import torch

from oceanvar.archive import assimilate_archive
from oceanvar.network.handles import PatchSolver


def run(pattern: str, model: str, output: str) -> int:
    """Run in a forked process and give its number."""
    child = os.fork()
    if child == 0:
        try:
            assimilate_archive(pattern, model, output, resume=True, batch_size=2, period="day")
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return child


def main() -> None:
    """Kill a few runs to each output, and complete a last one."""
    torch.set_num_threads(1)
    solve = PatchSolver.__call__

    def slowly(self, *patches, **places):
        time.sleep(0.02)
        return solve(self, *patches, **places)

    PatchSolver.__call__ = slowly
    n_kills, (pattern, model, *outputs) = int(sys.argv[1]), sys.argv[2:]
    ends = []
    for output in outputs:
        for number in range(n_kills + 1):
            child = run(pattern, model, output)
            if number < n_kills:
                time.sleep(random.uniform(0.05, 0.4))
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            ends.append(os.waitstatus_to_exitcode(status))
        if ends[-1]:
            sys.exit(ends[-1])
    print(json.dumps(ends))


if __name__ == "__main__":
    main()
