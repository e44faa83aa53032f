"""Kill an append between its operations on files, look at the output as a reader does, and let the append finish.

Usage: killed_appends.py FOLDER MODEL NAME. Prints as JSON how often a reader saw the old output, the new one, and none.
Each run and each look is a fork of this process, which has imported everything but started no thread.
"""

import json
import os
import shutil
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import torch

from oceanvar.archive import assimilate_archive, verify
from oceanvar.network import VarNet
from oceanvar.network.varnet import load
from tests.archive.archives import assert_same_bits

OPERATIONS = ("link", "rename", "replace", "fsync", "unlink", "rmdir")
KILLED, BROKEN = 9, 1


def forked(work) -> int:
    """Do work in a forked process, and give its exit code."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(work() or 0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(BROKEN)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(obs: Path, model: VarNet, output: Path, kill_at: int = -1, log: Path | None = None) -> None:
    """Append; end without a word before one operation, or note which there are."""
    done: list[str] = []

    def noted(name):
        real = getattr(os, name)

        def operation(*arguments, **options):
            if len(done) == kill_at:
                os._exit(KILLED)
            done.append(name)
            return real(*arguments, **options)

        return operation

    for name in OPERATIONS:
        setattr(os, name, noted(name))
    assimilate_archive(obs, model, output, append=True)
    if log is not None:
        log.write_text(" ".join(done))


def main() -> None:
    """Make the old output and the new one, then kill on the way from one to the other."""
    torch.set_num_threads(1)
    folder, model, name = Path(sys.argv[1]), load(sys.argv[2]), sys.argv[3]
    obs, old, new = folder / "obs", folder / "old" / name, folder / "new" / name
    late = [obs / "obs_030.nc", obs / "obs_033.nc"]
    for each in late:
        each.rename(folder / each.name)
    assert forked(partial(run, obs, model, old)) == 0
    for each in late:
        (folder / each.name).rename(each)
    assert forked(partial(run, obs, model, new)) == 0

    def looked(output: Path) -> int:
        for code, other in ((10, old), (11, new)):
            try:
                assert_same_bits(output, other)
            except (AssertionError, ValueError):
                continue
            return code if verify(output) == {} else BROKEN
        return BROKEN

    output, seen = folder / "out" / name, Counter()

    def begun() -> None:
        shutil.rmtree(output.parent, ignore_errors=True)
        shutil.copytree(old.parent, output.parent)

    begun()
    assert forked(partial(run, obs, model, output, log=folder / "log")) == 0
    done = (folder / "log").read_text().split()
    *_, last = (i for i, name in enumerate(done) if name == "rename")  # gives the new output its name
    for kill_at in [last // 3, 2 * last // 3, *range(last - 1, last + 4)]:
        begun()
        assert forked(partial(run, obs, model, output, kill_at)) == KILLED
        seen[forked(partial(looked, output)) if output.exists() else 0] += 1
        assert forked(lambda: run(obs, model, output) or looked(output)) == 11, "it goes on"
        assert sorted(os.listdir(output.parent)) == [name, f"{name}.run"]
        left = [each for each in os.listdir(f"{output}.run") if not each.endswith(".part")]
        assert sorted(left) == ["index.jsonl", "manifest.jsonl", "sums.npy"]
    assert not seen[BROKEN]
    print(json.dumps({"none": seen[0], "old": seen[10], "new": seen[11]}))


if __name__ == "__main__":
    main()
